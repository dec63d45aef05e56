#!/usr/bin/env bash
# Prints the manifest for krew of a release:
#   krew.sh v1.2.3 https://github.com/OWNER/weir FOLDER
# FOLDER holds kubectl-weir-OS-ARCH.tar.gz, each with kubectl-weir and LICENSE in it, as the release offers them.
set -euo pipefail

die() {
  echo "error: $*" >&2
  exit 1
}

[ $# = 3 ] || die "krew.sh takes a version, the address of the repository and a folder with archives"
version=$1 repository=${2%/} folder=$3
[[ $version =~ ^v[0-9]+\.[0-9]+\.[0-9]+$ ]] || die "$version is no version: write v1.2.3"
[[ $repository == https://* ]] || die "$repository is no address: write https://github.com/OWNER/weir"
template=$(dirname "${BASH_SOURCE[0]}")/krew.yaml
shopt -s nullglob
archives=("$folder"/kubectl-weir-*.tar.gz)
[ ${#archives[@]} -gt 0 ] || die "no archive kubectl-weir-OS-ARCH.tar.gz is in $folder"

sed -e '/^#/d' -e "s|VERSION|$version|" -e "s|HOMEPAGE|$repository|" "$template"
for archive in "${archives[@]}"; do
  name=$(basename "$archive" .tar.gz)
  [[ $name =~ ^kubectl-weir-(linux|darwin)-(amd64|arm64)$ ]] || die "$archive is for no system that krew knows here"
  os=${BASH_REMATCH[1]} arch=${BASH_REMATCH[2]}
  for file in kubectl-weir LICENSE; do
    grep -qx "$file" <<<"$(tar -tzf "$archive")" || die "$archive does not hold $file"
  done
  sum=$(sha256sum "$archive")
  cat <<YAML
  - selector:
      matchLabels:
        os: $os
        arch: $arch
    uri: $repository/releases/download/$version/$name.tar.gz
    sha256: ${sum%% *}
    bin: kubectl-weir
    files:
    - {from: kubectl-weir, to: .}
    - {from: LICENSE, to: .}
YAML
done
