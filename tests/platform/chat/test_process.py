"""The chat as a process: its command line, its key, and how it stops."""

import asyncio
import contextlib
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from scripted_http import CHUNKED, DONE, HEAD, Upstream, chunk, event, open_request

from inference_platform.chat.__main__ import _parser, _settings, main

Start = Callable[..., Awaitable[Any]]
Capture = pytest.CaptureFixture[str]
KEY = "sk-nobody-may-read-this"
HI = {"model": "chat-fast", "messages": [{"role": "user", "content": "hi"}]}


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
async def process(page: Path, tmp_path: Path) -> AsyncIterator[Start]:
    """Starts a scripted router and a chat as a process; both end with the test."""
    key = tmp_path / "key"
    key.write_text(f"{KEY}\n")
    async with contextlib.AsyncExitStack() as running:

        async def start(script: Any, *options: str) -> tuple[asyncio.subprocess.Process, int]:
            router = Upstream("router", script)
            await router.start()
            running.push_async_callback(router.stop)
            port = _free_port()
            command = [sys.executable, "-m", "inference_platform.chat", "--port", str(port)]
            command += ["--page", str(page), "--router", router.url, "--api-key-file", str(key)]
            pipe = asyncio.subprocess.PIPE
            one = await asyncio.create_subprocess_exec(*command, *options, stderr=pipe)

            async def end() -> None:
                with contextlib.suppress(ProcessLookupError):
                    one.kill()
                await one.wait()

            running.push_async_callback(end)
            async with asyncio.timeout(15):
                while True:
                    with contextlib.suppress(OSError):
                        client = await open_request(port, b"", "/health", method="GET")
                        assert (await client.finish()).status == 200
                        return one, port
                    await asyncio.sleep(0.05)

        yield start


async def test_a_stopping_chat_finishes_its_answers(process: Start) -> None:
    """SIGTERM: the answer in flight runs to its end, exit 0; the key is in no log."""
    go_on = asyncio.Event()

    async def script(exchange: Any) -> None:
        await exchange.send(HEAD + CHUNKED, chunk(event("a")))
        await go_on.wait()
        await exchange.send(chunk(DONE) + b"0\r\n\r\n")

    one, port = await process(script, "--die-with-parent")
    json_type = {"content-type": "application/json"}
    client = await open_request(port, HI, "/api/chat", json_type)
    async with asyncio.timeout(10):
        await client.head()
        assert await client.part() == event("a")
        one.send_signal(signal.SIGTERM)
        with contextlib.suppress(ConnectionRefusedError):
            while True:  # until it no longer listens
                _, new = await asyncio.open_connection("127.0.0.1", port)
                new.transport.abort()
                await asyncio.sleep(0.02)
        go_on.set()
        got = await client.finish()
        assert got.whole
        assert got.body == DONE
        _, said = await one.communicate()
    assert one.returncode == 0
    assert KEY.encode() not in said


async def test_a_drain_that_takes_too_long_is_said_in_the_answer(process: Start) -> None:
    """After --drain-s what is left gets an error event; the exit code is still 0."""

    async def script(exchange: Any) -> None:
        await exchange.send(HEAD + CHUNKED, chunk(event("a")))

    one, port = await process(script, "--drain-s", "1")
    client = await open_request(port, HI, "/api/chat", {"content-type": "application/json"})
    async with asyncio.timeout(10):
        await client.head()
        assert await client.part() == event("a")
        one.send_signal(signal.SIGTERM)
        got = await client.finish()
        error, done = got.events
        assert json.loads(error)["error"]["type"] == "chat_stopped"
        assert (done, got.whole) == ("[DONE]", True)
        await one.communicate()
    assert one.returncode == 0


def _arguments(page: Path, *more: str) -> list[str]:
    return ["--port", "0", "--page", str(page), "--router", "http://127.0.0.1:1", *more]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--page", "gone"], "--page gone: expected a folder with index.html, found none"),
        (["--router", "https://r:1"], "--router: expected http://HOST[:PORT], found"),
        (["--router", "http://key@r:1"], "--router: expected http://HOST[:PORT], found"),
        (["--api-key-file", "gone"], "--api-key-file gone: cannot be read"),
    ],
)
def test_a_bad_argument_is_one_clear_line(
    page: Path, capsys: Capture, change: list[str], said: str
) -> None:
    """What was expected, what was found; exit 64."""
    assert main(_arguments(page, *change)) == 64
    text = capsys.readouterr().err
    assert text.startswith(said)
    assert len(text.splitlines()) == 1


@pytest.mark.parametrize("key", ["", "two words", "line\nbreak", "ключ"])
def test_a_key_that_cannot_be_one_is_not_shown(page: Path, capsys: Capture, key: str) -> None:
    """It would end the header that it is sent in; and a log is no place even for a wrong key."""
    path = page / "key"
    path.write_text(key, encoding="utf-8")
    assert main(_arguments(page, "--api-key-file", str(path))) == 64
    text = capsys.readouterr().err
    assert "expected one word" in text
    assert not key or key not in text


def test_key_comes_from_file_or_environment(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never from an argument, which everybody on the machine may read; and repr() hides it."""
    assert _settings(_parser().parse_args(_arguments(page))).api_key is None
    monkeypatch.setenv("INFERENCE_CHAT_API_KEY", KEY)
    settings = _settings(_parser().parse_args(_arguments(page)))
    assert settings.api_key == KEY
    assert KEY not in repr(settings)


def test_a_taken_port_is_one_clear_line(page: Path, capsys: Capture) -> None:
    """No traceback; exit 69."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert main(_arguments(page, "--port", port)) == 69
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert port in said
