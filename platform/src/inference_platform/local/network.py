"""Which links there are, and what is wrong with each; the links process does what this says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, fields, replace
from typing import Any

from inference_platform.local.addresses import LINKED, Addresses
from inference_platform.local.errors import MissingError, OrderError
from inference_platform.local.layout import Layout
from inference_platform.local.links.document import Link
from inference_platform.local.links.file import LinkFile
from inference_platform.local.pod import Pod
from inference_platform.local.settings import PlatformConfig

UNDISTURBED = {
    field.name: field.default
    for field in fields(Link)
    if field.name not in {"name", "listen", "to"}
}
APPLIED_S_MAX = 3.0
SILENT_S_MAX = 1.0  # the links process shows a sign of life five times as often


class Network:
    """The links of one platform: before every replica, Redis and the model store.

    A replica on a machine that is lost is unreachable, whatever else is set: packets to a dead
    machine are answered by nobody.
    """

    def __init__(self, config: PlatformConfig, addresses: Addresses, layout: Layout) -> None:
        """Begin with a network that nobody disturbs; nothing is written yet."""
        services = addresses.services
        self._services = [
            Link(name, services[f"{name}-link"], services[name])
            for name in LINKED
            if name != "model-store" or config.model_store.enabled
        ]
        self._conditions: dict[str, dict[str, Any]] = {}
        self._file = LinkFile(layout.links) if config.links else None
        self._links: list[Link] | None = None
        self._version = 0

    def publish(self, pods: Iterable[Pod]) -> None:
        """Tell the links process of every link, when that has changed."""
        if self._file is None:
            return
        links = [self._disturbed(link) for link in self._services]
        pods = list(pods)
        known = {link.name for link in self._services} | {pod.name for pod in pods}
        self._conditions = {n: how for n, how in self._conditions.items() if n in known}
        for pod in pods:
            if pod.node:
                link = self._disturbed(Link(pod.name, pod.addresses.link, pod.addresses.engine))
                lost = pod.unit is not None and pod.unit.lost
                links.append(replace(link, partitioned=True) if lost else link)
        if links != self._links:
            self._links = links
            self._version = self._file.write(links)

    def set(self, name: str, conditions: dict[str, Any]) -> dict[str, Any]:
        """Disturb a link; return what was wrong with it before. Then `publish`.

        Conditions that are not named are as undisturbed.

        Raises:
            OrderError: there is no such link, or there are none at all.
        """
        if self._links is None:
            raise OrderError(409, "this platform has no links; start it with links: true")
        names = [link.name for link in self._links]
        if name not in names:
            raise OrderError(404, f"no link {name!r}; there are {', '.join(names)}")
        before = self._conditions.pop(name, {})
        if conditions:
            self._conditions[name] = conditions
        return before

    def conditions(self, name: str) -> dict[str, Any] | None:
        """Return what was set to be wrong with a link; None: there is no such link."""
        if all(link.name != name for link in self._links or ()):
            return None
        return UNDISTURBED | self._conditions.get(name, {})

    async def applied(self) -> None:
        """Wait until the links process has done what was published last.

        Raises:
            OrderError: it did not say so in time.
        """
        if self._file is not None:
            try:
                await self._file.applied(self._version, APPLIED_S_MAX)
            except MissingError as error:
                raise OrderError(409, str(error)) from error

    def forget(self) -> None:
        """Forget what a links process did; for when another one is about to be started."""
        if self._file is not None:
            self._file.forget()

    async def is_up(self) -> bool:
        """Whether the links process has done what was published, and still shows that it lives."""
        return self._file is not None and self._file.is_applied(self._version, SILENT_S_MAX)

    def state(self) -> list[dict[str, Any]]:
        """Return every link and its conditions."""
        return [asdict(link) for link in self._links or ()]

    def _disturbed(self, link: Link) -> Link:
        return replace(link, **self._conditions.get(link.name, {}))
