"""Negative controls: what must never be called a pass."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml
from projects import ROOT, Project, make_project, platform_of

from faultload.errors import ExitCode
from faultload.record import InjectionStep, RunDirectory
from faultload.targets import Mark

pytestmark = pytest.mark.local


def test_fault_aimed_at_nothing_is_invalid(project: Project) -> None:
    """An experiment whose fault has nothing to hit proves nothing: invalid, with the reason."""

    def aim_at_nothing(document: dict[str, Any]) -> None:
        document["method"][0]["provider"]["arguments"]["tier"] = "no-such-tier"

    name = project.experiment("aimed-at-nothing", aim_at_nothing)

    done = project.faultload("run", name)

    assert done.returncode == ExitCode.INVALID, done.stderr
    assert "of tier 'no-such-tier'" in project.verdict()["reason"]
    project.is_clean()


@pytest.mark.full
def test_engine_slow_from_the_start_is_invalid(tmp_path: Path) -> None:
    """A platform that misses its objectives before any fault: invalid, and nothing is injected."""
    project = make_project(tmp_path, {"warmup_s": 2, "baseline_s": 5, "hold_s": 4})

    done = project.faultload(
        "run", "engine/replica-loss", "--set", "tiers.fast.engine.slow_factor=12"
    )

    assert done.returncode == ExitCode.INVALID, done.stderr
    verdict = project.verdict()
    assert "steady state" in verdict["reason"]
    assert "fast-ttft" in verdict["reason"]
    run = RunDirectory.open(project.run_directory())
    assert run.manifest().steady_state_met is False
    assert run.injections.path.read_text() == ""
    project.is_clean()


@pytest.mark.full
def test_fault_aimed_at_who_is_gone_already_is_invalid(project: Project) -> None:
    """The tier's only replica was killed just before: nobody is left to hit, and nothing passes."""

    def kill_twice(document: dict[str, Any]) -> None:
        first = document["method"][0]
        first["provider"]["arguments"] = {"component": "engine", "tier": "fast"}
        first.pop("pauses")
        document["method"].append({**first, "name": "kill-it-again"})
        document["extensions"][0]["blast_radius"] = {"component": "engine", "replicas": 2}

    name = project.experiment("aimed-at-the-dead", kill_twice)
    replicas = ("--set", "tiers.fast.replicas=1", "--set", "tiers.reasoning.replicas=3")

    done = project.faultload("run", name, *replicas, "--set", "cold_start_s=60")

    assert done.returncode == ExitCode.INVALID, done.stdout + done.stderr
    assert "expected at least 1 ready engine" in project.verdict()["reason"]
    steps = {
        entry.step for entry in RunDirectory.open(project.run_directory()).injections.entries()
    }
    assert InjectionStep.VERIFIED in steps, "the first kill is proven"
    project.is_clean()


@pytest.mark.full
def test_prometheus_that_is_down_is_never_a_pass(project: Project) -> None:
    """Telemetry that is gone and was not declared keeps a run from passing."""
    up = project.faultload("platform", "up", "--set", "cold_start_s=1")
    assert up.returncode == 0, up.stderr
    try:
        platform = platform_of(project)
        (monitoring,) = platform.workloads("prometheus", None)
        platform.set_scale(monitoring.name, monitoring.uid, 0, Mark("a-token", 0.0))
        platform.close()
        done = project.run_on_time("engine/replica-loss")
    finally:
        project.faultload("platform", "down")

    assert done.returncode == ExitCode.INCONCLUSIVE, done.stdout + done.stderr
    findings = project.verdict()["judgement"]["findings"]
    assert any("Prometheus was away: 0%" in finding["text"] for finding in findings)
    project.is_clean()


def test_platform_without_a_spare_replica_fails(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The demo's claim is false where a tier has one replica: fail, and how to see it again."""
    project = make_project(
        tmp_path_factory.mktemp("no-spare"), {"warmup_s": 2, "baseline_s": 8, "recovery_s": 5}
    )

    worse = ["--set", "tiers.fast.replicas=1", "--set", "tiers.reasoning.replicas=1"]
    done = project.run_on_time("engine/replica-loss", *worse)

    assert done.returncode == ExitCode.FAIL, done.stdout + done.stderr
    expectations = {e["name"]: e for e in project.verdict()["judgement"]["expectations"]}
    assert expectations["recovery_s_max"]["verdict"] == "fail"
    repeat = RunDirectory.open(project.run_directory()).manifest().repeat
    assert repeat.endswith(f"--seed 1 {' '.join(worse)}")
    project.is_clean()


def test_busy_port_is_missing(project: Project) -> None:
    """A port in use is one line and 69."""
    with socket.socket() as taken:
        taken.bind(("127.77.77.1", 8080))
        taken.listen()
        done = project.faultload("run", "engine/replica-loss", "--set", "network=127.77.77.0/24")

    assert done.returncode == ExitCode.MISSING
    assert "8080" in done.stderr
    assert "Traceback" not in done.stderr
    project.is_clean()


def test_missing_binary_is_missing(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Prometheus one line says so and how to get it: 69."""
    empty = project.path / "empty"
    empty.mkdir()
    environment = {**project.environment, "PATH": str(empty), "FAULTLOAD_TOOLS": str(empty)}
    monkeypatch.setattr(Project, "environment", property(lambda self: environment))

    done = project.faultload("run", "engine/replica-loss")

    assert done.returncode == ExitCode.MISSING, done.stderr
    assert "make setup" in done.stderr
    assert "Traceback" not in done.stderr
    project.is_clean()


def test_missing_capability_is_a_skip(left_up: Project) -> None:
    """What a target cannot do is skipped with the reason, exit 69, and nothing runs.

    A script is told in JSON what a person reads.
    """

    def ask_for_more(document: dict[str, Any]) -> None:
        document["extensions"][0]["requires"] = ["kill-replica", "terminate-pods"]

    name = left_up.experiment("needs-more", ask_for_more)

    done = left_up.faultload("run", name)
    as_json = left_up.faultload("run", name, "--json")

    assert done.returncode == as_json.returncode == ExitCode.MISSING
    assert "lacks terminate-pods" in done.stderr
    told = json.loads(as_json.stdout)
    assert (told["experiment"], "lacks terminate-pods" in told["skipped"]) == (name, True)


def test_blast_radius_is_refused(left_up: Project) -> None:
    """Hitting a larger share than allowed is refused before anything is touched: 75."""

    def hit_less(document: dict[str, Any]) -> None:
        document["extensions"][0]["blast_radius"]["share_max"] = 0.2

    name = left_up.experiment("too-wide", hit_less)

    done = left_up.faultload("run", name)

    assert done.returncode == ExitCode.REFUSED, done.stderr
    assert "over the blast radius" in done.stdout + done.stderr


def test_dry_run_asks_and_touches_nothing(left_up: Project) -> None:
    """Victims on the platform itself, as JSON; no record, no state, no replica less: 0."""
    before = platform_of(left_up).describe()["replicas"]
    state = left_up.path / "state" / "faultload"
    kept = sorted(state.glob("*/runs/*"))

    done = left_up.faultload("run", "engine/replica-loss", "--dry-run", "--json")

    assert done.returncode == ExitCode.PASS, done.stderr
    (found,) = json.loads(done.stdout)
    names = {row["name"] for row in before}
    assert found["target"]["kind"] == "local"
    assert {victim["name"] for victim in found["faults"][0]["victims"]} < names
    assert sorted(state.glob("*/runs/*")) == kept
    after = platform_of(left_up).describe()["replicas"]
    assert [row["uid"] for row in after] == [row["uid"] for row in before]


def test_dry_run_says_what_a_run_would_refuse(left_up: Project) -> None:
    """The same code as the run's, and the reason in one line: 75."""

    def hit_less(document: dict[str, Any]) -> None:
        document["extensions"][0]["blast_radius"]["share_max"] = 0.2

    name = left_up.experiment("too-wide-to-try", hit_less)

    done = left_up.faultload("run", name, "--dry-run")

    assert done.returncode == ExitCode.REFUSED, done.stderr
    assert "WOULD FAIL    hitting 1 of 4 ready engine replicas is 25% of them" in done.stdout


@pytest.mark.full
def test_engines_that_drop_their_streams_are_seen(project: Project) -> None:
    """Engines that end at SIGTERM cut what they serve: a graceful delete loses streams, and fails.

    vLLM's default is to do so; the shipped platform gives its engines time.
    """
    shipped = ROOT / "experiments" / "engine" / "graceful-delete.yaml"

    def become_graceful_delete(document: dict[str, Any]) -> None:
        document.clear()
        document.update(yaml.safe_load(shipped.read_text(encoding="utf-8")))

    name = project.experiment("graceful-delete", become_graceful_delete)
    impatient = [
        word
        for tier in ("fast", "reasoning")
        for key in ("pre_stop_s", "engine.shutdown_timeout_s")
        for word in ("--set", f"tiers.{tier}.{key}=0")
    ]

    done = project.run_on_time(name, *impatient, "--set", "cold_start_s=5")

    assert done.returncode == ExitCode.FAIL, done.stdout + done.stderr
    expectations = {e["name"]: e for e in project.verdict()["judgement"]["expectations"]}
    assert expectations["streams_lost_max"]["verdict"] == "fail"
    project.is_clean()
