"""The control API: what a harness may see and do, over HTTP on loopback, with a token."""

from __future__ import annotations

import contextlib
import hmac
from collections.abc import Iterator
from signal import Signals
from typing import Literal, TypeVar

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from inference_platform.local.cluster import Cluster
from inference_platform.local.unit import Unit


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    signal: Literal["KILL", "TERM", "STOP", "CONT"]

    @property
    def number(self) -> Signals:
        return Signals[f"SIG{self.signal}"]


class ReplicaSignal(_Strict):
    """Body of POST /v1/replicas/{name}/signal; `uid` is a precondition, as Kubernetes has it."""

    uid: str


class ComponentSignal(_Strict):
    """Body of POST /v1/components/{name}/signal; `hold` keeps it down until it is started."""

    hold: bool = False


Order = TypeVar("Order", bound=_Strict)


class Control:
    """Answers for one cluster."""

    def __init__(self, cluster: Cluster, platform_id: str) -> None:
        """Keep what the answers are made of."""
        self._cluster = cluster
        self._platform_id = platform_id
        self._registry = CollectorRegistry()
        self._registry.register(cluster)

    def app(self, token: str) -> ASGIApp:
        """Return the application; without the token it answers 401 to everything."""
        routes = [
            Route("/v1/state", self._state),
            Route("/v1/events", self._events),
            Route("/v1/replicas/{name}/signal", self._signal_replica, methods=["POST"]),
            Route("/v1/components/{name}/signal", self._signal_component, methods=["POST"]),
            Route("/v1/components/{name}/start", self._start_component, methods=["POST"]),
            Route("/metrics", self._metrics),
        ]
        inner = Starlette(routes=routes, exception_handlers={HTTPException: _refusal})
        expected = f"Bearer {token}".encode()

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            given = dict(scope.get("headers", ())).get(b"authorization", b"")
            if scope["type"] == "http" and not hmac.compare_digest(given, expected):
                answer = JSONResponse({"error": "expected the platform's bearer token"}, 401)
                await answer(scope, receive, send)
                return
            await inner(scope, receive, send)

        return guarded

    async def _state(self, _request: Request) -> Response:
        return JSONResponse({"platform_id": self._platform_id, **await self._cluster.state()})

    async def _events(self, request: Request) -> Response:
        since = request.query_params.get("since", "0")
        if not since.isdigit():
            raise HTTPException(400, f"since: expected a whole number, found {since!r}")
        return JSONResponse(self._cluster.events(int(since)))

    async def _metrics(self, _request: Request) -> Response:
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)

    async def _signal_replica(self, request: Request) -> Response:
        unit = _named(request, self._cluster.replicas, "replica")
        order = await _body(request, ReplicaSignal)
        if order.uid != unit.uid:
            raise HTTPException(
                409, f"uid of {unit.recipe.name} is {unit.uid}, the request names {order.uid}"
            )
        pid = unit.send(order.number)
        if pid is None:
            raise HTTPException(409, f"{unit.recipe.name} has no process, it is in {unit.phase}")
        return JSONResponse({"pid": pid, "uid": unit.uid})

    async def _signal_component(self, request: Request) -> Response:
        unit = _named(request, self._cluster.components, "component")
        order = await _body(request, ComponentSignal)
        pid = unit.send(order.number, hold=order.hold)
        if pid is None and not order.hold:
            raise HTTPException(409, f"{unit.recipe.name} has no process, it is in {unit.phase}")
        return JSONResponse({"pid": pid, "uid": unit.uid})

    async def _start_component(self, request: Request) -> Response:
        unit = _named(request, self._cluster.components, "component")
        unit.release()
        return JSONResponse({"pid": unit.pid, "uid": unit.uid})


def _named(request: Request, units: dict[str, Unit], kind: str) -> Unit:
    name = request.path_params["name"]
    if name not in units:
        raise HTTPException(404, f"no {kind} {name!r}; there are {', '.join(units)}")
    return units[name]


async def _body(request: Request, kind: type[Order]) -> Order:
    try:
        return kind.model_validate_json(await request.body())
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise HTTPException(400, f"body: {key}: {first['msg']}".replace(": : ", ": ")) from error


async def _refusal(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  # registered for nothing else
    return JSONResponse({"error": error.detail}, error.status_code)


class Server(uvicorn.Server):
    """uvicorn in a loop that is not its own: signals stay with the supervisor."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def server(app: ASGIApp) -> Server:
    """Return a server for `app`; `serve(sockets=[...])` runs it."""
    return Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
            http="httptools",
            ws="none",
        )
    )
