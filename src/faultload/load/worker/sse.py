"""Server-sent events from the bytes of a body, however they are cut."""

from __future__ import annotations

from faultload.load.worker.response import ProtocolError

_EVENT_BYTES_MAX = 1_048_576
_BOM = b"\xef\xbb\xbf"


class EventScanner:
    r"""The data of each event, in order; comments and the other fields are skipped.

    Lines may end in LF, CRLF or CR, as the standard allows. A CR that is the last byte so far is
    held back until the next byte shows whether it is half of a CRLF. An event that no blank line
    ended is not an event.
    """

    __slots__ = ("_buffer", "_held")

    def __init__(self) -> None:
        """Expect the first event."""
        self._buffer = b""
        self._held = False

    @property
    def is_between_events(self) -> bool:
        """Every byte so far belongs to a whole event."""
        return not self._buffer and not self._held

    def feed(self, data: bytes) -> list[bytes]:
        """Return the data of every event that is now complete.

        Raises:
            ProtocolError: an event has no end in sight.
        """
        if self._held and data:
            data = b"\r" + data
            self._held = False
        if b"\r" in data:
            if data.endswith(b"\r"):
                data = data[:-1]
                self._held = True
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *blocks, self._buffer = (self._buffer + data if self._buffer else data).split(b"\n\n")
        events = [event for block in blocks if (event := _data_of(block)) is not None]
        if len(self._buffer) > _EVENT_BYTES_MAX and not events:
            raise ProtocolError(f"an event of more than {_EVENT_BYTES_MAX} bytes")
        return events


def _data_of(block: bytes) -> bytes | None:
    """Return the data of one block of lines; None when it has none."""
    if block.startswith(b"data: ") and b"\n" not in block:  # nearly every event of every stream
        return block[6:]
    values: list[bytes] = []
    for line in block.removeprefix(_BOM).split(b"\n"):
        name, _, value = line.partition(b":")
        if name == b"data":
            values.append(value.removeprefix(b" "))
    return b"\n".join(values) if values else None
