"""A scripted Prometheus on loopback: answers what a test tells it to."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pandas as pd
import pytest

from faultload.record import SERIES_SCHEMA

Answer = tuple[int, Any]


@dataclass
class Script:
    """What to answer, and what was asked.

    Attributes:
        answer: from the path and parameters of a query to a status and a body.
        delay_s: before each answer.
        asked: path, parameters and headers of every request.
    """

    url: str
    answer: Callable[[str, dict[str, str]], Answer]
    delay_s: float = 0.0
    asked: list[tuple[str, dict[str, str], dict[str, str]]] = field(default_factory=list)

    def vector(self, *values: object) -> None:
        """Answer every query with a vector of these values."""
        result = [{"metric": {"i": str(i)}, "value": [1.5, v]} for i, v in enumerate(values)]
        self.answer = lambda *_: (200, success(result))


def success(result: object, **more: object) -> dict[str, object]:
    """Return a good answer's body."""
    return {"status": "success", "data": {"resultType": "vector", "result": result}, **more}


@pytest.fixture
def script() -> Iterator[Script]:
    """Serve a script until the test ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            params = {key: values[0] for key, values in parse_qs(parts.query).items()}
            told.asked.append((parts.path, params, dict(self.headers)))
            time.sleep(told.delay_s)
            status, body = told.answer(parts.path, params)
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            try:
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
            except ConnectionError:
                pass  # the client gave up, as it should

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told = Script(f"http://127.0.0.1:{server.server_port}", lambda *_: (200, success([])))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield told
    server.shutdown()
    thread.join(5)
    server.server_close()


def series(name: str, samples: dict[str, list[tuple[float, float]]]) -> pd.DataFrame:
    """Return rows of one series in the record's schema, by labels."""
    rows = [(name, labels, t, value) for labels, pairs in samples.items() for t, value in pairs]
    return pd.DataFrame(rows, columns=SERIES_SCHEMA.names)


@pytest.fixture(name="series")
def _series() -> Callable[[str, dict[str, list[tuple[float, float]]]], pd.DataFrame]:
    """Return the maker of stored series."""
    return series
