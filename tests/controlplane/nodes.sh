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
    \"ephemeral-storage\": \"500Gi\", \"devices.kubevirt.io/kvm\": \"1k\"}"
  local node_name
  printf -v node_name '%s-%02d' $kind $((number / 3))
  cat <<JSON
{"apiVersion": "v1", "kind": "Node",
 "metadata": {"name": "$node_name",
  "annotations": {"kwok.x-k8s.io/node": "fake", "node.alpha.kubernetes.io/ttl": "0"},
  "labels": {"weir.dev/pool": "company", "kind": "$kind", "kubernetes.io/hostname": "$node_name",
   "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", "type": "kwok",
   "topology.kubernetes.io/zone": "zone-$zone", "topology.kubernetes.io/rack": "rack-$rack"}},
 "spec": {"podCIDR": "10.$((64 + number / 256)).$((number % 256)).0/24",
  "podCIDRs": ["10.$((64 + number / 256)).$((number % 256)).0/24"]},
 "status": {"capacity": $resources, "allocatable": $resources,
  "addresses": [{"type": "InternalIP", "address": "10.128.$((number / 250)).$((number % 250 + 2))"},
   {"type": "Hostname", "address": "$node_name"}]}}
JSON
}

# How often a text occurs in the list of simulated nodes.
count_in_nodes() {
  api "/api/v1/nodes?pretty=false&labelSelector=type%3Dkwok" | { grep -oF "$1" || true; } | wc -l
}

ready_nodes() { count_in_nodes '"type":"Ready","status":"True"'; }

add_nodes() { # how many
  local count=$1 first number wanted deadline work
  [ "$count" -gt 0 ] || return 0
  first=$(count_in_nodes '"kwok.x-k8s.io/node":"fake"')
  wanted=$((first + count))
  work=$(mktemp -d "$dir/.nodes.XXXXXX")
  for ((number = first; number < wanted; number++)); do
    node_json "$number" >"$work/$number.json"
    printf 'next\nrequest = POST\nurl = "%s/api/v1/nodes"\nheader = "Content-Type: application/json"\n' "$(<"$dir/url")"
    printf 'cacert = "%s"\ncert = "%s"\nkey = "%s"\noutput = /dev/null\n' "$pki/ca.crt" "$pki/admin.crt" "$pki/admin.key"
    printf 'data = "@%s"\nfail\n' "$work/$number.json"
  done | sed 1d >"$work/requests"
  curl -sS -K "$work/requests" || { rm -rf "$work" && die "the API server refused a node"; }
  rm -rf "$work"
  deadline=$((SECONDS + 30 + count / 10))
  until [ "$(ready_nodes)" -ge "$wanted" ]; do
    [ $SECONDS -lt $deadline ] || die "only $(ready_nodes) of $wanted nodes became ready"
    sleep 0.2
  done
  say "$wanted simulated nodes are ready"
}
