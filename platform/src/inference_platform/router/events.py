"""Just enough of server-sent events to pass on whole ones and know how a stream ended."""

from inference_platform.router.replies import DONE, Headers, Send, last_words
from inference_platform.router.upstream import Connection, UpstreamLostError, UpstreamSilentError

# Larger events go on in pieces: memory is bounded, and no token is this long.
HELD_BYTES_MAX = 2**20
_ERROR = b'data: {"error"'


class EventGate:
    """Passes stream bytes on in whole events, unchanged and in order.

    A client cannot use half an event, so holding it back costs nothing; and when a replica dies
    inside one, an error event can follow cleanly. `failed`: the engine itself sent an error event
    (the sequence cannot occur inside JSON text, where quotes are escaped). `done`: the last event
    passed on was `[DONE]`.
    """

    __slots__ = ("_held", "_last", "failed")

    def __init__(self) -> None:
        """One gate serves one stream."""
        self._held = b""
        self._last = b""
        self.failed = False

    def feed(self, data: bytes) -> bytes:
        """The whole events that `data` completes; b"" if it completes none."""
        if not data:
            return b""
        if self._held:
            data = self._held + data
            self._held = b""
        if not data.endswith(b"\n\n"):
            end = max(_end_of_last(b"\n\n", data), _end_of_last(b"\r\n\r\n", data))
            if len(data) - end > HELD_BYTES_MAX:
                end = len(data)
            data, self._held = data[:end], data[end:]
            if not data:
                return b""
        if _ERROR in data:
            self.failed = True
        self._last = data
        return data

    @property
    def done(self) -> bool:
        """Whether the stream has ended as it should."""
        return self._last.rstrip().endswith(DONE)

    def rest(self) -> bytes:
        """What is held at the end: a `[DONE]` that lacks its blank line, else b""."""
        if self._held.strip() != DONE:
            return b""
        self._last, self._held = self._held, b""
        return self._last


def is_event_stream(headers: Headers) -> bool:
    """Whether a reply is a stream of events."""
    return any(
        name == b"content-type" and value.lower().startswith(b"text/event-stream")
        for name, value in headers
    )


async def first_events(
    connection: Connection, gate: EventGate, data: bytes, timeout_s: float
) -> bytes:
    """Whole events to begin a stream with, `data` having been read; raises UpstreamError."""
    events = gate.feed(data)
    while data and not events:
        data = await connection.read(timeout_s)
        events = gate.feed(data)
    events = events or gate.rest()
    if not events:
        raise UpstreamLostError("the stream ended before its first event")
    return events


async def pass_on(  # noqa: PLR0913  # both sides of a stream
    send: Send, connection: Connection, gate: EventGate, events: bytes, idle_s: float, who: str
) -> bytes:
    """Send a stream on, from its first events to its end, whatever that is.

    Returns what to send last: an error event where it was lost or silent for `idle_s`, which names
    the other side as `who`. The gate knows how it ended.
    """
    data = events
    try:
        while data:
            if events:
                await send({"type": "http.response.body", "body": events, "more_body": True})
            data = await connection.read(idle_s)
            events = gate.feed(data)
        end = gate.rest()
    except UpstreamSilentError:
        return last_words(f"{who} stalled mid-stream", "upstream_stalled")
    except UpstreamLostError:
        end = b""
    # After [DONE] nothing is missing: the connection only ended without good manners.
    return end if gate.done else last_words(f"{who} lost mid-stream", "upstream_lost")


def _end_of_last(mark: bytes, data: bytes) -> int:
    at = data.rfind(mark)
    return at + len(mark) if at >= 0 else 0
