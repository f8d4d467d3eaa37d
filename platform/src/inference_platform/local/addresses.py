"""A loopback network of its own for each platform, so that several never meet.

On Linux the whole of 127.0.0.0/8 is loopback: every platform takes a random /24 of it, with the
same ports everywhere. Systems that have only 127.0.0.1 get free ports there.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass

from inference_platform.local.errors import MissingError

Address = tuple[str, int]

FIRST_REPLICA_HOST = 10  # 127.x.y.10 and on
REPLICAS_MAX = 200
# The ports of the real things; 1338 is that of Amazon's own metadata mock, and what a link hides
# has the port after it.
SERVICE_PORTS = {
    "router": 8080,
    "prometheus": 9090,
    "redis": 6379,
    "control": 7070,
    "imds": 1338,
    "model-store": 9000,
}
LINKED = ("redis", "model-store")
REPLICA_PORTS = {"engine": 8000, "link": 8001, "chaos": 8002, "dcgm": 9400}
ATTEMPTS = 20


@dataclass(frozen=True)
class ReplicaAddresses:
    """Where one replica listens.

    Attributes:
        engine: its API, asked directly by probes and by Prometheus.
        link: the way to it through the network, which the router takes.
        chaos: the engine's port for faults.
        dcgm: the metrics of its GPUs.
    """

    engine: Address
    link: Address
    chaos: Address
    dcgm: Address


@dataclass(frozen=True)
class Addresses:
    """Where everything listens.

    Attributes:
        services: router, prometheus, redis, control, imds and model-store; and where there is a
            link to one, "<name>-link".
        prefix: of the /24, like 127.3.2; "" where everything is on 127.0.0.1.
    """

    services: dict[str, Address]
    prefix: str = ""

    def replica(self, number: int) -> ReplicaAddresses:
        """Return the addresses of a replica by its number, 0 to REPLICAS_MAX - 1.

        On 127.0.0.1 each call draws free ports; what is free now may be taken when it is used.
        """
        if self.prefix:
            host = f"{self.prefix}.{FIRST_REPLICA_HOST + number}"
            return ReplicaAddresses(**{name: (host, port) for name, port in REPLICA_PORTS.items()})
        return ReplicaAddresses(**_free_ports(REPLICA_PORTS))


def choose(network: str, is_free: Callable[[Address], bool]) -> Addresses:
    """Return addresses that nobody listens on.

    Args:
        network: as configured: auto, 127.0.0.1, or a /24.
        is_free: says whether an address can be bound; `can_bind` outside tests.

    Raises:
        MissingError: the network that was asked for is not free.
    """
    if network == "127.0.0.1" or (network == "auto" and not is_free(("127.0.0.2", 0))):
        linked = [f"{name}-link" for name in LINKED]
        return Addresses(_free_ports([*SERVICE_PORTS, *linked]))
    if network != "auto":
        chosen = _in_network(network.removesuffix(".0/24"))
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
        chosen = _in_network(f"127.{draw.randint(1, 254)}.{draw.randint(0, 255)}")
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


def _in_network(prefix: str) -> Addresses:
    services = {name: (f"{prefix}.1", port) for name, port in SERVICE_PORTS.items()}
    links = {f"{name}-link": (f"{prefix}.1", SERVICE_PORTS[name] + 1) for name in LINKED}
    return Addresses(services | links, prefix)


def _free_ports(names: Iterable[str]) -> dict[str, Address]:
    """Ask the system for ports; all are held until the last is known, so that they differ."""
    with ExitStack() as held:
        found = {}
        for name in names:
            probe = held.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            found[name] = ("127.0.0.1", probe.getsockname()[1])
    return found


def _named(addresses: Addresses) -> list[tuple[str, Address]]:
    first = addresses.replica(0)
    return [*addresses.services.items(), ("the first engine", first.engine)]
