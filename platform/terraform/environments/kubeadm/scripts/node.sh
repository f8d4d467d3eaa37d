#!/usr/bin/env bash
# First part of every node's user data: container runtime, kubeadm and kubelet, with pinned versions.
# Expects KUBERNETES_VERSION and AWS_REGION. What follows it is control-plane.sh or worker.sh.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive

# kubelet refuses to start with swap; Calico and kube-proxy need these.
swapoff -a
printf 'overlay\nbr_netfilter\n' >/etc/modules-load.d/kubernetes.conf
modprobe overlay
modprobe br_netfilter
cat >/etc/sysctl.d/kubernetes.conf <<'SYSCTL'
net.bridge.bridge-nf-call-iptables = 1
net.ipv4.ip_forward = 1
SYSCTL
sysctl --system >/dev/null

minor=${KUBERNETES_VERSION%.*}
install -d -m 755 /etc/apt/keyrings
curl --fail --silent --show-error --location --retry 5 --max-time 60 \
  "https://pkgs.k8s.io/core:/stable:/v${minor}/deb/Release.key" |
  gpg --dearmor --yes -o /etc/apt/keyrings/kubernetes.gpg
printf 'deb [signed-by=/etc/apt/keyrings/kubernetes.gpg] https://pkgs.k8s.io/core:/stable:/v%s/deb/ /\n' \
  "$minor" >/etc/apt/sources.list.d/kubernetes.list

# Ubuntu's own first updates hold apt's locks for minutes. Installing can be told to wait for them, updating cannot.
deadline=$((SECONDS + 600))
until apt-get update -q 2>/tmp/apt-error; do
  if [ "$SECONDS" -ge "$deadline" ]; then
    printf 'apt-get update failed for 10 minutes; last: %s\n' "$(tail -n 1 /tmp/apt-error)" >&2
    exit 1
  fi
  sleep 5
done
# The GPU image has Docker's containerd.io, which the distribution's containerd would throw out.
runtime=()
command -v containerd >/dev/null || runtime=(containerd)
apt-get -o DPkg::Lock::Timeout=600 install -q -y unzip "${runtime[@]}" \
  "kubelet=${KUBERNETES_VERSION}-*" "kubeadm=${KUBERNETES_VERSION}-*" "kubectl=${KUBERNETES_VERSION}-*"
apt-mark hold kubelet kubeadm kubectl "${runtime[@]}"

# kubelet and containerd have to agree on who owns the cgroups.
install -d /etc/containerd
containerd config default | sed 's/SystemdCgroup = false/SystemdCgroup = true/' >/etc/containerd/config.toml
# On the GPU image only: containers get the GPU's device files and driver.
if command -v nvidia-ctk >/dev/null; then
  nvidia-ctk runtime configure --runtime=containerd --set-as-default
fi
systemctl restart containerd
systemctl enable --now containerd kubelet

# AWS's own images have it; Ubuntu's get it as a snap.
command -v aws >/dev/null || snap install aws-cli --classic
export PATH=$PATH:/snap/bin
