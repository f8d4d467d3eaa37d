"""The local platform's engines: signals to their cores, and a look at each of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import requests

from faultload.errors import MissingError
from faultload.targets.control import GONE, ControlApi
from faultload.targets.engine_acts import Pulse

_MORE_THAN_ANY_GIB = 1024
_LOOK_S = 0.5
_ANSWER_S = 2.0
"""A token takes 10 to 35 ms here, and a prompt before it well under a second."""
_TOKENS = "vllm:generation_tokens_total{"
_GAPS = ("vllm:inter_token_latency_seconds_sum{", "vllm:inter_token_latency_seconds_count{")


class LocalEngines:
    """The engine's part of a local target."""

    _control: ControlApi
    _state: Path

    def pulse(self, replica: str, uid: str) -> Pulse | None:
        """Ask the engine directly: neither router nor link is between."""
        url = self._url(replica, uid)
        return _pulse(url) if url else None

    def stop_engine(self, replica: str, uid: str) -> None:
        """SIGSTOP its core."""
        self._control.call("POST", *_signal(replica, uid, "STOP"))

    def continue_engine(self, replica: str, uid: str) -> None:
        """SIGCONT its core."""
        self._undo(*_signal(replica, uid, "CONT"))

    def kill_engine(self, replica: str, uid: str) -> None:
        """SIGKILL its core."""
        self._control.call("POST", *_signal(replica, uid, "KILL"))

    def count_said(self, replica: str, text: str) -> int:
        """Read its log file; 0 when there is none yet."""
        try:
            with (self._state / "logs" / f"{replica}.log").open(errors="replace") as log:
                return sum(text in line for line in log)
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise MissingError(f"cannot read the log of {replica}: {error}") from None

    def hold_gpu_memory(self, replica: str, uid: str) -> None:
        """Wish for more than any GPU has: the engine keeps what it holds."""
        self._control.call("POST", *_memory(replica, uid, _MORE_THAN_ANY_GIB))

    def release_gpu_memory(self, replica: str, uid: str, node: str) -> None:
        """Tell the engine, if it lives, and reset the machine's GPUs for those that come.

        A dead engine takes no orders, and the next one does not listen before it has started,
        which it cannot: what its GPU remembers goes with a reset only.
        """
        self._undo(*_memory(replica, uid, 0))
        self._undo(f"/v1/nodes/{node}/reset-gpus")

    def raise_xid(self, replica: str, uid: str, xid: int) -> None:
        """Have the engine play the driver's part."""
        self._control.call("POST", *_engine(replica, uid, "xid", {"xid": xid}))

    def reset_gpu(self, replica: str, uid: str, node: str) -> None:
        """Reset all of the machine's; a driver resets none that somebody uses, so he ends first."""
        self._undo(f"/v1/replicas/{replica}/signal", {"signal": "KILL", "uid": uid})
        self._undo(f"/v1/nodes/{node}/reset-gpus")

    def slow_engine(self, replica: str, uid: str, factor: float) -> None:
        """Have the engine stretch its steps."""
        self._control.call("POST", *_engine(replica, uid, "slow", {"factor": factor}))

    def quicken_engine(self, replica: str, uid: str) -> None:
        """Have it stretch them no more."""
        self._undo(*_engine(replica, uid, "slow", {"factor": 1}))

    def token_time_s(self, replica: str, uid: str) -> float | None:
        """Ask for tokens directly, and read the engine's own histogram before and after."""
        url = self._url(replica, uid)
        return _token_time_s(url) if url else None

    def kv_cache_used(self, replica: str, uid: str) -> float | None:
        """Read the engine's own gauge."""
        url = self._url(replica, uid)
        if url is None:
            return None
        with requests.Session() as http:
            http.trust_env = False  # a proxy must not see loopback calls
            return _read(http, url, "vllm:kv_cache_usage_perc{")

    def engine_url(self, replica: str, uid: str) -> str | None:
        """Return where the engine itself listens."""
        return self._url(replica, uid)

    def served_model(self, replica: str, uid: str) -> str | None:
        """Ask the engine itself for its list."""
        url = self._url(replica, uid)
        return _model(url) if url else None

    def _url(self, replica: str, uid: str) -> str | None:
        """Return where the engine itself listens; None: that uid is gone."""
        for row in self._control.call("GET", "/v1/state")["replicas"]:
            if (row["name"], row["uid"]) == (replica, uid):
                return str(row["url"])
        return None

    def _undo(self, path: str, body: dict[str, Any] | None = None) -> None:
        """Give an order, for which it does not matter that whom it is about is gone."""
        answer = self._control.ask("POST", path, body)
        if answer.status_code not in GONE:
            self._control.result(answer)


def _memory(replica: str, uid: str, gib: float) -> tuple[str, dict[str, Any]]:
    """Return path and body of an order about memory that others hold on an engine's GPU."""
    return _engine(replica, uid, "memory", {"gib": gib})


def _engine(
    replica: str, uid: str, command: str, body: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Return path and body of a command to an engine's port for faults."""
    return f"/v1/replicas/{replica}/engine/{command}", {"uid": uid, "body": body}


def _signal(replica: str, uid: str, name: str) -> tuple[str, dict[str, Any]]:
    """Return path and body of a signal to an engine's core."""
    body = {"signal": name, "process": "engine-core", "uid": uid}
    return f"/v1/replicas/{replica}/signal", body


def _pulse(url: str) -> Pulse:
    with requests.Session() as http:
        http.trust_env = False  # a proxy must not see loopback calls
        before = _tokens(http, url)
        asked = {"prompt": "alive?", "max_tokens": 1}
        answered = (
            _status(http, "POST", f"{url}/v1/completions", _ANSWER_S, asked) == requests.codes.ok
        )
        healthy = _status(http, "GET", f"{url}/health", _LOOK_S) == requests.codes.ok
        after = _tokens(http, url)
    tokens = None if before is None or after is None else after - before
    return Pulse(healthy, answered, tokens)


def _status(
    http: requests.Session, method: str, url: str, timeout_s: float, body: Any = None
) -> int | None:
    """Return the status of an answer; None: there was none in time."""
    try:
        return http.request(method, url, json=body, timeout=timeout_s).status_code
    except requests.RequestException:
        return None


def _model(url: str) -> str | None:
    """Return the first model that an engine lists: the base, before any adapters."""
    with requests.Session() as http:
        http.trust_env = False  # a proxy must not see loopback calls
        try:
            return str(http.get(f"{url}/v1/models", timeout=_ANSWER_S).json()["data"][0]["id"])
        except (requests.RequestException, LookupError, TypeError):
            return None


def _token_time_s(url: str) -> float | None:
    with requests.Session() as http:
        http.trust_env = False  # a proxy must not see loopback calls
        sum_before, count_before = (_read(http, url, part) for part in _GAPS)
        asked = {"prompt": "how fast?", "max_tokens": 12, "ignore_eos": True}
        _status(http, "POST", f"{url}/v1/completions", _ANSWER_S, asked)
        sum_after, count_after = (_read(http, url, part) for part in _GAPS)
    if sum_before is None or count_before is None or sum_after is None or count_after is None:
        return None
    gaps = count_after - count_before
    return (sum_after - sum_before) / gaps if gaps > 0 else None


def _tokens(http: requests.Session, url: str) -> int | None:
    """Return how many tokens an engine says that it generated since it began."""
    tokens = _read(http, url, _TOKENS)
    return None if tokens is None else round(tokens)


def _read(http: requests.Session, url: str, prefix: str) -> float | None:
    """Return the sum of an engine's series of that name; None: it does not say."""
    try:
        page = http.get(f"{url}/metrics", timeout=_LOOK_S).text
    except requests.RequestException:
        return None
    lines = [line for line in page.splitlines() if line.startswith(prefix)]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines) if lines else None
