"""What stands beside the verdict is told in page, postmortem, summary and verdict.json."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from faultload.judge import Degradation, Goodput, Mark, Stage, Verdict
from faultload.record import PhaseName
from faultload.report import render_summary
from faultload.report.shown import beside

STAGES = [
    Stage("detect", 0.4, 0.4, 0.1, "the router took engine-3 out", "series.parquet"),
    Stage("reroute", None, None, None, "nothing was sent again", "requests.parquet"),
    Stage("capacity", 9.7, 9.3, 1.0, "engine had 4 again", "series.parquet"),
]
MARKS = [
    Mark("ttft_s_p95", "TTFT, p95", "< 500 ms", 0.412, True, "412 requests", "requests.parquet"),
    Mark("rollback_s", "Rollback", "< 60 s", 71.0, False, "from the order", "injections.jsonl"),
    Mark("spot_saved", "Spot", "about 60 %", None, None, "no prices", "target.yaml"),
]


def full(run: Any) -> Any:
    """Give the made-up run all that can be shown."""
    run.judgement = replace(
        run.judgement,
        stages=STAGES,
        scorecard=MARKS,
        goodput=[Goodput(PhaseName.WARMUP, 240, 216, 21.6, 1300.0)],
        degraded=[Degradation("fast-ttft", 0.95, 0.061, 0.065, None, 0.084)],
    )
    return run


def test_everything_is_told_everywhere(judged: Any) -> None:
    """Each part with its error, each target with its mark, and what is not known says why."""
    run = full(judged(Verdict.PASS))
    texts = run.write()

    for name in ("report.html", "postmortem.md"):
        text = texts[name].replace("\N{NARROW NO-BREAK SPACE}", " ").replace("\\_", "_")
        for words in (
            "0.4 s ± 0.1 s",
            "9.3 s",
            "nothing was sent again",
            "412 ms",
            "1 met, 1 missed, 1 not known",
            "71.0 s",
            "no prices",
            "fast-ttft p95: 61 ms before (at most 65 ms), ∞ since (at least 84 ms)",
        ):
            assert words in text, (name, words)
    lines = texts["postmortem.md"].splitlines()
    assert "## Scorecard" in lines
    assert any(line.startswith("- capacity (as many ready replicas") for line in lines)
    assert "| Spot | about 60 % | not known | not known | no prices | [E10] |" in lines
    assert "21.6" in texts["report.html"]
    data = json.loads(texts["verdict.json"])["judgement"]
    assert [stage["reached_s"] for stage in data["stages"]] == [0.4, None, 9.7]
    assert [mark["met"] for mark in data["scorecard"]] == [True, False, None]
    assert data["goodput"][0]["phase"] == "warmup"
    assert data["degraded"][0]["after_s"] is None
    assert "degraded      fast-ttft p95" in render_summary(run.judgement, run.manifest)


def test_records_judged_before_say_what_is_missing(killed: Any) -> None:
    """A judgement without any of it is shown, with words where numbers would be."""
    texts = killed.write()

    assert "No scorecard was made." in texts["report.html"]
    assert "## Scorecard" not in texts["postmortem.md"]
    assert "degraded" not in render_summary(killed.judgement, killed.manifest)
    assert beside(killed.judgement).tally == ""


def test_words_from_a_record_do_not_act(killed: Any) -> None:
    """What a record says is escaped in both."""
    stages = [replace(STAGES[1], text="<script>alert(1)</script> | x")]
    killed.judgement = replace(killed.judgement, stages=stages)
    texts = killed.write()

    assert "<script>alert" not in texts["report.html"]
    assert "<script>" not in texts["postmortem.md"]
