"""A recording becomes a trace: tiers for its models, made-up words for its lengths."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from faultload.errors import SpecError, UsageError, nearest
from faultload.load.prompts import texts
from faultload.load.recordings import FORMATS, Recording
from faultload.load.trace import TRACE_SCHEMA

# About 300 MB of text, which a run loads as a whole.
_PROMPT_TOKENS_MAX = 50_000_000

# What a text's random stream is named by, beside the seed and a number.
_ROW, _CONVERSATION, _BLOCK = 0, 1, 2


@dataclass(frozen=True)
class ImportOptions:
    """How a recording is read.

    Attributes:
        tier, model: of every request, where `models` is empty.
        models: recorded model → tier and model to ask for.
        scale_rate: 2 means twice the requests a second; the recorded times are divided by it.
        limit: this many requests at the most, the earliest first. None: all.
        from_s, to_s: the window to take, in recorded seconds since the first request.
        prompt_tokens_max, output_tokens_max: longer ones are cut to it.
        seed: of the words, and of the times where the recording has none.
        starts_rps: conversations begun a second, where the recording has no times.
        turn_gap_s: mean time from one question of a conversation to the next, likewise.
    """

    tier: str = "fast"
    model: str = "chat-fast"
    models: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    scale_rate: float = 1.0
    limit: int | None = None
    from_s: float = 0.0
    to_s: float = math.inf
    prompt_tokens_max: int | None = None
    output_tokens_max: int | None = None
    seed: int = 1
    starts_rps: float = 1.0
    turn_gap_s: float = 20.0


def import_trace(kind: str, path: Path, options: ImportOptions) -> tuple[pd.DataFrame, int]:
    """Return a recording as a trace, and how many requests were left out: they had no token.

    Raises:
        UsageError: there is no such format, or the options leave nothing or too much.
        SpecError: the file is not in that format; names the line and the column.
    """
    if kind not in FORMATS:
        known = f"{nearest(kind, FORMATS)} (known: {', '.join(FORMATS)})"
        raise UsageError(f"no format {kind!r}{known}")
    recording = FORMATS[kind](path)
    if options.models and not recording.has_models:
        raise UsageError(f"{kind} records no models; give --tier and --model instead of --map")
    rows = recording.rows
    if recording.grows:
        rows = rows.assign(at_s=_made_times(rows["number"].to_numpy(), options))
    rows = rows.sort_values("at_s", kind="stable")
    rows = rows[(rows["at_s"] >= options.from_s) & (rows["at_s"] < options.to_s)]
    # An engine cannot be asked for no token, and what a recording without an answer had asked for
    # is not known.
    usable = (rows["prompt_tokens"] > 0) & (rows["output_tokens"] > 0)
    if options.limit is not None:
        rows = rows[usable.cumsum() <= options.limit]
        usable = usable[rows.index]
    left_out = int((~usable).sum())
    rows = rows[usable]
    if rows.empty:
        window = f"{options.from_s:g} to {options.to_s:g} s"
        raise UsageError(f"{path}: expected requests with tokens from {window}, found none")
    rows = rows.assign(
        prompt_tokens=rows["prompt_tokens"].clip(upper=options.prompt_tokens_max),
        output_tokens=rows["output_tokens"].clip(upper=options.output_tokens_max),
    )
    return _trace(path, recording, rows, options), left_out


def _trace(
    path: Path, recording: Recording, rows: pd.DataFrame, options: ImportOptions
) -> pd.DataFrame:
    total = int(rows["prompt_tokens"].sum())
    if total > _PROMPT_TOKENS_MAX:
        raise UsageError(
            f"{path}: expected at most {_PROMPT_TOKENS_MAX} prompt tokens, found {total};"
            " take less with --limit, --from-s and --to-s, or --prompt-tokens-max"
        )
    tiers = [_tier(path, row, options) for row in zip(rows["model"], rows["number"], strict=True)]
    due_s = (rows["at_s"].to_numpy(dtype=np.float64) - options.from_s) / options.scale_rate
    return pd.DataFrame(
        {
            "index": np.arange(len(rows), dtype=np.int64),
            "due_s": np.round(due_s, 6),
            "tier": [tier for tier, _ in tiers],
            "model": [model for _, model in tiers],
            "tenant": "default",
            "session": _renamed(rows["session"]),
            "prompt": list(_prompts(recording, rows, options.seed)),
            "prompt_tokens": rows["prompt_tokens"].to_numpy(dtype=np.int32),
            "output_tokens": rows["output_tokens"].to_numpy(dtype=np.int32),
        },
        columns=TRACE_SCHEMA.names,
    )


def _tier(path: Path, row: tuple[str, int], options: ImportOptions) -> tuple[str, str]:
    """Return the tier and the model that stand for a recorded model."""
    recorded, line = row
    if not options.models:
        return options.tier, options.model
    if recorded not in options.models:
        known = ", ".join(sorted(options.models))
        remedy = f"add --map '{recorded}=TIER:MODEL'"
        where = f"line {line}, column Model"
        raise SpecError(path, where, f"expected {known}, found {recorded!r}; {remedy}")
    return options.models[recorded]


def _renamed(sessions: pd.Series[str]) -> list[str]:
    """Name sessions in order: recorded names are other people's, and may not fit a header."""
    names = {"": ""}
    return [names.setdefault(name, f"s{len(names) - 1:06d}") for name in sessions]


def _made_times(numbers: np.ndarray, options: ImportOptions) -> np.ndarray:
    """Return times for turns in the order of their conversations: Poisson starts, and pauses."""
    starting, pausing = (
        np.random.Generator(np.random.PCG64(child))
        for child in np.random.SeedSequence(options.seed).spawn(2)
    )
    starts = np.cumsum(starting.standard_exponential(int(numbers.max()) + 1)) / options.starts_rps
    pauses = pd.Series(pausing.standard_exponential(len(numbers)) * options.turn_gap_s)
    # A conversation's first question comes when it starts.
    since = pauses.where(pd.Series(numbers).duplicated(), 0.0).groupby(numbers).cumsum()
    at_s: np.ndarray = np.round(starts[numbers] + since.to_numpy(), 6)
    return at_s


def _prompts(recording: Recording, rows: pd.DataFrame, seed: int) -> Iterator[str]:
    """Yield prompts whose words depend on the seed and on their place in the recording alone."""
    lengths = zip(rows["number"], rows["prompt_tokens"], strict=True)
    if recording.block_tokens:
        size = recording.block_tokens
        for (number, length), blocks in zip(lengths, rows["blocks"], strict=True):
            whole = [_block(seed, block, size) for block in blocks[: -(-length // size)]]
            known = min(length, size * len(whole))
            words = " ".join(whole).split()[:known]
            # A recording with too few ids says nothing of the rest, so nobody shares it.
            yield " ".join([*words, *_words(seed, _ROW, number, length - known).split()])
        return
    space = _CONVERSATION if recording.grows else _ROW
    for number, length in lengths:
        yield _words(seed, space, number, length)


@lru_cache(maxsize=4096)
def _block(seed: int, block: int, tokens: int) -> str:
    return _words(seed, _BLOCK, block, tokens)


def _words(seed: int, space: int, number: int, tokens: int) -> str:
    """Return the first words of a text without end; equal names mean equal texts."""
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, space, int(number)])))
    return texts(np.array([tokens]), rng)[0]
