"""The whole room: Locust processes against a server whose timing is known."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import pytest
from loads import BOUND_S, wait_until, workload
from streaming_server import streaming_server

from faultload.errors import DefectError, InvalidRunError, MissingError, UsageError
from faultload.load import LoadGenerator, make_trace, write_trace
from faultload.load.rows import merge, summarise
from faultload.record import Tail, read_requests

TTFT_S = 0.3


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server that sends its first token TTFT_S after a request."""
    with streaming_server(TTFT_S) as server:
        yield server.url


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Callable[..., LoadGenerator]]:
    """Make generators that are stopped with the test."""
    made: list[LoadGenerator] = []

    def make(url: str, duration_s: float = 60, workers: int = 1, **more: Any) -> LoadGenerator:
        trace = tmp_path / "trace.parquet"
        write_trace(make_trace(workload(), duration_s, 1), trace)
        out, logs = tmp_path / "out", tmp_path / "logs"
        made.append(LoadGenerator(trace, workload(), url, out, logs, workers, **more))
        return made[-1]

    yield make
    for generator in made:
        generator.stop(0)


@pytest.mark.local
def test_a_load_end_to_end(url: str, load: Callable[..., LoadGenerator], tmp_path: Path) -> None:
    """Latencies are the server's; every due row is there but a killed worker's; nothing stays."""
    generator = load(url, workers=2)
    generator.start()
    generator.wait_ready(BOUND_S)
    assert generator.alive()
    generator.go(time.time() + 0.2)
    rows: list[dict[str, Any]] = []

    def enough() -> bool:
        rows.extend(generator.poll())
        return len(rows) >= 60

    wait_until(enough, "60 rows")
    assert {row["status"] for row in rows} == {"ok"}
    assert {row["output_tokens"] for row in rows} == {4}
    assert all(row["connection_reused"] for row in rows)  # the pool was warm before the start
    ttfts_s = [row["first_token_s"] - row["due_s"] for row in rows]
    # The least, as the machine may be late, and the median of one that other tests use, too.
    assert min(ttfts_s) == pytest.approx(TTFT_S, rel=0.05)
    assert statistics.median(ttfts_s) == pytest.approx(TTFT_S, rel=0.2)

    generator._processes["locust-1"].kill()
    wait_until(lambda: not generator.alive(), "the killed worker's end")
    generator.begin_stop()
    generator.begin_stop()
    with pytest.raises(DefectError, match="stop the load before"):
        generator.collect(tmp_path / "requests.parquet", end_s=1000)
    generator.stop(BOUND_S)
    generator.stop(BOUND_S)
    for process in generator._processes.values():
        with pytest.raises(ProcessLookupError):
            os.kill(process.pid, 0)

    summary = generator.collect(tmp_path / "requests.parquet", end_s=1000)
    table = read_requests(tmp_path / "requests.parquet")
    rows += generator.poll()
    assert len({row["index"] for row in rows}) == len(rows)
    assert list(table["index"]) == list(range(len(table)))
    lost = table[table["worker"] == -1]
    assert (lost["index"] % 2 == 1).all()
    assert set(lost["status"]) <= {"unsent"}
    kept = table.drop(lost.index)
    assert (kept["index"] % 2 == kept["worker"]).all()
    assert set(kept["status"]) <= {"ok", "unfinished", "unsent"}
    assert (summary.requests_due, summary.rows) == (len(table), len(kept))
    assert summary.requests_sent == table["sent_s"].notna().sum()
    assert (summary.workers, summary.workers_lost) == (2, 1)
    # One was ended in good order and its rows are checked; the other never counted its own.
    assert [own.rows_lost for own in summary.health] == [0, None]
    assert not list(
        (tmp_path / "out").glob("faultload-share-0-*")
    )  # dropped, now that they are here
    assert summary.cpu_share_max is not None
    said = (tmp_path / "logs" / "locust-master.log").read_text()
    assert "POST" in said  # Locust's own statistics, of all workers together
    assert "TTFT" in said


@pytest.mark.local
def test_workers_die_with_whoever_started_them(url: str, tmp_path: Path) -> None:
    """A supervisor that is killed leaves no load running against the platform."""
    trace = tmp_path / "trace.parquet"
    write_trace(make_trace(workload(), 60, 1), trace)
    (tmp_path / "scenario.json").write_text(workload().model_dump_json())
    code = """
import sys, time
from pathlib import Path
from faultload.load import LoadGenerator
from faultload.spec.scenario import Scenario
here = Path(sys.argv[1])
scenario = Scenario.model_validate_json((here / "scenario.json").read_text())
load = LoadGenerator(here / "trace.parquet", scenario, sys.argv[2], here / "out", here / "logs")
load.start()
load.wait_ready(30)
load.go(time.time())
print(load._processes["locust-0"].pid, flush=True)
time.sleep(60)
"""
    command = [sys.executable, "-c", code, str(tmp_path), url]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as supervisor:
        assert supervisor.stdout is not None
        pid = int(supervisor.stdout.readline())
        supervisor.send_signal(signal.SIGKILL)

    def gone() -> bool:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        return state == "Z"  # nobody may be there to reap it in a container

    wait_until(gone, "the orphaned worker's end")


def test_a_worker_that_fails_early_is_quoted(
    load: Callable[..., LoadGenerator], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A load that ends before it is ready is one clear line, in the worker's own last words."""
    monkeypatch.setattr(sys, "executable", "/bin/echo")  # says its arguments and ends
    generator = load("http://127.0.0.1:1")
    generator.start()
    with pytest.raises(
        InvalidRunError, match=r"locust-0 ended with code 0 .* last said: -m locust"
    ):
        generator.wait_ready(BOUND_S)


def test_a_worker_that_hangs_early_is_not_waited_for(
    load: Callable[..., LoadGenerator], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The wait for readiness has a bound, and stopping ends what does not listen."""
    deaf = tmp_path / "deaf"
    deaf.write_text("#!/bin/sh\ntrap '' TERM\necho deaf\nwhile :; do sleep 0.05; done\n")
    deaf.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(deaf))
    generator = load("http://127.0.0.1:1")
    generator.start()
    wait_until(lambda: "deaf" in generator._last_words("locust-0"), "its first word")
    with pytest.raises(InvalidRunError, match=r"not ready within 0.1 s; locust-0 last said: deaf"):
        generator.wait_ready(0.1)
    generator.stop(0.1)
    assert not generator.alive()


def test_what_cannot_work_is_refused_at_once(
    load: Callable[..., LoadGenerator], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A URL we cannot speak to, a key that is not there, a table before the stop."""
    for bad in ("ftp://x", "x:8000", "http://", "http://x/?a=1", "http://x:port"):
        with pytest.raises(UsageError, match="expected http://HOST"):
            load(bad)
    with pytest.raises(UsageError) as refused:
        load("http://me:s3cret@x")
    assert "s3cret" not in str(refused.value)
    monkeypatch.delenv("SOME_KEY", raising=False)
    with pytest.raises(MissingError, match="SOME_KEY"):
        load("http://x", api_key_env="SOME_KEY")
    with pytest.raises(DefectError, match="stop the load"):
        load("http://x").collect(tmp_path / "requests.parquet", 1)


def test_a_load_that_never_went_collects_nothing(
    load: Callable[..., LoadGenerator], tmp_path: Path
) -> None:
    """Nothing was due, so nothing is missing; no number is invented."""
    generator = load("http://127.0.0.1:1")
    generator.stop(1)
    summary = generator.collect(tmp_path / "requests.parquet", 10)
    assert (summary.requests_due, summary.rows, summary.lag_s_p99) == (0, 0, None)
    assert summary.cpu_share_max is None
    assert len(read_requests(tmp_path / "requests.parquet")) == 0


def test_unrecorded_requests_are_unsent_and_counted_as_lost(tmp_path: Path) -> None:
    """Every due request has a row; `rows` counts only those somebody wrote."""
    trace = make_trace(workload(), 1, 1)
    row = {"index": 0, "due_s": 0.0, "sent_s": 0.001, "status": "ok", "worker": 0}
    row |= dict.fromkeys(["http_status", "prompt_tokens", "output_tokens_asked"], 1)
    row |= dict.fromkeys(["output_tokens", "tokens_duplicated", "tokens_missing"], 1)
    row |= {"retries": 0, "migrations": 0, "connection_reused": True, "gap_s_max": None}
    merged = merge(trace, [row], end_s=0.5)
    assert list(merged["status"]) == ["ok"] + ["unsent"] * 29
    summary = summarise(merged, [], workers_lost=1)
    assert (summary.requests_due, summary.requests_sent, summary.rows) == (30, 1, 1)
    assert summary.lag_s_p99 == pytest.approx(0.001)
    assert pd.isna(merged["gap_s_max"]).all()


def test_a_torn_line_waits_for_its_end(tmp_path: Path) -> None:
    """A reader never sees half a row, and never the same row twice."""
    path = tmp_path / "rows.jsonl"
    tail = Tail(path)
    assert tail.read() == []
    path.write_bytes(b'{"a":1}\n{"a"')
    assert tail.read() == [{"a": 1}]
    with path.open("ab") as file:
        file.write(b":2}\n" + orjson.dumps({"a": 3}) + b"\n")
    assert tail.read() == [{"a": 2}, {"a": 3}]
    assert tail.read() == []


@pytest.mark.parametrize("module", ["faultload.load", "faultload.cli"])
def test_locust_stays_out_of_our_own_process(module: str) -> None:
    """Importing Locust patches sockets, threads and signals: only the workers may."""
    code = (
        "import importlib.util, sys\n"
        f"if importlib.util.find_spec('{module}'): __import__('{module}')\n"
        "bad = {'locust', 'gevent', 'faultload.load.worker'} & set(sys.modules)\n"
        "sys.exit(f'imported: {bad}' if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
