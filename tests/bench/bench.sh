#!/usr/bin/env bash
# Measures Weir on a control plane of its own, which it starts and ends; arguments go to the load program. The
# core's decisions come first, while nothing else runs. See docs/benchmarks.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
dir=${DIR:-.run/bench}
nodes=${NODES:-1000}
started=

end() {
  local status=$?
  trap - EXIT
  if [ -n "$started" ]; then tests/controlplane/cluster.sh down --dir "$dir"; fi
  exit $status
}
trap end EXIT
trap 'exit 130' INT TERM HUP

echo "building the release (about five minutes the first time)" >&2
cargo bench --no-run --bench load --bench decide --bench simulate
cargo bench --quiet --bench decide
cargo bench --quiet --bench simulate
started=1
# The simulated kubelets shall not be what is measured: as many of their writes in flight as of the clients'.
KWOK_PARALLELISM=64 tests/controlplane/cluster.sh up --dir "$dir" --nodes "$nodes" --audit
mkdir -p "$dir/operator"
cargo bench --quiet --bench load -- --env "$PWD/$dir/env" --logs "$PWD/$dir/operator" "$@"
