"""What the cache chart makes, and what Redis itself does with it."""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from charts import only, render
from platform_tools import need

_WAIT_S = 20.0
_PASSWORD = "a-password-of_the-test"


@contextlib.contextmanager
def _running(folder: Path, **change: Any) -> Iterator[redis.Redis]:
    """Run the container's own script; its folders are below a temporary one."""
    objects = render("cache", change=change)
    (container,) = only(objects, "StatefulSet")["spec"]["template"]["spec"]["containers"]
    socket = folder / "redis.sock"
    for name in ("etc/redis", "auth", "run/redis", "data"):
        (folder / name).mkdir(parents=True)
    conf = only(objects, "ConfigMap")["data"]["redis.conf"].replace("/data", f"{folder}/data")
    conf = conf.replace("port 6379", f"port 0\nunixsocket {socket}")
    (folder / "etc/redis/redis.conf").write_text(conf, encoding="utf-8")
    (folder / "auth/password").write_text(_PASSWORD, encoding="utf-8")
    *shell, script = container["command"]
    script = re.sub(r"/(etc|auth|run)/", rf"{folder}/\1/", script)
    script = script.replace("redis-server", need("redis-server"))
    process = subprocess.Popen([*shell, script], stdout=subprocess.DEVNULL)
    try:
        end_s = time.monotonic() + _WAIT_S
        while not socket.exists():
            assert process.poll() is None
            assert time.monotonic() < end_s, "no socket"
            time.sleep(0.02)
        arguments = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        assert _PASSWORD.encode() not in arguments
        yield redis.Redis(unix_socket_path=str(socket))
    finally:
        process.terminate()
        assert process.wait(_WAIT_S) == 0


def test_redis_takes_the_file_and_asks_for_the_password(tmp_path: Path) -> None:
    """A misspelt line would keep it from starting; without its password nobody reads sessions."""
    with _running(tmp_path) as server:
        with pytest.raises(redis.AuthenticationError):
            server.ping()
        path = server.connection_pool.connection_kwargs["path"]
        with redis.Redis(unix_socket_path=path, password=_PASSWORD) as known:
            assert known.ping()
            found = known.config_get("maxmemory*")
            assert found["maxmemory"] == str(300 * 2**20)
            assert found["maxmemory-policy"] == "allkeys-lru"
            assert known.config_get("save")["save"] == ""
        server.close()


def test_without_a_password_it_is_open(tmp_path: Path) -> None:
    """Then the NetworkPolicy alone says who may, and the chart insists on one."""
    with _running(tmp_path, passwordSecret={"name": ""}) as server:
        assert server.ping()
        server.close()


def test_routers_alone_get_in() -> None:
    """Nobody else has anything to look for, and Redis asks nobody anything."""
    spec = only(render("cache"), "NetworkPolicy")["spec"]
    (rule,) = spec["ingress"]
    assert rule["from"] == [
        {"podSelector": {"matchLabels": {"app.kubernetes.io/component": "router"}}}
    ]
    assert spec["egress"] == []


def test_nothing_is_kept_unless_asked_for() -> None:
    """A disk would tie the cache to one zone, for what the next request finds again."""
    plain, kept = render("cache"), render("cache", "persistent")
    assert "volumeClaimTemplates" not in only(plain, "StatefulSet")["spec"]
    assert len(only(kept, "StatefulSet")["spec"]["volumeClaimTemplates"]) == 1
    assert "appendonly yes" in only(kept, "ConfigMap")["data"]["redis.conf"]


def test_new_configuration_is_a_new_pod() -> None:
    """Redis reads its file once, so a change must change the pod's template."""

    def noted(**change: Any) -> str:
        template = only(render("cache", change=change), "StatefulSet")["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/config"])

    assert noted() != noted(memory={"maxMiB": 200})
    assert noted() != noted(persistence={"enabled": True})
