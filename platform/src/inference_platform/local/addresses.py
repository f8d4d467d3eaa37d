"""A loopback network of its own for each platform, so that several never meet.

On Linux the whole of 127.0.0.0/8 is loopback: every platform takes a random /24 of it, with the
same ports everywhere. Systems that have only 127.0.0.1 get free ports there.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from inference_platform.local.errors import MissingError

Address = tuple[str, int]

ENGINE_PORT = 8000
FIRST_ENGINE_HOST = 10  # 127.x.y.10 and on
SERVICE_PORTS = {"router": 8080, "prometheus": 9090, "redis": 6379, "control": 7070}
ATTEMPTS = 20


@dataclass(frozen=True)
class Addresses:
    """Where everything listens.

    Attributes:
        services: router, prometheus, redis and control.
        engines: one for each replica, by its number.
    """

    services: dict[str, Address]
    engines: tuple[Address, ...]


def choose(network: str, engines: int, is_free: Callable[[Address], bool]) -> Addresses:
    """Return addresses that nobody listens on.

    Args:
        network: as configured: auto, 127.0.0.1, or a /24.
        engines: how many engine replicas need one.
        is_free: says whether an address can be bound; `can_bind` outside tests.

    Raises:
        MissingError: the network that was asked for is not free.
    """
    if network == "127.0.0.1" or (network == "auto" and not is_free(("127.0.0.2", 0))):
        return _free_ports(engines)
    if network != "auto":
        chosen = _in_network(network.removesuffix(".0/24"), engines)
        for name, address in _named(chosen):
            if not is_free(address):
                raise MissingError(
                    f"{address[0]}:{address[1]} for {name} is in use or not ours to bind; "
                    "stop what listens there or set network: auto"
                )
        return chosen
    # 127.0 holds other people's servers and 127.255 a broadcast address.
    draw = random.SystemRandom()
    for _ in range(ATTEMPTS):
        chosen = _in_network(f"127.{draw.randint(1, 254)}.{draw.randint(0, 255)}", engines)
        if all(is_free(address) for _, address in _named(chosen)):
            return chosen
    raise MissingError(f"none of {ATTEMPTS} random loopback networks was free; set network:")


def can_bind(address: Address) -> bool:
    """Say whether we can listen on an address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError:
            return False
    return True


def listen(address: Address, name: str) -> socket.socket:
    """Return a listening socket; one that a child can inherit when it is passed on."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(4096)
    except OSError as error:
        listener.close()
        raise MissingError(
            f"{address[0]}:{address[1]} for {name} cannot be listened on: {error.strerror}"
        ) from error
    listener.setblocking(False)
    return listener


def url(address: Address, scheme: str = "http") -> str:
    """Write an address as a URL."""
    return f"{scheme}://{address[0]}:{address[1]}"


def _in_network(prefix: str, engines: int) -> Addresses:
    return Addresses(
        services={name: (f"{prefix}.1", port) for name, port in SERVICE_PORTS.items()},
        engines=tuple((f"{prefix}.{FIRST_ENGINE_HOST + i}", ENGINE_PORT) for i in range(engines)),
    )


def _free_ports(engines: int) -> Addresses:
    """Ask the system for ports; all are held until the last is known, so that they differ."""
    with ExitStack() as held:
        ports = []
        for _ in range(len(SERVICE_PORTS) + engines):
            probe = held.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            ports.append(probe.getsockname()[1])
    found = [("127.0.0.1", port) for port in ports]
    count = len(SERVICE_PORTS)
    return Addresses(
        services=dict(zip(SERVICE_PORTS, found[:count], strict=True)), engines=tuple(found[count:])
    )


def _named(addresses: Addresses) -> list[tuple[str, Address]]:
    engines = [(f"engine {i}", address) for i, address in enumerate(addresses.engines)]
    return [*addresses.services.items(), *engines]
