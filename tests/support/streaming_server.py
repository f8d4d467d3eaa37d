"""A server whose timing is known, as a process: a first token after so many seconds, then three.

Lines on its standard input: `stall S` keeps every answer back for S seconds from now, and the
moment it began is printed. It ends with its standard input.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator

TOKENS = 4
TOKEN_S = 0.01


class StreamingServer:
    """The server's process, seen from a test."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        """Read where it listens."""
        self._process = process
        self.url = f"http://127.0.0.1:{int(self._line())}"

    def stall(self, length_s: float) -> float:
        """Keep every answer back for a while; return the wall time at which that began."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"stall %g\n" % length_s)
        self._process.stdin.flush()
        return float(self._line())

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@contextlib.contextmanager
def streaming_server(ttft_s: float) -> Iterator[StreamingServer]:
    """Run a server for the length of a block."""
    with subprocess.Popen(
        [sys.executable, __file__, str(ttft_s)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        yield StreamingServer(process)


class _Server:
    def __init__(self, ttft_s: float) -> None:
        self._ttft_s, self._stalled_until_s = ttft_s, 0.0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"GET "):  # like an endpoint that lists no models
                    writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                    continue
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                await reader.readexactly(length)
                start_s = loop.time()
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                    b"Transfer-Encoding: chunked\r\n\r\n"
                )
                for index in range(TOKENS):
                    due_s = max(start_s + self._ttft_s + index * TOKEN_S, self._stalled_until_s)
                    while loop.time() < due_s:
                        await asyncio.sleep(due_s - loop.time())
                        due_s = max(due_s, self._stalled_until_s)
                    writer.write(_token(index))
                writer.write(_chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            self._stalled_until_s = loop.time() + float(line.split()[1])
            print(time.time(), flush=True)  # noqa: T201


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _token(index: int) -> bytes:
    reason = b'"stop"' if index == TOKENS - 1 else b"null"
    text = b'data: {"choices":[{"delta":{"content":"tok%04d-00ff "},"finish_reason":%b}]}\n\n'
    return _chunk(text % (index, reason))


if __name__ == "__main__":
    asyncio.run(_Server(float(sys.argv[1])).run())
