"""What is known of a plain URL: its models and version, and nothing that tells who asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, ClassVar

import pytest

from faultload.errors import MissingError
from faultload.run.gate.sides import flat
from faultload.targets.plain import describe_endpoint

MODELS = {"object": "list", "data": [{"id": "chat", "created": 17, "max_model_len": 8192}]}


class Endpoint(BaseHTTPRequestHandler):
    """Answers from a table, and keeps what it was asked."""

    answers: ClassVar[dict[str, Any]] = {}
    codes: ClassVar[dict[str, int]] = {}
    seen: ClassVar[list[tuple[str, str]]] = []

    def do_GET(self) -> None:
        self.seen.append((self.path, self.headers.get("Authorization", "")))
        body = json.dumps(self.answers.get(self.path, {"detail": "Not Found"})).encode()
        self.send_response(self.codes.get(self.path, 200 if self.path in self.answers else 404))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    """Return where it listens."""
    Endpoint.codes = {}
    Endpoint.answers, Endpoint.seen = {"/v1/models": MODELS, "/version": {"version": "0.33"}}, []
    with HTTPServer(("127.0.0.1", 0), Endpoint) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
        thread.join(5)


def test_models_and_version_are_the_environment(url: str) -> None:
    """What a model can hold is compared, when the server was started is not."""
    about = flat(describe_endpoint(url))

    assert about["models.chat.max_model_len"] == "8192"
    assert about["version"] == "0.33"
    assert not any("created" in key for key in about)


def test_endpoint_without_these_pages_is_one_too(url: str) -> None:
    """A router need not list models; that it answers is enough."""
    Endpoint.answers = {}

    assert set(describe_endpoint(url)) == {"url"}


@pytest.mark.parametrize(
    ("path", "code", "says"),
    [
        ("/v1/models", 401, "answers 401: it refuses the key in MADE_UP_KEY"),
        ("/v1/models", 403, "answers 403: it refuses the key in MADE_UP_KEY"),
        ("/v1/models", 302, "answers 302; expected 200, or 404"),
        ("/v1/models", 500, "answers 500; expected 200, or 404"),
        ("/version", 503, "answers 503; expected 200, or 404"),
    ],
)
def test_an_endpoint_that_refuses_or_fails_is_not_one_without_the_page(
    url: str, path: str, code: int, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong key would make every trial fail, and a server that fails is not what it will be."""
    monkeypatch.setenv("MADE_UP_KEY", "made-up-key-1")
    Endpoint.codes = {path: code}

    with pytest.raises(MissingError) as caught:
        describe_endpoint(url, "MADE_UP_KEY")
    assert f"{path} {says}" in str(caught.value)


@pytest.mark.parametrize("code", [401, 403, 404, 405])
def test_a_version_that_is_not_shown_is_none(url: str, code: int) -> None:
    """Proxies show /v1 and nothing else."""
    Endpoint.codes = {"/version": code}

    assert set(describe_endpoint(url)) == {"url", "models"}


def test_key_is_sent_and_kept_to_itself(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key comes from the environment, and is in nothing that is kept."""
    monkeypatch.setenv("MADE_UP_KEY", "made-up-key-1")

    about = describe_endpoint(url, "MADE_UP_KEY")

    assert {key for _, key in Endpoint.seen} == {"Bearer made-up-key-1"}
    assert "made-up-key-1" not in json.dumps(about)


def test_nobody_there_is_said_at_once() -> None:
    """One line names the address."""
    with pytest.raises(MissingError, match="http://127.0.0.1:1/v1/models does not answer"):
        describe_endpoint("http://127.0.0.1:1")
