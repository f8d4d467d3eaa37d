"""Whatever ends a run, no process and no fault of it is left behind."""

from __future__ import annotations

import json
import os
import signal
import time
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from projects import (
    Project,
    chaos_process,
    everyone_is_ready,
    platform_of,
    processes_mentioning,
    wait_for,
)

from faultload.errors import ExitCode
from faultload.targets.local_lease import TTL_S

pytestmark = pytest.mark.local

# When each moment of a run has come, seen from outside: an event's kind and words.
MOMENTS = {
    "warmup": ("warmup", ""),
    "baseline": ("baseline", ""),
    "steady-state": ("steady_state", ""),
    "fault": ("activity_completed", "not ready"),
    "recovery": ("recovery", ""),
}
IN_MAKE_TEST = [("fault", "SIGTERM")]
BUSY_S = 10.0
"""How much longer than planned something may take on a busy machine."""
ALL = [
    pytest.param(*case, marks=() if case in IN_MAKE_TEST else pytest.mark.full)
    for case in product(MOMENTS, ("SIGINT", "SIGTERM"))
]


def hang(document: dict[str, Any]) -> None:
    """Turn replica-loss into a fault that stays until it is reverted."""
    document["method"][0]["provider"]["func"] = "hang_replica"
    document["extensions"][0]["requires"] = ["hang-replica"]
    document["extensions"][0]["expects"] = {}


def hang_and_watch(document: dict[str, Any]) -> None:
    """Have such a run end once a tier is seen with fewer replicas than it is to have."""
    hang(document)
    ready = "min(kube_deployment_status_replicas_available)"
    query = {"name": "replicas-ready", "promql": ready, "below": 2, "for_s": 0}
    document["method"][0]["pauses"] = {"after": 60}
    document["extensions"][0]["stop"] = {"queries": [query], "telemetry_missing_s": 10}


def nothing_is_left_of(project: Project, run: Path) -> None:
    """Assert that a run took back its fault, ended its children and dropped its state."""
    wait_for(lambda: everyone_is_ready(project), 5, "every replica to be ready at once")
    assert processes_mentioning(str(run)) == []
    states = (project.path / "state" / "faultload").glob("*/runs/*")
    assert [path.name for path in states] == ["chaos-run"], "only the standing journal may stay"
    assert not (run / "work").exists()


def started_at(project: Project, name: str, moment: str) -> Any:
    """Start a run and return its process once the moment has come."""
    before = set((project.path / "reports").glob("*"))
    process = project.start("run", name)

    def has_come() -> bool:
        assert process.poll() is None, process.communicate()
        is_new = set((project.path / "reports").glob("*")) - before
        kind, words = MOMENTS[moment]
        return bool(is_new) and any(
            event["kind"] == kind and words in event["text"] for event in project.events()
        )

    wait_for(has_come, 60, f"the run to come to {moment}")
    return process


@pytest.mark.parametrize(("moment", "name"), ALL)
def test_signal_leaves_no_process_and_no_fault(left_up: Project, moment: str, name: str) -> None:
    """SIGINT and SIGTERM at any moment revert the fault, end every child and seal the record."""
    wait_for(lambda: everyone_is_ready(left_up), 30, "every replica to be ready")
    experiment = left_up.experiment("hang", hang)
    process = started_at(left_up, experiment, moment)

    process.send_signal(signal.Signals[name])
    _, err = process.communicate(timeout=60)

    assert process.returncode == ExitCode[name], err
    run = left_up.run_directory()
    verdict = json.loads((run / "verdict.json").read_text())
    assert verdict["verdict"] == "invalid"
    assert name in verdict["reason"]
    nothing_is_left_of(left_up, run)
    *_, ended = [text for reason, text in platform_events(left_up) if reason == "LeaseEnded"]
    assert ended.startswith("0 changes"), "the run left its platform something to put back"


def platform_events(project: Project) -> list[tuple[str, str]]:
    """Return reason and words of what the platform left up reported."""
    platform = platform_of(project)
    try:
        return [(event.reason, event.message) for event in platform.events()]
    finally:
        platform.close()


@pytest.mark.full
def test_fault_ends_by_itself_when_nobody_is_left_to_end_it(left_up: Project) -> None:
    """Supervisor and chaos child are SIGKILLed at once: the platform undoes the fault, alone."""
    wait_for(lambda: everyone_is_ready(left_up), 30, "every replica to be ready")
    process = started_at(left_up, left_up.experiment("hang", hang), "fault")
    mine = set(processes_mentioning(str(left_up.path)))
    (child,) = mine & set(processes_mentioning("faultload.run.chaos_child"))

    os.kill(child, signal.SIGKILL)
    process.kill()
    process.communicate(timeout=10)
    killed_s = time.monotonic()
    still_hung = not everyone_is_ready(left_up)
    wait_for(lambda: everyone_is_ready(left_up), TTL_S + BUSY_S, "every replica to be ready")

    assert still_hung, "the fault was to outlive its harness: the test shows nothing"
    print(f"ready again {time.monotonic() - killed_s:.1f} s after SIGKILL")  # noqa: T201
    reasons = [reason for reason, _ in platform_events(left_up)]
    assert reasons[reasons.index("LeaseExpired") :].count("Undone") == 1
    recovered = left_up.faultload("recover", "--json")
    assert recovered.returncode == ExitCode.PASS, recovered.stderr
    (outcome,) = json.loads(recovered.stdout)
    assert outcome["problem"] == ""
    assert "ready" in outcome["reverted"][0]
    verdict = json.loads((Path(outcome["sealed"]) / "verdict.json").read_text())
    assert verdict["verdict"] == "invalid"
    assert left_up.faultload("recover").stdout.strip() == "nothing to recover"


@pytest.mark.full
def test_run_that_loses_its_lease_is_invalid(left_up: Project) -> None:
    """The platform has undone its fault, and the run says so instead of judging what is left."""
    wait_for(lambda: everyone_is_ready(left_up), 30, "every replica to be ready")
    process = started_at(left_up, left_up.experiment("hang", hang), "fault")
    platform = platform_of(left_up)
    try:
        *_, (_, lease) = [
            (event.time_unix_s, event.subject)
            for event in platform.events()
            if event.reason == "LeaseHeld"
        ]
        platform._control.call("DELETE", f"/v1/leases/{lease.partition('/')[2]}")
    finally:
        platform.close()
    _, err = process.communicate(timeout=60)

    assert process.returncode == ExitCode.INVALID, err
    assert "our hold on the target is lost: the platform has undone" in left_up.verdict()["reason"]
    assert everyone_is_ready(left_up)
    assert left_up.faultload("recover").stdout.strip() == "nothing to recover"


@pytest.mark.full
def test_stop_condition_ends_a_run_and_its_harm(left_up: Project) -> None:
    """What Prometheus shows of the fault ends the run: reverted, sealed as aborted, a fail."""
    wait_for(lambda: everyone_is_ready(left_up), 30, "every replica to be ready")
    experiment = left_up.experiment("watched", hang_and_watch)

    done = left_up.run_on_time(experiment)

    run = left_up.run_directory()
    verdict = json.loads((run / "verdict.json").read_text())
    assert done.returncode == ExitCode.FAIL, done.stdout + done.stderr
    assert (verdict["verdict"], verdict["outcome"]) == ("fail", "aborted")
    assert verdict["reason"].startswith("A stop condition ended the run: query replicas-ready")
    (event,) = [one for one in left_up.events() if one["kind"] == "stop_condition"]
    times = event["data"]
    assert times["seen_s"] <= times["reverted_s"] <= times["proven_gone_s"]
    assert "the fault was taken back" in (run / "postmortem.md").read_text()
    nothing_is_left_of(left_up, run)


@pytest.mark.full
def test_faultload_stop_ends_a_run_from_another_terminal(left_up: Project) -> None:
    """It returns once all is reverted and sealed; the run ends as after SIGTERM, with a reason."""
    wait_for(lambda: everyone_is_ready(left_up), 30, "every replica to be ready")
    experiment = left_up.experiment("hang", hang)
    process = started_at(left_up, experiment, "fault")

    stopped = left_up.faultload("stop", "--reason", "the pager went off")
    ready_then = everyone_is_ready(left_up)
    _, err = process.communicate(timeout=60)

    assert stopped.returncode == ExitCode.PASS, stopped.stderr
    assert "reverted and sealed after" in stopped.stdout
    assert ready_then
    assert process.returncode == ExitCode.SIGTERM, err
    run = left_up.run_directory()
    verdict = json.loads((run / "verdict.json").read_text())
    assert (verdict["verdict"], verdict["outcome"]) == ("invalid", "interrupted")
    assert "stopped by faultload stop: the pager went off" in verdict["reason"]
    nothing_is_left_of(left_up, run)
    assert left_up.faultload("stop").returncode == ExitCode.MISSING


@pytest.mark.full
def test_harm_does_not_wait_for_a_child_that_is_stuck(left_up: Project) -> None:
    """A chaos child that does not listen is killed, and the supervisor reverts in its place."""
    wait_for(lambda: everyone_is_ready(left_up), 30, "every replica to be ready")
    experiment = left_up.experiment("hang", hang)
    process = started_at(left_up, experiment, "fault")
    (child,) = [
        pid
        for pid in processes_mentioning(str(left_up.run_directory()))
        if b"faultload.run.chaos_child" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    os.kill(child, signal.SIGSTOP)

    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)

    assert process.returncode == ExitCode.SIGTERM, err
    assert any(event["kind"] == "reverted" for event in left_up.events())
    nothing_is_left_of(left_up, left_up.run_directory())


def test_killed_supervisor_is_recovered(left_up: Project) -> None:
    """After SIGKILL of the supervisor, the next run is refused and `recover` undoes the fault."""
    wait_for(lambda: everyone_is_ready(left_up), 30, "every replica to be ready")
    experiment = left_up.experiment("hang", hang)
    process = started_at(left_up, experiment, "fault")

    process.kill()
    process.communicate(timeout=10)
    still_hung = not everyone_is_ready(left_up)
    refused = left_up.faultload("run", experiment)
    recovered = left_up.faultload("recover", "--json")

    assert still_hung, "the fault was to outlive its supervisor: the test shows nothing"
    assert refused.returncode == ExitCode.REFUSED, refused.stderr
    assert "faultload recover" in refused.stderr
    assert recovered.returncode == ExitCode.PASS, recovered.stderr
    (outcome,) = json.loads(recovered.stdout)
    assert "ready" in outcome["reverted"][0]
    assert everyone_is_ready(left_up)
    verdict = json.loads((Path(outcome["sealed"]) / "verdict.json").read_text())
    assert verdict["verdict"] == "invalid"
    assert left_up.faultload("recover").stdout.strip() == "nothing to recover"


@pytest.mark.full
def test_killed_supervisor_takes_its_own_platform_along(project: Project) -> None:
    """A platform started for the run dies with the supervisor; `recover` then seals the record."""
    process = started_at(project, "engine/replica-loss", "fault")

    process.kill()
    process.communicate(timeout=10)
    project.is_clean()
    recovered = project.faultload("recover", "--json")

    (outcome,) = json.loads(recovered.stdout)
    assert outcome["problem"] == ""
    assert "the platform is gone" in outcome["reverted"][0]
    rows = project.run_directory() / "record" / "requests.parquet"
    assert rows.stat().st_size > 0


@pytest.mark.full
def test_killed_stock_chaos_run_is_recovered(left_up: Project) -> None:
    """A fault of stock `chaos run` is journalled too: after SIGKILL, `recover` undoes it."""
    wait_for(lambda: everyone_is_ready(left_up), 30, "every replica to be ready")
    left_up.experiment("hang", hang)
    path = str(left_up.path / "experiments" / "engine" / "hang.yaml")
    process = chaos_process(left_up, "run", "--var", "hold_s:int=60", path)
    try:
        wait_for(lambda: not everyone_is_ready(left_up), 60, "a replica to hang")
    finally:
        process.kill()
        process.communicate(timeout=10)

    refused = left_up.faultload("run", "engine/replica-loss")
    recovered = left_up.faultload("recover")

    assert refused.returncode == ExitCode.REFUSED, refused.stderr
    assert "ready again after" in recovered.stdout
    assert everyone_is_ready(left_up)
    assert left_up.faultload("recover").stdout.strip() == "nothing to recover"
