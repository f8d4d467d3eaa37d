#!/usr/bin/env bash
# Second part of a worker's user data, after node.sh: join the cluster when the control plane is ready.
# Expects JOIN_PARAMETER and AWS_REGION. Gives up after ten minutes; cloud-init's log says so.
set -euo pipefail

deadline=$((SECONDS + 600))
until join=$(aws ssm get-parameter --region "$AWS_REGION" --name "$JOIN_PARAMETER" --with-decryption \
  --query Parameter.Value --output text 2>/tmp/join-error); do
  if [ "$SECONDS" -ge "$deadline" ]; then
    printf 'no way to join in %s after 10 minutes; last: %s\n' "$JOIN_PARAMETER" "$(tail -n 1 /tmp/join-error)" >&2
    exit 1
  fi
  sleep 5
done

# One line of kubeadm's own making: kubeadm join ADDRESS --token ... --discovery-token-ca-cert-hash ...
read -r -a command <<<"$join"
case "${command[*]:0:2}" in
  "kubeadm join") "${command[@]}" ;;
  *) printf 'expected a kubeadm join command in %s\n' "$JOIN_PARAMETER" >&2 && exit 1 ;;
esac
if command -v nvidia-smi >/dev/null; then
  printf 'this node has a GPU:\n' && nvidia-smi --list-gpus
fi
