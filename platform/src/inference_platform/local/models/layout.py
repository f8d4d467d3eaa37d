"""What the store holds, byte for byte: keys, manifest, and stand-ins for a model's weights."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from inference_platform.local.models.errors import IntegrityError

BUCKET = "models"
MANIFEST = "manifest.json"
CONFIG = "config.json"
SHARD_BYTES_MIN = 1024
_MODEL = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)*", re.ASCII)
_NAME = re.compile(r"[\w-][\w.-]*", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}")


def current_key(model: str) -> str:
    """Return the key of the pointer to the version in service: `{"version": ...}`."""
    return f"{model}/current"


def key(model: str, version: str, name: str) -> str:
    """Return the key of one file of a version."""
    return f"{model}/{version}/{name}"


def check_names(model: str, version: str | None) -> None:
    """Refuse what cannot be part of a key; raises ValueError."""
    if not _MODEL.fullmatch(model):
        raise ValueError(f"model: expected a name like chat-fast or org/chat, found {model!r}")
    if version is not None and not _NAME.fullmatch(version):
        raise ValueError(f"version: expected a name like v1, found {version!r}")


@dataclass(frozen=True, slots=True)
class File:
    """One file of a version; `size` in bytes, `sha256` in hex."""

    name: str
    size: int
    sha256: str

    @classmethod
    def of(cls, name: str, content: bytes) -> File:
        """Return what a manifest says of this content."""
        return cls(name, len(content), hashlib.sha256(content).hexdigest())


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files that make a version whole."""

    model: str
    version: str
    files: tuple[File, ...]

    def to_json(self) -> bytes:
        """Return the text that is stored."""
        return json.dumps(asdict(self), indent=1).encode() + b"\n"


def read_manifest(raw: bytes, where: str) -> Manifest:
    """Read a manifest; `where` is its URL or path.

    Raises:
        IntegrityError: it is no manifest, or names a file that would land outside the directory.
    """
    try:
        document = json.loads(raw)
        files = tuple(
            File(str(each["name"]), int(each["size"]), str(each["sha256"]))
            for each in document["files"]
        )
        manifest = Manifest(str(document["model"]), str(document["version"]), files)
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(
            f"{where}: expected a manifest (model, version, files with name, size, sha256), "
            f"found {_excerpt(raw)} ({type(error).__name__}: {error})"
        ) from None
    for file in files:
        if not _NAME.fullmatch(file.name) or file.name == MANIFEST:
            raise IntegrityError(f"{where}: expected plain file names, found {file.name!r}")
        if file.size < 0 or not _SHA256.fullmatch(file.sha256):
            raise IntegrityError(f"{where}: expected a size and a SHA-256 in hex, found {file}")
    return manifest


def read_current(raw: bytes, where: str) -> str:
    """Return the version that `current` names; raises IntegrityError."""
    try:
        version = json.loads(raw)["version"]
        check_names("-", version)
    except (ValueError, KeyError, TypeError):
        raise IntegrityError(
            f'{where}: expected {{"version": "..."}}, found {_excerpt(raw)}'
        ) from None
    return str(version)


def check_sha256(where: str, expected: str, found: str) -> None:
    """Raise IntegrityError when the two differ."""
    if expected != found:
        raise IntegrityError(
            f"Consistency check failed: {where}: expected sha256 {expected}, found {found}"
        )


def _excerpt(raw: bytes) -> str:
    return repr(raw[:60].decode("utf-8", "replace"))


@dataclass(frozen=True, slots=True)
class StandIn:
    """A small model in the place of a real one; equal ones have equal bytes.

    Raises:
        ValueError: a name or number that cannot be.
    """

    model: str
    version: str = "v1"
    shards: int = 4
    shard_bytes: int = 64 * 1024
    seed: int = 0

    def __post_init__(self) -> None:
        check_names(self.model, self.version)
        for name in ("shards", "shard_bytes", "seed"):
            if type(getattr(self, name)) is not int:
                raise ValueError(f"{name}: expected a whole number, found {getattr(self, name)!r}")
        if not 1 <= self.shards <= 999:
            raise ValueError(f"shards: expected 1 to 999, found {self.shards}")
        if self.shard_bytes < SHARD_BYTES_MIN or self.shard_bytes % 8:
            raise ValueError(
                f"shard_bytes: expected a multiple of 8, {SHARD_BYTES_MIN} or more, "
                f"found {self.shard_bytes}"
            )

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Yield name and content of every file; one shard in memory at a time."""
        yield CONFIG, self._config()
        for number in range(1, self.shards + 1):
            yield self.shard_name(number), self.shard(number)

    def manifest(self) -> Manifest:
        """Return the manifest of these files."""
        return Manifest(
            self.model, self.version, tuple(File.of(name, raw) for name, raw in self.files())
        )

    def shard_name(self, number: int) -> str:
        """Return the name of a shard, counted from 1, as Hugging Face writes it."""
        return f"model-{number:05d}-of-{self.shards:05d}.safetensors"

    def shard(self, number: int) -> bytes:
        """Return a valid safetensors file with one bfloat16 tensor."""
        # Length of the header, 8 bytes little-endian; the header, JSON padded with spaces so that
        # the tensors begin on a multiple of 8; the tensors.
        name = f"model.layers.{number - 1}.mlp.down_proj.weight"
        header_bytes = 256
        data_bytes = self.shard_bytes - 8 - header_bytes
        tensor = {"dtype": "BF16", "shape": [data_bytes // 2], "data_offsets": [0, data_bytes]}
        header = json.dumps({"__metadata__": {"format": "pt"}, name: tensor})
        source = f"{self.model}\n{self.version}\n{self.seed}\n{number}".encode()
        return b"".join(
            (
                header_bytes.to_bytes(8, "little"),
                header.ljust(header_bytes).encode(),
                hashlib.shake_256(source).digest(data_bytes),
            )
        )

    def _config(self) -> bytes:
        config = {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "num_hidden_layers": self.shards,
            "torch_dtype": "bfloat16",
        }
        return json.dumps(config, indent=1).encode() + b"\n"
