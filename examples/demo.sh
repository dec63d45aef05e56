#!/usr/bin/env bash
# `make demo`: from nothing to a company of pools at work, and `make down`, which ends it. See examples/README.md.
#
#   demo.sh up   --dir DIR      a control plane with simulated nodes, the operator, and the manifests beside this file
#   demo.sh down --dir DIR      takes back what `up` did to a cluster of yours; one of ours is ended by cluster.sh
#
# VMS=1             virtual machines and pods in one pool, with a stand-in for KubeVirt; on a control plane of ours only
# DRIVE=kind        use a kind cluster called weir-demo, made if it is not there
# KUBECONFIG=...    use your cluster; CONFIRM=1 says that you have read what will be done to it
# WEIR=...          use this program instead of building it
set -euo pipefail
examples=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
# shellcheck source=../tests/controlplane/lib.sh
. "$examples/../tests/controlplane/lib.sh"

command=${1:-}
[ $# -eq 0 ] || shift
dir=.run mine='' log=''
while [ $# -gt 0 ]; do
  case $1 in
  --dir) dir=${2:?--dir needs a folder} && shift ;;
  *) die "unknown option $1" ;;
  esac
  shift
done
[[ $command =~ ^(up|down)$ ]] || die "write: demo.sh up|down --dir DIR"

kind_name='weir-demo'
namespaces="vision reports shop sandbox weir-system"
cluster=$repo_dir/tests/controlplane/cluster.sh

k() { "$KUBECTL" "$@"; }

# --- which cluster ---------------------------------------------------------------------------------------------

# Sets mine: whether the cluster is one of `make up`. Says at once what is missing.
look_ahead() {
  mine=1
  if [ -z "${DRIVE:-}" ] && { [ -z "${KUBECONFIG:-}" ] || [ "$(realpath -m "$KUBECONFIG")" = "$(realpath -m "$dir/kubeconfig")" ]; }; then
    unset KUBECONFIG
    return
  fi
  mine=
  [ -z "${VMS:-}" ] || die "VMS=1 needs a control plane of its own, for a stand-in plays KubeVirt there: make demo VMS=1 KUBECONFIG=
  On a cluster with KubeVirt: kubectl apply -f examples/company/00-namespaces.yaml -f examples/company/10-pools.yaml -f examples/machines"
  KUBECTL=$(command -v kubectl) || die "kubectl is missing; install it: https://kubernetes.io/docs/tasks/tools"
  case ${DRIVE:-} in
  '') k version >/dev/null 2>&1 || die "no cluster answers by KUBECONFIG=$KUBECONFIG
  For a control plane of its own: KUBECONFIG= make demo" ;;
  kind) command -v kind >/dev/null || die "kind is missing; install it (https://kind.sigs.k8s.io), or leave DRIVE away:
  make demo alone needs neither kind nor a container runtime" ;;
  *) die "DRIVE=$DRIVE is not known; write DRIVE=kind, or leave it away" ;;
  esac
}

# Sets KUBECONFIG, KUBECTL and log (the operator's).
choose_cluster() {
  mkdir -p "$dir"
  dir=$(cd "$dir" && pwd -P)
  if [ -n "$mine" ]; then
    "$cluster" up --dir "$dir" --nodes "${NODES:-30}" --no-crds
    set -a
    # shellcheck disable=SC1091 # written by cluster.sh
    . "$dir/env"
    set +a
    log=$dir/kwok/clusters/weir/logs/weir.log
    return
  fi
  log=$dir/weir.log
  if [ "${DRIVE:-}" = kind ]; then
    if ! kind get clusters 2>/dev/null | grep -qx $kind_name; then
      say "creating the kind cluster $kind_name"
      kind create cluster --name $kind_name --kubeconfig "$dir/kind-kubeconfig" --wait 120s >&2 ||
        die "kind could not create its cluster; it needs Docker, Podman or nerdctl running"
      touch "$dir/kind-made"
    fi
    kind get kubeconfig --name $kind_name >"$dir/kind-kubeconfig"
    export KUBECONFIG=$dir/kind-kubeconfig CONFIRM=1
  fi
  announce
}

# Nodes that take pods and are in no pool, each with the kind that the examples select by.
free_nodes() {
  k get nodes --no-headers -o custom-columns='N:.metadata.name,P:.metadata.labels.weir\.dev/pool,K:.metadata.labels.kind,U:.spec.unschedulable,T:.spec.taints[*].effect,G:.status.allocatable.nvidia\.com/gpu' |
    while read -r name pool kind cordoned taints gpus; do
      if [ "$pool" != '<none>' ] || [ "$cordoned" = true ] || [[ $taints == *NoSchedule* ]]; then continue; fi
      [ "$kind" = '<none>' ] || { echo "$name weir.dev/pool=company" && continue; }
      if [ "$gpus" = '<none>' ]; then kind=cpu; else kind=gpu; fi
      echo "$name weir.dev/pool=company kind=$kind"
    done
}

announce() {
  local nodes
  nodes=$(free_nodes)
  cat >&2 <<TEXT

This uses the cluster of KUBECONFIG=$KUBECONFIG (context $(k config current-context)). It will
  - install two CRDs: resourcepools.weir.dev and pooledworkloads.weir.dev
  - create the namespaces $namespaces
  - create five pools and about a dozen workloads, whose pods sleep in busybox:1.37
  - run the operator on this machine, with the rights of that kubeconfig
  - label nodes that are in no pool yet (no taint is set):
$(if [ -n "$nodes" ]; then while read -r node; do echo "      kubectl label node $node"; done <<<"$nodes"; else echo "      none"; fi)
\`make down\` takes all of this back. The numbers are made for 30 large nodes: on a small cluster most of it waits,
and says why.

TEXT
  if [ "${CONFIRM:-}" != 1 ]; then
    rmdir "$dir" 2>/dev/null || true
    die "nothing was done. If this is what you want: make demo CONFIRM=1
  For a control plane of its own: KUBECONFIG= make demo"
  fi
  : >>"$dir/foreign"
  while read -r node labels; do
    [ -n "$node" ] || continue
    # shellcheck disable=SC2086 # one or two labels
    k label node "$node" $labels >/dev/null
    echo "$node $labels" >>"$dir/foreign"
    say "labelled node $node: $labels"
  done <<<"$nodes"
}

# --- the operator ----------------------------------------------------------------------------------------------

build() {
  weir=${WEIR:-}
  if [ -z "$weir" ]; then
    command -v cargo >/dev/null || die "cargo is missing; install Rust from https://rustup.rs, or set WEIR to a built program"
    say "building the operator (a few minutes the first time)"
    (cd "$repo_dir" && cargo build --quiet ${VMS:+--bin weir --example kubevirt}) || die "the operator does not build; the messages above are the compiler's"
    weir=$(cd "$repo_dir" && cargo metadata --format-version 1 --no-deps | sed -E 's/.*"target_directory":"([^"]*)".*/\1/')/debug/weir
  fi
  [ -x "$weir" ] || die "there is no program $weir"
  stand_in=$(dirname "$weir")/examples/kubevirt
  [ -z "${VMS:-}" ] || [ -x "$stand_in" ] || die "there is no program $stand_in; leave WEIR away, so that it is built"
  say "the operator is built: $("$weir" --version)"
}

install() {
  k apply --server-side --force-conflicts -f "$repo_dir/crds" >/dev/null
  k wait --for=condition=Established -f "$repo_dir/crds" --timeout=30s >/dev/null
  k create namespace weir-system --dry-run=client -o yaml | k apply -f - >/dev/null
}

# Ends what an earlier run has left.
end_last() { # name of the record
  local pid
  if pid=$(recorded_pid "$1"); then
    say "ending $1 of the last run ($pid)"
    kill "$pid"
    await_end 20 "$pid" || kill -9 "$pid"
  fi
}

# The address that the operator's log tells with these words.
told_address() { sed -E 's/\x1b\[[0-9;]*m//g' "$log" | sed -nE "s/.*$1 .*address=([0-9.:]+).*/\1/p" | head -n 1; }

start_operator() {
  local pid deadline=$((SECONDS + 60)) address=''
  end_last weir
  # In a session of its own: interrupting this script does not end it. `make down` does.
  setsid "$weir" run --namespace weir-system --http-addr 127.0.0.1:0 --metrics-addr 127.0.0.1:0 >"$log" 2>&1 </dev/null &
  pid=$!
  record weir "$pid"
  until [ -n "$address" ] && curl -sf -o /dev/null "http://$address/readyz"; do
    if ! start_time "$pid" >/dev/null; then
      tail -n 5 "$log" >&2
      die "the operator ended; its log is $log"
    fi
    [ $SECONDS -lt $deadline ] || die "the operator is not ready after 60 s; its log is $log"
    address=$(told_address 'serves health')
    sleep 0.1
  done
  metrics=http://$(told_address 'serves metrics on this machine')/metrics
  say "the operator runs (pid $pid); its log is ${log#"$PWD"/}"
}

# A stand-in does what KubeVirt's controllers would do: its containers cannot run on simulated nodes.
start_kubevirt() {
  local pid deadline=$((SECONDS + 60)) said=$dir/kwok/clusters/weir/logs/kubevirt.log
  end_last kubevirt
  setsid "$stand_in" >"$said" 2>&1 </dev/null &
  pid=$!
  record kubevirt "$pid"
  until grep -q 'plays KubeVirt' "$said"; do
    if ! start_time "$pid" >/dev/null || [ $SECONDS -gt $deadline ]; then
      tail -n 5 "$said" >&2
      die "the stand-in for KubeVirt does not run; its log is $said"
    fi
    sleep 0.1
  done
  k label nodes --all kubevirt.io/schedulable=true --overwrite >/dev/null
  say "a stand-in plays KubeVirt (pid $pid)"
}

# --- the story -------------------------------------------------------------------------------------------------

give() { k apply -f "$examples/$1" >/dev/null; }

await() { # what, condition, further arguments of kubectl...
  local what=$1 condition=$2
  shift 2
  k wait --for="$([[ $condition == *=* ]] || echo condition=)$condition" "$what" --timeout=60s "$@" >/dev/null 2>"$dir/said" || {
    cat "$dir/said" >&2
    why
    tail -n 5 "$log" >&2
    die "$what is not $condition after 60 s; the operator's log is $log"
  }
}

reason() { k get pw "$1" -n "$2" -o jsonpath='{.status.pending.reason}' 2>/dev/null || true; }

await_reason() { # name, namespace, reason
  local deadline=$((SECONDS + 30))
  until [ "$(reason "$1" "$2")" = "$3" ]; do
    [ $SECONDS -lt $deadline ] || {
      why
      die "$2/$1 does not say $3 after 30 s, but $(reason "$1" "$2")"
    }
    sleep 0.1
  done
}

pool() { # name, resource, field: one number of a pool's status
  k get rp "$1" -o jsonpath="{.status.resources[?(@.name==\"$2\")].$3}"
}

tell() {
  give company/00-namespaces.yaml
  give company/10-pools.yaml
  await rp Ready company research analytics platform
  say "a company and its pools: $(k get rp company -o jsonpath='{.status.nodes.total}') nodes, $(pool company cpu capacity) CPUs, $(pool company nvidia.com/gpu capacity) GPUs"

  give company/20-service.yaml
  await pw/storefront Running -n shop
  say "a service runs: shop/storefront, 6 members, spread over nodes"

  give company/30-batch.yaml
  await pw Running -n reports nightly backfill-1 backfill-2 backfill-3
  give company/31-batch-waits.yaml
  await_reason backfill-4 reports WaitingForQuota
  say "batch jobs run; analytics uses $(pool analytics cpu allocated) CPUs, $(pool analytics cpu borrowed) of them borrowed; backfill-4 waits: its limit is $(pool analytics cpu limit)"

  give company/40-gangs.yaml
  await pw Running -n vision train-vision train-language
  give company/41-gang-waits.yaml
  await_reason train-speech vision WaitingForQuota
  say "two gangs run, all or nothing: $(pool training nvidia.com/gpu allocated) GPUs in use; train-speech waits for 16"

  give company/50-urgent.yaml
  await_reason fix-recall vision WaitingForQuota
  say "an urgent workload is submitted last: vision/fix-recall, priority 900; waiting for train-vision to end (30 s)"
  await pw/train-vision Finished -n vision
  await pw/fix-recall Running -n vision
  say "train-vision has ended, and fix-recall went first; train-speech waits on"

  await pw/nightly Finished -n reports
  give company/60-reclaim.yaml
  await pw/black-friday Running -n shop
  say "platform asked for what it reserves: black-friday runs, and reports/$(evicted) gave way (reason Reclaimed) and waits again"

  k apply -f "$examples/refused" >/dev/null
  await_reason train-everything vision ExceedsLimit
  await_reason miner sandbox NamespaceNotAllowed
  say "two that cannot run are told so: one too large for its pool, one from a namespace that may not submit"
}

# What runs of a machine: its UID, which another start would change, and its node.
instance() { k get vmi "$1" -n shop -o jsonpath="{.$2}"; }

tell_machines() {
  local before node deadline
  give company/00-namespaces.yaml
  give company/10-pools.yaml
  give machines/10-pool.yaml
  await rp Ready company mixed
  say "one pool for machines and pods: mixed, $(pool mixed cpu limit) CPUs on $(k get rp mixed -o jsonpath='{.status.nodes.total}') nodes"

  give machines/20-databases.yaml
  await pw/postgres Running -n shop
  give machines/30-pods.yaml
  await pw/workers Running -n shop
  # Nine are wanted, and eight fit.
  await pw/workers jsonpath='{.status.members.running}'=8 -n shop
  say "three machines run, and pods beside them, eight of the nine that are wanted; allocated: $(pool mixed cpu allocated) of $(pool mixed cpu limit) CPUs"

  give machines/40-compete.yaml
  await pw/build-server Running -n shop
  await_reason desktop shop WaitingForQuota
  say "a larger machine of higher priority came: the pods shrank to $(members workers) for it; desktop waits, for it has the lowest priority"

  before=$(instance postgres-0 metadata.uid) node=$(instance postgres-0 status.nodeName)
  printf '\nnode %s is drained: kubectl cordon %s; kubectl annotate node %s weir.dev/drain=true\n\n' "$node" "$node" "$node"
  k get pods -n shop -o wide --field-selector "spec.nodeName=$node"
  echo
  k cordon "$node" >/dev/null
  k annotate node "$node" weir.dev/drain=true >/dev/null
  deadline=$((SECONDS + 60))
  until [ -z "$(k get pods -n shop --no-headers --field-selector "spec.nodeName=$node,status.phase=Running" 2>/dev/null)" ]; do
    [ $SECONDS -lt $deadline ] || {
      k get pods -n shop -o wide
      k get pw -n shop
      die "node $node is not empty after 60 s; the operator's log is $log"
    }
    sleep 0.2
  done
  [ "$(instance postgres-0 metadata.uid)" = "$before" ] || die "postgres-0 was stopped and started again: it has another UID"
  say "node $node is empty: postgres-0 runs on $(instance postgres-0 status.nodeName) and was never stopped (its instance has the same UID, ${before%%-*}...)"
}

members() { k get pw "$1" -n shop -o jsonpath='{.status.members.running}'; }

show_machines() {
  local config=${KUBECONFIG#"$PWD"/}
  printf '\nkubectl get rp mixed\n\n'
  k get rp mixed
  printf '\nkubectl get pw -n shop\n\n'
  k get pw -n shop
  printf '\nMachines and pods, each on the node that Weir chose:\n\n'
  k get pods -n shop -l weir.dev/pool=mixed -o custom-columns='MEMBER OF:.metadata.labels.weir\.dev/workload,POD:.metadata.name,MACHINE:.metadata.annotations.kubevirt\.io/domain,NODE:.spec.nodeName,CPU:.spec.containers[0].resources.requests.cpu,PHASE:.status.phase'
  printf '\nWhy the waiting ones wait (status.pending of each):\n\n'
  why
  cat <<TEXT

What to try next:

  export KUBECONFIG=$config
  kubectl get vm,vmi -n shop                              # the machines, as KubeVirt shows them
  kubectl get vmim -n shop                                # their migrations
  kubectl describe pw postgres -n shop                    # where each member is, and its events
  kubectl patch pw build-server -n shop --type=merge -p '{"spec":{"suspend":true}}'   # stopped, and its disks kept: the pods grow again
  kubectl delete vm postgres-1 -n shop                    # it is made again
$([ "$KUBECTL" = "$(command -v kubectl)" ] || printf '\n  If you have no kubectl: alias kubectl=%s\n' "$KUBECTL")
It stays up until \`make down\`.
TEXT
}

# All at once, as in a cluster of yours, of which nothing is known, or when they are there already.
give_all() {
  k apply -f "$examples/company" -f "$examples/refused" >/dev/null
  await rp/company Ready
  # Until every workload has been looked at.
  k wait --for=jsonpath='{.status.phase}' pw --all -A --timeout=30s >/dev/null
  [ -n "$mine" ] || k wait --for=condition=Running pw/storefront -n shop --timeout=30s >/dev/null 2>&1 || true
}

evicted() {
  k get pw -n reports -o jsonpath='{range .items[?(@.status.evictions)]}{.metadata.name}{" "}{end}' | sed 's/ $//'
}

why() {
  k get pw -A -o jsonpath='{range .items[?(@.status.pending)]}{"  "}{.metadata.namespace}/{.metadata.name}{": "}{.status.pending.reason}{"\n      "}{.status.pending.message}{"\n"}{end}'
}

show() {
  local config=${KUBECONFIG#"$PWD"/}
  printf '\nkubectl get rp\n\n'
  k get rp
  printf '\nkubectl get pw -A\n\n'
  k get pw -A
  printf '\nWhy the waiting ones wait (status.pending of each):\n\n'
  why
  cat <<TEXT

What to try next:

  export KUBECONFIG=$config
  kubectl get rp -o wide                                  # GPUs, policy, parent and weight
  kubectl describe rp analytics                           # what it borrows, what is idle, its conditions
  kubectl describe pw train-speech -n vision              # its place in the queue, why it waits, its events
  kubectl get pods -A -l weir.dev/pool=training -o wide   # members are ordinary pods, on chosen nodes
  kubectl delete pw train-language -n vision              # room: train-speech starts at once
  kubectl label namespace sandbox team=platform           # now the miner may submit
  kubectl patch rp analytics --type=merge -p '{"spec":{"stopPolicy":"HoldAndDrain"}}'   # empty a pool
  kubectl explain pw.spec                                 # every field
  curl -s $metrics | grep ^weir_
$([ "$KUBECTL" = "$(command -v kubectl)" ] || printf '\n  If you have no kubectl: alias kubectl=%s\n' "$KUBECTL")
It stays up until \`make down\`.
TEXT
}

up() {
  need curl sed setsid
  look_ahead
  build
  # The seconds that are shown are those of what follows, here as in cluster.sh.
  # shellcheck disable=SC2034 # lib.sh reads it
  started_us=${EPOCHREALTIME/[.,]/}
  choose_cluster
  install
  start_operator
  if [ -n "${VMS:-}" ]; then
    start_kubevirt
    tell_machines
    rm -f "$dir/said"
    show_machines
    return
  fi
  if [ -z "$mine" ]; then
    say "applying the examples"
    give_all
  elif k get pw miner -n sandbox >/dev/null 2>&1; then
    say "the examples are there already; applying them again"
    give_all
  else
    tell
  fi
  rm -f "$dir/said"
  show
}

# --- down ------------------------------------------------------------------------------------------------------

down() {
  [ -f "$dir/foreign" ] || return 0 # nothing of ours in somebody's cluster
  dir=$(cd "$dir" && pwd -P)
  if [ -f "$dir/kind-made" ]; then
    kind delete cluster --name $kind_name
  else
    [ ! -f "$dir/kind-kubeconfig" ] || export KUBECONFIG=$dir/kind-kubeconfig
    [ -n "${KUBECONFIG:-}" ] || die "set KUBECONFIG to the cluster that the demo used, to take the demo back from it"
    KUBECTL=$(command -v kubectl) || die "kubectl is missing"
    say "deleting the examples from the cluster of $KUBECONFIG"
    k delete --ignore-not-found --timeout=60s -f "$examples/refused" -f "$examples/company" >/dev/null ||
      say "not all of it went within a minute"
    k delete --ignore-not-found -f "$repo_dir/crds" --timeout=60s >/dev/null || say "the CRDs are still there"
    k delete --ignore-not-found namespace weir-system >/dev/null
    while read -r node labels; do
      labels=$(sed -E 's/=[^ ]*/-/g' <<<"$labels")
      # shellcheck disable=SC2086 # one or two labels
      k label node "$node" $labels >/dev/null || true
      say "node $node has its labels back"
    done <"$dir/foreign"
  fi
  end_last weir
  rm -f "$dir"/{foreign,kind-made,kind-kubeconfig,weir.log,said,pids/weir}
  rmdir "$dir/pids" "$dir" 2>/dev/null || true
  say "the demo is gone from your cluster"
}

$command
