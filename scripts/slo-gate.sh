#!/usr/bin/env bash
# Is what is checked out here worse than another commit? Starts both platforms on this machine, each from a checkout of its
# own, and runs `faultload gate` on them.
#
#   scripts/slo-gate.sh COMMIT [OPTION OF faultload gate ...]
#
# Ends with the gate's exit code, and leaves nothing but its directory in reports/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly here=$PWD

if [ $# -lt 1 ] || ! commit=$(git rev-parse --verify --quiet "$1^{commit}"); then
  echo "slo-gate: expected a commit that is here, found ${1:-nothing}; fetch it, or name another" >&2
  exit 64
fi
shift
work=$(mktemp -d)
readonly work base=$work/base

end() {
  local side
  for side in baseline candidate; do
    if [ -d "$work/$side" ]; then run "$side" platform down >"$work/down.log" 2>&1 || true; fi
  done
  git worktree remove --force "$base" 2>/dev/null || true
  rm -rf "$work"
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Both have state of their own: else the second platform would be taken for the first.
run() {
  local side=$1 from=$here
  shift
  if [ "$side" = baseline ]; then from=$base; fi
  (cd "$from" && XDG_STATE_HOME=$work/$side .venv/bin/faultload "$@")
}

# Whoever calls it in "$(…)" has switched -e off: what fails must say so itself.
start() {
  mkdir -p "$work/$1"
  run "$1" platform up --json >"$work/$1.json" || return
  "$here/.venv/bin/python" -c 'import json, sys; print(json.load(sys.stdin)["inference_url"])' <"$work/$1.json"
}

git worktree add --quiet --detach "$base" "$commit"
scripts/setup.sh
"$base/scripts/setup.sh"
baseline=$(start baseline)
candidate=$(start candidate)
code=0
.venv/bin/faultload gate --baseline "$baseline" --candidate "$candidate" "$@" || code=$?
exit "$code"
