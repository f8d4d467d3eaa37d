"""How a replica is started on its machine: image, weights, engine."""

from __future__ import annotations

import asyncio
import signal

from inference_platform.local import probe, programs
from inference_platform.local.addresses import Addresses, url
from inference_platform.local.layout import Layout
from inference_platform.local.machines import Machine, Note
from inference_platform.local.placement import Backoff
from inference_platform.local.pod import Pod
from inference_platform.local.process import Process, last_line
from inference_platform.local.settings import PlatformConfig
from inference_platform.local.unit import Recipe


class PodUnits:
    """Makes the units of replicas.

    Args:
        config: of the platform.
        addresses: where the model store is.
        layout: where logs, caches and the chaos token are.
        note: records events.
    """

    def __init__(
        self, config: PlatformConfig, addresses: Addresses, layout: Layout, note: Note
    ) -> None:
        """Keep what every recipe needs."""
        self._config = config
        self._addresses = addresses
        self._layout = layout
        self._note = note

    def recipe(self, pod: Pod, machine: Machine) -> Recipe:
        """Return what the unit of a replica does on a machine."""
        config = self._config

        def command(first: bool) -> list[str]:  # noqa: FBT001  # named by its type
            warm = first and pod.first
            startup_s = config.first_start_s if warm else config.cold_start_s
            return programs.engine(config, pod, startup_s, self._layout.chaos_token)

        async def before() -> None:
            await self._pull_image(pod, machine)
            # The first replicas come up warm: their machines have image and weights already.
            if config.model_store.enabled and not pod.first:
                await self._fetch_weights(pod, machine)
            pod.waits_for = ""

        async def ready() -> bool:
            if not config.readiness.probe_replicas:
                return True
            return await probe.http_ok(address, "/health", config.readiness.timeout_s)

        address = pod.addresses.engine
        return Recipe(
            name=pod.name,
            kind="replica",
            url=url(address),
            command=command,
            probe=ready,
            log=self._layout.logs / f"{pod.name}.log",
            before=before,
        )

    async def _pull_image(self, pod: Pod, machine: Machine) -> None:
        """Have the engine's image on the machine; one that does not exist is asked for again."""
        obj = f"replica/{pod.name}"
        backoff = self._backoff()
        while not pod.revision.pullable:
            pod.waits_for = "ImagePullBackOff"
            self._note("Failed", obj, f"ErrImagePull: no image of revision {pod.revision.name}")
            await asyncio.sleep(backoff.next_s(ready_s=0.0))
        if not machine.has_image:
            pod.waits_for = "ContainerCreating"
            self._note("Pulling", obj, "the engine's image")
            await self._pull_on(machine)
            self._note("Pulled", obj, "the engine's image")

    async def _pull_on(self, machine: Machine) -> None:
        """Pull the image; who asks while that goes on waits for the same pull."""
        loop = asyncio.get_running_loop()
        if machine.pulled_at is None:
            pull_s = self._config.scaled(self._config.node_life.image_pull_s)
            machine.pulled_at = loop.time() + pull_s
        await asyncio.sleep(max(0.0, machine.pulled_at - loop.time()))
        machine.has_image = True

    async def _fetch_weights(self, pod: Pod, machine: Machine) -> None:
        """Fetch the model into the machine's cache, as an init container; until it is there."""
        obj, log = f"replica/{pod.name}", self._layout.logs / f"{pod.name}.init.log"
        folder = self._layout.weights(machine.instance_id)
        command = programs.fetch(self._config, self._addresses, pod, folder)
        backoff = self._backoff()
        while True:
            pod.waits_for = "PodInitializing"
            process = Process(command, log)
            try:
                code = await process.ended()
            finally:
                process.signal(signal.SIGKILL)
            if code == 0:
                pod.weights = folder / self._config.tiers[pod.tier].model
                self._note("WeightsFetched", obj, last_line(log))
                return
            pod.waits_for = "Init:CrashLoopBackOff"
            pause_s = backoff.next_s(ready_s=0.0)
            self._note("BackOff", obj, f"{last_line(log)}; again in {pause_s:g} s")
            await asyncio.sleep(pause_s)

    def _backoff(self) -> Backoff:
        return Backoff(self._config.restart, self._config.time_scale)
