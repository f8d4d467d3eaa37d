"""The chat as its users have it: Chromium, the built page, its backend, a real router, engine_sim.

One engine is scripted: it says what no simulator would, and sees who leaves.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

_ROOT = Path(__file__).parents[2]
_CHAT = _ROOT / "platform/chat"
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_BOUND_S = 30.0
KEY = "sk-no-browser-may-have-this"
MARKUP = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


def _absence(what: str) -> BaseException:
    if os.environ.get("FAULTLOAD_REQUIRE_BROWSER") == "1":
        return pytest.fail.Exception(f"{what} (FAULTLOAD_REQUIRE_BROWSER=1)", pytrace=False)
    return pytest.skip.Exception(what)


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a browser; skip or fail without it, or without what `make test-browser` builds."""
    found = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if found is None:
        raise _absence(f"no browser on PATH: expected one of {', '.join(_BROWSERS)}")
    for needed in ("dist/index.html", "node_modules/playwright-core"):
        if not (_CHAT / needed).exists():
            raise _absence(f"no platform/chat/{needed}: `make test-browser` makes it")
    return found


class Page:
    """One page of a browser of its own."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        """See the `page` fixture."""
        self._process = process

    def do(self, code: str, given: object = None) -> Any:
        """What Playwright's code of a page returns; an error of its fails the test."""
        out, into = self._process.stdout, self._process.stdin
        assert out is not None
        assert into is not None
        into.write(json.dumps({"do": code, "given": given}).encode() + b"\n")
        into.flush()
        ready, _, _ = select.select([out], [], [], _BOUND_S)
        assert ready, f"no answer within {_BOUND_S:g} s: {code}"
        answer = json.loads(out.readline() or b'{"error": "the driver ended"}')
        assert "error" not in answer, f"{code}: {answer['error']}"
        return answer["value"]

    def ask(self, question: str, model: str = "chat-fast") -> None:
        """Choose a model, write, press Enter."""
        self.do("await page.getByLabel('Model').selectOption(given)", model)
        self.do("await page.getByLabel('Message').fill(given)", question)
        self.do("await page.getByLabel('Message').press('Enter')")

    def answer(self) -> str:
        """The text of the last answer, as it is now."""
        text: str = self.do("return page.locator('.answer').last().textContent()")
        return text

    def becomes(self, state: str) -> None:
        """Wait until the last answer is `streaming`, `complete` or `incomplete`."""
        self.do(f"await page.locator('article:last-of-type [data-state={state}]').waitFor()")

    def words_come(self, more_than: int = 0) -> int:
        """Wait for an answer under way of more letters than these; how many it has."""
        self.do(
            "await page.waitForFunction((least) => document.querySelector("
            "'article:last-of-type [data-state=streaming] .answer')?.textContent.length > least,"
            " given)",
            max(more_than, 1),  # an ellipsis stands there before the first word
        )
        return len(self.answer())


@pytest.fixture
def page(chromium: str, platform: Platform) -> Iterator[Page]:
    """The chat, opened in a browser that ends with the test."""
    command = ["node", str(Path(__file__).with_name("driver.mjs")), chromium]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        one = Page(process)
        one.do("await page.goto(given)", platform.url)
        one.do("await page.getByRole('option', {name: 'chat-fast'}).waitFor({state: 'attached'})")
        yield one
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()


@dataclass
class Platform:
    """Where the chat is, and its engine's life in our hands."""

    url: str
    left: threading.Event
    """Set when somebody left the scripted engine's endless answer."""
    start_engine: Callable[[], None]
    engine: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def kill_engine(self) -> None:
        """SIGKILL, as the kernel does when memory is out."""
        self.engine[-1].kill()
        self.engine[-1].wait(timeout=10)


def _scripted_engine(left: threading.Event) -> ThreadingHTTPServer:
    """Answers with markup; asked for an endless one, until the client has gone."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            endless = body["messages"][-1]["content"] == "endless"
            end_s = time.monotonic() + _BOUND_S
            try:
                while endless and time.monotonic() < end_s:
                    self._say("again ", None)
                    time.sleep(0.05)
                self._say(MARKUP, "stop")
                self.wfile.write(b"data: [DONE]\n\n")
            except OSError:
                left.set()

        def _say(self, text: str, finish: str | None) -> None:
            choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
            self.wfile.write(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n")
            self.wfile.flush()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _wait_for(url: str) -> None:
    end_s, last = time.monotonic() + _BOUND_S, "nothing yet"
    while time.monotonic() < end_s:
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310  # of loopback
                return
        except (OSError, urllib.error.HTTPError) as error:
            last = str(error)
        time.sleep(0.05)
    pytest.fail(f"{url} is not well after {_BOUND_S:g} s; last: {last}")


@pytest.fixture(scope="session")
def platform(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Chat, router and engines; two models, and a third that nobody serves."""
    folder = tmp_path_factory.mktemp("platform")
    ports = {name: _free_port() for name in ("engine", "router", "chat")}
    running: list[subprocess.Popen[bytes]] = []
    left = threading.Event()
    scripted = _scripted_engine(left)

    def start(module: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"inference_platform.{module}", *arguments]
        environment = {**os.environ, "INFERENCE_CHAT_API_KEY": KEY}
        running.append(subprocess.Popen(command, env=environment))
        return running[-1]

    def start_engine() -> None:
        known = ["--sim-fixed-ttft-s=0.1", "--sim-fixed-tpot-s=0.05", "--no-sim-core-process"]
        given = [f"--port={ports['engine']}", f"--api-key={KEY}", "--sim-die-with-parent", *known]
        one.engine.append(start("engine_sim", "chat-fast", *given))
        _wait_for(f"http://127.0.0.1:{ports['engine']}/health")

    one = Platform(f"http://127.0.0.1:{ports['chat']}/", left, start_engine)
    endpoints = [
        {"name": tier, "uid": tier, "tier": tier, "ready": True, "url": f"http://127.0.0.1:{port}"}
        for tier, port in (("fast", ports["engine"]), ("scripted", scripted.server_port))
    ]
    (folder / "endpoints.json").write_text(json.dumps({"endpoints": endpoints}))
    try:
        start_engine()
        at = [f"--port={ports['router']}", f"--endpoints={folder / 'endpoints.json'}"]
        start("router", *at, "--tiers=fast,scripted,absent", "--die-with-parent")
        _wait_for(f"http://127.0.0.1:{ports['router']}/v1/models")
        to = [f"--port={ports['chat']}", f"--router=http://127.0.0.1:{ports['router']}"]
        start("chat", *to, f"--page={_CHAT / 'dist'}", "--tokens-max=60", "--die-with-parent")
        _wait_for(f"{one.url}health")
        yield one
    finally:
        for process in running:
            process.kill()
            process.wait(timeout=10)
        scripted.shutdown()
        scripted.server_close()
