"""A real chat under a real uvicorn, in front of a scripted router; nothing of ours is mocked."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from scripted_http import Client, Reply, Script, Upstream, open_request, served, streams_two

from inference_platform.chat.app import ChatApp, create_app
from inference_platform.chat.settings import Settings

KEY = "sk-nobody-may-read-this"
JSON = {"content-type": "application/json"}
PAGE = b"<!doctype html><title>Chat</title>"


@dataclass
class Chat:
    """A running chat and how to talk to it."""

    app: ChatApp
    port: int

    async def open(self, body: object, headers: dict[str, str] | None = None) -> Client:
        """Ask a question."""
        return await open_request(self.port, body, "/api/chat", JSON | (headers or {}))

    async def ask(self, body: object, headers: dict[str, str] | None = None) -> Reply:
        """Ask a question and wait for all of the reply, with a bound."""
        async with asyncio.timeout(10):
            return await (await self.open(body, headers)).finish()

    async def get(self, path: str, headers: dict[str, str] | None = None) -> Reply:
        """GET anything."""
        async with asyncio.timeout(10):
            client = await open_request(self.port, b"", path, headers, "GET")
            return await client.finish()

    def metric(self, series: str, **labels: str) -> float | None:
        """A sample of the chat's registry; None if there is no such series."""
        return self.app.metrics.registry.get_sample_value(f"inference_chat_{series}", labels)


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A built page, as small as one can be."""
    folder = tmp_path / "page"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_bytes(PAGE)
    (folder / "assets" / "index-1a2b.js").write_text("export {}")
    (tmp_path / "secret.txt").write_text("not of the page")
    return folder


@pytest.fixture
async def chat(page: Path) -> AsyncIterator[Callable[..., Awaitable[Any]]]:
    """Starts a scripted router and a chat in front of it; both end with the test."""
    async with contextlib.AsyncExitStack() as running:

        async def start(script: Script = streams_two, **settings: Any) -> tuple[Chat, Upstream]:
            router = Upstream("router", script)
            await router.start()
            running.push_async_callback(router.stop)
            given = {"page_path": page, "router_url": router.url, "api_key": KEY} | settings
            app = create_app(Settings(**given))
            return Chat(app, await running.enter_async_context(served(app))), router

        yield start
