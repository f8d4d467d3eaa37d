"""Asks a part whether it is ready. Raw sockets: a client library costs more than the question."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from inference_platform.local.addresses import Address

ANSWER_BYTES_MAX = 4 * 2**20


async def http_get(address: Address, path: str, timeout_s: float) -> tuple[int, str] | None:
    """Return the status and the body of an answer, None when there was none in time."""
    return await http(address, "GET", path, timeout_s)


async def http(  # noqa: PLR0913  # the parts of an HTTP request
    address: Address,
    method: str,
    path: str,
    timeout_s: float,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> tuple[int, str] | None:
    """Send any request; as `http_get`."""
    fields = {"host": address[0], "connection": "close", **(headers or {})}
    if method != "GET":
        fields["content-length"] = str(len(body))
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    answer = await _ask(
        address, f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + body, timeout_s
    )
    head, _, content = answer.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    if len(words) < 2 or not words[1].isdigit():
        return None
    return int(words[1]), content.decode("utf-8", "replace")


async def http_ok(address: Address, path: str, timeout_s: float) -> bool:
    """Say whether a GET is answered with 200 in time."""
    answer = await http_get(address, path, timeout_s)
    return answer is not None and answer[0] == 200


async def redis_ok(address: Address, timeout_s: float) -> bool:
    """Say whether Redis answers a PING in time."""
    answer = await _ask(address, b"PING\r\nQUIT\r\n", timeout_s)
    return answer.startswith(b"+PONG")


async def _ask(address: Address, request: bytes, timeout_s: float) -> bytes:
    """Send a request and read until the other side closes; b"" when that does not happen."""
    writer = None
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(request)
            answer = b""
            while len(answer) < ANSWER_BYTES_MAX and (block := await reader.read(1 << 16)):
                answer += block
            return answer
    except (OSError, TimeoutError):
        return b""
    finally:
        if writer is not None:
            writer.close()


def in_flight(metrics: str) -> int | None:
    """Return the requests that an engine runs or keeps waiting; None when it does not say."""
    found = [
        float(line.rsplit(" ", 1)[1])
        for line in metrics.splitlines()
        if line.startswith(("vllm:num_requests_running{", "vllm:num_requests_waiting{"))
    ]
    return round(sum(found)) if found else None
