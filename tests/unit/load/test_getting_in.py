"""Endpoints that want TLS and a key: from the target file to the wire, and nowhere else."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import yaml
from loads import wait_until
from memory import Platform, replica
from projects import Project, make_project
from tls_servers import make_certificate, over_tls
from wire import GOOD, read_request

from faultload.errors import ExitCode, InvalidRunError, MissingError, SpecError
from faultload.load import check_workers
from faultload.record import Outcome, PhaseName, read_requests
from faultload.run.plan import RunPlan, prepare
from faultload.run.progress import Silent
from faultload.run.supervisor import Supervisor
from faultload.spec import Catalogue, load_target
from faultload.spec.target import LoadWorkers
from faultload.targets.base import Endpoints

KEY = "sk-a-key-that-nobody-else-may-see"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Return a project with a certificate beside its target file, and a key in its environment."""
    made = make_project(tmp_path / "project", {"warmup_s": 1})
    make_certificate(tmp_path / "project" / "targets")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "project" / "state"))
    monkeypatch.setenv("THE_KEY", KEY)
    return made


def planned(project: Project, **load: Any) -> RunPlan:
    """Return the plan of a run whose target file has this `load`."""
    path = project.path / "targets" / "local.yaml"
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump(document | {"load": load}), encoding="utf-8")
    return prepare(
        Catalogue(project.path), "engine/replica-loss", "local", reports=project.path / "reports"
    )


def platform_at(url: str) -> Platform:
    """Return a platform whose inference endpoint is elsewhere."""
    platform = Platform(replica("fast-0"))
    platform.endpoints = Endpoints(url, "http://127.0.0.1:1")
    return platform


@pytest.fixture
def endpoint(serve: Any, project: Project) -> tuple[str, list[bytes]]:
    """Return an https URL, and the requests that came; some answers quote the key they got."""
    seen: list[bytes] = []
    words = b'{"error":{"message":"bad key Bearer %b"}}' % KEY.encode()
    refusal = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: %d\r\n\r\n" % len(words) + words

    def script(connection: socket.socket) -> None:
        while request := read_request(connection):
            seen.append(request)
            connection.sendall(refusal if len(seen) % 5 == 0 else GOOD)

    server = serve(over_tls(project.path / "targets" / "certificate.pem", script))
    return server.url.replace("http:", "https:"), seen


def quoting_the_key(folder: Path) -> list[Path]:
    """Return the files under a folder that hold the key."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if KEY.encode() in path.read_bytes()]


@pytest.mark.local
@pytest.mark.parametrize(
    "workers",
    [pytest.param(1, id="alone"), pytest.param(2, id="with-master", marks=pytest.mark.full)],
)
def test_ca_and_key_of_the_target_file_get_the_load_in(
    project: Project, endpoint: tuple[str, list[bytes]], workers: int
) -> None:
    """The endpoint is trusted by `load.ca` and sees the key; no file and no argv ever has it."""
    url, seen = endpoint
    plan = planned(project, ca="ca.pem", api_key_env="THE_KEY", workers=workers)
    with Supervisor(plan, platform_at(url), Silent()) as run:
        run.start_load()
        run.pass_time(PhaseName.WARMUP, 1.0)
        wait_until(lambda: len(seen) >= 10, "requests")
        commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")]
        assert not any(KEY.encode() in command for command in commands)
        assert quoting_the_key(project.path) == []  # the workers' files, before they are collected
        run.ensure_reverted()
        run.seal(Outcome.STOPPED, "enough was seen")
    assert all(b"Authorization: Bearer " + KEY.encode() in request for request in seen)
    rows = read_requests(run.directory.requests)
    assert {"ok", "http_error"} <= set(rows["status"]) <= {"ok", "http_error", "unfinished"}
    assert any("***" in error for error in rows["error"])
    assert quoting_the_key(project.path) == []
    assert "THE_KEY" in run.directory.target.read_text(encoding="utf-8")


@pytest.mark.local
def test_without_its_authority_the_run_says_what_to_do(
    project: Project, endpoint: tuple[str, list[bytes]]
) -> None:
    """One line: what was not trusted and where to name what is; nothing was sent."""
    url, seen = endpoint
    with (
        Supervisor(planned(project), platform_at(url), Silent()) as run,
        pytest.raises(InvalidRunError) as refused,
    ):
        run.start_load()
    text = str(refused.value)
    assert "certificate not trusted: self-signed" in text
    assert "name its authority in the target file (load.ca)" in text
    assert "\n" not in text
    assert seen == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file"),
        ("nothing of use", "holds no certificate"),
        ("-----BEGIN PRIVATE KEY-----\n", "holds a private key"),
    ],
)
def test_a_useless_authority_names_file_and_key(
    tmp_path: Path, content: str | None, said: str
) -> None:
    """Found before anything starts; a private key is refused, for `ca` travels to workers."""
    if content is not None:
        (tmp_path / "ca.pem").write_text(content)
    with pytest.raises(SpecError, match=said) as refused:
        check_workers(LoadWorkers(ca="ca.pem"), tmp_path / "target.yaml")
    assert str(refused.value).startswith(f"{tmp_path / 'target.yaml'}: load.ca: ")
    assert refused.value.exit_code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "is not set"), ("", "is not set"), ("sk-1\n", "line ends"), ("schlüssel", "ASCII")],
)
def test_a_key_that_is_not_there_is_missing(
    project: Project, monkeypatch: pytest.MonkeyPatch, value: str | None, said: str
) -> None:
    """Found before anything starts; the variable is named and its value never quoted."""
    if value is not None:
        monkeypatch.setenv("OTHER_KEY", value)
    with pytest.raises(MissingError, match=said) as missing:
        planned(project, api_key_env="OTHER_KEY")
    assert "OTHER_KEY" in str(missing.value)
    assert "sk-1" not in str(missing.value)
    # The key is needed where the workers are.
    planned(project, api_key_env="OTHER_KEY", listen="127.0.0.1:0")


def test_a_key_in_the_place_of_its_name_is_not_repeated(project: Project) -> None:
    """The error says what belongs there, and not what was found."""
    with pytest.raises(SpecError, match="its NAME") as refused:
        planned(project, api_key_env=KEY)
    assert KEY not in str(refused.value)
    assert "load.api_key_env" in str(refused.value)


def test_an_address_that_is_none_names_file_and_key(project: Project) -> None:
    """`load.listen` is checked before anything starts."""
    with pytest.raises(SpecError, match=r"local.yaml: load.listen: expected HOST:PORT"):
        planned(project, listen="somewhere")
    assert load_target(project.path / "targets" / "local.yaml").load.listen == "somewhere"
