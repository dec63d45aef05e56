# shellcheck shell=bash
# What the scripts of this folder share: messages with seconds, where binaries are, processes and ports.
# Those that source it set $dir (the cluster's folder) and $cache (that of the binaries).

controlplane_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
# shellcheck disable=SC2034 # used by the scripts that read this file
repo_dir=$(cd "$controlplane_dir/../.." && pwd -P)

# Which Kubernetes: the minors of which modules are here (KUBERNETES=1.34).
case ${KUBERNETES:-1.36} in
1.36) kubernetes_version=v1.36.3 kubernetes_module=kubernetes ;;
1.34) kubernetes_version=v1.34.4 kubernetes_module=kubernetes-1.34 ;;
*)
  echo "error: KUBERNETES is ${KUBERNETES:-}; there are modules of 1.34 and 1.36" >&2
  exit 1
  ;;
esac
etcd_version=v3.6.8
kwok_version=v0.8.0
binaries="etcd kwok kwokctl kube-apiserver kube-controller-manager kube-scheduler kubectl kubelet"

started_us=${EPOCHREALTIME/[.,]/}

# seconds since the script began, such as 3.4
elapsed() {
  local tenths=$(((${EPOCHREALTIME/[.,]/} - started_us) / 100000))
  printf '%d.%d' $((tenths / 10)) $((tenths % 10))
}

# Progress goes to stderr, so that stdout holds only what a caller asked for.
say() { [ -n "${QUIET:-}" ] || printf '%6ss  %s\n' "$(elapsed)" "$*" >&2; }

die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

need() {
  local tool
  for tool in "$@"; do
    command -v "$tool" >/dev/null || die "$tool is missing; install it (Debian: apt-get install $tool)"
  done
}

version_flags() {
  local package=k8s.io/component-base/version minor=${kubernetes_version#v1.}
  printf -- '-s -w -X %s.gitVersion=%s -X %s.gitMajor=1 -X %s.gitMinor=%s -X %s.gitTreeState=clean' \
    $package $kubernetes_version $package $package "${minor%%.*}" $package
}

# The folder in the cache that belongs to exactly these modules and flags.
cache_dir() {
  local modules=$controlplane_dir hash
  hash=$({
    cat "$modules"/{etcd,kwok,"$kubernetes_module"}/go.{mod,sum}
    version_flags
    echo "$kubernetes_version $etcd_version $kwok_version ${FETCH:+fetched}" "$(uname -m)"
  } | sha256sum)
  printf '%s/controlplane/%s' "${WEIR_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/weir}" "${hash:0:16}"
}

# The path of one binary: that of KUBEBUILDER_ASSETS if it is there, else that of the cache.
binary() {
  if [ -n "${KUBEBUILDER_ASSETS:-}" ] && [ -x "$KUBEBUILDER_ASSETS/$1" ]; then
    printf '%s/%s' "$KUBEBUILDER_ASSETS" "$1"
  else
    printf '%s/%s' "$cache" "$1"
  fi
}

# --- processes -------------------------------------------------------------------------------------------------
# A process is recorded as "<pid> <start time>" in $dir/pids/<name>, so that a pid that the system gave to
# somebody else meanwhile is never taken for ours.

start_time() {
  local stat
  { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
  stat=${stat##*) }
  # shellcheck disable=SC2086 # split into fields on purpose
  set -- $stat
  [ "$1" != Z ] && echo "${20}"
}

record() { # name pid
  mkdir -p "$dir/pids"
  echo "$2 $(start_time "$2")" >"$dir/pids/$1"
}

recorded_pid() { # name: prints the pid if that very process lives
  local pid began
  { read -r pid began <"$dir/pids/$1"; } 2>/dev/null || return 1
  [ -n "$began" ] && [ "$(start_time "$pid")" = "$began" ] && echo "$pid"
}

await_end() { # seconds pid...
  local deadline=$((SECONDS + $1)) pid
  shift
  for pid in "$@"; do
    while start_time "$pid" >/dev/null; do
      [ $SECONDS -lt $deadline ] || return 1
      sleep 0.05
    done
  done
}

# --- ports -----------------------------------------------------------------------------------------------------
# Ports are taken below the range from which the kernel serves outgoing connections, and claimed in a folder
# that all clusters of a user share, so that clusters started side by side never race for one.

ports_dir=/tmp/weir-ports-$(id -u)

claim_ports() { # count: prints that many ports
  local count=$1 busy port first=20000 last=32000 tries=0 found=()
  mkdir -p "$ports_dir"
  exec 8>"$ports_dir/lock"
  flock -w 60 8 || die "cannot lock $ports_dir/lock"
  busy=" $(awk 'FNR > 1 && $4 == "0A" {sub(/.*:/, "", $2); print $2}' /proc/net/tcp /proc/net/tcp6 2>/dev/null |
    while read -r hex; do printf '%d ' "0x$hex"; done)"
  port=$((first + (RANDOM * 32768 + RANDOM) % (last - first - count)))
  while [ ${#found[@]} -lt "$count" ]; do
    [ $((tries += 1)) -lt $((last - first)) ] || die "no free ports between $first and $last"
    port=$((port + 1 < last ? port + 1 : first))
    [[ $busy != *" $port "* ]] || continue
    if [ -e "$ports_dir/$port" ]; then
      # A claim holds as long as the cluster's folder names it.
      grep -qx "$port" "$(cat "$ports_dir/$port")/ports" 2>/dev/null && continue
    fi
    echo "$dir" >"$ports_dir/$port"
    echo "$port" >>"$dir/ports"
    found+=("$port")
  done
  exec 8>&-
  echo "${found[@]}"
}

release_ports() {
  local port
  [ -f "$dir/ports" ] || return 0
  while read -r port; do
    if [ "$(cat "$ports_dir/$port" 2>/dev/null)" = "$dir" ]; then rm -f "$ports_dir/$port"; fi
  done <"$dir/ports"
  rm -f "$dir/ports"
}
