"""The HTTP side: a plain ASGI application with vLLM's routes.

No framework: importing one would cost more than everything else at start, and a local platform
starts engines by the dozen.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import time
import uuid
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from inference_platform.engine_sim.answers import wait_for_all
from inference_platform.engine_sim.body import check_types, read_object
from inference_platform.engine_sim.call import JSON, Call, Receive, Scope, Send
from inference_platform.engine_sim.dev import dev_routes
from inference_platform.engine_sim.dialects import CHAT, COMPLETION, DIALECTS, Dialect
from inference_platform.engine_sim.engine import Asked, Engine
from inference_platform.engine_sim.errors import ApiError, EngineDeadError
from inference_platform.engine_sim.fields import Body
from inference_platform.engine_sim.flags import Flags
from inference_platform.engine_sim.generation import Generation, read_generation
from inference_platform.engine_sim.http_metrics import EXCLUDED, HttpMetrics
from inference_platform.engine_sim.metrics import EngineMetrics
from inference_platform.engine_sim.shapes import VERSION, Shape, model_list
from inference_platform.engine_sim.tokenizer import Tokenizer
from inference_platform.engine_sim.tokens import plan_answer

_GUARDED = ("/v1", "/v2", "/inference", "/cohere")
# What is longer is read on a thread, so that streams go on meanwhile.
BIG_BODY_BYTES = 256 * 1024
T = TypeVar("T")
_PREFLIGHT_HEADERS = (
    (
        b"vary",
        b", ".join(
            (
                b"Origin",
                b"Access-Control-Request-Method",
                b"Access-Control-Request-Headers",
                b"Access-Control-Request-Private-Network",
            )
        ),
    ),
    (b"access-control-allow-methods", b"DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT, QUERY"),
    (b"access-control-max-age", b"600"),
    (b"content-type", b"text/plain; charset=utf-8"),
)
_ELSEWHERE = "Please try again later or on a different instance."
BUSY = f"The engine is currently busy and cannot accept new requests. {_ELSEWHERE}"
PAUSED = "Generation is paused. Please retry after it resumes."
BACKLOG = f"The engine has reached its prefill token backlog limit. {_ELSEWHERE}"


class Api:
    """The application. `draining` refuses new work while the rest finishes.

    `on_dead_answer` is called when a request was answered 500 because the engine is dead.

    Args:
        flags: the command line.
        engine: where requests go.
        metrics: what `/metrics` shows; HTTP families are added to its registry.
    """

    def __init__(self, flags: Flags, engine: Engine, metrics: EngineMetrics) -> None:
        """Build the routes."""
        self.draining = False
        self.on_dead_answer: Callable[[], None] = lambda: None
        self._flags = flags
        self._engine = engine
        self._metrics = metrics
        self._http = HttpMetrics(metrics.registry)
        self._keys = [key.encode() for key in flags.api_key]
        self._started = int(time.time())
        self._fingerprint = f"vllm-{VERSION}-{zlib.crc32(repr(flags).encode()):08x}"
        tokenizer = Tokenizer(flags.max_model_len)
        self._load = 0  # requests being generated, when we are asked to count them
        self._routes: dict[str, dict[str, Callable[[Call], Awaitable[None]]]] = {
            "/health": {"GET": self._show_health},
            "/ping": {"GET": self._show_health, "POST": self._show_health},
            "/version": {"GET": lambda call: call.answer_json(200, {"version": VERSION})},
            "/load": {"GET": lambda call: call.answer_json(200, {"server_load": self._load})},
            "/kv_event_sources": {"GET": lambda call: call.answer_json(200, {})},
            "/tokenize": {"POST": partial(self._use_tokenizer, tokenizer.tokenize)},
            "/detokenize": {"POST": partial(self._use_tokenizer, tokenizer.detokenize)},
            "/metrics": {"GET": self._show_metrics},
            "/v1/models": {"GET": self._show_models},
            **{path: {"POST": self._generate} for path in (*DIALECTS, "/invocations")},
        }
        if os.environ.get("VLLM_SERVER_DEV_MODE", "0") not in ("", "0"):
            self._routes |= dev_routes(engine, metrics.registry)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            raise RuntimeError(f"engine_sim serves HTTP only, not {scope['type']}")
        call = Call(scope, receive, send)
        if self._flags.enable_request_id_headers:
            request_id = call.headers.get(b"x-request-id") or uuid.uuid4().hex.encode()
            call.added.append((b"x-request-id", request_id))
        if _is_preflight(call):
            # By default vLLM allows no origin.
            await call.answer(400, b"Disallowed CORS origin", *_PREFLIGHT_HEADERS, vary=False)
            return
        if not self._is_allowed(call):
            await call.answer(401, b'{"error":"Unauthorized"}', JSON, vary=False)
            return
        await self._route(call)

    async def _route(self, call: Call) -> None:
        """Let the path's handler answer, and count the request."""
        methods = self._routes.get(call.path)
        handler = None if methods is None else methods.get(call.method)
        began = time.monotonic()
        try:
            if handler is not None:
                await handler(call)
            elif methods is not None:
                allow = (b"allow", ", ".join(methods).encode())
                await call.answer_json(405, {"detail": "Method Not Allowed"}, allow)
            else:
                await call.answer_json(404, {"detail": "Not Found"})
        except ApiError as error:
            dialect = DIALECTS.get(call.path, CHAT)
            await call.answer_json(error.status, dialect.error_body(error))
            if isinstance(error, EngineDeadError):
                self.on_dead_answer()
        except Exception:
            call.status = 500  # what uvicorn answers
            raise
        finally:
            if call.path not in EXCLUDED:
                self._http.record(
                    method=call.method,
                    handler="none" if handler is None else call.path,
                    status=call.status or 200,
                    duration_s=time.monotonic() - began,
                    request_bytes=int(call.header(b"content-length") or 0),
                    response_bytes=call.response_bytes,
                )

    def _is_allowed(self, call: Call) -> bool:
        """Whether the call brings a valid key, or needs none."""
        if not self._keys or call.method == "OPTIONS" or not call.path.startswith(_GUARDED):
            return True
        scheme, _, token = call.headers.get(b"authorization", b"").partition(b" ")
        matches = [hmac.compare_digest(token, key) for key in self._keys]
        return scheme.lower() == b"bearer" and any(matches)

    async def _show_health(self, call: Call) -> None:
        await call.answer(503 if self._engine.dead else 200)

    async def _show_metrics(self, call: Call) -> None:
        page = generate_latest(self._metrics.registry)
        await call.answer(200, page, (b"content-type", CONTENT_TYPE_LATEST.encode()))

    async def _show_models(self, call: Call) -> None:
        flags = self._flags
        models = model_list(
            flags.served_model_name, flags.model, flags.max_model_len, self._started
        )
        await call.answer_json(200, models)

    async def _use_tokenizer(self, use: Callable[[Body], dict[str, Any]], call: Call) -> None:
        raw = await call.body()
        if raw is not None:
            body = await _unblocked(raw, read_object, raw, call.header(b"content-type"))
            self._check_model(body)
            await call.answer_json(200, await _unblocked(raw, use, body))

    async def _generate(self, call: Call) -> None:
        """Serve a chat or a completion, counted as load where that is asked for."""
        if not self._flags.enable_server_load_tracking:
            await self._answer(call)
            return
        self._load += 1
        try:
            await self._answer(call)
        finally:
            self._load -= 1

    async def _answer(self, call: Call) -> None:
        """Answer a request for tokens; a client that leaves frees its request at once."""
        raw = await call.body()
        if raw is None:
            return
        dialect, request = await self._admit(call, raw)
        suffix = call.header(b"x-request-id") or request.request_id or uuid.uuid4().hex[:16]
        answer_id = dialect.id_prefix + suffix
        asked = Asked(request.n)
        shape = Shape(
            dialect.kind,
            answer_id,
            int(time.time()),
            self._flags.served_model_name,
            self._fingerprint,
            sum(len(prompt.tokens) for prompt in request.prompts),
            request.n * len(request.prompts),
            request.role,
        )
        watch = asyncio.get_running_loop().create_task(self._abort_when_gone(call, asked))
        try:
            self._submit(asked, request)
            if request.stream:
                await dialect.write_stream(call, asked, shape, request, self._flags)
            elif await wait_for_all(asked):
                if dialect.translate is None:
                    self._add_load(call)
                await dialect.write_whole(call, asked, shape, request, self._flags)
        finally:
            watch.cancel()
            self._engine.abort(asked)

    def _add_load(self, call: Call) -> None:
        """Tell a load balancer how busy we are, in the header and format it asks for (ORCA)."""
        wanted = call.header(b"endpoint-load-metrics-format").upper()
        if wanted not in ("TEXT", "JSON"):
            return
        waiting, kv_usage = self._engine.load
        load = {"num_requests_waiting": float(waiting), "kv_cache_usage_perc": float(kv_usage)}
        shown = ", ".join(f"named_metrics.{name}={value}" for name, value in load.items())
        if wanted == "JSON":
            shown = json.dumps({"named_metrics": load})
        call.added.append((b"endpoint-load-metrics", f"{wanted} {shown}".encode()))

    def _submit(self, asked: Asked, request: Generation) -> None:
        """Hand every answer that is asked for to the engine."""
        seed = self._flags.seed if request.seed is None else request.seed
        for prompt in request.prompts:
            for nth in range(request.n):
                limits = prompt.limits
                text = f"{prompt.text}\0{nth}" if nth else prompt.text
                answer = plan_answer(seed, text, limits)
                if request.silent:
                    answer = replace(answer, cut=0)
                self._engine.submit(asked, prompt.tokens, answer, limits.max_tokens)

    async def _admit(self, call: Call, raw: bytes) -> tuple[Dialect, Generation]:
        """Check a request in vLLM's order; ApiError says why not."""
        said = await _unblocked(raw, read_object, raw, call.header(b"content-type"))
        dialect = DIALECTS.get(call.path) or (CHAT if "messages" in said else COMPLETION)
        body = said if dialect.translate is None else dialect.translate(said)
        await _unblocked(raw, check_types, dialect.kind, body)
        self._check_model(body)
        self._check_queue()
        request = await _unblocked(
            raw, read_generation, dialect.kind, body, self._flags.max_model_len
        )
        if dialect.translate is not None:
            request = replace(request, said=said)
        if self._flags.enable_force_include_usage:
            request = replace(request, include_usage=True)
        if self.draining:
            text = "cannot schedule new futures after shutdown"
            raise ApiError(500, "InternalServerError", text)
        if self._engine.dead:
            raise EngineDeadError
        if self._engine.paused:
            raise ApiError(503, "ServiceUnavailableError", PAUSED)
        return dialect, request

    def _check_model(self, body: Body) -> None:
        model, served = body.get("model"), self._flags.served_model_name
        if model and model != served:
            text = f"The model `{model}` does not exist. Valid aliases: {served}."
            raise ApiError(404, "NotFoundError", text, "model")

    def _check_queue(self) -> None:
        """Refuse with 503 what a queue limit has no place for; the new request is not counted."""
        flags, engine = self._flags, self._engine
        most = flags.max_num_queued_reqs
        if most is not None and engine.unfinished >= most:
            self._metrics.record_rejection("max_num_queued_reqs")
            raise ApiError(503, "Service Unavailable", BUSY)
        most = flags.max_num_queued_tokens
        if most is not None and engine.prefill_backlog >= most:
            self._metrics.record_rejection("max_num_queued_tokens")
            raise ApiError(503, "Service Unavailable", BACKLOG)

    async def _abort_when_gone(self, call: Call, asked: Asked) -> None:
        await call.gone()
        self._engine.abort(asked)


def _is_preflight(call: Call) -> bool:
    """Whether a browser asks for permission to send a request from another site's page."""
    asked = {b"origin", b"access-control-request-method"}
    return call.method == "OPTIONS" and asked <= call.headers.keys()


async def _unblocked(raw: bytes, work: Callable[..., T], *arguments: Any) -> T:
    """Return `work(*arguments)`, done on a thread when the body is big."""
    if len(raw) > BIG_BODY_BYTES:
        return await asyncio.to_thread(work, *arguments)
    return work(*arguments)
