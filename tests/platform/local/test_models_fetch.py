"""A pod's init container: the model comes whole or not at all, and says in one line why not."""

import contextlib
import fcntl
import hashlib
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from inference_platform.local.models import cache, layout, store
from inference_platform.local.models.__main__ import main
from inference_platform.local.models.layout import StandIn

MODULE = [sys.executable, "-m", "inference_platform.local.models"]
WAIT_S_MAX = 20.0
SHARD = 64 * 1024


def wait_for(what: Callable[[], object]) -> None:
    """Wait until it is true."""
    deadline = time.monotonic() + WAIT_S_MAX
    while not what():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A store that moto's server plays."""
    log = tmp_path_factory.mktemp("store") / "log"
    with log.open("wb") as out:
        process = subprocess.Popen([*MODULE, "serve", "--port", "0"], stdout=out, stderr=out)
    try:
        wait_for(lambda: "serving S3 on" in log.read_text() or process.poll() is not None)
        yield log.read_text().split()[-1]
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def model(url: str, request: pytest.FixtureRequest) -> StandIn:
    """A published model that only this test knows."""
    stand_in = StandIn(re.sub(r"\W+", "-", request.node.name), shards=3)
    store.publish(url, stand_in)
    return stand_in


class Fetch:
    """Fetches a model into a directory and reads what was said."""

    def __init__(
        self, url: str, stand_in: StandIn, into: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.url, self.model, self.into, self._capsys = url, stand_in.model, into, capsys

    def argv(self, *flags: str, url: str | None = None) -> list[str]:
        where = ["--store", url or self.url, "--model", self.model, "--into", str(self.into)]
        return ["fetch", *where, "--timeout", "5", *flags]

    def __call__(self, *flags: str, url: str | None = None) -> list[str]:
        """Fetch; return the files that were loaded."""
        assert main(self.argv(*flags, url=url)) == 0, self._capsys.readouterr().err
        said = self._capsys.readouterr().out.splitlines()
        return [line.split()[1] for line in said if line.startswith("Downloading ")]

    def fails(self, *flags: str, url: str | None = None) -> str:
        """Fail to fetch; return the one line that says why."""
        assert main(self.argv(*flags, url=url)) == 1
        error = self._capsys.readouterr().err
        assert error.count("\n") == 1
        return error.removeprefix(f"fetch {self.model}: ").strip()

    def holds(self, stand_in: StandIn) -> bool:
        """Say whether the directory has this model and nothing else that a loader would read."""
        right = {**dict(stand_in.files()), layout.MANIFEST: stand_in.manifest().to_json()}
        found = {path.name: path.read_bytes() for path in self.into.iterdir()}
        return {name: raw for name, raw in found.items() if name != cache.LOCK} == right


@pytest.fixture
def fetch(url: str, model: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Fetch:
    """What a pod does."""
    return Fetch(url, model, tmp_path / "node" / "cache", capsys)


@pytest.fixture
def nowhere() -> str:
    """An address that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def test_a_fetch_says_what_it_loads(fetch: Fetch, model: StandIn) -> None:
    """One line a file and one at the end; the directory holds the published bytes."""
    argv = [*MODULE, *fetch.argv()]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=WAIT_S_MAX, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "Downloading config.json 125 B",
        "Downloading model-00001-of-00003.safetensors 64 KiB",
        "Downloading model-00002-of-00003.safetensors 64 KiB",
        "Downloading model-00003-of-00003.safetensors 64 KiB",
        f"{model.model}/v1 is in {fetch.into}",
    ]
    assert fetch.holds(model)


def test_what_is_there_is_not_loaded_again(fetch: Fetch, model: StandIn) -> None:
    """Missing, short or long files are loaded; an intact cache costs no bytes."""
    fetch()
    assert fetch() == []
    first, second = (fetch.into / model.shard_name(number) for number in (1, 2))

    first.unlink()
    second.write_bytes(b"short")

    assert fetch() == [first.name, second.name]
    assert fetch.holds(model)


def test_manifest_of_a_whole_version_is_not_put_back_but_left(
    fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A linked folder may show a file late: who looks meanwhile must not miss the manifest."""
    fetch()
    manifest = fetch.into / layout.MANIFEST
    before = manifest.stat()
    monkeypatch.setattr(cache, "_look", lambda *_: (None, "a shard was not there yet"))

    assert fetch("--version", "v1", "--offline-ok") == []

    after = manifest.stat()
    assert (after.st_ino, after.st_ctime_ns) == (before.st_ino, before.st_ctime_ns)


def test_only_verify_reads_what_is_cached(fetch: Fetch, model: StandIn) -> None:
    """Same size, other bytes: found with --verify, at the price of reading everything."""
    fetch()
    shard = fetch.into / model.shard_name(2)
    shard.write_bytes(bytes(SHARD))

    assert fetch() == []
    assert fetch("--verify") == [shard.name]
    assert fetch.holds(model)


def test_pods_of_one_node_share_one_download(fetch: Fetch, model: StandIn) -> None:
    """Four fetches at once: every file is loaded once, all four end well."""
    argv = [*MODULE, *fetch.argv()]
    pods = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = "".join(pod.communicate(timeout=WAIT_S_MAX)[0] for pod in pods)

    assert [pod.returncode for pod in pods] == [0] * 4
    assert len(re.findall(r"^Downloading ", said, re.MULTILINE)) == 4
    assert fetch.holds(model)


def test_a_lock_that_is_held_is_told(fetch: Fetch) -> None:
    """Waiting for another fetch ends too."""
    fetch.into.mkdir(parents=True)
    with (fetch.into / cache.LOCK).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "expected the lock within 0.1 s, found it held" in fetch.fails("--deadline", "0.1")

    assert fetch()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (store.empty, r"\(NoSuchKey\) when calling the GetObject .*/v1/manifest.json.*found 404"),
        (store.corrupt, "00003.safetensors: expected sha256 [0-9a-f]{64}, found [0-9a-f]{64}$"),
        (store.truncate, "00003.safetensors: expected 65536 bytes, found 32768$"),
    ],
)
def test_harm_in_the_store_is_told_and_not_loaded(
    fetch: Fetch, model: StandIn, harm: Callable[[str, str], object], message: str
) -> None:
    """No manifest, no bad file; once the store is well, only what was missing is loaded."""
    harm(fetch.url, fetch.model)

    for _ in range(2):
        assert re.search(message, fetch.fails())
        assert not (fetch.into / layout.MANIFEST).exists()
        assert not list(fetch.into.glob("*.safetensors"))

    store.restore(fetch.url, fetch.model)
    assert fetch()[-1] == model.shard_name(3)
    assert fetch.holds(model)


def test_a_version_that_cannot_be_loaded_leaves_the_one_before(
    fetch: Fetch, model: StandIn
) -> None:
    """The way back from a bad release needs no download."""
    fetch()
    store.publish(fetch.url, StandIn(fetch.model, "v2", shards=3))
    store.corrupt(fetch.url, fetch.model)

    assert "Consistency check failed" in fetch.fails()

    assert fetch("--version", "v1") == []
    assert cache.layout.read_manifest((fetch.into / "manifest.json").read_bytes(), "") == (
        model.manifest()
    )


def test_a_new_version_takes_the_old_ones_place(fetch: Fetch) -> None:
    """Shards of the old version must not be read with those of the new."""
    fetch()
    smaller = StandIn(fetch.model, "v2", shards=1)
    store.publish(fetch.url, smaller)

    assert fetch() == ["config.json", smaller.shard_name(1)]
    assert fetch.holds(smaller)


def test_death_at_any_step_leaves_no_mixture(
    fetch: Fetch, model: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A manifest in the directory means that every file is of its version."""
    other = StandIn(fetch.model, "v2", shards=3)
    store.publish(fetch.url, other)
    real = {name: getattr(Path, name) for name in ("replace", "unlink")}
    for step in range(9):
        left = iter(range(step))

        def dying(name: str, left: Iterator[int] = left) -> Callable[..., object]:
            def do(*args: object, **options: object) -> object:
                if next(left, None) is None:
                    raise KeyboardInterrupt
                return real[name](*args, **options)

            return do

        fetch("--version", "v1")
        with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
            for name in real:
                patch.setattr(Path, name, dying(name))
            fetch("--version", "v2")
        manifest = fetch.into / layout.MANIFEST
        if manifest.exists():
            for file in layout.read_manifest(manifest.read_bytes(), "").files:
                content = (fetch.into / file.name).read_bytes()
                assert hashlib.sha256(content).hexdigest() == file.sha256
        fetch("--version", "v2")
        assert fetch.holds(other)


@pytest.mark.parametrize("kept", [b"", b"same", b"wrong", b"whole", b"long"])
def test_a_part_is_gone_on_with(fetch: Fetch, model: StandIn, kept: bytes) -> None:
    """Whatever an earlier fetch left, the result is right."""
    file = model.manifest().files[1]
    right = model.shard(1)
    left = {
        b"": b"",
        b"same": right[:40_000],
        b"wrong": bytes(40_000),
        b"whole": right,
        b"long": right * 2,
    }
    fetch.into.mkdir(parents=True)
    (fetch.into / f"{file.name}.{file.sha256[:16]}.part").write_bytes(left[kept])

    fetch()

    assert fetch.holds(model)


def test_a_store_that_is_gone_is_told(fetch: Fetch, nowhere: str) -> None:
    """The URL and why."""
    assert fetch.fails(url=nowhere) == (
        f'Could not connect to the endpoint URL: "{nowhere}/models/{fetch.model}/current": '
        "expected a connection, found: Connection refused"
    )


def test_what_was_never_published_is_told(fetch: Fetch) -> None:
    """Another bucket, another version, another model."""
    assert "(NoSuchBucket)" in fetch.fails(url=f"{fetch.url}/elsewhere")
    assert "(NoSuchKey)" in fetch.fails("--version", "v9")
    assert "(NoSuchKey)" in fetch.fails("--model", "nope")[len("fetch nope: ") :]


def test_a_directory_that_cannot_be_is_told(fetch: Fetch) -> None:
    """A file in its place."""
    fetch.into.parent.mkdir()
    fetch.into.write_text("a file")

    assert "File exists" in fetch.fails()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--store", "ftp://bucket"), "expected http://host:port[/bucket], found 'ftp://bucket'"),
        (("--model", "../x"), "expected a name like chat-fast or org/chat, found '../x'"),
        (("--version", "a/b"), "expected a name like v1, found 'a/b'"),
        (("--timeout", "0"), "expected seconds, more than 0, found '0'"),
        (("--deadline", "soon"), "expected seconds, more than 0, found 'soon'"),
        (("--nonsense",), "unrecognized arguments: --nonsense"),
    ],
)
def test_a_bad_command_line_ends_with_64(
    flags: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last line has what was expected and what was found."""
    right = ["--store", "http://h", "--model", "m", "--into", str(tmp_path)]

    assert main(["fetch", *right, *flags]) == 64

    assert message in capsys.readouterr().err.splitlines()[-1]


def test_the_cached_manifest_is_the_published_one(fetch: Fetch, model: StandIn) -> None:
    """A loader or a person finds in it what the directory holds."""
    fetch()

    document = json.loads((fetch.into / layout.MANIFEST).read_text())
    assert (document["model"], document["version"]) == (model.model, "v1")
    assert len(document["files"]) == 4
