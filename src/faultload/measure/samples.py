"""Answers of Prometheus into arrays and tables; no object is kept for a single sample."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pandas as pd

from faultload.record import SERIES_SCHEMA

Floats = npt.NDArray[np.float64]

MALFORMED = (KeyError, TypeError, ValueError, IndexError, AttributeError)
"""What reading an answer that is none may raise."""


@dataclass(frozen=True)
class Track:
    """One label set of an answer.

    Attributes:
        labels: its labels, `__name__` included where Prometheus gave it.
        time_unix_s: when, in the order of the answer.
        value: of the same length; NaN is kept.
    """

    labels: dict[str, str]
    time_unix_s: Floats
    value: Floats

    def since(self, start_unix_s: float) -> Track:
        """Return its samples from a moment on."""
        keep = self.time_unix_s >= start_unix_s
        return Track(self.labels, self.time_unix_s[keep], self.value[keep])

    def pairs(self) -> Iterator[tuple[float, float]]:
        """Yield (time, value)."""
        return zip(self.time_unix_s.tolist(), self.value.tolist(), strict=True)


def tracks_of(result: Any) -> list[Track]:
    """Return an instant or range vector as arrays.

    Raises:
        KeyError, TypeError, ValueError, IndexError, AttributeError: it is no such thing.
    """
    return [_track(one) for one in result]


def _track(one: Any) -> Track:
    labels = {str(key): str(value) for key, value in one["metric"].items()}
    pairs = one["values"] if "values" in one else [one["value"]]
    # Twice through a list costs less than a tuple a sample.
    time = np.fromiter((pair[0] for pair in pairs), np.float64, len(pairs))
    value = np.fromiter((float(pair[1]) for pair in pairs), np.float64, len(pairs))
    return Track(labels, time, value)


def series_frame(tracks: Iterable[tuple[str, Track]], t0_unix_s: float) -> pd.DataFrame:
    """Return named tracks in the record's series schema. NaN is no data, and has no row.

    Args:
        tracks: the series' name in the record, and its samples.
        t0_unix_s: the run's start.
    """
    kept = [(name, track) for name, track in tracks if len(track.value)]
    if not kept:
        empty = pd.DataFrame(columns=SERIES_SCHEMA.names)
        return empty.astype({"t_s": np.float64, "value": np.float64})
    lengths = [len(track.value) for _, track in kept]
    frame = pd.DataFrame(
        {
            "series": _repeated([name for name, _ in kept], lengths),
            "labels": _repeated([_encoded(track.labels) for _, track in kept], lengths),
            "t_s": np.concatenate([track.time_unix_s for _, track in kept]) - t0_unix_s,
            "value": np.concatenate([track.value for _, track in kept]),
        }
    )
    has_value = frame["value"].notna()
    return frame if has_value.all() else frame[has_value].reset_index(drop=True)


def _encoded(labels: dict[str, str]) -> str:
    shown = {key: text for key, text in labels.items() if key != "__name__"}
    return orjson.dumps(shown, option=orjson.OPT_SORT_KEYS).decode()


def _repeated(texts: list[str], lengths: list[int]) -> pd.Series[str]:
    once = {text: code for code, text in enumerate(dict.fromkeys(texts))}
    codes = np.repeat([once[text] for text in texts], lengths)
    return pd.Series(pd.Categorical.from_codes(codes, categories=pd.Index(list(once)))).astype(
        "str"
    )
