"""The five steps every fault has. Each is bounded in time and may be repeated without more harm."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Protocol, Self

from faultload.faults.limits import Limits
from faultload.targets import Mark, Target


@dataclass(frozen=True)
class Plan:
    """What is about to be done, as plain JSON: journalled and fsynced before the act.

    Attributes:
        victims: whom it hits: component, name and uid of each, and whatever a reader wants to see;
            empty where the platform chooses.
        undo: all that `revert` needs in another process after a crash. Data, never code.
        before: what `verify` and `verify_reverted` compare with.
        token: names this injection on the objects it changes, too.
        expires_unix_s: from then on, by the target's clock, anybody may undo what it changed.
        whom: whom it hits, in words, where that is more than the names of `victims`.
        hit: component → how many of its ready replicas it takes away, and of how many.
    """

    victims: list[dict[str, Any]]
    undo: dict[str, Any] = field(default_factory=dict)
    before: dict[str, Any] = field(default_factory=dict)
    token: str = ""
    expires_unix_s: float = 0.0
    whom: str = ""
    hit: dict[str, list[int]] = field(default_factory=dict)

    @property
    def hits(self) -> str:
        """Whom it hits, in words."""
        return self.whom or ", ".join(str(victim["name"]) for victim in self.victims)

    @property
    def mark(self) -> Mark:
        """What is left beside each change."""
        return Mark(self.token, self.expires_unix_s)

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Return the plan a journal holds."""
        return cls(**data)


@dataclass(frozen=True)
class Evidence:
    """What was seen of the system itself, not of a call's return.

    Attributes:
        text: in words.
        data: the numbers behind it.
    """

    text: str
    data: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return asdict(self)


class Intent(Protocol):
    """A fault's parameters: a strict dataclass, since its values come from a file."""

    @property
    def component(self) -> str:
        """What is hit; "" where no replica is."""
        ...

    @property
    def hits(self) -> int | None:
        """How many replicas it hits; None: only the target can tell."""
        ...


class Fault(Protocol):
    """One kind of harm.

    A fault is built as `fault(target, intent, limits)`, or with the target alone to revert a plan
    that another process made.
    """

    name: ClassVar[str]
    """As experiments and journals name it."""
    capability: ClassVar[str]
    """What the target must be able to do."""
    # and `intent`, the class of its parameters: `FaultClass` says so

    def plan(self) -> Plan:
        """Choose victims without touching them.

        Raises:
            FaultError: there is nothing to hit.
            RefusedError: it would hit more than the blast radius allows.
        """
        ...

    def inject(self, plan: Plan) -> None:
        """Do the harm.

        Raises:
            FaultError: a victim is gone or is not the one that was planned.
        """
        ...

    def verify(self, plan: Plan) -> Evidence:
        """Prove on the system that the harm took effect.

        Raises:
            FaultError: it did not, within the bound; says what was last seen.
        """
        ...

    def revert(self, plan: Plan) -> None:
        """Take back what can be taken back; nothing to do when it is gone already."""
        ...

    def verify_reverted(self, plan: Plan) -> Evidence:
        """Prove on the system that the harm is gone.

        Raises:
            FaultError: it is not, within the bound; says what was last seen.
        """
        ...


class FaultClass(Protocol):
    """What makes a fault: its class."""

    @property
    def name(self) -> str:
        """As experiments and journals name it."""
        ...

    @property
    def capability(self) -> str:
        """What the target must be able to do."""
        ...

    @property
    def intent(self) -> Callable[..., Intent]:
        """The class of its parameters, as experiments give them."""
        ...

    def __call__(self, target: Target, intent: Any = ..., limits: Limits = ...) -> Fault:
        """Return a fault on `target`; with the target alone, one that can only revert."""
        ...
