"""The chat assembled: the page, its two routes, headers that keep browsers strict, and metrics."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.staticfiles import StaticFiles
from starlette.types import Message, Receive, Scope, Send

from inference_platform.chat.metrics import Metrics
from inference_platform.chat.questions import cookie, new_session, session_of
from inference_platform.chat.relay import ChatRelay, Router
from inference_platform.chat.settings import Settings
from inference_platform.router.replies import Refused

# Scripts, styles and pictures of our own, requests to ourselves, and nothing else; text cannot
# become markup, whatever a later page does with it.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'"
)
_SECURITY = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
_HTTPS_ONLY = (b"strict-transport-security", b"max-age=31536000")
_ASSETS = "/assets/"
# An asset, a part of one, and that the browser's own is still good.
_KEPT = frozenset({200, 206, 304})


class ChatApp(FastAPI):
    """FastAPI for the page and the cold routes; answers are a plain ASGI application."""

    relay: ChatRelay
    metrics: Metrics
    settings: Settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        path = scope["path"]
        known = session_of(scope)
        session = known or new_session()
        headers = [*_SECURITY]
        if self.settings.secure_cookie:
            headers.append(_HTTPS_ONLY)
        if known is None and (path == "/" or path.startswith("/api/")):
            headers.append((b"set-cookie", cookie(session, secure=self.settings.secure_cookie)))

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                caching = (b"cache-control", _caching(path, message["status"]))
                given = message.get("headers", [])
                message = {**message, "headers": [*given, *headers, caching]}
            await send(message)

        if path == "/api/chat" and scope["method"] == "POST":
            await self.relay(scope, receive, send_with_headers, session)
        else:
            await super().__call__(scope, receive, send_with_headers)


def _caching(path: str, status: int) -> bytes:
    """Names in assets/ change with what is in them; the page that names them is asked for anew.

    So is an asset that is not here: in a rolling update its page may be another pod's.
    """
    kept = path.startswith(_ASSETS) and status in _KEPT
    return b"public, max-age=31536000, immutable" if kept else b"no-store"


def create_app(settings: Settings) -> ChatApp:
    """A chat ready to be served; raises RuntimeError when there is no folder of the page."""
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: ChatApp) -> AsyncIterator[None]:
        router = Router(settings)
        app.relay = ChatRelay(settings, metrics, router)
        app.state.router = router
        try:
            yield
        finally:
            router.close()

    # Without FastAPI's documents, which come from other sites.
    app = ChatApp(title="Chat", lifespan=lifespan, openapi_url=None)
    app.metrics, app.settings = metrics, settings
    _add_cold_routes(app)
    app.mount("/", StaticFiles(directory=settings.page_path, html=True))
    return app


def _add_cold_routes(app: ChatApp) -> None:
    @app.get("/health")
    async def health() -> JSONResponse:
        # Not the router's: without it the page still says in words what is wrong, and a chat that
        # left its load balancer could not.
        return JSONResponse({"status": "ok"})

    @app.get("/api/models")
    async def models() -> Response:
        router: Router = app.state.router
        try:
            return JSONResponse({"models": await router.models()})
        except Refused as refused:
            after = {"retry-after": "1"} if refused.retry else {}
            return Response(refused.body(), refused.code, after, "application/json")

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(app.metrics.registry), media_type=CONTENT_TYPE_LATEST)
