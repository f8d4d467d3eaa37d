"""The HTTP side: a plain ASGI application with vLLM's routes.

No framework: importing one would cost more than everything else at start, and a local platform
starts engines by the dozen.
"""

from __future__ import annotations

import asyncio
import hmac
import time
import uuid
import zlib
from collections.abc import Awaitable, Callable

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from inference_platform.engine_sim.body import ApiError, EngineDeadError, Kind, read_body
from inference_platform.engine_sim.call import JSON, Call, Receive, Scope, Send
from inference_platform.engine_sim.engine import Engine, Stream
from inference_platform.engine_sim.flags import Flags
from inference_platform.engine_sim.generation import Generation, read_generation
from inference_platform.engine_sim.http_metrics import EXCLUDED, HttpMetrics
from inference_platform.engine_sim.metrics import EngineMetrics
from inference_platform.engine_sim.shapes import DONE, VERSION, Shape, model_list
from inference_platform.engine_sim.tokens import plan_answer

_GUARDED = ("/v1", "/v2", "/inference", "/cohere")
_KINDS: dict[str, Kind] = {"/v1/chat/completions": "chat", "/v1/completions": "completion"}
_ELSEWHERE = "Please try again later or on a different instance."
BUSY = f"The engine is currently busy and cannot accept new requests. {_ELSEWHERE}"
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
        self._routes: dict[str, dict[str, Callable[[Call], Awaitable[None]]]] = {
            "/health": {"GET": self._show_health},
            "/ping": {"GET": self._show_health, "POST": self._show_health},
            "/version": {"GET": lambda call: call.answer_json(200, {"version": VERSION})},
            "/load": {"GET": lambda call: call.answer_json(200, {"server_load": 0})},
            "/metrics": {"GET": self._show_metrics},
            "/v1/models": {"GET": self._show_models},
            **{path: {"POST": self._generate} for path in _KINDS},
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            raise RuntimeError(f"engine_sim serves HTTP only, not {scope['type']}")
        call = Call(scope, receive, send)
        if not self._is_allowed(call):
            await call.answer(401, b'{"error":"Unauthorized"}', JSON, vary=False)
            return
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
            await call.answer_json(error.status, error.body())
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

    async def _generate(self, call: Call) -> None:
        """Serve a chat or a completion; a client that leaves frees its request at once."""
        raw = await call.body()
        if raw is None:
            return
        kind = _KINDS[call.path]
        request = self._admit(kind, raw, call.header(b"content-type"))
        prefix = "chatcmpl-" if kind == "chat" else "cmpl-"
        suffix = call.header(b"x-request-id") or request.request_id or uuid.uuid4().hex[:16]
        answer_id = prefix + suffix
        seed = self._flags.seed if request.seed is None else request.seed
        answer = plan_answer(seed, request.prompt, request.limits)
        stream = self._engine.submit(
            answer_id, request.prompt_tokens, answer, request.limits.max_tokens
        )
        shape = Shape(
            kind,
            answer_id,
            int(time.time()),
            self._flags.served_model_name,
            self._fingerprint,
            len(request.prompt_tokens),
        )
        watch = asyncio.get_running_loop().create_task(self._abort_when_gone(call, stream))
        try:
            if request.stream:
                await _write_stream(call, stream, shape, request)
            else:
                await _write_whole(call, stream, shape)
        finally:
            watch.cancel()
            self._engine.abort(stream)

    def _admit(self, kind: Kind, raw: bytes, content_type: str) -> Generation:
        """Check a request in vLLM's order; ApiError says why not."""
        flags = self._flags
        body = read_body(kind, raw, content_type)
        model = body.get("model")
        if model and model != flags.served_model_name:
            text = f"The model `{model}` does not exist. Valid aliases: {flags.served_model_name}."
            raise ApiError(404, "NotFoundError", text, "model")
        self._check_queue()
        request = read_generation(kind, body, flags.max_model_len)
        if self.draining:
            text = "cannot schedule new futures after shutdown"
            raise ApiError(500, "InternalServerError", text)
        if self._engine.dead:
            raise EngineDeadError
        return request

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

    async def _abort_when_gone(self, call: Call, stream: Stream) -> None:
        await call.gone()
        self._engine.abort(stream)


async def _write_stream(call: Call, stream: Stream, shape: Shape, request: Generation) -> None:
    """Send one event a token; tokens that became ready together leave in one write."""
    await call.start_stream()
    answer, shown = stream.answer, 0
    counts = request.continuous_usage
    last = answer.tokens - 1
    while shown < answer.tokens:
        ready = await stream.more(shown)
        if ready <= shown:
            if stream.failed:
                await call.send_events(shape.failure(EngineDeadError().body()), more=False)
            return
        events = [] if shown else [shape.role_chunk(0 if counts else None)]
        events += [
            shape.token_chunk(answer.text(index), index + 1 if counts else None)
            for index in range(shown, min(ready, last))
        ]
        if ready > last:
            tokens = answer.tokens if counts else None
            events.append(shape.last_chunk(answer, tokens, usage_follows=request.include_usage))
            if request.include_usage:
                events.append(shape.usage_chunk(answer.tokens))
            events.append(DONE)
        shown = ready
        await call.send_events(b"".join(events), more=ready <= last)


async def _write_whole(call: Call, stream: Stream, shape: Shape) -> None:
    """Wait for every token, then send the answer."""
    ready = 0
    while ready < stream.answer.tokens:
        before, ready = ready, await stream.more(ready)
        if ready <= before:
            if stream.failed:
                raise EngineDeadError
            return  # aborted
    await call.answer_json(200, shape.whole(stream.answer))
