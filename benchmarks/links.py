"""What an undisturbed link costs, against a direct connection in the same run.

`python benchmarks/links.py --streams 64 --seconds 5` streams 250-byte tokens, one each 20 ms, and
prints how much later they come through the relay, and what the relay's CPU pays for each. Rounds
with and without the relay take turns. Tokens of different streams come spread over the 20 ms, or
all at once as from one engine's step. Linux only: CPU time is read from /proc.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import cast

import numpy as np
import uvloop

from inference_platform.local.links.document import Link
from inference_platform.local.links.file import LinkFile

TOKEN_BYTES = 250
TOKEN_S = 0.02
ROUNDS = 4
HOST = "127.0.0.1"


class Stream(asyncio.Protocol):
    """A callee's end: a token each 20 ms, with the time it was sent; the caller says when."""

    def data_received(self, data: bytes) -> None:
        """Start after so many seconds."""
        loop = asyncio.get_running_loop()
        self._due = loop.time() + struct.unpack("d", data)[0]
        loop.call_at(self._due, self._tick)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what to write to."""
        self._transport = cast("asyncio.Transport", transport)

    def _tick(self) -> None:
        if self._transport.is_closing():
            return
        stamp = struct.pack("d", time.monotonic())
        self._transport.write(stamp.ljust(TOKEN_BYTES, b"."))
        self._due += TOKEN_S
        asyncio.get_running_loop().call_at(self._due, self._tick)


class Caller(asyncio.Protocol):
    """A caller's end: notes how old each token is."""

    def __init__(self, start_s: float, delays_s: list[float]) -> None:
        """`start_s` is when its stream begins."""
        self._start_s = start_s
        self._delays_s = delays_s
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for a stream."""
        cast("asyncio.Transport", transport).write(struct.pack("d", self._start_s))

    def data_received(self, data: bytes) -> None:
        """Take the tokens that are whole."""
        now = time.monotonic()
        data = self._rest + data
        whole = len(data) // TOKEN_BYTES * TOKEN_BYTES
        for at in range(0, whole, TOKEN_BYTES):
            self._delays_s.append(now - struct.unpack_from("d", data, at)[0])
        self._rest = data[whole:]


def serve(listener: socket.socket) -> None:
    """Be the callee."""

    async def forever() -> None:
        server = await asyncio.get_running_loop().create_server(Stream, sock=listener)
        await server.serve_forever()

    uvloop.run(forever())


async def ask(port: int, streams: int, seconds: float, *, spread: bool) -> list[float]:
    """Return how old each token was when it came."""
    loop = asyncio.get_running_loop()
    delays_s: list[float] = []
    open_ones = []
    for i in range(streams):
        start_s = 0.1 + (TOKEN_S * i / streams if spread else 0.0)

        def caller(start_s: float = start_s) -> Caller:
            return Caller(start_s, delays_s)

        open_ones.append((await loop.create_connection(caller, HOST, port))[0])
    await asyncio.sleep(seconds)
    for transport in open_ones:
        transport.close()
    await asyncio.sleep(0.1)
    return delays_s


def cpu_s(pid: int) -> float:
    """Return how long a process has run."""
    return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="utf-8").split()[0]) / 1e9


def listen() -> socket.socket:
    """Return a socket that listens where nobody else does."""
    listener = socket.socket()
    listener.bind((HOST, 0))
    listener.listen(1024)
    return listener


def measure(options: argparse.Namespace, relay: int, ports: tuple[int, int]) -> None:
    """Print one line for each way the tokens can come."""
    for spread in (True, False):
        direct_s: list[float] = []
        relayed_s: list[float] = []
        spent_s = 0.0
        for _ in range(ROUNDS):
            for port, delays_s in zip(ports, (direct_s, relayed_s), strict=True):
                began_s = cpu_s(relay)
                share_s = options.seconds / ROUNDS
                delays_s.extend(uvloop.run(ask(port, options.streams, share_s, spread=spread)))
                if port == ports[1]:
                    spent_s += cpu_s(relay) - began_s
        direct, relayed = (np.percentile(x, [50, 99]) * 1e3 for x in (direct_s, relayed_s))
        print(
            f"{options.streams} streams, {'spread' if spread else 'all at once'}: "
            f"direct p50 {direct[0]:.2f} p99 {direct[1]:.2f} ms, "
            f"added p50 {relayed[0] - direct[0]:+.2f} p99 {relayed[1] - direct[1]:+.2f} ms, "
            f"{spent_s / len(relayed_s) * 1e6:.1f} CPU-us a token ({len(relayed_s)} tokens)"
        )


def main() -> int:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each way and kind")
    parser.add_argument("--latency-s", type=float, default=0.0, help="the link's, to compare")
    options = parser.parse_args()
    spawning = multiprocessing.get_context("spawn")
    with listen() as listener, listen() as held:
        ports = listener.getsockname()[1], held.getsockname()[1]
        callee = spawning.Process(target=serve, args=(listener,), daemon=True)
        callee.start()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "links.json"
        file = LinkFile(path)
        version = file.write([Link("bench", (HOST, ports[1]), (HOST, ports[0]), options.latency_s)])
        argv = [sys.executable, "-m", "inference_platform.local.links", "--die-with-parent"]
        relay = subprocess.Popen([*argv, "--file", str(path)])
        try:
            began_s = time.monotonic()
            uvloop.run(file.applied(version, 10.0))
            print(f"relay serves after {time.monotonic() - began_s:.2f} s")
            measure(options, relay.pid, ports)
        finally:
            relay.terminate()
            relay.wait(10)
            callee.terminate()
    return 0


if __name__ == "__main__":
    sys.exit(main())
