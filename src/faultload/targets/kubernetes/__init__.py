"""A Kubernetes cluster as a target; importing this imports the Kubernetes client.

`target` is the whole; `api` speaks to the cluster; one module for each thing that can be done.
"""

from faultload.targets.kubernetes.rights import RIGHTS, rules_for
from faultload.targets.kubernetes.target import KubernetesTarget

__all__ = ["RIGHTS", "KubernetesTarget", "rules_for"]
