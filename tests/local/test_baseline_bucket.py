"""The baseline store in a bucket, played by moto's real server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from gates import Bench, planned, threshold

from faultload.errors import MissingError
from faultload.record.baseline import Baseline
from faultload.run import baselines
from faultload.run.gate.conduct import Gate
from faultload.run.progress import Silent
from faultload.targets.objects import ObjectStore


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of an S3 server with a bucket in it, moto's own."""
    log = tmp_path_factory.mktemp("s3") / "log"
    code = (
        "import sys\n"
        "from moto.server import ThreadedMotoServer\n"
        "server = ThreadedMotoServer('127.0.0.1', 0, verbose=False); server.start()\n"
        "print(server.get_host_and_port()[1], flush=True); sys.stdin.read(); server.stop()\n"
    )
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        ) as server,
    ):
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            yield f"http://127.0.0.1:{port}"
        finally:
            server.kill()


@pytest.mark.full
def test_bucket_is_a_store_like_a_folder(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 itself refuses to write over an entry, so that two who save at once both find room."""
    for name, value in {
        "AWS_ENDPOINT_URL": bucket,
        "AWS_ACCESS_KEY_ID": "made-up",
        "AWS_SECRET_ACCESS_KEY": "made-up",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket="chat-baselines")
    store = baselines.open_store("s3://chat-baselines/team/llm")
    assert isinstance(store, ObjectStore)

    bench = Bench({1: {"baseline": 1.0, "candidate": 1.0}})
    plan = planned(tmp_path / "reports")
    gate = Gate(plan, Silent(), player=bench.play, opening=bench.opening, look=threshold)
    saved = baselines.save(store, "chat", gate.run().path, "baseline")
    baselines.promote(store, "chat", saved.number, "")

    assert store.keys() == ["chat/000001.json", "chat/000002.json"]
    assert not store.create("chat/000001.json", b"mine")
    assert isinstance(baselines.accepted(store, "chat").entry, Baseline)
    with pytest.raises(MissingError, match="no such object"):
        store.read("chat/000009.json")
