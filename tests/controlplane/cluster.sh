#!/usr/bin/env bash
# Starts and ends one cluster: a real control plane as ordinary processes, with simulated nodes (KWOK) and, as
# root, real ones (kubelet and containerd). Everything of it lives in one folder. See README.md.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$controlplane_dir/nodes.sh"
. "$controlplane_dir/realnodes.sh"

usage() {
  cat <<'TEXT'
cluster.sh up   --dir DIR [--nodes N | --no-nodes] [--real N] [--audit | --audit-bodies | --audit-reads]
                [--node-grace 40s] [--crds DIR | --no-crds]
cluster.sh down --dir DIR [--keep-logs]
cluster.sh status --dir DIR                  which processes live; exits 1 if one does not
cluster.sh add-nodes --dir DIR --nodes N     simulated nodes, numbered on
cluster.sh restart --dir DIR NAME            ends a process with SIGKILL and starts it again (such as kube-apiserver)
cluster.sh logs --dir DIR [NAME]             paths of the log files
TEXT
}

command=${1:-}
[ $# -gt 0 ] && shift
dir='' nodes='' real=0 audit='' grace=40s crds=$repo_dir/crds keep_logs='' name=''
while [ $# -gt 0 ]; do
  case $1 in
  --dir | --nodes | --real | --node-grace | --crds)
    [ $# -ge 2 ] || die "$1 needs a value"
    case $1 in
    --dir) dir=$2 ;;
    --nodes) nodes=$2 ;;
    --real) real=$2 ;;
    --node-grace) grace=$2 ;;
    --crds) crds=$2 ;;
    esac
    shift
    ;;
  --no-nodes) nodes=0 ;;
  --audit) audit="audit-policy.yaml" ;;
  --audit-bodies) audit="audit-policy-bodies.yaml" ;;
  --audit-reads) audit="audit-policy-reads.yaml" ;;
  --no-crds) crds='' ;;
  --keep-logs) keep_logs=1 ;;
  -*) die "unknown option $1
$(usage)" ;;
  *) name=$1 ;;
  esac
  shift
done
case $command in
up | down | status | add-nodes | restart | logs) ;;
help | -h | --help) usage && exit 0 ;;
*) usage >&2 && exit 2 ;;
esac
[ -n "$dir" ] || die "--dir is missing: the folder in which the cluster lives"
[[ ${nodes:-0}$real =~ ^[0-9]+$ ]] || die "--nodes and --real take a number"
[[ $grace =~ ^[1-9][0-9]*s$ ]] || die "--node-grace takes whole seconds, such as 10s"
# Nodes tell that they live four times as often as they are asked to: a lease is renewed after a quarter of it.
lease=$((${grace%s} < 40 ? ${grace%s} : 40))
need flock curl awk base64
if [ "$command" = up ]; then mkdir -p "$dir"; fi
if [ ! -d "$dir" ]; then
  [ "$command" = down ] && exit 0
  die "there is no cluster in $dir"
fi
dir=$(cd "$dir" && pwd -P)
kwok_home=$dir/kwok
cluster_home=$kwok_home/clusters/weir
pki=$cluster_home/pki
made="kwok real pids cache kubeconfig env url etcd-url ports kwok.yaml kwokctl.log apt.log"
components="etcd kube-apiserver kube-controller-manager kube-scheduler kwok-controller"

# Nobody else works on the same folder meanwhile. Processes that we start must not inherit the lock.
exec 9>"$dir/.lock"
flock -w 300 9 || die "another run has been working on $dir for 5 minutes"

exec_kwokctl() { # in a subshell, which becomes kwokctl
  PATH=$(dirname "$(binary kubectl)"):$PATH
  export KWOK_WORKDIR=$kwok_home KUBECACHEDIR=$dir/cache PATH
  exec "$(binary kwokctl)" --name weir "$@" 9>&- </dev/null
}

kubectl() {
  KUBECACHEDIR=$dir/cache "$(binary kubectl)" --kubeconfig "$dir/kubeconfig" "$@" 9>&-
}

api() { # path, options of curl...
  local path=$1
  shift
  curl -sS --cacert "$pki/ca.crt" --cert "$pki/admin.crt" --key "$pki/admin.key" "$@" "$(cat "$dir/url")$path"
}

# Where KWOK puts the pid of a component. It names the file after the binary.
kwok_pid_file() {
  local file=$cluster_home/pids/$1.pid
  [ "$1" != kwok-controller ] || [ -e "$file" ] || file=$cluster_home/pids/kwok.pid
  echo "$file"
}

# The pid of a component, if it lives and is ours: its arguments name our folder.
component_pid() {
  local pid file
  file=$(kwok_pid_file "$1")
  [ -f "$file" ] || return 1
  pid=$(cat "$file")
  start_time "$pid" >/dev/null && tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF "$dir/" && echo "$pid"
}

dead_components() {
  local component
  for component in $components; do
    component_pid "$component" >/dev/null || printf '%s ' "$component"
  done
}

write_config() { # ports
  local etcd_port=$1 peer_port=$2 api_port=$3 manager_port=$4 scheduler_port=$5 kwok_port=$6 patch
  extra() { # component, then key=value...
    echo "- name: $1"
    echo "  extraArgs:"
    shift
    for patch in "$@"; do
      printf '  - {key: %s, value: "%s"}\n' "${patch%%=*}" "${patch#*=}"
    done
  }
  {
    cat <<YAML
apiVersion: config.kwok.x-k8s.io/v1alpha1
kind: KwokctlConfiguration
options:
  runtime: binary
  bindAddress: 127.0.0.1
  etcdPort: $etcd_port
  etcdPeerPort: $peer_port
  kubeApiserverPort: $api_port
  kubeControllerManagerPort: $manager_port
  kubeSchedulerPort: $scheduler_port
  kwokControllerPort: $kwok_port
  nodeLeaseDurationSeconds: $lease
  heartbeatFactor: 1
  disableQPSLimits: true
  etcdBinary: $(binary etcd)
  kubeApiserverBinary: $(binary kube-apiserver)
  kubeControllerManagerBinary: $(binary kube-controller-manager)
  kubeSchedulerBinary: $(binary kube-scheduler)
  kwokControllerBinary: $(binary kwok)
  kubectlBinary: $(binary kubectl)
$([ -z "$audit" ] || echo "  kubeAuditPolicy: $controlplane_dir/$audit")
componentsPatches:
YAML
    extra etcd unsafe-no-fsync=true
    # The API server shows its certificate to real kubelets, for logs and exec.
    extra kube-apiserver advertise-address=127.0.0.1 endpoint-reconciler-type=none event-ttl=1h \
      "kubelet-client-certificate=$pki/admin.crt" "kubelet-client-key=$pki/admin.key" kubelet-preferred-address-types=InternalIP
    extra kube-controller-manager leader-elect=false \
      node-monitor-period=1s "node-monitor-grace-period=$grace"
    extra kube-scheduler leader-elect=false
    extra kwok-controller manage-all-nodes=false manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake \
      'manage-nodes-with-label-selector=sim.weir.dev/lost!=silent'
    cat <<YAML
---
apiVersion: config.kwok.x-k8s.io/v1alpha1
kind: KwokConfiguration
options:
  manageAllNodes: false
  manageNodesWithAnnotationSelector: kwok.x-k8s.io/node=fake
  manageNodesWithLabelSelector: sim.weir.dev/lost!=silent
  podPlayStageParallelism: ${KWOK_PARALLELISM:-8}
  nodePlayStageParallelism: 4
  nodeLeaseParallelism: 8
  podsOnNodeSyncParallelism: 4
  enablePodsOnNodeSyncStreamWatch: true
YAML
    for patch in "$controlplane_dir"/stages/*.yaml; do
      echo ---
      cat "$patch"
    done
  } >"$dir/kwok.yaml"
}

write_kubeconfig() {
  local part
  part=$(mktemp "$dir/.kubeconfig.XXXXXX")
  cat >"$part" <<YAML
apiVersion: v1
kind: Config
current-context: weir
contexts:
- name: weir
  context: {cluster: weir, user: admin}
clusters:
- name: weir
  cluster:
    server: $(cat "$dir/url")
    certificate-authority-data: $(base64 -w0 "$pki/ca.crt")
users:
- name: admin
  user:
    client-certificate-data: $(base64 -w0 "$pki/admin.crt")
    client-key-data: $(base64 -w0 "$pki/admin.key")
YAML
  mv "$part" "$dir/kubeconfig"
}

# What a test or a shell needs to know: KEY=value, one a line, written anew by every `up`.
write_env() {
  local component file
  {
    echo "KUBECONFIG=$dir/kubeconfig"
    echo "KUBECTL=$(binary kubectl)"
    echo "CLUSTER_DIR=$dir"
    echo "API_SERVER_URL=$(cat "$dir/url")"
    echo "ETCD_URL=$(cat "$dir/etcd-url")"
    echo "CA_FILE=$pki/ca.crt"
    echo "CERT_FILE=$pki/admin.crt"
    echo "KEY_FILE=$pki/admin.key"
    if [ -f "$cluster_home/logs/audit.log" ]; then echo "AUDIT_LOG=$cluster_home/logs/audit.log"; fi
    for file in "$dir"/pids/*; do
      [ -f "$file" ] || continue
      component=$(basename "$file")
      component=${component//-/_}
      echo "PID_${component^^}=$(cut -d' ' -f1 "$file")"
    done
  } >"$dir/.env.part"
  mv "$dir/.env.part" "$dir/env"
}

record_components() {
  local component pid
  for component in $components; do
    pid=$(component_pid "$component") || return 1
    record "$component" "$pid"
  done
}

# The last words of what died.
tail_logs() {
  local component file
  for component in kwokctl $(dead_components); do
    file=$cluster_home/logs/$component.log
    [ "$component" != kwokctl ] || file=$dir/kwokctl.log
    [ -s "$file" ] || continue
    printf -- '--- %s said last:\n' "$component" >&2
    { grep -E '"level":"?(ERROR|error|fatal|panic)|^[EF][0-9]{4} |^(Error|panic)' "$file" || true; } |
      sed -E 's/"source":\{[^}]*\},//; s/"time":"[^"]*",//' | tail -n 3 | cut -c1-400 >&2
  done
}

# Waits until the API server says that it is ready, or one of the processes has died.
await_ready() {
  local deadline=$((SECONDS + 90)) dead
  until [ "$(api /readyz 2>/dev/null || true)" = ok ]; do
    dead=$(dead_components)
    [ -z "$dead" ] || { echo "died while starting: $dead" >&2 && return 1; }
    [ $SECONDS -lt $deadline ] || { echo "the API server is not ready after 90 s" >&2 && return 1; }
    sleep 0.1
  done
  # The manager makes the account that every pod of the default namespace needs.
  until api /api/v1/namespaces/default/serviceaccounts/default -f -o /dev/null 2>/dev/null; do
    dead=$(dead_components)
    [ -z "$dead" ] || { echo "died while starting: $dead" >&2 && return 1; }
    [ $SECONDS -lt $deadline ] || { echo "the controller manager does nothing after 90 s" >&2 && return 1; }
    sleep 0.1
  done
}

create() {
  local ports
  touch "$dir/.cluster"
  read -ra ports <<<"$(claim_ports 6)"
  [ ${#ports[@]} -eq 6 ] || return 1
  echo "http://127.0.0.1:${ports[0]}" >"$dir/etcd-url"
  echo "https://127.0.0.1:${ports[2]}" >"$dir/url"
  write_config "${ports[@]}"
  # In the background, so that a run that is interrupted, or ended in any way, leaves word of it.
  exec_kwokctl create cluster --config "$dir/kwok.yaml" --kubeconfig= >"$dir/kwokctl.log" 2>&1 &
  record kwokctl $!
  wait $! || return 1
  rm -f "$dir/pids/kwokctl"
  await_ready && record_components
}

install_crds() {
  if [ -n "$crds" ] && compgen -G "$crds/*.yaml" >/dev/null; then
    kubectl apply --server-side --force-conflicts -f "$crds" >/dev/null
    kubectl wait --for=condition=Established -f "$crds" --timeout=30s >/dev/null
    say "installed $(compgen -G "$crds/*.yaml" | wc -l) CRDs of $crds"
  fi
}

up() {
  local attempt
  cache=$("$controlplane_dir/control-plane.sh" 9>&-)
  if [ -f "$dir/env" ]; then
    local dead
    dead=$(dead_components)
    if [ -n "$dead" ]; then
      say "starting again what died: $dead"
      start_dead
    fi
    real_up "$(real_count "$real")"
    write_env
    say "the cluster in $dir is up$([ -n "$dead" ] || echo ' already'): KUBECONFIG=$dir/kubeconfig"
    return
  fi
  remove_all # what an interrupted run may have left
  local file
  for file in $made; do
    [ ! -e "$dir/$file" ] || die "$dir/$file is not ours; choose a folder that is empty or not there"
  done
  trap clean_up EXIT
  trap 'exit 130' INT TERM HUP
  touch "$dir/.cluster"
  [ "$real" = 0 ] || real_check
  say "starting etcd, API server, controller manager, scheduler and KWOK"
  for attempt in 1 2 3; do
    create && break
    tail_logs
    [ "$attempt" -lt 3 ] || die "the control plane did not start in three attempts; see above"
    say "did not start; trying again with other ports"
    remove_all
  done
  say "the API server is ready: $(cat "$dir/url")"
  write_kubeconfig
  install_crds
  add_nodes "${nodes:-30}"
  real_up "$real"
  write_env
  trap - EXIT INT TERM HUP
  say "the cluster is up: KUBECONFIG=$dir/kubeconfig"
}

clean_up() {
  local status=$?
  trap - EXIT
  say "failed; cleaning up"
  remove_all
  remove_dir
  exit $status
}

start_dead() {
  local component
  for component in $components; do
    component_pid "$component" >/dev/null || rm -f "$(kwok_pid_file "$component")"
  done
  (exec_kwokctl start cluster) >>"$dir/kwokctl.log" 2>&1 || say "kwokctl says: $(tail -n 1 "$dir/kwokctl.log")"
  if ! await_ready || ! record_components; then
    tail_logs
    die "what died does not start again"
  fi
}

# Ends every process of this folder and removes what `up` made. Also after a crash of any part; also twice.
remove_all() {
  local component file pid pids=()
  [ -e "$dir/.cluster" ] || return 0 # so that nobody else's folder is ever emptied
  # First what would start something anew.
  if pid=$(recorded_pid kwokctl); then
    { kill -9 "$pid" && wait "$pid"; } 2>/dev/null || true
    await_end 10 "$pid" || die "kwokctl ($pid) does not end"
  fi
  real_down
  for component in $components; do
    if pid=$(component_pid "$component"); then pids+=("$pid"); fi
  done
  # And those of which kwokctl had not yet written the pid: it starts them in its own folder.
  while read -r file; do
    file=${file#/proc/}
    pids+=("${file%/cwd}")
  done < <(find /proc -maxdepth 2 -name cwd -lname "$cluster_home" 2>/dev/null)
  for file in "$dir"/pids/*; do
    if [ -f "$file" ] && pid=$(recorded_pid "$(basename "$file")"); then pids+=("$pid"); fi
  done
  if [ ${#pids[@]} -gt 0 ]; then
    # The state is thrown away: nothing needs time to end well.
    kill -9 "${pids[@]}" 2>/dev/null || true
    await_end 10 "${pids[@]}" || die "processes do not end: ${pids[*]}"
  fi
  release_ports
  if [ -n "$keep_logs" ] && [ -d "$cluster_home/logs" ]; then
    rm -rf "$dir/logs" && mv "$cluster_home/logs" "$dir/logs"
  fi
  for file in $made; do rm -rf "${dir:?}/$file"; done
  rm -rf "$dir"/.{image,nodes,kubeconfig,env}.* "$dir/.cluster"
}

# The folder itself goes if nobody else has put anything into it.
remove_dir() {
  rm -f "$dir/.lock"
  rmdir "$dir" 2>/dev/null || true
}

down() {
  local had=
  [ ! -e "$dir/.cluster" ] || had=1
  remove_all
  remove_dir
  if [ -n "$had" ]; then say "the cluster in $dir is gone"; else say "there was no cluster in $dir"; fi
}

status() {
  local component file pid worst=0
  for component in $components; do
    if pid=$(component_pid "$component"); then echo "$component runs ($pid)"; else
      echo "$component is dead"
      worst=1
    fi
  done
  for file in "$dir"/pids/*; do
    [[ -f $file && " $components " != *" $(basename "$file") "* ]] || continue
    if pid=$(recorded_pid "$(basename "$file")"); then echo "$(basename "$file") runs ($pid)"; else
      echo "$(basename "$file") is dead"
      worst=1
    fi
  done
  return $worst
}

restart() {
  local pid
  [[ " $components " == *" $name "* ]] || die "restart takes one of: $components"
  if pid=$(component_pid "$name"); then
    kill -9 "$pid"
    await_end 10 "$pid"
  fi
  start_dead
  write_env
  say "$name is there again"
}

[ "$command" = down ] || cache=$(cache_dir)
case $command in
up) up ;;
down) down ;;
status) status ;;
add-nodes) add_nodes "${nodes:-1}" ;;
restart) restart ;;
logs) ls "$cluster_home"/logs/*"$name"*.log "$dir"/real/*/*.log 2>/dev/null || true ;;
esac
