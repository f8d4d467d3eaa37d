"""What can be done to the processes of an engine and to its GPU, and how to see that it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from faultload.errors import FaultError


@dataclass(frozen=True)
class Pulse:
    """What one engine shows when it is asked directly, with one short request of our own.

    Attributes:
        healthy: its `/health` says 200.
        answered: the request was answered while we looked.
        tokens: generated meanwhile, for anybody, by its own counter; None: it does not say.
    """

    healthy: bool
    answered: bool
    tokens: int | None

    @property
    def beats(self) -> bool:
        """Whether it generates tokens."""
        return self.answered and bool(self.tokens)

    @property
    def hangs(self) -> bool:
        """Whether it calls itself healthy and generates nothing, with a request to work on."""
        return self.healthy and not self.answered and self.tokens == 0


class EngineActs(Protocol):
    """Acts on one engine, as `Acts` has them: of a replica by name and uid, bounded, idempotent."""

    def pulse(self, replica: str, uid: str) -> Pulse | None:
        """Ask the engine itself for one token; None: that uid is gone. Takes up to 3 s."""
        ...

    def stop_engine(self, replica: str, uid: str) -> None:
        """Stop its core and leave its server alone. Needs `HANG_ENGINE`."""
        ...

    def continue_engine(self, replica: str, uid: str) -> None:
        """Let a stopped core go on; nothing to do when that uid or its core is gone."""
        ...

    def kill_engine(self, replica: str, uid: str) -> None:
        """End its core at once and leave its server alone. Needs `KILL_ENGINE`."""
        ...

    def count_said(self, replica: str, text: str) -> int:
        """Return how many lines of a replica's log contain a text, over all of its restarts."""
        ...

    def hold_gpu_memory(self, replica: str, uid: str) -> None:
        """Take all memory that the engine left on its GPU. Needs `GPU_MEMORY`."""
        ...

    def release_gpu_memory(self, replica: str, uid: str, node: str) -> None:
        """Give it back, whether or not that uid is there; the machine's GPUs are reset."""
        ...

    def raise_xid(self, replica: str, uid: str, xid: int) -> None:
        """Have the driver report an error on the engine's first GPU. Needs `GPU_XID`."""
        ...

    def reset_gpu(self, replica: str, uid: str, node: str) -> None:
        """Make the machine's GPUs sound again; that uid, if it is still there, ends with it."""
        ...

    def slow_engine(self, replica: str, uid: str, factor: float) -> None:
        """Make each of its steps take so many times as long. Needs `GPU_SLOW`."""
        ...

    def quicken_engine(self, replica: str, uid: str) -> None:
        """Take that back; nothing to do when that uid is gone."""
        ...

    def token_time_s(self, replica: str, uid: str) -> float | None:
        """Ask the engine for a few tokens, and return the mean time between any two meanwhile.

        None: that uid is gone, or the engine did not say in time.
        """
        ...

    def kv_cache_used(self, replica: str, uid: str) -> float | None:
        """Return how full its KV cache is by its own gauge, 0-1; None: gone, or it does not say."""
        ...

    def engine_url(self, replica: str, uid: str) -> str | None:
        """Return where it can be asked past the router; None: that uid is gone.

        Needs `KV_PRESSURE`.
        """
        ...

    def served_model(self, replica: str, uid: str) -> str | None:
        """Return the model to ask it for; None: that uid is gone, or it does not say."""
        ...


class NoEngineActs:
    """A target that reaches no process inside a replica, and no GPU: every act is refused."""

    def pulse(self, replica: str, uid: str) -> Pulse | None:  # noqa: ARG002
        """Nothing: not offered; raises `FaultError`, as all others do."""
        raise _not_offered(replica)

    def stop_engine(self, replica: str, uid: str) -> None:  # noqa: ARG002
        """Nothing: not offered."""
        raise _not_offered(replica)

    def continue_engine(self, replica: str, uid: str) -> None:
        """Nothing to do: nothing was stopped."""

    def kill_engine(self, replica: str, uid: str) -> None:  # noqa: ARG002
        """Nothing: not offered."""
        raise _not_offered(replica)

    def count_said(self, replica: str, text: str) -> int:  # noqa: ARG002
        """Nothing: not offered."""
        raise _not_offered(replica)

    def hold_gpu_memory(self, replica: str, uid: str) -> None:  # noqa: ARG002
        """Nothing: not offered."""
        raise _not_offered(replica)

    def release_gpu_memory(self, replica: str, uid: str, node: str) -> None:
        """Nothing to do: nothing was taken."""

    def raise_xid(self, replica: str, uid: str, xid: int) -> None:  # noqa: ARG002
        """Nothing: not offered."""
        raise _not_offered(replica)

    def reset_gpu(self, replica: str, uid: str, node: str) -> None:
        """Nothing to do: nothing was broken."""

    def slow_engine(self, replica: str, uid: str, factor: float) -> None:  # noqa: ARG002
        """Nothing: not offered."""
        raise _not_offered(replica)

    def quicken_engine(self, replica: str, uid: str) -> None:
        """Nothing to do: nothing was slowed down."""

    def token_time_s(self, replica: str, uid: str) -> float | None:  # noqa: ARG002
        """Nothing: not offered."""
        raise _not_offered(replica)

    def kv_cache_used(self, replica: str, uid: str) -> float | None:  # noqa: ARG002
        """Nothing: not offered."""
        raise _not_offered(replica)

    def engine_url(self, replica: str, uid: str) -> str | None:  # noqa: ARG002
        """Nothing: not offered."""
        raise _not_offered(replica)

    def served_model(self, replica: str, uid: str) -> str | None:  # noqa: ARG002
        """Nothing: not offered."""
        raise _not_offered(replica)


def _not_offered(replica: str) -> FaultError:
    return FaultError(f"{replica}: this target reaches neither an engine's core nor its GPU")
