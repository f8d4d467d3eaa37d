"""The router assembled: FastAPI for the API, its documents and the cold routes.

The two hot routes are mounted as a plain ASGI application and are also dispatched before FastAPI's
middleware, which would wrap every chunk of every stream in two more coroutines.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from inference_platform.router.affinity import Affinity, RedisAffinity
from inference_platform.router.endpoints import EndpointsFile
from inference_platform.router.entry import AUTO, HOT_PATHS, CompletionsEntry
from inference_platform.router.fleet import Fleet
from inference_platform.router.health import HealthChecks
from inference_platform.router.metrics import Metrics
from inference_platform.router.relay import Relay
from inference_platform.router.settings import Settings
from inference_platform.router.tiering import HeuristicChooser, TierChooser

log = logging.getLogger(__name__)

_REQUEST_SCHEMA = {
    "type": "object",
    "description": "An OpenAI request; everything but `model` goes to the engine unchanged.",
    "properties": {
        "model": {"type": "string", "description": "A name from /v1/models, or `auto`."},
        "stream": {"type": "boolean"},
    },
    "additionalProperties": True,
}


class RouterApp(FastAPI):
    """FastAPI with a short cut for the hot routes."""

    entry: CompletionsEntry
    fleet: Fleet
    metrics: Metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http" and scope["path"] in HOT_PATHS and scope["method"] == "POST":
            await self.entry(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """The API's document, with the mounted routes that FastAPI cannot see into."""
        document = super().openapi()
        for path in sorted(HOT_PATHS):
            document["paths"][path] = {
                "post": {
                    "summary": f"OpenAI {path.removeprefix('/v1/')}, streamed or not",
                    "parameters": [
                        {
                            "name": "x-session-id",
                            "in": "header",
                            "schema": {"type": "string"},
                            "description": "Keeps a conversation on one replica.",
                        }
                    ],
                    "requestBody": {
                        "required": True,
                        "content": {"application/json": {"schema": _REQUEST_SCHEMA}},
                    },
                    "responses": {
                        "200": {"description": "The engine's reply: JSON, or text/event-stream."},
                        "404": {"description": "No such model."},
                        "502": {"description": "Every attempt lost its replica."},
                        "503": {"description": "No replica is ready; see Retry-After."},
                        "504": {"description": "Nothing came in time, or not all of it."},
                    },
                }
            }
        return document


def create_app(settings: Settings, *, chooser: TierChooser | None = None) -> RouterApp:
    """A router ready to be served; it starts to watch its replicas when its lifespan begins."""
    fleet = Fleet(settings)
    metrics = Metrics(fleet, settings.name)

    @asynccontextmanager
    async def lifespan(app: RouterApp) -> AsyncIterator[None]:
        affinity: Affinity | None = None
        if settings.redis_url is not None:
            affinity = RedisAffinity(
                settings.redis_url,
                ttl_s=settings.affinity_ttl_s,
                timeout_s=settings.affinity_lookup_timeout_s,
            )
        relay = Relay(settings, fleet, metrics, affinity)
        app.entry = CompletionsEntry(settings, fleet, metrics, relay, chooser or HeuristicChooser())
        app.router.routes.extend(Route(p, app.entry, methods=["POST"]) for p in sorted(HOT_PATHS))
        file = EndpointsFile(settings.endpoints_path, fleet.apply)
        file.poll()
        watchers = [
            _watch("endpoints", file.follow(settings.endpoints_poll_s)),
            _watch("health", HealthChecks(fleet, settings).run()),
        ]
        try:
            yield
        finally:
            for watcher in watchers:
                watcher.cancel()
            await asyncio.gather(*watchers, return_exceptions=True)
            if affinity is not None:
                await affinity.close()
            fleet.close()

    app = RouterApp(
        title="Inference router",
        description="One OpenAI-compatible door in front of vLLM replicas.",
        lifespan=lifespan,
    )
    app.fleet, app.metrics = fleet, metrics
    _add_cold_routes(app)
    return app


def _watch(what: str, loop: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    task = asyncio.get_running_loop().create_task(loop, name=what)

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            log.critical("the %s watcher ended", what, exc_info=task.exception())

    task.add_done_callback(ended)
    return task


def _add_cold_routes(app: RouterApp) -> None:
    fleet = app.fleet

    @app.get("/health", summary="Whether every known tier has a usable replica")
    async def health() -> JSONResponse:
        lacking = [tier for tier in fleet.tiers if not any(r.usable for r in fleet.of_tier(tier))]
        if fleet.tiers and not lacking:
            return JSONResponse({"status": "ok"})
        return JSONResponse({"status": "unavailable", "tiers": lacking}, status_code=503)

    @app.get("/v1/models", summary="The model names requests may ask for")
    async def models() -> dict[str, Any]:
        names = [*fleet.models, AUTO]
        return {
            "object": "list",
            "data": [
                {"id": name, "object": "model", "created": 0, "owned_by": "inference-platform"}
                for name in names
            ],
        }

    @app.get("/metrics", summary="Prometheus metrics of this router", response_class=Response)
    async def metrics() -> Response:
        return Response(generate_latest(app.metrics.registry), media_type=CONTENT_TYPE_LATEST)
