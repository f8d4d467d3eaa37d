"""Request rows by second."""

import numpy as np
import pandas as pd
from scenes import rows, slo, steady

from faultload.judge.slo import count_events
from faultload.measure.rows import per_second
from faultload.record import REQUEST_SCHEMA


def test_requests_bad_and_quantiles() -> None:
    """Each second has its count, its bad ones by SLO, and the TTFT of streams that began."""
    due = steady(rate=10, end=5)
    bad = (due >= 2) & (due < 3)
    requests = rows(due, bad, tier=np.where(due < 4, "fast", "slow").astype(object))
    events = count_events(requests, slo())

    frame = per_second(requests, 6.0, {"availability": (events.at_s, events.is_bad)})

    assert frame["requests"].tolist() == [10, 10, 10, 10, 10, 0]
    assert frame["bad:availability"].tolist() == [0, 0, 10, 0, 0, 0]
    assert np.isnan(frame["ttft_s_p95:fast"]).tolist() == [False, False, True, False, True, True]
    assert np.isclose(frame["ttft_s_p50:slow"][4], 0.05)


def test_no_requests() -> None:
    """An empty run has seconds and no numbers."""
    frame = per_second(pd.DataFrame(columns=REQUEST_SCHEMA.names), 3.0)

    assert frame["requests"].tolist() == [0, 0, 0]
