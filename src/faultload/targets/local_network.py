"""The local platform's network."""

from __future__ import annotations

from faultload.targets.network_acts import NoNetworkActs


class LocalNetwork(NoNetworkActs):
    """That part of a local target."""
