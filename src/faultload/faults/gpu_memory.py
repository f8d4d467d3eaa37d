"""Exhaust GPU memory: somebody else takes all that an engine left, and the engine dies of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from faultload.faults.limits import NO_LIMITS, Limits
from faultload.faults.proofs import say_restored, wait_until
from faultload.faults.protocol import Evidence, Plan
from faultload.faults.victims import Choice, plan_on
from faultload.targets import GPU_MEMORY, Target

OUT_OF_MEMORY = "CUDA out of memory"
"""How torch says it, in the root cause of every engine that dies of it."""
_EFFECT_TIMEOUT_S = 20.0
_RETURN_TIMEOUT_S = 90.0


class ExhaustGpuMemory:
    """Hold all memory that engines left on their GPUs; a step that needs more kills the engine.

    It stands for a neighbour on the same GPU, or a leak. A second process takes what vLLM left
    free; while it lasts no engine starts there, because vLLM refuses too little free memory. GPU
    telemetry proves nothing either way: a busy engine dies, and its series end, within
    milliseconds of the hold, long before the next scrape. The API of Kubernetes reaches no GPU.

    In force when each victim is gone *and* its log newly says `CUDA out of memory`: one that
    happens to die of something else proves nothing. An idle engine computes no step, so the proof
    asks each for a token.

    Reverted by giving the memory back. Said is whether each tier has as many ready replicas as
    before within 90 s: an engine only starts with its memory free.
    """

    name: ClassVar[str] = "exhaust_gpu_memory"
    capability: ClassVar[str] = GPU_MEMORY
    intent: ClassVar[type[Choice]] = Choice

    def __init__(
        self, target: Target, intent: Choice = Choice(), limits: Limits = NO_LIMITS
    ) -> None:
        """Hit what `intent` says on `target`, within `limits`."""
        self._target, self._intent, self._limits = target, intent, limits

    def plan(self) -> Plan:
        """Choose the victims, and count what their logs say already."""
        plan = plan_on(self._target, self._intent, self._limits)
        names = [victim["name"] for victim in plan.victims]
        said = {name: self._target.count_said(name, OUT_OF_MEMORY) for name in names}
        placed = [{k: v[k] for k in ("name", "uid", "node")} for v in plan.victims]
        return replace(plan, undo={"release": placed}, before=plan.before | {"said": said})

    def inject(self, plan: Plan) -> None:
        """Hold the memory beside each victim."""
        for victim in plan.victims:
            self._target.hold_gpu_memory(victim["name"], victim["uid"])

    def verify(self, plan: Plan) -> Evidence:
        """Prove that each victim is gone, and that it died of this."""
        seen, waited_s = wait_until(
            lambda: self._look(plan),
            lambda looks: all(not look["ready"] and look["out_of_memory"] > 0 for look in looks),
            _EFFECT_TIMEOUT_S,
            f"{plan.hits} to die and to say {OUT_OF_MEMORY!r}",
        )
        text = f"{plan.hits} died of {OUT_OF_MEMORY!r}, seen after {waited_s:.2f} s"
        return Evidence(text, {"waited_s": waited_s, "victims": seen})

    def revert(self, plan: Plan) -> None:
        """Give the memory back."""
        for victim in plan.undo["release"]:
            self._target.release_gpu_memory(victim["name"], victim["uid"], victim["node"])

    def verify_reverted(self, plan: Plan) -> Evidence:
        """Say whether as many are ready as before: an engine only starts with its memory free."""
        return say_restored(self._target, plan, _RETURN_TIMEOUT_S, "the memory was given back")

    def _look(self, plan: Plan) -> list[dict[str, Any]]:
        """Ask each victim for a token, and see what is left of it."""
        for victim in plan.victims:
            self._target.pulse(victim["name"], victim["uid"])
        components = sorted({victim["component"] for victim in plan.victims})
        ready = {r.uid for c in components for r in self._target.replicas(c) if r.ready}
        before = plan.before["said"]
        return [
            {
                "name": name,
                "ready": victim["uid"] in ready,
                "out_of_memory": self._target.count_said(name, OUT_OF_MEMORY) - before[name],
            }
            for victim in plan.victims
            for name in [victim["name"]]
        ]
