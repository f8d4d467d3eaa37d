"""Slow the network before replicas down: distance, unsteadiness, a narrow way."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from faultload.errors import FaultError
from faultload.faults.disturbed import (
    disturb,
    how_of,
    insist_listed,
    mend,
    plan_disturbance,
    prove_unlisted,
    victims_there,
)
from faultload.faults.limits import NO_LIMITS, Limits
from faultload.faults.proofs import wait_until
from faultload.faults.protocol import Evidence, Plan
from faultload.faults.victims import STRICT, Choice
from faultload.targets import ANSWER_S, DISTURB_NETWORK, Disturbance, Target

SecondS = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
"""Of one way. With more, the proof's own questions would not be answered in time."""

_TIMEOUT_S = 30.0
_TRIPS = 3
_EXTRA_BYTES_MAX = 32 * 1024
"""Servers take headers of up to 64 KiB."""
_EXTRA_S_MAX = 2.0
_SHOWN_S_MIN = 0.1
"""What a transfer has to take for its length to show a narrow way, and not a busy computer."""


@dataclass(frozen=True, config=STRICT)
class Slowdown(Choice):
    """An intent: before which replicas the network becomes slow, and how. One must be set.

    Attributes:
        latency_s: added each way, so that a round trip takes twice as much longer.
        jitter_s: each way up to so much more or less.
        bandwidth_bytes_per_s: all that passes, each way; None: as much as there is. Under 4000 a
            single request fills it.
    """

    latency_s: SecondS = 0.0
    jitter_s: SecondS = 0.0
    bandwidth_bytes_per_s: Annotated[float, Field(ge=4000, allow_inf_nan=False)] | None = None

    def __post_init__(self) -> None:
        """Check that something is set."""
        if self.how == Disturbance():
            raise ValueError("expected latency_s, jitter_s or bandwidth_bytes_per_s, found none")

    @property
    def how(self) -> Disturbance:
        """What becomes of the network."""
        return Disturbance(self.latency_s, self.jitter_s, self.bandwidth_bytes_per_s)


class SlowNetwork:
    """Slow the network before replicas down: later, unsteadier, narrower.

    Stands for distance (a replica in another region), for queues in switches that somebody else
    fills, and for a link that is saturated or throttled, as S3 is when everybody loads weights at
    once. On the local platform it is a condition of the link before the replica, which the router
    takes and probes and Prometheus do not; nothing is dropped, so there are no retransmissions. On
    Kubernetes it is what `tc netem` does before a pod.

    In force when the target lists the conditions and a round trip on the callers' way takes longer
    than before by twice `latency_s - jitter_s` or more (the best of three), and one that carries up
    to 32 KiB along takes longer by half of what those need on the narrow way. Where that is
    nothing that can be measured (jitter that can cancel the latency, or a way wide enough that
    32 KiB take under 0.1 s), the target's list alone is the evidence, which says so.

    Reverted by taking back the conditions that still are ours; proven by the target's list, and by
    a round trip before the victims that are still there which is as short as before.
    """

    name: ClassVar[str] = "slow_network"
    capability: ClassVar[str] = DISTURB_NETWORK
    intent: ClassVar[type[Slowdown]] = Slowdown

    def __init__(
        self, target: Target, intent: Slowdown = Slowdown(latency_s=0.1), limits: Limits = NO_LIMITS
    ) -> None:
        """Hit what `intent` says on `target`, within `limits`."""
        self._target, self._intent, self._limits = target, intent, limits

    def plan(self) -> Plan:
        """Choose the victims, and see how long their answers take now."""
        plan = plan_disturbance(self._target, self._intent, self._limits, self._intent.how)
        trips = {victim["name"]: self._trip(plan, victim["name"]) for victim in plan.victims}
        mute = [name for name, trip in trips.items() if None in trip.values()]
        if mute:
            raise FaultError(
                f"{', '.join(mute)}: no answer on the way that callers go, or no such way here that"
                " could be disturbed; a slower one could not be told"
            )
        return replace(plan, before=plan.before | {"trips": trips})

    def inject(self, plan: Plan) -> None:
        """Slow the network before each victim down."""
        disturb(self._target, plan)

    def verify(self, plan: Plan) -> Evidence:
        """Prove that it is slow, by asking victims the way their callers go."""
        insist_listed(self._target, plan)
        least, everybody = _least(how_of(plan)), {victim["name"] for victim in plan.victims}
        if not least:
            text = f"{plan.hits}: listed as disturbed; too little for a round trip to show"
            return Evidence(text, {"how": plan.undo["how"]})
        seen, waited_s = wait_until(
            lambda: self._longer(plan),
            lambda longer: (
                longer.keys() == everybody
                and all(one[kind] >= least[kind] for one in longer.values() for kind in least)
            ),
            _TIMEOUT_S,
            f"round trips to {plan.hits} to take longer by {_in_words(least)}",
        )
        smallest = {kind: min(one[kind] for one in seen.values()) for kind in least}
        text = f"round trips to {plan.hits} take longer by {_in_words(smallest)}"
        return Evidence(text, {"waited_s": waited_s, "longer_s": seen, "least_s": least})

    def revert(self, plan: Plan) -> None:
        """Take it back."""
        mend(self._target, plan)

    def verify_reverted(self, plan: Plan) -> Evidence:
        """Prove that nothing of it is listed, and that who is still there answers as before."""
        prove_unlisted(self._target, plan)
        least = _least(how_of(plan))
        if not least or not victims_there(self._target, plan):
            return Evidence(f"the network before {plan.hits} is disturbed no more")
        seen, waited_s = wait_until(
            lambda: self._longer(plan),
            lambda longer: all(
                one[kind] < least[kind] for one in longer.values() for kind in least
            ),
            _TIMEOUT_S,
            f"round trips to {plan.hits} to take as long as before",
        )
        text = f"round trips to {plan.hits} take as long as before"
        return Evidence(text, {"waited_s": waited_s, "longer_s": seen})

    def _longer(self, plan: Plan) -> dict[str, dict[str, float]]:
        """Return of each victim that is there how much longer its round trips take, s."""
        before: dict[str, dict[str, float]] = plan.before["trips"]
        return {
            name: {
                kind: (ANSWER_S if now is None else now) - before[name][kind]
                for kind, now in self._trip(plan, name).items()
            }
            for name in victims_there(self._target, plan)
        }

    def _trip(self, plan: Plan, name: str) -> dict[str, float | None]:
        """Return how long the quickest of a few round trips took, s, with and without a load."""
        extra = _extra_bytes(how_of(plan).bandwidth_bytes_per_s)
        ask = self._target.round_trip_s
        known = [one for _ in range(_TRIPS) if (one := ask(name)) is not None]
        return {"small": min(known, default=None), "large": ask(name, extra) if extra else 0.0}


def _extra_bytes(bandwidth: float | None) -> int:
    """Return how much a round trip carries along to show a narrow way; 0: nothing shows it."""
    if bandwidth is None:
        return 0
    extra = min(_EXTRA_BYTES_MAX, round(bandwidth * _EXTRA_S_MAX))
    return extra if extra / bandwidth >= _SHOWN_S_MIN else 0


def _least(how: Disturbance) -> dict[str, float]:
    """Return by how much a kind of round trip has to take longer, s, where that can be shown."""
    later = 2 * (how.latency_s - how.jitter_s)
    bandwidth = how.bandwidth_bytes_per_s
    extra = _extra_bytes(bandwidth)
    # Half: the first bytes pass a bucket at once, and other traffic may leave for a moment.
    narrow = extra / bandwidth / 2 if bandwidth else 0.0
    kinds = {"small": later, "large": narrow}
    return {kind: longer for kind, longer in kinds.items() if longer > 0}


def _in_words(longer_s: dict[str, float]) -> str:
    kinds = {"small": "", "large": " with a load"}
    found = [f"{longer_s[k] * 1000:.0f} ms{kinds[k]}" for k in kinds if k in longer_s]
    return ", ".join(found)
