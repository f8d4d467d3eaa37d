"""Public recordings of LLM traffic, each format read into the same columns.

The formats carry lengths and times. Texts, where there are any, are measured and dropped, so that
nobody's words get into a trace.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import orjson
import pandas as pd

from faultload.errors import SpecError

_TOKENS_MAX = 10_000_000  # a length beyond it is a damaged file, not a prompt
_BYTES_PER_TOKEN = 4  # rule of thumb for English text and common tokenizers
_ASKING = ("human", "user")


@dataclass(frozen=True)
class Recording:
    """What was read.

    Attributes:
        rows: one row a request, in the file's order: `at_s` (seconds since the first; NaN where
            the format has no times), `model` and `session` ("" where it has none),
            `prompt_tokens`, `output_tokens`, `number` (of the row, or of the conversation it
            belongs to) and, only where `block_tokens` is not 0, `blocks`.
        block_tokens: tokens of one block; equal block numbers mean equal text. 0: no blocks.
        grows: prompts of one session continue each other.
        has_models: the format says which model was asked.
    """

    rows: pd.DataFrame
    block_tokens: int = 0
    grows: bool = False
    has_models: bool = False


def read_azure(path: Path) -> Recording:
    """Read Azure's LLM inference traces of 2023 and 2024: when, and how many tokens."""
    frame = _read_csv(path, ["TIMESTAMP", "ContextTokens", "GeneratedTokens"])
    at = pd.to_datetime(frame["TIMESTAMP"], format="ISO8601", utc=True, errors="coerce")
    _demand(path, frame, "TIMESTAMP", at.isna(), "a time such as 2023-01-02 09:00:00.25")
    rows = _rows(path, frame, "ContextTokens", "GeneratedTokens")
    return Recording(rows.assign(at_s=(at - at.min()).dt.total_seconds(), model="", session=""))


def read_burstgpt(path: Path) -> Recording:
    """Read BurstGPT; its later files have sessions too. A response of 0 tokens is a failure."""
    wanted = ["Timestamp", "Model", "Request tokens", "Response tokens"]
    frame = _read_csv(path, wanted, ("Session ID",))
    at = pd.to_numeric(frame["Timestamp"], errors="coerce")
    _demand(path, frame, "Timestamp", ~np.isfinite(at), "seconds")
    _demand(path, frame, "Model", frame["Model"].isna(), "the name of a model")
    rows = _rows(path, frame, "Request tokens", "Response tokens")
    rows = rows.assign(at_s=at - at.min(), model=frame["Model"], session="")
    if "Session ID" in frame:
        rows["session"] = frame["Session ID"].fillna("")
    return Recording(rows, has_models=True)


def read_mooncake(path: Path) -> Recording:
    """Read Mooncake's JSON lines: milliseconds, lengths, and ids of 512-token blocks of prompts."""
    found = []
    for number, line in enumerate(_read_bytes(path).splitlines(), 1):
        if line.strip():
            found.append(_mooncake_request(path, number, line))
    rows = pd.DataFrame(
        found, columns=["at_s", "prompt_tokens", "output_tokens", "blocks", "number"]
    )
    rows["at_s"] -= rows["at_s"].min()
    return Recording(_some(path, rows).assign(model="", session=""), block_tokens=512)


def _mooncake_request(
    path: Path, number: int, line: bytes
) -> tuple[float, int, int, tuple[int, ...], int]:
    where = f"line {number}"
    data = _json(path, line, where)
    if not isinstance(data, dict):
        raise SpecError(path, where, f"expected a JSON object, found {_short(data)}")

    def take(key: str, expected: str, fits: Callable[[Any], bool]) -> Any:
        if key not in data:
            raise SpecError(path, f"{where}, {key}", f"expected {expected}, found no such key")
        if not fits(data[key]):
            raise SpecError(
                path, f"{where}, {key}", f"expected {expected}, found {_short(data[key])}"
            )
        return data[key]

    length = "a whole number of tokens"
    blocks = take("hash_ids", "a list of whole numbers", _is_list_of_whole)
    return (
        take("timestamp", "milliseconds", lambda x: _is_whole(x) or type(x) is float) / 1000,
        take("input_length", length, lambda x: _is_whole(x) and x <= _TOKENS_MAX),
        take("output_length", length, lambda x: _is_whole(x) and x <= _TOKENS_MAX),
        tuple(blocks),
        number,
    )


def read_sharegpt(path: Path) -> Recording:
    """Read a list of conversations; each answer is a request that sends all that was said before.

    Lengths are those of the texts, a token for every four bytes; there are no times.
    """
    data = _json(path, _read_bytes(path), "")
    if not isinstance(data, list):
        raise SpecError(path, "", f"expected a list of conversations, found {_short(data)}")
    found = [
        (math.nan, asked, answered, f"{number}", number)
        for number, talk in enumerate(data)
        for asked, answered in _answers(path, number, talk)
    ]
    rows = pd.DataFrame(
        found, columns=["at_s", "prompt_tokens", "output_tokens", "session", "number"]
    )
    return Recording(_some(path, rows).assign(model=""), grows=True)


def _answers(path: Path, number: int, talk: Any) -> Iterator[tuple[int, int]]:
    """Yield the lengths of what was said before each answer, and of the answer."""
    key = f"[{number}].conversations"
    turns = talk.get("conversations") if isinstance(talk, dict) else None
    if not isinstance(turns, list):
        raise SpecError(path, key, f"expected a list of turns, found {_short(turns)}")
    said, asked = 0, False
    for index, turn in enumerate(turns):
        at = f"{key}[{index}]"
        who, text = (turn.get("from"), turn.get("value")) if isinstance(turn, dict) else (0, 0)
        if not isinstance(who, str) or not isinstance(text, str):
            raise SpecError(path, at, f"expected {{from: NAME, value: TEXT}}, found {_short(turn)}")
        tokens = math.ceil(len(text.encode("utf-8", "surrogatepass")) / _BYTES_PER_TOKEN)
        if who in _ASKING:
            asked = True
        elif who != "system":
            # What the recording begins with, before anyone asked, is part of the history.
            if asked:
                yield said, tokens
            asked = False
        said += tokens


FORMATS: Mapping[str, Callable[[Path], Recording]] = MappingProxyType(
    {
        "azure": read_azure,
        "burstgpt": read_burstgpt,
        "mooncake": read_mooncake,
        "sharegpt": read_sharegpt,
    }
)


def _read_csv(path: Path, wanted: list[str], welcome: tuple[str, ...] = ()) -> pd.DataFrame:
    """Return these columns as text; row n is the file's line n + 2."""
    try:
        head = pd.read_csv(path, nrows=0, encoding="utf-8-sig")
        for name in wanted:
            if name not in head.columns:
                found = ", ".join(map(str, head.columns)) or "none"
                problem = f"expected a column of this name, found only {found}"
                raise SpecError(path, f"line 1, column {name}", problem)
        frame = pd.read_csv(path, dtype=str, encoding="utf-8-sig", skip_blank_lines=False)
    except pd.errors.EmptyDataError:
        raise SpecError(path, "line 1", "expected a header, found an empty file") from None
    except pd.errors.ParserError as error:
        why = str(error).removeprefix("Error tokenizing data. C error: ").strip()
        raise SpecError(path, "", f"not a CSV file: {why}; is it the right format?") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(
            path, "", f"cannot be read: {_why(error)}; correct the path or the file"
        ) from None
    if not isinstance(frame.index, pd.RangeIndex):  # pandas takes what is too much for row names
        raise SpecError(path, "line 2", f"expected {len(head.columns)} fields, found more")
    columns = [*wanted, *(name for name in welcome if name in frame.columns)]
    return _some(path, frame.loc[frame[wanted].notna().any(axis="columns"), columns])


def _rows(path: Path, frame: pd.DataFrame, prompt: str, output: str) -> pd.DataFrame:
    """Return the lengths and the lines."""
    rows = pd.DataFrame({"number": frame.index + 2}, index=frame.index)
    for name, column in (("prompt_tokens", prompt), ("output_tokens", output)):
        tokens = pd.to_numeric(frame[column], errors="coerce")
        whole = tokens.between(0, _TOKENS_MAX) & (tokens % 1 == 0)
        _demand(path, frame, column, ~whole, "a whole number of tokens")
        rows[name] = tokens.astype(np.int64)
    return rows


def _demand(path: Path, frame: pd.DataFrame, column: str, wrong: Any, expected: str) -> None:
    """Refuse the first row that is wrong."""
    if wrong.any():
        line = int(wrong.idxmax())
        value = frame[column][line]
        found = "nothing" if pd.isna(value) else _short(value)
        where = f"line {line + 2}, column {column}"
        raise SpecError(path, where, f"expected {expected}, found {found}")


def _some(path: Path, rows: pd.DataFrame) -> pd.DataFrame:
    if rows.empty:
        raise SpecError(path, "", "expected requests, found none")
    return rows


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SpecError(
            path, "", f"cannot be read: {_why(error)}; correct the path or the file"
        ) from None


def _json(path: Path, text: bytes, where: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        spot = where or f"line {error.lineno}, column {error.colno}"
        raise SpecError(path, spot, f"expected JSON, found {error.msg}") from None


def _is_whole(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_list_of_whole(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_whole, value))


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
