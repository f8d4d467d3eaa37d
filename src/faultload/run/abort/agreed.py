"""What an experiment and its target agreed to end a run for, before anything starts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from faultload.errors import RefusedError, SpecError
from faultload.spec import SLO, Experiment, LocalTargetSpec, StopSpec, TargetSpec
from faultload.spec.slo import RequestsSource

SCRAPES_MIN = 3
"""Telemetry is not missing before so many scrapes have failed to come: one may be late."""


def agreed_stops(
    experiment: Experiment, target: TargetSpec, target_path: Path, slos: Sequence[SLO]
) -> list[StopSpec]:
    """Return the conditions that both files name: each is watched, so the stricter one counts.

    Raises:
        RefusedError: the target is not local, and neither file names a condition or says `none`.
        SpecError: one of them could not be watched here; says which and why.
    """
    named = [
        (experiment.path, "extensions[faultload].stop", experiment.block.stop),
        (target_path, "stop", target.stop),
    ]
    if not isinstance(target, LocalTargetSpec) and all(stop is None for *_, stop in named):
        raise RefusedError(
            f"{target_path}: nothing would stop a run on target {target.name!r}, which is not"
            " local: name conditions under stop, or say stop: none"
            " (docs/writing-experiments.md#when-a-run-stops)"
        )
    on_rows = any(isinstance(slo.source, RequestsSource) for slo in slos)
    for path, key, stop in named:
        if stop is None:
            continue
        _check_patience(path, key, stop, target)
        # A target's conditions are for all experiments: what this one has no SLO for is not
        # watched, as long as something else is.
        others = stop.model_dump(exclude_defaults=True).keys() - {"budget_percent_max"}
        may_pass = path == target_path and others
        if stop.budget_percent_max is not None and not on_rows and not may_pass:
            raise SpecError(
                path,
                f"{key}.budget_percent_max",
                "none of the experiment's SLOs is counted on request rows, so none can be watched:"
                " add one, or use queries",
            )
    nothing = StopSpec()
    return [stop for *_, stop in named if stop is not None and stop != nothing]


def _check_patience(path: Path, key: str, stop: StopSpec, target: TargetSpec) -> None:
    least_s, given_s = SCRAPES_MIN * target.scrape_interval_s, stop.telemetry_missing_s
    if given_s is not None and given_s < least_s:
        raise SpecError(
            path,
            f"{key}.telemetry_missing_s",
            f"expected at least {least_s:g} s, {SCRAPES_MIN} scrapes of target {target.name!r},"
            f" found {given_s:g} s",
        )
