"""How soon an SLO's alerts can fire at all, whatever happens."""

from __future__ import annotations

import math
from dataclasses import dataclass

from faultload.measure.rules import burn_alerts
from faultload.spec.slo import SLO
from faultload.spec.windows import BurnWindows

IN_TIME_S = 600.0
"""A total outage that pages nobody for longer than this is found by its users. With the windows of
the SRE workbook a 99 % objective pages after 8 min 38 s, a 95 % objective after 43 min."""


@dataclass(frozen=True)
class Paging:
    """What the windows can do for one SLO.

    Attributes:
        slo: its name.
        burn_rate_max: how fast its budget burns in a total outage: 1 / (1 - target).
        page_after_s: total outage until the first page; infinite: there is none; None: no
            server's counters are named, so there is no alert.
    """

    slo: str
    burn_rate_max: float
    page_after_s: float | None

    @property
    def in_time(self) -> bool:
        """Whether it pages while an outage of ten minutes goes on."""
        return self.page_after_s is not None and self.page_after_s <= IN_TIME_S

    @property
    def sentence(self) -> str:
        """The finding in words."""
        if self.page_after_s is None:
            return "no alerts: name the server's counters in its annotations (docs/slos.md)"
        if math.isinf(self.page_after_s):
            found = "never pages, however long a total outage lasts"
        else:
            found = f"pages after {in_minutes(self.page_after_s)} of total outage"
        if self.in_time:
            return found
        return (
            f"{found}: its budget burns at most {self.burn_rate_max:.3g} times too fast. Promise"
            " more at a looser threshold, or add shorter windows to slos/windows.yaml"
        )


def paging_of(slo: SLO, windows: BurnWindows) -> Paging:
    """Return how soon the first page of one SLO can come."""
    alerts = burn_alerts(slo, windows)
    pages = [a.fires_after_s for a in alerts if a.window.severity == "page"]
    soonest = min(pages, default=math.inf) if alerts else None
    return Paging(slo.name, 1 / slo.budget, soonest)


def in_minutes(seconds: float) -> str:
    """Return a length of time for people, rounded up: `4 min 20 s`, `43 min`, `2 h 10 min`."""
    whole = math.ceil(round(seconds, 3))
    if whole < 600:
        parts = ((whole // 60, "min"), (whole % 60, "s"))
    else:
        minutes = math.ceil(whole / 60)
        parts = ((minutes // 60, "h"), (minutes % 60, "min"))
    return " ".join(f"{number} {unit}" for number, unit in parts if number) or "0 s"
