-- Health of a PooledWorkload for Argo CD: a queued one is Progressing, one that is impossible or failed is Degraded.
local hs = {}

if obj.status == nil or obj.status.observedGeneration == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  hs.status = "Progressing"
  hs.message = "Weir has not looked at this version of it yet"
  return hs
end

local conditions = {}
for _, condition in ipairs(obj.status.conditions or {}) do
  conditions[condition.type] = condition
end

local ready = conditions.Ready
if conditions.Stalled ~= nil and conditions.Stalled.status == "True" then
  hs.status = "Degraded"
  hs.message = conditions.Stalled.reason .. ": " .. conditions.Stalled.message
elseif obj.status.phase == "Suspended" then
  hs.status = "Suspended"
  hs.message = "spec.suspend is true"
elseif ready ~= nil and ready.status == "True" then
  hs.status = "Healthy"
  hs.message = ready.reason .. ": " .. ready.message
elseif ready ~= nil then
  hs.status = "Progressing"
  hs.message = ready.reason .. ": " .. ready.message
else
  hs.status = "Progressing"
  hs.message = "Weir has not looked at it yet"
end
return hs
