"""The instance metadata service: what a machine learns from EC2, spot notices above all.

Every machine's is at `/<node>/latest/...` of one address, where EC2 has 169.254.169.254 on each.
As IMDSv2 it answers only with a session token, which PUT /<node>/latest/api/token gives.
"""

from __future__ import annotations

import secrets
import time

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from inference_platform.local.errors import OrderError
from inference_platform.local.interruptions import metadata
from inference_platform.local.machines import Machines

TTL_HEADER = "x-aws-ec2-metadata-token-ttl-seconds"
TOKEN_HEADER = "x-aws-ec2-metadata-token"
TTL_S_MAX = 21600  # EC2's: six hours
TOKENS_MAX = 10_000


def app(machines: Machines) -> ASGIApp:
    """Return the service for these machines."""
    tokens: dict[str, tuple[str, float]] = {}  # token → instance, end by the monotonic clock

    async def give_token(request: Request) -> Response:
        given = request.headers.get(TTL_HEADER, "")
        if (
            not (given.isascii() and given.isdecimal() and len(given) < 7)
            or not 1 <= int(given) <= TTL_S_MAX
        ):
            return PlainTextResponse("Bad Request", 400)
        instance = machines.named(request.path_params["node"]).instance_id
        if len(tokens) >= TOKENS_MAX:
            tokens.clear()  # whoever asks again gets a new one
        token = secrets.token_urlsafe(40)
        tokens[token] = (instance, time.monotonic() + int(given))
        return PlainTextResponse(token, headers={TTL_HEADER: given})

    async def answer(request: Request) -> Response:
        machine = machines.named(request.path_params["node"])
        instance, end = tokens.get(request.headers.get(TOKEN_HEADER, ""), ("", 0.0))
        if instance != machine.instance_id or time.monotonic() >= end:
            return PlainTextResponse("Unauthorized", 401)
        if machine.state != "ready":
            return PlainTextResponse("Not Found", 404)
        status, found = metadata(machine, request.path_params["path"])
        if isinstance(found, str):
            return PlainTextResponse(found or "Not Found", status)
        return JSONResponse(found, status)

    async def unknown(_request: Request, _error: Exception) -> Response:
        return PlainTextResponse("Not Found", 404)

    return Starlette(
        routes=[
            Route("/{node}/latest/api/token", give_token, methods=["PUT"]),
            Route("/{node}/latest/{path:path}", answer),
        ],
        exception_handlers={OrderError: unknown},
    )
