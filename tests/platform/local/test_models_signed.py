"""On a cluster the same fetch reads S3 as AWS has it: signed, from a folder of a bucket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from inference_platform.local.models import layout
from inference_platform.local.models.__main__ import main
from inference_platform.local.models.errors import StoreError
from inference_platform.local.models.layout import StandIn
from inference_platform.local.models.s3 import Limits
from inference_platform.local.models.signed import SignedS3, split

MODEL = StandIn("chat-fast", shards=2)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket that moto plays in this process, with a model under `models/`."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket="weights")
        files = {**dict(MODEL.files()), layout.MANIFEST: MODEL.manifest().to_json()}
        for name, raw in files.items():
            key = f"models/{layout.key(MODEL.model, MODEL.version, name)}"
            client.put_object(Bucket="weights", Key=key, Body=raw)
        yield "s3://weights/models"


def _fetch(store: str, into: Path, *more: str) -> int:
    wanted = ["--model", MODEL.model, "--version", MODEL.version, "--into", str(into)]
    return main(["fetch", "--store", store, *wanted, "--timeout", "5", *more])


def test_model_comes_whole(bucket: str, tmp_path: Path) -> None:
    """Manifest and files are in the folder, byte for byte."""
    assert _fetch(bucket, tmp_path, "--verify", "--offline-ok") == 0
    for name, raw in MODEL.files():
        assert (tmp_path / name).read_bytes() == raw


def test_spoilt_file_is_refused(
    bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file with another checksum than the manifest's never takes its place."""
    name, raw = list(MODEL.files())[-1]
    key = f"models/{layout.key(MODEL.model, MODEL.version, name)}"
    boto3.client("s3").put_object(Bucket="weights", Key=key, Body=raw[::-1])
    assert _fetch(bucket, tmp_path) == 1
    assert "s3://weights/models/chat-fast" in capsys.readouterr().err
    assert not (tmp_path / layout.MANIFEST).exists()


def test_fetch_goes_on_where_it_stood(bucket: str, tmp_path: Path) -> None:
    """A pod that was killed does not load gigabytes again: what follows a byte can be asked for."""
    name, raw = list(MODEL.files())[-1]
    with SignedS3(bucket, Limits(5, 10)) as store:
        key = layout.key(MODEL.model, MODEL.version, name)
        assert b"".join(store.read(key, len(raw), 100)) == raw[100:]


def test_whole_version_needs_no_store(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A volume that holds the version is checked and used, whether S3 answers or not."""
    assert _fetch(bucket, tmp_path) == 0
    assert _fetch("s3://nothing-there/models", tmp_path, "--verify", "--offline-ok") == 0


@pytest.mark.parametrize("what", ["s3://gone-bucket/models", "s3://weights/elsewhere"])
def test_what_is_missing_is_one_line(
    what: str, bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who reads the pod's log sees which object was asked for, and what S3 said."""
    assert _fetch(what, tmp_path) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert what in error


def test_refused_rights_are_said(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A role that may not read is a line, not a traceback."""
    store = SignedS3(bucket, Limits(5, 10))

    def refuse(**_: object) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "GetObject")

    monkeypatch.setattr(store._client, "get_object", refuse)
    with pytest.raises(StoreError, match="AccessDenied.*s3://weights/models/x"):
        store.get("x")


@pytest.mark.parametrize(
    "address", ["s3://", "s3://UPPER/x", "s3://bucket/x?y", "http://bucket", "s3://u@bucket/x"]
)
def test_addresses_are_checked(address: str) -> None:
    """What is no address of S3 ends the fetch before it begins."""
    with pytest.raises(ValueError, match="expected s3://BUCKET"):
        split(address)
