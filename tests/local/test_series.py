"""Several experiments on one real platform: in order of harm, one summary, nothing left."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import parse

import pytest
from projects import PATIENCE, Project, is_late, make_project, wait_for

from faultload.errors import ExitCode

pytestmark = [pytest.mark.local, pytest.mark.full]

QUICK = ("--set", "cold_start_s=1", "--set", "model_store.enabled=false")


def hang_one(document: dict[str, Any]) -> None:
    """Hang the busiest engine's core: over as soon as it goes on."""
    document["title"] = "A hung engine is seen"
    document["method"][0]["provider"]["func"] = "hang_engine"
    document["extensions"][0]["requires"] = ["hang-engine"]
    document["extensions"][0]["expects"] = {}


def take_two(document: dict[str, Any]) -> None:
    """Allow two to be hit: more harm than one."""
    document["extensions"][0]["blast_radius"]["replicas"] = 2
    document["extensions"][0]["expects"] = {}


def split_the_sea(document: dict[str, Any]) -> None:
    """Ask for what no target can do."""
    document["extensions"][0]["requires"] = ["terminate-pods"]


@pytest.fixture
def short(tmp_path: Path) -> Project:
    """Return a project of three experiments that take seconds."""
    phases = {"warmup_s": 1, "baseline_s": 4, "hold_s": 1, "recovery_s": 2}
    project = make_project(tmp_path, phases, patience=PATIENCE)
    (tmp_path / "experiments" / "engine" / "replica-loss.yaml").unlink()
    project.experiment("a-wide-one", take_two)
    project.experiment("hang", hang_one)
    project.experiment("needs-more", split_the_sea)
    return project


def test_series_runs_least_harm_first_and_sums_up(short: Project) -> None:
    """The skip is named, the others ran one after the other on a whole platform; files for all."""
    done = short.faultload("run", "engine", *QUICK, "--reruns", "2", "--json", timeout_s=400)

    found = json.loads(done.stdout)
    assert [one["experiment"].removeprefix("engine/") for one in found] == [
        "hang",
        "needs-more",
        "a-wide-one",
    ], done.stderr
    assert found[1]["verdict"] == "skipped"
    assert "lacks terminate-pods" in found[1]["reason"]
    ran = [found[0], found[2]]
    assert all(one["judgement"]["fault_window_s"] for one in ran), done.stderr
    # The second was measured on a platform that had healed: its own steady state held.
    assert all(one["outcome"] == "completed" for one in ran)
    was_late = any(is_late(one["judgement"]) for one in ran)
    assert was_late or done.returncode in (ExitCode.PASS, ExitCode.FAIL, ExitCode.INCONCLUSIVE)
    (page,) = (short.path / "reports").glob("summary-*.html")
    for one in ran:
        assert f'href="{one["run_id"]}/report.html"' in page.read_text(encoding="utf-8")
    (junit,) = (short.path / "reports").glob("summary-*.junit.xml")
    assert parse(junit).getroot().get("skipped") == "1"  # noqa: S314  # we wrote it
    short.is_clean()


def test_interrupted_series_is_reverted_and_summed_up(short: Project) -> None:
    """A signal in the first run ends all: its harm is undone, the second is listed as not run."""
    process = short.start("run", "engine", "-k", "not needs-more", *QUICK, "--json")
    wait_for(
        lambda: process.poll() is not None or any(e["kind"] == "baseline" for e in short.events()),
        60,
        "the first run's baseline",
    )

    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)

    assert process.returncode == ExitCode.SIGINT, err
    first, second = json.loads(out)
    assert first["verdict"] == "invalid"
    assert (second["verdict"], second["exit_code"]) == ("not run", None)
    assert "SIGINT" in second["reason"]
    assert list((short.path / "reports").glob("summary-*.md"))
    assert not list((short.path / "state" / "faultload").glob("*/runs/*"))
    short.is_clean()
