"""Traces: every request of a run, made before it starts from a scenario and a seed.

Each column draws from a random stream of its own, in order of the requests. So the same scenario,
seed and duration give the same file byte for byte, and a longer run begins with the shorter one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from faultload.errors import SpecError
from faultload.load.arrivals import due_times
from faultload.load.prompts import Conversations, texts
from faultload.record import write_table
from faultload.spec.scenario import Lengths, Scenario, TraceArrivals
from faultload.spec.wording import found as found_in

_ROWS_MAX = 5_000_000

TRACE_SCHEMA = pa.schema(
    [
        ("index", pa.int64()),  # 0, 1, 2 … in order of due_s
        ("due_s", pa.float64()),  # seconds since the run's start
        ("tier", pa.string()),
        ("model", pa.string()),
        ("tenant", pa.string()),
        ("session", pa.string()),  # "" outside a session
        ("prompt", pa.string()),  # `prompt_tokens` words: prefix and earlier turns included
        ("prompt_tokens", pa.int32()),
        ("output_tokens", pa.int32()),  # asked for
    ]
)


def make_trace(
    scenario: Scenario, duration_s: float, seed: int, base: Path | None = None
) -> pd.DataFrame:
    """Return the requests due in [0, `duration_s`), in the columns of `TRACE_SCHEMA`.

    Args:
        scenario: who is asking.
        duration_s: length of the run.
        seed: overrides the scenario's own; two seeds give unrelated traces.
        base: directory a `trace` arrival's path is relative to; None: the working directory.

    Raises:
        SpecError: a recorded trace is missing or damaged.
    """
    if isinstance(scenario.arrivals, TraceArrivals):
        recorded = read_recorded(scenario, (base or Path()) / scenario.arrivals.path)
        return recorded[recorded["due_s"] < duration_s].reset_index(drop=True)
    # New columns take new streams at the end, so that old seeds keep their meaning.
    streams = (
        np.random.Generator(np.random.PCG64(child))
        for child in np.random.SeedSequence(seed).spawn(11)
    )
    # One stream a column, or a longer run would shift the second column's draws.
    arriving, mixing, asking, answering, talking, *conversing = streams
    due_s = due_times(scenario.arrivals, duration_s, arriving)
    count = len(due_s)
    weights = np.cumsum([tier.weight for tier in scenario.tiers])
    which = np.searchsorted(weights / weights[-1], mixing.random(count), side="right")
    questions = _lengths([t.prompt_tokens for t in scenario.tiers], which, asking)
    answers = _lengths([t.output_tokens for t in scenario.tiers], which, answering)
    conversations = Conversations(scenario, conversing)
    turns = conversations.turns(which, questions, texts(questions, talking), answers)
    tiers = np.array([(tier.tier, tier.model) for tier in scenario.tiers], dtype=object)[which]
    return pd.DataFrame(
        {
            "index": np.arange(count, dtype=np.int64),
            "due_s": due_s,
            "tier": tiers[:, 0],
            "model": tiers[:, 1],
            "tenant": [conversations.tenant(position) for position in range(count)],
            "session": [turn.session for turn in turns],
            "prompt": [turn.prompt for turn in turns],
            "prompt_tokens": np.array([turn.prompt_tokens for turn in turns], dtype=np.int32),
            "output_tokens": answers,
        },
        columns=TRACE_SCHEMA.names,
    )


def write_trace(trace: pd.DataFrame, path: Path) -> None:
    """Write a trace as Parquet."""
    write_table(trace, TRACE_SCHEMA, path)


def read_trace(path: Path) -> pd.DataFrame:
    """Return a trace.

    Raises:
        SpecError: the file is missing or damaged, lacks a column, or holds what nobody could send.
    """
    try:
        with pq.ParquetFile(path) as file:  # a folder is no trace
            if file.metadata.num_rows > _ROWS_MAX:
                found = file.metadata.num_rows
                raise SpecError(path, "", f"expected at most {_ROWS_MAX} requests, found {found}")
            table = file.read()
            missing = [name for name in TRACE_SCHEMA.names if name not in table.column_names]
            if missing:
                found = ", ".join(table.column_names) or "none"
                raise SpecError(path, missing[0], f"expected this column, found only {found}")
            table = _as_trace(path, table)
            frame: pd.DataFrame = table.to_pandas()
    except FileNotFoundError:
        raise SpecError(path, "", "no such trace; make one with `faultload trace make`") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise SpecError(path, "", f"not a readable trace: {_why(error)}") from None
    _check_rows(path, frame)
    return frame


def _as_trace(path: Path, table: pa.Table) -> pa.Table:
    """Return the columns of the schema in its types; a value in each."""
    columns = []
    for field in TRACE_SCHEMA:
        column = table[field.name]
        try:
            column = column.cast(field.type)
        except pa.ArrowException as error:
            found = f"found {column.type}: {str(error).splitlines()[0]}"
            raise SpecError(path, field.name, f"expected {field.type}, {found}") from None
        if column.null_count:
            problem = f"expected a value in each row, found none in {column.null_count}"
            raise SpecError(path, field.name, problem)
        columns.append(column)
    return pa.table(columns, schema=TRACE_SCHEMA)


def _check_rows(path: Path, frame: pd.DataFrame) -> None:
    """Refuse what no sender could send. Infinitely late is a closed loop's: nobody knows yet."""
    due_s = frame["due_s"]
    rules = {
        "due_s": (due_s >= due_s.shift(fill_value=0.0), "due times from 0 on, in order"),
        "index": (frame["index"] == np.arange(len(frame)), "0, 1, 2 … in order"),
        "prompt_tokens": (frame["prompt_tokens"] >= 1, "at least 1"),
        "output_tokens": (frame["output_tokens"] >= 1, "at least 1"),
    }
    for column in ("tier", "model", "tenant", "session"):
        odd = [one for one in frame[column].unique() if not (one.isascii() and one.isprintable())]
        rules[column] = (~frame[column].isin(odd), "printable ASCII")
    for column, (is_right, expected) in rules.items():
        if not is_right.all():
            row = int((~is_right).to_numpy().argmax())
            shown = found_in(frame[column].iloc[row])
            raise SpecError(path, column, f"expected {expected}, found {shown} in row {row}")


def _why(error: Exception) -> str:
    return f"{str(error).splitlines()[0].rstrip('.')}; `faultload trace make` makes one"


def read_recorded(scenario: Scenario, path: Path) -> pd.DataFrame:
    """Return a recorded trace, whose tiers must be ones that the scenario lists.

    Raises:
        SpecError: it is missing, damaged or of other tiers.
    """
    trace = read_trace(path)
    known = [tier.tier for tier in scenario.tiers]
    if strange := sorted(set(trace["tier"]) - set(known)):
        expected = f"expected the tiers of scenario {scenario.name!r} ({', '.join(known)})"
        raise SpecError(path, "tier", f"{expected}, found {strange[0]!r}")
    return trace


def _lengths(
    lengths: list[Lengths], which: npt.NDArray[np.int64], rng: np.random.Generator
) -> npt.NDArray[np.int32]:
    def of(field: Callable[[Lengths], float]) -> npt.NDArray[np.float64]:
        return np.array([field(length) for length in lengths], dtype=np.float64)[which]

    stretch = np.exp(of(lambda x: x.sigma) * rng.standard_normal(len(which)))
    drawn = np.rint(of(lambda x: x.median) * stretch)
    return np.clip(drawn, of(lambda x: x.min), of(lambda x: x.max)).astype(np.int32)
