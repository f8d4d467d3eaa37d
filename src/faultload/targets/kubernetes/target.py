"""A Kubernetes cluster as a target."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Self

from faultload.errors import FaultError
from faultload.spec.prices import load_price_book, prices_beside
from faultload.spec.target import KubernetesTargetSpec
from faultload.targets.base import (
    Endpoints,
    Identity,
    Lock,
    Mark,
    Node,
    Occupant,
    PlatformEvent,
    Refusal,
    Replica,
    Workload,
)
from faultload.targets.calls import Calls
from faultload.targets.engine_acts import NoEngineActs
from faultload.targets.kubernetes import (
    cost,
    evidence,
    expiry,
    lease,
    nodes,
    partition,
    releases,
    rights,
    scaling,
    stock,
)
from faultload.targets.kubernetes.api import Api, Patience
from faultload.targets.kubernetes.cluster import Cluster, name_of
from faultload.targets.kubernetes.replicas import Replicas
from faultload.targets.kubernetes.resources import NODES
from faultload.targets.kubernetes.signin import kubeconfig_of, sign_in
from faultload.targets.machine_acts import NoMachineActs
from faultload.targets.network_acts import NoNetworkActs
from faultload.targets.release_acts import Flaw, NoReleaseActs, Rollout
from faultload.targets.stock_acts import Found


class KubernetesTarget(NoEngineActs, NoMachineActs, NoNetworkActs, NoReleaseActs):
    """The platform in some namespaces of one cluster, reached through the cluster's API.

    Nothing is kept here but connections: every answer is the API's of now. Errors are those of
    `targets.base`.
    """

    def __init__(
        self, spec: KubernetesTargetSpec, cluster: Cluster, attachment: Mapping[str, str]
    ) -> None:
        """Use a cluster that was checked; see `connect`."""
        self._spec, self._cluster, self._attachment = spec, cluster, attachment
        self._replicas = Replicas(cluster)

    @classmethod
    def connect(
        cls,
        spec: KubernetesTargetSpec,
        path: Path,
        patience: Patience = Patience(),
        *,
        to_undo: bool = False,
    ) -> Self:
        """Sign in to the cluster that a target file names.

        Args:
            spec: the target file.
            path: where it was read; its kubeconfig is relative to it.
            patience: with every call.
            to_undo: only to take harm back, which a namespace needs not have opted in to.

        Raises:
            SpecError: the file names a kubeconfig, context or namespace that is not there.
            MissingError: the cluster does not answer, or does not take our credentials.
            RefusedError: it is another cluster, or a namespace has not opted in.
        """
        kubeconfig = kubeconfig_of(spec.kubernetes, path)
        attachment = {"kubeconfig": kubeconfig, "target_file": str(path.resolve())}
        return cls.attach(spec, attachment, patience, to_undo=to_undo)

    @classmethod
    def attach(
        cls,
        spec: KubernetesTargetSpec,
        attachment: Mapping[str, str],
        patience: Patience = Patience(),
        *,
        to_undo: bool = False,
    ) -> Self:
        """Sign in as another process of this run did; raises what `connect` raises."""
        path, kubeconfig = Path(attachment["target_file"]), attachment["kubeconfig"]
        context = spec.kubernetes.context
        api = Api(lambda: sign_in(kubeconfig, context, path), context, patience)
        cluster = Cluster(api, spec.kubernetes)
        try:
            cluster.check(path, to_undo=to_undo)
        except BaseException:
            api.close()
            raise
        return cls(spec, cluster, attachment)

    @property
    def identity(self) -> Identity:
        """Which cluster, and which of its namespaces."""
        return Identity(self._spec.name, "kubernetes", self._cluster.fingerprint)

    @property
    def capabilities(self) -> frozenset[str]:
        """What faults may ask of it."""
        return rights.KUBERNETES_CAPABILITIES

    @property
    def endpoints(self) -> Endpoints:
        """Where the target file says that it listens."""
        about, load = self._spec.kubernetes, self._spec.load
        folder = Path(self._attachment["target_file"]).parent
        ca = (folder / load.ca).resolve() if load.ca else None
        return Endpoints(
            about.inference_url,
            about.prometheus_url,
            ca,
            load.api_key_env,
            about.prometheus_sign_in,
        )

    def attachment(self) -> Mapping[str, str]:
        """Return the paths of kubeconfig and target file; credentials stay in the former."""
        return self._attachment

    def replicas(self, component: str) -> Sequence[Replica]:
        """Return the component's pods, those that finished aside."""
        return self._replicas.of(component)

    def describe(self) -> dict[str, Any]:
        """Return which cluster it is, its nodes, and each component's images."""
        return evidence.describe(self._cluster)

    def events(self) -> Sequence[PlatformEvent]:
        """Return the events of our namespaces."""
        return evidence.events(self._cluster)

    def save_logs(self, folder: Path) -> None:
        """Write what the components' containers logged."""
        evidence.save_logs(self._cluster, folder)

    def missing_rights(self, capabilities: Iterable[str]) -> Sequence[str]:
        """Return what our credentials do not allow, a line each."""
        return rights.missing_rights(self._cluster, capabilities)

    def calls(self, capability: str) -> Calls:
        """Return verbs and resources, from the table of rights."""
        return rights.calls_for(capability)

    def under(self, mark: Mark) -> AbstractContextManager[None]:  # noqa: ARG002
        """Nothing to do: every change bears its mark."""
        return nullcontext()

    def lock(
        self, holder: str, duration_s: float = lease.DURATION_S
    ) -> AbstractContextManager[Lock]:
        """Hold the cluster's lease; unrenewed, it keeps others away for `duration_s`."""
        return lease.held(self._cluster, holder, duration_s)

    def usd_per_h(self) -> float | None:
        """Return the price of the GPU nodes; None where one of them is in no price list."""
        book = load_price_book(prices_beside(Path(self._attachment["target_file"])))
        return cost.usd_per_h(self._cluster.api.list_all(NODES), book)

    def kill_replica(self, replica: str, uid: str) -> None:
        """Delete the pod with no grace: gone from the API at once, its processes a moment later."""
        self._replicas.delete(replica, uid, 0)

    def stop_replica(self, replica: str, uid: str) -> None:  # noqa: ARG002
        """Nothing: not offered.

        Raises:
            FaultError: always.
        """
        raise FaultError(f"{replica}: the API of Kubernetes cannot hang a pod")

    def continue_replica(self, replica: str, uid: str) -> None:
        """Nothing to do: nothing was stopped."""

    def delete_replica(self, replica: str, uid: str, grace_s: float | None) -> None:
        """Delete the pod within its grace, of at least a second: none would be a kill."""
        grace = None if grace_s is None else max(1, math.ceil(grace_s))
        self._replicas.delete(replica, uid, grace)

    def evict_replica(self, replica: str, uid: str) -> Refusal | None:
        """Ask the Eviction API, which asks the disruption budgets."""
        return self._replicas.evict(replica, uid)

    def nodes(self) -> Sequence[Node]:
        """Return the cluster's nodes, by name."""
        found = sorted(self._cluster.api.list_all(NODES), key=name_of)
        return [nodes.as_node(node) for node in found]

    def occupants(self, node: str) -> Sequence[Occupant]:
        """Return every pod on a node, of other namespaces too."""
        return nodes.occupants(self._cluster, node)

    def cordon_node(self, node: str, uid: str, mark: Mark) -> None:
        """Make the node unschedulable."""
        nodes.cordon(self._cluster, node, uid, mark)

    def uncordon_node(self, node: str, uid: str, token: str) -> None:
        """Make the node what it was before the cordon of `token`."""
        nodes.uncordon(self._cluster, node, uid, token)

    def workloads(self, component: str, tier: str | None) -> Sequence[Workload]:
        """Return the deployments and stateful sets of a component."""
        return scaling.workloads(self._cluster, component, tier)

    def set_scale(self, workload: str, uid: str, replicas: int, mark: Mark) -> None:
        """Set its number of replicas, unless an autoscaler would set it back."""
        scaling.set_scale(self._cluster, workload, uid, replicas, mark)

    def restore_scale(self, workload: str, uid: str, token: str, replicas: int) -> None:
        """Set its number of replicas back, if nobody changed it since."""
        scaling.restore_scale(self._cluster, workload, uid, token, replicas)

    def rollout(self, workload: str, uid: str) -> Rollout | None:
        """Return how many of its pods are of its current pod template."""
        return releases.rollout(self._cluster, workload, uid)

    def roll_out(self, workload: str, uid: str, mark: Mark) -> None:
        """Restart it as kubectl does; nothing of that is ever taken back."""
        releases.roll_out(self._cluster, workload, uid, mark)

    def release(self, workload: str, uid: str, flaw: Flaw, mark: Mark) -> None:
        """Spoil the image or the command of a deployment's main container."""
        releases.release(self._cluster, workload, uid, flaw, mark)

    def roll_back(self, workload: str, uid: str, token: str, revision: str) -> None:  # noqa: ARG002
        """Set the field back from the mark, whatever the `revision`; leave others' alone."""
        releases.roll_back(self._cluster, workload, uid, token)

    def partition(self, victims: Sequence[tuple[str, str]], mark: Mark) -> None:
        """Have a network policy that allows nothing select the pods."""
        partition.partition(self._cluster, victims, mark)

    def join(self, victims: Sequence[tuple[str, str]], token: str) -> None:
        """Remove the policy of `token`, and its label from whatever pod has it."""
        partition.join(self._cluster, victims, token)

    def partitioned(self, token: str) -> Collection[str]:
        """Return the uids of the pods that the policy of `token` selects now."""
        return partition.partitioned(self._cluster, token)

    def now_unix_s(self) -> float:
        """Return the API server's time."""
        return self._cluster.api.now_unix_s()

    def left_behind(self) -> Sequence[str]:
        """Return what marks on workloads, pods and policies say is in force."""
        return expiry.left_behind(self._cluster)

    def revert_expired(self, now_unix_s: float) -> Sequence[str]:
        """Undo what expired marks on nodes, workloads, pods and policies say."""
        return expiry.revert_expired(self._cluster, now_unix_s)

    def find_replicas(self, namespace: str, selector: str) -> Sequence[Found]:
        """Return the pods that a selector finds in one of our namespaces."""
        return stock.find_replicas(self._cluster, self._replicas, namespace, selector)

    def find_workload(self, namespace: str, name: str) -> Workload | None:
        """Return the deployment or stateful set of a component by its name."""
        return stock.find_workload(self._cluster, namespace, name)

    def kubernetes_client(self, namespace: str) -> Any:
        """Return a client for the context and the credentials that the target file names."""
        stock.insist_on(self._cluster, namespace)
        return self._cluster.api.new_client()

    def close(self) -> None:
        """Close the connections."""
        self._cluster.api.close()
