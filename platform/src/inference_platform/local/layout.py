"""Where a platform keeps its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


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

    @property
    def gpus(self) -> Path:
        """What has happened to each GPU."""
        return self.state / "gpus"

    def weights(self, instance_id: str) -> Path:
        """The model cache of a machine; one that comes back has a new one."""
        return self.state / "weights" / instance_id
