-- Health of a ResourcePool for Argo CD: one that was told to hold is Suspended, one without a sound place is Degraded.
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
local overcommitted = conditions.Overcommitted
if conditions.Stalled ~= nil and conditions.Stalled.status == "True" then
  hs.status = "Degraded"
  hs.message = conditions.Stalled.reason .. ": " .. conditions.Stalled.message
elseif ready ~= nil and ready.status == "True" and ready.reason == "PoolHeld" then
  hs.status = "Suspended"
  hs.message = ready.reason .. ": " .. ready.message
elseif overcommitted ~= nil and overcommitted.status == "True" then
  -- It works, as kstatus says too; that it cannot keep all that it promised is in the message.
  hs.status = ready ~= nil and ready.status == "True" and "Healthy" or "Progressing"
  hs.message = overcommitted.reason .. ": " .. overcommitted.message
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
