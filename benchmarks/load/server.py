"""A server of known timing: it answers every chat request alike and logs when it really did.

All streams move in lock-step, as in the steps of one engine: tokens leave on a grid of absolute
times, the first one at least `--ttft` after its request. With `--itl 0` an answer leaves at once,
in one write a token, or in one write with `--coalesce`.

A request is named by its `X-Session-Id`. On SIGTERM the log is written, one JSON object: `streams`
(name → when it came and when each token left, on the monotonic clock), `late_s` (how late each
token left), `came_s` (when each chat request came, sorted), `answered`, `cpu_s` and `wall_s` (from
the first request to the last token). A GET is answered like a list of models, and not logged.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import ssl
import time
from array import array
from pathlib import Path
from typing import cast

import orjson
import uvloop

HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
_LIST = orjson.dumps({"object": "list", "data": [{"id": "chat", "object": "model"}]})
MODELS = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
    len(_LIST),
    _LIST,
)


def _chunk(message: object) -> bytes:
    data = message if isinstance(message, bytes) else orjson.dumps(message)
    data = b"data: %b\n\n" % data
    return b"%x\r\n%b\r\n" % (len(data), data)


def _event(delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return _chunk(
        {
            "id": "chatcmpl-4f2a9c1d7e8b4f0aa1b2c3d4e5f60718",
            "object": "chat.completion.chunk",
            "created": 1790000000,
            "model": "chat",
            "choices": [choice | {"token_ids": None}],
        }
    )


def answer_of(tokens: int) -> list[bytes]:
    """Return what leaves with each token: chunks of the size and shape that vLLM sends."""
    parts = [_event({"content": f"tok{index:04d}-3fa9 "}) for index in range(tokens)]
    parts[0] = HEAD + _event({"role": "assistant", "content": ""}) + parts[0]
    usage = {"prompt_tokens": 8, "total_tokens": 8 + tokens, "completion_tokens": tokens}
    parts[-1] += _event({}, "length") + _chunk({"choices": [], "usage": usage})
    parts[-1] += _chunk(b"[DONE]") + b"0\r\n\r\n"
    return parts


class Engine:
    """The grid, the streams on it, and the log."""

    def __init__(self, asked: argparse.Namespace, loop: asyncio.AbstractEventLoop) -> None:
        """Answer nothing yet."""
        self.ttft_s, self.itl_s, self.coalesce = asked.ttft, asked.itl, asked.coalesce
        self.parts = answer_of(asked.tokens)
        self.whole = b"".join(self.parts)
        self.log: dict[str, list[float]] = {}
        self.late_s = array("d")
        self.came_s = array("d")
        self.answered = 0
        self.cpu_s = [0.0, 0.0]
        self.wall_s = [0.0, 0.0]
        self._loop = loop
        self._waiting: list[tuple[float, Stream, list[float]]] = []
        self._running: list[tuple[Stream, list[float]]] = []
        self._ticking = False

    def ask(self, stream: Stream, name: str) -> None:
        """Take a request that has just come."""
        now_s = time.monotonic()
        self.came_s.append(now_s)
        if not self.wall_s[0]:
            self.wall_s[0], self.cpu_s[0] = now_s, time.process_time()
        times = self.log[name or f"unnamed-{len(self.came_s)}"] = [now_s]
        if self.itl_s:
            self._waiting.append((now_s + self.ttft_s, stream, times))
            if not self._ticking:
                self._ticking = True
                self._loop.call_at(now_s + self.itl_s, self._tick, now_s + self.itl_s)
            return
        for part in [self.whole] if self.coalesce else self.parts:
            stream.send(part)
        self.answered += 1
        self._ended()

    def _tick(self, due_s: float) -> None:
        """Send one token of every stream; then wait for the next point of the grid."""
        ready = [entry for entry in self._waiting if entry[0] <= due_s]
        if ready:
            self._waiting = [entry for entry in self._waiting if entry[0] > due_s]
            self._running += [(stream, times) for _, stream, times in ready]
        still = []
        for stream, times in self._running:
            part = self.parts[len(times) - 1]
            now_s = time.monotonic()
            stream.send(part)
            times.append(now_s)
            self.late_s.append(now_s - due_s)
            if len(times) > len(self.parts):
                self.answered += 1
            elif not stream.gone:
                still.append((stream, times))
        self._running = still
        self._ended()
        self._ticking = bool(still or self._waiting)
        if self._ticking:
            self._loop.call_at(due_s + self.itl_s, self._tick, due_s + self.itl_s)

    def _ended(self) -> None:
        self.wall_s[1], self.cpu_s[1] = time.monotonic(), time.process_time()

    def dump(self, path: Path) -> None:
        """Write the log."""
        log = {
            "streams": self.log,
            "answered": self.answered,
            "late_s": list(self.late_s),
            "came_s": list(self.came_s),
            "cpu_s": self.cpu_s[1] - self.cpu_s[0],
            "wall_s": self.wall_s[1] - self.wall_s[0],
        }
        path.write_bytes(orjson.dumps(log))


class Stream(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self, engine: Engine) -> None:
        """Wait for a request."""
        self._engine = engine
        self._buffer = b""
        self._fd = -1
        self.gone = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Write to the socket itself where we can: the transport would write a little later."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name
        if transport.get_extra_info("sslcontext") is None:
            self._fd = transport.get_extra_info("socket").fileno()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio's name)
        """Send no more."""
        self.gone = True

    def data_received(self, data: bytes) -> None:
        """Gather a request."""
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        fields = dict(
            line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line
        )
        if head.startswith(b"GET"):  # peers look before they ask
            self._buffer = b""
            self.send(MODELS)
        elif len(body) >= int(fields.get(b"content-length", b"0")):
            self._buffer = b""
            self._engine.ask(self, fields.get(b"x-session-id", b"").decode())

    def send(self, data: bytes) -> None:
        """Write now; what the socket does not take goes out when it can."""
        if self.gone:
            return
        sent = 0
        if self._fd >= 0 and not self._transport.get_write_buffer_size():
            try:
                sent = os.write(self._fd, data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self.gone = True
                return
        if sent < len(data):
            self._transport.write(data[sent:])


async def _serve(asked: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    engine, stopped = Engine(asked, loop), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    context = None
    if asked.cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(asked.cert)
    server = await loop.create_server(
        lambda: Stream(engine), "127.0.0.1", 0, backlog=2048, ssl=context
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await stopped.wait()
    engine.dump(asked.log)
    os._exit(0)


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--ttft", type=float, default=0.0)
    parser.add_argument("--itl", type=float, default=0.0)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--coalesce", action="store_true")
    parser.add_argument("--cert", type=Path, help="PEM file with certificate and key")
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--core", type=int)
    asked = parser.parse_args()
    if asked.core is not None:
        os.sched_setaffinity(0, {asked.core})
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(asked))


if __name__ == "__main__":
    main()
