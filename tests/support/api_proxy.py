"""A proxy before a real API server that fails the calls a test chooses, and forwards the rest."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from control_plane import ControlPlane

_HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "date", "server"}


@dataclass
class Failure:
    """What becomes of the calls it is about.

    Attributes:
        method: of HTTP; "": any.
        part: of path and query.
        status: to answer with; 0: no answer, the connection is closed.
        headers: of the answer.
        body: of the answer; `{authorization}` is replaced by the call's own header.
        forwards: the call is carried out before it fails.
        is_silent: the connection is held, and nothing is said, until the proxy ends.
        times: how many calls it is about still.
    """

    method: str = ""
    part: str = ""
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    forwards: bool = False
    is_silent: bool = False
    times: int = 1_000_000

    def takes(self, method: str, url: str) -> bool:
        """Tell whether it is about a call, and count it."""
        if self.times <= 0 or self.part not in url or self.method not in ("", method):
            return False
        self.times -= 1
        return True


class ApiProxy:
    """A running proxy, on plain HTTP.

    Attributes:
        url: of it.
        failures: the first that is about a call is what becomes of it; may be changed at any time.
        calls: method and URL of each call that arrived.
    """

    def __init__(self, plane: ControlPlane) -> None:
        self.failures: list[Failure] = []
        self.calls: list[tuple[str, str]] = []
        self.ended = threading.Event()
        self._upstream = urlsplit(plane.url)
        self._tls = ssl.create_default_context(cafile=str(plane.ca_file))
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def kubeconfig(self, through: Path) -> Path:
        """Return a copy of a kubeconfig that leads through the proxy."""
        document = json.loads(through.read_text(encoding="utf-8"))
        document["clusters"][0]["cluster"] = {"server": self.url}
        path = through.with_suffix(".proxied")
        path.write_text(json.dumps(document), encoding="utf-8")
        return path

    def forward(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Return the API server's answer."""
        upstream = http.client.HTTPSConnection(
            self._upstream.hostname or "", self._upstream.port, context=self._tls, timeout=30
        )
        with contextlib.closing(upstream):
            kept = {k: v for k, v in headers.items() if k.lower() not in ("host", "connection")}
            upstream.request(method, url, body or None, kept)
            answer = upstream.getresponse()
            said = {k: v for k, v in answer.getheaders() if k.lower() not in _HOP_BY_HOP}
            return answer.status, said, answer.read()

    def _handler(proxy) -> type[BaseHTTPRequestHandler]:  # noqa: N805  # self is the handler's
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30

            def handle_one(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                proxy.calls.append((self.command, self.path))
                failure = next(
                    (f for f in proxy.failures if f.takes(self.command, self.path)), None
                )
                answer = None
                if failure is None or failure.forwards:
                    answer = proxy.forward(self.command, self.path, dict(self.headers), body)
                if failure is not None and failure.is_silent:
                    proxy.ended.wait(30)
                if failure is not None and not failure.status:
                    self.close_connection = True
                    return
                if failure is not None:
                    said = failure.body.replace(
                        "{authorization}", self.headers.get("Authorization") or ""
                    )
                    answer = failure.status, failure.headers, said.encode()
                assert answer is not None
                status, headers, content = answer
                self.send_response(status)
                for key, value in headers.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PATCH = do_DELETE = handle_one  # noqa: N815  # http.server's

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@contextlib.contextmanager
def proxied(plane: ControlPlane) -> Iterator[ApiProxy]:
    """Yield a proxy before a control plane, and end it."""
    proxy = ApiProxy(plane)
    thread = threading.Thread(target=proxy.server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.ended.set()
        proxy.server.shutdown()
        thread.join(10)
        proxy.server.server_close()
