"""The abort watch of a run: a thread that asks, and a look once a second that may end the run."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from faultload.errors import AbortedError, FaultloadError, RefusedError
from faultload.measure import PrometheusReader
from faultload.record import InjectionEntry, InjectionStep
from faultload.run.abort.conditions import FRESHNESS, PRICE, Reading
from faultload.run.abort.monitor import Breach, Monitor
from faultload.run.events import RunClock
from faultload.run.plan import RunPlan
from faultload.spec.stop import StopSpec
from faultload.targets import Target

_STEP_S = 1.0
_ASK_TIMEOUT_S = 2.0
_PRICE_EVERY_S = 10.0
"""Machines come and go slowly, and a cluster's API is not to be asked for all of them a second."""

Price = Callable[[], float | None]


def refuse_unpriced(stops: Sequence[StopSpec], price: Price) -> None:
    """Refuse a cap on dollars where nobody knows what the target costs: no data is never zero.

    Raises:
        RefusedError: says which key.
    """
    if any(stop.usd_max is not None for stop in stops) and price() is None:
        raise RefusedError(
            "stop.usd_max: what this target costs is not known, so it could not be watched;"
            " price its machines, or cap tokens_max instead"
        )


@dataclass(frozen=True)
class Question:
    """What is asked again and again.

    Attributes:
        source: of its readings.
        every_s: how often.
        ask: answers, within a bound; what is raised is noted.
    """

    source: str
    every_s: float
    ask: Callable[[], Sequence[float]]


class Asker(threading.Thread):
    """Asks in a thread of its own, so that an answer that hangs holds up nobody.

    What does not come is missed by who reads: this thread needs no watch of its own.
    """

    def __init__(
        self,
        questions: Sequence[Question],
        now_s: Callable[[], float],
        pause_s: float = _STEP_S,
    ) -> None:
        """Nothing is asked before `start`; `pause_s` is between two rounds."""
        super().__init__(name="abort-watch", daemon=True)
        self._questions, self._now_s, self._pause_s = questions, now_s, pause_s
        self._readings: queue.SimpleQueue[Reading] = queue.SimpleQueue()
        self._is_over = threading.Event()

    def run(self) -> None:
        """Ask until told to end."""
        due_s = dict.fromkeys((question.source for question in self._questions), 0.0)
        while not self._is_over.wait(self._pause_s):
            for question in self._questions:
                if self._is_over.is_set():
                    return
                if time.monotonic() >= due_s[question.source]:
                    due_s[question.source] = time.monotonic() + question.every_s
                    self._readings.put(self._answer(question))

    def _answer(self, question: Question) -> Reading:
        at_s = self._now_s()
        try:
            return Reading(question.source, at_s, question.ask())
        except FaultloadError as error:
            return Reading(question.source, at_s, (), str(error))
        except Exception as error:  # noqa: BLE001  # it must go on asking, and what came is no data
            return Reading(question.source, at_s, (), f"{type(error).__name__}: {error}")

    def heard(self) -> list[Reading]:
        """Return the readings since the last call."""
        return [self._readings.get() for _ in range(self._readings.qsize())]

    def close(self) -> None:
        """Have it end; it is not waited for longer than for a moment."""
        self._is_over.set()
        self.join(0.1)


class AbortWatch:
    """The stop conditions of one run. With none it does nothing."""

    def __init__(
        self, monitor: Monitor | None, asker: Asker | None, tell: Callable[..., None]
    ) -> None:
        """Look with `monitor` at rows and at what `asker` heard; `tell` writes an event."""
        self._monitor, self._asker, self._tell = monitor, asker, tell
        self._rows: list[Mapping[str, Any]] = []
        self._next_s = 0.0
        self._harmed = False
        self._breach: Breach | None = None

    @classmethod
    def begin(
        cls,
        plan: RunPlan,
        due_s: npt.NDArray[np.float64],
        target: Target,
        clock: RunClock,
        tell: Callable[..., None],
    ) -> AbortWatch:
        """Watch what a run's files name; the thread that asks is started if one is needed."""
        if not plan.stop:
            return cls(None, None, tell)
        monitor = Monitor(
            plan.stop,
            plan.slos,
            gaps=plan.experiment.block.gaps,
            begin_s=plan.warmup_s,
            due_s=due_s,
            request_s_max=plan.scenario.timeouts.total_s,
        )
        questions = _questions_of(plan.stop, target)
        asker = Asker(questions, clock.now_s) if questions else None
        if asker is not None:
            asker.start()
        return cls(monitor, asker, tell)

    def harm_begins(self) -> None:
        """From now on the telemetry that `gaps` declares may be missing."""
        self._harmed = True

    def look(self, now_s: float, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take the rows that came; once a second, see whether a condition is reached.

        Raises:
            AbortedError: it is.
        """
        if self._monitor is None:
            return
        self._rows += rows
        if now_s < self._next_s or self._breach is not None:
            return
        self._next_s = now_s + _STEP_S
        taken, self._rows = self._rows, []
        readings = self._asker.heard() if self._asker is not None else []
        self._breach = self._monitor.step(now_s, taken, readings, harmed=self._harmed)
        if (breach := self._breach) is not None:
            raise AbortedError(f"{breach.text} (stop.{breach.key}), seen at +{breach.seen_s:.1f} s")

    def sum_up(self, entries: Sequence[InjectionEntry], t0_unix_s: float) -> None:
        """Write down what aborted the run, when it was seen, and when the harm was taken back."""
        if (breach := self._breach) is None:
            return
        gone = {
            step: [entry.time_unix_s - t0_unix_s for entry in entries if entry.step is step]
            for step in (InjectionStep.REVERTED, InjectionStep.VERIFIED_REVERTED)
        }
        reverted_s, proven_s = (max(times, default=None) for times in gone.values())
        text = f"stop.{breach.key} was reached: {breach.text}"
        if reverted_s is not None and reverted_s >= breach.seen_s:
            text += f"; the fault was taken back {reverted_s - breach.seen_s:.2f} s after"
        self._tell(
            "harness",
            "stop_condition",
            text,
            key=breach.key,
            since_s=breach.since_s,
            seen_s=breach.seen_s,
            reverted_s=reverted_s,
            proven_gone_s=proven_s,
        )

    def close(self) -> None:
        """End the thread."""
        if self._asker is not None:
            self._asker.close()


def _questions_of(stops: Sequence[StopSpec], target: Target) -> list[Question]:
    at = target.endpoints
    reader = PrometheusReader(
        at.prometheus_url, headers=at.prometheus_headers(), timeout_s=_ASK_TIMEOUT_S, retries=0
    )
    asked = [query.promql for stop in stops for query in stop.queries]
    if any(stop.telemetry_missing_s is not None for stop in stops):
        asked.insert(0, FRESHNESS)
    questions = [
        Question(promql, _STEP_S, partial(_values, reader, promql))
        for promql in dict.fromkeys(asked)
    ]
    if any(stop.usd_max is not None for stop in stops):
        questions.append(Question(PRICE, _PRICE_EVERY_S, partial(_price, target.usd_per_h)))
    return questions


def _values(reader: PrometheusReader, promql: str) -> list[float]:
    return [value for _, _, value in reader.instant(promql)]


def _price(price: Price) -> list[float]:
    found = price()
    return [] if found is None else [found]
