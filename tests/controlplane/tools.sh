#!/usr/bin/env bash
# Provides what tests need beside the control plane, and prints where it is:
#   tools.sh helm              Helm, that of WEIR_HELM or built from its Go module
#   tools.sh glua              the Lua interpreter of Argo CD, built from its Go module
#   tools.sh actionlint        the linter of workflow files, built from its Go module
#   tools.sh promtool          Prometheus' own checker of rules and runner of their tests, built from its Go module
#   tools.sh chromium          a browser: that of WEIR_CHROMIUM, one that is there, or (as root, on Debian) its package
#   tools.sh tmux              a terminal for tests; as root on Debian it is installed
#   tools.sh mdbook            what makes a book of docs/, built from its crate
#   tools.sh monitoring-crds   a folder with the definitions of Prometheus' operator, from its Go module
# What is built is kept in the cache, by the hash of its modules.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

helm_version=v4.3.1
mdbook_version=0.5.4

provide() { # module's folder, name, flags, package, tags
  local module=$1 name=$2 flags=$3 package=$4 tags=${5:-} hash folder
  hash=$({
    cat "$controlplane_dir/$module"/go.{mod,sum}
    echo "$flags" "$tags" "$(uname -m)"
  } | sha256sum)
  folder=${WEIR_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/weir}/$name/${hash:0:16}
  if [ ! -x "$folder/$name" ]; then
    need flock sha256sum
    mkdir -p "$folder"
    exec 9>"$folder/.lock"
    if ! flock -n 9; then
      say "another run is building $name; waiting for it"
      flock 9
    fi
  fi
  if [ ! -x "$folder/$name" ]; then
    command -v go >/dev/null || die "Go is missing, and so is $name; install Go 1.26 or later"
    say "building $name into $folder (Helm and promtool: about 4 minutes each on two cores, once)"
    (cd "$controlplane_dir/$module" &&
      GOFLAGS=-mod=readonly CGO_ENABLED=0 go build -o "$folder/.part" -tags "$tags" -ldflags "$flags" "$package" >&2) ||
      die "building $name failed; the messages above are the Go compiler's"
    mv "$folder/.part" "$folder/$name"
    say "$name is ready"
  fi
  echo "$folder/$name"
}

case ${1:-} in
helm)
  if [ -n "${WEIR_HELM:-}" ]; then
    [ -x "$WEIR_HELM" ] || die "WEIR_HELM is $WEIR_HELM, which is no program"
    echo "$WEIR_HELM"
  else
    provide helm helm "-s -w -X helm.sh/helm/v4/internal/version.version=$helm_version" helm.sh/helm/v4/cmd/helm
  fi
  ;;
glua) provide lua glua "-s -w" github.com/yuin/gopher-lua/cmd/glua ;;
actionlint) provide actionlint actionlint "-s -w" github.com/rhysd/actionlint/cmd/actionlint ;;
# Without the clients of clouds, in which Prometheus would look for its targets: rules need none.
promtool) provide promtool promtool "-s -w" github.com/prometheus/prometheus/cmd/promtool remove_all_sd ;;
chromium)
  if [ -n "${WEIR_CHROMIUM:-}" ]; then
    [ -x "$WEIR_CHROMIUM" ] || die "WEIR_CHROMIUM is $WEIR_CHROMIUM, which is no program"
    echo "$WEIR_CHROMIUM"
    exit
  fi
  for name in chromium chromium-browser google-chrome; do
    if command -v "$name"; then exit; fi
  done
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    die "there is no browser: install Debian's package chromium, or name one in WEIR_CHROMIUM"
  fi
  say "installing Debian's package chromium"
  export DEBIAN_FRONTEND=noninteractive
  { apt-get install -y --no-install-recommends chromium ||
    { apt-get update && apt-get install -y --no-install-recommends chromium; }; } >/dev/null 2>&1 ||
    die "apt-get could not install chromium; name a browser in WEIR_CHROMIUM"
  command -v chromium
  ;;
tmux)
  if ! command -v tmux >/dev/null; then
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || die "tmux is missing: apt-get install tmux"
    say "installing tmux"
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -y --no-install-recommends tmux >/dev/null 2>&1 ||
      { apt-get update >/dev/null && apt-get install -y --no-install-recommends tmux >/dev/null; } || die "tmux cannot be installed"
  fi
  command -v tmux
  ;;
mdbook)
  folder=${WEIR_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/weir}/mdbook/$mdbook_version
  if [ ! -x "$folder/bin/mdbook" ]; then
    need flock
    mkdir -p "$folder"
    exec 9>"$folder/.lock"
    flock 9
  fi
  if [ ! -x "$folder/bin/mdbook" ]; then
    say "building mdbook into $folder (about 2 minutes on two cores, once)"
    # Neither its web server nor its watching of files; not optimised, since it takes a second either way.
    env -u CARGO_TARGET_DIR cargo install --quiet --locked --debug --no-default-features --features search --root "$folder" \
      mdbook@$mdbook_version >&2 || die "building mdbook failed; the messages above are cargo's"
  fi
  echo "$folder/bin/mdbook"
  ;;
monitoring-crds)
  command -v go >/dev/null || die "Go is missing: it fetches the definitions of Prometheus' operator"
  module=github.com/prometheus-operator/prometheus-operator
  answer=$(cd "$controlplane_dir/monitoring" && GOFLAGS=-mod=readonly go mod download -json "$module") ||
    die "cannot fetch $module: $answer"
  sed -n 's/^\t"Dir": "\(.*\)",$/\1\/example\/prometheus-operator-crd/p' <<<"$answer"
  ;;
*) die "tools.sh takes one of: helm, glua, actionlint, promtool, chromium, mdbook, monitoring-crds, tmux" ;;
esac
