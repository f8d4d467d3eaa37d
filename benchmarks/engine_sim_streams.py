"""How fast the engine simulator streams in real time, beside other mock servers.

`python benchmarks/engine_sim_streams.py --peer 'NAME=COMMAND' …` starts each server by itself as
many times as there are runs, keeps so many streams open and counts what arrives. It prints, by
server, step time and number of streams, the median (and the range) of streams a second and of
tokens for each second of the server's CPU time, all of its processes and threads together.

A peer's command has `{port}` and may have `{step_ms}`: 0 for as fast as it can, else the time
from one token to the next. `{positive_ms}` is the same for servers that take no 0. The peers whose
figures are in docs/engine-simulator.md:

    --peer 'guidellm 0.8.1=guidellm mock-server --host 127.0.0.1 --port {port}
            --ttft-ms {step_ms} --itl-ms {step_ms} --output-tokens 128'
    --peer 'aiperf=aiperf-mock-server --host 127.0.0.1 --port {port}
            --ttft {positive_ms} --itl {positive_ms} --tokenizer-models DIRECTORY'
            --model DIRECTORY

The second echoes the prompt, which is why the prompt has as many words as the answer has tokens.
Linux only: CPU time is read from /proc.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import csv
import importlib.metadata
import json
import os
import platform
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import cast

import psutil
import uvloop

OURS = (
    f"{sys.executable} -m inference_platform.engine_sim --port {{port}} --sim-die-with-parent "
    "--sim-step-base-s {step_s} --sim-step-per-seq-s 0 --sim-prefill-per-token-s 0"
)
KNOWN_PEERS = ("guidellm", "aiperf")
LEAST_STEP_S = 1e-4  # the simulator takes no less
EVENT, LAST_CHUNK = b"data: ", b"0\r\n\r\n"
TAIL = len(EVENT) - 1  # the most of a split event, and more than the most of a split last chunk
START_BOUND_S, STREAM_BOUND_S = 90.0, 60.0


class BenchmarkError(Exception):
    """Why there is no figure, in one line."""


@dataclass(frozen=True)
class Work:
    """What every stream asks for. `model` is a name that the servers take."""

    tokens: int
    model: str

    def request(self) -> bytes:
        """Return the bytes of one request."""
        body = {
            "model": self.model,
            "messages": [
                {"role": "user", "content": " ".join(f"w{i:04d}" for i in range(self.tokens))}
            ],
            "max_tokens": self.tokens,
            "max_completion_tokens": self.tokens,
            "ignore_eos": True,
            "stream": True,
        }
        raw = json.dumps(body).encode()
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: bench\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n"
        return head.encode() + raw


@dataclass
class Count:
    """What has arrived on all connections; `wrong` is the first thing that should not have."""

    events: int = 0
    streams: int = 0
    wrong: str = ""


class Reader(asyncio.Protocol):
    """One connection: asks, counts events as they come, asks again.

    It looks for two byte strings in what arrives and parses nothing, so that the server is the
    limit.
    """

    def __init__(self, request: bytes, count: Count, events: int) -> None:
        """Expect so many events of each stream; 0 takes any."""
        self._request, self._count, self._expected = request, count, events
        self._transport: asyncio.Transport | None = None
        self._tail, self._events = b"", 0
        self.text = bytearray()
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the first stream."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Count; at the end of a stream ask for the next one."""
        if not self._tail and not data.startswith(b"HTTP/1.1 200"):
            self._fail(f"expected HTTP/1.1 200, found {data[:60]!r}")
            return
        data = self._tail + data
        found = data.count(EVENT)
        self._events += found
        self._count.events += found
        if not self._expected:
            self.text += data[len(self._tail) :]
        if not data.endswith(LAST_CHUNK):
            self._tail = data[-TAIL:]
            return
        if self._expected not in (0, self._events):
            self._fail(f"expected {self._expected} events in a stream, found {self._events}")
            return
        self._count.streams += 1
        self._tail, self._events = b"", 0
        if self._expected and self._transport is not None:
            self._transport.write(self._request)
        elif not self.done.done():
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """A server that hangs up is no measurement."""
        if not self.done.done():
            self._fail(f"the server closed the connection: {exc}")

    def close(self) -> None:
        """Leave."""
        if not self.done.done():
            self.done.set_result(None)
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, why: str) -> None:
        self._count.wrong = self._count.wrong or why
        if not self.done.done():
            self.done.set_result(None)


@dataclass(frozen=True)
class Server:
    """A server under test: its name and its command with placeholders."""

    name: str
    command: str

    @contextlib.contextmanager
    def running(self, port: int, step_ms: float) -> Iterator[psutil.Process]:
        """Run it; its output goes nowhere, all of its processes end with the block."""
        command = self.command.format(
            port=port,
            step_ms=f"{step_ms:g}",
            positive_ms=f"{max(step_ms, 0.001):g}",
            step_s=f"{max(step_ms / 1000, LEAST_STEP_S):g}",
        )
        process = subprocess.Popen(
            shlex.split(command),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield psutil.Process(process.pid)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def cpu_s(server: psutil.Process) -> float:
    """Return user and system time of a process and of all that descend from it, in seconds."""
    total = 0
    for process in [server, *server.children(recursive=True)]:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for thread in Path(f"/proc/{process.pid}/task").iterdir():
                total += int((thread / "schedstat").read_text(encoding="ascii").split()[0])
    return total / 1e9


@dataclass(frozen=True)
class Probe:
    """What one stream of a server consists of."""

    events: int
    tokens: int


async def probe(server: psutil.Process, port: int, work: Work) -> Probe:
    """Wait until the server answers, and look at one stream closely."""
    give_up, last = time.monotonic() + START_BOUND_S, "nothing listens"
    loop = asyncio.get_running_loop()
    while time.monotonic() < give_up:
        if server.status() == psutil.STATUS_ZOMBIE:
            raise BenchmarkError("the server ended by itself")
        count = Count()
        try:
            reader = Reader(work.request(), count, 0)
            await loop.create_connection(partial(_same, reader), "127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.1)
            continue
        async with asyncio.timeout(STREAM_BOUND_S):
            await reader.done
        reader.close()
        if not count.wrong:
            return _take_apart(bytes(reader.text))
        last = count.wrong
        await asyncio.sleep(0.1)
    raise BenchmarkError(f"no stream within {START_BOUND_S} s of its start; last: {last}")


def _same(reader: Reader) -> Reader:
    return reader


def _take_apart(answer: bytes) -> Probe:
    """Count events and those of them that bring text."""
    parts = answer.split(EVENT)[1:]
    tokens = 0
    for part in parts:
        if part.startswith(b"{"):
            choices = json.loads(part.partition(b"\n")[0]).get("choices") or [{}]
            tokens += bool(choices[0].get("text") or choices[0].get("delta", {}).get("content"))
    return Probe(len(parts), tokens)


@dataclass
class Figures:
    """What the runs of one server at one load gave, one value a run."""

    tokens: int = 0  # in one stream
    streams_per_s: list[float] = field(default_factory=list)
    tokens_per_s: list[float] = field(default_factory=list)
    tokens_per_cpu_s: list[float] = field(default_factory=list)
    client_share: list[float] = field(default_factory=list)  # of one core


async def measure(  # noqa: PLR0913  # what to measure, for how long and where to put it
    server: psutil.Process, port: int, work: Work, streams: int, window_s: float, into: Figures
) -> None:
    """Keep so many streams open; add one run's figures."""
    stream = await probe(server, port, work)
    count, loop = Count(), asyncio.get_running_loop()
    request = work.request()
    opened = [
        await loop.create_connection(
            lambda: Reader(request, count, stream.events), "127.0.0.1", port
        )
        for _ in range(streams)
    ]
    await asyncio.sleep(window_s / 4)
    before = (time.monotonic(), count.events, cpu_s(server), time.process_time())
    await asyncio.sleep(window_s)
    after = (time.monotonic(), count.events, cpu_s(server), time.process_time())
    for _, reader in opened:
        reader.close()
    took_s, events, server_s, client_s = (b - a for a, b in zip(before, after, strict=True))
    if count.wrong:
        raise BenchmarkError(count.wrong)
    if not events:
        raise BenchmarkError(f"nothing arrived within {window_s} s")
    tokens = events * stream.tokens / stream.events
    into.tokens = stream.tokens
    into.streams_per_s.append(events / stream.events / took_s)
    into.tokens_per_s.append(tokens / took_s)
    into.tokens_per_cpu_s.append(tokens / server_s)
    into.client_share.append(client_s / took_s)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


Results = dict[tuple[str, float, int], Figures | str]


def run_all(servers: Sequence[Server], asked: argparse.Namespace) -> Results:
    """Measure every server at every load; a text says why there are no figures."""
    results: Results = {}
    work = Work(asked.tokens, asked.model)
    loads = [(step_ms, streams) for step_ms in asked.step_ms for streams in asked.streams]
    for _ in range(asked.runs):
        for step_ms in asked.step_ms:
            for server in servers:
                port = free_port()
                with server.running(port, step_ms) as process:
                    for streams in asked.streams:
                        found = results.setdefault((server.name, step_ms, streams), Figures())
                        if isinstance(found, str):
                            continue
                        run = measure(process, port, work, streams, asked.window_s, found)
                        try:
                            uvloop.run(run)
                        except (BenchmarkError, TimeoutError, psutil.Error) as error:
                            why = f"not measured: {str(error) or 'a stream did not end'}"
                            results[server.name, step_ms, streams] = why
    for peer in KNOWN_PEERS:
        if not any(server.name.startswith(peer) for server in servers):
            results |= {(peer, *load): "not measured" for load in loads}
    return results


def spread(values: Sequence[float], digits: int = 0) -> str:
    """Return the median and, over more than one run, the range."""
    text = f"{statistics.median(values):,.{digits}f}"
    if len(values) < 2:
        return text
    return f"{text} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def show(results: Results) -> None:
    """Print a Markdown table."""
    print("| server | step | streams | tokens per CPU-second | tokens/s | streams/s | client |")
    print("|--|--:|--:|--:|--:|--:|--:|")
    for (name, step_ms, streams), found in results.items():
        step = f"{step_ms:g} ms" if step_ms else "least"
        if isinstance(found, str):
            print(f"| {name} | {step} | {streams} | {found} | | | |")
            continue
        cells = [spread(found.tokens_per_cpu_s), spread(found.tokens_per_s)]
        cells += [spread(found.streams_per_s, 1), f"{max(found.client_share):.0%}"]
        print(f"| {name} | {step} | {streams} | {' | '.join(cells)} |")


def write_csv(results: Results, path: Path) -> None:
    """Write every run; a server that was not measured has one line without figures."""
    with path.open("w", encoding="utf-8", newline="") as file:
        write = csv.writer(file, lineterminator="\n").writerow
        kinds = ("tokens_per_cpu_s", "tokens_per_s", "streams_per_s", "client_share")
        write(["server", "step_ms", "streams", "run", "tokens_in_a_stream", *kinds, "why_not"])
        for key, found in results.items():
            if isinstance(found, str):
                write([*key, "", "", *[""] * len(kinds), found])
                continue
            for run, values in enumerate(zip(*(getattr(found, k) for k in kinds), strict=True)):
                write([*key, run + 1, found.tokens, *(f"{value:.4g}" for value in values), ""])


def read_peer(text: str) -> Server:
    """Read NAME=COMMAND."""
    name, separator, command = text.partition("=")
    if not separator or "{port}" not in command:
        raise argparse.ArgumentTypeError(f"expected NAME=COMMAND with {{port}} in it, got {text!r}")
    return Server(name, command)


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer", type=read_peer, action="append", default=[])
    parser.add_argument("--tokens", type=int, default=128, help="in each stream")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 16, 64, 256])
    parser.add_argument("--step-ms", type=float, nargs="+", default=[0.0, 10.0], help="0: least")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--window-s", type=float, default=2.5, help="how long a run is measured")
    parser.add_argument("--model", default="bench", help="name of the model in every request")
    parser.add_argument("--csv", type=Path, help="write every run there")
    asked = parser.parse_args()
    command = f"{OURS} --model {shlex.quote(asked.model)}"
    results = run_all([Server("engine_sim", command), *asked.peer], asked)
    show(results)
    if asked.csv:
        write_csv(results, asked.csv)
    used = [f"{name} {importlib.metadata.version(name)}" for name in ("uvicorn", "uvloop")]
    print(
        f"\n{asked.tokens} tokens asked for; Python {platform.python_version()}, {', '.join(used)}"
    )
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{os.cpu_count()} cores, load {load}; client: most of one core that it used in any run")
    return 0


if __name__ == "__main__":
    sys.exit(main())
