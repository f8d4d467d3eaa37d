"""A stored record is judged again to the byte, and against other SLOs without being changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from scenes import HARM, outage, scene
from stored import store

from faultload.judge import Verdict
from faultload.record import RunDirectory
from faultload.run.judging import explain_stored, judge_and_report


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """Return a record of a fault that cost some requests."""
    requests = outage(end=HARM + 4, share=0.5).assign(served_by="fast-0")
    return store(tmp_path, scene(requests))


def verdict_of(run: RunDirectory, slos: Path | None = None) -> tuple[Verdict, bytes]:
    """Return what a judging says and writes."""
    judgement, _ = judge_and_report(run, slos)
    return judgement.verdict, (run.path / "verdict.json").read_bytes()


def test_the_same_slos_give_the_same_bytes_and_others_change_nothing(
    run: RunDirectory, tmp_path: Path
) -> None:
    """Nothing of an earlier judging is in a verdict; the record stays as sealed."""
    first = verdict_of(run)
    documents = list(yaml.safe_load_all(run.slos.read_text(encoding="utf-8")))
    for document in documents:
        query = document["spec"]["indicator"]["spec"]["ratioMetric"]["raw"]["metricSource"]["spec"]
        query.update({"good": "ttft_s <= 0.01", "tier": None})
        document["metadata"].pop("annotations", None)  # the server's view of the other limit
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump_all(documents), encoding="utf-8")

    strict = verdict_of(run, other)

    assert strict[0] is Verdict.INVALID
    assert strict[1] != first[1]
    assert verdict_of(run) == first
    assert not run.tampered()


def test_an_explanation_writes_nothing(run: RunDirectory) -> None:
    """Explaining is reading."""
    before = sorted(run.path.rglob("*"))

    explanation = explain_stored(run)

    assert sorted(run.path.rglob("*")) == before
    assert any(finding.numbers for finding in explanation.findings)


@pytest.mark.full
def test_other_processes_give_the_same_bytes(run: RunDirectory, tmp_path: Path) -> None:
    """Hash seeds and processes are no part of a verdict."""
    found = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-m", "faultload", "judge", str(run.path)]
        done = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, timeout=120, check=False
        )
        assert not done.stderr
        found.add((done.returncode, done.stdout, (run.path / "verdict.json").read_bytes()))

    assert len(found) == 1
