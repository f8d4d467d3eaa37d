"""Fetch a model into a directory of the node, as a pod's init container does.

The directory is a cache that the node's pods share: one fetch at a time holds its lock and writes.
Files are loaded beside it, as `<file>.<sha256>.part`, and take their places when all of them are
right: then the manifest goes, the files come, the manifest comes back. So a directory with a
manifest is intact unless somebody touched it, a version that cannot be loaded leaves the one before
as it was, and a fetch that was killed is gone on with where it stood.

Where the store need not be asked, looking needs neither lock nor right to write: any number of pods
check a shared volume at the same time, be it root's or read-only.
"""

from __future__ import annotations

import errno
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
_BLOCK_BYTES = 2**20
_NOT_OURS = {errno.EACCES, errno.EPERM, errno.EROFS}

Say = Callable[[str], None]
Store = S3 | SignedS3


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to fetch; `version` None is the one in service, `store` a URL of `s3` or of `signed`.

    `verify` reads every file that is there already; without it, a size is enough: a manifest that a
    fetch put there came after its files had been checked, one that S3's link put there did not.
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

    @property
    def store_may_be_left_out(self) -> bool:
        """Whether a directory that has the version answers everything."""
        return self.offline_ok and self.version is not None


def fetch(wanted: Wanted, say: Say) -> Manifest:
    """Make the directory hold the version; return its manifest. `say` is told every step.

    Raises:
        StoreError: it could not, in one line.
        OSError: a file cannot be read or written.
    """
    limits = Limits(wanted.silence_s, wanted.whole_s)
    while True:
        cached, flaw, before = None, "", None
        if wanted.store_may_be_left_out:
            before = _stamp(wanted.into)
            cached, flaw = _look(wanted, limits)
        if cached:
            return cached
        with _writing(wanted, limits, flaw, say) as waited:
            # Another fetch may have made it whole while this one waited, or looked for minutes:
            # that is looked at by all of them at once, not by one after the other.
            is_stale = waited or _stamp(wanted.into) != before
            if not (is_stale and wanted.store_may_be_left_out):
                return _fetched(wanted, limits, say)


def _fetched(wanted: Wanted, limits: Limits, say: Say) -> Manifest:
    """Ask the store what the directory should hold, and make it so; the lock is held."""
    cached = None if wanted.store_may_be_left_out else _look(wanted, limits)[0]
    with _open(wanted.store, limits) as s3:
        version = wanted.version
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
            _complete(s3, manifest, wanted.into, limits, say)
        return manifest


def _open(store: str, limits: Limits) -> Store:
    return SignedS3(store, limits) if store.startswith(SCHEME) else S3(store, limits)


def _look(wanted: Wanted, limits: Limits) -> tuple[Manifest | None, str]:
    """Return the manifest of an intact directory that may be what is wanted, or else what is wrong.

    Nothing is written. Who looks while another fetch writes sees files that are not the manifest's.
    """
    path = wanted.into / layout.MANIFEST
    try:
        manifest = layout.read_manifest(path.read_bytes(), str(path))
    except FileNotFoundError:
        return None, f"no {path}"
    except IntegrityError as error:
        return None, str(error)
    if manifest.model != wanted.model or wanted.version not in {None, manifest.version}:
        return None, f"{path} is of {manifest.model}/{manifest.version}"
    for file in manifest.files:
        if not _is_whole(wanted.into, file, limits, verify=wanted.verify):
            return None, f"{wanted.into / file.name} is not the one of {layout.MANIFEST}"
    return manifest, ""


def _stamp(into: Path) -> tuple[int, int] | None:
    """Return what tells a manifest from the next one that is put there; None: there is none."""
    try:
        found = (into / layout.MANIFEST).stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


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


def _complete(s3: Store, manifest: Manifest, into: Path, limits: Limits, say: Say) -> None:
    """Load what is missing or differs; only then touch what the directory held before."""
    wrong = [file for file in manifest.files if not _is_whole(into, file, limits, verify=True)]
    for file in wrong:
        _download(s3, layout.key(manifest.model, manifest.version, file.name), file, into, say)
    target = into / layout.MANIFEST
    if not wrong and target.exists() and target.read_bytes() == manifest.to_json():
        return  # others who look would miss a manifest that is taken away and put back
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


def _is_whole(into: Path, file: File, limits: Limits, *, verify: bool) -> bool:
    """Say whether the file is the manifest's; raises StoreError when reading it takes too long."""
    path = into / file.name
    digest = hashlib.sha256()
    try:
        if path.stat().st_size != file.size:
            return False
        if not verify:
            return True
        with path.open("rb", buffering=0) as content:
            while block := content.read(_BLOCK_BYTES):
                digest.update(block)
                if not limits.left_s():
                    raise StoreError(f"{path}: expected it read in time, found {limits.broken()}")
    except FileNotFoundError:
        return False
    return digest.hexdigest() == file.sha256


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
def _writing(wanted: Wanted, limits: Limits, flaw: str, say: Say) -> Iterator[bool]:
    """Hold the directory's lock; the kernel lets go of it with the process.

    Yields whether another fetch had it first. `flaw` is what an earlier look found wrong, if one
    was taken. Raises StoreError when it does not come in time, or the directory is not ours.
    """
    path = wanted.into / LOCK
    try:
        wanted.into.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    except OSError as error:
        if error.errno not in _NOT_OURS:
            raise
        whole = f"{wanted.model}/{wanted.version} there and whole, or " if flaw else ""
        found = f"{flaw}, and {error.strerror}" if flaw else error.strerror
        raise StoreError(
            f"{wanted.into}: expected {whole}a directory to write to; found {found}"
        ) from None
    with file:
        waited = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not waited:
                    say(f"Waiting for another fetch into {wanted.into}")
                    waited = True
                if not limits.left_s():
                    raise StoreError(
                        f"{path}: expected the lock within {limits.whole_s:g} s, "
                        "found it held by another fetch"
                    ) from None
                time.sleep(_LOCK_LOOK_S)
        yield waited


def _bytes(size: int) -> str:
    """Return a size for people, like 64 KiB or 1.5 GiB."""
    value = float(size)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.4g} {unit}"
        value /= 1024
    return f"{value:.4g} GiB"
