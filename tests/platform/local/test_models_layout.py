"""What a model store holds: names, manifests, and weights that a loader would take."""

import hashlib
import json
import subprocess
import sys
from typing import Any

import pytest

from inference_platform.local.models import layout
from inference_platform.local.models.errors import IntegrityError
from inference_platform.local.models.layout import File, Manifest, StandIn


def test_equal_stand_ins_have_equal_bytes() -> None:
    """A restored model is the one that was published; another seed or version is another model."""
    one = dict(StandIn("chat", "v1", shards=2, seed=3).files())

    assert dict(StandIn("chat", "v1", shards=2, seed=3).files()) == one
    for other in (StandIn("chat", "v1", 2, seed=4), StandIn("chat", "v2", 2, seed=3)):
        shard = other.shard_name(1)
        assert dict(other.files())[shard] != one[shard]


@pytest.mark.parametrize("shard_bytes", [1024, 64 * 1024])
def test_a_shard_is_a_safetensors_file(shard_bytes: int) -> None:
    """Length, JSON header and tensors cover the file exactly, the tensors begin on 8 bytes."""
    raw = StandIn("chat", shards=999, shard_bytes=shard_bytes).shard(999)

    header_bytes = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + header_bytes])
    assert header.pop("__metadata__") == {"format": "pt"}
    [tensor] = header.values()
    begin, end = tensor["data_offsets"]
    assert (begin, 8 + header_bytes + end) == (0, len(raw))
    assert tensor["shape"] == [(end - begin) // 2]
    assert tensor["dtype"] == "BF16"
    assert (len(raw), header_bytes % 8) == (shard_bytes, 0)


def test_the_manifest_names_every_file() -> None:
    """Name, size and SHA-256 of the configuration and each shard, in Hugging Face's names."""
    stand_in = StandIn("org/chat", "v7", shards=2, shard_bytes=2048)

    document = json.loads(stand_in.manifest().to_json())

    assert (document["model"], document["version"]) == ("org/chat", "v7")
    assert [file["name"] for file in document["files"]] == [
        "config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]
    for file, content in zip(document["files"], dict(stand_in.files()).values(), strict=True):
        assert file["size"] == len(content)
        assert file["sha256"] == hashlib.sha256(content).hexdigest()


def test_a_manifest_survives_writing_and_reading() -> None:
    """What is read back is what was written."""
    manifest = Manifest("chat", "v1", (File.of("a", b"x"), File.of("b", b"")))

    assert layout.read_manifest(manifest.to_json(), "here") == manifest


FILE = {"name": "a", "size": 1, "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("<html>", "expected a manifest .* found '<html>'"),
        ({"model": "m"}, r"expected a manifest .*\(KeyError"),
        ([], r"expected a manifest .*\(TypeError"),
        ({"files": [{**FILE, "name": "../../etc/passwd"}]}, "plain file names, found '../../etc"),
        ({"files": [{**FILE, "name": ".lock"}]}, "plain file names, found '.lock'"),
        ({"files": [{**FILE, "name": "manifest.json"}]}, "plain file names"),
        ({"files": [{**FILE, "size": -1}]}, "expected a size and a SHA-256"),
        ({"files": [{**FILE, "sha256": "abc"}]}, "expected a size and a SHA-256"),
    ],
)
def test_a_bad_manifest_is_refused(document: Any, message: str) -> None:
    """One line says where; no file name leads out of the directory."""
    if isinstance(document, dict) and "files" in document:
        document = {"model": "m", "version": "v", **document}
    raw = document if isinstance(document, str) else json.dumps(document)

    with pytest.raises(IntegrityError, match=f"^http://s3/key: .*{message}") as refused:
        layout.read_manifest(raw.encode(), "http://s3/key")

    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("raw", [b"", b"v1", b"{}", b'{"version": 1}', b'{"version": "../x"}'])
def test_a_bad_pointer_is_refused(raw: bytes) -> None:
    """A version that cannot be part of a key is none."""
    with pytest.raises(IntegrityError, match='expected {"version": "..."}, found '):
        layout.read_current(raw, "http://s3/key")


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"model": "../chat"}, "model: expected a name"),
        ({"model": "chat/"}, "model: expected a name"),
        ({"version": "v1/x"}, "version: expected a name"),
        ({"shards": 0}, "shards: expected 1 to 999, found 0"),
        ({"shards": "4"}, "shards: expected a whole number, found '4'"),
        ({"seed": 1.5}, "seed: expected a whole number"),
        ({"shard_bytes": 1001}, "shard_bytes: expected a multiple of 8, 1024 or more, found 1001"),
        ({"shard_bytes": 8}, "shard_bytes: expected"),
    ],
)
def test_a_stand_in_that_cannot_be_is_refused(what: dict[str, Any], message: str) -> None:
    """Bad numbers are told where they are given, not by the store."""
    with pytest.raises(ValueError, match=message):
        StandIn(**{"model": "chat", **what})


def test_a_pod_loads_no_server_and_no_sdk() -> None:
    """Every pod starts a fetch: moto or boto3 in it would cost a core for a second each."""
    source = (
        "import sys; from inference_platform.local.models import __main__, store\n"
        "print([name for name in ('moto', 'boto3', 'werkzeug', 'pydantic', 'asyncio')"
        " if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, timeout=20, check=True
    )

    assert done.stdout.strip() == "[]"
