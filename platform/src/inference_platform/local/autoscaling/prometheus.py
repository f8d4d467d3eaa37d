"""One instant query, read as KEDA's Prometheus scaler reads it (prometheus_scaler.go)."""

from __future__ import annotations

import asyncio
import json
import math
from urllib.parse import urlencode

from inference_platform.local.addresses import Address
from inference_platform.local.autoscaling.decision import Reading, ReadingError
from inference_platform.local.autoscaling.spec import Metadata

ANSWER_BYTES_MAX = 2**20
# KEDA_HTTP_DEFAULT_TIMEOUT, for the whole of a request.
TIMEOUT_S = 3.0
# KEDA builds a failing scaler anew and asks again before it calls the read failed
# (GetMetricsAndActivityForScaler of scalers_cache.go).
ATTEMPTS = 2


async def read(address: Address, asked: Metadata, timeout_s: float = TIMEOUT_S) -> Reading:
    """Ask for the trigger's number; takes `ATTEMPTS` timeouts at the most."""
    reading: Reading = ReadingError("not asked")
    for _ in range(ATTEMPTS):
        reading = await _ask(address, asked, timeout_s)
        if not isinstance(reading, ReadingError):
            break
    return reading


async def _ask(address: Address, asked: Metadata, timeout_s: float) -> Reading:
    path = "/api/v1/query?" + urlencode({"query": asked.query})
    try:
        async with asyncio.timeout(timeout_s):
            status, body = await _get(address, path)
    except TimeoutError:
        return ReadingError(f"prometheus did not answer within {timeout_s:g} s")
    except OSError as error:
        return ReadingError(f"prometheus cannot be reached: {error.strerror or error}")
    except ValueError as error:
        return ReadingError(f"prometheus sent no HTTP answer: {error}")
    if not 200 <= status <= 299:
        return ReadingError(f"prometheus query api returned error. status: {status}")
    return value_in(body, ignore_null_values=asked.ignore_null_values == "true")


def value_in(body: bytes, *, ignore_null_values: bool) -> Reading:
    """Return the one number in an answer of /api/v1/query.

    An empty, infinite or NaN answer is 0 when null values are ignored, as KEDA has it, else a
    failed read. More than one element is a failed read in either case.
    """
    try:
        found = json.loads(body)["data"]["result"]
        values = [element["value"] for element in found]
        numbers = [float(pair[1]) for pair in values if pair]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        text = " ".join(str(error).split())
        return ReadingError(f"prometheus sent no vector: {type(error).__name__}: {text}")
    if len(found) > 1:
        return ReadingError(f"prometheus query returned {len(found)} elements, expected one")
    if not numbers:
        problem = "prometheus target may be lost, the result is empty"
    elif not math.isfinite(numbers[0]):
        problem = f"prometheus query returned {numbers[0]}"
    else:
        return numbers[0]
    return 0.0 if ignore_null_values else ReadingError(problem)


async def _get(address: Address, path: str) -> tuple[int, bytes]:
    """Return the status and the body; HTTP/1.0, as the end of the connection ends the body there.

    Raises:
        OSError: no connection, or it broke.
        ValueError: what came is no HTTP answer, or too long for one number.
    """
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(f"GET {path} HTTP/1.0\r\nHost: {address[0]}\r\n\r\n".encode())
        answer = b""
        while block := await reader.read(1 << 16):
            answer += block
            if len(answer) > ANSWER_BYTES_MAX:
                raise ValueError(f"more than {ANSWER_BYTES_MAX} bytes")
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        raise ValueError(f"found {answer[:40]!r}")
    return int(words[1]), body
