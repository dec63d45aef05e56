# shellcheck shell=bash
# Simulated nodes in three kinds, as a company might own them. Sourced by cluster.sh.

node_json() { # number
  local number=$1 kind cpu memory gpu='' zone rack
  case $((number % 3)) in
  0) kind=cpu cpu=16 memory=64Gi ;;
  1) kind=memory cpu=16 memory=256Gi ;;
  2) kind=gpu cpu=32 memory=128Gi gpu='"nvidia.com/gpu": "4",' ;;
  esac
  # Three zones of two racks each; every rack holds nodes of each kind.
  rack=$((number / 3 % 6))
  zone=$((rack / 2))
  local resources="{\"cpu\": \"$cpu\", \"memory\": \"$memory\", \"pods\": \"110\", $gpu
    \"ephemeral-storage\": \"500Gi\", \"devices.kubevirt.io/kvm\": \"1k\",
    \"devices.kubevirt.io/tun\": \"1k\", \"devices.kubevirt.io/vhost-net\": \"1k\"}"
  local node_name
  printf -v node_name '%s-%02d' $kind $((number / 3))
  printf '%s\n' "{\"apiVersion\": \"v1\", \"kind\": \"Node\",
 \"metadata\": {\"name\": \"$node_name\",
  \"annotations\": {\"kwok.x-k8s.io/node\": \"fake\", \"node.alpha.kubernetes.io/ttl\": \"0\"},
  \"labels\": {\"weir.dev/pool\": \"company\", \"kind\": \"$kind\", \"kubernetes.io/hostname\": \"$node_name\",
   \"kubernetes.io/os\": \"linux\", \"kubernetes.io/arch\": \"amd64\", \"type\": \"kwok\",
   \"topology.kubernetes.io/zone\": \"zone-$zone\", \"topology.kubernetes.io/rack\": \"rack-$rack\"}},
 \"spec\": {\"podCIDR\": \"10.$((64 + number / 256)).$((number % 256)).0/24\",
  \"podCIDRs\": [\"10.$((64 + number / 256)).$((number % 256)).0/24\"]},
 \"status\": {\"capacity\": $resources, \"allocatable\": $resources,
  \"addresses\": [{\"type\": \"InternalIP\", \"address\": \"10.128.$((number / 250)).$((number % 250 + 2))\"},
   {\"type\": \"Hostname\", \"address\": \"$node_name\"}], \"conditions\": $ready_conditions,
  \"nodeInfo\": {\"architecture\": \"amd64\", \"bootID\": \"\", \"containerRuntimeVersion\": \"kwok://simulated\",
   \"kernelVersion\": \"simulated\", \"kubeProxyVersion\": \"\", \"kubeletVersion\": \"$kubernetes_version\",
   \"machineID\": \"\", \"operatingSystem\": \"linux\", \"osImage\": \"simulated\", \"systemUUID\": \"\"}}}"
}

# Nodes are created ready: a thousand of them would else keep KWOK busy for a minute.
set_ready_conditions() {
  local now type status reason conditions=
  now=$(date -u +%FT%TZ)
  while read -r type status reason; do
    conditions+=",{\"type\": \"$type\", \"status\": \"$status\", \"reason\": \"$reason\",
      \"message\": \"simulated\", \"lastHeartbeatTime\": \"$now\", \"lastTransitionTime\": \"$now\"}"
  done <<'TABLE'
Ready True KubeletReady
MemoryPressure False KubeletHasSufficientMemory
DiskPressure False KubeletHasNoDiskPressure
PIDPressure False KubeletHasSufficientPID
NetworkUnavailable False RouteCreated
TABLE
  ready_conditions="[${conditions#,}]"
}

# How often a text occurs in a list.
count_in() { # path, text
  api "$1" | { grep -oF "$2" || true; } | wc -l
}

nodes_path='/api/v1/nodes?pretty=false&labelSelector=type%3Dkwok'

# A node is ready for pods when it says so, KWOK has its lease (which names a holder), and the controller manager
# has taken away the taint with which every node is born.
ready_nodes() {
  local ready tainted leases
  ready=$(count_in "$nodes_path" '"type":"Ready","status":"True"')
  tainted=$(count_in "$nodes_path" '"key":"node.kubernetes.io/not-ready"')
  leases=$(count_in '/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases?pretty=false' '"holderIdentity":')
  echo $((ready - tainted < leases ? ready - tainted : leases))
}

add_nodes() { # how many
  local count=$1 first number wanted deadline work url
  [ "$count" -gt 0 ] || return 0
  first=$(count_in "$nodes_path" '"kwok.x-k8s.io/node":"fake"')
  wanted=$((first + count))
  set_ready_conditions
  url=$(<"$dir/url")
  work=$(mktemp -d "$dir/.nodes.XXXXXX")
  for ((number = first; number < wanted; number++)); do
    node_json "$number" >"$work/$number.json"
    printf 'next\nrequest = POST\nurl = "%s/api/v1/nodes"\nheader = "Content-Type: application/json"\n' "$url"
    printf 'cacert = "%s"\ncert = "%s"\nkey = "%s"\noutput = /dev/null\n' "$pki/ca.crt" "$pki/admin.crt" "$pki/admin.key"
    printf 'data = "@%s"\nfail\n' "$work/$number.json"
  done | sed 1d >"$work/requests"
  curl -sS --no-progress-meter --parallel --parallel-max 16 -K "$work/requests" 2>"$work/said" || { cat "$work/said" >&2 && die "the API server refused a node"; }
  rm -rf "$work"
  deadline=$((SECONDS + 30 + count / 10))
  until [ "$(ready_nodes)" -ge "$wanted" ]; do
    [ $SECONDS -lt $deadline ] || die "only $(ready_nodes) of $wanted nodes became ready"
    sleep 0.2
  done
  say "$wanted simulated nodes are ready"
}
