"""Publish a model, harm it, bring it back, and say how it is. Blocking; every call is bounded.

A version is immutable, and `current` never points at one that is not whole: files are written
first, the manifest when all of them are there, `current` last. A publisher that dies on the way
leaves the old version in service. Taking away goes the other way round: the manifest first.

What a stand-in was made of is kept as metadata of `current`, so that `restore` can make it again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal

from inference_platform.local.models import layout
from inference_platform.local.models.errors import IntegrityError, MissingError, StoreError
from inference_platform.local.models.layout import File, Manifest, StandIn
from inference_platform.local.models.s3 import S3, Limits

TIMEOUT_S = 30.0
SILENCE_S_MAX = 10.0
_RECIPE = "stand-in"
_FLIPPED_BYTES = 64


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """The version in service, compared with its manifest; `reason` is empty when it is whole."""

    version: str
    state: Literal["whole", "empty", "corrupt"]
    reason: str = ""


def publish(endpoint: str, stand_in: StandIn, timeout_s: float = TIMEOUT_S) -> Manifest:
    """Write a version, then put it into service; doing it again changes nothing.

    Raises:
        StoreError: the store does not answer as expected, or has this version with other content.
    """
    manifest = stand_in.manifest()
    with _open(endpoint, timeout_s) as s3:
        s3.create_bucket()
        manifest_key = layout.key(stand_in.model, stand_in.version, layout.MANIFEST)
        try:
            found, _ = s3.get(manifest_key)
        except MissingError:
            pass
        else:
            if found != manifest.to_json():
                raise StoreError(
                    f"{s3.url(manifest_key)}: expected no version or the same one, found another; "
                    "versions do not change, publish under a new name"
                )
        for name, content in stand_in.files():
            s3.put(layout.key(stand_in.model, stand_in.version, name), content)
        s3.put(manifest_key, manifest.to_json())
        s3.put(
            layout.current_key(stand_in.model),
            json.dumps({"version": stand_in.version}).encode(),
            {_RECIPE: json.dumps(asdict(stand_in))},
        )
    return manifest


def restore(endpoint: str, model: str, timeout_s: float = TIMEOUT_S) -> Manifest:
    """Publish the version in service again, as it was; raises StoreError."""
    with _open(endpoint, timeout_s) as s3:
        stand_in = _recipe(s3, model)
    return publish(endpoint, stand_in, timeout_s)


def empty(endpoint: str, model: str, timeout_s: float = TIMEOUT_S) -> None:
    """Delete everything of the version in service; `current` still names it. Raises StoreError."""
    with _open(endpoint, timeout_s) as s3:
        version, _ = _current(s3, model)
        s3.delete(layout.key(model, version, layout.MANIFEST))
        for key in s3.keys(f"{model}/{version}/"):
            s3.delete(key)


def corrupt(endpoint: str, model: str, timeout_s: float = TIMEOUT_S) -> str:
    """Flip bytes in the last shard's tensor: size and header stay right, only a checksum tells.

    Returns the key. Doing it again changes nothing. Raises StoreError.
    """

    def flip(content: bytes) -> bytes:
        at = len(content) - _FLIPPED_BYTES
        return content[:at] + bytes(byte ^ 0xFF for byte in content[at:])

    return _damage(endpoint, model, flip, timeout_s)


def truncate(endpoint: str, model: str, timeout_s: float = TIMEOUT_S) -> str:
    """Cut the last shard in half, as an upload that was accepted half would be.

    Returns the key. Doing it again changes nothing. Raises StoreError.
    """
    return _damage(endpoint, model, lambda content: content[: len(content) // 2], timeout_s)


def status(
    endpoint: str, model: str | None = None, timeout_s: float = TIMEOUT_S
) -> dict[str, ModelStatus]:
    """Read every object of the version in service, of one model or of all; return how they are.

    A model that was never published is not in it; a store without the bucket has none. Raises
    StoreError when the store does not answer.
    """
    with _open(endpoint, timeout_s) as s3:
        try:
            keys = s3.keys(f"{model}/" if model else "")
        except MissingError:
            return {}
        models = [key.removesuffix("/current") for key in keys if key.endswith("/current")]
        return {each: _status_of(s3, each, keys) for each in models if model in {None, each}}


def _status_of(s3: S3, model: str, keys: list[str]) -> ModelStatus:
    version = ""
    try:
        version, _ = _current(s3, model)
        prefix = f"{model}/{version}/"
        if not any(key.startswith(prefix) for key in keys):
            return ModelStatus(version, "empty", f"{s3.url(prefix)}: expected files, found none")
        where = layout.key(model, version, layout.MANIFEST)
        for file in layout.read_manifest(s3.get(where)[0], s3.url(where)).files:
            _compare(s3, layout.key(model, version, file.name), file)
    except (MissingError, IntegrityError) as error:
        return ModelStatus(version, "corrupt", str(error))
    return ModelStatus(version, "whole")


def _compare(s3: S3, key: str, file: File) -> None:
    digest = hashlib.sha256()
    for block in s3.read(key, file.size):
        digest.update(block)
    layout.check_sha256(s3.url(key), file.sha256, digest.hexdigest())


def _damage(endpoint: str, model: str, change: Callable[[bytes], bytes], timeout_s: float) -> str:
    """Replace the last shard by a changed original."""
    with _open(endpoint, timeout_s) as s3:
        stand_in = _recipe(s3, model)
        # An emptied version has nothing to damage: this says so.
        s3.get(layout.key(model, stand_in.version, layout.MANIFEST))
        key = layout.key(model, stand_in.version, stand_in.shard_name(stand_in.shards))
        s3.put(key, change(stand_in.shard(stand_in.shards)))
        return key


def _current(s3: S3, model: str) -> tuple[str, str | None]:
    """Return the version in service and what it was made of."""
    key = layout.current_key(model)
    body, metadata = s3.get(key)
    return layout.read_current(body, s3.url(key)), metadata.get(_RECIPE)


def _recipe(s3: S3, model: str) -> StandIn:
    version, recipe = _current(s3, model)
    try:
        stand_in = StandIn(**json.loads(recipe or "{}"))
    except (ValueError, TypeError):
        stand_in = None
    if stand_in is None or (stand_in.model, stand_in.version) != (model, version):
        raise StoreError(
            f"{s3.url(layout.current_key(model))}: expected x-amz-meta-{_RECIPE} as publish "
            f"writes it for {model}/{version}, found {recipe!r}; publish the model again"
        )
    return stand_in


def _open(endpoint: str, timeout_s: float) -> S3:
    return S3(endpoint, Limits(min(SILENCE_S_MAX, timeout_s), timeout_s))
