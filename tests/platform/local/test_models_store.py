"""The store itself, played by moto's real server: publish, harm, restore, look."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.config
import pytest

from inference_platform.local.models import store
from inference_platform.local.models.__main__ import main
from inference_platform.local.models.errors import MissingError, StoreError
from inference_platform.local.models.layout import StandIn

SERVE = [sys.executable, "-m", "inference_platform.local.models", "serve"]
START_S_MAX = 30.0


def wait_for_url(log: Path, process: subprocess.Popen[bytes] | None = None) -> str:
    """Return the address that a starting store writes to its log."""
    deadline = time.monotonic() + START_S_MAX
    while not (found := re.search(r"serving S3 on (\S+)", log.read_text())):
        if time.monotonic() > deadline or (process and process.poll() is not None):
            pytest.fail(f"no store; its log: {log.read_text()!r}")
        time.sleep(0.02)
    return found[1]


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A store with two models from the start; URL and log. It must end with 0 on SIGTERM."""
    log = tmp_path_factory.mktemp("store") / "log"
    models = ({"model": "early", "seed": 7}, {"model": "org/large", "version": "v3", "shards": 2})
    flags = [word for model in models for word in ("--publish", json.dumps(model))]
    env = {**os.environ, "MOTO_S3_DEFAULT_MAX_KEYS": "10"}  # a page of a listing
    with log.open("wb") as out:
        process = subprocess.Popen([*SERVE, "--port", "0", *flags], stdout=out, stderr=out, env=env)
    try:
        yield wait_for_url(log, process), log
        process.terminate()
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def url(serving: tuple[str, Path]) -> str:
    """Where the store is."""
    return serving[0]


@pytest.fixture
def model(url: str, request: pytest.FixtureRequest) -> str:
    """A model that only this test harms."""
    name = re.sub(r"\W+", "-", request.node.name)
    store.publish(url, StandIn(name, shards=3, shard_bytes=4096))
    return name


@pytest.fixture
def sdk(url: str) -> Iterator[Any]:
    """Return the AWS SDK's client, which signs."""
    client = boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="nobody",
        aws_secret_access_key="nothing",
        config=botocore.config.Config(s3={"addressing_style": "path"}, proxies={}),
    )
    yield client
    client.close()


def test_a_store_has_its_models_before_it_listens(url: str) -> None:
    """After an outage the objects are there again; no pod meets a store that is not yet filled."""
    found = store.status(url)

    assert (found["early"].version, found["early"].state) == ("v1", "whole")
    assert (found["org/large"].version, found["org/large"].state) == ("v3", "whole")


def test_the_sdk_reads_what_publish_wrote(url: str, model: str, sdk: Any) -> None:
    """The layout is plain S3: pointer, manifest and files as the AWS SDK sees them."""

    def read(key: str) -> bytes:
        return sdk.get_object(Bucket="models", Key=key)["Body"].read()

    stand_in = StandIn(model, shards=3, shard_bytes=4096)
    assert json.loads(read(f"{model}/current")) == {"version": "v1"}
    assert read(f"{model}/v1/manifest.json") == stand_in.manifest().to_json()
    for name, content in stand_in.files():
        assert read(f"{model}/v1/{name}") == content
    listed = sdk.list_objects_v2(Bucket="models", Prefix=f"{model}/")["Contents"]
    assert len(listed) == 1 + 1 + 1 + 3  # current, manifest, config, shards


def test_what_the_sdk_wrote_can_be_read(url: str, model: str, sdk: Any) -> None:
    """A registry that publishes through the AWS SDK serves the same pods."""
    manifest = StandIn(model, "v9", shards=1).manifest()
    for name, content in StandIn(model, "v9", shards=1).files():
        sdk.put_object(Bucket="models", Key=f"{model}/v9/{name}", Body=content)
    sdk.put_object(Bucket="models", Key=f"{model}/v9/manifest.json", Body=manifest.to_json())
    sdk.put_object(Bucket="models", Key=f"{model}/current", Body=b'{"version": "v9"}')

    assert store.status(url, model)[model] == store.ModelStatus("v9", "whole")
    with pytest.raises(StoreError, match="expected x-amz-meta-stand-in .* publish the model again"):
        store.restore(url, model)


def test_publishing_again_changes_nothing(url: str, model: str) -> None:
    """Whoever is not sure whether it worked may do it again."""
    store.publish(url, StandIn(model, shards=3, shard_bytes=4096))

    assert store.status(url, model)[model] == store.ModelStatus("v1", "whole")


def test_a_version_does_not_change(url: str, model: str) -> None:
    """Other content under the same name would make every cache a liar."""
    with pytest.raises(StoreError, match=r"v1/manifest.json: expected .* publish under a new name"):
        store.publish(url, StandIn(model, shards=3, shard_bytes=4096, seed=1))

    assert store.status(url, model)[model].state == "whole"


def test_the_pointer_is_written_last(url: str, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A publisher that dies at any write leaves a whole version in service."""
    real_put = store.S3.put
    writes = 6  # config, three shards, manifest, current

    def die_at(number: int) -> Any:
        left = iter(range(number))

        def put(self: store.S3, key: str, *rest: Any) -> None:
            if next(left, None) is None:
                raise KeyboardInterrupt
            real_put(self, key, *rest)

        return put

    for number in range(writes):
        monkeypatch.setattr(store.S3, "put", die_at(number))
        with pytest.raises(KeyboardInterrupt):
            store.publish(url, StandIn(model, "v2", shards=3))
        assert store.status(url, model)[model] == store.ModelStatus("v1", "whole")
    monkeypatch.setattr(store.S3, "put", die_at(writes))
    store.publish(url, StandIn(model, "v2", shards=3))
    assert store.status(url, model)[model] == store.ModelStatus("v2", "whole")


@pytest.mark.parametrize(
    ("harm", "state", "reason"),
    [
        (store.empty, "empty", "v1/: expected files, found none"),
        (store.corrupt, "corrupt", "00003-of-00003.safetensors: expected sha256 .*, found "),
        (store.truncate, "corrupt", "expected 4096 bytes, found 2048"),
    ],
)
def test_harm_shows_and_goes_away(url: str, model: str, harm: Any, state: str, reason: str) -> None:
    """Doing it twice is doing it once, other models are untouched, restore brings it all back."""
    before = store.status(url, "early")["early"]
    for _ in range(2):
        harm(url, model)
        found = store.status(url, model)[model]
        assert (found.version, found.state) == ("v1", state)
        assert re.search(reason, found.reason)
    assert store.status(url, "early")["early"] == before

    assert store.restore(url, model) == StandIn(model, shards=3, shard_bytes=4096).manifest()

    assert store.status(url, model)[model] == store.ModelStatus("v1", "whole")


def test_corruption_keeps_size_and_header(url: str, model: str, sdk: Any) -> None:
    """Only a checksum finds it: the worst case for whoever does not look."""
    key = store.corrupt(url, model)

    found = sdk.get_object(Bucket="models", Key=key)["Body"].read()
    right = StandIn(model, shards=3, shard_bytes=4096).shard(3)
    assert len(found) == len(right)
    assert found[:1024] == right[:1024]
    assert found != right


@pytest.mark.parametrize(
    ("key", "body", "reason"),
    [
        ("current", b"oops", "current: expected "),
        ("v1/manifest.json", b"oops", "manifest.json: expected a manifest"),
        ("v1/config.json", None, "NoSuchKey.*config.json"),
        ("v1/manifest.json", None, "NoSuchKey.*manifest.json"),
    ],
)
def test_any_broken_object_is_found(
    url: str, model: str, sdk: Any, key: str, body: bytes | None, reason: str
) -> None:
    """A pointer, a manifest or one file that is wrong or gone makes the model corrupt."""
    if body is None:
        sdk.delete_object(Bucket="models", Key=f"{model}/{key}")
    else:
        sdk.put_object(Bucket="models", Key=f"{model}/{key}", Body=body)

    found = store.status(url, model)[model]

    assert found.state == "corrupt"
    assert re.search(reason, found.reason)


def test_many_keys_are_all_seen(url: str) -> None:
    """A listing of S3 comes in pages, of 1000 keys there and of 10 here."""
    store.publish(url, StandIn("zebra", shards=24, shard_bytes=1024))

    assert store.status(url, "zebra")["zebra"].state == "whole"
    store.empty(url, "zebra")
    assert store.status(url, "zebra")["zebra"].state == "empty"


def test_a_model_or_bucket_that_is_not_there_is_named(url: str) -> None:
    """In the SDK's words, with the URL; a store without the bucket holds no model."""
    for harm in (store.empty, store.corrupt, store.truncate, store.restore):
        with pytest.raises(
            MissingError, match=r"\(NoSuchKey\) .*GET http://.*/models/nope/current"
        ):
            harm(url, "nope")
    with pytest.raises(MissingError, match=r"\(NoSuchBucket\) .* expected 200, found 404"):
        store.restore(f"{url}/elsewhere", "early")
    assert store.status(f"{url}/elsewhere") == store.status(url, "org") == {}


def test_an_emptied_model_cannot_be_corrupted(url: str, model: str) -> None:
    """A fault that has nothing to act on must not seem to have worked."""
    store.empty(url, model)

    with pytest.raises(MissingError, match=r"NoSuchKey.*v1/manifest.json"):
        store.corrupt(url, model)


def test_a_store_that_is_gone_or_mute_is_told_in_time() -> None:
    """Every call ends: refused at once, silence after the timeout."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"http://127.0.0.1:{mute.getsockname()[1]}"
        with pytest.raises(StoreError, match=r'^Read timeout .*"http://.*0.2 s'):
            store.status(address, timeout_s=0.2)
    with pytest.raises(StoreError, match="^Could not connect .*/models/early/current.*refused"):
        store.restore(address, "early")
    with pytest.raises(StoreError, match=r"expected http://host:port\[/bucket\], found 'https://"):
        store.status("https://somewhere")


def test_the_log_is_short_and_keeps_secrets(url: str, model: str, serving: Any, sdk: Any) -> None:
    """One line a request, no signature, no warning, no probe."""
    signed = sdk.generate_presigned_url("get_object", {"Bucket": "models", "Key": f"{model}/x"})
    host, port = url.removeprefix("http://").split(":")
    for target in (signed.removeprefix(url), "/", "/nonsense%1b[31m"):
        with socket.create_connection((host, int(port)), timeout=10) as client:
            client.sendall(f"GET {target} HTTP/1.0\r\nhost: {host}\r\n\r\n".encode())
            while client.recv(65536):
                pass

    lines = serving[1].read_text().splitlines()

    assert any(line.endswith(f"GET /models/{model}/x 404") for line in lines)
    assert not [line for line in lines if not re.fullmatch(r"\d\d:\d\d:\d\d s3 INFO .*", line)]
    assert not [line for line in lines if "Signature" in line or "WARN" in line or " / " in line]


def test_an_address_in_use_ends_with_69(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, before anything slow."""
    port = url.rpartition(":")[2]
    before = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        assert main(["serve", "--port", port]) == 69
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)

    error = capsys.readouterr().err
    assert re.fullmatch(rf"model store: cannot listen on 127.0.0.1:{port}: .*in use.*\n", error)


@pytest.mark.parametrize("text", ["chat", "[]", "{}", '{"model": "m", "shard": 1}'])
def test_a_bad_model_on_the_command_line_ends_with_64(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line has what was expected and what was found."""
    assert main(["serve", "--port", "0", "--publish", text]) == 64

    error = capsys.readouterr().err.splitlines()[-1]
    assert f'expected JSON like {{"model":"chat","version":"v1"}}, found {text!r}' in error


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_a_store_dies_with_its_parent(tmp_path: Path) -> None:
    """A platform that was killed leaves no store behind."""
    log = tmp_path / "log"
    log.touch()
    source = (
        "import subprocess, sys, time\n"
        f"out = open({str(log)!r}, 'wb')\n"
        f"argv = {[*SERVE, '--port', '0', '--die-with-parent']!r}\n"
        "print(subprocess.Popen(argv, stdout=out, stderr=out).pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        wait_for_url(log)
    finally:
        parent.kill()
        parent.communicate()
    deadline = time.monotonic() + 10
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        while Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
                pytest.fail("the store outlived its parent")
            time.sleep(0.02)
