#!/usr/bin/env bash
# Publishes two runs of the demo in reports/samples/: as it is, and with the spare replicas taken away.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT

publish() { # NAME EXIT_CODE [ARGUMENT ...]
  local name=$1 expected=$2 code=0
  shift 2
  .venv/bin/faultload run engine/replica-loss --target local --reports "$made/$name" "$@" || code=$?
  if [ "$code" -ne "$expected" ]; then
    echo "samples: $name was to end with $expected and ended with $code; nothing is published" >&2
    exit 1
  fi
  mkdir -p "reports/samples/$name"
  cp "$made/$name"/*/{report.html,postmortem.md,verdict.json,junit.xml} "reports/samples/$name/"
}

publish replica-loss 0
publish replica-loss-without-a-spare 1 \
  --set tiers.fast.replicas=1 --set tiers.reasoning.replicas=1
