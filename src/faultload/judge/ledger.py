"""The token ledger: what was asked for, and what became of it."""

from __future__ import annotations

import numpy as np

from faultload.judge.model import TokenLedger
from faultload.judge.rows import Flags, Floats, Rows


def balance_tokens(rows: Rows) -> TokenLedger:
    """Add up tokens over all rows; of requests still open at the end, only what was asked."""
    refused = ~rows.began & ~rows.served & ~rows.unfinished & ~rows.unsent

    def total(values: Floats, mask: Flags) -> int:
        return int(np.nansum(values[mask]))

    everything = np.ones_like(rows.served)
    return TokenLedger(
        asked=total(rows.asked, everything),
        delivered=total(rows.received, rows.served),
        lost=total(np.maximum(rows.asked - rows.received, 0), rows.broke),
        wasted=total(rows.received, rows.broke),
        duplicated=total(rows.duplicated, everything),
        refused=total(rows.asked, refused),
    )
