"""What stands in for the kubelets: there is none here, and no container ever runs.

The API server, the controllers and the scheduler are real. What they wait for from a node's agent,
that a pod has started and that it has stopped, is said by this thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from kube_objects import make_ready, make_waiting, unless_overtaken
from kubernetes import client

_LOOK_S = 0.05
_STOP_TIMEOUT_S = 30.0


class Kubelet:
    """While entered, starts pods that have a node, and removes those whose time to stop is over.

    A pod is started once: what a test says of its status afterwards stays. An image of a registry
    under .invalid is never pulled, and /bin/false always ends: these pods wait, as on a node.
    Nodes are left alone; their heartbeats are not missed, because the controller manager waits for
    them for a day.

    Args:
        admin: signed in as one who may.
        namespace: only this one's pods.
        grace_scale: how much of its grace period a pod takes to stop: 0 is at once, 1 all of it.
        starts: whether a pod becomes ready; one that does not is asked about again.
    """

    def __init__(
        self,
        admin: client.ApiClient,
        namespace: str,
        *,
        grace_scale: float = 0.0,
        starts: Callable[[client.V1Pod], bool] = lambda _: True,
    ) -> None:
        self._core = client.CoreV1Api(admin)
        self._admin = admin
        self._namespace = namespace
        self._grace_scale = grace_scale
        self._starts = starts
        self._ending: dict[str, float] = {}  # uid to when it ends, monotonic
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kubelet", daemon=True)
        self._error: Exception | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(_STOP_TIMEOUT_S)
        if self._error is None:
            return
        if error is None:
            raise self._error
        error.add_note(f"the kubelet's thread had ended before: {self._error!r}")

    def _run(self) -> None:
        try:
            while not self._stop.wait(_LOOK_S):
                for pod in self._core.list_namespaced_pod(self._namespace).items:
                    if pod.spec.node_name:
                        self._attend(pod)
        except Exception as error:  # noqa: BLE001  # raised in the test's thread, on leaving
            self._error = error

    def _attend(self, pod: client.V1Pod) -> None:
        with unless_overtaken():
            if pod.metadata.deletion_timestamp:
                self._end(pod)
            elif pod.status.container_statuses:
                return
            elif flaw := _flaw(pod):
                make_waiting(self._admin, pod, *flaw)
            elif self._starts(pod):
                make_ready(self._admin, pod)

    def _end(self, pod: client.V1Pod) -> None:
        grace_s = pod.metadata.deletion_grace_period_seconds or 0
        now = time.monotonic()
        due = self._ending.setdefault(pod.metadata.uid, now + grace_s * self._grace_scale)
        if now < due:
            return
        # As a kubelet does when the containers are gone; the uid spares a pod of the same name.
        self._core.delete_namespaced_pod(
            pod.metadata.name,
            pod.metadata.namespace,
            body=client.V1DeleteOptions(
                grace_period_seconds=0, preconditions=client.V1Preconditions(uid=pod.metadata.uid)
            ),
        )


def _flaw(pod: client.V1Pod) -> tuple[str, str] | None:
    """Return why a pod's containers cannot run, in the words of a kubelet; None: they can."""
    for container in pod.spec.containers:
        if container.image.partition("/")[0].endswith(".invalid"):
            return "ImagePullBackOff", f'Back-off pulling image "{container.image}"'
        if (container.command or [""])[0] == "/bin/false":
            return "CrashLoopBackOff", f"back-off 10s restarting failed container={container.name}"
    return None
