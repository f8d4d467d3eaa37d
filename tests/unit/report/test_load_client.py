"""How the load was made and whether its client can be believed, in every report."""

from __future__ import annotations

import json
from typing import Any

import pytest
from scenes import health

from faultload.judge import validity
from faultload.record import LoadSummary, Manifest
from faultload.report import formats, render_summary
from faultload.report.load_client import NOT_RECORDED, client_figures, worker_rows


def summary(**changes: Any) -> LoadSummary:
    """Return what a good client of two workers says of itself."""
    two = [health(), health(worker=1, stalled_share=0.004, connections_reused_share=0.5)]
    fields: dict[str, Any] = {
        "requests_due": 200,
        "requests_sent": 199,
        "rows": 200,
        "lag_s_p50": 0.0007,
        "lag_s_p99": 0.0031,
        "lag_s_max": 0.0123,
        "cpu_share_max": 0.4,
        "workers": 2,
        "spread_s_max": 0.0456,
        "loop": "open",
        "rows_lost": 0,
        "health": two,
    }
    return LoadSummary(**(fields | changes))


def written(run: Any, load: LoadSummary) -> dict[str, str]:
    """Return the reports of a run with this load, with plain spaces, and the terminal's lines."""
    run.manifest = run.manifest.model_copy(update={"load": load})
    texts = {name: text.replace(formats.THIN, " ") for name, text in run.write().items()}
    return texts | {"summary": render_summary(run.judgement, run.manifest)}


def found(load: LoadSummary) -> dict[str, str]:
    """Return the client's figures by label, with plain spaces."""
    return {f.label: f.value.replace(formats.THIN, " ") for f in client_figures(load)}


def test_a_reader_sees_the_clients_own_health(killed: Any) -> None:
    """Lateness, CPU, stalls, connections, workers and rows, each in the page and in Markdown."""
    texts = written(killed, summary(workers_lost=1, rows_lost=3))
    for name in ("report.html", "postmortem.md"):
        for value in ("0.7 ms", "3.1 ms", "12 ms", "40 %", "46 ms", "73.5 %", "99.5 %", "0.4 %"):
            assert value in texts[name], (name, value)
        assert "Rows lost" in texts[name]
    assert "Workers lost: 1 (limit: none)." in texts["postmortem.md"]
    assert "Rows lost: 3 (limit: none)." in texts["postmortem.md"]
    assert "open loop; sent late (p99): 3.1 ms; share of a core (max): 40 %" in texts["summary"]


@pytest.mark.parametrize("loop", ["open", "closed"])
def test_the_kind_of_loop_is_said_everywhere(killed: Any, loop: str) -> None:
    """Open or closed; a closed loop says what it does to latency, by its name."""
    texts = written(killed, summary(loop=loop))
    assert json.loads(texts["verdict.json"])["load"]["loop"] == loop
    for name in ("report.html", "postmortem.md"):
        assert f"{loop.capitalize()} loop: " in texts[name]
        assert ("coordinated omission" in texts[name]) == (loop == "closed")
    assert f"{loop} loop" in texts["summary"]


def test_an_older_record_says_what_it_does_not_hold(killed: Any) -> None:
    """What was not recorded is never 0, nor taken for an open loop."""
    killed.manifest = Manifest.model_validate_json(killed.manifest.model_dump_json())
    old = {"requests_due": 9, "requests_sent": 9, "rows": 9, "lag_s_p99": 0.004}
    load = LoadSummary.model_validate({**old, "cpu_share_max": None, "workers": 1})
    figures = found(load)
    assert figures["Sent late, p99"] == "4 ms"
    for label, value in figures.items():
        known = label in ("Sent late, p99", "Workers", "Workers lost") or label.startswith("Req")
        assert (value == NOT_RECORDED) != known, label
    texts = written(killed, load)
    assert "Open or closed loop: not recorded." in texts["report.html"]
    assert json.loads(texts["verdict.json"])["load"]["rows_lost"] is None
    assert "share of a core (max): not recorded" in texts["summary"]


def test_what_one_worker_does_not_know_is_not_known_of_all() -> None:
    """A worker that died before counting hides neither itself nor what others counted."""
    two = [health(), health(worker=1, rows_lost=None, connections_reused_share=None)]
    figures = found(summary(health=two, rows_lost=2))
    assert figures["Rows lost"] == "at least 2"
    assert figures["Connections reused"] == NOT_RECORDED
    assert worker_rows(summary(health=two))[1][1][-1] == NOT_RECORDED


def test_workers_are_shown_apart_where_there_are_several(killed: Any) -> None:
    """One row a worker: a good one must not hide a bad one."""
    late = health(worker=1, lag_s_max=0.777)
    html = written(killed, summary(health=[health(), late]))["report.html"]
    assert "777 ms" in html
    assert worker_rows(summary(health=[late])) == []


def test_the_limits_shown_are_the_judges() -> None:
    """The page quotes the constants a run is judged by."""
    limits = " ".join(f.limit.replace(formats.THIN, " ") for f in client_figures(summary()))
    for limit_s in (validity.LAG_S_MAX, validity.DRIFT_S_MAX, validity.CLOCK_ERROR_S_MAX):
        assert formats.milliseconds(limit_s).replace(formats.THIN, " ") in limits
    for share in (validity.STALLED_SHARE_MAX, validity.SENT_SHARE_MIN, validity.CPU_SHARE_MAX):
        assert formats.percent(share).replace(formats.THIN, " ") in limits


def test_no_load_at_all_is_not_a_believable_client(empty: Any) -> None:
    """A run without load says that nothing was measured, in every report."""
    texts = empty.write()
    assert "Not measured: no load was started" in texts["report.html"]
    assert "was not measured, so nobody can tell" in texts["postmortem.md"]
    assert json.loads(texts["verdict.json"])["load"] is None
    assert "load          not measured" in render_summary(empty.judgement, empty.manifest)
