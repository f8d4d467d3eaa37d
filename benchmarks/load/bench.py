"""The load client beside its peers: one core each, the same server, one run after the other.

`python benchmarks/load/bench.py` prints a table and, with `--json FILE`, writes all figures. A peer
that is not in the environment can be named by its command, in which `{url}`, `{streams}` and
`{requests}` are filled in:

    --peer 'guidellm=guidellm run --backend kind=openai_http,target={url},model=chat …'

docs/load.md has the commands of a comparison that was made.

instant   64 streams at a time, every answer sent at once, one write a token
coalesced the same, every answer in one write: the ceiling of the parser
tls       as instant, over TLS
paced     256 streams in lock-step, first token after 100 ms, then one every 20 ms

Streams/s is by the wall clock and means little while others use the cores; CPU is the robust
figure. Errors are paired, request by request and token by token, with the server's own log, on one
clock: what the client saw minus what the server did. The server's lateness says how quiet the
machine was. A figure is the median over the runs; what was not measured is null, never 0.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import ipaddress
import json
import os
import resource
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

HERE = Path(__file__).parent
CLIENTS = ("faultload", "FastHttpUser", "HttpUser")
CLIENT_CORE, SERVER_CORE = 0, 1
BOUND_S = 120.0


@dataclass(frozen=True)
class Scene:
    """One way of serving, and how much is asked of it."""

    serve: tuple[str, ...]
    streams: int
    requests: int
    tls: bool = False


SCENES = {
    "instant": Scene((), 64, 3000),
    "coalesced": Scene(("--coalesce",), 64, 3000),
    "tls": Scene((), 64, 2000, tls=True),
    "paced": Scene(("--ttft", "0.1", "--itl", "0.02"), 256, 768),
}

# Ratios to FastHttpUser of the same run, and errors in seconds.
GOALS = {
    ("instant", "streams_per_s_to_guidellm"): (">=", 10.0),
    ("instant", "streams_per_s_to_aiperf"): (">=", 10.0),
    ("instant", "streams_per_s_ratio"): (">=", 1.5),
    ("tls", "streams_per_s_ratio"): (">=", 1.5),
    ("paced", "cpu_s_per_1k_ratio"): ("<=", 0.75),
    ("paced", "ttft_error_s_p50"): ("<=", 0.0005),
    ("paced", "ttft_error_s_p99"): ("<=", 0.005),
    ("paced", "gap_error_s_p99"): ("<=", 0.005),
}
COLUMNS = (
    ("streams_per_s", "streams/s", 1, 0),
    ("cpu_s_per_1k", "CPU-s/1k", 1, 3),
    ("ttft_error_s_p50", "TTFT p50 ms", 1e3, 2),
    ("ttft_error_s_p99", "TTFT p99 ms", 1e3, 2),
    ("gap_error_s_p99", "gap p99 ms", 1e3, 2),
    ("server_late_s_p99", "server late ms", 1e3, 2),
    ("rss_mib", "RSS MiB", 1, 0),
    ("failed", "failed", 1, 0),
)


def certificate(folder: Path) -> Path:
    """Write a self-signed certificate for 127.0.0.1, with its key; it is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path = folder / "certificate.pem"
    path.write_bytes(
        built.public_bytes(pem) + key.private_bytes(pem, pkcs8, serialization.NoEncryption())
    )
    return path


@contextlib.contextmanager
def serving(scene: Scene, cert: Path, log: Path) -> Iterator[str]:
    """Run the server on its core and yield its URL; its log is there afterwards."""
    command = [sys.executable, str(HERE / "server.py"), "--log", str(log), *scene.serve]
    command += ["--core", str(SERVER_CORE), *(("--cert", str(cert)) if scene.tls else ())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None  # noqa: S101 (for the type checker)
            yield f"http{'s' * scene.tls}://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(BOUND_S)


def measure(client: str, scene: Scene, cert: Path, folder: Path) -> dict[str, Any]:
    """Run one client of ours or Locust's once."""
    log = folder / "server.json"
    with serving(scene, cert, log) as url:
        command = [sys.executable, str(HERE / "clients.py"), client, "--url", url]
        command += ["--streams", str(scene.streams), "--requests", str(scene.requests)]
        command += ["--core", str(CLIENT_CORE), *(("--ca", str(cert)) if scene.tls else ())]
        done = subprocess.run(command, capture_output=True, timeout=BOUND_S, check=False)
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip().splitlines() or ["nothing"]
        sys.exit(f"{client} ended with code {done.returncode}; it last said: {words[-1]}")
    seen, truth = orjson.loads(done.stdout), orjson.loads(log.read_bytes())
    asked = scene.requests
    figures = {
        "streams_per_s": asked / seen["wall_s"],
        "cpu_s_per_1k": seen["cpu_s"] / asked * 1000,
        "cpu_share": seen["cpu_s"] / seen["wall_s"],
        "server_cpu_share": truth["cpu_s"] / truth["wall_s"] if truth["wall_s"] else None,
        "rss_mib": seen["rss_mib"],
        "failed": seen["failed"],
    }
    return figures | errors(seen["streams"], truth)


def errors(seen: dict[str, list[float]], truth: dict[str, Any]) -> dict[str, float | None]:
    """Return quantiles of what the client saw minus what the server did, over all streams."""
    names = ("ttft_error_s_p50", "ttft_error_s_p99", "gap_error_s_p99", "server_late_s_p99")
    if not truth["late_s"]:
        return dict.fromkeys(names)
    ttft, gaps = [], []
    for name, real in truth["streams"].items():
        told = seen.get(name, [])
        if len(told) != len(real):
            continue  # counted as failed; a pairing would compare different tokens
        steps = np.diff(told) - np.diff(real)
        ttft.append(float(steps[0]))
        gaps.append(np.abs(steps[1:]))
    if not ttft:
        return dict.fromkeys(names)
    values = [*np.quantile(np.abs(ttft), (0.5, 0.99)), np.quantile(np.concatenate(gaps), 0.99)]
    values.append(np.quantile(truth["late_s"], 0.99))
    return {name: float(value) for name, value in zip(names, values, strict=True)}


def measure_peer(command: str, scene: Scene, cert: Path, folder: Path) -> dict[str, Any] | None:
    """Run a foreign command once: rate by the server's log, CPU of the whole command.

    The rate is that of the middle eight tenths of the arrivals: a peer begins and ends slowly.
    """
    words = shlex.split(command)
    if shutil.which(words[0]) is None or scene.tls:
        return None
    log = folder / "server.json"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with serving(scene, cert, log) as url:
        fields = {"url": url, "streams": scene.streams, "requests": scene.requests}
        filled = [word.format(**fields) for word in words]
        with (folder / "peer.log").open("wb") as out:
            subprocess.run(
                ["taskset", "-c", str(CLIENT_CORE), *filled],
                stdout=out,
                stderr=subprocess.STDOUT,
                timeout=BOUND_S,
                check=False,
            )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    truth = orjson.loads(log.read_bytes())
    answered = truth["answered"]
    if not answered:
        return None
    early_s, late_s = np.quantile(truth["came_s"], [0.1, 0.9])
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "streams_per_s": 0.8 * answered / float(late_s - early_s),
        "cpu_s_per_1k": cpu_s / answered * 1000,
        "cpu_includes_start": True,
    }


def summarise(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the median of every figure, and the spread of the rates."""
    names = {name for run in runs for name in run}
    summary: dict[str, Any] = {}
    for name in sorted(names):
        values = [run[name] for run in runs if run.get(name) is not None]
        summary[name] = statistics.median(values) if values else None
    summary["runs"] = len(runs)
    return summary


def add_ratios(found: dict[str, dict[str, Any] | None]) -> None:
    """Add each client's ratios to FastHttpUser."""
    base, ours = found.get("FastHttpUser"), found.get("faultload")
    for peer in found.keys() - set(CLIENTS):
        beside = found[peer]
        if ours and beside:
            ours[f"streams_per_s_to_{peer}"] = ours["streams_per_s"] / beside["streams_per_s"]
    for figures in found.values():
        for name in ("streams_per_s", "cpu_s_per_1k"):
            if base and figures:
                figures[f"{name}_ratio"] = figures[name] / base[name]


def table(results: dict[str, dict[str, dict[str, Any] | None]]) -> Iterator[str]:
    """Yield the lines of the table."""
    heads = "".join(f"{head:>15}" for _, head, _, _ in COLUMNS)
    for scene, found in results.items():
        yield f"\n{scene:<14}{heads}"
        for client, figures in found.items():
            if figures is None:
                yield f"{client:<14}{'not measured':>15}"
                continue
            cells = [
                "-" if figures.get(name) is None else f"{figures[name] * scale:.{digits}f}"
                for name, _, scale, digits in COLUMNS
            ]
            yield f"{client:<14}" + "".join(f"{cell:>15}" for cell in cells)


def judge(results: dict[str, dict[str, dict[str, Any] | None]]) -> Iterator[dict[str, Any]]:
    """Yield each goal with what was found; `met` is None where nothing was measured."""
    for (scene, name), (sign, bound) in GOALS.items():
        value = (results.get(scene, {}).get("faultload") or {}).get(name)
        met = None if value is None else value >= bound if sign == ">=" else value <= bound
        yield {"goal": f"{scene}: {name} {sign} {bound}", "found": value, "met": met}


def main() -> int:
    """Measure, print, write; 1 if a goal was missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scenes", nargs="+", choices=SCENES, default=list(SCENES))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=COMMAND")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    peers = dict(peer.partition("=")[::2] for peer in asked.peer)
    peers = {"guidellm": "", "aiperf": ""} | peers
    began_s, load_before = time.time(), os.getloadavg()
    results: dict[str, dict[str, dict[str, Any] | None]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cert = certificate(folder)
        for scene_name in asked.scenes:
            scene = SCENES[scene_name]
            runs: dict[str, list[dict[str, Any]]] = {client: [] for client in (*CLIENTS, *peers)}
            for _ in range(asked.runs):  # interleaved: a noisy minute hits all alike
                for client in CLIENTS:
                    runs[client].append(measure(client, scene, cert, folder))
                for peer, command in peers.items():
                    got = measure_peer(command, scene, cert, folder) if command else None
                    runs[peer] += [got] if got else []
            found = {client: summarise(of) if of else None for client, of in runs.items()}
            add_ratios(found)
            results[scene_name] = found
    goals = list(judge(results))
    noise = {
        "load_before": load_before,
        "load_after": os.getloadavg(),
        "cores": os.cpu_count(),
        "took_s": time.time() - began_s,
    }
    print("\n".join(table(results)), end="\n\n")
    for goal in goals:
        state = {True: "met", False: "MISSED", None: "not measured"}[goal["met"]]
        value = "-" if goal["found"] is None else f"{goal['found']:.4g}"
        print(f"{goal['goal']:<50}{value:>10}  {state}")
    print(f"load average {load_before[0]:.1f} before, {noise['load_after'][0]:.1f} after")
    if asked.json:
        asked.json.write_text(json.dumps({"results": results, "goals": goals, "noise": noise}))
    return int(any(goal["met"] is False for goal in goals))


if __name__ == "__main__":
    sys.exit(main())
