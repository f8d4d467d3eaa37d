"""Collecting series while the run goes on: what came stays, whatever becomes of Prometheus."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import pandas as pd

from faultload.measure.catalogue import Entry
from faultload.measure.prometheus import PrometheusReader
from faultload.measure.samples import series_frame

EVERY_S = 10.0
"""How often the samples since the last time are fetched; so many seconds die with a Prometheus."""
_JOIN_S = 30.0
_SLACK_S = 1.0  # a scrape ends within its interval, and is stored a moment later


class Collector(threading.Thread):
    """Fetches what a run's Prometheus has, piece by piece, in a thread of its own.

    A series that could not be read is asked for again from where it ended, so that an answer which
    comes late, or a Prometheus that comes back with its samples, leaves no hole.

    Attributes:
        warnings: what did not come, in words; complete once `finish` has returned.
        every_s: between two pieces.
    """

    every_s: float = EVERY_S

    def __init__(
        self,
        reader: PrometheusReader,
        entries: Sequence[Entry],
        t0_unix_s: float,
        now_s: Callable[[], float],
        scrape_interval_s: float = 1.0,
    ) -> None:
        """Prepare; nothing is asked before `start` or `finish`.

        Args:
            reader: of the run's Prometheus; nobody else may use it meanwhile.
            entries: what to collect.
            t0_unix_s: the run's start.
            now_s: seconds since then.
            scrape_interval_s: a scrape's samples bear the time at which it began, and may be
                stored as much later: pieces overlap by it.
        """
        super().__init__(name="collector", daemon=True)
        self.warnings: list[str] = []
        self._reader, self._entries, self._now_s = reader, entries, now_s
        self._t0_unix_s = t0_unix_s
        self._overlap_s = scrape_interval_s + _SLACK_S
        self._until_s = dict.fromkeys((entry.name for entry in entries), 0.0)
        self._pieces: list[pd.DataFrame] = []
        self._silent: dict[str, list[float]] = {}
        self._is_over = threading.Event()

    def run(self) -> None:
        """Fetch piece after piece until told to end."""
        while not self._is_over.wait(self.every_s):
            try:
                self.fetch(self._now_s())
            except Exception as error:  # noqa: BLE001  # the next piece may come all the same
                self._note(self._now_s(), f"{type(error).__name__}: {error}")

    def fetch(self, until_s: float) -> None:
        """Fetch what each series lacks until then."""
        by_start: dict[float, list[Entry]] = {}
        for entry in self._entries:
            by_start.setdefault(self._until_s[entry.name], []).append(entry)
        for since_s, entries in sorted(by_start.items(), key=lambda pair: pair[0]):
            if until_s <= since_s:
                continue
            window = (max(0.0, since_s - self._overlap_s), until_s)
            reading = self._reader.read(entries, self._t0_unix_s, window, within_s=EVERY_S)
            for problem in reading.problems():
                self._note(until_s, problem)
            came = [entry.name for entry in entries if entry.name not in reading.unread]
            self._until_s.update(dict.fromkeys(came, until_s))
            self._pieces.append(reading.frame)

    def finish(self, end_s: float) -> pd.DataFrame:
        """Fetch the rest and return everything until `end_s`, in the record's series schema.

        Never raises: what did not come has no row, and is in `warnings`.
        """
        self._is_over.set()
        if self.is_alive():
            self.join(_JOIN_S)
        if self.is_alive():
            self._note(end_s, f"an answer was not complete after {_JOIN_S:g} s")
        else:
            self.fetch(end_s)
        self.warnings += self._reader.warnings
        for text, times in self._silent.items():
            more = f", {len(times)} times until {times[-1]:.0f} s" if len(times) > 1 else ""
            self.warnings.append(f"at {times[0]:.0f} s{more}: {text}")
        behind = [name for name, until_s in self._until_s.items() if until_s < end_s]
        if behind:
            last_s = min(self._until_s[name] for name in behind)
            more = f" and {len(behind) - 1} more" if len(behind) > 1 else ""
            self.warnings.append(f"{behind[0]}{more}: not read after {last_s:.0f} s")
        return self._whole(end_s)

    def close(self) -> None:
        """Have the thread end; it is not waited for."""
        self._is_over.set()

    def _whole(self, end_s: float) -> pd.DataFrame:
        pieces = [piece for piece in self._pieces if len(piece)]
        if not pieces:
            return series_frame([], self._t0_unix_s)
        whole = pd.concat(pieces, ignore_index=True)
        if len(pieces) > 1:
            # Read twice, the later answer knows more.
            whole = whole.drop_duplicates(["series", "labels", "t_s"], keep="last")
        return whole[whole["t_s"] <= end_s].reset_index(drop=True)

    def _note(self, at_s: float, problem: str) -> None:
        self._silent.setdefault(problem, []).append(at_s)
