"""What can be done to releases and to the weights that they load, and how to see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from faultload.errors import FaultError

if TYPE_CHECKING:
    from faultload.targets.base import Mark

Flaw = Literal["unpullable", "crashing", "slow"]
"""What is wrong with a release: its image is not there; it ends when it starts; it serves, slowly.
"""
Spoiling = Literal["missing", "corrupt", "truncated"]
"""What is wrong with weights in the model store: not there, other bytes, half of the bytes."""


@dataclass(frozen=True)
class Rollout:
    """How far a workload is on its way to its current revision.

    Attributes:
        revision: that is to run.
        wanted: replicas it is to have.
        updated: of that revision; ready or not.
        updated_ready: of those, the ready ones.
        ready: of any revision.
        stalled: the platform has given up waiting for it.
        token: of the injection whose release that revision is; "" for anybody else's.
        max_unavailable: replicas that may be missing while it lasts; None: nobody knows.
        waits_for: why replicas of that revision are not ready, in the platform's words; "" when
            all are.
    """

    revision: str
    wanted: int
    updated: int
    updated_ready: int
    ready: int
    stalled: bool
    token: str
    max_unavailable: int | None
    waits_for: str = ""

    @property
    def complete(self) -> bool:
        """Whether all that is wanted runs, and nothing else."""
        return self.wanted == self.updated == self.updated_ready == self.ready


class ReleaseActs(Protocol):
    """Acts on a workload, by name and uid as `Workload` has them; bounded and idempotent.

    They raise `FaultError` when it is gone or another by now, unless they say otherwise.
    """

    def rollout(self, workload: str, uid: str) -> Rollout | None:
        """Return how far it is; None: that workload is gone."""
        ...

    def roll_out(self, workload: str, uid: str, mark: Mark) -> None:
        """Replace all its replicas by new ones of the same kind, in order. Needs `ROLL_OUT`."""
        ...

    def release(self, workload: str, uid: str, flaw: Flaw, mark: Mark) -> None:
        """Begin to roll out a flawed release. Needs `BAD_RELEASE`.

        Raises:
            FaultError: this target cannot make a release with that flaw.
        """
        ...

    def roll_back(self, workload: str, uid: str, token: str, revision: str) -> None:
        """Roll back to `revision` if what runs is that of `token`; else leave it alone."""
        ...

    def spoil_model(self, tier: str, how: Spoiling, mark: Mark) -> None:
        """Spoil the weights that new replicas of a tier load. Needs `SPOIL_MODEL`."""
        ...

    def restore_model(self, tier: str, token: str) -> None:
        """Make them whole again; nothing to do when they are."""
        ...

    def model_problem(self, tier: str) -> str | None:
        """Fetch them as a replica does; return what is wrong, "" for nothing, None: no answer.

        What is wrong begins with the word of `Spoiling` that it is, where it is one of these.
        """
        ...


class NoReleaseActs:
    """A target that can roll out nothing: every act is refused."""

    def rollout(self, workload: str, uid: str) -> Rollout | None:  # noqa: ARG002
        """Nothing: not offered; raises `FaultError`, as all others do."""
        raise _not_offered(workload)

    def roll_out(self, workload: str, uid: str, mark: Mark) -> None:  # noqa: ARG002
        """Nothing: not offered."""
        raise _not_offered(workload)

    def release(self, workload: str, uid: str, flaw: Flaw, mark: Mark) -> None:  # noqa: ARG002
        """Nothing: not offered."""
        raise _not_offered(workload)

    def roll_back(self, workload: str, uid: str, token: str, revision: str) -> None:
        """Nothing to do: nothing was released."""

    def spoil_model(self, tier: str, how: Spoiling, mark: Mark) -> None:  # noqa: ARG002
        """Nothing: not offered."""
        raise _not_offered(tier)

    def restore_model(self, tier: str, token: str) -> None:
        """Nothing to do: nothing was spoilt."""

    def model_problem(self, tier: str) -> str | None:  # noqa: ARG002
        """Nothing: there is nobody to ask."""
        return None


def _not_offered(what: str) -> FaultError:
    return FaultError(f"{what}: this target can release nothing")
