"""HTTP/1.1 responses from bytes, however the network cuts them."""

from __future__ import annotations

from enum import Enum
from operator import eq

_HEX_DIGITS = b"0123456789abcdefABCDEF"
_HEAD_BYTES_MAX = 65_536
_LINE_BYTES_MAX = 4096  # a chunk's size line or a trailer field
_BODILESS = (204, 304)

# Streams repeat a few chunk sizes; each is read once. Lines are kept up to "ffff", and so few.
_SIZES: dict[bytes, int] = {}
_SIZES_MAX = 4096


class ProtocolError(Exception):
    """The peer sent something HTTP or server-sent events do not allow."""


class _Framing(Enum):
    CHUNKS = "chunks"
    LENGTH = "length"
    CLOSE = "close"


class ResponseParser:
    """One response: `feed` it what arrives, read the body it returns.

    Knows bodies that are chunked, that have a content length, and that last until the peer closes;
    the last kind is never `complete`, for nothing tells its end from a cut. Body bytes before a
    defect are returned before `check` raises it: it matters not where the network cut them.
    """

    __slots__ = (
        "_between_chunks",
        "_buffer",
        "_closes_chunk",
        "_framing",
        "_in_trailer",
        "_left",
        "complete",
        "defect",
        "headers",
        "keep_alive",
        "started",
        "status",
    )

    def __init__(self) -> None:
        """Expect a status line."""
        self.started = False
        """A byte has come."""
        self.status = 0
        """0 until the head is complete."""
        self.headers: dict[str, str] = {}
        """Names in lower case; a repeated field is joined by a comma."""
        self.complete = False
        """The body has ended as the protocol says it ends."""
        self.keep_alive = False
        """The connection may carry another request once the response is complete."""
        self.defect = ""
        """What in the bytes so far HTTP does not allow; "" while nothing is."""
        self._buffer = b""
        self._between_chunks = False  # and nothing in the buffer
        self._left = 0  # bytes of body (or of the chunk) still to come
        self._closes_chunk = False
        self._in_trailer = False
        self._framing = _Framing.CLOSE

    def feed(self, data: bytes) -> bytes:
        """Take what arrived and return the body bytes in it.

        Raises:
            ProtocolError: the head is not HTTP/1.1, or the bytes come after a defect.
        """
        if self._between_chunks:  # one whole chunk: nearly every arrival of every stream
            end = data.find(b"\r\n", 0, 8)
            if _SIZES.get(data[:end]) == len(data) - end - 4 and data.endswith(b"\r\n"):
                return data[end + 2 : -2]
        self.check()
        self.started = True
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        if not self.status:
            data = self._read_head(data)
            if not self.status:
                return b""
        if self.complete:
            if data:
                self.keep_alive = False  # more than was asked for: nothing after it can be trusted
            return b""
        if self._framing is _Framing.CHUNKS:
            parts: list[bytes] = []
            try:
                self._read_chunks(data, parts)
            except ProtocolError as error:
                self.defect = str(error)
            return parts[0] if len(parts) == 1 else b"".join(parts)
        return self._read_length(data) if self._framing is _Framing.LENGTH else data

    @property
    def ends_by_close(self) -> bool:
        """Nothing but the end of the connection ends the body."""
        return self.status != 0 and self._framing is _Framing.CLOSE and not self.complete

    @property
    def is_event_stream(self) -> bool:
        """The content type says so, or says nothing."""
        kind = self.headers.get("content-type", "text/event-stream")
        return kind.partition(";")[0].strip().lower() == "text/event-stream"

    def count(self, name: str) -> int:
        """Return a header field that is a number; 0 where it is none."""
        text = self.headers.get(name, "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0

    def check(self) -> None:
        """Raise ProtocolError if the bytes so far hold a defect."""
        if self.defect:
            raise ProtocolError(self.defect)

    def _read_head(self, data: bytes) -> bytes:
        """Parse the head, skipping interim (1xx) ones, and return what follows it."""
        while True:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                if len(data) > _HEAD_BYTES_MAX:
                    raise ProtocolError(f"a response head of more than {_HEAD_BYTES_MAX} bytes")
                if not data.startswith(b"HTTP/1."[: len(data)]):
                    raise ProtocolError(f"expected an HTTP/1 status line, found {data[:40]!r}")
                self._buffer = data
                return b""
            lines = data[:end].split(b"\r\n")
            data = data[end + 4 :]
            status = _status_of(lines[0])
            if status >= 200:
                self.headers = _fields_of(lines[1:])
                self._frame(status, persistent=lines[0].startswith(b"HTTP/1.1"))
                self.status = status
                return data

    def _frame(self, status: int, *, persistent: bool) -> None:
        """Find out how the body ends (RFC 9112, section 6.3)."""
        options = self.headers.get("connection", "").lower()
        self.keep_alive = "close" not in options and (persistent or "keep-alive" in options)
        coding = self.headers.get("transfer-encoding", "").lower()
        length = self.headers.get("content-length")
        if status in _BODILESS:
            self.complete = True
        elif coding:
            if coding != "chunked":
                raise ProtocolError(f"transfer coding {coding!r} is not supported")
            self._framing, self._between_chunks = _Framing.CHUNKS, True
        elif length is not None:
            lengths = {part.strip() for part in length.split(",")}
            value = lengths.pop()
            if lengths or not (value.isascii() and value.isdigit()):
                raise ProtocolError(f"expected one content length, found {length!r}")
            self._left = int(value)
            self.complete = self._left == 0
            self._framing = _Framing.LENGTH
        else:
            self.keep_alive = False

    def _read_length(self, data: bytes) -> bytes:
        body = data[: self._left]
        self._left -= len(body)
        self.complete = self._left == 0
        if len(data) > len(body):
            self.keep_alive = False
        return body

    def _read_chunks(self, data: bytes, parts: list[bytes]) -> None:
        at, size = self._read_whole_chunks(data, parts) if self._between_chunks else 0, len(data)
        self._between_chunks = False
        while at < size and not self.complete:
            if self._left:
                part = data[at : at + self._left]
                parts.append(part)
                at += len(part)
                self._left -= len(part)
                self._closes_chunk = not self._left
            if self._closes_chunk:
                end = data[at : at + 2]
                if not b"\r\n".startswith(end):
                    raise ProtocolError("a chunk is longer than its size says")
                if len(end) < 2:
                    break
                at += 2
                self._closes_chunk = False
            if at < size and not self._left:
                end_at = data.find(b"\r\n", at)
                if (end_at if end_at >= 0 else size) - at > _LINE_BYTES_MAX:
                    raise ProtocolError(f"a chunk size line of more than {_LINE_BYTES_MAX} bytes")
                if end_at < 0:
                    break
                self._read_chunk_line(data[at:end_at])
                at = end_at + 2
        rest = data[at:]
        self.keep_alive = self.keep_alive and not (self.complete and rest)
        if not self.complete:
            self._buffer = rest
            inside = self._left or self._closes_chunk or self._in_trailer
            self._between_chunks = not (rest or inside)

    @staticmethod
    def _read_whole_chunks(data: bytes, parts: list[bytes]) -> int:
        """Read the chunks of known size at the beginning of `data`; return where they end.

        A piece between two line ends that is as long as the piece before it says is a chunk.
        """
        pieces = data.split(b"\r\n")
        lines, bodies = pieces[:-1:2], pieces[1:-1:2]
        lengths = list(map(len, bodies))
        fits = [*map(eq, map(_SIZES.get, lines), lengths), False]
        count = fits.index(False)
        parts += bodies[:count]
        return sum(lengths[:count]) + sum(map(len, lines[:count])) + 4 * count

    def _read_chunk_line(self, line: bytes) -> None:
        if self._in_trailer:
            self.complete = not line
            return
        known = _SIZES.get(line)
        if known is not None:
            self._left = known
            return
        digits = line.partition(b";")[0].strip(b" \t")
        if not digits or len(digits) > 15 or digits.strip(_HEX_DIGITS):
            raise ProtocolError(f"expected a chunk size, found {line[:40]!r}")
        self._left = int(digits, 16)
        self._in_trailer = not self._left
        if self._left and len(line) <= 4 and len(_SIZES) < _SIZES_MAX:
            _SIZES[line] = self._left


def _status_of(line: bytes) -> int:
    version, _, rest = line.partition(b" ")
    code = rest[:3]
    if version not in (b"HTTP/1.1", b"HTTP/1.0") or len(code) < 3 or not code.isdigit():
        raise ProtocolError(f"expected an HTTP/1 status line, found {line[:40]!r}")
    if rest[3:4].strip() or not 100 <= int(code) <= 599:
        raise ProtocolError(f"expected a status of 100 to 599, found {line[:40]!r}")
    return int(code)


def _fields_of(lines: list[bytes]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name or name != name.strip():
            raise ProtocolError(f"expected a header field, found {line[:40]!r}")
        key, text = name.decode("latin-1").lower(), value.strip().decode("latin-1")
        fields[key] = f"{fields[key]}, {text}" if key in fields else text
    return fields
