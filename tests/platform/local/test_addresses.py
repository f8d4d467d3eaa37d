"""The choice of addresses: a network of one's own, free ports, or a clear refusal."""

import socket

import pytest

from inference_platform.local import addresses
from inference_platform.local.addresses import Address
from inference_platform.local.errors import MissingError


def test_a_network_of_its_own_has_the_same_ports_everywhere() -> None:
    """Only the network differs between two platforms."""
    chosen = addresses.choose("auto", lambda _address: True)
    prefix = chosen.services["router"][0].rsplit(".", 1)[0]

    assert chosen.services == {
        "router": (f"{prefix}.1", 8080),
        "prometheus": (f"{prefix}.1", 9090),
        "redis": (f"{prefix}.1", 6379),
        "control": (f"{prefix}.1", 7070),
        "imds": (f"{prefix}.1", 1338),
        "model-store": (f"{prefix}.1", 9000),
        "redis-link": (f"{prefix}.1", 6380),
        "model-store-link": (f"{prefix}.1", 9001),
    }
    assert chosen.replica(1).engine == (f"{prefix}.11", 8000)
    assert chosen.replica(addresses.REPLICAS_MAX - 1).link == (f"{prefix}.209", 8001)
    assert not prefix.startswith("127.0.")


def test_a_network_with_a_taken_address_is_passed_over() -> None:
    """A random network must be free as a whole."""
    refused: list[Address] = []

    def is_free(address: Address) -> bool:
        if address[1] == 9090 and len(refused) < 3:
            refused.append(address)
            return False
        return True

    chosen = addresses.choose("auto", is_free)

    assert len(refused) == 3
    assert chosen.services["prometheus"] not in refused


def test_a_system_without_other_loopback_addresses_gets_free_ports() -> None:
    """On 127.0.0.1 all parts share the host and differ in the port."""
    chosen = addresses.choose("auto", lambda address: address[0] == "127.0.0.1")
    replica = chosen.replica(0)
    everything = [*chosen.services.values(), replica.engine, replica.link, replica.chaos]

    assert {host for host, _ in everything} == {"127.0.0.1"}
    assert len({port for _, port in chosen.services.values()}) == len(chosen.services)
    assert len({replica.engine, replica.link, replica.chaos, replica.dcgm}) == 4


def test_a_named_network_that_is_in_use_is_refused() -> None:
    """The line names the address and the part that wanted it."""
    with pytest.raises(MissingError, match=r"127\.3\.2\.1:6379 for redis is in use"):
        addresses.choose("127.3.2.0/24", lambda address: address[1] != 6379)


def test_nothing_free_is_an_error_and_not_an_endless_search() -> None:
    """Every wait has a bound."""
    with pytest.raises(MissingError, match="none of 20 random loopback networks"):
        addresses.choose("auto", lambda address: address[1] == 0)


def test_a_taken_port_cannot_be_bound() -> None:
    """The real check, against a real listener."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert not addresses.can_bind(taken.getsockname())
        with pytest.raises(MissingError, match="for router cannot be listened on"):
            addresses.listen(taken.getsockname(), "router")
