"""A run before it starts: every file read and validated, every length settled."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from faultload.errors import SpecError
from faultload.run.chaos import check_with_chaoslib
from faultload.spec import SLO, Catalogue, Experiment, Scenario, TargetSpec


@dataclass(frozen=True)
class RunPlan:
    """What one run will do.

    Attributes:
        experiment, scenario, slos, target: as read.
        experiment_path, scenario_path, target_path: where they were read.
        seed: of the workload and of the choice of victims.
        warmup_s, baseline_s, hold_s, recovery_s: lengths on this target.
        share_max: the blast radius: the smaller of what experiment and target allow.
        reports: where the run's directory goes.
        repeat: the command that repeats it.
    """

    experiment: Experiment
    scenario: Scenario
    slos: list[SLO]
    target: TargetSpec
    experiment_path: Path
    scenario_path: Path
    target_path: Path
    seed: int
    warmup_s: float
    baseline_s: float
    hold_s: float
    recovery_s: float
    share_max: float
    reports: Path
    repeat: str

    @property
    def length_s(self) -> float:
        """All phases together, as planned."""
        return self.warmup_s + self.baseline_s + self.hold_s + self.recovery_s


def prepare(
    catalogue: Catalogue,
    experiment: str,
    target: str,
    *,
    seed: int | None = None,
    reports: Path | None = None,
) -> RunPlan:
    """Read and validate everything a run needs (step 1 of the flow).

    Args:
        catalogue: where names are looked up.
        experiment: path or `folder/name`.
        target: path or name.
        seed: None: the scenario's own.
        reports: None: `reports/` of the catalogue.

    Raises:
        UsageError: a file, a key or a name is wrong; says which and what to do.
    """
    chosen = catalogue.experiment(experiment)
    target_path, target_spec = catalogue.target(target)
    scenario_path, scenario = catalogue.scenario(chosen.block.scenario, chosen.path)
    slos = catalogue.slos(chosen.block.slos, chosen.path)
    _check_tiers(chosen, scenario, slos)
    check_with_chaoslib(chosen)
    lengths, block = target_spec.phases, chosen.block
    if lengths.hold_s is not None:
        chosen = chosen.holding(lengths.hold_s)

    def length(override: float | None, own: float) -> float:
        return own if override is None else override

    use_seed = scenario.seed if seed is None else seed
    words = ["faultload", "run", experiment, "--target", target, "--seed", str(use_seed)]
    return RunPlan(
        experiment=chosen,
        scenario=scenario,
        slos=slos,
        target=target_spec,
        experiment_path=chosen.path,
        scenario_path=scenario_path,
        target_path=target_path,
        seed=use_seed,
        warmup_s=length(lengths.warmup_s, block.phases.warmup_s),
        baseline_s=length(lengths.baseline_s, block.phases.baseline_s),
        hold_s=chosen.hold_s,
        recovery_s=length(lengths.recovery_s, block.phases.recovery_s),
        share_max=min(block.blast_radius.share_max, target_spec.blast_radius_share_max),
        reports=reports or catalogue.root / "reports",
        repeat=shlex.join(words),
    )


def _check_tiers(experiment: Experiment, scenario: Scenario, slos: list[SLO]) -> None:
    """An SLO on a tier that the workload never asks for could never be judged."""
    asked = {mix.tier for mix in scenario.tiers}
    for slo in slos:
        source = slo.source
        tier = source.spec.tier if source.type == "requests" else None
        if tier is not None and tier not in asked:
            raise SpecError(
                experiment.path,
                "extensions[faultload].slos",
                f"SLO {slo.name!r} is about tier {tier!r}, and scenario {scenario.name!r} asks only"
                f" for {', '.join(sorted(asked))}",
            )
