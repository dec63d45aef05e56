#!/usr/bin/env bash
# A quick test of the control plane itself: versions, what simulated nodes and pods do, two clusters side by
# side, and that nothing is left behind. With --real, as root, also two real nodes. Prints what it checked.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

work=$(mktemp -d /tmp/weir-selftest.XXXXXX)
cluster=$controlplane_dir/cluster.sh
with_real=
[ "${1:-}" != --real ] || with_real=1
checked=0

finish() {
  local status=$?
  trap - EXIT
  for folder in "$work"/*/; do "$cluster" down --dir "$folder" 2>/dev/null || true; done
  rm -rf "$work"
  [ $status = 0 ] || say "SELF TEST FAILED after $checked checks"
  exit $status
}
trap finish EXIT

ok() {
  checked=$((checked + 1))
  say "ok: $*"
}

k() { KUBECACHEDIR=$work/cache "$KUBECTL" --kubeconfig "$KUBECONFIG" "$@"; }

# Waits up to the given seconds for a command to print exactly what is expected; fails loudly otherwise.
expect() { # seconds description expected command...
  local deadline=$((SECONDS + $1)) description=$2 expected=$3 got=
  shift 3
  while :; do
    got=$("$@" 2>&1) || true
    [ "$got" != "$expected" ] || break
    [ $SECONDS -le $deadline ] || die "$description: expected '$expected', got '$got'"
    sleep 0.1
  done
  ok "$description"
}

field() { # kind/name, jsonpath
  k get "$1" -o "jsonpath={$2}"
}

pod() { # name node annotations [restartPolicy]
  cat <<YAML
---
apiVersion: v1
kind: Pod
metadata: {name: $1, annotations: $3}
spec:
  nodeName: $2
  restartPolicy: ${4:-Never}
  initContainers:
  - {name: prepare, image: x}
  - {name: sidecar, image: x, restartPolicy: Always}
  containers:
  - {name: main, image: x, resources: {requests: {cpu: 100m}}}
YAML
}

gone() { ! k get "$1" >/dev/null 2>&1 && echo gone; }
main_state='.status.containerStatuses[0].state'

# --- somebody else's folder ------------------------------------------------------------------------------------
mkdir -p "$work/theirs/cache" && touch "$work/theirs/cache/precious"
if "$cluster" up --dir "$work/theirs" --no-nodes 2>/dev/null; then die "up takes a folder that is in use"; fi
"$cluster" down --dir "$work/theirs" 2>/dev/null
[ -e "$work/theirs/cache/precious" ] || die "files of somebody else are gone"
rm -r "$work/theirs"
ok "a folder of somebody else is refused and left alone"

# --- two clusters, started side by side --------------------------------------------------------------------------
"$cluster" up --dir "$work/one" --nodes 6 --audit --no-crds --node-grace 4s &
first=$!
(cd / && "$cluster" up --dir "$work/two" --no-nodes --no-crds)
wait $first
. "$work/two/env"
second_url=$API_SERVER_URL
. "$work/one/env"
[ "$second_url" != "$API_SERVER_URL" ] || die "two clusters have one URL"
ok "two clusters started side by side"
version() { k get --raw /version | sed -nE 's/.*"(major|minor|gitVersion)": "([^"]*)".*/\2/p' | tr '\n' ' '; }
expect 0 "the server tells its version" "${kubernetes_version:1:1} $(cut -d. -f2 <<<"$kubernetes_version") $kubernetes_version " version
sorted_kinds() { k get nodes -o 'jsonpath={range .items[*]}{.metadata.labels.kind} {end}' | tr ' ' '\n' | sort | xargs; }
expect 0 "six nodes of three kinds" "cpu cpu gpu gpu memory memory" sorted_kinds
expect 0 "a GPU node offers what it should" "32 128Gi 4 110 1k" \
  field node/gpu-00 '.status.allocatable.cpu} {.status.allocatable.memory} {.status.allocatable.nvidia\.com/gpu} {.status.allocatable.pods} {.status.allocatable.devices\.kubevirt\.io/kvm'

# --- pods --------------------------------------------------------------------------------------------------------
{
  pod forever cpu-00 '{}'
  pod succeeds cpu-00 '{sim.weir.dev/run-for: 2s}'
  pod fails memory-00 '{sim.weir.dev/run-for: 500ms, sim.weir.dev/exit-code: "3"}'
  pod refused gpu-00 '{sim.weir.dev/refuse: OutOfcpu}'
  pod restarts gpu-00 '{sim.weir.dev/run-for: 1s, sim.weir.dev/exit-code: "3"}' OnFailure
  pod slow cpu-00 '{sim.weir.dev/start-after: 2s}'
  pod lingers cpu-00 '{sim.weir.dev/terminate-after: 2s, sim.weir.dev/terminate-exit-code: "0"}'
  pod stays cpu-01 '{sim.weir.dev/run-for: 3s}'
} | k create -f - >/dev/null
expect 5 "a pod runs and is ready" "Running True 10.64" \
  bash -c "KUBECACHEDIR=$work/cache $KUBECTL --kubeconfig $KUBECONFIG get pod forever -o 'jsonpath={.status.phase} {.status.conditions[?(@.type==\"Ready\")].status} {.status.podIP}' | cut -d. -f1,2"
expect 5 "a pod with run-for runs first" "Running" field pod/succeeds .status.phase
expect 5 "its sidecar runs, its init container has ended" "0 true" \
  field pod/succeeds '.status.initContainerStatuses[0].state.terminated.exitCode} {.status.initContainerStatuses[1].started'
k annotate pod succeeds touched=yes >/dev/null # must not start its time anew
expect 5 "and then succeeds" "Succeeded 0 Completed" \
  field pod/succeeds ".status.phase} {$main_state.terminated.exitCode} {$main_state.terminated.reason"
expect 5 "with exit-code it fails" "Failed 3 Error" \
  field pod/fails ".status.phase} {$main_state.terminated.exitCode} {$main_state.terminated.reason"
expect 5 "a refused pod says why and started nothing" \
  "Failed OutOfcpu Pod was rejected: Node didn't have enough resource: cpu, requested: 64000, used: 100, capacity: 2000 " \
  field pod/refused '.status.phase} {.status.reason} {.status.message} {.status.containerStatuses'
expect 8 "restartPolicy OnFailure starts a failed container again" "Running 3" \
  field pod/restarts '.status.phase} {.status.containerStatuses[0].lastState.terminated.exitCode'
expect 5 "start-after holds a pod back, then it runs" "Running" field pod/slow .status.phase

k delete pod forever --wait=false >/dev/null
expect 2 "a deleted pod is gone at once" gone gone pod/forever
k delete pod lingers --wait=false >/dev/null
expect 0 "with terminate-after it is first terminating" "Running 30" \
  field pod/lingers '.status.phase} {.metadata.deletionGracePeriodSeconds'
expect 5 "and then gone" gone gone pod/lingers

# --- nodes -------------------------------------------------------------------------------------------------------
ready_of() { field "node/$1" '.status.conditions[?(@.type=="Ready")].status'; }
k patch node memory-01 --subresource=status -p '{"status":{"allocatable":{"cpu":"4"}}}' >/dev/null
k annotate node memory-01 sim.weir.dev/not-ready="runtime is down" >/dev/null
expect 5 "a node can be not ready" False ready_of memory-01
k annotate node memory-01 sim.weir.dev/not-ready- >/dev/null
expect 5 "and ready again" True ready_of memory-01
expect 0 "an edited allocatable stays" 4 field node/memory-01 .status.allocatable.cpu

pod waits cpu-01 '{sim.weir.dev/run-for: 4s}' | k create -f - >/dev/null
expect 3 "a pod runs on the node that will be lost" Running field pod/waits .status.phase
k label node cpu-01 sim.weir.dev/lost=true >/dev/null
expect 3 "a lost node's readiness is unknown" Unknown ready_of cpu-01
expect 8 "the controller manager taints it" node.kubernetes.io/unreachable \
  field node/cpu-01 '.spec.taints[0].key'
sleep 4
expect 0 "a pod on a lost node does not end when its time is over" Running field pod/waits .status.phase
k delete pod waits --wait=false >/dev/null
sleep 0.5
expect 0 "and stays when it is deleted" Running field pod/waits .status.phase
k label node cpu-01 sim.weir.dev/lost- >/dev/null
expect 5 "the node comes back" True ready_of cpu-01
expect 5 "and with it the pod's deletion" gone gone pod/waits
k label node cpu-00 sim.weir.dev/lost=silent >/dev/null
expect 0 "a silent node looks ready at first" True ready_of cpu-00
expect 15 "a silent node is noticed by the controller manager" Unknown ready_of cpu-00
k label node cpu-00 sim.weir.dev/lost- >/dev/null
expect 15 "and comes back" True ready_of cpu-00
expect 0 "no other node was ever lost" "" field nodes '.items[*].spec.taints[*].key'

# --- crashes -----------------------------------------------------------------------------------------------------
writes=$(grep -c '"resource":"pods"' "$AUDIT_LOG")
[ "$writes" -gt 8 ] || die "the audit log holds only $writes writes of pods"
ok "the audit log counts writes ($writes of pods)"
kill -9 "$PID_KUBE_APISERVER" "$PID_KWOK_CONTROLLER"
if "$cluster" status --dir "$work/one" >/dev/null; then die "status does not see that the API server is dead"; fi
"$cluster" up --dir "$work/one"
expect 0 "up starts again what died; state is kept" Succeeded field pod/succeeds .status.phase
"$cluster" up --dir "$work/one"
. "$work/one/env"
kill -9 "$PID_ETCD" "$PID_KUBE_SCHEDULER"

"$cluster" down --dir "$work/one"
"$cluster" down --dir "$work/one" || die "down twice fails"
. "$work/two/env"
expect 0 "the other cluster is untouched" ok k get --raw /readyz
"$cluster" down --dir "$work/two"
left=$(pgrep -af "$work/" || true)
[ -z "$left" ] || die "processes are left: $left"
if [ -e "$work/one" ] || [ -e "$work/two" ]; then die "folders are left: $(ls -A "$work"/*)"; fi
if grep -qF "$work/" "$ports_dir"/[0-9]* 2>/dev/null; then die "ports are left claimed"; fi
ok "nothing is left: no process, folder or port"

# --- real nodes --------------------------------------------------------------------------------------------------
real_pod() { # name node shell-command [cpu]
  cat <<YAML
---
apiVersion: v1
kind: Pod
metadata: {name: $1}
spec:
  nodeName: $2
  restartPolicy: Never
  terminationGracePeriodSeconds: 20
  containers:
  - {name: main, image: "weir.test/busybox:1", command: [sh, -c, '$3'], resources: {requests: {cpu: "${4:-50m}"}}}
YAML
}

if [ -n "$with_real" ]; then
  mounts=$(cat /proc/self/mounts)
  links=$(ip -o link | wc -l)
  # A long path, as tests have it: sockets do not fit into it.
  long=$work/real/$(printf 'x%.0s' {1..90})
  "$cluster" up --dir "$long" --nodes 1 --real 2 --no-crds --node-grace 8s
  . "$long/env"
  expect 5 "two real nodes and a simulated one" "cpu-00=cpu real-0=real real-1=real" bash -c \
    "KUBECACHEDIR=$work/cache $KUBECTL --kubeconfig $KUBECONFIG get nodes --no-headers -L kind | awk '{print \$1 \"=\" \$NF}' | xargs"
  {
    real_pod ends real-0 'echo hello from a container'
    real_pod three real-1 'exit 3'
    real_pod big real-0 'true' 64
    real_pod polite real-1 'trap "echo told to stop; sleep 1; exit 7" TERM; echo up; while :; do sleep 0.1; done'
    real_pod survivor real-1 'sleep 97531'
    real_pod other real-0 'sleep 97531'
  } | k create -f - >/dev/null
  expect 30 "a container runs to its end" "Succeeded 0 Completed" \
    field pod/ends ".status.phase} {$main_state.terminated.exitCode} {$main_state.terminated.reason"
  expect 5 "its log can be read" "hello from a container" k logs ends
  expect 30 "one exits with a code" "Failed 3 Error" \
    field pod/three ".status.phase} {$main_state.terminated.exitCode} {$main_state.terminated.reason"
  expect 30 "one is refused by the kubelet" "Failed OutOfcpu" field pod/big '.status.phase} {.status.reason'
  expect 30 "one waits to be stopped" up k logs polite
  k get pod polite -w -o "jsonpath={$main_state.terminated.exitCode} " >"$work/polite" &
  watcher=$!
  sleep 0.5
  k delete pod polite >/dev/null
  kill $watcher 2>/dev/null || true
  grep -q '7 ' "$work/polite" || die "a stopped container ended with '$(cat "$work/polite")', not with 7"
  ok "it is stopped gracefully, and ends with its own exit code"
  kill -9 "$PID_REAL_1_KUBELET"
  expect 30 "a killed kubelet is noticed" Unknown ready_of real-1
  expect 0 "its pod still stands on it" "Running real-1" field pod/survivor '.status.phase} {.spec.nodeName'
  "$cluster" up --dir "$long" --real 2
  expect 20 "up starts the kubelet again, and the node is back" True ready_of real-1
  "$cluster" down --dir "$long"
  left=$(pgrep -af "$work/|weir-real-|sleep 97531" || true)
  [ -z "$left" ] || die "processes are left: $left"
  [ "$mounts" = "$(cat /proc/self/mounts)" ] || die "mounts are left: $(diff <(echo "$mounts") /proc/self/mounts)"
  [ "$links" = "$(ip -o link | wc -l)" ] || die "network links are left: $(ip -br link)"
  [ ! -e "$long" ] || die "files are left: $(ls -A "$long")"
  if compgen -G '/tmp/weir-real-*' >/dev/null; then die "folders are left: $(ls -d /tmp/weir-real-*)"; fi
  ok "nothing is left of the real nodes: no process, mount, link or folder"
fi
say "$checked checks passed"
