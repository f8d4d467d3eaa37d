"""The replicas the router knows: which of them may serve now, and which one should."""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterator

from inference_platform.router.endpoints import Endpoint, public_model
from inference_platform.router.settings import Settings
from inference_platform.router.upstream import Pool

log = logging.getLogger(__name__)

# A replica that answered 500 or 503 is the last choice for this long. Failing fast it would always
# have the fewest requests and so attract every new one; but it is not ejected, as one request that
# no engine can serve must not empty a tier.
REFUSED_S = 1.0


class Replica:
    """One engine replica: its connections, its load and its health as this router sees them."""

    def __init__(self, endpoint: Endpoint, settings: Settings) -> None:
        """Taken for healthy until probed: the platform said that it is ready."""
        self.endpoint = endpoint
        self.name = endpoint.name
        self.uid = endpoint.uid
        self.tier = endpoint.tier
        host, port = endpoint.address
        self.host_header = f"{host}:{port}".encode()
        self.pool = Pool(host, port, connect_timeout_s=settings.connect_timeout_s)
        self.inflight = 0
        self.healthy = True
        self.probe_failures = 0
        self.ejected_until_s = 0.0
        self.refused_until_s = 0.0
        self.turn = 0
        """When it was last picked, counted in picks."""
        self._eject_s_min = settings.eject_s_min
        self._eject_s_max = settings.eject_s_max
        self._eject_s = settings.eject_s_min

    @property
    def usable(self) -> bool:
        """Whether a request may go there now."""
        return self.endpoint.ready and self.healthy and self.ejected_until_s <= time.monotonic()

    def eject(self) -> float | None:
        """Pause after a failure before the first byte; seconds, None while already ejected.

        A dying replica fails many requests at once: they are one failure, not a reason for the
        pause to grow.
        """
        now = time.monotonic()
        if now < self.ejected_until_s:
            return None
        pause_s = self._eject_s
        self.ejected_until_s = now + pause_s
        self._eject_s = min(2 * pause_s, self._eject_s_max)
        return pause_s

    def refuse(self) -> None:
        """It answered 500 or 503: others are better for a while."""
        self.refused_until_s = time.monotonic() + REFUSED_S

    def served(self) -> None:
        """A first byte came: the next ejection starts small again."""
        self._eject_s = self._eject_s_min


class Fleet:
    """All replicas by tier. Tiers stay known once seen, so that an empty one is 503, not 404."""

    def __init__(self, settings: Settings) -> None:
        """Empty until `apply`, but for the tiers that the settings name."""
        self._settings = settings
        self._replicas: dict[str, Replica] = {}
        self._by_tier: dict[str, list[Replica]] = {tier: [] for tier in settings.tiers}
        self._picks = 0
        self._models: dict[str, str] = {}
        self._changed: set[asyncio.Future[None]] = set()
        self.on_new: Callable[[Replica], None] | None = None
        """Called for each replica as it appears."""
        self._index_models()

    @property
    def tiers(self) -> list[str]:
        """Every tier known, in the order they were first seen."""
        return list(self._by_tier)

    @property
    def models(self) -> dict[str, str]:
        """Model name as clients may ask for it → tier."""
        return self._models

    def __iter__(self) -> Iterator[Replica]:
        return iter(list(self._replicas.values()))

    def of_tier(self, tier: str) -> list[Replica]:
        """The replicas of one tier."""
        return self._by_tier.get(tier, [])

    def apply(self, endpoints: list[Endpoint]) -> None:
        """Make the fleet what the platform says; a changed uid, address or tier is a new one."""
        wanted = {endpoint.name: endpoint for endpoint in endpoints}
        for name, replica in list(self._replicas.items()):
            if _identity(wanted.get(name)) != _identity(replica.endpoint):
                del self._replicas[name]
                replica.pool.retire()
                log.info("replica %s (%s) is gone", name, replica.uid)
        for name, endpoint in wanted.items():
            known = self._replicas.get(name)
            if known is None:
                self._replicas[name] = known = Replica(endpoint, self._settings)
                log.info("replica %s (%s) of tier %s", name, endpoint.uid, endpoint.tier)
                if self.on_new is not None:
                    self.on_new(known)
            elif endpoint.ready and not known.endpoint.ready:
                # The platform's readiness is newer than our probes of a starting engine.
                known.healthy, known.probe_failures = True, 0
            known.endpoint = endpoint
        for tier in {*self._by_tier, *(endpoint.tier for endpoint in endpoints)}:
            self._by_tier[tier] = [r for r in self._replicas.values() if r.tier == tier]
        self._index_models()
        self.notify()

    def _index_models(self) -> None:
        self._models = {r.endpoint.served_model: r.tier for r in self._replicas.values()}
        self._models.update({public_model(tier): tier for tier in self._by_tier})

    def pick(
        self, tier: str, *, avoid: Collection[Replica] = (), prefer_uid: str | None = None
    ) -> Replica | None:
        """The usable replica with the fewest requests of ours; ties go round; None: none usable.

        `avoid` is used only when nothing else is left. `prefer_uid` wins unless it is busier than
        the least loaded by more than the affinity slack.
        """
        usable = [replica for replica in self.of_tier(tier) if replica.usable]
        usable = [replica for replica in usable if replica not in avoid] or usable
        if not usable:
            return None
        now = time.monotonic()
        willing = [replica for replica in usable if replica.refused_until_s <= now] or usable
        chosen = min(willing, key=lambda replica: (replica.inflight, replica.turn))
        for replica in willing:
            slack = self._settings.affinity_slack
            if replica.uid == prefer_uid and replica.inflight - chosen.inflight <= slack:
                chosen = replica
                break
        self._picks += 1
        chosen.turn = self._picks
        return chosen

    async def wait_usable(self, tier: str, timeout_s: float) -> bool:
        """Wait until the tier has a usable replica; False when it has none in time."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        while not any(replica.usable for replica in self.of_tier(tier)):
            left_s = deadline_s - loop.time()
            if left_s <= 0:
                return False
            changed = loop.create_future()
            self._changed.add(changed)
            try:
                await asyncio.wait([changed], timeout=left_s)
            finally:
                self._changed.discard(changed)
        return True

    def eject(self, replica: Replica, why: Exception) -> None:
        """Take a replica out for a while after a failure before its first byte."""
        pause_s = replica.eject()
        if pause_s is not None:
            log.warning("replica %s ejected for %g s: %s", replica.name, pause_s, why)
            asyncio.get_running_loop().call_later(pause_s + 0.001, self.notify)

    def notify(self) -> None:
        """Wake those who wait for a usable replica."""
        for changed in self._changed:
            if not changed.done():
                changed.set_result(None)

    def close(self) -> None:
        """Close all idle connections."""
        for replica in self._replicas.values():
            replica.pool.retire()


def _identity(endpoint: Endpoint | None) -> tuple[str, str, str] | None:
    return None if endpoint is None else (endpoint.uid, endpoint.url, endpoint.tier)
