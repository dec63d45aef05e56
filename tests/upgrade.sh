#!/usr/bin/env bash
# The program as it was at an earlier commit, with its definitions, for `make test-upgrade`. Prints the folder that holds
# `weir`, `crds/` and `rbac.yaml`. It is built once (about 5 minutes on two cores) and then cached.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/controlplane/lib.sh"

# The one that brought the chart: before virtual machines, moves, and most of what pools have by now.
commit=${EARLIER:-c55a384986164fbd74c21c2272c533c451a204a2}

cd "$repo_dir"
git rev-parse --git-dir >/dev/null 2>&1 || die "this is no clone of the repository, so there is no earlier version: git clone it"
git cat-file -e "$commit^{commit}" 2>/dev/null || {
  if [ "$(git rev-parse --is-shallow-repository)" = true ]; then
    die "commit ${commit:0:12} is not here, since this clone is shallow: git fetch --unshallow (in a workflow: fetch-depth: 0)"
  fi
  die "there is no commit $commit; EARLIER names one of this repository"
}
commit=$(git rev-parse "$commit^{commit}")
folder=${WEIR_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/weir}/earlier/${commit:0:12}-$(uname -m)
if [ ! -x "$folder/weir" ]; then
  need cargo flock tar
  mkdir -p "$folder"
  exec 9>"$folder/.lock"
  flock 9
fi
if [ ! -x "$folder/weir" ]; then
  say "building weir of commit ${commit:0:12} into $folder (about 5 minutes on two cores, once)"
  mkdir -p "$folder/source"
  git archive "$commit" | tar -x -C "$folder/source"
  # What the caller builds with is its own; the earlier version is built as it was.
  (cd "$folder/source" && env -u CARGO_TARGET_DIR cargo build --locked --bin weir --target-dir "$folder/target" >&2) ||
    die "building weir of commit ${commit:0:12} failed; the messages above are the compiler's"
  cp -r "$folder/source/crds" "$folder/source/docs/rbac.yaml" "$folder/"
  cp "$folder/target/debug/weir" "$folder/.part"
  mv "$folder/.part" "$folder/weir"
  rm -rf "$folder/target" "$folder/source"
fi
echo "$folder"
