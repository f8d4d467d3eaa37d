"""Objects in a bucket that are written once: S3 refuses to write over one (`If-None-Match: *`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from faultload.errors import MissingError, UsageError

T = TypeVar("T")
_TAKEN = frozenset({"PreconditionFailed", "ConditionalRequestConflict"})
_GONE = frozenset({"NoSuchKey", "404"})
_OBJECT_BYTES_MAX = 16 * 2**20


class ObjectStore:
    """Objects below `s3://BUCKET[/PREFIX]`, with the credentials that boto3 finds."""

    def __init__(self, url: str) -> None:
        """Take a URL apart; nothing is asked yet.

        Raises:
            UsageError: it is none.
            MissingError: boto3 finds no region.
        """
        parts = urlsplit(url)
        if parts.scheme != "s3" or not parts.netloc or parts.query or parts.fragment:
            raise UsageError(f"store: expected s3://BUCKET/PREFIX, found {url!r}")
        self._bucket, self._prefix = parts.netloc, parts.path.strip("/")
        self.where = url
        patience = Config(connect_timeout=5, read_timeout=20, retries={"total_max_attempts": 3})
        self._s3 = self._ask(lambda: boto3.client("s3", config=patience))

    def keys(self) -> list[str]:
        """Return every key, sorted.

        Raises:
            MissingError: the bucket cannot be read.
        """
        prefix = f"{self._prefix}/" if self._prefix else ""
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=prefix
        )
        found = self._ask(lambda: [one for page in pages for one in page.get("Contents", [])])
        return sorted(one["Key"].removeprefix(prefix) for one in found)

    def read(self, key: str) -> bytes:
        """Return an object.

        Raises:
            MissingError: it is not there, or cannot be read.
        """
        found = self._ask(lambda: self._s3.get_object(Bucket=self._bucket, Key=self._key(key)))
        if found["ContentLength"] > _OBJECT_BYTES_MAX:
            raise MissingError(f"{self.where}/{key}: larger than any baseline")
        return self._ask(found["Body"].read)

    def create(self, key: str, data: bytes) -> bool:
        """Write an object; False: there is one already, and it stays as it is.

        Raises:
            MissingError: it cannot be written.
        """

        def put() -> bool:
            try:
                self._s3.put_object(
                    Bucket=self._bucket, Key=self._key(key), Body=data, IfNoneMatch="*"
                )
            except ClientError as error:
                if error.response["Error"]["Code"] in _TAKEN:
                    return False
                raise
            return True

        return self._ask(put)

    def _key(self, key: str) -> str:
        return f"{self._prefix}/{key}" if self._prefix else key

    def _ask(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except ClientError as error:
            code = error.response["Error"]["Code"]
            problem = "no such object" if code in _GONE else f"refused ({code})"
        except BotoCoreError as error:
            problem = str(error)
        raise MissingError(f"{self.where}: {problem}")
