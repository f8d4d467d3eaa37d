"""The page and what else is served: files, headers, models, health, metrics."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from scripted_http import open_request, reply
from starlette.staticfiles import StaticFiles

Start = Callable[..., Awaitable[Any]]
KEY = "sk-nobody-may-read-this"


async def test_page_is_served_with_a_strict_policy(chat: Start) -> None:
    """Nothing of other sites, nothing inline, no frame around it, and asked for anew each time."""
    door, _ = await chat()
    got = await door.get("/")
    assert got.status == 200
    assert b"<title>Chat</title>" in got.body
    policy = dict(part.split(" ", 1) for part in got.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in str(policy)
    assert got.headers["x-content-type-options"] == "nosniff"
    assert got.headers["cache-control"] == "no-store"
    assert "strict-transport-security" not in got.headers


async def test_behind_https_browsers_keep_to_it(chat: Start) -> None:
    """The cookie goes over HTTPS alone, and so does everything else."""
    door, _ = await chat(secure_cookie=True)
    got = await door.get("/")
    assert got.headers["set-cookie"].endswith("; Secure")
    assert got.headers["strict-transport-security"].startswith("max-age=")


async def test_assets_are_kept_by_browsers(chat: Start) -> None:
    """Their names change with what is in them."""
    door, _ = await chat()
    got = await door.get("/assets/index-1a2b.js")
    assert got.status == 200
    assert "immutable" in got.headers["cache-control"]
    assert "set-cookie" not in got.headers


@pytest.mark.parametrize(
    ("path", "method", "ask", "status", "caching"),
    [
        ("/assets/index-1a2b.js", "GET", {"range": "bytes=0-2"}, 206, "immutable"),
        ("/assets/index-1a2b.js", "GET", {"if-none-match": "its own"}, 304, "immutable"),
        ("/assets/index-1a2b.js", "POST", {}, 405, "no-store"),
        ("/assets/index-3c4d.js", "GET", {}, 404, "no-store"),
        ("/assets/", "GET", {}, 404, "no-store"),
    ],
)
async def test_an_asset_that_is_not_here_is_asked_for_anew(
    chat: Start, path: str, method: str, ask: dict[str, str], status: int, caching: str
) -> None:
    """In a rolling update the old pod is asked for the new page's; its 404 must not stay."""
    door, _ = await chat()
    its_own = (await door.get("/assets/index-1a2b.js")).headers["etag"]
    asked = {name: value.replace("its own", its_own) for name, value in ask.items()}
    async with asyncio.timeout(10):
        client = await open_request(door.port, b"", path, asked, method)
        await client.head()
    assert client.status == status
    assert caching in client.headers["cache-control"]
    client.leave()


async def test_an_asset_that_cannot_be_read_is_asked_for_anew(
    chat: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure of ours is no file either."""

    def fails(*_: object) -> None:
        raise OSError(5, "Input/output error")

    door, _ = await chat()
    monkeypatch.setattr(StaticFiles, "lookup_path", fails)
    got = await door.get("/assets/index-1a2b.js")
    assert got.status == 500
    assert got.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/assets/..%2f..%2fsecret.txt",
        "/docs",
        "/openapi.json",
    ],
)
async def test_nothing_else_is_there(chat: Start, path: str) -> None:
    """No file outside the folder, and none of the framework's own pages."""
    door, _ = await chat()
    assert (await door.get(path)).status == 404


async def test_models_are_those_of_the_router(chat: Start) -> None:
    """As names alone; asked with the key, which is in no reply."""

    async def script(exchange: Any) -> None:
        data = [{"id": "chat-fast", "owned_by": KEY}, {"id": "auto"}]
        await exchange.send(reply(200, {"object": "list", "data": data}))

    door, router = await chat(script)
    got = await door.get("/api/models")
    assert got.json == {"models": ["chat-fast", "auto"]}
    assert router.exchanges[0].path == "/v1/models"
    assert router.exchanges[0].headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in str(got)


@pytest.mark.parametrize(
    ("answer", "status"), [(None, 503), ((500, {}), 502), ((200, {"data": "none"}), 502)]
)
async def test_models_that_cannot_be_had_are_an_error(
    chat: Start, answer: tuple[int, object] | None, status: int
) -> None:
    """Within the bound, and with a reason; an empty list would look like an empty platform."""

    async def script(exchange: Any) -> None:
        if answer is not None:
            await exchange.send(reply(*answer))

    door, _ = await chat(script, models_timeout_s=0.05)
    got = await door.get("/api/models")
    assert got.status == status
    assert json.loads(got.body)["error"]["message"]


async def test_health_is_its_own(chat: Start) -> None:
    """Without a router the page still says what is wrong, so the chat stays where it is."""
    door, router = await chat()
    await router.stop()
    assert (await door.get("/health")).status == 200


async def test_series_are_there_before_the_first_question(chat: Start) -> None:
    """A first failure is a rise, and not a birth that rate() does not see."""
    door, _ = await chat()
    text = (await door.get("/metrics")).body.decode()
    for outcome in ("ok", "client_error", "upstream_error", "busy", "cut", "client_gone"):
        assert f'outcome="{outcome}"}} 0.0' in text
    assert KEY not in text
