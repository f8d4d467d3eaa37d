"""S3 as AWS has it, for reading: `s3://bucket/folder`, each request signed.

boto3 finds the pod's credentials (Pod Identity, IRSA or the environment) and renews them. On the
local platform nothing is signed (`s3`), as boto3 costs every pod 0.4 s of CPU.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Self, TypeVar
from urllib.parse import urlsplit

from inference_platform.local.models.errors import (
    CannotResumeError,
    IntegrityError,
    MissingError,
    StoreError,
)
from inference_platform.local.models.s3 import DOCUMENT_BYTES_MAX, Limits

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef, GetObjectRequestTypeDef

_T = TypeVar("_T")
SCHEME = "s3://"
_BLOCK_BYTES = 2**20
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_ATTEMPTS = 3


def split(address: str) -> tuple[str, str]:
    """Return bucket and folder, "" or with a slash at its end; raises ValueError."""
    parts = urlsplit(address)
    folder = parts.path.strip("/")
    plain = not (parts.query or parts.fragment or parts.username)
    if parts.scheme != "s3" or not _BUCKET.fullmatch(parts.netloc) or not plain:
        raise ValueError(f"expected s3://BUCKET[/FOLDER], found {address!r}")
    return parts.netloc, f"{folder}/" if folder else ""


class SignedS3:
    """One folder of one bucket. Not for use by several threads at once."""

    def __init__(self, address: str, limits: Limits) -> None:
        """`address` is `s3://bucket[/folder]`.

        Raises:
            StoreError: it is none.
        """
        # A pod of the local platform must not pay for them.
        import boto3  # noqa: PLC0415
        from botocore.config import Config  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415

        self._limits = limits
        try:
            self._bucket, self._folder = split(address)
            patience = Config(
                connect_timeout=limits.silence_s,
                read_timeout=limits.silence_s,
                retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
            )
            self._client = boto3.client("s3", config=patience)
        except (ValueError, BotoCoreError) as error:
            raise StoreError(f"model store: {error}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def url(self, key: str = "") -> str:
        """Return the address of an object, or of the folder."""
        return f"{SCHEME}{self._bucket}/{self._folder}{key}"

    def get(self, key: str) -> tuple[bytes, dict[str, str]]:
        """Return a small object and its metadata."""
        reply = self._ask(key, "")
        found = b""
        for block in self._blocks(reply["Body"], key):
            found += block
            if len(found) > DOCUMENT_BYTES_MAX:
                raise StoreError(
                    f"{self.url(key)}: expected {DOCUMENT_BYTES_MAX} bytes at most, found more"
                )
        return found, reply["Metadata"]

    def read(self, key: str, size: int, begin: int = 0) -> Iterator[bytes]:
        """Yield an object's bytes from `begin` on.

        Raises:
            IntegrityError: it has not `size` bytes.
            StoreError: they do not come in time.
            CannotResumeError: the server does not begin at `begin`.
        """
        reply = self._ask(key, f"bytes={begin}-" if begin else "")
        if begin and not reply.get("ContentRange", "").startswith(f"bytes {begin}-"):
            raise CannotResumeError(f"{self.url(key)}: expected what follows byte {begin}")
        if begin + reply["ContentLength"] != size:
            raise IntegrityError(
                f"Consistency check failed: {self.url(key)}: "
                f"expected {size} bytes, found {begin + reply['ContentLength']}"
            )
        yield from self._blocks(reply["Body"], key)

    def _ask(self, key: str, span: str) -> GetObjectOutputTypeDef:
        wanted: GetObjectRequestTypeDef = {"Bucket": self._bucket, "Key": self._folder + key}
        if span:
            wanted["Range"] = span
        return self._said(key, lambda: self._client.get_object(**wanted))

    def _blocks(self, body: StreamingBody, key: str) -> Iterator[bytes]:
        """Yield what comes; botocore itself refuses a body that is cut."""
        while block := self._said(key, lambda: body.read(_BLOCK_BYTES)):
            yield block

    def _said(self, key: str, ask: Callable[[], _T]) -> _T:
        """Return an answer, or raise what stands in its place as one line."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        if not self._limits.left_s():
            raise StoreError(f"{self.url(key)}: {self._limits.broken()}")
        try:
            return ask()
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code")
            kind = MissingError if code in {"NoSuchKey", "NoSuchBucket"} else StoreError
            raise kind(f"{str(error).rstrip('.')}: {self.url(key)}") from None
        except (BotoCoreError, OSError) as error:
            raise StoreError(f"{self.url(key)}: {' '.join(str(error).split())[:300]}") from None
