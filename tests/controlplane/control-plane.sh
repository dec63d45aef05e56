#!/usr/bin/env bash
# Provides the binaries of a Kubernetes control plane and of nodes: from KUBEBUILDER_ASSETS, from the cache, by
# building them from their Go modules, or (FETCH=1) by downloading the official ones. Prints the cache's folder.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cache=$(cache_dir)

missing() {
  local name
  for name in $binaries; do
    [ -x "$(binary "$name")" ] || printf '%s ' "$name"
  done
}

package_of() {
  case $1 in
  etcd) echo "etcd go.etcd.io/etcd/server/v3" ;;
  kwok | kwokctl) echo "kwok sigs.k8s.io/kwok/cmd/$1" ;;
  *) echo "$kubernetes_module k8s.io/kubernetes/cmd/$1" ;;
  esac
}

build() {
  local name=$1 module package flags
  read -r module package <<<"$(package_of "$name")"
  case $module in
  etcd) flags="-s -w" ;;
  kwok) flags="-s -w -X sigs.k8s.io/kwok/pkg/consts.Version=$kwok_version" ;;
  kubernetes*) flags=$(version_flags) ;;
  esac
  (cd "$controlplane_dir/$module" &&
    GOFLAGS=-mod=readonly CGO_ENABLED=0 go build -o "$cache/.$name.part" -ldflags "$flags" "$package" >&2) ||
    die "building $name failed; the messages above are the Go compiler's"
}

fetch() {
  local name=$1 arch url part=$cache/.$1.part
  case $(uname -m) in
  x86_64) arch=amd64 ;;
  aarch64 | arm64) arch=arm64 ;;
  *) die "no official binaries are known for $(uname -m); build them without FETCH=1" ;;
  esac
  case $name in
  etcd)
    url=https://github.com/etcd-io/etcd/releases/download/$etcd_version/etcd-$etcd_version-linux-$arch.tar.gz
    curl -fsSL "$url" | tar -xzO "etcd-$etcd_version-linux-$arch/etcd" >"$part" || die "cannot download $url"
    ;;
  kwok | kwokctl)
    url=https://github.com/kubernetes-sigs/kwok/releases/download/$kwok_version/$name-linux-$arch
    curl -fsSL -o "$part" "$url" || die "cannot download $url"
    ;;
  *)
    url=https://dl.k8s.io/release/$kubernetes_version/bin/linux/$arch/$name
    curl -fsSL -o "$part" "$url" || die "cannot download $url"
    echo "$(curl -fsSL "$url.sha256")  $part" | sha256sum -c --status || die "$url: checksum differs"
    ;;
  esac
  chmod +x "$part"
}

wanted=$(missing)
if [ -n "$wanted" ]; then
  need flock sha256sum
  mkdir -p "$cache"
  exec 9>"$cache/.lock"
  if ! flock -n 9; then
    say "another run is providing the binaries; waiting for it"
    flock 9
  fi
  if [ -n "${FETCH:-}" ]; then
    need curl tar
    say "downloading into $cache: $wanted"
  else
    command -v go >/dev/null || die "Go is missing, and so are: $wanted
  Install Go 1.26 or later, or point KUBEBUILDER_ASSETS at a folder with these binaries,
  or set FETCH=1 to download the official ones."
    say "building Kubernetes $kubernetes_version, etcd and KWOK into $cache"
    say "the first time takes about 15 minutes on two cores; afterwards it is a cache hit (FETCH=1 downloads instead)"
  fi
  for name in $(missing); do
    begin=$SECONDS
    if [ -n "${FETCH:-}" ]; then fetch "$name"; else
      say "building $name ..."
      build "$name"
    fi
    mv "$cache/.$name.part" "$cache/$name"
    say "$name is ready ($((SECONDS - begin)) s)"
  done
fi
given=
for name in $binaries; do
  case $(binary "$name") in
  "$cache"/*) ;;
  *) given+=" $name" ;;
  esac
done
[ -z "$given" ] || say "from KUBEBUILDER_ASSETS ($KUBEBUILDER_ASSETS):$given"
echo "$cache"
