"""Add load: more requests than the workload's own, as a burst, a crowd or a noisy neighbour."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from faultload.faults import traffic
from faultload.faults.limits import NO_LIMITS, Limits
from faultload.faults.proofs import wait_until
from faultload.faults.protocol import Evidence, Plan
from faultload.faults.traffic import LastsS, Tokens
from faultload.faults.victims import STRICT, TimeoutS
from faultload.spec.fields import HeaderText
from faultload.spec.scenario import ClosedArrivals, PoissonArrivals, UserStep
from faultload.targets import ADD_LOAD, Target

_SEED = 10_000
"""Added to the run's own: its requests must not be the workload's, which caches may know."""


@dataclass(frozen=True, config=STRICT)
class Traffic:
    """An intent: who else asks, and for how much. Either `requests_per_s` or `users` is given.

    Attributes:
        model: the model asked for at the platform's front door.
        requests_per_s: arriving independently, whatever became of the others.
        users: so many at a time, each asking again after its answer and a pause.
        think_s: mean of that pause, s.
        prompt_tokens, output_tokens: of each request.
        tenant: who they say they are.
        lasts_s: after which it ends by itself, s; longer than an experiment holds it.
        timeout_s: until it is proven to be sent.
    """

    model: HeaderText
    requests_per_s: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] | None = None
    users: Annotated[int, Field(ge=1, le=10_000)] | None = None
    think_s: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] = 1.0
    prompt_tokens: Tokens = 100
    output_tokens: Tokens = 60
    tenant: HeaderText = "added-load"
    lasts_s: LastsS = 300.0
    timeout_s: TimeoutS = 60.0

    @model_validator(mode="after")
    def _is_one_loop(self) -> Self:
        if (self.requests_per_s is None) == (self.users is None):
            found = "both" if self.users else "neither"
            raise ValueError(f"expected either requests_per_s or users, found {found}")
        return self

    @property
    def component(self) -> str:
        """No replica is hit."""
        return ""

    @property
    def hits(self) -> int | None:
        """No replica is hit."""
        return 0

    @property
    def arrivals(self) -> PoissonArrivals | ClosedArrivals:
        """When they ask."""
        if self.requests_per_s is not None:
            return PoissonArrivals(kind="poisson", rate_rps=self.requests_per_s)
        step = UserStep(for_s=self.lasts_s, users=self.users or 0)
        return ClosedArrivals(kind="closed", steps=[step], think_s=self.think_s)

    @property
    def words(self) -> str:
        """How much it is."""
        if self.requests_per_s is not None:
            return f"{self.requests_per_s:g} requests a second more for {self.model}"
        return f"{self.users} users more for {self.model}"


class AddLoad:
    """Send more requests to the platform's front door, beside the workload's own.

    It stands for a burst, for a crowd that comes after an announcement, for a batch job that
    somebody started at noon. Here and on Kubernetes it is a process beside the harness, which the
    workload's rows know nothing of; its requests take part in the platform's own series.

    In force when at least nine tenths of what was due in the last second was sent, and answers have
    begun or were refused. Of `users`, when as many have asked as there are.

    Reverted by ending that process, and proven by its end; what it still had open is cut. It ends
    with the harness too, and after `lasts_s`. Until then it says how many it sent, and how many of
    them were refused.
    """

    name: ClassVar[str] = "add_load"
    capability: ClassVar[str] = ADD_LOAD
    intent: ClassVar[type[Traffic]] = Traffic

    def __init__(
        self,
        target: Target,
        intent: Traffic = Traffic(model="none", requests_per_s=1.0),
        limits: Limits = NO_LIMITS,
    ) -> None:
        """Send what `intent` says to `target`; no limit is about traffic."""
        self._target, self._traffic, self._limits = target, intent, limits

    def plan(self) -> Plan:
        """Choose where its sender will live; nothing is made yet."""
        undo = {"senders": [str(traffic.new_folder())]}
        return Plan([], undo=undo, whom=f"no replica: {self._traffic.words}")

    def inject(self, plan: Plan) -> None:
        """Start the sender."""
        asked, door = self._traffic, self._target.endpoints
        scenario = traffic.asking(
            asked.arrivals, asked.model, asked.prompt_tokens, asked.output_tokens, asked.tenant
        )
        orders = {
            "url": door.inference_url,
            "scenario": scenario.model_dump(mode="json"),
            "seed": self._limits.seed + _SEED,
            "lasts_s": asked.lasts_s,
            "expires_unix_s": time.time() + asked.lasts_s,
            "api_key_env": door.api_key_env,
            "ca": str(door.ca) if door.ca else None,
        }
        traffic.start(Path(plan.undo["senders"][0]), orders)

    def verify(self, plan: Plan) -> Evidence:
        """Prove that it is sent, and that the platform has to do with it."""
        folder, words = Path(plan.undo["senders"][0]), self._traffic.words
        expected = f"{words} to be sent, and answers to begin or to be refused"
        seen, waited_s = wait_until(
            lambda: traffic.progress(folder), traffic.sends, self._traffic.timeout_s, expected
        )
        text = f"{words}: {seen['sent']} of {seen['due']} due sent, seen after {waited_s:.2f} s"
        return Evidence(text, {"waited_s": waited_s, **seen})

    def revert(self, plan: Plan) -> None:
        """End the sender."""
        traffic.stop_all(plan)

    def verify_reverted(self, plan: Plan) -> Evidence:
        """Prove that it has ended, and say what it sent."""
        return traffic.prove_ended(plan)
