"""The control API: what a harness may see and do, over HTTP on loopback, with a token."""

from __future__ import annotations

import contextlib
import hmac
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from typing import Any, TypeVar

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from inference_platform.local import engine_port, orders
from inference_platform.local.cluster import Cluster
from inference_platform.local.effects import Effects
from inference_platform.local.errors import LeaseError, OrderError
from inference_platform.local.kube_state import KubeState
from inference_platform.local.leases import Effect, Leases
from inference_platform.local.machines import Shortage, described
from inference_platform.local.pod import Pod
from inference_platform.local.stored import StoredWeights
from inference_platform.local.unit import Unit
from inference_platform.local.view import View

Order = TypeVar("Order", bound=orders.Order)
Answer = Mapping[str, Any]
BODY_BYTES_MAX = 1 << 20
LEASE_NAME_MAX = 200


class Control:
    """Answers for one cluster."""

    def __init__(self, cluster: Cluster, platform_id: str) -> None:
        """Keep what the answers are made of."""
        self._cluster = cluster
        self._platform_id = platform_id
        self._weights = StoredWeights(cluster)
        self._effects = Effects(cluster, self._weights)
        self._leases = Leases(cluster.note, cluster.spawn)
        self._view = View(cluster)
        self._registry = CollectorRegistry()
        self._registry.register(KubeState(cluster))

    def app(self, token: str) -> ASGIApp:
        """Return the application; without the token it answers 401 to everything."""
        routes = [
            Route("/v1/state", self._state),
            Route("/v1/events", self._events),
            Route("/metrics", self._metrics),
            Route("/v1/leases/{name}", self._lease, methods=["POST"]),
            Route("/v1/leases/{name}", self._end_lease, methods=["DELETE"]),
            *self.order_routes(),
        ]
        inner = Starlette(
            routes=routes, exception_handlers={HTTPException: _refusal, OrderError: _refusal}
        )
        expected = f"Bearer {token}".encode()

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            given = dict(scope.get("headers", ())).get(b"authorization", b"")
            if scope["type"] == "http" and not hmac.compare_digest(given, expected):
                answer = JSONResponse({"error": "expected the platform's bearer token"}, 401)
                await answer(scope, receive, send)
                return
            await inner(scope, receive, send)

        return guarded

    def order_routes(self) -> list[Route]:
        """Return a route for each order; the last argument says what it changes."""
        post, of = self._post, self._effects
        return [
            post(
                "replicas/{name}/signal",
                orders.SignalOrder,
                self._signal_replica,
                of.signal_replica,
            ),
            post("replicas/{name}/delete", orders.DeleteOrder, self._delete, of.replaced),
            post("replicas/{name}/evict", orders.ReplicaOrder, self._evict, of.replaced),
            post("replicas/{name}/engine/{command}", orders.EngineOrder, self._engine, of.engine),
            post(
                "components/{name}/signal",
                orders.ComponentOrder,
                self._signal_component,
                of.signal_component,
            ),
            post(
                "components/{name}/start", orders.Order, self._start_component, of.start_component
            ),
            post("tiers/{name}/scale", orders.ScaleOrder, self._scale, of.scale),
            post("tiers/{name}/release", orders.ReleaseOrder, self._release, of.release),
            post("tiers/{name}/rollback", orders.RollbackOrder, self._roll_back, of.release),
            post("nodes/{name}/{act}", orders.Order, self._node, of.node),
            post("zones/{name}/{act}", orders.Order, self._zone, of.zone),
            post("links/{name}", orders.LinkOrder, self._link, of.link),
            post("models/{name}", orders.ModelOrder, self._model, of.model),
            post("capacity", orders.CapacityOrder, self._capacity, of.capacity),
        ]

    def _post(
        self,
        path: str,
        kind: type[Order],
        act: Callable[[Mapping[str, str], Order], Awaitable[Answer]],
        effect: Callable[[Mapping[str, str], Order], Effect],
    ) -> Route:
        """Return a route that reads an order and answers with what became of it."""

        async def endpoint(request: Request) -> Response:
            order, where = _read(await _body(request) or b"{}", kind), request.path_params
            answer = await self._leases.during(
                request.headers.get("lease"), effect(where, order), lambda: act(where, order)
            )
            return JSONResponse(dict(answer))

        return Route(f"/v1/{path}", endpoint, methods=["POST"])

    async def _lease(self, request: Request) -> Response:
        order = _read(await _body(request), orders.LeaseOrder)
        name = request.path_params["name"]
        if len(name) > LEASE_NAME_MAX:
            raise OrderError(400, f"a lease's name: expected at most {LEASE_NAME_MAX} characters")
        lease = self._leases.hold(name, order.ttl_s)
        return JSONResponse({"ttl_s": lease.ttl_s, "changes": len(lease.changes)})

    async def _end_lease(self, request: Request) -> Response:
        return JSONResponse({"undone": await self._leases.end(request.path_params["name"])})

    async def _state(self, _request: Request) -> Response:
        state = {"platform_id": self._platform_id, **await self._view.state()}
        return JSONResponse(state | {"leases": self._leases.state()})

    async def _events(self, request: Request) -> Response:
        since = request.query_params.get("since", "0")
        if not (since.isascii() and since.isdecimal() and len(since) < 16):
            raise HTTPException(400, f"since: expected a whole number, found {since[:40]!r}")
        return JSONResponse(self._cluster.events(int(since)))

    async def _metrics(self, _request: Request) -> Response:
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)

    async def _signal_replica(self, path: Mapping[str, str], order: orders.SignalOrder) -> Answer:
        pod, unit = self._running(path["name"], order.uid)
        if order.process == "engine-core":
            pid = await engine_port.signal_core(pod, self._chaos_token, order.number)
            text = f"{order.number.name} to engine core {pid}"
            self._cluster.note("Signalled", f"replica/{pod.name}", text)
            return {"pid": pid, "uid": unit.uid}
        pid_or_none = unit.send(order.number, group=order.process == "all")
        if pid_or_none is None:
            raise OrderError(409, f"{pod.name} has no process, it is in {pod.phase}")
        return {"pid": pid_or_none, "uid": unit.uid}

    async def _delete(self, path: Mapping[str, str], order: orders.DeleteOrder) -> Answer:
        pod = self._replica(path["name"], order.uid)
        self._cluster.delete(pod.name, why="deleted by order", grace_s=order.grace_s)
        return {"uid": order.uid}

    async def _evict(self, path: Mapping[str, str], order: orders.ReplicaOrder) -> Answer:
        self._cluster.evict(self._replica(path["name"], order.uid).name)
        return {"uid": order.uid}

    async def _engine(self, path: Mapping[str, str], order: orders.EngineOrder) -> Answer:
        pod, _ = self._running(path["name"], order.uid)
        command = path["command"]
        answer = await engine_port.ask(pod.addresses.chaos, self._chaos_token, command, order.body)
        if command != "state":  # a question is no fault
            self._cluster.note(
                "Fault", f"replica/{pod.name}", f"{command} {order.body or ''}".strip()
            )
        return answer

    async def _signal_component(
        self, path: Mapping[str, str], order: orders.ComponentOrder
    ) -> Answer:
        unit = self._component(path["name"])
        if order.uid not in (None, unit.uid):
            raise OrderError(
                409, f"uid of {unit.recipe.name} is {unit.uid}, the request names {order.uid}"
            )
        pid = unit.send(order.number, hold=order.hold)
        if pid is None and not order.hold:
            raise OrderError(409, f"{unit.recipe.name} has no process, it is in {unit.phase}")
        return {"pid": pid, "uid": unit.uid}

    async def _start_component(self, path: Mapping[str, str], _order: orders.Order) -> Answer:
        unit = self._component(path["name"])
        unit.release()
        return {"pid": unit.pid, "uid": unit.uid}

    async def _scale(self, path: Mapping[str, str], order: orders.ScaleOrder) -> Answer:
        self._cluster.scale(path["name"], order.replicas, "by order")
        self._cluster.tier(path["name"]).scale_annotation = order.annotation
        return {"wanted": order.replicas}

    async def _release(self, path: Mapping[str, str], order: orders.ReleaseOrder) -> Answer:
        tier = self._cluster.tier(path["name"])
        revision = tier.release(order.engine, pullable=order.pullable, annotation=order.annotation)
        self._cluster.note("Released", f"tier/{tier.name}", f"revision {revision.name}")
        return {"revision": revision.name}

    async def _roll_back(self, path: Mapping[str, str], order: orders.RollbackOrder) -> Answer:
        tier = self._cluster.tier(path["name"])
        revision = tier.roll_back(order.to)
        self._cluster.note("RolledBack", f"tier/{tier.name}", f"to revision {revision.name}")
        return {"revision": revision.name}

    async def _node(self, path: Mapping[str, str], _order: orders.Order) -> Answer:
        cluster = self._cluster
        acts: dict[str, Callable[[str], Any]] = {
            "cordon": partial(cluster.machines.cordon, on=True),
            "uncordon": partial(cluster.machines.cordon, on=False),
            "terminate": cluster.interruptions.terminate,
            "rebalance": cluster.interruptions.advise,
            "interrupt": cluster.interruptions.interrupt,
            "reset-gpus": lambda name: cluster.gpus.reset(cluster.machines.named(name)),
        }
        machine = cluster.machines.named(path["name"])
        _act(acts, path["act"])(machine.name)
        return {"instance_id": machine.instance_id, "notice_unix": machine.notice_unix}

    async def _zone(self, path: Mapping[str, str], _order: orders.Order) -> Answer:
        interruptions = self._cluster.interruptions
        acts = {"fail": interruptions.fail_zone, "restore": interruptions.restore_zone}
        _act(acts, path["act"])(path["name"])
        return {}

    async def _capacity(self, _path: Mapping[str, str], order: orders.CapacityOrder) -> Answer:
        shortage = Shortage(order.zone, order.capacity_type, order.instance_type)
        machines = self._cluster.machines
        if not machines.has_kind(shortage):
            raise OrderError(404, f"no node group or pool has {described(shortage)}")
        (machines.recover if order.available else machines.run_short)(shortage)
        return {}

    async def _link(self, path: Mapping[str, str], order: orders.LinkOrder) -> Answer:
        conditions = order.model_dump()
        await self._cluster.disturb(path["name"], conditions)
        return conditions

    async def _model(self, path: Mapping[str, str], order: orders.ModelOrder) -> Answer:
        return {"model": await self._weights.change(path["name"], order.change)}

    @property
    def _chaos_token(self) -> str:
        return self._cluster.layout.chaos_token.read_text(encoding="utf-8")

    def _replica(self, name: str, uid: str) -> Pod:
        pod = self._cluster.named(name)
        if pod.process_uid != uid:
            raise OrderError(409, f"uid of {name} is {pod.process_uid}, the request names {uid}")
        return pod

    def _running(self, name: str, uid: str) -> tuple[Pod, Unit]:
        pod = self._replica(name, uid)
        if pod.unit is None or pod.unit.pid is None:
            raise OrderError(409, f"{name} has no process, it is in {pod.phase}")
        return pod, pod.unit

    def _component(self, name: str) -> Unit:
        components = self._cluster.components
        if name not in components:
            raise OrderError(404, f"no component {name!r}; there are {', '.join(components)}")
        return components[name]


def _act(acts: Mapping[str, Callable[[str], Any]], name: str) -> Callable[[str], Any]:
    if name not in acts:
        raise OrderError(404, f"no order {name!r}; there are {', '.join(acts)}")
    return acts[name]


async def _body(request: Request) -> bytes:
    """Return a request's body.

    Raises:
        OrderError: 413 when it is larger than any order is.
        HTTPException: 400 when the client left before it was complete; nobody hears of it.
    """
    body = b""
    try:
        async for part in request.stream():
            body += part
            if len(body) > BODY_BYTES_MAX:
                raise OrderError(413, f"body: expected at most {BODY_BYTES_MAX} bytes")
    except ClientDisconnect as error:
        raise HTTPException(400, "the request was not complete") from error
    return body


def _read(body: bytes, kind: type[Order]) -> Order:
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise OrderError(400, f"body: {key}: {first['msg']}".replace(": : ", ": ")) from error


async def _refusal(_request: Request, error: Exception) -> Response:
    if isinstance(error, OrderError):
        headers = {"lease": "over"} if isinstance(error, LeaseError) else None
        return JSONResponse({"error": str(error)}, error.status, headers)
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
