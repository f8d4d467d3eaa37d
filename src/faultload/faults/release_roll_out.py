"""Roll out: replace every replica of a workload by a new one, as each release does."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, ClassVar, Literal

from pydantic.dataclasses import dataclass

from faultload.errors import FaultError
from faultload.faults.limits import NO_LIMITS, Limits
from faultload.faults.proofs import wait_until
from faultload.faults.protocol import Evidence, Plan
from faultload.faults.victims import STRICT, TimeoutS, only_workload
from faultload.targets import ROLL_OUT, Rollout, Target, Workload

Until = Literal["complete", "begun"]


@dataclass(frozen=True, config=STRICT)
class Release:
    """An intent: whose replicas to replace, and how far that must have come.

    Attributes:
        component, tier: whose replicas. None: the component must have one workload only.
        until: `complete`: all are replaced; `begun`: the first new one is there, ready or not, so
            that the next fault of the method happens while it goes on.
        timeout_s: until it has come so far; and again, once that is over, until it is complete.
    """

    component: str = "engine"
    tier: str | None = None
    until: Until = "complete"
    timeout_s: TimeoutS = 120.0

    @property
    def hits(self) -> int | None:
        """Only the target knows how many may be missing meanwhile."""
        return None


class RollOut:
    """Replace all replicas of one workload by new ones of the same kind, in order.

    Every release, every changed flag and every rotated secret does this: for as long as it lasts,
    replicas that hold streams and warm caches go, and cold ones come. On Kubernetes it is what
    `kubectl rollout restart` does; on the local platform, a release that changes nothing.

    The platform decides how many it takes away before their successors are ready: that many count
    as hit (`max_unavailable`; 0 where it is unknown, because then nothing can be said of it).

    In force when the workload runs another revision than before and all its replicas are of that
    one and ready, or, with `until: begun`, when the first of them is there.

    Reverted by nothing: there is no harm to take back, since the new replicas are what the old ones
    were. It is over when the rollout is complete, or somebody else's release took its place;
    a platform that does not finish it is for the judge, and the proof says so.
    """

    name: ClassVar[str] = "roll_out"
    capability: ClassVar[str] = ROLL_OUT
    intent: ClassVar[type[Release]] = Release

    def __init__(
        self, target: Target, intent: Release = Release(), limits: Limits = NO_LIMITS
    ) -> None:
        """Replace what `intent` says on `target`, within `limits`."""
        self._target, self._release, self._limits = target, intent, limits

    def plan(self) -> Plan:
        """Find the workload; nobody knows yet in which order its replicas go."""
        release = self._release
        workload = only_workload(self._target, release.component, release.tier)
        rollout = settled(self._target, workload)
        known = [one for one in self._target.replicas(release.component) if one.ready]
        going = min(rollout.max_unavailable or 0, rollout.ready)
        self._limits.check(release.component, going, len(known))
        return Plan(
            victims=[],
            undo={"workload": workload.name, "uid": workload.uid},
            before={**asdict(rollout), "until": release.until, "timeout_s": release.timeout_s},
            hit={release.component: [going, len(known)]},
            whom=f"all {rollout.wanted} replicas of {workload.name}, one after the other, at most"
            f" {missing(rollout)} missing at a time",
        )

    def inject(self, plan: Plan) -> None:
        """Order it."""
        self._target.roll_out(plan.undo["workload"], plan.undo["uid"], plan.mark)

    def verify(self, plan: Plan) -> Evidence:
        """Prove that new replicas are there: all of them, or the first one."""
        name, old, until = (
            plan.undo["workload"],
            plan.before["revision"],
            plan.before["until"],
        )

        def holds(seen: Rollout | None) -> bool:
            if seen is None or seen.revision == old:
                return False
            return seen.complete if until == "complete" else seen.updated > 0

        seen, waited_s = wait_until(
            lambda: look(self._target, plan),
            holds,
            plan.before["timeout_s"],
            f"the rollout of {name} from {old} to have {_come_so_far(until)}",
        )
        text = f"{name}: {said(seen)} after {waited_s:.2f} s"
        return Evidence(text, {"waited_s": waited_s, **as_data(seen)})

    def revert(self, plan: Plan) -> None:
        """Nothing to take back: the new replicas are what the old ones were."""

    def verify_reverted(self, plan: Plan) -> Evidence:
        """Wait until it is complete, or is somebody else's by now; say so when it never is."""
        name = plan.undo["workload"]
        try:
            seen, waited_s = wait_until(
                lambda: look(self._target, plan),
                lambda seen: seen is None or seen.complete or seen.token != plan.token,
                plan.before["timeout_s"],
                f"the rollout of {name} to be complete",
            )
        except FaultError as error:
            return Evidence(f"the platform did not finish the rollout: {error}", {"healed": False})
        text = f"{name}: {said(seen)} after {waited_s:.2f} s"
        return Evidence(text, {"waited_s": waited_s, **as_data(seen)})


def settled(target: Target, workload: Workload) -> Rollout:
    """Return how a workload stands before a release.

    Raises:
        FaultError: it is gone, or a rollout is under way: nobody could tell it from ours.
    """
    rollout = target.rollout(workload.name, workload.uid)
    if rollout is None:
        raise FaultError(f"{workload.name} is gone")
    if not rollout.complete:
        raise FaultError(
            f"expected {workload.name} to run one revision, with every replica ready; found"
            f" {said(rollout)}: wait until that is over"
        )
    if not rollout.wanted:
        raise FaultError(f"{workload.name} is to have no replica: nothing would be replaced")
    if rollout.token.startswith("bad_release-"):
        raise FaultError(
            f"{workload.name} runs a flawed release of ours ({rollout.token}), which a new one"
            " would carry along: roll that back first"
        )
    return rollout


def look(target: Target, plan: Plan) -> Rollout | None:
    """Return how far the plan's workload is; None: it is gone."""
    return target.rollout(plan.undo["workload"], plan.undo["uid"])


def as_data(seen: Rollout | None) -> dict[str, Any]:
    """Return it as an evidence's data."""
    return {} if seen is None else asdict(seen)


def said(seen: Rollout | None) -> str:
    """Return it in words."""
    if seen is None:
        return "gone, and its rollout with it"
    text = f"{seen.updated_ready} of {seen.wanted} ready replicas are of {seen.revision}"
    stalled = ", which is called stalled" if seen.stalled else ""
    return text + stalled + (f" ({seen.waits_for})" if seen.waits_for else "")


def missing(rollout: Rollout) -> str:
    """Return how many replicas may be missing meanwhile, in words."""
    most = rollout.max_unavailable
    return "an unknown number" if most is None else str(most)


def _come_so_far(until: Until) -> str:
    return "replaced every replica" if until == "complete" else "begun"
