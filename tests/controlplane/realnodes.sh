# shellcheck shell=bash
# Real nodes: a kubelet on a containerd of its own each, with images made here. Sourced by cluster.sh; needs root.
#
# Everything of a node lives in <cluster's folder>/real/<number>. Sockets need short paths, so where the
# cluster's folder has a long one, it is a folder in /tmp that real/home names.
#
# A node runs in a mount namespace of its own, in which the folders of the machine that containerd, CNI and the
# kubelet insist on are the node's. So they touch nothing of the machine's, several nodes do not meet, and all
# mounts end with the processes. A holder (a process that sleeps) keeps the namespace while others come and go.

# What they insist on, and each node has for itself.
private_folders="/var/lib/kubelet /var/lib/cni /var/log/containers /run/containerd"

real_home() {
  local home
  if [ -f "$dir/real/home" ]; then home=$(<"$dir/real/home"); else
    home=$dir/real
    # The longest socket below it is /<number>/kubelet/device-plugins/kubelet.sock; the kernel allows 107 bytes.
    [ ${#home} -le 60 ] || home=/tmp/weir-real-$(echo "$dir" | sha256sum | head -c 12)
    mkdir -p "$dir/real" "$home"
    echo "$home" >"$dir/real/home"
  fi
  echo "$home"
}

# How many nodes there shall be: those asked for, but no fewer than there are.
real_count() {
  local count=$1
  if [ -d "$dir/real" ]; then
    while [ -d "$(real_home)/$count" ]; do count=$((count + 1)); done
  fi
  echo "$count"
}

# Says what is missing, or installs it, before anything is started.
real_check() {
  local wanted=() tool package cni_package=containernetworking-plugins
  for tool in containerd:containerd ctr:containerd runc:runc ip:iproute2 unshare:util-linux nsenter:util-linux; do
    package=${tool#*:}
    command -v "${tool%:*}" >/dev/null || wanted+=("$package")
  done
  [ -n "$(cni_folder)" ] || wanted+=("$cni_package")
  busybox_static >/dev/null || wanted+=(busybox-static)
  [ "$(id -u)" = 0 ] || die "real nodes need root${wanted[*]:+, and these packages: ${wanted[*]}}.
  Run it as root, or leave out REAL (--real): simulated nodes need no rights."
  [ ${#wanted[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null || die "real nodes need ${wanted[*]}; install them with your package manager"
  say "installing ${wanted[*]} with apt-get"
  {
    apt-get install -y --no-install-recommends "${wanted[@]}" ||
      { apt-get update && apt-get install -y --no-install-recommends "${wanted[@]}"; }
  } >"$dir/apt.log" 2>&1 9>&- </dev/null || die "apt-get failed: $(tail -n 3 "$dir/apt.log")"
  busybox_static >/dev/null || die "busybox is there, but not a static one; install busybox-static"
  rm -f "$dir/apt.log"
}

cni_folder() {
  local folder
  for folder in /usr/lib/cni /opt/cni/bin /usr/libexec/cni; do
    if [ -x "$folder/bridge" ] && [ -x "$folder/host-local" ]; then
      echo $folder
      return
    fi
  done
}

# A busybox that needs no libraries: it is all that our images hold.
busybox_static() {
  local path
  path=$(command -v busybox) && [[ $(ldd "$path" 2>&1) == *"not a dynamic"* ]] && echo "$path"
}

# Makes an OCI archive by hand: one layer with busybox under all of its names. No registry is asked.
make_image() { # name, file, entrypoint and command as JSON
  local name=$1 file=$2 work layer layer_sha layer_size config config_sha manifest manifest_sha applet arch
  work=$(mktemp -d "$dir/.image.XXXXXX")
  mkdir -p "$work/root"/{bin,etc,tmp,dev,proc,sys,root} "$work/image/blobs/sha256"
  cp "$(busybox_static)" "$work/root/bin/busybox"
  for applet in $("$(busybox_static)" --list); do
    [ "$applet" = busybox ] || ln -s busybox "$work/root/bin/$applet"
  done
  chmod 1777 "$work/root/tmp"
  echo "root:x:0:0:root:/root:/bin/sh" >"$work/root/etc/passwd"
  tar -C "$work/root" --owner=0 --group=0 --numeric-owner --mtime=@0 --sort=name -cf "$work/layer" .
  layer=$(sha256sum "$work/layer") layer_sha=${layer%% *} layer_size=$(stat -c %s "$work/layer")
  mv "$work/layer" "$work/image/blobs/sha256/$layer_sha"
  case $(uname -m) in aarch64 | arm64) arch=arm64 ;; *) arch=amd64 ;; esac
  config='{"architecture":"'$arch'","os":"linux","config":{"Env":["PATH=/bin"],'$3'},'
  config+='"rootfs":{"type":"layers","diff_ids":["sha256:'$layer_sha'"]}}'
  config_sha=$(put_blob "$work/image" "$config")
  manifest='{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":'
  manifest+='"application/vnd.oci.image.config.v1+json","digest":"sha256:'$config_sha'","size":'${#config}'},"layers":'
  manifest+='[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:'$layer_sha'","size":'$layer_size'}]}'
  manifest_sha=$(put_blob "$work/image" "$manifest")
  printf '{"imageLayoutVersion":"1.0.0"}' >"$work/image/oci-layout"
  printf '{"schemaVersion":2,"manifests":[{"mediaType":"%s","digest":"sha256:%s","size":%d,"annotations":{"%s":"%s"}}]}' \
    application/vnd.oci.image.manifest.v1+json "$manifest_sha" ${#manifest} \
    io.containerd.image.name "$name" >"$work/image/index.json"
  tar -C "$work/image" -cf "$file" .
  rm -rf "$work"
}

put_blob() { # image folder, text: prints its digest
  local sum
  sum=$(printf %s "$2" | sha256sum)
  printf %s "$2" >"$1/blobs/sha256/${sum%% *}"
  echo "${sum%% *}"
}

make_images() { # folder
  mkdir -p "$1"
  # The process that holds a pod together: sleeps, reaps what is left to it, and goes when it is told to.
  [ -f "$1/pause.tar" ] || make_image weir.test/pause:1 "$1/pause.tar" \
    '"Entrypoint":["/bin/sh","-c","trap \"exit 0\" TERM INT; while :; do sleep 3600 & wait $!; done"]'
  [ -f "$1/busybox.tar" ] || make_image weir.test/busybox:1 "$1/busybox.tar" '"Cmd":["/bin/sh"]'
}

# --- one node ----------------------------------------------------------------------------------------------------

real_config() { # node's folder, name, kubelet port, health port
  local node=$1 kubelet_port=$3 health_port=$4 bridge
  # Ports are claimed per cluster, so one also gives the bridge a name and the pods a subnet of their own.
  local number=$((kubelet_port - 20000))
  bridge=weir$kubelet_port
  mkdir -p "$node"/{cni,containerd,run,kubelet,pki,logs,private}
  cat >"$node/containerd.toml" <<TOML
version = 2
root = "$node/containerd"
state = "$node/run"
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.tracing"]
[grpc]
address = "$node/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
path = "$node/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "weir.test/pause:1"
restrict_oom_score_adj = true
disable_apparmor = true
disable_hugetlb_controller = true
tolerate_missing_hugetlb_controller = true
netns_mounts_under_state_dir = true
stream_server_address = "127.0.0.1"
stream_server_port = "0"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "$(cni_folder)"
conf_dir = "$node/cni"
TOML
  # The bridge has no address: pods reach each other, not the machine, and nothing of the machine's routing changes.
  cat >"$node/cni/10-bridge.conf" <<JSON
{"cniVersion": "0.4.0", "name": "$bridge", "type": "bridge", "bridge": "$bridge",
 "ipam": {"type": "host-local", "dataDir": "$node/cni-ips",
  "subnet": "10.$((192 + number / 256)).$((number % 256)).0/24"}}
JSON
  cat >"$node/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix://$node/containerd.sock
port: $kubelet_port
readOnlyPort: 0
healthzBindAddress: 127.0.0.1
healthzPort: $health_port
authentication: {anonymous: {enabled: false}, webhook: {enabled: false}, x509: {clientCAFile: $pki/ca.crt}}
authorization: {mode: AlwaysAllow}
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
podLogsDir: $node/pods
volumePluginDir: $node/plugins
oomScoreAdj: 0
makeIPTablesUtilChains: false
clusterDNS: [10.96.0.10]
maxPods: 110
nodeStatusUpdateFrequency: 5s
nodeLeaseDurationSeconds: $lease
shutdownGracePeriod: 0s
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: "0%", nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%"}
YAML
}

# Starts a process that outlives us and holds nothing of ours open.
launch() { # name, log file, command...
  local process=$1 log=$2
  shift 2
  setsid "$@" </dev/null >>"$log" 2>&1 9>&- &
  record "$process" $!
}

# The process that keeps the node's mount namespace.
start_holder() { # node's folder, node's name
  local node=$1 folder
  for folder in $private_folders; do mkdir -p "$folder" "$node/private$folder"; done
  # shellcheck disable=SC2016 # expanded by the inner shell
  launch "$2-holder" "$node/logs/holder.log" unshare --mount --propagation private \
    bash -c 'for folder in $2; do mount --bind "$1/private$folder" "$folder" || exit 1; done
      touch "$1/private/mounted"
      exec -a "holder of $1" sleep infinity' holder "$node" "$private_folders"
  local deadline=$((SECONDS + 10))
  until [ -e "$node/private/mounted" ]; do
    if [ $SECONDS -ge $deadline ] || ! recorded_pid "$2-holder" >/dev/null; then
      die "no mount namespace for $2: $(tail -n 2 "$node/logs/holder.log")"
    fi
    sleep 0.05
  done
}

real_start() { # number
  local number=$1 home node node_name ports deadline tool holder
  home=$(real_home)
  node=$home/$number node_name=real-$number
  if [ ! -f "$node/kubelet.yaml" ]; then
    read -ra ports <<<"$(claim_ports 2)"
    [ ${#ports[@]} -eq 2 ] || die "no ports for $node_name"
    real_config "$node" "$node_name" "${ports[@]}"
  fi
  recorded_pid "$node_name-holder" >/dev/null || start_holder "$node" "$node_name"
  holder=$(recorded_pid "$node_name-holder")
  if ! recorded_pid "$node_name-containerd" >/dev/null; then
    rm -f "$node/containerd.sock"
    launch "$node_name-containerd" "$node/logs/containerd.log" \
      nsenter --mount --target "$holder" "$(command -v containerd)" --config "$node/containerd.toml"
    deadline=$((SECONDS + 30))
    until ctr -a "$node/containerd.sock" version >/dev/null 2>&1; do
      recorded_pid "$node_name-containerd" >/dev/null || die "containerd died: $(tail -n 2 "$node/logs/containerd.log")"
      [ $SECONDS -lt $deadline ] || die "containerd does not answer: $(tail -n 2 "$node/logs/containerd.log")"
      sleep 0.1
    done
    for tool in pause busybox; do
      ctr -a "$node/containerd.sock" -n k8s.io images import --snapshotter native "$home/images/$tool.tar" >/dev/null ||
        die "importing the image $tool into $node_name failed"
    done
  fi
  if ! recorded_pid "$node_name-kubelet" >/dev/null; then
    launch "$node_name-kubelet" "$node/logs/kubelet.log" \
      nsenter --mount --target "$holder" "$(binary kubelet)" --config "$node/kubelet.yaml" \
      --kubeconfig "$dir/kubeconfig" --hostname-override "$node_name" --node-labels kind=real \
      --root-dir "$node/kubelet" --cert-dir "$node/pki" --v 1
  fi
}

real_up() { # how many
  local count=$1 number deadline
  [ "$count" -gt 0 ] || return 0
  real_check
  make_images "$(real_home)/images"
  for ((number = 0; number < count; number++)); do real_start "$number"; done
  deadline=$((SECONDS + 60))
  for ((number = 0; number < count; number++)); do
    until api "/api/v1/nodes/real-$number?pretty=false" |
      awk '/"type":"Ready","status":"True"/ && !/"key":"node.kubernetes.io/ {ready = 1} END {exit !ready}'; do
      recorded_pid "real-$number-kubelet" >/dev/null || die "the kubelet of real-$number died:
$(grep -E '^E|^F' "$(real_home)/$number/logs/kubelet.log" | tail -n 3)"
      [ $SECONDS -lt $deadline ] || die "real-$number is not ready after 60 s:
$(grep -E '^E|^F' "$(real_home)/$number/logs/kubelet.log" | tail -n 3)"
      sleep 0.2
    done
  done
  say "$count real nodes are ready"
}

# --- the end -----------------------------------------------------------------------------------------------------

real_down() {
  local home node number
  [ -d "$dir/real" ] || return 0
  home=$(real_home)
  for node in "$home"/[0-9]*; do
    [ -d "$node" ] || continue
    number=${node##*/}
    real_end_processes "$node" "real-$number"
    real_clean "$node"
  done
  rm -rf "$home" "$dir/real"
}

real_end_processes() { # node's folder, its name
  local node=$1 pid task pids=() ids=() file group
  for file in kubelet containerd holder; do
    if pid=$(recorded_pid "$2-$file"); then pids+=("$pid"); fi
  done
  # First those that would start something anew, then what they started.
  if [ ${#pids[@]} -gt 0 ]; then
    kill -9 "${pids[@]}" 2>/dev/null || true
    await_end 10 "${pids[@]}" || die "processes do not end: ${pids[*]}"
  fi
  rm -f "$dir/pids/$2"-{kubelet,containerd,holder}
  pids=()
  for task in "$node"/run/io.containerd.runtime.v2.task/k8s.io/*/; do
    [ -d "$task" ] || continue
    ids+=("$(basename "$task")")
  done
  # Shims name our socket in their arguments.
  for file in /proc/[0-9]*/cmdline; do
    if { tr '\0' ' ' <"$file"; } 2>/dev/null | grep -qF -- "-address $node/containerd.sock"; then
      pid=${file#/proc/}
      pids+=("${pid%/cmdline}")
    fi
  done
  if [ ${#pids[@]} -gt 0 ]; then kill -9 "${pids[@]}" 2>/dev/null || true; fi
  # Containers are in cgroups that are named by their ids, which are ours alone.
  local containers=()
  for group in "${ids[@]}"; do
    while read -r pid; do containers+=("$pid"); done < <(cat /sys/fs/cgroup/{*/,}k8s.io/"$group"/cgroup.procs 2>/dev/null | sort -u)
  done
  if [ ${#containers[@]} -gt 0 ]; then kill -9 "${containers[@]}" 2>/dev/null || true; fi
  await_end 10 "${pids[@]}" "${containers[@]}" || die "containers do not end: ${pids[*]} ${containers[*]}"
  for group in "${ids[@]}"; do rmdir /sys/fs/cgroup/{*/,}k8s.io/"$group" 2>/dev/null || true; done
  rmdir /sys/fs/cgroup/{*/,}k8s.io 2>/dev/null || true # only if no one else's containers are there
}

real_clean() { # node's folder
  local node=$1 bridge folder
  bridge=$(sed -nE 's/.*"bridge": "([^"]+)".*/\1/p' "$node/cni/10-bridge.conf" 2>/dev/null || true)
  if [ -n "$bridge" ]; then ip link delete "$bridge" 2>/dev/null || true; fi
  # Only if they are empty: then it was most likely us who made them.
  for folder in $private_folders; do rmdir "$folder" 2>/dev/null || true; done
}
