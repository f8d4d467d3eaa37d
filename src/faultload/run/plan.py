"""A run before it starts: every file read and validated, every length settled."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faultload.errors import RefusedError, SpecError
from faultload.faults import FAULTS
from faultload.faults.limits import Limits, Radius, limits_of
from faultload.faults.protocol import Intent
from faultload.load import check_recording, check_size, check_workers
from faultload.run.abort.agreed import agreed_stops
from faultload.run.chaos import arguments_of, check_with_chaoslib
from faultload.run.checking import (
    check_arguments,
    check_function,
    check_names,
    check_rollbacks,
    check_slos,
    intent_of,
)
from faultload.run.consent import UNSAID, Consent
from faultload.run.stock import played_by_us
from faultload.spec import (
    SLO,
    Catalogue,
    Experiment,
    GivenBlock,
    KubernetesTargetSpec,
    Scenario,
    StopSpec,
    TargetSpec,
)
from faultload.spec.clear_text import keep_experiment_secrets
from faultload.spec.windows import BurnWindows, load_windows

LOAD_OPTIONS = {"workers": "--workers", "listen": "--load-listen"}
"""Keys of a target file's `load`, and the options of `faultload run` that replace them."""

FAULT_TIMEOUT_S = 180.0
"""Longest time the faults' own steps may take beyond the hold: twice a cold start, and more."""

FAULT_S_MIN = 60.0
"""What lasts by itself must outlast the hold by as much at least, or by what the faults ask for:
it begins before the last of them is proven to act, and is taken back after the hold."""


@dataclass(frozen=True)
class RunPlan:
    """What one run will do.

    Attributes:
        asked: how the experiment was named: a path, or `folder/name`.
        experiment, scenario, slos, target: as read.
        experiment_path, scenario_path, target_path: where they were read.
        seed: of the workload and of the choice of victims.
        warmup_s, baseline_s, hold_s, recovery_s: lengths on this target.
        limits: the blast radius: the smaller of what experiment and target allow.
        reports: where the run's directory goes.
        repeat: the command that repeats it.
        faults: what the method will do: fault and intent, in order.
        ca: PEM file of the authorities that the load trusts; None: the system's.
        stop: conditions that end it early, of both files; all are watched.
        consent: what somebody said of this run.
        windows: when a burning budget alerts; None: the project does not say.
        store: of accepted runs, a folder or s3://BUCKET/PREFIX; "": the run is held beside none.
    """

    asked: str
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
    limits: Limits
    reports: Path
    repeat: str
    faults: list[tuple[str, Intent]]
    ca: Path | None = None
    stop: Sequence[StopSpec] = ()
    consent: Consent = UNSAID
    windows: BurnWindows | None = None
    store: str = ""

    @property
    def capabilities(self) -> set[str]:
        """What the target must be able to do, by the file's word and by its faults'."""
        return {
            *self.experiment.block.requires,
            *(FAULTS[name].capability for name, _ in self.faults),
        }

    @property
    def steps_s_max(self) -> float:
        """Longest time the faults' own steps may take beyond the hold; some ask for more."""
        return FAULT_TIMEOUT_S + _asked_s(self.faults)

    @property
    def length_s(self) -> float:
        """All phases together, as planned."""
        return self.warmup_s + self.baseline_s + self.hold_s + self.recovery_s


def prepare(  # noqa: PLR0913  # what the command line may say of a run
    catalogue: Catalogue,
    experiment: str,
    target: str,
    *,
    seed: int | None = None,
    reports: Path | None = None,
    load: Mapping[str, str | int] | None = None,
    overrides: Sequence[str] = (),
) -> RunPlan:
    """Read and validate everything a run needs (step 1 of the flow).

    Args:
        catalogue: where names are looked up.
        experiment: path or `folder/name`.
        target: path or name.
        seed: None: the scenario's own.
        reports: None: `reports/` of the catalogue.
        load: keys of the target file's `load` that are to be others; None: none.
        overrides: `key=value` that the local platform's configuration is given; for `repeat` alone.

    Raises:
        UsageError: a file, a key or a name is wrong; says which and what to do.
        MissingError: the load needs an API key, or Prometheus a token, that is not here.
    """
    chosen = catalogue.experiment(experiment)
    target_path, target_spec = catalogue.target(target)
    target_spec = _with_load(target_spec, load or {})
    scenario_path, scenario = catalogue.scenario(chosen.block.scenario, chosen.path)
    slos = catalogue.slos(chosen.block.slos, chosen.path)
    check_slos(chosen, scenario, slos)
    check_names(chosen)
    check_recording(scenario, scenario_path)
    ca = check_workers(target_spec.load, target_path)
    _meet_secrets(chosen, target_spec)
    chosen = played_by_us(chosen, target_spec, has_block=catalogue.given is None)
    faults = _intended(chosen, slos)
    check_rollbacks(chosen)
    check_with_chaoslib(chosen)  # last, for it imports the modules that are named
    lengths, block = target_spec.phases, chosen.block
    chosen = chosen if lengths.hold_s is None else chosen.holding(lengths.hold_s)
    _check_lasts(chosen, faults)

    def length(override: float | None, own: float) -> float:
        return own if override is None else override

    use_seed = scenario.seed if seed is None else seed
    repeat = ["faultload", "run", experiment, "--target", target, "--seed", str(use_seed)]
    plan = RunPlan(
        asked=experiment,
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
        limits=limits_of(target_spec, use_seed, _radius(chosen)),
        reports=reports or catalogue.root / "reports",
        repeat=shlex.join(repeat + options_again(catalogue.given, load, overrides)),
        faults=faults,
        ca=ca,
        stop=agreed_stops(chosen, target_spec, target_path, slos),
        windows=load_windows(windows) if (windows := catalogue.windows_path).exists() else None,
    )
    check_size(scenario, scenario_path, plan.length_s)
    return plan


def options_again(
    given: GivenBlock | None, load: Mapping[str, str | int] | None, overrides: Sequence[str]
) -> list[str]:
    """Return the words of `faultload run` that say again what no file says."""
    words = given.words() if given else []
    for override in overrides:
        words += ["--set", override]
    for key, value in (load or {}).items():
        words += [LOAD_OPTIONS[key], str(value)]
    return words


def _meet_secrets(experiment: Experiment, target: TargetSpec) -> None:
    """Register the secrets that a run will use; one that is not there is missed now."""
    keep_experiment_secrets(experiment.raw)
    if isinstance(target, KubernetesTargetSpec) and target.kubernetes.prometheus_sign_in:
        target.kubernetes.prometheus_sign_in.headers()


def _with_load(target: TargetSpec, load: Mapping[str, str | int]) -> TargetSpec:
    changed = target.load.model_copy(update=dict(load))
    return target.model_copy(update={"load": changed})


def _intended(experiment: Experiment, slos: Sequence[SLO]) -> list[tuple[str, Intent]]:
    """Return every fault of the method, and see that together they keep to the blast radius.

    Harm comes from the method's actions alone, and only from faults of ours: what has no plan and
    no proof cannot be journalled, judged or undone.
    """
    faults: list[tuple[str, Intent]] = []
    for section, activities in _sections(experiment):
        for activity in activities:
            provider, at = activity["provider"], f"{section}[{activity['name']}]"
            is_ours = provider.get("module") == "faultload.faults"
            check_function(experiment, at, provider)
            fault = provider.get("func") if is_ours and provider["func"] in FAULTS else None
            if section == "method" and activity["type"] == "action":
                if fault is None:
                    raise RefusedError(
                        f"{experiment.path}: {at}: only faults of faultload.faults may act here"
                        f" ({', '.join(FAULTS)}): others cannot be proven, judged or undone"
                    )
                arguments = arguments_of(experiment, activity)
                faults.append((fault, intent_of(experiment, at, FAULTS[fault], arguments)))
            elif fault is not None:
                problem = f"{fault} does harm; it belongs into the method, as an action"
                raise SpecError(experiment.path, at, problem)
            elif is_ours:
                arguments = arguments_of(experiment, activity)
                check_arguments(experiment, at, provider["func"], arguments, slos)
    _check_radius(experiment, [intent for _, intent in faults])
    return faults


def _asked_s(faults: Sequence[tuple[str, Intent]]) -> float:
    """Return how long the faults ask to be waited for, one after another."""
    return sum(getattr(intent, "timeout_s", 0.0) for _, intent in faults)


def _check_lasts(experiment: Experiment, faults: Sequence[tuple[str, Intent]]) -> None:
    """What ends by itself must not end before it is taken back.

    Args:
        experiment: with the hold of this target.
        faults: of its method's actions, in order.
    """
    hold_s, more_s = experiment.hold_s, max(FAULT_S_MIN, _asked_s(faults))
    for activity, (_, intent) in zip(experiment.fault_actions, faults, strict=True):
        lasts_s = getattr(intent, "lasts_s", math.inf)
        if lasts_s < hold_s + more_s:
            raise SpecError(
                experiment.path,
                f"method[{activity['name']}].provider.arguments.lasts_s",
                f"expected at least {hold_s + more_s:g} s ({hold_s:g} s of hold on this target and"
                f" {more_s:g} s that the faults may take), found {lasts_s:g} s, so that it would"
                " end before it is taken back: let it last longer, or hold it for less",
            )


def _radius(experiment: Experiment) -> dict[str, Radius]:
    found = experiment.block.blast_radius
    return {one.component: Radius(one.replicas, one.share_max) for one in found}


def _check_radius(experiment: Experiment, intents: Sequence[Intent]) -> None:
    allowed = {one.component: one.replicas for one in experiment.block.blast_radius}
    hit: Counter[str] = Counter()
    for intent in intents:
        if intent.component:
            hit[intent.component] += intent.hits or 0
    for component, replicas in hit.items():
        if replicas > allowed.get(component, 0) or component not in allowed:
            may = ", ".join(f"{most} {name}" for name, most in allowed.items())
            raise SpecError(
                experiment.path,
                "extensions[faultload].blast_radius",
                f"the method hits {replicas} {component}, and {may} is allowed; change one of them",
            )


def _sections(experiment: Experiment) -> list[tuple[str, list[dict[str, Any]]]]:
    hypothesis = experiment.raw.get("steady-state-hypothesis", {})
    return [
        ("steady-state-hypothesis", hypothesis.get("probes", [])),
        ("method", experiment.raw["method"]),
        ("rollbacks", experiment.raw.get("rollbacks", [])),
    ]
