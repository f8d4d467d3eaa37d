"""Secrets planted by tests, and the search for them in whatever is left behind.

The search knows nothing of `faultload.secrecy`: it has to find what that overlooks.
"""

from __future__ import annotations

import base64
import contextlib
import html
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, quote_plus

import psutil
import pyarrow.parquet as pq


def disguises(secret: str) -> set[str]:
    """Return the texts that give a secret away: plain, escaped, encoded, and inside of either."""
    raw = secret.encode()
    found = {secret, quote(secret, safe=""), quote_plus(secret), html.escape(secret)}
    found |= {json.dumps(secret)[1:-1], raw.hex()}
    for shift in range(3):
        inner = base64.b64encode(b"\0" * shift + raw).decode().rstrip("=")[4 if shift else 0 : -4]
        found |= {inner, inner.translate(str.maketrans("+/", "-_"))}
    return found


def text_of(path: Path) -> str:
    """Return what somebody who opens a file can read, in Parquet files too."""
    if path.suffix == ".parquet":
        return json.dumps(pq.read_table(path).to_pylist(), default=str, ensure_ascii=False)
    return path.read_bytes().decode("utf-8", "replace")


def traces_of(secret: str, *folders: Path) -> list[str]:
    """Return which files of some folders give a secret away, and how."""
    told = disguises(secret)
    return [
        f"{path}: {form}"
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        for text in [text_of(path)]
        for form in told
        if form in text
    ]


class ProcessList:
    """The command lines of this process's children, as everybody on the machine sees them."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(5)

    def _look(self) -> None:
        me = psutil.Process(os.getpid())
        while not self._ended.wait(0.05):
            with contextlib.suppress(psutil.Error):
                for child in me.children(recursive=True):
                    with contextlib.suppress(psutil.Error):
                        self.seen.add(" ".join(child.cmdline()))


class Tattler(BaseHTTPRequestHandler):
    """Tells everything it is told: in bodies, headers, warnings, labels and refusals.

    The server's `answers` are path → status and JSON; any other path is refused.
    """

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        told = self.headers.get("Authorization", "")
        path = self.path.partition("?")[0]
        known: dict[str, tuple[int, Any]] = self.server.answers  # type: ignore[attr-defined]
        refusal = {"kind": "Status", "message": f"who is {told}?", "error": {"message": told}}
        status, document = known.get(path, (403, refusal))
        if path == "/api/v1/query":
            document = document | {"warnings": [f"signed in as {told}"]}
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Served-By", told or "nobody")
        self.send_header("X-Request-Id", told or "nobody")
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815  # the base class looks for this name

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


@contextlib.contextmanager
def tattler(answers: dict[str, tuple[int, Any]]) -> Iterator[str]:
    """Serve for the length of a block; yield the URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Tattler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # who asked may be gone
    server.answers = answers  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
