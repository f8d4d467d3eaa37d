#!/usr/bin/env bash
# Builds the chat's page and tests it: its own tests, then tests/browser, in a real Chromium in front
# of the real backend, router and an engine_sim. Arguments go to pytest.
#
# Needs Node 20.19 or later with npm, and Chromium, on PATH. What is missing is one line, and what
# needs it is skipped; with FAULTLOAD_REQUIRE_BROWSER=1, as in CI, it fails (69, or pytest's own code).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly OLDEST=20.19
found=$(node --version 2>/dev/null || true)
if ! type -P npm >/dev/null || ! printf 'v%s\n%s\n' "$OLDEST" "${found:-v0}" | sort -CV; then
  printf 'browser tests: expected Node %s or later and npm on PATH, found %s: nothing is tested\n' \
    "$OLDEST" "${found:-none}" >&2
  if [ "${FAULTLOAD_REQUIRE_BROWSER:-}" = 1 ]; then exit 69; fi
  exit 0
fi

(
  cd platform/chat
  # npm writes the second when it has installed what the first says.
  if [ package-lock.json -nt node_modules/.package-lock.json ]; then
    npm install --no-save --ignore-scripts
  fi
  npm test
  npm run build
)
.venv/bin/pytest "$@"
