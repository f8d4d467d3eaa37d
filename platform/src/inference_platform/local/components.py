"""The parts of a platform that are not replicas: what each runs, and how it is probed."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from inference_platform.local import probe, programs
from inference_platform.local.addresses import Addresses, url
from inference_platform.local.settings import PlatformConfig
from inference_platform.local.unit import Recipe


@dataclass(frozen=True)
class Layout:
    """Where a platform keeps its files.

    Attributes:
        state: the state directory.
        binaries: paths of prometheus and redis-server.
        router_fd: the router's listening socket.
    """

    state: Path
    binaries: dict[str, str]
    router_fd: int

    @property
    def logs(self) -> Path:
        """One file a unit."""
        return self.state / "logs"

    @property
    def endpoints(self) -> Path:
        """What the router follows."""
        return self.state / "endpoints.json"

    @property
    def links(self) -> Path:
        """What the network's links follow."""
        return self.state / "links.json"

    @property
    def prometheus(self) -> Path:
        """Prometheus' configuration, targets and data."""
        return self.state / "prometheus"

    @property
    def chaos_token(self) -> Path:
        """What the engines' ports for faults ask for."""
        return self.state / "chaos-token"

    def weights(self, node: str) -> Path:
        """The model cache of a node; it goes with the machine."""
        return self.state / "weights" / node


def recipes(config: PlatformConfig, addresses: Addresses, layout: Layout) -> list[Recipe]:
    """Return how every component is started, in the order in which that is done."""
    services, folder = addresses.services, layout.prometheus
    timeout_s = config.readiness.timeout_s

    def recipe(
        name: str, command: list[str], health: str = "", pass_fds: tuple[int, ...] = ()
    ) -> Recipe:
        address = services.get(name, ("", 0))
        return Recipe(
            name=name,
            kind="component",
            url=url(address, "redis" if name == "redis" else "http") if address[0] else "",
            command=lambda _first: command,
            probe=functools.partial(probe.http_ok, address, health, timeout_s)
            if health
            else functools.partial(probe.redis_ok, address, timeout_s),
            log=layout.logs / f"{name}.log",
            pass_fds=pass_fds,
        )

    redis = services["redis-link" if config.links else "redis"]
    binaries = layout.binaries
    found = [
        recipe("redis", programs.redis(binaries["redis-server"], layout.state, services["redis"])),
        recipe(
            "prometheus",
            programs.prometheus(
                binaries["prometheus"],
                config,
                folder / "prometheus.yml",
                folder / "data",
                services["prometheus"],
            ),
            "/-/ready",
        ),
        # Not the router's /health: a tier without replicas is no reason to call the router dead.
        recipe(
            "router",
            programs.router(config, layout.router_fd, layout.endpoints, redis),
            "/v1/models",
            (layout.router_fd,),
        ),
    ]
    if config.model_store.enabled:
        command = programs.model_store(config, services["model-store"])
        found.append(recipe("model-store", command, "/"))
    return found
