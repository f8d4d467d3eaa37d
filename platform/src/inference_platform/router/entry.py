"""The two hot routes as one plain ASGI application: read, understand, relay, account."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import orjson

from inference_platform.router.clients import ClientGone, read_body, while_client_stays
from inference_platform.router.fleet import Fleet
from inference_platform.router.metrics import NO_TIER, Metrics
from inference_platform.router.relay import Job, Relay, served_by
from inference_platform.router.replies import Receive, Refused, Send, send_refusal
from inference_platform.router.settings import Settings
from inference_platform.router.tiering import TierChooser

HOT_PATHS = frozenset({"/v1/chat/completions", "/v1/completions"})
AUTO = "auto"
# What goes in outcome code for a client that left before any answer, as nginx logs it.
CLIENT_CLOSED = 499
_NOT_FORWARDED = frozenset(
    b"host content-length connection keep-alive proxy-connection transfer-encoding te trailer "
    b"upgrade expect".split()
)


class CompletionsEntry:
    """ASGI application for POST /v1/chat/completions and /v1/completions."""

    def __init__(
        self,
        settings: Settings,
        fleet: Fleet,
        metrics: Metrics,
        relay: Relay,
        chooser: TierChooser,
    ) -> None:
        """`chooser` decides for requests whose model is `auto` or left out."""
        self._settings = settings
        self._fleet = fleet
        self._metrics = metrics
        self._relay = relay
        self._chooser = chooser

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request; every way out of here is counted once."""
        job = Job(
            tier=NO_TIER,
            head=b"",
            body={},
            raw=b"",
            session=None,
            send=send,
            arrived_s=time.monotonic(),
        )
        try:
            settings = self._settings
            job.raw = await read_body(receive, settings.body_bytes_max, settings.body_timeout_s)
            self._understand(scope, job)
            await self._relay_while_client_stays(job, receive)
        except ClientGone:
            job.outcome = "client_gone"
        except Refused as refused:
            if job.outcome == "ok":
                job.outcome = "client_error" if refused.code < 500 else "upstream_error"
            job.code = refused.code
            await send_refusal(send, refused, served_by(job))
        code = str(job.code or CLIENT_CLOSED)
        self._metrics.requests.labels(job.tier, code, job.outcome).inc()
        if job.outcome == "ok":
            self._metrics.e2e.labels(job.tier).observe(time.monotonic() - job.arrived_s)

    def _understand(self, scope: Mapping[str, Any], job: Job) -> None:
        """Fill in what the request asks for; raises Refused."""
        try:
            body = orjson.loads(job.raw)
        except orjson.JSONDecodeError as error:
            text = f"1 validation error:\n  JSON decode error: {error}"
            raise Refused(400, "Bad Request", text, "body") from None
        if not isinstance(body, dict):
            text = "1 validation error:\n  the body should be a JSON object"
            raise Refused(400, "Bad Request", text, "body")
        job.body = body
        job.tier = self._tier_of(body)
        path: bytes = scope.get("raw_path") or scope["path"].encode()
        if scope.get("query_string"):
            path += b"?" + scope["query_string"]
        lines = [b"POST %b HTTP/1.1\r\n" % path]
        for name, value in scope["headers"]:
            if name not in _NOT_FORWARDED:
                lines.append(b"%b: %b\r\n" % (name, value))
            if name == b"x-session-id" and value:
                job.session = value.decode("latin-1")
        job.head = b"".join(lines)

    def _tier_of(self, body: Mapping[str, Any]) -> str:
        """The tier the request's model names; a model left out means `auto`, as in vLLM."""
        model = body.get("model") or AUTO
        models = self._fleet.models
        if model == AUTO and self._fleet.tiers:
            return self._chooser.choose(body, self._fleet.tiers)
        tier = models.get(model) if isinstance(model, str) else None
        if tier is None:
            aliases = ", ".join([*models, AUTO])
            text = f"The model `{model}` does not exist. Valid aliases: {aliases}."
            raise Refused(404, "NotFoundError", text, "model")
        return tier

    async def _relay_while_client_stays(self, job: Job, receive: Receive) -> None:
        """Relay the job, or say that the router stops; raises ClientGone and Refused."""
        try:
            await while_client_stays(receive, self._relay.serve(job))
        except asyncio.CancelledError:
            await self._stopping(job)

    async def _stopping(self, job: Job) -> None:
        """Tell the client that the drain ran out of time."""
        if not job.code:
            raise Refused(503, "ServiceUnavailableError", "The router is stopping.", retry=True)
        why = Refused(503, "router_stopped", "router stopped mid-stream")
        await self._relay.end_early(job, why)
