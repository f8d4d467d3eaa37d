"""Several workers are a Locust master and its workers; here they meet over loopback."""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from loads import BOUND_S, load_problems, made_trace, wait_until, workload
from streaming_server import StreamingServer, streaming_server
from wire import DONE, LAST_CHUNK, STREAM_HEAD, chunk, read_request, stream, token

from faultload.cli import invoke
from faultload.errors import ExitCode, InvalidRunError, UsageError
from faultload.load import LoadGenerator
from faultload.load.plan import EndNote, WorkerPlan
from faultload.load.rows import rows_lost
from faultload.record import Tail, read_requests
from faultload.spec.scenario import Timeouts

TIERS = ("fast", "reasoning")

pytestmark = pytest.mark.local


@pytest.fixture(scope="module")
def server() -> Iterator[StreamingServer]:
    """A server that sends its first token after 50 ms."""
    with streaming_server(0.05) as running:
        yield running


@pytest.fixture
def worker_of(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Start a worker as another machine would, by one command; it ends with the test."""
    started: list[subprocess.Popen[bytes]] = []
    (tmp_path / "tmp").mkdir()

    def make(master: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "faultload", "load", "worker", "--master", master]
        with (tmp_path / "worker.log").open("wb") as log:
            environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        started.append(process)
        return process

    yield make
    for process in started:
        process.kill()
        process.wait(BOUND_S)


@pytest.mark.full
def test_a_worker_of_another_machine_that_is_cut_off(
    server: StreamingServer,
    worker_of: Callable[[str], subprocess.Popen[bytes]],
    tmp_path: Path,
) -> None:
    """It gets its share, starts on the master's clock, sends its rows; its silence is seen."""
    trace = made_trace(tmp_path / "trace.parquet", 60)
    load = LoadGenerator(
        trace, workload(), server.url, tmp_path / "out", tmp_path, listen="127.0.0.1:0"
    )
    load.start()
    with contextlib.ExitStack() as held:
        held.callback(load.stop, 0.0)
        worker = worker_of(f"127.0.0.1:{load.port}")
        load.wait_ready(BOUND_S)
        t0_unix_s = time.time() + 0.2
        load.go(t0_unix_s)
        rows: list[dict[str, Any]] = []

        def heard_of() -> bool:
            rows.extend(load.poll())
            return len(rows) >= 30

        wait_until(heard_of, "the worker's rows")
        latest_s = max(row["end_s"] for row in rows)
        assert latest_s == pytest.approx(time.time() - t0_unix_s, abs=1.0)  # one clock
        assert load.alive()
        worker.send_signal(signal.SIGSTOP)  # a machine that is cut off says no goodbye
        wait_until(lambda: not load.alive(), "the loss of the worker")
        load.stop(BOUND_S)

    summary = load.collect(tmp_path / "requests.parquet", end_s=1000)
    table = read_requests(tmp_path / "requests.parquet")
    rows += load.poll()
    assert {row["index"] for row in rows} == set(table[table["worker"] == 0]["index"])
    (health,) = summary.health
    assert (health.rows_lost, summary.workers_lost) == (None, 1)
    assert health.clock_error_s is not None
    assert 0 < health.clock_error_s < 0.1
    assert any("1 of 1 load workers were lost" in text for text in load_problems(summary, table))
    (left,) = (tmp_path / "tmp").glob("faultload-share-0-*/rows-0.jsonl")
    assert left.read_bytes().count(b"\n") >= len(rows)  # its own copy is for a person to look at


def entries_of(page: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Return what Locust's own page shows now, by kind and name; empty while it is not up."""
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            page, None, 5
        ) as got:
            shown = json.loads(got.read())
    except OSError:
        return {}
    return {(row["method"], row["name"]): row for row in shown["stats"]} | {
        ("failure", row["name"]): row for row in shown["errors"]
    }


def test_failures_and_streams_show_in_locusts_page_and_csv(serve: Any, tmp_path: Path) -> None:
    """A cut stream is a failure by its own status; TTFT, TPOT and tokens/s stand beside it."""
    asked = itertools.count(1)

    def script(connection: socket.socket) -> None:
        while read_request(connection):
            if next(asked) % 3 == 0:
                connection.sendall(stream(token("tok0000-3fa9 "), end=b""))
                return
            connection.sendall(STREAM_HEAD + chunk(token("tok0000-3fa9 ")))
            time.sleep(0.01)
            connection.sendall(
                b"".join(map(chunk, [token("tok0001-3fa9 ", "length"), DONE])) + LAST_CHUNK
            )

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    root = Path(__file__).parents[3]
    command = [sys.executable, "-m", "locust", "-f", str(root / "scenarios" / "locustfile.py")]
    command += ["--autostart", "--web-host", "127.0.0.1", "--web-port", port, "--csv", "shown"]
    command += ["--users", "1", "--spawn-rate", "1", "--duration", "60"]
    command += ["--scenario", str(root / "scenarios" / "chat-steady.yaml")]
    page = f"http://127.0.0.1:{port}/stats/requests"
    wanted = {("POST", "chat-fast"), ("failure", "chat-fast")}
    wanted |= {(kind, "chat-fast") for kind in ("TTFT", "TPOT", "tokens/s")}
    with (tmp_path / "log").open("wb") as log:
        locust = subprocess.Popen(
            [*command, "--host", serve(script).url],
            cwd=tmp_path,
            env={**os.environ, "TMPDIR": str(tmp_path)},
            stdout=log,
            stderr=log,
        )
    try:
        shown: dict[tuple[str, str], dict[str, Any]] = {}
        wait_until(lambda: shown.update(entries_of(page)) or wanted <= set(shown), "the page")
        failures = tmp_path / "shown_failures.csv"
        wait_until(lambda: failures.exists() and "cut" in failures.read_text(), "the CSV")
    finally:
        locust.terminate()
        locust.wait(BOUND_S)
    assert shown["failure", "chat-fast"]["error"] == "cut"
    assert shown["POST", "chat-fast"]["num_failures"] >= 1
    assert shown["TTFT", "chat-fast"]["num_failures"] == 0
    assert 5 <= shown["TPOT", "chat-fast"]["avg_response_time"] <= 1000
    assert 1 <= shown["tokens/s", "chat-fast"]["avg_response_time"] <= 2000
    with (tmp_path / "shown_failures.csv").open() as file:
        assert {row["Error"] for row in csv.DictReader(file)} == {"cut"}


@pytest.mark.parametrize(
    "is_up", [True, pytest.param(False, marks=pytest.mark.full)], ids=["played", "refused"]
)
def test_a_worker_of_another_machine_leaves_nothing_behind(
    server: StreamingServer,
    worker_of: Callable[[str], subprocess.Popen[bytes]],
    tmp_path: Path,
    *,
    is_up: bool,
) -> None:
    """No file and no empty folder: neither after a load that went well, nor after one refused."""
    trace = made_trace(tmp_path / "trace.parquet", 60)
    url = server.url if is_up else "http://127.0.0.1:1"
    load = LoadGenerator(trace, workload(), url, tmp_path / "out", tmp_path, listen="127.0.0.1:0")
    load.start()
    with contextlib.ExitStack() as held:
        held.callback(load.stop, 0.0)
        worker = worker_of(f"127.0.0.1:{load.port}")
        if is_up:
            load.wait_ready(BOUND_S)
            load.go(time.time())
            wait_until(load.poll, "the worker's rows")
        else:
            with pytest.raises(InvalidRunError, match="cannot reach"):
                load.wait_ready(BOUND_S)
        load.stop(BOUND_S)
    worker.wait(BOUND_S)
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.full
def test_locust_by_hand_shows_streams_in_its_own_files(
    server: StreamingServer, tmp_path: Path
) -> None:
    """`locust -f scenarios/locustfile.py` does it; its CSV has TTFT, TPOT and tokens/s."""
    root = Path(__file__).parents[3]
    command = [sys.executable, "-m", "locust", "-f", str(root / "scenarios" / "locustfile.py")]
    command += ["--headless", "--users", "3", "--spawn-rate", "3", "--duration", "60"]
    command += ["--host", server.url, "--csv", "by-hand", "--only-summary"]
    command += ["--scenario", str(root / "scenarios" / "chat-steady.yaml")]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}

    def enough() -> bool:
        """Locust writes its CSV once a second: wait for two after both tiers were answered."""
        for path in tmp_path.glob("faultload-load-*/rows-0.jsonl"):
            rows = [row for row in Tail(path).read() if row["status"] == "ok"]
            both = [min((r["end_s"] for r in rows if r["tier"] == t), default=99) for t in TIERS]
            latest_s = max((row["end_s"] for row in rows), default=0)
            return latest_s > max(both) + 2
        return False

    with (tmp_path / "log").open("wb") as log:
        locust = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
    try:
        wait_until(enough, "rows of both tiers")
    finally:
        locust.terminate()
        code = locust.wait(BOUND_S)
    assert code == 0, (tmp_path / "log").read_text()
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
