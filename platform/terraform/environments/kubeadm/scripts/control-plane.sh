#!/usr/bin/env bash
# Second part of the control plane's user data, after node.sh: the cluster, its network and the device
# plugin; then what workers join with. Expects KUBERNETES_VERSION, CALICO_VERSION, DEVICE_PLUGIN_VERSION,
# POD_CIDR, JOIN_PARAMETER, KMS_KEY_ID and AWS_REGION.
set -euo pipefail
export KUBECONFIG=/etc/kubernetes/admin.conf

kubeadm init --kubernetes-version "v${KUBERNETES_VERSION}" --pod-network-cidr "$POD_CIDR"

# The operator's kinds are a file of their own from Calico 3.30 on; `kubectl wait` fails at once for what is not there.
for manifest in operator-crds tigera-operator; do
  kubectl create -f "https://raw.githubusercontent.com/projectcalico/calico/${CALICO_VERSION}/manifests/${manifest}.yaml"
done
kubectl wait --for condition=established --timeout 120s crd/installations.operator.tigera.io
kubectl create -f - <<CALICO
apiVersion: operator.tigera.io/v1
kind: Installation
metadata: {name: default}
spec:
  calicoNetwork:
    ipPools:
      # VXLAN: subnets in different zones do not carry pods' addresses.
      - {cidr: "${POD_CIDR}", encapsulation: VXLAN}
CALICO

kubectl create -f \
  "https://raw.githubusercontent.com/NVIDIA/k8s-device-plugin/${DEVICE_PLUGIN_VERSION}/deployments/static/nvidia-device-plugin.yml"

# The token lives two hours: time for workers to come up, and no longer of use to a thief.
join=$(kubeadm token create --ttl 2h --print-join-command)
aws ssm put-parameter --region "$AWS_REGION" --name "$JOIN_PARAMETER" --type SecureString \
  --key-id "$KMS_KEY_ID" --overwrite --value "$join" >/dev/null
