"""A real router under a real uvicorn, in front of scripted replicas; nothing of ours is mocked."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from scripted_http import (
    CHUNKED,
    DONE,
    HEAD,
    Client,
    Reply,
    Script,
    Upstream,
    chunk,
    event,
    eventually,
    open_request,
    reply,
    served,
    streams_two,
)

from inference_platform.router.app import RouterApp, create_app
from inference_platform.router.settings import Settings


@dataclass
class Router:
    """A running router and how to talk to it."""

    app: RouterApp
    port: int
    endpoints_path: Path

    async def open(
        self,
        body: object,
        path: str = "/v1/chat/completions",
        headers: dict[str, str] | None = None,
        method: str = "POST",
    ) -> Client:
        """Send a request."""
        return await open_request(self.port, body, path, headers, method)

    async def ask(self, body: object, **how: Any) -> Reply:
        """Send a request and wait for all of its reply, with a bound."""
        async with asyncio.timeout(10):
            return await (await self.open(body, **how)).finish()

    async def get(self, path: str) -> Reply:
        """GET a cold route."""
        return await self.ask(b"", path=path, method="GET")

    def metric(self, series: str, **labels: str) -> float | None:
        """A sample of the router's registry; None if there is no such series."""
        return self.app.metrics.registry.get_sample_value(f"inference_router_{series}", labels)

    def announce(self, *upstreams: Upstream, **changes: Any) -> None:
        """Write the endpoints file as the platform does: a new file, renamed over the old."""
        entries = [
            {"name": u.name, "uid": f"u-{u.name}", "tier": "fast", "url": u.url, "ready": True}
            | changes
            for u in upstreams
        ]
        self.write(json.dumps({"endpoints": entries}))

    def write(self, text: str) -> None:
        """Replace the endpoints file."""
        new = self.endpoints_path.with_suffix(".new")
        new.write_text(text)
        new.rename(self.endpoints_path)


CHAT = {"model": "chat-fast", "stream": True, "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def wire() -> SimpleNamespace:
    """What scripted replicas and tests say on the wire."""
    return SimpleNamespace(
        CHAT=CHAT,
        CHUNKED=CHUNKED,
        DONE=DONE,
        HEAD=HEAD,
        chunk=chunk,
        event=event,
        eventually=eventually,
        reply=reply,
        streams_two=streams_two,
    )


@pytest.fixture
async def upstream() -> AsyncIterator[Callable[..., Awaitable[Upstream]]]:
    """Starts scripted replicas, which end with the test."""
    started: list[Upstream] = []

    async def start(name: str, script: Script = streams_two, **more: Any) -> Upstream:
        started.append(Upstream(name, script, **more))
        await started[-1].start()
        return started[-1]

    yield start
    for one in started:
        await one.stop()


@pytest.fixture
async def router(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Router]]]:
    """Starts routers on free ports, which end with the test."""
    async with contextlib.AsyncExitStack() as running:
        started = 0

        async def start(*upstreams: Upstream, **settings: Any) -> Router:
            nonlocal started
            started += 1
            # Health checks slower than any test, unless the test is about them.
            settings = {"health_period_s": 60.0, "endpoints_poll_s": 0.01} | settings
            path = tmp_path / f"endpoints-{started}.json"
            app = create_app(Settings(endpoints_path=path, **settings))
            one = Router(app, 0, path)
            if upstreams:
                one.announce(*upstreams)
            one.port = await running.enter_async_context(served(app))
            return one

        yield start
