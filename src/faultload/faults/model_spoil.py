"""Spoil the weights in the model store: who serves has them, and who comes later gets none."""

from __future__ import annotations

from typing import ClassVar

from pydantic.dataclasses import dataclass

from faultload.errors import FaultError
from faultload.faults.limits import NO_LIMITS, Limits
from faultload.faults.proofs import wait_until
from faultload.faults.protocol import Evidence, Plan
from faultload.faults.victims import STRICT, only_workload
from faultload.targets import SPOIL_MODEL, Spoiling, Target

_TIMEOUT_S = 30.0


@dataclass(frozen=True, config=STRICT)
class SpoiltModel:
    """An intent: whose weights to spoil, and how.

    Attributes:
        how: `missing`: the files are not there; `corrupt`: they have the right size and other
            bytes; `truncated`: half of one is missing.
        tier: whose weights. None: the engine must have one tier only.
    """

    how: Spoiling = "missing"
    tier: str | None = None

    @property
    def component(self) -> str:
        """None: no replica is hit."""
        return ""

    @property
    def hits(self) -> int | None:
        """No replica: those that run have loaded theirs."""
        return 0


class SpoilModel:
    """Take the weights of a tier away from the model store, or leave wrong ones there.

    It stands for a lifecycle rule that deletes a version in service, an upload that broke off and
    was taken for whole, and a bit that flipped on the way. Replicas that run do not notice; every
    replacement, every rollout and every scaling after it waits in its init container. On Kubernetes
    and on the local platform it is the same: objects of the bucket are deleted or overwritten.

    In force when a fetch like a replica's fails in just that way: sizes and SHA-256 are held
    against the version's manifest.

    Reverted by writing the objects again as they were; proven when the same fetch finds the weights
    whole. Nothing to do when somebody has mended them meanwhile.
    """

    name: ClassVar[str] = "spoil_model"
    capability: ClassVar[str] = SPOIL_MODEL
    intent: ClassVar[type[SpoiltModel]] = SpoiltModel

    def __init__(
        self,
        target: Target,
        intent: SpoiltModel = SpoiltModel(),
        limits: Limits = NO_LIMITS,  # noqa: ARG002
    ) -> None:
        """Spoil what `intent` says on `target`; `limits` are about replicas, and none is hit."""
        self._target, self._spoilt = target, intent

    def plan(self) -> Plan:
        """Find the tier; its weights must be whole, or there would be nothing to take back."""
        tier = only_workload(self._target, "engine", self._spoilt.tier).tier
        problem = self._target.model_problem(tier)
        if problem is None:
            raise FaultError(f"the model store does not answer, so {tier}'s weights cannot be seen")
        if problem:
            raise FaultError(f"expected {tier}'s weights to be whole, found {problem}")
        return Plan(
            victims=[],
            undo={"tier": tier},
            before={"how": self._spoilt.how},
            whom=f"replicas of tier {tier} that load their weights later",
        )

    def inject(self, plan: Plan) -> None:
        """Spoil them."""
        self._target.spoil_model(plan.undo["tier"], plan.before["how"], plan.mark)

    def verify(self, plan: Plan) -> Evidence:
        """Prove that a fetch fails in that way."""
        tier, how = plan.undo["tier"], plan.before["how"]
        seen, waited_s = wait_until(
            lambda: self._target.model_problem(tier),
            lambda problem: (problem or "").startswith(how),
            _TIMEOUT_S,
            f"a fetch of {tier}'s weights to find them {how}",
        )
        return Evidence(f"a fetch of {tier}'s weights fails: {seen}", {"waited_s": waited_s})

    def revert(self, plan: Plan) -> None:
        """Make them whole again."""
        self._target.restore_model(plan.undo["tier"], plan.token)

    def verify_reverted(self, plan: Plan) -> Evidence:
        """Prove that a fetch succeeds.

        Raises:
            FaultError: it does not.
        """
        tier = plan.undo["tier"]
        _, waited_s = wait_until(
            lambda: self._target.model_problem(tier),
            lambda problem: problem == "",
            _TIMEOUT_S,
            f"a fetch of {tier}'s weights to find them whole",
        )
        return Evidence(f"{tier}'s weights are whole after {waited_s:.2f} s")
