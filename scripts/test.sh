#!/usr/bin/env bash
# Runs the tests in two processes: those of whole platforms wait most of the time, and all others
# compute meanwhile. Prints what the first said as it comes, then what the second said. Arguments go
# to both. Ends with the first exit code that is not 0.
# -m: what goes on in the background would otherwise start with SIGINT ignored, and so would
# everything that the tests start and interrupt.
set -muo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

said=$(mktemp)
others=
stop() {
  if [ -n "$others" ]; then kill "$others" 2>/dev/null; fi
  rm -f "$said"
}
trap stop EXIT
trap 'exit 130' INT TERM

# Waits most of the time, too.
readonly LIFE=tests/platform/local/test_life.py

.venv/bin/pytest tests/contract tests/unit tests/platform --ignore="$LIFE" "$@" >"$said" 2>&1 &
others=$!
.venv/bin/pytest tests/local "$LIFE" "$@"
platforms=$?
wait "$others"
rest=$?
others=
printf '\n== tests/contract, tests/unit and tests/platform, which ran meanwhile\n'
cat "$said"
# pytest says 5 where a selection leaves no test; both must have left none for that to be an answer.
readonly NONE=5
if [ "$platforms" -ne 0 ] && { [ "$platforms" -ne "$NONE" ] || [ "$rest" -eq "$NONE" ]; }; then
  exit "$platforms"
fi
if [ "$rest" -eq "$NONE" ]; then exit 0; fi
exit "$rest"
