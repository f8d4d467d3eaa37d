"""`python -m inference_platform.router`: the command line of one router."""

import argparse
import logging
import os
import socket
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from inference_platform.router.app import create_app
from inference_platform.router.serving import ServingError, die_with_parent, inherit, listen, serve
from inference_platform.router.settings import Settings

# Settings with a flag of their own name, and what it means.
_FLAGS = {
    "name": "who this router is, in logs and metrics",
    "connect_timeout_s": "longest wait for a connection to a replica",
    "first_byte_timeout_s": "longest wait for a stream's first event",
    "idle_timeout_s": "longest silence inside a stream",
    "answer_timeout_s": "longest time of an answer, streams too, all attempts together",
    "retries": "further attempts before the first byte",
    "retry_backoff_s": "mean pause before the first retry",
    "no_replica_wait_s": "longest wait for any replica to be ready",
    "affinity_ttl_s": "how long a session is remembered",
    "affinity_lookup_timeout_s": "longest wait for Redis",
    "affinity_slack": "requests over the least loaded at which a session moves",
    "health_period_s": "time between health checks of a replica",
    "health_timeout_s": "longest wait for a health check",
    "health_failures": "failed checks in a row that make a replica unhealthy",
    "eject_s_min": "first pause of a replica that broke",
    "eject_s_max": "longest pause of a replica that keeps breaking",
    "endpoints_poll_s": "time between looks at the endpoints file",
    "drain_s": "how long a stopping router finishes requests",
    "body_bytes_max": "largest request body",
    "body_timeout_s": "longest wait for the rest of a request",
}
_REDIS_VARIABLE = "INFERENCE_ROUTER_REDIS_URL"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m inference_platform.router",
        description="Routes OpenAI requests to vLLM replicas.",
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, help="listen here; with --fd also, for /metrics")
    parser.add_argument("--fd", type=int, help="serve this inherited listening socket")
    parser.add_argument("--endpoints", type=Path, required=True, help="JSON file of the replicas")
    parser.add_argument(
        "--redis-url",
        default=os.environ.get(_REDIS_VARIABLE),
        help=f"Redis for session affinity; with a password use ${_REDIS_VARIABLE} instead",
    )
    parser.add_argument(
        "--tiers", default="", help="tiers known from the start, separated by commas"
    )
    parser.add_argument(
        "--die-with-parent", action="store_true", help="be killed when the parent ends (Linux)"
    )
    defaults: dict[str, Any] = {field.name: field.default for field in fields(Settings)}
    for name, text in _FLAGS.items():
        default = defaults[name]
        parser.add_argument(
            "--" + name.replace("_", "-"),
            type=type(default),
            default=default,
            help=f"{text} (default {default})",
        )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run a router; 0 after a drain, 64 for a bad command line, 69 if it cannot listen."""
    parser = _parser()
    try:
        options = parser.parse_args(argv)
    except SystemExit as left:
        return 64 if left.code else 0
    if options.port is None and options.fd is None:
        sys.stderr.write("expected --port or --fd, found neither: say where to listen\n")
        return 64
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format=f"%(asctime)s {options.name} %(levelname)s %(message)s",
    )
    settings = Settings(
        endpoints_path=options.endpoints,
        tiers=tuple(tier for tier in options.tiers.split(",") if tier),
        redis_url=options.redis_url,
        **{name: getattr(options, name) for name in _FLAGS},
    )
    sockets: list[socket.socket] = []
    try:
        if options.die_with_parent:
            die_with_parent()
        if options.fd is not None:
            sockets.append(inherit(options.fd))
        if options.port is not None:
            sockets.append(listen(options.host, options.port))
    except ServingError as error:
        sys.stderr.write(f"{error}\n")
        return 69
    serve(create_app(settings), sockets, settings.drain_s)
    return 0


if __name__ == "__main__":
    sys.exit(main())
