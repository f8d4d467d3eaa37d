"""Says what a folder of weights holds, so that whoever fetches it can tell that it is whole."""

from __future__ import annotations

import hashlib
from pathlib import Path

from inference_platform.local.models.errors import IntegrityError
from inference_platform.local.models.layout import MANIFEST, File, Manifest, read_manifest


def write_manifest(folder: Path, model: str, version: str) -> Manifest:
    """Read every file of a folder but hidden ones, write its `manifest.json`, and return that.

    Raises:
        IntegrityError: no files, or what a manifest cannot name, such as a folder in the folder.
        OSError: something cannot be read or written.
    """
    shown = (path for path in folder.iterdir() if not path.name.startswith("."))
    inside = sorted(path for path in shown if path.name != MANIFEST)
    if not inside:
        raise IntegrityError(f"{folder}: expected the files of a model, found none")
    for path in inside:
        if not path.is_file():
            raise IntegrityError(f"{path}: expected plain files only; move it out of {folder}")
    manifest = Manifest(model, version, tuple(_file(path) for path in inside))
    text = manifest.to_json()
    read_manifest(text, str(folder))  # a name that a fetch would refuse is refused here
    (folder / MANIFEST).write_bytes(text)
    return manifest


def _file(path: Path) -> File:
    with path.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256")
    return File(path.name, path.stat().st_size, digest.hexdigest())
