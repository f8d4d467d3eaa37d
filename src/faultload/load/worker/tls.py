"""TLS without a socket: bytes from the wire in, plain bytes out, and the other way round.

Python's own TLS sockets read every record in two system calls and hand out one record at a time; a
stream is one small record a token. Here all records that arrived together cost one read.
"""

from __future__ import annotations

import ssl
from pathlib import Path

_PLAIN_BYTES = 65_536


class Tls:
    """One connection's TLS state."""

    __slots__ = ("_from_wire", "_object", "_to_wire")

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        """Be a client of `host`, whose certificate must be for that name."""
        self._from_wire, self._to_wire = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._from_wire, self._to_wire, server_hostname=host)

    def shake_hands(self, arrived: bytes | None) -> bool:
        """Take what arrived (b"": the end; None: nothing yet); tell whether it is done.

        What has to be sent lies in `outgoing` afterwards.

        Raises:
            ssl.SSLError: there is no agreement, or the certificate is not trusted.
        """
        self._feed(arrived)
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def encrypt(self, data: bytes) -> bytes:
        """Return what to send for plain bytes."""
        self._object.write(data)
        return self.outgoing()

    def decrypt(self, arrived: bytes | None) -> list[bytes | OSError]:
        """Return the plain bytes in what arrived, as one piece; then the end, if it is one.

        The end is b"", or the error where the bytes are not what was sent or the peer gave up.
        Empty: no whole record yet. An end that the peer did not announce is an end all the same:
        the framing above tells whether something is missing.
        """
        self._feed(arrived)
        parts: list[bytes] = []
        end: list[bytes | OSError] = []
        try:
            while not end:
                part = self._object.read(_PLAIN_BYTES)
                if not part:
                    end = [b""]
                parts.append(part)
                if not self._from_wire.pending and not self._object.pending():
                    break
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLEOFError:
            end = [b""]
        except ssl.SSLError as error:  # what came before it is good all the same
            end = [error]
        data = b"".join(parts)
        return [data, *end] if data else end

    def outgoing(self) -> bytes:
        """Return what TLS itself has to say, besides what was encrypted."""
        return self._to_wire.read()

    def _feed(self, arrived: bytes | None) -> None:
        if arrived:
            self._from_wire.write(arrived)
        elif arrived is not None:
            self._from_wire.write_eof()


def context_of(ca: Path | None) -> ssl.SSLContext:
    """Return a context that trusts whom a browser would, or only the authorities given.

    Raises:
        OSError: the authorities cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["http/1.1"])
    if ca is None:
        context.load_default_certs()  # reads SSL_CERT_FILE and SSL_CERT_DIR too
    else:
        context.load_verify_locations(cafile=str(ca))
    return context
