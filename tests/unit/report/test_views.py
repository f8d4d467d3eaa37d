"""Client and server side by side in the report."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from faultload.record import SERIES_SCHEMA


def server_section(run: Any) -> str:
    """Return the text of the server's view, without markup."""
    html = run.write()["report.html"]
    section = html[html.index('id="server"') : html.index('id="client"')]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", section).replace("\u202f", " "))


def test_the_server_is_an_interval_and_the_client_a_number(killed: Any) -> None:
    """No point is made up inside a bucket, and both sides' shares stand at its edges."""
    rows = [
        ("vllm:time_to_first_token_seconds_bucket", f'{{"le":"{edge}"}}', float(t), rate * t)
        for edge, rate in (("0.04", 1.0), ("0.1", 19.0), ("0.25", 19.8), ("+Inf", 20.0))
        for t in range(200)
    ]
    killed.series = pd.DataFrame(rows, columns=SERIES_SCHEMA.names)

    text = server_section(killed)

    assert "Client and server side by side" in text
    assert re.search(r"Time to first token baseline \d+ ms \| 40 ms to 100 ms", text)
    assert re.search(r"≤ 40 ms: [\d.]+ % \| 5 %; ≤ 100 ms: [\d.]+ % \| 95 %", text)
    assert "Whole answer" not in text


def test_errors_stand_beside_each_other(killed: Any) -> None:
    """The router's share of what went wrong is exact; its own words for it are the note's."""
    rows = [
        ("inference_router_requests_total", f'{{"outcome":"{outcome}"}}', float(t), rate * t)
        for outcome, rate in (("ok", 9.0), ("cut", 1.0))
        for t in range(200)
    ]
    killed.series = pd.DataFrame(rows, columns=SERIES_SCHEMA.names)

    assert re.search(r"Errors baseline [\d.]+ % \| 10 %", server_section(killed))


def test_without_series_there_is_nothing_to_compare(empty: Any) -> None:
    """No table is drawn of nothing."""
    assert "side by side" not in server_section(empty)
