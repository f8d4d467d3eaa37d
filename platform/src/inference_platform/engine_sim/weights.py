"""Reads a folder of weights as an engine does: every file must be there and whole.

`manifest.json` is {"files": [{"name", "size", "sha256"}]}; what else it holds does not matter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from pathlib import Path
from typing import Any

import orjson

from inference_platform.engine_sim.device import StartError

_CHUNK_BYTES = 1 << 22


def verify(folder: Path) -> Generator[float, None, None]:
    """Read every file, yielding 0 now and then; StartError with one line for the first bad one."""
    for entry in _read_manifest(folder):
        name, size, digest = entry["name"], entry["size"], entry["sha256"]
        path = folder / name
        try:
            found = path.stat().st_size
            if found != size:
                raise StartError(
                    "safetensors_rust.SafetensorError: Error while deserializing header: "
                    f"incomplete metadata, file not fully covered: {path}: expected {size} bytes, "
                    f"found {found}"
                )
            seen = hashlib.sha256()
            with path.open("rb") as stream:
                while chunk := stream.read(_CHUNK_BYTES):
                    seen.update(chunk)
                    yield 0.0
        except OSError as error:
            raise StartError(f"{type(error).__name__}: {error}") from error
        if seen.hexdigest() != digest:
            raise StartError(
                "safetensors_rust.SafetensorError: Error while deserializing header: invalid "
                f"header or checksum: {path}: expected sha256 {digest}, found {seen.hexdigest()}"
            )


def _read_manifest(folder: Path) -> list[dict[str, Any]]:
    path = folder / "manifest.json"
    try:
        files: list[dict[str, Any]] = orjson.loads(path.read_bytes())["files"]
        named = [(f["name"], int(f["size"]), str(f["sha256"])) for f in files]
    except OSError as error:
        raise StartError(f"{type(error).__name__}: {error}") from error
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise StartError(
            f'OSError: {path}: expected {{"files": [{{"name", "size", "sha256"}}]}}, found {error}'
        ) from error
    if not named:
        raise StartError(f"RuntimeError: Cannot find any model weights with `{folder}`")
    return files
