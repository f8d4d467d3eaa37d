"""Several workers are a Locust master and its workers; here they meet over loopback."""

from __future__ import annotations

import contextlib
import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from loads import BOUND_S, made_trace, wait_until, workload
from streaming_server import StreamingServer, streaming_server

from faultload.cli import invoke
from faultload.errors import ExitCode, UsageError
from faultload.judge import Evidence
from faultload.judge.validity import check_load
from faultload.load import LoadGenerator
from faultload.load.plan import EndNote, WorkerPlan
from faultload.load.rows import rows_lost
from faultload.record import Tail, read_requests
from faultload.spec.scenario import Timeouts

pytestmark = pytest.mark.local


@pytest.fixture(scope="module")
def server() -> Iterator[StreamingServer]:
    """A server that sends its first token after 50 ms."""
    with streaming_server(0.05) as running:
        yield running


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Start workers as another machine would, by one command; they end with the test."""
    started: list[subprocess.Popen[bytes]] = []
    (tmp_path / "tmp").mkdir()

    def make(master: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "faultload", "load", "worker", "--master", master]
        with (tmp_path / f"worker-{len(started)}.log").open("wb") as log:
            environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        started.append(process)
        return process

    yield make
    for process in started:
        process.kill()
        process.wait(BOUND_S)


def test_workers_of_other_machines(
    server: StreamingServer, start: Callable[[str], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    """They get their share, start on the master's clock and send every row; a lost one is seen."""
    trace = made_trace(tmp_path / "trace.parquet", 60)
    load = LoadGenerator(
        trace, workload(), server.url, tmp_path / "out", tmp_path, 2, listen="127.0.0.1:0"
    )
    load.start()
    with contextlib.ExitStack() as held:
        held.callback(load.stop, 0.0)
        port = load.port
        workers = [start(f"127.0.0.1:{port}") for _ in range(2)]
        load.wait_ready(BOUND_S)
        load.go(time.time() + 0.2)
        rows: list[dict[str, Any]] = []

        def heard_of_both() -> bool:
            rows.extend(load.poll())
            counts = [sum(row["worker"] == number for row in rows) for number in (0, 1)]
            return min(counts) >= 20

        wait_until(heard_of_both, "rows of both workers")
        assert load.alive()
        workers[1].send_signal(signal.SIGSTOP)  # a machine that is cut off says no goodbye
        wait_until(lambda: not load.alive(), "the loss of a worker")
        load.stop(BOUND_S)
        assert workers[0].wait(BOUND_S) == 0

    summary = load.collect(tmp_path / "requests.parquet", end_s=1000)
    table = read_requests(tmp_path / "requests.parquet")
    rows += load.poll()
    assert {row["index"] for row in rows} == set(table[table["worker"] >= 0]["index"])
    whole, broken = sorted(summary.health, key=lambda own: own.rows_lost is None)
    assert (whole.rows_lost, broken.rows_lost, summary.workers_lost) == (0, None, 1)
    assert min(whole.requests_sent, broken.requests_sent) >= 20
    assert whole.clock_error_s is not None
    assert 0 < whole.clock_error_s < 0.05
    for worker in (whole, broken):
        own = table[table["worker"] == worker.worker]
        assert (own["index"] % 2 == worker.worker).all()
    evidence = Evidence.__new__(Evidence)  # the load's rules look at two of its fields only
    object.__setattr__(evidence, "load", summary)
    object.__setattr__(evidence, "requests", table)
    assert any("1 of 2 load workers were lost" in found.text for found in check_load(evidence))
    left = [path.name for path in (tmp_path / "tmp").glob("*/share-*")]
    assert len(left) == 1  # the lost worker's own files; the other's are here, complete


def test_locust_by_hand_shows_streams_in_its_own_files(
    server: StreamingServer, tmp_path: Path
) -> None:
    """`locust -f scenarios/locustfile.py` does it; its CSV has TTFT, TPOT and tokens/s."""
    root = Path(__file__).parents[3]
    command = [sys.executable, "-m", "locust", "-f", str(root / "scenarios" / "locustfile.py")]
    command += ["--headless", "--users", "3", "--spawn-rate", "3", "--run-time", "3"]
    command += ["--host", server.url, "--csv", "by-hand", "--only-summary", "--duration", "60"]
    command += ["--scenario", str(root / "scenarios" / "chat-steady.yaml")]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        timeout=BOUND_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with (tmp_path / "by-hand_stats.csv").open() as file:
        table = {(row["Type"], row["Name"]): row for row in csv.DictReader(file)}
    assert 40 <= float(table["TTFT", "chat-fast"]["Median Response Time"]) <= 200
    assert 5 <= float(table["TPOT", "chat-fast"]["Median Response Time"]) <= 50
    assert ("tokens/s", "chat-reasoning") in table
    total = sum(int(row["Request Count"]) for key, row in table.items() if key[0] == "POST")
    assert int(table["", "Aggregated"]["Request Count"]) == total
    (out,) = tmp_path.glob("faultload-load-*")
    rows = Tail(out / "rows-0.jsonl").read()
    assert len({row["index"] for row in rows}) == len(rows) >= total  # one share, three users
    assert (out / "end-0.json").exists()


def test_no_address_is_a_usage_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One line that says what was expected."""
    assert invoke(["load", "worker", "--master", "somewhere"]) == ExitCode.USAGE
    assert "expected HOST:PORT, found 'somewhere'" in capfd.readouterr().err
    with pytest.raises(UsageError, match="expected HOST:PORT"):
        LoadGenerator(tmp_path, workload(), "http://x", tmp_path, tmp_path, listen="x:99999")


def test_rows_are_checked_by_count_and_by_hash(tmp_path: Path) -> None:
    """A row that did not arrive is counted, and a row that arrived changed makes all doubtful."""
    plan = WorkerPlan(
        worker=0,
        workers=1,
        trace=tmp_path,
        base_url="http://x",
        timeouts=Timeouts(),
        ignore_eos=True,
        out=tmp_path,
        parent_pid=0,
    )
    assert rows_lost(plan) is None
    plan.rows_path.write_bytes(b'{"a":1}\n{"a":2}\n{"a":3}\n')
    plan.end_path.write_text(EndNote.of(plan.rows_path).model_dump_json())
    assert rows_lost(plan) == 0
    plan.rows_path.write_bytes(b'{"a":1}\n{"a":2}\n{"a":')
    assert rows_lost(plan) == 1
    plan.rows_path.write_bytes(b'{"a":1}\n{"a":2}\n{"a":4}\n')
    assert rows_lost(plan) == 3
