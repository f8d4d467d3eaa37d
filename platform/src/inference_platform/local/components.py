"""The parts of a platform that are not replicas: what each runs, and how it is probed."""

from __future__ import annotations

import functools
from dataclasses import replace

from inference_platform.local import probe, programs
from inference_platform.local.addresses import Addresses, url
from inference_platform.local.layout import Layout
from inference_platform.local.network import Network
from inference_platform.local.settings import PlatformConfig
from inference_platform.local.unit import Recipe


def recipes(
    config: PlatformConfig,
    addresses: Addresses,
    layout: Layout,
    network: Network,
) -> list[Recipe]:
    """Return how every component is started, in the order in which that is done.

    Args:
        config: which there are.
        addresses: where they listen.
        layout: where their files are.
        network: whose process says in a file what it does; it has no port to ask.
    """
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
    if config.links:
        found.insert(0, _links(recipe("links", programs.links(config, layout.links)), network))
    return found


def _links(recipe: Recipe, network: Network) -> Recipe:
    """Return the recipe of the links, of which the network says whether they are up to date."""

    def command(first: bool) -> list[str]:  # noqa: FBT001  # named by its type
        network.forget()
        return recipe.command(first)

    return replace(recipe, command=command, probe=network.is_up)
