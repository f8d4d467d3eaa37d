"""Healthy streams: what a platform within its objectives looks like to the abort watch."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from faultload.errors import FaultloadError
from faultload.load import make_trace
from faultload.record import REQUEST_SCHEMA, PhaseName, RunDirectory, read_requests, read_series
from faultload.run.abort.conditions import FRESHNESS, Reading
from faultload.run.abort.monitor import Breach, Monitor
from faultload.spec import SLO, StopSpec, load_experiment, load_scenario, load_slos

ROOT = Path(__file__).parents[2]
STREAM_S = 300
SEEDS = 12


@dataclass(frozen=True)
class Stream:
    """One run's rows and readings, as far as it was healthy.

    Attributes:
        kind: `drawn`; `recorded`, up to the fault; or `passed`, all of a run that passed: its fault
            was felt, and no more than its title claims.
        name: of the scenario and seed, or of the run.
        rows: in the request schema, None for NaN.
        readings: what Prometheus said, once a second.
        slos: the run's.
        begin_s, end_s: the warm-up's end, and the stream's.
        queried: whether the readings answer the query of `STRICT` too.
        due_s: when requests were due; None: not known.
        request_s_max: the client's patience.
        gaps: what its fault takes away,
        harm_s: from here on.
    """

    kind: str
    name: str
    rows: Sequence[dict[str, Any]]
    readings: Sequence[Reading]
    slos: Sequence[SLO]
    begin_s: float
    end_s: float
    queried: bool = False
    due_s: npt.NDArray[np.float64] | None = None
    request_s_max: float = math.inf
    gaps: Sequence[str] = ()
    harm_s: float = math.inf

    def play(self, stop: StopSpec) -> Breach | None:
        """Step through it once a second; return what would have ended it."""
        stop = stop if self.queried else stop.model_copy(update={"queries": []})
        monitor = Monitor(
            [stop],
            self.slos,
            gaps=self.gaps,
            begin_s=self.begin_s,
            due_s=self.due_s,
            request_s_max=self.request_s_max,
        )
        rows: dict[int, list[dict[str, Any]]] = defaultdict(list)
        readings: dict[int, list[Reading]] = defaultdict(list)
        for row in self.rows:
            rows[math.ceil(row["end_s"])].append(row)
        for reading in self.readings:
            readings[math.ceil(reading.at_s)].append(reading)
        for now_s in range(math.ceil(self.end_s) + 1):
            harmed = now_s >= self.harm_s
            breach = monitor.step(now_s, rows[now_s], readings[now_s], harmed=harmed)
            if breach is not None:
                return breach
        return None


def drawn_streams() -> Iterator[Stream]:
    """Yield streams of every scenario whose users do not wait, from several seeds each."""
    chat = load_slos(ROOT / "slos" / "chat.yaml")
    for path in sorted((ROOT / "scenarios").glob("*.yaml")):
        for seed in range(SEEDS):
            stream = _drawn(path, seed, chat)
            if stream is not None:
                yield stream


def _drawn(path: Path, seed: int, slos: Sequence[SLO]) -> Stream | None:
    """Return what a platform within its SLOs, and not spotless, makes of a scenario.

    0.3 % of the requests fail, 2 % of the first tokens are late, and once a minute a blip of a
    second has every tenth request fail. None: in a closed loop nobody knows who asks when.
    """
    scenario = load_scenario(path)
    trace = make_trace(scenario, STREAM_S, seed, path.parent)
    due_s = trace["due_s"].to_numpy(dtype=np.float64)
    if not np.isfinite(due_s).all():
        return None
    count = len(due_s)
    chance = np.random.Generator(np.random.PCG64([seed, count]))
    in_blip = (due_s + chance.uniform(0, 60)) % 60 < 1
    is_bad = chance.random(count) < np.where(in_blip, 0.1, 0.003)
    ttft = chance.lognormal(math.log(0.04), 0.3, count)
    ttft = np.where(chance.random(count) < 0.02, ttft + chance.exponential(0.5, count), ttft)
    tokens = trace["output_tokens"].to_numpy(dtype=np.float64)
    last_s = due_s + ttft + tokens * chance.lognormal(math.log(0.015), 0.15, count)
    columns = dict.fromkeys(REQUEST_SCHEMA.names, np.full(count, None, dtype=object)) | {
        "due_s": due_s,
        "sent_s": due_s,
        "first_token_s": due_s + ttft,
        "last_token_s": last_s,
        "end_s": last_s,
        "gap_s_max": np.full(count, 0.02),
        "status": np.where(is_bad, "cut", "ok").astype(object),
        "tier": trace["tier"].to_numpy(dtype=object),
        "output_tokens": tokens,
        "output_tokens_asked": tokens,
        "tokens_missing": np.zeros(count),
        "tokens_duplicated": np.zeros(count),
    }
    columns = {name: values.tolist() for name, values in columns.items()}
    return Stream(
        kind="drawn",
        name=f"{path.stem}, seed {seed}",
        rows=[dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)],
        readings=list(_readings(seed)),
        slos=slos,
        begin_s=10.0,
        end_s=STREAM_S,
        queried=True,
        due_s=due_s,
        request_s_max=scenario.timeouts.total_s,
    )


def _readings(seed: int) -> Iterator[Reading]:
    """Yield what a Prometheus says that misses scrapes, is away for 3 s at times, and has NaN."""
    chance = np.random.Generator(np.random.PCG64([seed, 7]))
    for at_s in range(STREAM_S):
        if at_s % 97 in (50, 51, 52) or chance.random() < 0.01:
            yield Reading(FRESHNESS, at_s, (), "no answer in time")
            yield Reading("max(kv)", at_s, (), "no answer in time")
            continue
        yield Reading(FRESHNESS, at_s, (chance.uniform(0.1, 1.1) + (chance.random() < 0.02),))
        in_spike, is_nan = at_s % 61 in (30, 31, 32), chance.random() < 0.01
        usage = math.nan if is_nan else 0.99 if in_spike else chance.uniform(0.1, 0.9)
        yield Reading("max(kv)", at_s, (usage,))


def recorded_streams(folders: Sequence[Path]) -> Iterator[Stream]:
    """Yield every sealed record in these folders up to its fault, and all of it if it passed."""
    for manifest in sorted(p for folder in folders for p in folder.rglob("record/manifest.json")):
        path = manifest.parents[1]
        try:
            verdict = json.loads((path / "verdict.json").read_bytes())["verdict"]
            stream = _recorded(path)
            healthy = [row for row in stream.rows if row["end_s"] < stream.harm_s]
            end_s = min(stream.end_s, stream.harm_s)
            yield replace(stream, kind="recorded", rows=healthy, end_s=end_s)
            if verdict == "pass":
                yield stream
        except (FaultloadError, OSError, ValueError, IndexError) as error:
            print(f"left out: {path.name}: {error}")


def _recorded(path: Path) -> Stream:
    run = RunDirectory.open(path)
    phases, slos = run.manifest().phases, load_slos(run.slos)
    end_s = phases[-1].end_s
    requests = read_requests(run.requests)
    ended = requests[requests["status"] != "unfinished"]
    scraped = np.sort(read_series(run.series).query("series == 'up'")["t_s"].to_numpy())
    readings = []
    for at_s in range(math.ceil(end_s)):
        seen = scraped[scraped <= at_s]
        age_s = [at_s - float(seen[-1])] if len(seen) else []
        readings.append(Reading(FRESHNESS, at_s, age_s))
    return Stream(
        kind="passed",
        name=path.name,
        rows=ended.astype(object).where(ended.notna(), None).to_dict("records"),
        readings=readings,
        slos=slos,
        begin_s=next((p.end_s for p in phases if p.name is PhaseName.WARMUP), 0.0),
        end_s=end_s,
        gaps=load_experiment(run.experiment).block.gaps,
        harm_s=next((p.start_s for p in phases if p.name is PhaseName.FAULT), math.inf),
    )
