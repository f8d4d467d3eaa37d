"""Slow GPUs down: engines serve on, every token takes longer, and nothing calls them unhealthy."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from faultload.faults.limits import NO_LIMITS, Limits
from faultload.faults.proofs import wait_until
from faultload.faults.protocol import Evidence, Plan
from faultload.faults.victims import STRICT, Choice, plan_on
from faultload.targets import GPU_SLOW, Target

Factor = Annotated[float, Field(ge=1.5, le=20, allow_inf_nan=False)]
"""How many times as long.

Below 1.5 a batch that happens to be larger explains it as well; above 20 hardly two tokens come
while a proof looks.
"""

_TIMEOUT_S = 30.0


@dataclass(frozen=True, config=STRICT)
class Slowness(Choice):
    """An intent: which replicas to slow down, and how much.

    Attributes:
        factor: how many times as long each step of the engine takes.
    """

    factor: Factor = 3.0


class SlowGpu:
    """Make every step of the victims' engines take longer, as a GPU that throttles does.

    It stands for heat, a power limit, or a bad link: engines serve on, and nothing calls them
    unhealthy. Locally the simulator computes each step for `factor` times as long; the API of
    Kubernetes reaches no GPU.

    In force when each victim takes longer for a token than every sound replica of its tier at the
    same time, by at least half of what was asked for. A tier without a sound replica has nobody to
    compare with, and the proof fails.

    Reverted by letting the engine be as quick as it was. Proven is that no victim that is still
    there is that slow any more, by the same comparison; where no sound replica is left to compare
    with, than it was itself before.
    """

    name: ClassVar[str] = "slow_gpu"
    capability: ClassVar[str] = GPU_SLOW
    intent: ClassVar[type[Slowness]] = Slowness

    def __init__(
        self, target: Target, intent: Slowness = Slowness(), limits: Limits = NO_LIMITS
    ) -> None:
        """Hit what `intent` says on `target`, within `limits`."""
        self._target, self._intent, self._limits = target, intent, limits

    def plan(self) -> Plan:
        """Choose the victims; the undo names them by uid."""
        plan = plan_on(self._target, self._intent, self._limits)
        named = [{"name": v["name"], "uid": v["uid"]} for v in plan.victims]
        times = {v["uid"]: self._target.token_time_s(v["name"], v["uid"]) for v in plan.victims}
        before = plan.before | {"factor": self._intent.factor, "token_s": times}
        return replace(plan, undo={"quicken": named}, before=before)

    def inject(self, plan: Plan) -> None:
        """Slow each victim down."""
        for victim in plan.victims:
            self._target.slow_engine(victim["name"], victim["uid"], plan.before["factor"])

    def verify(self, plan: Plan) -> Evidence:
        """Prove that each victim is slower than the sound replicas of its tier."""
        least = (1 + plan.before["factor"]) / 2
        seen, waited_s = wait_until(
            lambda: [self._compare(plan, victim) for victim in plan.victims],
            lambda looks: all(look["ratio"] and look["ratio"] >= least for look in looks),
            _TIMEOUT_S,
            f"{plan.hits} to take at least {least:g} times as long for a token as others",
        )
        ratios = ", ".join(f"{look['ratio']:.1f}" for look in seen)
        text = f"{plan.hits} took {ratios} times as long for a token, after {waited_s:.2f} s"
        return Evidence(text, {"waited_s": waited_s, "times": seen})

    def revert(self, plan: Plan) -> None:
        """Let each victim be as quick as it was."""
        for victim in plan.undo["quicken"]:
            self._target.quicken_engine(victim["name"], victim["uid"])

    def verify_reverted(self, plan: Plan) -> Evidence:
        """Prove that no victim that is still there is that slow any more."""
        least = (1 + plan.before["factor"]) / 2
        there = [victim for victim in plan.victims if self._is_there(victim)]
        if not there:
            return Evidence(f"{plan.hits}: replaced, and slow no more")

        def are_quick(looks: list[dict[str, Any]]) -> bool:
            ratios = [look["ratio"] or look["ratio_before"] for look in looks]
            return all(ratio and ratio < least for ratio in ratios)

        seen, waited_s = wait_until(
            lambda: [self._compare(plan, victim) for victim in there],
            are_quick,
            _TIMEOUT_S,
            f"{plan.hits} to take less than {least:g} times as long for a token as others, or as"
            " before",
        )
        others = "others" if all(look["ratio"] for look in seen) else "before"
        text = f"{plan.hits} as quick as {others} again, after {waited_s:.2f} s"
        return Evidence(text, {"waited_s": waited_s, "times": seen})

    def _is_there(self, victim: dict[str, Any]) -> bool:
        found = self._target.replicas(victim["component"])
        return any(one.uid == victim["uid"] for one in found)

    def _compare(self, plan: Plan, victim: dict[str, Any]) -> dict[str, Any]:
        """Return the times per token of a victim, of its peers and of itself before, s.

        No peer, or nothing known of the time before: that ratio is None.
        """
        hit = {one["uid"] for one in plan.victims}
        peers = [
            one
            for one in self._target.replicas(victim["component"])
            if one.ready and one.tier == victim["tier"] and one.uid not in hit
        ]
        times = [self._target.token_time_s(one.name, one.uid) for one in peers]
        known = [one for one in times if one]
        own = self._target.token_time_s(victim["name"], victim["uid"])
        ratio = own / max(known) if own and known else None
        before = plan.before.get("token_s", {}).get(victim["uid"])
        return {
            "name": victim["name"],
            "token_s": own,
            "peers_s": times,
            "ratio": ratio,
            "ratio_before": own / before if own and before else None,
        }
