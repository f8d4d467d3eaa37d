"""Fetch a model into a directory of the node, as a pod's init container does.

The directory is a cache that the node's pods share: one fetch at a time holds its lock. Files are
loaded beside it, as `<file>.<sha256>.part`, and take their places when all of them are right: then
the manifest goes, the files come, the manifest comes back. So a directory with a manifest is intact
unless somebody touched it, a version that cannot be loaded leaves the one before as it was, and a
fetch that was killed is gone on with where it stood.
"""

from __future__ import annotations

import fcntl
import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from inference_platform.local.models import layout
from inference_platform.local.models.errors import CannotResumeError, IntegrityError, StoreError
from inference_platform.local.models.layout import File, Manifest
from inference_platform.local.models.s3 import S3, Limits
from inference_platform.local.models.signed import SCHEME, SignedS3

LOCK = ".lock"
_LOCK_LOOK_S = 0.02

Say = Callable[[str], None]
Store = S3 | SignedS3


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to fetch; `version` None is the one in service, `store` a URL of `s3` or of `signed`.

    `verify` reads every file that is there already; without it, a size is enough.
    `offline_ok` takes what is cached when the store does not say which files belong to the version,
    and does not ask it at all about a version given by name that is cached.
    """

    store: str
    model: str
    into: Path
    version: str | None = None
    verify: bool = False
    offline_ok: bool = False
    silence_s: float = 60.0
    whole_s: float = 600.0


def fetch(wanted: Wanted, say: Say) -> Manifest:
    """Make the directory hold the version; return its manifest. `say` is told every step.

    Raises:
        StoreError: it could not, in one line.
        OSError: the directory cannot be written.
    """
    limits = Limits(wanted.silence_s, wanted.whole_s)
    wanted.into.mkdir(parents=True, exist_ok=True)
    with _locked(wanted.into, limits, say), _open(wanted.store, limits) as s3:
        cached = _cached(wanted)
        version = wanted.version
        if wanted.offline_ok and version and cached:
            return cached
        try:
            version = version or _current(s3, wanted.model)
            manifest = _manifest(s3, wanted.model, version)
        except StoreError as error:
            # The cached version is good enough, unless the store wants another one in service.
            if not (wanted.offline_ok and cached and version in {None, cached.version}):
                raise
            say(f"Using the cached {cached.version}: {error}")
            return cached
        if manifest != cached:
            _complete(s3, manifest, wanted.into, say)
        return manifest


def _open(store: str, limits: Limits) -> Store:
    return SignedS3(store, limits) if store.startswith(SCHEME) else S3(store, limits)


def _cached(wanted: Wanted) -> Manifest | None:
    """Return the manifest of an intact directory that may be what is wanted."""
    path = wanted.into / layout.MANIFEST
    try:
        manifest = layout.read_manifest(path.read_bytes(), str(path))
    except (FileNotFoundError, IntegrityError):
        return None
    same = manifest.model == wanted.model and wanted.version in {None, manifest.version}
    intact = all(_is_whole(wanted.into, file, verify=wanted.verify) for file in manifest.files)
    return manifest if same and intact else None


def _current(s3: Store, model: str) -> str:
    key = layout.current_key(model)
    return layout.read_current(s3.get(key)[0], s3.url(key))


def _manifest(s3: Store, model: str, version: str) -> Manifest:
    key = layout.key(model, version, layout.MANIFEST)
    manifest = layout.read_manifest(s3.get(key)[0], s3.url(key))
    if (manifest.model, manifest.version) != (model, version):
        raise IntegrityError(
            f"{s3.url(key)}: expected the manifest of {model}/{version}, "
            f"found that of {manifest.model}/{manifest.version}"
        )
    return manifest


def _complete(s3: Store, manifest: Manifest, into: Path, say: Say) -> None:
    """Load what is missing or differs; only then touch what the directory held before."""
    wrong = [file for file in manifest.files if not _is_whole(into, file, verify=True)]
    for file in wrong:
        _download(s3, layout.key(manifest.model, manifest.version, file.name), file, into, say)
    target = into / layout.MANIFEST
    target.unlink(missing_ok=True)
    for file in wrong:
        _part(into, file).replace(into / file.name)
    # A loader takes every *.safetensors in the directory, whatever version it came with.
    names = {file.name for file in manifest.files}
    for pattern in ("*.safetensors", "*.part"):
        for stranger in into.glob(pattern):
            if stranger.name not in names:
                stranger.unlink(missing_ok=True)
    part = into / f"{layout.MANIFEST}.part"
    part.write_bytes(manifest.to_json())
    part.replace(target)


def _is_whole(into: Path, file: File, *, verify: bool) -> bool:
    path = into / file.name
    try:
        if path.stat().st_size != file.size:
            return False
        if not verify:
            return True
        with path.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest() == file.sha256
    except FileNotFoundError:
        return False


def _part(into: Path, file: File) -> Path:
    return into / f"{file.name}.{file.sha256[:16]}.part"


def _download(s3: Store, key: str, file: File, into: Path, say: Say) -> None:
    """Make the file's part whole, going on where an earlier fetch was stopped."""
    part = _part(into, file)
    begin = part.stat().st_size if part.exists() else 0
    if begin > file.size:
        begin = 0
    since = f", the first {_bytes(begin)} are here" if begin else ""
    say(f"Downloading {file.name} {_bytes(file.size)}{since}")
    try:
        found = _receive(s3, key, file, part, begin)
        if begin and found != file.sha256:  # the part may have been wrong, not the store
            found = _receive(s3, key, file, part, 0)
    except CannotResumeError:
        found = _receive(s3, key, file, part, 0)
    if found != file.sha256:
        part.unlink()
    layout.check_sha256(s3.url(key), file.sha256, found)


def _receive(s3: Store, key: str, file: File, part: Path, begin: int) -> str:
    """Write the object from `begin` on behind what the part has; return the SHA-256 of it all."""
    digest = hashlib.sha256()
    if begin:
        with part.open("rb") as have:
            digest = hashlib.file_digest(have, "sha256")
    with part.open("ab" if begin else "wb") as out:
        if begin < file.size:
            for block in s3.read(key, file.size, begin):
                digest.update(block)
                out.write(block)
    return digest.hexdigest()


@contextmanager
def _locked(into: Path, limits: Limits, say: Say) -> Iterator[None]:
    """Hold the directory's lock; the kernel lets go of it with the process."""
    path = into / LOCK
    with path.open("w") as file:
        waiting = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not waiting:
                    say(f"Waiting for another fetch into {into}")
                    waiting = True
                if not limits.left_s():
                    raise StoreError(
                        f"{path}: expected the lock within {limits.whole_s:g} s, "
                        "found it held by another fetch"
                    ) from None
                time.sleep(_LOCK_LOOK_S)
        yield


def _bytes(size: int) -> str:
    """Return a size for people, like 64 KiB or 1.5 GiB."""
    value = float(size)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.4g} {unit}"
        value /= 1024
    return f"{value:.4g} GiB"
