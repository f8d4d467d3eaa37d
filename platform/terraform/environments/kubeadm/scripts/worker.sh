#!/usr/bin/env bash
# Second part of a worker's user data, after node.sh: join the cluster when the control plane is ready.
# Expects JOIN_PARAMETER and AWS_REGION. Gives up after JOIN_TIMEOUT_S (20 minutes); cloud-init's log says so.
set -euo pipefail

said=$(mktemp)

# One line of kubeadm's own making: kubeadm join ADDRESS --token ... --discovery-token-ca-cert-hash ...
try_to_join() {
  local join command
  join=$(aws ssm get-parameter --region "$AWS_REGION" --name "$JOIN_PARAMETER" --with-decryption \
    --query Parameter.Value --output text) || return 1
  read -r -a command <<<"$join"
  if [ "${command[*]:0:2}" != "kubeadm join" ]; then
    printf 'expected a kubeadm join command in %s\n' "$JOIN_PARAMETER" >&2
    return 1
  fi
  timeout 180 "${command[@]}" && return
  # What a first try left would stop the next.
  kubeadm reset --force >/dev/null 2>&1 || true
  return 1
}

# The parameter is read again before each try: until a control plane that was replaced has written its own, it
# names one that is gone.
deadline=$((SECONDS + ${JOIN_TIMEOUT_S:-1200}))
until try_to_join >"$said" 2>&1; do
  if [ "$SECONDS" -ge "$deadline" ]; then
    printf 'could not join by %s within %s s; last: %s\n' \
      "$JOIN_PARAMETER" "${JOIN_TIMEOUT_S:-1200}" "$(tail -n 3 "$said" | tr '\n' ' ')" >&2
    exit 1
  fi
  sleep 10
done
cat "$said"

if command -v nvidia-smi >/dev/null; then
  printf 'this node has a GPU:\n' && nvidia-smi --list-gpus
fi
