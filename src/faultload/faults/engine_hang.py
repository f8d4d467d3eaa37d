"""Hang engines: their servers take requests and call themselves healthy, and no token comes."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any, ClassVar

from faultload.faults.limits import NO_LIMITS, Limits
from faultload.faults.proofs import prove_restored, wait_until
from faultload.faults.protocol import Evidence, Plan
from faultload.faults.victims import Choice, plan_on
from faultload.targets import HANG_ENGINE, Target

_EFFECT_TIMEOUT_S = 15.0
_RETURN_TIMEOUT_S = 60.0


class HangEngine:
    """Stop the engine's core alone with SIGSTOP: a grey failure, as of a GPU that is stuck.

    `/health` is the server's and stays 200, and vLLM's counters freeze with its core, so neither
    readiness nor a frozen counter proves anything. The API of Kubernetes cannot stop a process
    inside a pod.

    In force when each victim is healthy and, asked directly for one token, generates none for
    anybody while that request waits.

    Reverted by SIGCONT; a victim that was replaced meanwhile needs none. Proven is that each
    victim's name is ready, or was replaced, and that it generates a token that is asked for.
    """

    name: ClassVar[str] = "hang_engine"
    capability: ClassVar[str] = HANG_ENGINE
    intent: ClassVar[type[Choice]] = Choice

    def __init__(
        self, target: Target, intent: Choice = Choice(), limits: Limits = NO_LIMITS
    ) -> None:
        """Hit what `intent` says on `target`, within `limits`."""
        self._target, self._intent, self._limits = target, intent, limits

    def plan(self) -> Plan:
        """Choose the victims; the undo names them by uid."""
        plan = plan_on(self._target, self._intent, self._limits)
        named = [{"name": v["name"], "uid": v["uid"]} for v in plan.victims]
        return replace(plan, undo={"continue": named})

    def inject(self, plan: Plan) -> None:
        """Stop each victim's core."""
        for victim in plan.victims:
            self._target.stop_engine(victim["name"], victim["uid"])

    def verify(self, plan: Plan) -> Evidence:
        """Prove that each victim is healthy and generates nothing, with a request to work on."""
        uids = {str(victim["name"]): str(victim["uid"]) for victim in plan.victims}
        expected = f"{plan.hits} to be healthy and to generate no token while one is asked for"
        seen, waited_s = wait_until(
            lambda: self._look(uids),
            lambda looks: all(look["hangs"] for look in looks),
            _EFFECT_TIMEOUT_S,
            expected,
        )
        text = f"{plan.hits} healthy and without a token, seen after {waited_s:.2f} s"
        return Evidence(text, {"waited_s": waited_s, "pulses": seen})

    def revert(self, plan: Plan) -> None:
        """Let each victim's core go on."""
        for victim in plan.undo["continue"]:
            self._target.continue_engine(victim["name"], victim["uid"])

    def verify_reverted(self, plan: Plan) -> Evidence:
        """Prove that each victim's name is ready, or replaced, and that those there generate."""
        restored = prove_restored(self._target, plan, _RETURN_TIMEOUT_S)
        names = {victim["name"] for victim in plan.victims}
        ready = [one for one in restored.data["states"] if one["ready"] and one["name"] in names]
        uids = {str(one["name"]): str(one["uid"]) for one in ready}
        seen, _ = wait_until(
            lambda: self._look(uids),
            lambda looks: all(look["beats"] for look in looks),
            _EFFECT_TIMEOUT_S,
            f"{', '.join(uids)} to generate a token that is asked for",
        )
        text = f"{restored.text}, generating again" if uids else restored.text
        return Evidence(text, {**restored.data, "pulses": seen})

    def _look(self, uids: dict[str, str]) -> list[dict[str, Any]]:
        """Return the pulse of each engine; one that is gone neither hangs nor beats."""
        looks = [(name, self._target.pulse(name, uid)) for name, uid in uids.items()]
        return [
            {"name": name, "hangs": pulse.hangs, "beats": pulse.beats, **asdict(pulse)}
            if pulse
            else {"name": name, "hangs": False, "beats": False}
            for name, pulse in looks
        ]
