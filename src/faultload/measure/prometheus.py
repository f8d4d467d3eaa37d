"""Reading Prometheus: bounded, few retries, and missing data stays missing."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import numpy as np
import orjson
import pandas as pd
import requests
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from urllib3.util import Retry

from faultload.errors import MissingError
from faultload.measure.catalogue import Absence, Entry
from faultload.record import SERIES_SCHEMA
from faultload.secrecy import keep_password_of, redacted

_LOG = logging.getLogger(__name__)
_POINTS_MAX = 10_000  # Prometheus refuses a range of more than 11,000 points
_FAILURES_MAX = 3  # in a row; after that a snapshot stops asking
_MALFORMED = (KeyError, TypeError, ValueError, IndexError)

Sample = tuple[dict[str, str], float, float]
"""Labels, Unix time, value."""


class PrometheusReader:
    """One Prometheus.

    Attributes:
        url: its address, without credentials: safe to show.
        warnings: what it said beside its answers, such as results cut short; oldest first.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 5.0,
        retries: int = 2,
    ) -> None:
        """Prepare to ask; nothing is sent yet.

        Args:
            url: `http(s)://[user:password@]host[:port][/prefix]`.
            headers: sent with every query, e.g. a bearer token.
            timeout_s: of one attempt: to connect, and between two pieces of the answer.
            retries: of an attempt that could not connect, was cut off, or met 502, 503 or 504.
        """
        keep_password_of(url)
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        self.url = urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
        self.warnings: list[str] = []
        self._timeout_s = timeout_s
        session = requests.Session()
        # A proxy of the environment has no business on loopback.
        session.trust_env = parts.hostname not in ("127.0.0.1", "localhost", "::1")
        session.hooks["response"].append(self._note_warnings)
        self._client = PrometheusConnect(
            url=self.url,
            headers=dict(headers or {}),
            auth=(parts.username, parts.password or "") if parts.username else None,
            session=session,
            retry=Retry(
                total=retries,
                read=min(retries, 1),
                backoff_factor=0.1,
                status_forcelist=(502, 503, 504),
                raise_on_status=False,
                respect_retry_after_header=False,
            ),
            timeout=timeout_s,
        )

    def ready(self) -> bool:
        """Say whether it answers queries: up, past its start, and we may ask."""
        try:
            return bool(self._samples(self._ask("vector(1)", {})))
        except MissingError:
            return False

    def instant(self, query: str, time_unix_s: float | None = None) -> list[Sample]:
        """Return the value of every series that the query yields; empty: no data.

        NaN is kept, for the caller to see.

        Raises:
            MissingError: no answer, or one that is no answer.
        """
        return self._samples(self._ask(query, _at(time_unix_s)))

    def raw(self, selector: str, start_unix_s: float, end_unix_s: float) -> list[Sample]:
        """Return the samples of a selector as they were scraped, nothing filled in.

        Raises:
            MissingError: as `instant`.
        """
        width_ms = max(1, round((end_unix_s - start_unix_s) * 1000) + 1)
        result = self._ask(f"{selector}[{width_ms}ms]", _at(end_unix_s))
        return [s for s in self._samples(result) if s[1] >= start_unix_s]

    def range(
        self, query: str, start_unix_s: float, end_unix_s: float, step_s: float
    ) -> list[Sample]:
        """Return a query's values at even steps.

        A bare selector is filled in from up to five minutes before: use `raw` for those.

        Raises:
            MissingError: as `instant`.
        """
        samples: list[Sample] = []
        start = start_unix_s
        while start <= end_unix_s:
            end = min(end_unix_s, start + step_s * _POINTS_MAX)
            samples += self._samples(self._ask_range(query, start, end, step_s))
            start = end + step_s
        return samples

    def snapshot(
        self,
        entries: Iterable[Entry],
        t0_unix_s: float,
        end_s: float,
        step_s: float = 1.0,
        within_s: float = 30.0,
    ) -> pd.DataFrame:
        """Return everything the catalogue names, from the start to `end_s`, in the series schema.

        A series that could not be read, or did not come, has no row: `coverage` says so. What went
        wrong is in `warnings`. After three failures in a row the rest is not asked for.

        Args:
            entries: what to collect.
            t0_unix_s: the run's start.
            end_s: its end, in seconds since then.
            step_s: between values of derived entries.
            within_s: what was not read by then is not asked for.

        Raises:
            MissingError: nothing at all could be read.
        """
        end_unix_s = t0_unix_s + end_s
        rows: list[tuple[str, str, float, float]] = []
        failures, answered = 0, False
        deadline = time.monotonic() + within_s
        for entry in entries:
            if time.monotonic() > deadline:
                self._warn(f"{entry.name} and what follows: not read within {within_s:g} s")
                break
            try:
                if entry.raw:
                    samples = self.raw(entry.promql, t0_unix_s, end_unix_s)
                else:
                    samples = self.range(entry.promql, t0_unix_s, end_unix_s, step_s)
            except MissingError as error:
                failures += 1
                self._warn(f"{entry.name}: {error}")
                if failures >= _FAILURES_MAX:
                    if not answered:
                        raise
                    break
                continue
            failures, answered = 0, True
            rows += _rows(entry.name, samples, t0_unix_s)
        return pd.DataFrame(rows, columns=SERIES_SCHEMA.names).astype(
            {"t_s": np.float64, "value": np.float64}
        )

    def _ask(self, query: str, params: Mapping[str, Any]) -> Any:
        params = {"timeout": f"{self._timeout_s:g}s", **params}
        with _Explained(self.url, query):
            return self._client.custom_query(query, params=params)

    def _ask_range(self, query: str, start: float, end: float, step_s: float) -> Any:
        # The library rounds to whole seconds; params given by name win over its own.
        params = {"timeout": f"{self._timeout_s:g}s", "start": f"{start:.3f}", "end": f"{end:.3f}"}
        first, last = (datetime.fromtimestamp(t, UTC) for t in (start, end))
        with _Explained(self.url, query):
            return self._client.custom_query_range(query, first, last, f"{step_s:g}", params)

    def _samples(self, result: Any) -> list[Sample]:
        samples: list[Sample] = []
        try:
            for series in result:
                labels = {str(k): str(v) for k, v in series["metric"].items()}
                pairs = series["values"] if "values" in series else [series["value"]]
                samples += [(labels, float(t), float(value)) for t, value in pairs]
        except (*_MALFORMED, AttributeError) as error:
            raise MissingError(_not_an_answer(self.url, error)) from None
        return samples

    def _note_warnings(self, response: requests.Response, *_: Any, **__: Any) -> None:
        if b'"warnings"' not in response.content:
            return
        try:
            warnings = response.json().get("warnings", [])
        except (ValueError, AttributeError):
            return
        for warning in warnings:
            self._warn(str(warning))

    def _warn(self, text: str) -> None:
        text = redacted(text)  # a proxy before it may say again what it was told
        self.warnings.append(text)
        _LOG.warning("Prometheus: %s", text)


class _Explained:
    """Turns what the library and its layers raise into one line, credentials left out."""

    def __init__(self, url: str, query: str) -> None:
        self.url, self.query = url, query

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, MissingError):
            return
        at = f"Prometheus at {self.url}"
        if isinstance(error, requests.Timeout):
            problem = f"{at}: no answer in time to {self.query!r}; is it overloaded?"
        elif isinstance(error, requests.exceptions.JSONDecodeError):
            problem = _not_an_answer(self.url, error)
        elif isinstance(error, requests.RequestException):
            problem = f"{at}: cannot be reached ({type(error).__name__}); is it up?"
        elif isinstance(error, PrometheusApiClientException):
            problem = f"{at}: refused {self.query!r}: {str(error)[:200]}"
        elif isinstance(error, _MALFORMED):
            problem = _not_an_answer(self.url, error)
        else:
            return
        raise MissingError(problem) from None


def coverage(
    frame: pd.DataFrame,
    entries: Iterable[Entry],
    window: tuple[float, float],
    interval_s: float,
    gaps: Mapping[str, tuple[float, float]] | None = None,
) -> dict[str, float]:
    """Return by series the share of expected samples that came, 0-1; 0: it never came.

    A sample of any label set counts: a single replica that is gone shows in `up`. Derived series
    and series that appear only with their first event are left out.

    Args:
        frame: in the series schema.
        entries: what was to be collected.
        window: from when to when samples were due, seconds since the start.
        interval_s: between scrapes.
        gaps: by series, when it was declared that none would come.
    """
    times = {name: np.unique(group) for name, group in frame.groupby("series")["t_s"]}
    shares: dict[str, float] = {}
    for entry in entries:
        if not entry.raw or entry.absence is not Absence.GAP:
            continue
        due = missing = 0
        for start, end in _without(window, (gaps or {}).get(entry.name)):
            came = times.get(entry.name, np.empty(0))
            came = came[(came >= start) & (came <= end)]
            due_here = int((end - start) // interval_s)
            due += due_here
            missing += min(due_here, _missing(came, start, end, interval_s))
        if due:
            shares[entry.name] = 1 - missing / due
    return shares


def _missing(came: Any, start: float, end: float, interval_s: float) -> int:
    if not len(came):
        return int((end - start) // interval_s)
    # Half an interval of jitter is usual: a distance of 1.4 intervals lacks nothing.
    between = np.maximum(np.round(np.diff(came) / interval_s) - 1, 0).sum()
    edges = (came[0] - start) // interval_s + (end - came[-1]) // interval_s
    return int(between + edges)


def _without(
    window: tuple[float, float], gap: tuple[float, float] | None
) -> Iterator[tuple[float, float]]:
    start, end = window
    if gap is None or gap[0] >= end or gap[1] <= start:
        yield window
        return
    if gap[0] > start:
        yield start, gap[0]
    if gap[1] < end:
        yield gap[1], end


def _rows(
    name: str, samples: Sequence[Sample], t0_unix_s: float
) -> Iterator[tuple[str, str, float, float]]:
    encoded: dict[int, str] = {}
    for labels, time_unix_s, value in samples:
        if np.isnan(value):
            continue  # no data is no row
        if id(labels) not in encoded:
            shown = {key: text for key, text in labels.items() if key != "__name__"}
            encoded[id(labels)] = orjson.dumps(shown, option=orjson.OPT_SORT_KEYS).decode()
        yield name, encoded[id(labels)], time_unix_s - t0_unix_s, value


def _at(time_unix_s: float | None) -> dict[str, str]:
    return {} if time_unix_s is None else {"time": f"{time_unix_s:.3f}"}


def _not_an_answer(url: str, error: Exception) -> str:
    found = type(error).__name__
    return f"Prometheus at {url}: expected a query result, found something else ({found})"
