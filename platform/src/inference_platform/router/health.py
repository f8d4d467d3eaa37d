"""Active health checks: GET /health on every ready replica, once a period."""

import asyncio
import logging

from inference_platform.router.fleet import Fleet, Replica
from inference_platform.router.settings import Settings
from inference_platform.router.upstream import UpstreamError

log = logging.getLogger(__name__)


class HealthChecks:
    """Probes the fleet and sets each replica's `healthy`."""

    def __init__(self, fleet: Fleet, settings: Settings) -> None:
        """Nothing is probed until `run` or `round`."""
        self._fleet = fleet
        self._settings = settings

    async def run(self) -> None:
        """Probe forever: a round a period, or as long as the slowest probe may take."""
        loop = asyncio.get_running_loop()
        while True:
            started_s = loop.time()
            await self.round()
            rest_s = self._settings.health_period_s - (loop.time() - started_s)
            await asyncio.sleep(max(0.0, rest_s))

    async def round(self) -> None:
        """Probe every ready replica once, all at the same time."""
        ready = [replica for replica in self._fleet if replica.endpoint.ready]
        await asyncio.gather(*(self._check(replica) for replica in ready))

    async def _check(self, replica: Replica) -> None:
        why = await self._probe(replica)
        if why is None:
            if not replica.healthy:
                log.info("replica %s is healthy again", replica.name)
            replica.healthy, replica.probe_failures = True, 0
            self._fleet.notify()
            return
        replica.probe_failures += 1
        if replica.healthy and replica.probe_failures >= self._settings.health_failures:
            replica.healthy = False
            log.warning("replica %s is unhealthy: %s", replica.name, why)
            if any(other.usable for other in self._fleet.of_tier(replica.tier)):
                # Its waiting requests may hang for long (a stopped process answers nothing, and
                # refuses nothing): they are better off elsewhere, while there is an elsewhere.
                replica.pool.abandon_waiting()

    async def _probe(self, replica: Replica) -> str | None:
        """Ask once, on a connection of its own (accepting is a part of health); None is good."""
        request = b"GET /health HTTP/1.1\r\nhost: %b\r\nconnection: close\r\n\r\n"
        try:
            async with asyncio.timeout(self._settings.health_timeout_s):
                connection = await replica.pool.connect()
                try:
                    connection.request(request % replica.host_header)
                    while await connection.read(self._settings.health_timeout_s):
                        pass
                finally:
                    connection.abort()
        except TimeoutError:
            return f"no answer within {self._settings.health_timeout_s:g} s"
        except UpstreamError as error:
            return str(error)
        return None if connection.status == 200 else f"/health answered {connection.status}"
