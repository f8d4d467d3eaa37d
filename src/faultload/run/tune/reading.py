"""Any sealed record into a point of the curve: a sweep's own runs, or runs made elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from faultload.errors import SpecError, UsageError
from faultload.judge.cost import count_tokens, work_out
from faultload.judge.setting import Setting, Window, measure_setting
from faultload.measure.engines import engine_view
from faultload.measure.fleet import read_fleet
from faultload.record import (
    JUDGED_COLUMNS,
    Manifest,
    Phase,
    PhaseName,
    RunDirectory,
    read_requests,
    read_series,
)
from faultload.run.judging import client_problems, time_scale_of
from faultload.run.tune.plan import slos_of, tier_of
from faultload.spec import load_scenario, load_slos, load_target
from faultload.spec.prices import PriceBook, read_price_book

_NONE = Phase(name=PhaseName.BASELINE, start_s=0.0, end_s=0.0)


def read_setting(
    run: RunDirectory, batch: int | None = None, model: str = "", slos: Path | None = None
) -> Setting:
    """Return what a sealed run says of its setting, over its baseline: no fault is in force there.

    Args:
        run: the record.
        batch: the engines' batch limit; None: the record says it.
        model: whose requests; "": those of the only model that was asked.
        slos: an OpenSLO file; None: the run's own.

    Raises:
        SpecError: a file is missing or damaged, or was changed since the record was sealed.
        UsageError: the record does not say the batch limit, or holds other requests.
    """
    manifest = run.manifest()
    if changed := run.tampered():
        problem = f"changed since it was sealed: {', '.join(changed)}; such a record proves nothing"
        raise SpecError(run.record, "", problem)
    scenario = load_scenario(run.scenario)
    tier = tier_of(scenario, model, run.scenario)
    own = slos_of(load_slos(slos or run.slos), tier.tier)
    phase = next((p for p in manifest.phases if p.name is PhaseName.BASELINE), None)
    requests = read_requests(run.requests, JUDGED_COLUMNS)
    series = read_series(run.series)
    problems = [] if phase else [manifest.reason or "the run ended before its baseline"]
    if phase is not None:
        problems += client_problems(
            requests, manifest.phases, own, manifest.load, manifest.clock.wall_drift_s
        )
    batch = _batch_of(manifest, tier.tier, run) if batch is None else batch
    span = (phase or _NONE).start_s, (phase or _NONE).end_s
    engines = engine_view(series, tier.model, *span)
    if (most := engines["running_max"]) is not None and most > batch:
        problems.append(f"an engine had {most:.0f} requests in its batch: its limit is not {batch}")
    prices = read_price_book(run.prices)
    fleet = read_fleet(
        series,
        manifest.phases,
        manifest.clock.t0_unix_s,
        load_target(run.target).scrape_interval_s,
        (prices or PriceBook(())).gpus,
    )
    tokens = count_tokens(requests, own)
    cost = work_out(fleet, manifest.phases, tokens, prices, time_scale=time_scale_of(manifest))
    share = next((one for one in cost.shares if one.part == PhaseName.BASELINE), None)
    window = Window(
        requests=requests,
        model=tier.model,
        phase=phase or _NONE,
        timeouts=scenario.timeouts,
        slos=own,
        share=share,
        cost_problem=cost.problem,
        engines=engines,
        problems=problems,
    )
    return measure_setting(batch, str(run.path), window)


def expand(words: Sequence[str]) -> list[tuple[int | None, RunDirectory]]:
    """Return batch limit and record of each `SIZE=DIR`, `DIR` or directory of a sweep.

    Raises:
        UsageError: there is no record, or the size is no number.
    """
    found: list[tuple[int | None, RunDirectory]] = []
    for word in words:
        size, mark, path = word.partition("=")
        if mark and size.isascii() and size.isdigit() and int(size) > 0:
            found.append((int(size), RunDirectory.open(Path(path))))
        elif (Path(word) / "runs").is_dir():
            runs = sorted((Path(word) / "runs").iterdir())  # measured again: the later one counts
            latest = {one.name.partition("-")[2]: one for one in runs}
            found += [(None, RunDirectory.open(one)) for one in latest.values()]
        elif mark and not Path(word).exists():
            raise UsageError(
                f"--runs {word}: expected SIZE=DIR, with the engines' max_num_seqs before the =,"
                f" found {size!r}"
            )
        else:
            found.append((None, RunDirectory.open(Path(word))))
    return found


def _batch_of(manifest: Manifest, tier: str, run: RunDirectory) -> int:
    tiers = (manifest.platform.get("config") or {}).get("tiers") or {}
    said = (tiers.get(tier) or {}).get("engine", {}).get("max_num_seqs")
    if not isinstance(said, int):
        raise UsageError(
            f"{run.path}: the record does not say the engines' max_num_seqs: give it,"
            f" --runs SIZE={run.path}"
        )
    return said
