"""moto's S3 and nothing else of moto's, as a server with short log lines.

What it holds is in memory. Real objects outlive an outage, so a store that is started again is
given its models anew, and has them before it listens.
"""

from __future__ import annotations

import contextlib
import gc
import socket
import sys
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from moto.moto_server.werkzeug_app import create_backend_app
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from inference_platform.local.models import store
from inference_platform.local.models.layout import StandIn

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

BACKLOG = 128


class Handler(WSGIRequestHandler):
    """One line a request, without the query: it may hold a signature."""

    disable_nagle_algorithm = True  # head and body are two writes: 40 ms on a kept connection
    protocol_version = "HTTP/1.1"

    def log_request(
        self,
        code: int | str = "-",
        size: int | str = "-",  # noqa: ARG002  # werkzeug never gives it
    ) -> None:
        """Log `GET /models/chat/current 200`; who lists the buckets only asks whether we live."""
        path = getattr(self, "path", "(no path)").partition("?")[0]
        if path != "/":
            _log("INFO", f"{self.command} {ascii(path)[1:-1]} {code}")

    def log(self, type: str, message: str, *args: object) -> None:  # noqa: A002  # werkzeug's name
        """Log what is wrong with a request or a connection."""
        _log(type.upper(), message % args if args else message)


def serve(listener: socket.socket, stand_ins: Sequence[StandIn]) -> None:
    """Listen on a bound socket as soon as everything is there; serve until a signal ends us.

    Raises:
        StoreError: a stand-in could not be published.
    """
    app = create_backend_app("s3")
    app.debug = False
    if stand_ins:
        _publish(app, stand_ins)
    # What is alive now lives as long as the process: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    gc.enable()
    server = _server(app, listener)
    listener.listen(BACKLOG)
    host, port = listener.getsockname()[:2]
    _log("INFO", f"serving S3 on http://{host}:{port}")
    server.serve_forever(poll_interval=3600)


def _publish(app: WSGIApplication, stand_ins: Sequence[StandIn]) -> None:
    """Publish over HTTP as everybody does, at an address that nobody knows."""
    with socket.create_server(("127.0.0.1", 0)) as listener, _server(app, listener) as private:
        threading.Thread(target=private.serve_forever, args=(0.01,), daemon=True).start()
        try:
            for stand_in in stand_ins:
                store.publish(f"http://127.0.0.1:{private.port}", stand_in)
        finally:
            private.shutdown()


def _server(app: WSGIApplication, listener: socket.socket) -> BaseWSGIServer:
    host, port = listener.getsockname()[:2]
    return make_server(
        host, port, app, threaded=True, request_handler=Handler, fd=listener.fileno()
    )


def _log(level: str, text: str) -> None:
    with contextlib.suppress(OSError):  # whoever read the log is gone; the answer must not suffer
        sys.stderr.write(f"{time.strftime('%H:%M:%S')} s3 {level} {text.rstrip()}\n")
