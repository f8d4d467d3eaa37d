"""A sender: it sends while it may, ends when it is told to, and dies with whoever started it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from loads import wait_until, workload
from streaming_server import streaming_server

from faultload.faults import traffic
from faultload.load.sender import send
from faultload.spec.scenario import ClosedArrivals, UserStep

pytestmark = pytest.mark.local


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server that answers at once."""
    with streaming_server(0.01) as server:
        yield server.url


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Return where a sender is to live; none is left after the test."""
    made = tmp_path / "sender"
    yield made
    traffic.stop(made)


def orders(url: str, **changes: Any) -> dict[str, Any]:
    """Return orders for twenty seconds."""
    lasting = {"seed": 1, "lasts_s": 20.0, "expires_unix_s": time.time() + 20.0}
    return {"url": url, "scenario": workload().model_dump(mode="json"), **lasting, **changes}


def test_sender_sends_until_its_go_is_taken(url: str, folder: Path) -> None:
    """It says what it sends while it sends, and what became of it afterwards."""
    traffic.start(folder, orders(url))
    wait_until(lambda: traffic.sends(traffic.progress(folder)), "it to send what is due")
    assert traffic.is_sending(folder)
    asked = {"sent": 0, **traffic.progress(folder)}
    assert asked["due"] == pytest.approx(60, abs=15)  # of one second

    traffic.stop(folder)

    assert not traffic.is_sending(folder)
    result = traffic.clear(folder)
    assert result["why"] == "told to"
    assert result["sent"] >= result["ok"] > 0
    assert result["refused_requests"] == 0
    assert result["ttft_s_p95"] < 5
    assert not folder.exists()
    traffic.stop(folder)  # of one that is gone


def test_users_count_as_sent_when_each_has_asked(url: str, folder: Path) -> None:
    """A closed loop has no due times; its questions come again when all were asked."""
    closed = ClosedArrivals(kind="closed", steps=[UserStep(for_s=20, users=8)], think_s=0.01)
    scenario = workload().model_copy(update={"arrivals": closed})
    traffic.start(folder, orders(url, scenario=scenario.model_dump(mode="json")))

    wait_until(lambda: traffic.sends(traffic.progress(folder)), "its users to ask")

    assert (traffic.progress(folder)["due"], traffic.progress(folder)["sent"]) == (8, 8)


def test_sender_dies_with_whoever_started_it_and_can_be_ended_by_anybody(
    url: str, folder: Path
) -> None:
    """The harness is killed: the kernel ends the sender, its lock says so, and its load stops."""
    text = json.dumps(orders(url))
    code = (
        "import json, sys, time; from pathlib import Path; from faultload.faults import traffic\n"
        f"traffic.start(Path({str(folder)!r}), json.loads(sys.argv[1])); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, text]) as starter:
        wait_until(lambda: traffic.sends(traffic.progress(folder)), "it to send what is due")
        assert traffic.is_sending(folder)
        starter.kill()

    wait_until(lambda: not traffic.is_sending(folder), "its end")
    work = str(folder / "load")
    wait_until(
        lambda: work not in {one.info["cwd"] for one in psutil.process_iter(["cwd"])},
        "the end of its load worker",
    )
    traffic.stop(folder)
    assert traffic.clear(folder) == {}


def test_sender_ends_when_it_has_expired(url: str, folder: Path) -> None:
    """Nobody needs to tell it; nor does one begin that was told before it began."""
    folder.mkdir()
    (folder / "go").touch()
    late = orders(url, expires_unix_s=time.time() - 1)
    (folder / "orders.json").write_text(json.dumps(late), encoding="utf-8")

    assert send(folder).why == "expired"
    (folder / "go").unlink()
    assert send(folder).why == "told to"


def test_sender_notices_that_whoever_started_it_is_gone(
    url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no kernel ends it: whose child it is changes when its parent dies."""
    folder.mkdir()
    (folder / "go").touch()
    (folder / "orders.json").write_text(json.dumps(orders(url)), encoding="utf-8")
    parents = iter([os.getpid()])
    monkeypatch.setattr("faultload.load.sender.os.getppid", lambda: next(parents, 1))

    assert send(folder).why == "whoever started it is gone"


def test_sender_that_cannot_send_says_why(
    url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last words are the error of whoever waits for it; the key itself is in no file."""
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    traffic.start(folder, orders(url, api_key_env="NO_SUCH_KEY"))

    def ended() -> str:
        try:
            traffic.progress(folder)
        except Exception as error:  # noqa: BLE001  # what it says is what is tested
            return str(error)
        return ""

    wait_until(ended, "its end")
    assert "ended early: the environment variable NO_SUCH_KEY (the API key) is not set" in ended()
