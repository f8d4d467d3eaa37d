"""Goodput: what a phase delivered that met every SLO, by second."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from faultload.judge.rows import Rows
from faultload.judge.shown import Goodput
from faultload.judge.slo import mark_rows
from faultload.record import Phase
from faultload.spec.slo import SLO, RequestsSource


def add_goodput(
    rows: Rows, slos: Sequence[SLO], phases: Sequence[Phase], harm_s: float | None
) -> list[Goodput]:
    """Return the goodput of each phase; none where no SLO is counted from request rows.

    A request is of the phase in which it was due; one that the harm found open and that did not
    end well is the harm's. It is good where it is good in every SLO that counts it; one that no SLO
    counts is left out.
    """
    sources = [slo.source for slo in slos if isinstance(slo.source, RequestsSource)]
    if not sources:
        return []
    counted = np.zeros_like(rows.served)
    good = np.ones_like(rows.served)
    for source in sources:
        valid, is_good, _ = mark_rows(rows, source)
        counted |= valid
        good &= is_good | ~valid
    good &= counted
    at = rows.due
    if harm_s is not None:
        at = np.where((rows.due < harm_s) & ~(rows.end <= harm_s) & ~good, harm_s, rows.due)
    found = []
    for phase in phases:
        inside = (at >= phase.start_s) & (at < phase.end_s)
        length_s = phase.end_s - phase.start_s
        if length_s <= 0:
            continue
        met = inside & good
        tokens = float(np.nansum(rows.received[met]))
        found.append(
            Goodput(
                phase=phase.name,
                requests=int((inside & counted).sum()),
                good=int(met.sum()),
                requests_per_s=float(met.sum()) / length_s,
                tokens_per_s=tokens / length_s,
            )
        )
    return found
