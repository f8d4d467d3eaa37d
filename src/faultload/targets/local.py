"""The embedded platform: real processes on loopback, reached through its control API."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from faultload.errors import (
    ExitCode,
    FaultError,
    MissingError,
    SpecError,
    TargetGoneError,
    UsageError,
)
from faultload.spec.target import LocalTargetSpec
from faultload.targets.base import (
    CORDON_NODE,
    DELETE_REPLICA,
    DRAIN_NODE,
    EVICT_REPLICA,
    GPU_MEMORY,
    GPU_SLOW,
    GPU_XID,
    HANG_ENGINE,
    HANG_REPLICA,
    KILL_ENGINE,
    KILL_REPLICA,
    PARTITION,
    SCALE,
    Endpoints,
    Identity,
    Lock,
    Mark,
    Node,
    Occupant,
    PlatformEvent,
    Refusal,
    Replica,
    Workload,
)
from faultload.targets.control import GONE, ControlApi, reason_of
from faultload.targets.local_engines import LocalEngines
from faultload.targets.local_machines import LocalMachines
from faultload.targets.local_network import LocalNetwork
from faultload.targets.local_releases import RELEASE_CAPABILITIES, LocalReleases
from faultload.targets.processes import end, last_line, spawn

_STOP_GRACE_S = 10.0
_TOO_MANY_REQUESTS = 429
_LINK_ADDRESSES = {"name", "listen", "to"}
_EVICTION_RETRY_S = 1.0
"""Disruptions become possible again when a replica gets ready; the platform names no time."""


class _NeverLost:
    """A hold that ends with this process."""

    problem = ""


class LocalTarget(LocalEngines, LocalMachines, LocalNetwork, LocalReleases):
    """A local platform, started by us or left up by `faultload platform up`."""

    def __init__(
        self,
        spec: LocalTargetSpec,
        state: Path,
        process: subprocess.Popen[bytes] | None = None,
        owned: Path | None = None,
    ) -> None:
        """Attach to the platform whose state is in `state`.

        Args:
            spec: the target file.
            state: folder with `platform.json`.
            process: the platform's own process when we started it.
            owned: a folder to remove when it ends.

        Raises:
            MissingError: there is no such platform.
        """
        self._spec, self._state = spec, state
        self._process, self._owned = process, owned
        try:
            about = json.loads((state / "platform.json").read_text(encoding="utf-8"))
            token = Path(about["token_file"]).read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            raise TargetGoneError(
                f"no local platform is up in {state}; start one with: faultload platform up"
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            problem = f"{type(error).__name__}: {error}"
            raise MissingError(f"{state}: not a local platform's state: {problem}") from None
        self._about: dict[str, Any] = about
        self._control = ControlApi(about, token)

    @classmethod
    def start(
        cls,
        spec: LocalTargetSpec,
        spec_path: Path,
        overrides: Sequence[str] = (),
        logs: Path | None = None,
    ) -> LocalTarget:
        """Start a platform that ends with this process.

        Args:
            spec: the target file.
            spec_path: where it was read; the platform's configuration is relative to it.
            overrides: `key=value` changes to that configuration, for a platform made worse on
                purpose.
            logs: where the platform's own log goes; None: beside its state.

        Raises:
            SpecError: the platform refused its configuration.
            MissingError: it did not become ready in time, a binary is missing or a port is in use.
        """
        config = (spec_path.parent / spec.local.config).resolve()
        if not config.exists():
            raise SpecError(spec_path, "local.config", f"no such file: {config}")
        state = Path(tempfile.mkdtemp(prefix="faultload-platform-"))
        log = (logs or state) / "platform.log"
        sets = [word for override in overrides for word in ("--set", override)]
        process = spawn(
            [
                *(sys.executable, "-m", "inference_platform.local", "up"),
                *("--config", str(config), "--state-dir", str(state), "--die-with-parent"),
                *sets,
            ],
            log,
        )
        try:
            cls._wait_ready(process, state, log, spec)
            return cls(spec, state, process, state)
        except BaseException:
            end(process, _STOP_GRACE_S)
            shutil.rmtree(state, ignore_errors=True)
            raise

    @staticmethod
    def _wait_ready(
        process: subprocess.Popen[bytes], state: Path, log: Path, spec: LocalTargetSpec
    ) -> None:
        deadline = time.monotonic() + spec.local.start_timeout_s
        while not (state / "platform.json").exists():
            code = process.poll()
            if code is not None:
                problem = last_line(log) or f"it ended with {code} and said nothing"
                raise UsageError(problem) if code == ExitCode.USAGE else MissingError(problem)
            if time.monotonic() > deadline:
                raise MissingError(
                    f"the local platform was not ready within {spec.local.start_timeout_s:g} s;"
                    f" its last words: {last_line(log) or 'none'}"
                )
            time.sleep(0.05)

    @property
    def identity(self) -> Identity:
        """Which platform this is: every start makes a new one."""
        digest = hashlib.sha256(f"local:{self._about['platform_id']}".encode()).hexdigest()
        return Identity(self._spec.name, "local", digest[:16])

    @property
    def capabilities(self) -> frozenset[str]:
        """What faults may ask of it."""
        return frozenset(
            {
                KILL_REPLICA,
                HANG_REPLICA,
                HANG_ENGINE,
                KILL_ENGINE,
                GPU_MEMORY,
                GPU_XID,
                GPU_SLOW,
                DELETE_REPLICA,
                EVICT_REPLICA,
                CORDON_NODE,
                DRAIN_NODE,
                SCALE,
                PARTITION,
            }
            | RELEASE_CAPABILITIES
        )

    @property
    def endpoints(self) -> Endpoints:
        """Where it listens."""
        return Endpoints(self._about["router_url"], self._about["prometheus_url"])

    def attachment(self) -> Mapping[str, str]:
        """Return the folder that holds its state."""
        return {"state": str(self._state)}

    def replicas(self, component: str) -> Sequence[Replica]:
        """Return the engine's replicas, by name; no other component has any here."""
        if component != "engine":
            return []
        rows = self._control.call("GET", "/v1/state")["replicas"]
        return [
            Replica(
                component=component,
                name=row["name"],
                uid=row["uid"],
                tier=row["tier"],
                node=row["node"],
                zone=row["zone"],
                ready=bool(row["ready"]),
                restarts=int(row["restarts"]),
                inflight=row.get("inflight"),
            )
            for row in sorted(rows, key=lambda row: str(row["name"]))
        ]

    def describe(self) -> dict[str, Any]:
        """Return nodes, replicas and configuration."""
        state = self._control.call("GET", "/v1/state")
        return {
            "platform_id": self._about["platform_id"],
            "nodes": state["nodes"],
            "replicas": state["replicas"],
            "config": self._about.get("config", {}),
        }

    def events(self) -> Sequence[PlatformEvent]:
        """Return what the platform reported since it began."""
        return [
            PlatformEvent(event["time_unix"], event["reason"], event["object"], event["message"])
            for event in self._control.call("GET", "/v1/events", params={"since": "0"})
        ]

    def save_logs(self, folder: Path) -> None:
        """Copy what every process of the platform wrote."""
        shutil.copytree(self._state / "logs", folder, dirs_exist_ok=True)

    def kill_replica(self, replica: str, uid: str) -> None:
        """SIGKILL the replica's process group."""
        self._signal(replica, uid, "KILL")

    def stop_replica(self, replica: str, uid: str) -> None:
        """SIGSTOP the replica's process group."""
        self._signal(replica, uid, "STOP")

    def continue_replica(self, replica: str, uid: str) -> None:
        """SIGCONT the replica's process group."""
        if any(r.name == replica and r.uid == uid for r in self.replicas("engine")):
            self._signal(replica, uid, "CONT")

    def delete_replica(self, replica: str, uid: str, grace_s: float | None) -> None:
        """Have the platform stop it in order."""
        self._control.call(
            "POST", f"/v1/replicas/{replica}/delete", body={"uid": uid, "grace_s": grace_s}
        )

    def evict_replica(self, replica: str, uid: str) -> Refusal | None:
        """Ask the platform's disruption budget."""
        answer = self._control.ask("POST", f"/v1/replicas/{replica}/evict", body={"uid": uid})
        if answer.status_code == _TOO_MANY_REQUESTS:
            return Refusal(reason_of(answer), _EVICTION_RETRY_S)
        if answer.status_code in GONE:
            return None
        self._control.result(answer)
        return None

    def nodes(self) -> Sequence[Node]:
        """Return the platform's machines, by name."""
        rows = self._control.call("GET", "/v1/state")["nodes"]
        return [
            Node(
                name=row["name"],
                uid=row["instance_id"],
                zone=row["zone"],
                ready=row["state"] == "ready",
                schedulable=not row["cordoned"],
            )
            for row in sorted(rows, key=lambda row: str(row["name"]))
        ]

    def occupants(self, node: str) -> Sequence[Occupant]:
        """Return the replicas on a machine: nothing else runs there."""
        on = [replica for replica in self.replicas("engine") if replica.node == node]
        return [Occupant(replica.name, replica.uid, replica.component) for replica in on]

    def cordon_node(self, node: str, uid: str, mark: Mark) -> None:  # noqa: ARG002
        """Cordon it; the platform keeps no marks."""
        if all((found.name, found.uid) != (node, uid) for found in self.nodes()):
            raise FaultError(f"node {node} is gone, or is another by now")
        self._control.call("POST", f"/v1/nodes/{node}/cordon")

    def uncordon_node(self, node: str, uid: str, token: str) -> None:  # noqa: ARG002
        """Uncordon it, unless it was replaced."""
        if any((found.name, found.uid) == (node, uid) for found in self.nodes()):
            self._control.call("POST", f"/v1/nodes/{node}/uncordon")

    def workloads(self, component: str, tier: str | None) -> Sequence[Workload]:
        """Return the engine's tiers."""
        if component != "engine":
            return []
        rows = self._control.call("GET", "/v1/state")["tiers"]
        return [
            Workload(
                name=row["name"],
                uid=row["name"],
                component=component,
                tier=row["name"],
                wanted=row["wanted"],
                scaled_by=row["scaled_by"],
            )
            for row in sorted(rows, key=lambda row: str(row["name"]))
            if tier in (None, row["name"])
        ]

    def set_scale(self, workload: str, uid: str, replicas: int, mark: Mark) -> None:  # noqa: ARG002
        """Scale a tier."""
        self._control.call("POST", f"/v1/tiers/{workload}/scale", body={"replicas": replicas})

    def restore_scale(self, workload: str, uid: str, token: str, replicas: int) -> None:  # noqa: ARG002
        """Scale a tier back."""
        self._control.call("POST", f"/v1/tiers/{workload}/scale", body={"replicas": replicas})

    def partition(self, victims: Sequence[tuple[str, str]], mark: Mark) -> None:  # noqa: ARG002
        """Cut the link between the router and each replica; the platform keeps no marks."""
        there = {(replica.name, replica.uid) for replica in self.replicas("engine")}
        for name, uid in victims:
            if (name, uid) not in there:
                raise FaultError(f"{name} is gone, or another by now")
            self._set_link(name, partitioned=True)

    def join(self, victims: Sequence[tuple[str, str]], token: str) -> None:  # noqa: ARG002
        """Mend the links that are still there."""
        for name, _ in victims:
            self._set_link(name, partitioned=False)

    def partitioned(self, token: str) -> Collection[str]:  # noqa: ARG002
        """Return the uids of replicas behind a cut link, whoever cut it."""
        state = self._control.call("GET", "/v1/state")
        cut = {link["name"] for link in state["links"] if link["partitioned"]}
        return {row["uid"] for row in state["replicas"] if row["name"] in cut}

    def now_unix_s(self) -> float:
        """Return this machine's time: the platform runs here."""
        return time.time()

    def revert_expired(self, now_unix_s: float) -> Sequence[str]:  # noqa: ARG002
        """Nothing: the platform keeps no marks, and its faults end with it."""
        return []

    def left_behind(self) -> Sequence[str]:
        """Nothing that is to be seen: the platform keeps no marks."""
        return []

    def missing_rights(self, capabilities: Iterable[str]) -> Sequence[str]:  # noqa: ARG002
        """Nothing: whoever has its token may do everything."""
        return []

    def lock(self, holder: str) -> AbstractContextManager[Lock]:  # noqa: ARG002
        """Nothing to do: who else is on this machine is kept away by `TargetLock`."""
        return nullcontext(_NeverLost())

    def signal_component(self, component: str, name: str, *, hold: bool = False) -> None:
        """Send a signal to the router, Prometheus or Redis; `hold`: do not restart it."""
        path = f"/v1/components/{component}/signal"
        self._control.call("POST", path, body={"signal": name, "hold": hold})

    def close(self) -> None:
        """End the platform if we started it."""
        self._control.close()
        if self._process is not None:
            end(self._process, _STOP_GRACE_S)
            self._process = None
        if self._owned is not None:
            shutil.rmtree(self._owned, ignore_errors=True)
            self._owned = None

    def _set_link(self, name: str, *, partitioned: bool) -> None:
        """Cut or mend a link that is there; what else is wrong with it stays as it is."""
        links = self._control.call("GET", "/v1/state")["links"]
        for link in links:
            if link["name"] == name and link["partitioned"] is not partitioned:
                conditions = {key: link[key] for key in link.keys() - _LINK_ADDRESSES}
                body = {**conditions, "partitioned": partitioned}
                self._control.call("POST", f"/v1/links/{name}", body=body)

    def _signal(self, replica: str, uid: str, name: str) -> None:
        path = f"/v1/replicas/{replica}/signal"
        self._control.call("POST", path, body={"signal": name, "uid": uid})
