"""The client's side of one request: its body, and whether it is still there."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from inference_platform.router.replies import Receive, Refused


class ClientGone(Exception):  # noqa: N818 (an event, not a mistake)
    """The client closed its connection before its reply was complete."""


async def read_body(receive: Receive, bytes_max: int, timeout_s: float) -> bytes:
    """The whole request body; raises Refused when it is larger or late, and ClientGone."""
    try:
        async with asyncio.timeout(timeout_s):
            return await _read_body(receive, bytes_max)
    except TimeoutError:
        text = f"The request body did not come within {timeout_s:g} s."
        raise Refused(408, "RequestTimeout", text) from None


async def _read_body(receive: Receive, bytes_max: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > bytes_max:
            text = f"The request body is larger than {bytes_max} bytes."
            raise Refused(413, "BadRequestError", text)
        parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


async def while_client_stays(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Do the work; when the client leaves, cancel it wherever it is waiting.

    Raises ClientGone then, and CancelledError when it was somebody else who cancelled.
    """
    task = asyncio.current_task()
    left, working = False, True

    def on_receive(_: object) -> None:
        nonlocal left
        if working and task is not None:
            left = True
            task.cancel()

    watch = asyncio.ensure_future(receive())
    watch.add_done_callback(on_receive)
    try:
        await work
    except asyncio.CancelledError:
        if not left or task is None:
            raise
        task.uncancel()
        raise ClientGone from None
    finally:
        working = False
        watch.cancel()
