"""Fill KV caches: an engine asked for more context than its GPU has memory for."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from faultload.errors import FaultError
from faultload.faults import traffic
from faultload.faults.limits import NO_LIMITS, Limits
from faultload.faults.proofs import wait_until
from faultload.faults.protocol import Evidence, Plan
from faultload.faults.traffic import LastsS, Tokens
from faultload.faults.victims import STRICT, Choice, TimeoutS, plan_on
from faultload.spec.scenario import ClosedArrivals, UserStep
from faultload.targets import KV_PRESSURE, Target

_SEED = 20_000
"""Added to the run's own, as every victim's number is: no two of them may share a prefix."""
_LOOKS = 3
"""So many in a row must find it full: one may meet a moment that passes."""
_RETURN_TIMEOUT_S = 30.0


@dataclass(frozen=True, config=STRICT)
class Pressure(Choice):
    """An intent: which replicas to fill, how full, and with what.

    Attributes:
        share_min: how full the cache is to be at least, 0-1.
        users: who ask each victim, each again at once after an answer.
        prompt_tokens, output_tokens: of each request; those of all users together must be more
            than the cache holds.
        lasts_s: after which it ends by itself, s; longer than an experiment holds it.
        timeout_s: until each victim is that full.
    """

    share_min: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)] = 0.9
    users: Annotated[int, Field(ge=1, le=1000)] = 24
    prompt_tokens: Tokens = 3000
    output_tokens: Tokens = 1000
    lasts_s: LastsS = 300.0
    timeout_s: TimeoutS = 60.0


class FillKvCache:
    """Ask engines for so much context that their KV caches are full, and keep them full.

    It stands for long documents and long answers that meet on one replica: an engine whose cache is
    full admits nobody, and where a running request needs a block it puts another one back and
    computes it again (preemption). Here each victim is asked directly, past the router, by users
    with long prompts and long answers; nobody reaches an engine of a cluster that way from outside.

    In force when each victim's own gauge (vllm:kv_cache_usage_perc), which was below `share_min`
    before, is at it or above, at several looks in a row, while its sender sends.

    Reverted by ending the senders, whose open requests the engines then drop; proven by their end
    and by each gauge, which must have fallen below `share_min`. A victim that was replaced has a
    cache of its own.
    """

    name: ClassVar[str] = "fill_kv_cache"
    capability: ClassVar[str] = KV_PRESSURE
    intent: ClassVar[type[Pressure]] = Pressure

    def __init__(
        self, target: Target, intent: Pressure = Pressure(), limits: Limits = NO_LIMITS
    ) -> None:
        """Fill what `intent` says on `target`, within `limits`."""
        self._target, self._intent, self._limits = target, intent, limits

    def plan(self) -> Plan:
        """Choose the victims, and where their senders will live."""
        plan = plan_on(self._target, self._intent, self._limits)
        for one in self._look(plan):
            if one["used"] is None or one["used"] >= self._intent.share_min:
                raise FaultError(
                    f"expected the KV cache of {one['name']} to be below"
                    f" {self._intent.share_min:.0%} before it is filled, found"
                    f" {'no data' if one['used'] is None else format(one['used'], '.0%')}"
                )
        senders = [str(traffic.new_folder()) for _ in plan.victims]
        before = plan.before | {"share_min": self._intent.share_min}
        return replace(plan, undo={"senders": senders}, before=before)

    def inject(self, plan: Plan) -> None:
        """Start a sender for each victim."""
        asked = self._intent
        step = UserStep(for_s=asked.lasts_s, users=asked.users)
        arrivals = ClosedArrivals(kind="closed", steps=[step], think_s=0.0)
        for number, victim in enumerate(plan.victims):
            name, uid = victim["name"], victim["uid"]
            url, model = self._target.engine_url(name, uid), self._target.served_model(name, uid)
            if url is None or model is None:
                raise FaultError(f"{name} is gone, another by now, or does not say what it serves")
            scenario = traffic.asking(
                arrivals, model, asked.prompt_tokens, asked.output_tokens, "kv-pressure"
            )
            orders = {
                "url": url,
                "scenario": scenario.model_dump(mode="json"),
                "seed": self._limits.seed + _SEED + number,
                "lasts_s": asked.lasts_s,
                "expires_unix_s": time.time() + asked.lasts_s,
            }
            traffic.start(Path(plan.undo["senders"][number]), orders)

    def verify(self, plan: Plan) -> Evidence:
        """Prove by its own gauge that each victim's cache is full and stays so."""
        least, in_a_row = plan.before["share_min"], 0
        sent: list[dict[str, Any]] = []

        def is_full(looks: list[dict[str, Any]]) -> bool:
            nonlocal in_a_row
            full = all(one["used"] is not None and one["used"] >= least for one in looks)
            full = full and all(map(traffic.sends, sent))
            in_a_row = in_a_row + 1 if full else 0
            return in_a_row >= _LOOKS

        def look() -> list[dict[str, Any]]:
            # one that ended says why
            sent[:] = [traffic.progress(Path(folder)) for folder in plan.undo["senders"]]
            return self._look(plan)

        expected = f"the KV cache of {plan.hits} to be at {least:.0%} or above"
        seen, waited_s = wait_until(look, is_full, self._intent.timeout_s, expected)
        shares = ", ".join(f"{one['used']:.0%}" for one in seen)
        text = f"the KV cache of {plan.hits} is at {shares}, seen after {waited_s:.2f} s"
        return Evidence(text, {"waited_s": waited_s, "caches": seen})

    def revert(self, plan: Plan) -> None:
        """End the senders."""
        traffic.stop_all(plan)

    def verify_reverted(self, plan: Plan) -> Evidence:
        """Prove that they have ended, and that no victim that is still there is as full."""
        least = plan.before["share_min"]
        seen, waited_s = wait_until(
            lambda: self._look(plan),
            lambda looks: all(not one["there"] or _is_below(one["used"], least) for one in looks),
            _RETURN_TIMEOUT_S,
            f"the KV cache of {plan.hits} to be below {least:.0%}",
        )
        ended = traffic.prove_ended(plan)
        text = f"the KV cache of {plan.hits} is below {least:.0%} again, and {ended.text}"
        return Evidence(text, {"waited_s": waited_s, "caches": seen, **ended.data})

    def _look(self, plan: Plan) -> list[dict[str, Any]]:
        """Return how full each victim's cache is, 0-1; None: it does not say."""
        looks = []
        for victim in plan.victims:
            name, uid = victim["name"], victim["uid"]
            there = any(one.uid == uid for one in self._target.replicas(victim["component"]))
            used = self._target.kv_cache_used(name, uid) if there else None
            looks.append({"name": name, "there": there, "used": used})
        return looks


def _is_below(used: float | None, least: float) -> bool:
    """Say whether a cache is known to be less full than that."""
    return used is not None and used < least
