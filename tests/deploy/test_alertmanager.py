"""The real Alertmanager with our configuration: who is told of what, in one message or in none.

Routes, grouping and inhibitions are those of the file. Changed are the waits, which are seconds or
minutes there, the hours of tickets, and where messages go: to a server on loopback.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import pytest
import requests
import yaml

ROOT = Path(__file__).parents[2]
FILE = ROOT / "platform/observability/alertmanager.yaml"
WAIT_S = 20.0
_TEMPLATES = "prometheus/alertmanager/default.tmpl"
_T = TypeVar("_T")

TIER_DOWN = {"alertname": "TierDown", "severity": "page", "namespace": "inference"}
NO_REPLICA = {"alertname": "RouterHasNoReplica", "severity": "page"}
BURN = {"slo": "chat-availability", "namespace": "inference"}


def _absent(why: str) -> BaseException:
    """Return what skips a test, or fails it where all tools have to be there."""
    if os.environ.get("FAULTLOAD_REQUIRE_PLATFORM_TOOLS") == "1":
        return pytest.fail.Exception(why, pytrace=False)
    return pytest.skip.Exception(why)


def _command() -> list[str]:
    """Return what starts the server; Debian's package has it beside amtool."""
    path = os.pathsep.join([str(ROOT / ".tools/bin"), os.environ.get("PATH", "")])
    amtool = shutil.which("amtool", path=path)
    beside = str(Path(amtool).resolve().parent) if amtool else ""
    every = os.pathsep.join([path, beside])
    found = shutil.which("alertmanager", path=every)
    found = found or shutil.which("prometheus-alertmanager", path=every)
    if found is None:
        raise _absent("no Alertmanager; run: scripts/fetch_tools.py --only alertmanager")
    share = Path(found).resolve().parents[1] / "share"
    if not (share / _TEMPLATES).is_file() or (Path("/usr/share") / _TEMPLATES).is_file():
        return [found]
    # Debian's reads its templates from /usr, where an unpacked package has none: it gets its own.
    private = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    private += ['mount --rbind "$0" /usr/share && exec "$@"', str(share)]
    if subprocess.run([*private, "true"], check=False, timeout=WAIT_S).returncode:
        raise _absent(f"{found} needs /usr/share/{_TEMPLATES}, and unshare may not mount one")
    return [*private, found]


def _until(what: str, ask: Callable[[], _T | None]) -> _T:
    """Return the first answer that is something; fail with what was last seen."""
    end_s = time.monotonic() + WAIT_S
    while not (found := ask()):
        assert time.monotonic() < end_s, f"{what}: not within {WAIT_S:g} s"
        time.sleep(0.05)
    return found


class _Heard:
    """A server that PagerDuty, Slack and the heartbeat are, for the time of a test."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, str, dict[str, Any]]] = []
        heard = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                key = self.headers.get("Authorization", "")
                heard.messages.append((self.path.strip("/"), key, body))
                self.send_response(202)
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def of(self, who: str, text: str) -> list[dict[str, Any]]:
        """Return the messages to a receiver that have a text in them."""
        return [body for to, _, body in self.messages if to == who and text in json.dumps(body)]


def _config(folder: Path, url: str) -> Path:
    """Write the configuration as it is, with other waits and addresses, and its secrets."""
    config = yaml.safe_load(FILE.read_text().replace("/etc/alertmanager/secrets", str(folder)))
    config["global"]["pagerduty_url"] = f"{url}/page"
    routes = config["route"]["routes"]
    for route in (config["route"], *routes):
        route |= {"group_wait": "500ms", "group_interval": "1s", "repeat_interval": "1h"}
        route.pop("active_time_intervals", None)
    (heartbeat,) = (one for one in config["receivers"] if one["name"] == "heartbeat")
    heartbeat["webhook_configs"][0]["url"] = f"{url}/heartbeat"
    (folder / "pagerduty-routing-key").write_text("key-of-pagerduty")
    (folder / "slack-webhook-url").write_text(f"{url}/ticket")
    (folder / "heartbeat-token").write_text("token-of-heartbeat")
    path = folder / "alertmanager.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


class _Alertmanager:
    """One that runs, asked through its API."""

    def __init__(self, url: str, heard: _Heard) -> None:
        self.url, self.heard = url, heard

    def ask(self, path: str, body: object = None) -> Any:
        """Return what a path answers, True for no JSON; a body is posted. Raises if refused."""
        how = "GET" if body is None else "POST"
        answer = requests.request(how, f"{self.url}/{path}", json=body, timeout=5)
        answer.raise_for_status()
        return answer.json() if answer.text.startswith(("[", "{")) else True

    def raise_alerts(self, *labels: dict[str, str]) -> None:
        now = datetime.now(UTC).isoformat()
        notes = {"description": "d", "runbook_url": "docs/runbooks/slo.md"}
        self.ask(
            "api/v2/alerts",
            [
                # A page has its summary, and not its name.
                {"labels": one, "annotations": {**notes, "summary": str(one)}, "startsAt": now}
                for one in labels
            ],
        )

    def inhibited(self) -> list[dict[str, str]]:
        """Return the labels of the alerts that another one keeps quiet."""
        alerts = self.ask("api/v2/alerts?inhibited=true")
        return [one["labels"] for one in alerts if one["status"]["inhibitedBy"]]

    def told(self, who: str, text: str) -> list[dict[str, Any]]:
        """Wait for messages to a receiver that have a text in them, and return them."""
        return _until(f"message to {who} with {text}", lambda: self.heard.of(who, text))


@contextlib.contextmanager
def _running(folder: Path) -> Iterator[_Alertmanager]:
    heard = _Heard()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    log = folder / "log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [
                *_command(),
                f"--config.file={_config(folder, heard.url)}",
                f"--storage.path={folder / 'data'}",
                f"--web.listen-address={address}",
                "--cluster.listen-address=",
            ],
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    one = _Alertmanager(f"http://{address}", heard)

    def ready() -> bool:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(requests.RequestException):
            return bool(one.ask("-/ready"))
        return False

    try:
        _until("Alertmanager is ready", ready)
        yield one
    finally:
        process.terminate()
        process.wait(WAIT_S)
        heard.server.shutdown()
        heard.server.server_close()


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[_Alertmanager]:
    """One Alertmanager with our configuration, and nobody told of anything."""
    with _running(tmp_path) as one:
        yield one


def test_each_receiver_is_told_with_its_secret(alertmanager: _Alertmanager) -> None:
    """A page, a ticket and the heartbeat arrive where they should, and nowhere else."""
    alertmanager.raise_alerts(
        {**TIER_DOWN, "tier": "fast"},
        {"alertname": "KvCacheFull", "severity": "ticket", "tier": "fast"},
        {"alertname": "Watchdog", "severity": "none"},
        {"alertname": "Forgotten"},
    )

    (page,) = alertmanager.told("page", "TierDown")
    assert page["routing_key"] == "key-of-pagerduty"
    assert page["payload"]["severity"] == "critical"
    assert page["payload"]["custom_details"]["runbook"] == "docs/runbooks/slo.md"
    alertmanager.told("ticket", "KvCacheFull")
    alertmanager.told("ticket", "Forgotten")
    alertmanager.told("heartbeat", "Watchdog")
    keys = {key for who, key, _ in alertmanager.heard.messages if who == "heartbeat"}
    assert keys == {"Bearer token-of-heartbeat"}
    assert not alertmanager.heard.of("page", "KvCacheFull")
    assert not alertmanager.heard.of("ticket", "TierDown")


def test_a_tier_that_is_down_is_one_page(alertmanager: _Alertmanager) -> None:
    """What the router says of that tier is the same news; of another tier it is news."""
    alertmanager.raise_alerts(
        {**TIER_DOWN, "deployment": "chat-fast", "tier": "fast"},
        {**NO_REPLICA, "tier": "fast"},
        {**NO_REPLICA, "tier": "reasoning"},
    )

    alertmanager.told("page", "TierDown")
    (told,) = alertmanager.told("page", "RouterHasNoReplica")
    assert "reasoning" in json.dumps(told)
    assert alertmanager.inhibited() == [{**NO_REPLICA, "tier": "fast"}]
    # It stays so: what comes later is told, and this still is not.
    alertmanager.raise_alerts({"alertname": "QueueGrowing", "severity": "page", "tier": "fast"})
    alertmanager.told("page", "QueueGrowing")
    assert len(alertmanager.heard.of("page", "RouterHasNoReplica")) == 1


def test_a_page_of_an_slo_keeps_its_ticket_quiet(alertmanager: _Alertmanager) -> None:
    """One budget that burns wakes somebody and files nothing besides; another SLO's files."""
    ticket = {"alertname": "ChatAvailabilityBurn3d", "severity": "ticket", **BURN}
    alertmanager.raise_alerts(
        {"alertname": "ChatAvailabilityBurn1h", "severity": "page", **BURN},
        ticket,
        {**ticket, "alertname": "FastTtftBurn3d", "slo": "fast-ttft"},
    )

    alertmanager.told("page", "ChatAvailabilityBurn1h")
    alertmanager.told("ticket", "FastTtftBurn3d")
    assert alertmanager.inhibited() == [ticket]
    assert not alertmanager.heard.of("ticket", "ChatAvailabilityBurn3d")


def test_ten_replicas_are_one_message(alertmanager: _Alertmanager) -> None:
    """One trouble of a tier is grouped; the same of another tier is another message."""
    down = {"alertname": "EngineDown", "severity": "ticket", "namespace": "inference"}
    alertmanager.raise_alerts(
        *({**down, "tier": "fast", "replica": f"fast-{n}"} for n in range(10)),
        {**down, "tier": "reasoning", "replica": "reasoning-0"},
    )

    def both() -> list[dict[str, Any]] | None:
        found = alertmanager.heard.of("ticket", "EngineDown")
        return found if len(found) > 1 else None

    _until("two tickets", both)
    groups = alertmanager.ask("api/v2/alerts/groups")
    assert sorted(len(group["alerts"]) for group in groups) == [1, 10]
    assert len(alertmanager.heard.of("ticket", "EngineDown")) == 2


def test_a_game_day_silences_tickets_alone(alertmanager: _Alertmanager) -> None:
    """The silence of the documents: an outage that nobody planned still wakes somebody."""
    now = time.time()
    match = {"severity": "ticket", "namespace": "inference"}
    alertmanager.ask(
        "api/v2/silences",
        {
            "matchers": [
                {"name": name, "value": value, "isRegex": False} for name, value in match.items()
            ],
            "startsAt": datetime.fromtimestamp(now, UTC).isoformat(),
            "endsAt": datetime.fromtimestamp(now + 600, UTC).isoformat(),
            "createdBy": "test",
            "comment": "game day",
        },
    )
    _until(
        "the silence is active",
        lambda: [
            one for one in alertmanager.ask("api/v2/silences") if one["status"]["state"] == "active"
        ],
    )
    alertmanager.raise_alerts(
        {"alertname": "EngineDown", **match, "tier": "fast"},
        {**TIER_DOWN, "tier": "fast"},
        {"alertname": "GpuXid", "severity": "ticket"},
    )

    alertmanager.told("page", "TierDown")
    alertmanager.told("ticket", "GpuXid")
    assert not alertmanager.heard.of("ticket", "EngineDown")
