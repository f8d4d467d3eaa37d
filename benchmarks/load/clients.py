"""One client under test, closed loop, inside Locust: a fixed number of streams at any time.

Prints one JSON object: `streams` (name → when it was sent and when each token came, on the
monotonic clock), `failed`, `cpu_s` and `wall_s` from the first request to the last answer, and
`rss_mib` at its highest. Locust is told of every request, whichever client made it.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import argparse  # noqa: E402
import os  # noqa: E402
import resource  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from itertools import accumulate, count  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402
import orjson  # noqa: E402
from locust import FastHttpUser, HttpUser, User, events, task  # noqa: E402
from locust.env import Environment  # noqa: E402
from locust.exception import StopUser  # noqa: E402

from faultload.load.plan import WorkerPlan  # noqa: E402
from faultload.load.worker.client import Client, Due  # noqa: E402
from faultload.spec.scenario import Timeouts  # noqa: E402

PATH = "/v1/chat/completions"
PROMPT = "one two three"


class Book:
    """What is still to be asked, and what came."""

    def __init__(self, requests: int, url: str, ca: Path | None) -> None:
        """Ask nothing yet."""
        self.requests, self.url, self.ca = requests, url, ca
        self.streams: dict[str, list[float]] = {}
        self.failed = 0
        self._names = count()
        self._began: tuple[float, float] | None = None
        self._ended = (0.0, 0.0)

    def next(self) -> str | None:
        """Return the name of the next request; None when all were made."""
        number = next(self._names)
        if self._began is None:
            self._began = time.monotonic(), time.process_time()
        return str(number) if number < self.requests else None

    def enter(self, name: str, times: list[float], *, good: bool) -> None:
        """Take what became of a request."""
        self.streams[name] = times
        self.failed += not good
        if self.over:
            self._ended = time.monotonic(), time.process_time()

    @property
    def over(self) -> bool:
        """Every request has ended."""
        return len(self.streams) >= self.requests

    def summary(self) -> dict[str, Any]:
        """Return what is printed."""
        began = self._began or self._ended
        return {
            "streams": self.streams,
            "failed": self.failed,
            "wall_s": self._ended[0] - began[0],
            "cpu_s": self._ended[1] - began[1],
            "rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }


def _body() -> bytes:
    return orjson.dumps(
        {
            "model": "chat",
            "messages": [{"role": "user", "content": PROMPT}],
            "max_tokens": 64,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    )


def _headers(name: str) -> dict[str, str]:
    return {"Content-Type": "application/json", "X-Session-Id": name}


def _is_token(line: bytes) -> bool:
    if not line.startswith(b"data: {"):
        return False
    choices = orjson.loads(line[6:])["choices"]
    return bool(choices and choices[0]["delta"].get("content"))


class FaultloadUser(User):
    """The client of this project, with its rows written as a worker writes them."""

    abstract = True
    book: Book
    streams: int

    @task
    def play(self) -> None:
        """Keep the streams running; one user plays them all."""
        self._client = self._make()
        self._client.pool.warm(self.streams, 10.0)
        self._lines: list[bytes] = []
        for _ in range(self.streams):
            self._release()
        with Path(os.devnull).open("ab", buffering=0) as sink:
            while not self.book.over:
                gevent.sleep(0.05)
                self._client.tick(time.monotonic())
                sink.write(b"".join(self._lines))
                self._lines.clear()
        raise StopUser

    def _make(self) -> Client:
        plan = WorkerPlan(
            worker=0,
            workers=1,
            trace=Path("none"),
            base_url=self.book.url,
            timeouts=Timeouts(),
            ignore_eos=False,
            out=Path(),
            parent_pid=0,
            ca=self.book.ca,
        )
        return Client(plan, time.monotonic, self._ended)

    def _release(self) -> None:
        name = self.book.next()
        if name is not None:
            now_s = time.monotonic()
            self._client.release(Due(0, now_s, "fast", "chat", "t", name, PROMPT, 3, 64))

    def _ended(self, row: dict[str, Any]) -> None:
        self._lines.append(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
        good = row["status"] == "ok"
        if not good:
            sys.stderr.write(f"{row['status']}: {row['error']}\n")
        times = [row["sent_s"]]
        if row["first_token_s"] is not None:
            times += accumulate(row["gaps_s"], initial=row["first_token_s"])
        self.environment.events.request.fire(
            request_type="POST",
            name=PATH,
            response_time=(row["end_s"] - row["due_s"]) * 1000,
            response_length=row["output_tokens"],
            exception=None if good else RuntimeError(row["status"]),
            context={},
        )
        self.book.enter(row["session"], times, good=good)
        self._release()


class FastUser(FastHttpUser):
    """Locust's fast client; `iter_lines` waits for 1024 bytes, so lines are read one by one."""

    abstract = True
    book: Book
    network_timeout = connection_timeout = 30.0

    @task
    def play(self) -> None:
        """Make one request."""
        name = self.book.next()
        if name is None:
            raise StopUser
        times, done = [time.monotonic()], False
        with self.client.post(
            PATH, data=_body(), headers=_headers(name), stream=True, catch_response=True
        ) as response:
            while line := response.stream.readline(b"\n"):
                now_s = time.monotonic()
                if _is_token(line):
                    times.append(now_s)
                done = done or line.startswith(b"data: [DONE]")
        self.book.enter(name, times, good=done)


class PlainUser(HttpUser):
    """Locust's client over requests."""

    abstract = True
    book: Book

    @task
    def play(self) -> None:
        """Make one request."""
        name = self.book.next()
        if name is None:
            raise StopUser
        times, done = [time.monotonic()], False
        with self.client.post(
            PATH,
            data=_body(),
            headers=_headers(name),
            stream=True,
            catch_response=True,
            verify=str(self.book.ca) if self.book.ca else True,
        ) as response:
            for line in response.iter_lines():
                now_s = time.monotonic()
                if _is_token(line):
                    times.append(now_s)
                done = done or line.startswith(b"data: [DONE]")
        self.book.enter(name, times, good=done)


CLIENTS: dict[str, type[User]] = {
    "faultload": FaultloadUser,
    "FastHttpUser": FastUser,
    "HttpUser": PlainUser,
}


def main() -> None:
    """Run one client to its end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("client", choices=CLIENTS)
    parser.add_argument("--url", required=True)
    parser.add_argument("--streams", type=int, required=True)
    parser.add_argument("--requests", type=int, required=True)
    parser.add_argument("--ca", type=Path)
    parser.add_argument("--core", type=int)
    asked = parser.parse_args()
    if asked.core is not None:
        os.sched_setaffinity(0, {asked.core})
    base = CLIENTS[asked.client]
    book = Book(asked.requests, asked.url, asked.ca)
    fields = {"book": book, "streams": asked.streams, "host": asked.url, "abstract": False}
    user = type("Playing", (base,), fields)
    environment = Environment(user_classes=[user], events=events, host=asked.url)
    runner = environment.create_local_runner()
    users = 1 if base is FaultloadUser else asked.streams
    runner.start(users, spawn_rate=users)
    while not book.over:
        gevent.sleep(0.05)
    sys.stdout.buffer.write(orjson.dumps(book.summary()))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
