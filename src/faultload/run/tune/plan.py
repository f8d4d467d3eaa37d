"""A sweep of the batch limit before it starts: what is asked, read and checked."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faultload.errors import RefusedError, UsageError, nearest
from faultload.load import check_size, check_workers
from faultload.spec import SLO, Catalogue, LocalTargetSpec, Scenario, load_slos
from faultload.spec.scenario import ClosedArrivals, Sessions, TierMix, UserStep
from faultload.spec.slo import RequestsSource
from faultload.spec.target import LoadWorkers

SIZES = (4, 8, 16, 32, 64)
SIZE_MAX = 4096
FOR_S = 30.0
"""The smallest shipped setting then brings the 384 requests that prove 99.5 %, and some more."""
WARMUP_S = 5.0
"""A few answers long: users who began together have drifted apart by then."""
STARTING_S = 20.0
"""What a platform takes to come up and go, about."""


@dataclass(frozen=True)
class Asked:
    """What the command line says of a sweep; None: the default of the target or the scenario."""

    target: str
    model: str
    sizes: Sequence[int] = SIZES
    scenario: str = "chat-steady"
    slo: str | None = None
    seed: int | None = None
    for_s: float = FOR_S
    warmup_s: float = WARMUP_S
    overrides: Sequence[str] = ()
    load: Mapping[str, Any] | None = None
    reports: Path | None = None
    repeat: str = ""


@dataclass(frozen=True)
class TunePlan:
    """What one sweep will do.

    Attributes:
        catalogue: where names are looked up.
        target_path, target: the platform that is started once a setting.
        tier: whose requests are asked, and whose engines are set.
        scenario: as read; its arrivals, other tiers and sessions are not used.
        slos: counted on request rows, about that tier.
        sizes: in the order of their runs, drawn by the seed: a machine that gets slower by the hour
            bends no curve.
        seed: of order and requests.
        warmup_s, for_s: load that is dropped, and load that is measured, at each setting.
        overrides: `key=value` changes to the platform's configuration, at every setting.
        load, ca: where the load comes from, and whom it trusts.
        reports: where the sweep's directory goes.
        repeat: the command that repeats it.
    """

    catalogue: Catalogue
    target_path: Path
    target: LocalTargetSpec
    tier: TierMix
    scenario: Scenario
    slos: Sequence[SLO]
    sizes: Sequence[int]
    seed: int
    warmup_s: float
    for_s: float
    overrides: Sequence[str]
    load: LoadWorkers
    ca: Path | None
    reports: Path
    repeat: str

    @property
    def end_s(self) -> float:
        """Of what is measured, since a load's start."""
        return self.warmup_s + self.for_s

    @property
    def key(self) -> str:
        """The platform's name of the setting."""
        return f"tiers.{self.tier.tier}.engine.max_num_seqs"

    @property
    def summary(self) -> str:
        """What will be done and how long that takes, in a sentence."""
        minutes = len(self.sizes) * (self.end_s + STARTING_S) / 60
        sizes = ", ".join(map(str, sorted(self.sizes)))
        return (
            f"batch sizes {sizes} of {self.tier.model}, each on a platform of its own whose seats"
            f" are all taken ({self.warmup_s:g} s dropped, {self.for_s:g} s measured): about"
            f" {minutes:.0f} minutes"
        )

    def workload(self, users: int) -> Scenario:
        """Return the scenario with so many users who ask again at once, and stop at the end."""
        asking = UserStep(for_s=self.end_s, users=users)
        arrivals = ClosedArrivals(
            kind="closed", steps=[asking, UserStep(for_s=1.0, users=0)], think_s=0.0
        )
        changed = {
            "description": f"{users} users of {self.tier.model} who ask again at once",
            "arrivals": arrivals,
            "tiers": [self.tier],
            # Affinity would fill one replica beyond its seats while another has one free.
            "sessions": Sessions(),
            "seed": self.seed,
        }
        return self.scenario.model_copy(update=changed)


def prepare_tune(catalogue: Catalogue, asked: Asked) -> TunePlan:
    """Read and check everything; nothing is started.

    Raises:
        UsageError: what is wrong, or why a target's engines cannot be set and what to do instead.
        RefusedError: the target is production.
    """
    _check_sizes(asked.sizes)
    if asked.target.startswith(("http://", "https://")):
        raise UsageError(_not_ours(asked.target, "is a plain URL"))
    path, target = catalogue.target(asked.target)
    if target.production:
        raise RefusedError(
            f"{path}: production: a sweep fills every seat, and its users would wait"
        )
    if not isinstance(target, LocalTargetSpec):
        raise UsageError(_not_ours(asked.target, f"is {target.kind}"))
    scenario_path, scenario = catalogue.scenario(asked.scenario)
    tier = tier_of(scenario, asked.model, scenario_path)
    workers = target.load.model_copy(update=dict(asked.load or {}))
    seed = scenario.seed if asked.seed is None else asked.seed
    order = list(asked.sizes)
    random.Random(seed).shuffle(order)  # noqa: S311  # an order, no secret
    plan = TunePlan(
        catalogue=catalogue,
        target_path=path,
        target=target,
        tier=tier,
        scenario=scenario,
        slos=slos_of(_slos(catalogue, asked.slo), tier.tier),
        sizes=order,
        seed=seed,
        warmup_s=asked.warmup_s,
        for_s=asked.for_s,
        overrides=tuple(asked.overrides),
        load=workers,
        ca=check_workers(workers, path),
        reports=asked.reports or catalogue.root / "reports",
        repeat=asked.repeat,
    )
    check_size(plan.workload(max(order)), scenario_path, plan.end_s)
    return plan


def tier_of(scenario: Scenario, model: str, path: Path) -> TierMix:
    """Return the scenario's requests to a model; "": to its only one.

    Raises:
        UsageError: there are none, or several.
    """
    found = [tier for tier in scenario.tiers if model in ("", tier.model)]
    if len(found) == 1:
        return found[0]
    known = sorted({tier.model for tier in scenario.tiers})
    if not model:
        raise UsageError(f"{path}: asks for {' and '.join(known)}: say which with --model")
    if not found:
        near = nearest(model, known) or f"; there are {', '.join(known)}"
        raise UsageError(f"{path}: tiers: no requests to model {model!r}{near}")
    raise UsageError(f"{path}: tiers: {len(found)} tiers ask for {model!r}, expected one")


def slos_of(slos: Sequence[SLO], tier: str) -> list[SLO]:
    """Return those counted on request rows that speak of a tier, or of all."""
    return [
        slo
        for slo in slos
        if isinstance(slo.source, RequestsSource) and slo.source.spec.tier in (None, tier)
    ]


def _slos(catalogue: Catalogue, given: str | None) -> Sequence[SLO]:
    folder = catalogue.root / "slos"
    if given is None:
        return catalogue.slos(catalogue.names("slos"), folder)
    if Path(given).suffix in (".yaml", ".yml"):
        return load_slos(Path(given))
    return catalogue.slos([given], folder)


def _check_sizes(sizes: Sequence[int]) -> None:
    odd = next((size for size in sizes if not 1 <= size <= SIZE_MAX), None)
    if odd is not None:
        raise UsageError(f"--sizes: expected batch sizes of 1 to {SIZE_MAX}, found {odd}")
    twice = next((size for size in sizes if list(sizes).count(size) > 1), None)
    if twice is not None:
        raise UsageError(f"--sizes: expected each size once, found {twice} twice")


def _not_ours(name: str, what: str) -> str:
    return (
        f"{name} {what}, and only a local platform's batch limit is ours to set. Set max_num_seqs"
        " there yourself, run the same load once a setting (faultload run), and give the runs:"
        " faultload tune batch --runs 16=reports/RUN --runs 32=reports/RUN"
    )
