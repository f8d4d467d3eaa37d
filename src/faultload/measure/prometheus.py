"""Reading Prometheus: bounded, few retries, and missing data stays missing."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import orjson
import pandas as pd
import requests
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from urllib3.util import Retry

from faultload.errors import MissingError
from faultload.measure.catalogue import Entry
from faultload.measure.samples import MALFORMED, Track, series_frame, tracks_of
from faultload.secrecy import keep_password_of, redacted

_LOG = logging.getLogger(__name__)
_POINTS_MAX = 10_000  # Prometheus refuses a range of more than 11,000 points
_FAILURES_MAX = 3  # in a row; after that nothing more is asked for
_NAMES_MAX = 24  # metrics asked for at once: a query is a URL, and proxies bound those

Sample = tuple[dict[str, str], float, float]
"""Labels, Unix time, value."""


@dataclass(frozen=True)
class Reading:
    """What one reading of many series came to.

    Attributes:
        frame: in the record's series schema.
        unread: by entry that could not be read, why. An entry that has no sample was read.
    """

    frame: pd.DataFrame
    unread: Mapping[str, str]

    def problems(self) -> list[str]:
        """Return one line for each reason, with the series it kept from being read."""
        lines = []
        for why in dict.fromkeys(self.unread.values()):
            names = [name for name, reason in self.unread.items() if reason == why]
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            lines.append(f"{names[0]}{more}: {why}")
        return lines


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
        session.hooks["response"].append(self._receive)
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
            return bool(self._tracks(self._ask("vector(1)", {})))
        except MissingError:
            return False

    def instant(self, query: str, time_unix_s: float | None = None) -> list[Sample]:
        """Return the value of every series that the query yields; empty: no data.

        NaN is kept, for the caller to see.

        Raises:
            MissingError: no answer, or one that is no answer.
        """
        return _samples(self._tracks(self._ask(query, _at(time_unix_s))))

    def raw(self, selector: str, start_unix_s: float, end_unix_s: float) -> list[Sample]:
        """Return the samples of a selector as they were scraped, nothing filled in.

        Raises:
            MissingError: as `instant`.
        """
        return _samples(self._raw(selector, start_unix_s, end_unix_s))

    def range(
        self, query: str, start_unix_s: float, end_unix_s: float, step_s: float
    ) -> list[Sample]:
        """Return a query's values at even steps.

        A bare selector is filled in from up to five minutes before: use `raw` for those.

        Raises:
            MissingError: as `instant`.
        """
        return _samples(self._range(query, start_unix_s, end_unix_s, step_s))

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
        wanted = list(entries)
        reading = self.read(wanted, t0_unix_s, (0.0, end_s), step_s, within_s)
        for text in reading.problems():
            self._warn(text)
        if len(reading.unread) == len(wanted) > 0:
            raise MissingError(next(iter(reading.unread.values())))
        return reading.frame

    def read(
        self,
        entries: Sequence[Entry],
        t0_unix_s: float,
        window: tuple[float, float],
        step_s: float = 1.0,
        within_s: float = 30.0,
    ) -> Reading:
        """Read a part of a run, and say of what could not be read why; never raises.

        Raw entries are asked for many at once, and one by one where that is refused.

        Args:
            entries: what to collect.
            t0_unix_s: the run's start.
            window: from when to when, in seconds since then.
            step_s: between values of derived entries: they fall on whole steps since the start.
            within_s: what was not read by then is not asked for.
        """
        found: list[tuple[str, Track]] = []
        unread: dict[str, str] = {}
        deadline, failures = time.monotonic() + within_s, 0
        waiting = _groups(entries)
        while waiting:
            group = waiting.pop(0)
            if time.monotonic() > deadline or failures >= _FAILURES_MAX:
                late = f"not read within {within_s:g} s"
                why = next(reversed(unread.values())) if failures >= _FAILURES_MAX else late
                unread.update((entry.name, why) for entry in group)
                continue
            try:
                found += self._read_group(group, t0_unix_s, window, step_s)
                failures = 0
            except MissingError as error:
                failures += 1
                if len(group) == 1:
                    unread[group[0].name] = str(error)
                else:
                    waiting = [*([entry] for entry in group), *waiting]
        return Reading(series_frame(found, t0_unix_s), unread)

    def _read_group(
        self, group: Sequence[Entry], t0_unix_s: float, window: tuple[float, float], step_s: float
    ) -> list[tuple[str, Track]]:
        start, end = (t0_unix_s + edge for edge in window)
        first = group[0]
        if not first.raw:
            aligned = t0_unix_s + step_s * math.ceil(window[0] / step_s - 1e-9)
            return [(first.name, t) for t in self._range(first.promql, aligned, end, step_s)]
        if len(group) == 1:
            return [(first.name, track) for track in self._raw(first.promql, start, end)]
        names = "|".join(entry.name for entry in group)
        inside = ",".join(filter(None, (f'__name__=~"{names}"', _matchers(first))))
        tracks = self._raw(f"{{{inside}}}", start, end)
        return [(track.labels.get("__name__", ""), track) for track in tracks]

    def _raw(self, selector: str, start_unix_s: float, end_unix_s: float) -> list[Track]:
        width_ms = max(1, round((end_unix_s - start_unix_s) * 1000) + 1)
        result = self._ask(f"{selector}[{width_ms}ms]", _at(end_unix_s))
        return [track.since(start_unix_s) for track in self._tracks(result)]

    def _range(self, query: str, start: float, end: float, step_s: float) -> list[Track]:
        tracks: list[Track] = []
        while start <= end:
            last = min(end, start + step_s * _POINTS_MAX)
            tracks += self._tracks(self._ask_range(query, start, last, step_s))
            start = last + step_s
        return tracks

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

    def _tracks(self, result: Any) -> list[Track]:
        try:
            return tracks_of(result)
        except MALFORMED as error:
            raise MissingError(_not_an_answer(self.url, error)) from None

    def _receive(self, response: requests.Response, *_: Any, **__: Any) -> None:
        """Have the library parse the answer fast, and keep what was said beside it."""
        response.__class__ = _Answer
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


class _Answer(requests.Response):
    """An answer that is parsed by a faster parser than its own."""

    def json(self, **_: Any) -> Any:
        return orjson.loads(self.content)


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
        elif isinstance(error, MALFORMED):
            problem = _not_an_answer(self.url, error)
        else:
            return
        raise MissingError(problem) from None


def _groups(entries: Sequence[Entry]) -> list[Sequence[Entry]]:
    """Return what is asked for at once: raw entries with the same matchers, each derived alone."""
    together: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.raw:
            together.setdefault(_matchers(entry), []).append(entry)
    groups: list[Sequence[Entry]] = [
        raw[at : at + _NAMES_MAX]
        for raw in together.values()
        for at in range(0, len(raw), _NAMES_MAX)
    ]
    return [*groups, *([entry] for entry in entries if not entry.raw)]


def _matchers(entry: Entry) -> str:
    return entry.promql.removeprefix(entry.name).strip("{}")


def _samples(tracks: Sequence[Track]) -> list[Sample]:
    return [(track.labels, at, value) for track in tracks for at, value in track.pairs()]


def _at(time_unix_s: float | None) -> dict[str, str]:
    return {} if time_unix_s is None else {"time": f"{time_unix_s:.3f}"}


def _not_an_answer(url: str, error: Exception) -> str:
    found = type(error).__name__
    return f"Prometheus at {url}: expected a query result, found something else ({found})"
