"""The releases of the target in memory: rollouts that go on until a test lets them finish."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from faultload.errors import FaultError
from faultload.targets import Flaw, Mark, Replica, Rollout, Spoiling, Workload

_WAITS = {"unpullable": "ImagePullBackOff", "crashing": "CrashLoopBackOff", "": "ContainerCreating"}


@dataclass
class Revisions:
    """What was released of one workload.

    Attributes:
        tokens: revision → who released it; the last one is the current.
        flaw: of the current one; "" for none.
        waiting: its first replica is there, and has not become ready.
    """

    tokens: dict[str, str] = field(default_factory=lambda: {"v1": ""})
    flaw: str = ""
    waiting: bool = False

    @property
    def current(self) -> str:
        """Return the current revision."""
        return list(self.tokens)[-1]


class Releases:
    """That part of `memory.Platform`.

    Attributes:
        lingers: a rollout stays at its first new replica.
        max_unavailable: what rollouts may take away.
        gives_up: calls what stays there stalled, and gives no other reason.
        spoilt: tier → what is wrong with its weights.
    """

    deaf: bool
    engines: dict[str, Replica]
    tiers: dict[str, Workload]
    slowed: dict[str, float]
    acts: list[tuple[str, str]]

    def __init__(self) -> None:
        self.lingers, self.gives_up = False, False
        self.max_unavailable: int | None = 0
        self.revisions = {name: Revisions() for name in self.tiers}
        self.spoilt: dict[str, str] = {}

    def rollout(self, workload: str, uid: str) -> Rollout | None:
        if workload not in self.tiers or self.tiers[workload].uid != uid:
            return None
        known, wanted = self.revisions[workload], self.tiers[workload].wanted
        ready = sum(one.ready and one.tier == workload for one in self.engines.values())
        return Rollout(
            revision=known.current,
            wanted=wanted,
            updated=1 if known.waiting else wanted,
            updated_ready=0 if known.waiting else ready,
            ready=ready,
            stalled=known.waiting and self.gives_up,
            token=known.tokens[known.current],
            max_unavailable=self.max_unavailable,
            waits_for=_WAITS[known.flaw] if known.waiting and not self.gives_up else "",
        )

    def roll_out(self, workload: str, uid: str, mark: Mark) -> None:
        self._insist_on(workload, uid)
        self.acts.append(("roll out", workload))
        if not self.deaf:
            self.begin(workload, mark.token, stays=self.lingers)

    def release(self, workload: str, uid: str, flaw: Flaw, mark: Mark) -> None:
        self._insist_on(workload, uid)
        self.acts.append((f"release {flaw}", workload))
        if not self.deaf:
            self.begin(workload, mark.token, flaw, stays=flaw != "slow" or self.lingers)

    def roll_back(self, workload: str, uid: str, token: str, revision: str) -> None:
        known = self.revisions[workload]
        if known.tokens[known.current] == token and known.current != revision:
            self.acts.append((f"roll back to {revision}", workload))
            known.tokens[revision] = known.tokens.pop(revision)
            known.flaw, known.waiting = "", self.lingers
            self._replace(workload, "")

    def begin(self, workload: str, token: str, flaw: str = "", *, stays: bool = False) -> None:
        """Release something, as anybody may."""
        known = self.revisions[workload]
        known.tokens[f"v{len(known.tokens) + 1}"] = token
        known.flaw, known.waiting = flaw, stays
        if not stays:
            self._replace(workload, flaw)

    def finish(self, workload: str) -> None:
        """Let a rollout that lingers come to its end."""
        self.revisions[workload].waiting = False
        self._replace(workload, self.revisions[workload].flaw)

    def spoil_model(self, tier: str, how: Spoiling, mark: Mark) -> None:
        self.acts.append((f"spoil: {how}", tier))
        if not self.deaf:
            self.spoilt[tier] = how

    def restore_model(self, tier: str, token: str) -> None:
        if self.spoilt.pop(tier, None):
            self.acts.append(("restore", tier))

    def model_problem(self, tier: str) -> str | None:
        how = self.spoilt.get(tier)
        return f"{how}: as told" if how else ""

    def _insist_on(self, workload: str, uid: str) -> None:
        if workload not in self.tiers or self.tiers[workload].uid != uid:
            raise FaultError(f"{workload} is another by now")

    def _replace(self, tier: str, flaw: str) -> None:
        for name, old in list(self.engines.items()):
            if old.tier == tier:
                uid = f"{old.uid}+"
                self.engines[name] = replace(old, uid=uid)
                self.slowed |= {uid: 4.0} if flaw == "slow" else {}
