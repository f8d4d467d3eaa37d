"""Runs KEDA's and the HPA's loop for every scaled object, on injected eyes and hands."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from inference_platform.local.addresses import Address
from inference_platform.local.autoscaling import prometheus
from inference_platform.local.autoscaling.algorithm import Autoscaler
from inference_platform.local.autoscaling.decision import Decision, HpaStatus, Reading, Scale
from inference_platform.local.autoscaling.spec import ScaledObject

CurrentScale = Callable[[str], Scale]  # tier
SetReplicas = Callable[[str, int, str], None]  # tier, replicas, why
Note = Callable[[str, str, str], None]  # reason, object, message


class Scaler:
    """Scales every tier that has a scaled object."""

    def __init__(  # noqa: PLR0913  # eyes, hands and mouth of one controller
        self,
        scaled_objects: Sequence[ScaledObject],
        address: Address,
        *,
        current: CurrentScale,
        set_replicas: SetReplicas,
        note: Note,
        time_scale: float = 1.0,
        namespace: str = "inference",
        timeout_s: float = prometheus.TIMEOUT_S,
    ) -> None:
        """Do nothing yet.

        Args:
            scaled_objects: what `spec.load` returned.
            address: of Prometheus.
            current: says what a tier has; called just before each decision.
            set_replicas: gives a tier another number of replicas; the text says why.
            note: records an event.
            time_scale: what a second of the file takes here, s.
            namespace: for the words of events.
            timeout_s: longest wait for an answer of Prometheus; not scaled.
        """
        self._autoscalers = [Autoscaler(one, time_scale, namespace) for one in scaled_objects]
        self._address = address
        self._current = current
        self._set_replicas = set_replicas
        self._note = note
        self._timeout_s = timeout_s

    async def run(self) -> None:
        """Poll and sync until cancelled; both begin at once."""
        async with asyncio.TaskGroup() as tasks:
            for autoscaler in self._autoscalers:
                tasks.create_task(self._poll(autoscaler))
                tasks.create_task(self._sync(autoscaler))

    def status(self) -> list[HpaStatus]:
        """Return what kube-state-metrics would say, in the order of the file."""
        return [autoscaler.status for autoscaler in self._autoscalers]

    def owner(self, tier: str) -> str:
        """Return what scales a tier, `scaledobject/<name>`; "" when nothing does."""
        found = (one.spec.name for one in self._autoscalers if one.spec.tier == tier)
        name = next(found, "")
        return name and f"scaledobject/{name}"

    async def _poll(self, autoscaler: Autoscaler) -> None:
        """Poll for ever; the interval counts from the beginning of a look (startScaleLoop)."""
        while True:
            pause = asyncio.create_task(asyncio.sleep(autoscaler.poll_interval_s))
            try:
                readings = await self._read(autoscaler)
                scale = self._current(autoscaler.spec.tier)
                self._act(autoscaler, scale, autoscaler.poll(time.monotonic(), scale, readings))
                await pause
            finally:
                pause.cancel()

    async def _sync(self, autoscaler: Autoscaler) -> None:
        """Sync for ever; the period counts from the end of a look, as in the HPA's queue."""
        while True:
            # The HPA asks nobody about a tier that sleeps.
            asleep = self._current(autoscaler.spec.tier).spec == 0
            readings = {} if asleep else await self._read(autoscaler)
            scale = self._current(autoscaler.spec.tier)
            self._act(autoscaler, scale, autoscaler.sync(time.monotonic(), scale, readings))
            await asyncio.sleep(autoscaler.sync_period_s)

    async def _read(self, autoscaler: Autoscaler) -> dict[int, Reading]:
        """Ask all triggers at the same time."""
        reads = (
            prometheus.read(self._address, trigger.metadata, self._timeout_s)
            for trigger in autoscaler.spec.triggers
        )
        return dict(enumerate(await asyncio.gather(*reads)))

    def _act(self, autoscaler: Autoscaler, scale: Scale, decision: Decision) -> None:
        for event in decision.events:
            self._note(event.reason, event.object, event.message)
        if decision.desired != scale.spec:
            self._set_replicas(autoscaler.spec.tier, decision.desired, decision.message)
