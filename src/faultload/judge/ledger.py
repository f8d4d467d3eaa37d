"""The token ledger: what was asked for, and what became of it."""

from __future__ import annotations

import numpy as np

from faultload.judge.model import TokenLedger
from faultload.judge.rows import Flags, Floats, Rows

STALL_S = 1.0
"""A stream that is silent for longer has stalled: twenty times what an answer may take a token."""


def balance_tokens(rows: Rows) -> TokenLedger:
    """Add up tokens over all rows.

    Everything asked is somewhere: delivered or not needed in streams that finished, lost or wasted
    in streams that broke, refused, open at the end, or never sent. A stream never counts for more
    than it asked.
    """
    refused = ~rows.began & ~rows.served & ~rows.unfinished & ~rows.unsent
    got = np.minimum(np.nan_to_num(rows.received), np.nan_to_num(rows.asked))
    left = np.nan_to_num(rows.asked) - got

    def total(values: Floats, mask: Flags) -> int:
        return int(np.nansum(values[mask]))

    everything = np.ones_like(rows.served)
    return TokenLedger(
        asked=total(rows.asked, everything),
        delivered=total(got, rows.served),
        lost=total(left, rows.broke),
        wasted=total(got, rows.broke),
        duplicated=total(rows.duplicated, everything),
        refused=total(rows.asked, refused),
        stalled=total(got, rows.served & (rows.gap > STALL_S)),
        unneeded=total(left, rows.served),
        open=total(rows.asked, rows.unfinished),
        unsent=total(rows.asked, rows.unsent),
    )
