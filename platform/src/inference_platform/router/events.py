"""Just enough of server-sent events to pass on whole ones and know how a stream ended."""

from inference_platform.router.replies import DONE

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


def _end_of_last(mark: bytes, data: bytes) -> int:
    at = data.rfind(mark)
    return at + len(mark) if at >= 0 else 0
