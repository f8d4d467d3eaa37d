"""Roll out a release that is flawed, and roll it back."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any, ClassVar

from pydantic.dataclasses import dataclass

from faultload.errors import FaultError
from faultload.faults.limits import NO_LIMITS, Limits
from faultload.faults.proofs import wait_until
from faultload.faults.protocol import Evidence, Plan
from faultload.faults.release_roll_out import as_data, look, missing, said, settled
from faultload.faults.victims import STRICT, TimeoutS, only_workload
from faultload.targets import BAD_RELEASE, Flaw, Rollout, Target

_SLOWER = 1.5
"""How many times as long a token must take, as for `slow_gpu`: less may be a larger batch."""
_WAITING = {
    "unpullable": ("ImagePullBackOff", "ErrImagePull"),
    "crashing": ("CrashLoopBackOff",),
}
"""Flaw → why its replicas wait, in Kubernetes' words."""
_RETURN_TIMEOUT_S = 300.0


@dataclass(frozen=True, config=STRICT)
class FlawedRelease:
    """An intent: what is wrong with the release, and whose it is.

    Attributes:
        flaw: `unpullable`: its image is not there; `crashing`: its replicas end as they start;
            `slow`: it becomes ready and serves, slowly.
        component, tier: whose replicas. None: the component must have one workload only.
        timeout_s: until it is in force.
    """

    flaw: Flaw = "unpullable"
    component: str = "engine"
    tier: str | None = None
    timeout_s: TimeoutS = 180.0

    @property
    def hits(self) -> int | None:
        """Only the target knows how many replicas that is."""
        return None


class BadRelease:
    """Roll out a release that cannot be pulled, crashes when it starts, or is slow.

    It stands for the typo in an image's tag, the flag that the new version no longer knows, and the
    regression that no health check sees. On Kubernetes the pod template is changed; on the local
    platform a revision is released. What cannot become ready takes away as many replicas as the
    platform lets a rollout take (`max_unavailable`; 0 where it is unknown, because then nothing can
    be said of it): these count as hit. A slow one takes the place of every replica of the workload,
    and all of them count.

    In force when new replicas wait with ImagePullBackOff or CrashLoopBackOff, or the platform calls
    the rollout stalled; a slow release, when every replica is of it and ready, and each takes half
    as long again for a token as the slowest did before.

    Reverted by rolling back to the revision before, unless somebody else has released since: that
    is left alone. Proven when the old revision alone runs, and is ready; the evidence says how many
    seconds that took from the order on (`rollback_s`).
    """

    name: ClassVar[str] = "bad_release"
    capability: ClassVar[str] = BAD_RELEASE
    intent: ClassVar[type[FlawedRelease]] = FlawedRelease

    def __init__(
        self, target: Target, intent: FlawedRelease = FlawedRelease(), limits: Limits = NO_LIMITS
    ) -> None:
        """Release what `intent` says on `target`, within `limits`."""
        self._target, self._release, self._limits = target, intent, limits
        self._ordered_s: float | None = None

    def plan(self) -> Plan:
        """Find the workload and the revision to go back to; for a slow one, how quick it is now."""
        release = self._release
        workload = only_workload(self._target, release.component, release.tier)
        rollout = settled(self._target, workload)
        known = [one for one in self._target.replicas(release.component) if one.ready]
        slow = release.flaw == "slow"
        going = min(rollout.wanted if slow else rollout.max_unavailable or 0, rollout.ready)
        self._limits.check(release.component, going, len(known))
        of = f"all {rollout.wanted} replicas of {workload.name}"
        before = {
            **asdict(rollout),
            "flaw": release.flaw,
            "component": release.component,
            "tier": workload.tier,
        }
        return Plan(
            victims=[],
            undo={
                "workload": workload.name,
                "uid": workload.uid,
                "revision": rollout.revision,
            },
            before=before | ({"token_s": self._slowest_s(before)} if slow else {}),
            hit={release.component: [going, len(known)]},
            whom=of if slow else f"at most {missing(rollout)} of {of}",
        )

    def inject(self, plan: Plan) -> None:
        """Release it."""
        name, uid = plan.undo["workload"], plan.undo["uid"]
        self._target.release(name, uid, plan.before["flaw"], plan.mark)

    def verify(self, plan: Plan) -> Evidence:
        """Prove that the flaw shows in the new replicas."""
        name, flaw = plan.undo["workload"], plan.before["flaw"]
        if flaw == "slow":
            return self._prove_slow(plan)
        seen, waited_s = wait_until(
            lambda: look(self._target, plan),
            lambda seen: self._is_new(plan, seen) and _is_stuck(seen, flaw),
            self._release.timeout_s,
            f"the {flaw} release of {name} to be stuck",
        )
        text = f"{name}: {said(seen)} after {waited_s:.2f} s; {_serving(seen)}"
        return Evidence(text, {"waited_s": waited_s, **as_data(seen)})

    def revert(self, plan: Plan) -> None:
        """Roll back, if what runs is still ours."""
        undo = plan.undo
        self._ordered_s = time.monotonic()
        self._target.roll_back(undo["workload"], undo["uid"], plan.token, undo["revision"])

    def verify_reverted(self, plan: Plan) -> Evidence:
        """Prove that the old revision alone runs and is ready, or that another one took its place.

        Raises:
            FaultError: neither.
        """
        name, old = plan.undo["workload"], plan.undo["revision"]
        since_s = time.monotonic() if self._ordered_s is None else self._ordered_s

        def is_over(seen: Rollout | None) -> bool:
            return self._is_another_s(plan, seen) or bool(
                seen and seen.revision == old and seen.complete
            )

        seen, _ = wait_until(
            lambda: look(self._target, plan),
            is_over,
            _RETURN_TIMEOUT_S,
            f"{name} to be back at {old}, with every replica ready",
        )
        if self._is_another_s(plan, seen):
            text = f"{name}: {said(seen)}; that is not our release, which is gone"
            return Evidence(text, as_data(seen))
        rollback_s = time.monotonic() - since_s
        text = f"{name} is back at {old}, every replica ready, {rollback_s:.2f} s after the order"
        return Evidence(text, {"rollback_s": rollback_s, **as_data(seen)})

    def _is_new(self, plan: Plan, seen: Rollout | None) -> bool:
        return seen is not None and seen.revision != plan.undo["revision"]

    def _is_another_s(self, plan: Plan, seen: Rollout | None) -> bool:
        """Say whether what runs is neither the revision before nor ours; gone counts, too."""
        return seen is None or (self._is_new(plan, seen) and seen.token != plan.token)

    def _prove_slow(self, plan: Plan) -> Evidence:
        name, before_s = plan.undo["workload"], plan.before["token_s"]
        timeout_s = self._release.timeout_s
        seen, waited_s = wait_until(
            lambda: look(self._target, plan),
            lambda seen: self._is_new(plan, seen) and bool(seen and seen.complete),
            timeout_s,
            f"the slow release of {name} to be complete",
        )
        times, _ = wait_until(
            lambda: self._token_times_s(plan.before),
            lambda times: bool(times) and all(one and one >= _SLOWER * before_s for one in times),
            timeout_s - waited_s,
            f"every replica of {name} to take at least {_SLOWER * before_s:.3g} s for a token",
        )
        quickest = min(one for one in times if one)
        text = f"{name}: {said(seen)} after {waited_s:.2f} s; the quickest takes"
        text += f" {quickest:.3g} s for a token, the slowest took {before_s:.3g} s before"
        return Evidence(text, {"waited_s": waited_s, "token_s": times, **as_data(seen)})

    def _slowest_s(self, of: dict[str, Any]) -> float:
        """Return the longest time for a token among a workload's replicas, s.

        Raises:
            FaultError: one does not answer, so there is nothing to compare with.
        """
        try:
            times = self._token_times_s(of)
        except FaultError as error:
            raise FaultError(f"nobody could tell a slow release from another: {error}") from None
        known = [one for one in times if one]
        if not known or len(known) < len(times):
            raise FaultError(
                f"expected every replica to say how long a token takes, to tell a slow release"
                f" from it; found {times}"
            )
        return max(known)

    def _token_times_s(self, of: dict[str, Any]) -> list[float | None]:
        return [
            self._target.token_time_s(one.name, one.uid)
            for one in self._target.replicas(of["component"])
            if one.ready and of["tier"] in ("", one.tier)
        ]


def _is_stuck(seen: Rollout | None, flaw: str) -> bool:
    if seen is None:
        return False
    return seen.stalled or any(word in seen.waits_for for word in _WAITING[flaw])


def _serving(seen: Rollout | None) -> str:
    return "" if seen is None else f"{seen.ready} ready in all"
