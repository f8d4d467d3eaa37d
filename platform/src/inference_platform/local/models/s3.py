"""S3's REST API over HTTP: path-style addresses, no signature, every wait bounded.

Unsigned requests are for the local platform only: its bucket's policy opens it to everybody who
reaches loopback, and moto follows the policy. boto3 would sign, at 0.4 s of CPU for every pod.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, unquote, urlencode, urlsplit

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

from inference_platform.local.models.errors import (
    CannotResumeError,
    IntegrityError,
    MissingError,
    StoreError,
)
from inference_platform.local.models.layout import BUCKET

BLOCK_BYTES = 16 * 1024  # at most so much is lost of what came before a fetch was killed
DOCUMENT_BYTES_MAX = 16 * 2**20  # manifests, lists and error replies
_OPERATIONS = {"GET": "GetObject", "PUT": "PutObject", "DELETE": "DeleteObject"}


class Limits:
    """How long one silence and everything together may last."""

    def __init__(self, silence_s: float, whole_s: float) -> None:
        """Start the clock of the whole."""
        self.silence_s = silence_s
        self.whole_s = whole_s
        self._deadline = time.monotonic() + whole_s

    def left_s(self) -> float:
        """Return what is left of the whole, 0 when it is over."""
        return max(0.0, self._deadline - time.monotonic())

    def wait_s(self) -> float:
        """Return how long the next wait may last; raises TimeoutError."""
        left = self.left_s()
        if not left:
            raise TimeoutError
        return min(self.silence_s, left)

    def broken(self) -> str:
        """Say which of the two ran out."""
        if not self.left_s():
            return f"all {self.whole_s:g} s used up"
        return f"silence for {self.silence_s:g} s"


class _Socket(socket.socket):
    """Ends at the deadline however slowly bytes trickle; a plain timeout starts anew at each."""

    limits: Limits

    def recv_into(self, *args: Any, **options: Any) -> int:
        self.settimeout(self.limits.wait_s())
        return super().recv_into(*args, **options)

    def sendall(self, data: ReadableBuffer, flags: int = 0) -> None:
        left = memoryview(data).cast("B")
        while left:
            self.settimeout(self.limits.wait_s())
            super().sendall(left[:BLOCK_BYTES], flags)
            left = left[BLOCK_BYTES:]


def split(endpoint: str) -> tuple[str, int, str]:
    """Return host, port and bucket of `http://host:port[/bucket]`; raises ValueError."""
    parts = urlsplit(endpoint)
    bucket = parts.path.strip("/") or BUCKET
    if parts.scheme != "http" or not parts.hostname or "/" in bucket or parts.username is not None:
        raise ValueError(f"expected http://host:port[/bucket], found {endpoint!r}")
    return parts.hostname, parts.port or 80, bucket


class S3:
    """One bucket. Not for use by several threads at once."""

    def __init__(self, endpoint: str, limits: Limits) -> None:
        """`endpoint` is `http://host:port`, with `/bucket` behind it for another than `models`.

        Raises:
            StoreError: it is none.
        """
        try:
            self._host, self._port, self._bucket = split(endpoint)
        except ValueError as error:
            raise StoreError(f"model store: {error}") from None
        self._limits = limits
        self._connection: http.client.HTTPConnection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def url(self, key: str = "") -> str:
        """Return the address of an object, or of the bucket."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}{self._path(key)}"

    def get(self, key: str) -> tuple[bytes, dict[str, str]]:
        """Return a small object and its metadata, names in lower case without x-amz-meta-."""
        body, headers = self._do("GET", key)
        head = "x-amz-meta-"
        return body, {k[len(head) :]: v for k, v in headers.items() if k.startswith(head)}

    def read(self, key: str, size: int, begin: int = 0) -> Iterator[bytes]:
        """Yield an object's bytes from `begin` on.

        Raises:
            IntegrityError: it has not `size` bytes.
            StoreError: they do not come in time.
            CannotResumeError: the server does not begin at `begin`.
        """
        headers = {"range": f"bytes={begin}-"} if begin else {}
        with self._ask("GET", key, headers=headers, good=(200, 206, 416)) as reply:
            if begin and reply.status != 206:
                raise CannotResumeError(f"{self.url(key)}: expected 206, found {reply.status}")
            found = begin
            if reply.length is not None:
                self._check_size(key, size, found + reply.length)
            for block in self._blocks(reply, key, size):
                found += len(block)
                yield block
            self._check_size(key, size, found)

    def put(self, key: str, body: bytes, metadata: Mapping[str, str] | None = None) -> None:
        """Write an object, whole or not at all."""
        headers = {f"x-amz-meta-{name}": value for name, value in (metadata or {}).items()}
        self._do("PUT", key, body=body, headers=headers)

    def delete(self, key: str) -> None:
        """Delete an object; one that is not there is no error."""
        self._do("DELETE", key, good=(200, 204))

    def keys(self, prefix: str = "") -> list[str]:
        """Return every key that begins so, in order."""
        found: list[str] = []
        while True:
            query = {"list-type": "2", "encoding-type": "url", "prefix": prefix}
            if found:
                query["start-after"] = found[-1]
            page = self._do("GET", query=query, operation="ListObjectsV2")[0].decode()
            more = [unquote(each) for each in re.findall(r"<Key>([^<]+)</Key>", page)]
            found += more
            if not more or "<IsTruncated>true" not in page:
                return found

    def create_bucket(self) -> None:
        """Create the bucket, open to everybody; its objects stay if it is there."""
        self._do("PUT", operation="CreateBucket", good=(200, 409))
        arn = f"arn:aws:s3:::{self._bucket}"
        allow = {
            "Effect": "Allow",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [arn, f"{arn}/*"],
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]}).encode()
        query = {"policy": ""}
        self._do("PUT", body=policy, query=query, operation="PutBucketPolicy", good=(200, 204))

    def _check_size(self, key: str, expected: int, found: int) -> None:
        if expected != found:
            raise IntegrityError(
                f"Consistency check failed: {self.url(key)}: "
                f"expected {expected} bytes, found {found}"
            )

    def _path(self, key: str) -> str:
        return f"/{self._bucket}" + (f"/{quote(key)}" if key else "")

    def _do(self, method: str, key: str = "", **options: Any) -> tuple[bytes, dict[str, str]]:
        """Return the whole body and the headers, names in lower case, of a good answer."""
        with self._ask(method, key, **options) as reply:
            headers = {name.lower(): value for name, value in reply.getheaders()}
            return b"".join(self._blocks(reply, key, DOCUMENT_BYTES_MAX)), headers

    @contextmanager
    def _ask(  # noqa: PLR0913  # an HTTP request has that many parts
        self,
        method: str,
        key: str = "",
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        operation: str = "",
        good: tuple[int, ...] = (200,),
    ) -> Iterator[http.client.HTTPResponse]:
        """Send a request; yield a good answer, its body not yet read."""
        url = self.url(key)
        path = self._path(key) + (f"?{urlencode(query)}" if query else "")
        connection = self._connect(url)
        try:
            connection.request(method, path, body=body, headers=dict(headers or {}))
            reply = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            self._close()
            raise self._broken(error, url, "an answer", "none") from None
        try:
            if reply.status not in good:
                raise self._refused(reply, key, f"{method} {url}", operation or _OPERATIONS[method])
            yield reply
        finally:
            # What is left of a body would be taken for the next answer.
            if reply.will_close or not reply.isclosed():
                self._close()

    def _connect(self, url: str) -> http.client.HTTPConnection:
        if self._connection is not None:
            return self._connection
        try:
            plain = socket.create_connection((self._host, self._port), self._limits.wait_s())
        except TimeoutError:
            raise StoreError(
                f'Connect timeout on endpoint URL: "{url}": expected a connection, '
                f"found {self._limits.broken()}"
            ) from None
        except OSError as error:
            raise StoreError(
                f'Could not connect to the endpoint URL: "{url}": expected a connection, '
                f"found: {error.strerror or error}"
            ) from None
        bounded = _Socket(plain.family, plain.type, plain.proto, fileno=plain.detach())
        bounded.limits = self._limits
        bounded.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection = http.client.HTTPConnection(self._host, self._port)
        self._connection.sock = bounded
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _blocks(self, reply: http.client.HTTPResponse, key: str, most: int) -> Iterator[bytes]:
        """Yield the body; raises StoreError when it is cut, late or too long."""
        announced = reply.length
        expected = "a body" if announced is None else f"{announced} bytes"
        found = 0
        while found <= most:
            try:
                block = reply.read(BLOCK_BYTES)
            except (OSError, http.client.HTTPException) as error:
                self._close()
                raise self._broken(error, self.url(key), expected, f"{found} bytes") from None
            found += len(block)
            if block:
                yield block
            elif announced is None or found == announced:
                return
            else:
                cut = ConnectionResetError()  # http.client takes an early end for the end
                raise self._broken(cut, self.url(key), expected, f"{found} bytes")
        raise StoreError(f"{self.url(key)}: expected {most} bytes at most, found more")

    def _broken(self, error: Exception, url: str, expected: str, found: str) -> StoreError:
        if isinstance(error, TimeoutError):
            return StoreError(
                f'Read timeout on endpoint URL: "{url}": '
                f"expected {expected}, found {found} and {self._limits.broken()}"
            )
        if isinstance(error, ConnectionError | http.client.IncompleteRead):
            return StoreError(
                "Connection was closed before we received a valid response from endpoint URL: "
                f'"{url}": expected {expected}, found {found}'
            )
        return StoreError(f"{url}: expected an answer of S3, found {ascii(str(error))[:200]}")

    def _refused(
        self, reply: http.client.HTTPResponse, key: str, request: str, operation: str
    ) -> StoreError:
        """Return what botocore would say, with what we asked behind it."""
        text = b"".join(self._blocks(reply, key, DOCUMENT_BYTES_MAX)).decode("utf-8", "replace")
        code = re.search(r"<Code>([^<]+)</Code>", text)
        message = re.search(r"<Message>([^<]+)</Message>", text)
        kind = MissingError if code and code[1] in {"NoSuchKey", "NoSuchBucket"} else StoreError
        return kind(
            f"An error occurred ({code[1] if code else reply.status}) when calling the {operation} "
            f"operation: {(message[1] if message else reply.reason).rstrip('.')}: "
            f"{request}: expected 200, found {reply.status}"
        )
