"""Pressure from outside on whole runs: each ends bounded, with its code, and leaves nothing."""

from __future__ import annotations

import json
import os
import pty
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from projects import Project, everyone_is_ready, platform_of, processes_mentioning, wait_for

from faultload.errors import ExitCode
from faultload.record import InjectionStep, RunDirectory
from faultload.targets import LocalTarget, Mark

pytestmark = [pytest.mark.local, pytest.mark.full]

_ENDS_WITHIN_S = 90.0


def hang(document: dict[str, Any]) -> None:
    """Turn replica-loss into a fault that stays until it is reverted."""
    document["method"][0]["provider"]["func"] = "hang_replica"
    document["extensions"][0]["requires"] = ["hang-replica"]
    document["extensions"][0]["expects"] = {}


@contextmanager
def running(project: Project, *words: str, **more: Any) -> Iterator[subprocess.Popen[str]]:
    """Start a run of the hang; whatever the test makes of it, it is gone afterwards."""
    name = project.experiment("hang", hang)
    given = {
        "cwd": project.path,
        "env": project.environment,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "faultload", "run", name, *words], **{**given, **more}
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def come_to(project: Project, process: subprocess.Popen[str], kind: str, words: str = "") -> None:
    """Wait until the newest run has come to an event."""

    def has_come() -> bool:
        assert process.poll() is None, process.communicate()
        return (
            any(event["kind"] == kind and words in event["text"] for event in project.events())
            and not (project.run_directory() / "verdict.json").exists()
        )

    wait_for(has_come, 90, f"the run to come to {kind} {words}")


def under_fault(project: Project, process: subprocess.Popen[str]) -> None:
    """Wait until the fault is proven to act."""
    come_to(project, process, "activity_completed", "not ready")


def end_of(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Return the exit code and all its words, once it has ended."""
    out, err = process.communicate(timeout=_ENDS_WITHIN_S)
    assert "Traceback" not in out + err
    return process.returncode, out + err


def is_sealed(project: Project) -> str:
    """See that the newest record is whole; return its verdict and the reason."""
    run = RunDirectory.open(project.run_directory())
    assert run.tampered() == []
    verdict = project.verdict()
    return f"{verdict['verdict']}: {verdict['reason']}"


@pytest.fixture
def whole(left_up: Project) -> Iterator[Project]:
    """Return the project with a platform left up, all of it ready; so it must be afterwards."""
    wait_for(lambda: everyone_is_ready(left_up), 30, "every replica to be ready")
    yield left_up
    wait_for(lambda: everyone_is_ready(left_up), 30, "every replica to be ready again")
    states = (left_up.path / "state" / "faultload").glob("*/runs/*")
    assert [path.name for path in states] == ["chaos-run"], "only the standing journal may stay"


def test_closed_terminal_takes_the_harm_back(whole: Project) -> None:
    """A terminal that goes away hangs the run up: reverted, sealed, 129, and nobody to tell."""
    ours, theirs = pty.openpty()
    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    env = {key: value for key, value in whole.environment.items() if key != "CI"}
    attach = {"preexec_fn": lambda: os.login_tty(theirs), "env": env}
    with running(whole, **streams, **attach) as process:
        os.close(theirs)
        reader = _drained(ours)
        under_fault(whole, process)
        reader()
        process.wait(_ENDS_WITHIN_S)

    assert process.returncode == ExitCode.SIGHUP
    assert "interrupted by SIGHUP" in is_sealed(whole)


def _drained(descriptor: int) -> Callable[[], None]:
    """Read a terminal, so that its writer never waits; return what closes it."""
    ended = threading.Event()

    def read() -> None:
        os.set_blocking(descriptor, False)
        while not ended.wait(0.05):
            try:
                os.read(descriptor, 65536)
            except BlockingIOError:
                continue
            except OSError:
                break

    thread = threading.Thread(target=read, daemon=True)
    thread.start()

    def close() -> None:
        ended.set()
        thread.join()
        os.close(descriptor)

    return close


def test_second_harness_is_refused_and_a_dead_load_ends_the_first(whole: Project) -> None:
    """The second one is told who holds the target; the first ends as soon as its load is killed."""
    with running(whole) as process:
        under_fault(whole, process)
        second = whole.faultload("run", "engine/hang")
        (worker,) = [
            pid
            for pid in processes_mentioning(str(whole.run_directory()))
            if b"locust" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        os.kill(worker, signal.SIGKILL)
        code, _ = end_of(process)

    assert second.returncode == ExitCode.REFUSED, second.stderr
    assert f"{whole.run_directory().name}, pid {process.pid} on " in second.stderr
    assert code == ExitCode.INVALID
    assert "the load client died" in is_sealed(whole)


def test_disk_that_fills_up_under_a_fault(whole: Project, tmp_path: Path) -> None:
    """Record and state on a disk that somebody fills: 3, no harm; with room again, `recover`."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=96m", "none", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a disk of our own to fill needs the right to mount one")
    try:
        _fill_up(whole, disk)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def _fill_up(project: Project, disk: Path) -> None:
    state, usual = disk / "faultload", project.path / "state" / "faultload"
    state.mkdir()
    (state / "platforms").symlink_to(usual / "platforms")
    env = {**project.environment, "XDG_STATE_HOME": str(disk)}
    reports = disk / "reports"
    with running(project, "--reports", str(reports), env=env) as process:

        def is_under_fault() -> bool:
            assert process.poll() is None, process.communicate()
            return any("not ready" in path.read_text() for path in reports.glob("*/record/ev*"))

        wait_for(is_under_fault, 60, "the fault to act")
        with pytest.raises(OSError, match="No space"):
            (disk / "filler").write_bytes(bytes(2**27))
        code, words = end_of(process)
    assert code == ExitCode.INVALID, words
    assert "faultload recover" in words
    wait_for(lambda: everyone_is_ready(project), 5, "every replica to be ready at once")
    (disk / "filler").unlink()

    words_ = [sys.executable, "-m", "faultload", "recover"]
    done = subprocess.run(words_, env=env, cwd=project.path, capture_output=True, check=False)

    assert done.returncode == ExitCode.PASS, done.stderr
    (run,) = reports.iterdir()
    assert RunDirectory.open(run).tampered() == []
    assert json.loads((run / "verdict.json").read_text())["verdict"] == "invalid"
    assert not list(state.glob("*/runs/*"))


def test_platform_that_is_killed_ends_the_run(project: Project) -> None:
    """Somebody kills the target itself: its faults go with it, and the run cannot tell a thing."""
    with running(project) as process:
        under_fault(project, process)
        for pid in processes_mentioning(str(project.path)):
            if b"inference_platform.local\0up" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
        code, words = end_of(process)

    assert code == ExitCode.INVALID, words
    assert is_sealed(project).startswith("invalid: ")
    project.is_clean()
    assert project.faultload("recover").stdout.strip() == "nothing to recover"


def test_platform_that_hangs_under_a_fault(whole: Project) -> None:
    """What does not answer proves nothing: 3, the target stays closed, and `recover` mends it."""
    up = json.loads((whole.path / "state/faultload/platforms/local/up.json").read_text())
    pid = int(json.loads((Path(up["state"]) / "platform.json").read_text())["pid"])
    with running(whole) as process:
        under_fault(whole, process)
        os.kill(pid, signal.SIGSTOP)
        began_s = time.monotonic()
        try:
            code, words = end_of(process)
            took_s = time.monotonic() - began_s
        finally:
            os.kill(pid, signal.SIGCONT)

    assert code == ExitCode.INVALID, words
    assert "does not answer" in is_sealed(whole)
    assert took_s < 75, took_s
    refused = whole.faultload("run", "engine/hang")
    assert refused.returncode == ExitCode.REFUSED, refused.stderr
    recovered = whole.faultload("recover")
    assert recovered.returncode == ExitCode.PASS, recovered.stdout + recovered.stderr


@contextmanager
def gone(platform: LocalTarget, component: str) -> Iterator[None]:
    """Take a component away and give it back."""
    (found,) = platform.workloads(component, None)
    platform.set_scale(found.name, found.uid, 0, Mark("a-token", 0.0))
    try:
        yield
    finally:
        platform.set_scale(found.name, found.uid, 1, Mark("a-token", 0.0))


def test_prometheus_that_goes_away_under_a_fault_is_never_a_pass(whole: Project) -> None:
    """The run goes on to its end, also with nobody left to read its words; nothing is certified."""
    with closing(platform_of(whole)) as platform, running(whole) as process:
        under_fault(whole, process)
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()
        process.stdout = process.stderr = None
        with gone(platform, "prometheus"):
            process.wait(_ENDS_WITHIN_S)

    verdict = is_sealed(whole)
    certifies_nothing = process.returncode in (ExitCode.FAIL, ExitCode.INCONCLUSIVE)
    assert certifies_nothing or whole.was_late(), verdict


def test_redis_that_goes_away_under_a_fault_ends_nothing(whole: Project) -> None:
    """The router serves without it: the run comes to its end, undoes its fault and is judged."""
    with closing(platform_of(whole)) as platform, running(whole) as process:
        under_fault(whole, process)
        with gone(platform, "redis"):
            code, words = end_of(process)

    verdict = is_sealed(whole)
    assert whole.is_judged(code), words
    entries = RunDirectory.open(whole.run_directory()).injections.entries()
    assert entries[-1].step is InjectionStep.VERIFIED_REVERTED, verdict


def test_few_files_are_missed_in_one_line(whole: Project) -> None:
    """A run that has no descriptor left for what it needs ends, and says so."""

    def narrow() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (12, 12))

    with running(whole, preexec_fn=narrow) as process:
        code, words = end_of(process)

    assert code in (ExitCode.INVALID, ExitCode.MISSING), words
    assert "too many open files" in words.lower()
