"""The embedded platform: real processes on loopback, reached through its control API."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from faultload.secrecy import copy_redacted, keep_secret
from faultload.spec.target import LocalTargetSpec
from faultload.targets import local_lease
from faultload.targets.base import (
    ADD_LOAD,
    AUTOSCALING,
    CORDON_NODE,
    DELETE_REPLICA,
    DISTURB_NETWORK,
    DRAIN_NODE,
    EVICT_REPLICA,
    GPU_MEMORY,
    GPU_SLOW,
    GPU_XID,
    HANG_ENGINE,
    HANG_REPLICA,
    KILL_ENGINE,
    KILL_REPLICA,
    KV_PRESSURE,
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
from faultload.targets.calls import Calls
from faultload.targets.control import GONE, ControlApi, reason_of
from faultload.targets.local_engines import LocalEngines
from faultload.targets.local_machines import MACHINE_CAPABILITIES, LocalMachines
from faultload.targets.local_network import LocalNetwork
from faultload.targets.local_orders import ORDERS
from faultload.targets.local_parts import LocalParts
from faultload.targets.local_releases import RELEASE_CAPABILITIES, LocalReleases
from faultload.targets.processes import end, last_line, spawn

_STOP_GRACE_S = 10.0
_TTL_S_MIN = 0.1
_TOO_MANY_REQUESTS = 429
_EVICTION_RETRY_S = 1.0
"""Disruptions become possible again when a replica gets ready; the platform names no time."""

LOCAL_CAPABILITIES = (
    MACHINE_CAPABILITIES
    | RELEASE_CAPABILITIES
    | {
        ADD_LOAD,
        DISTURB_NETWORK,
        KV_PRESSURE,
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
)
"""What every local target offers; one that scales itself offers `AUTOSCALING` too."""


class LocalTarget(LocalEngines, LocalMachines, LocalNetwork, LocalParts, LocalReleases):
    """A local platform, started by us or left up by `faultload platform up`."""

    def __init__(
        self,
        spec: LocalTargetSpec,
        state: Path,
        process: subprocess.Popen[bytes] | None = None,
        owned: Path | None = None,
        lease: str = "",
    ) -> None:
        """Attach to the platform whose state is in `state`.

        Args:
            spec: the target file.
            state: folder with `platform.json`.
            process: the platform's own process when we started it.
            owned: a folder to remove when it ends.
            lease: that a run holds, and acts are under; "": none is held.

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
        self._token, self._lease = token, lease
        keep_secret(token)
        self._control = ControlApi(about, token)
        self._control.lease = lease

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
        scaled = any(tier.scaled_by for tier in self.workloads("engine", None))
        return LOCAL_CAPABILITIES | ({AUTOSCALING} if scaled else set())

    @property
    def endpoints(self) -> Endpoints:
        """Where it listens."""
        return Endpoints(self._about["router_url"], self._about["prometheus_url"])

    def attachment(self) -> Mapping[str, str]:
        """Return the folder that holds its state, and the lease that is held."""
        return {"state": str(self._state)} | ({"lease": self._lease} if self._lease else {})

    def replicas(self, component: str) -> Sequence[Replica]:
        """Return the engine's replicas, by name, or the one process of another part."""
        if component != "engine":
            return self.part(component)
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
        copy_redacted(self._state / "logs", folder)

    def kill_replica(self, replica: str, uid: str) -> None:
        """SIGKILL the replica's process group."""
        self.signal(replica, uid, "KILL")

    def stop_replica(self, replica: str, uid: str) -> None:
        """SIGSTOP the replica's process group."""
        self.signal(replica, uid, "STOP")

    def continue_replica(self, replica: str, uid: str) -> None:
        """SIGCONT the replica's process group."""
        self.signal_if_there(replica, uid, "CONT")

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
                capacity_type=row["capacity_type"],
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
        """Return the engine's tiers, or what keeps another part."""
        if component != "engine":
            return self.part_workload(component) if tier is None else []
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
        """Scale a tier, or take another part down."""
        if not self.scale_part(workload, replicas):
            self._scale(workload, replicas, mark.token)

    def restore_scale(self, workload: str, uid: str, token: str, replicas: int) -> None:  # noqa: ARG002
        """Scale a tier back if it bears the token, or start another part again."""
        if self.scale_part(workload, replicas):
            return
        rows = self._control.call("GET", "/v1/state")["tiers"]
        if any((row["name"], row["scale_annotation"]) == (workload, token) for row in rows):
            self._scale(workload, replicas)

    def now_unix_s(self) -> float:
        """Return this machine's time: the platform runs here."""
        return time.time()

    def revert_expired(self, now_unix_s: float) -> Sequence[str]:  # noqa: ARG002
        """Nothing: the platform does that by itself, when a lease is over."""
        return []

    def left_behind(self) -> Sequence[str]:
        """Nothing that is to be seen: the platform keeps no marks."""
        return []

    def missing_rights(self, capabilities: Iterable[str]) -> Sequence[str]:  # noqa: ARG002
        """Nothing: whoever has its token may do everything."""
        return []

    def calls(self, capability: str) -> Calls:
        """Return the orders to its control API."""
        return ORDERS.get(capability, Calls())

    @contextmanager
    def lock(self, holder: str) -> Iterator[Lock]:  # noqa: ARG002
        """Hold a lease: what is changed under it is put back when nobody renews it any more.

        Who else is on this machine is kept away by `TargetLock`.
        """
        control = ControlApi(self._about, self._token, local_lease.RENEW_TIMEOUT_S)
        with local_lease.held(control) as lease:
            self._lease = self._control.lease = lease.name
            try:
                yield lease
            finally:
                self._lease = self._control.lease = ""

    @contextmanager
    def under(self, mark: Mark) -> Iterator[None]:
        """Take a lease for the acts inside, unless a run holds one that all of them are under."""
        if self._lease:
            yield
            return
        ttl_s = max(_TTL_S_MIN, mark.expires_unix_s - self.now_unix_s())
        local_lease.take(self._control, mark.token, ttl_s)
        self._control.lease = mark.token
        try:
            yield
        finally:
            self._control.lease = ""

    def close(self) -> None:
        """End the platform if we started it."""
        self._control.close()
        if self._process is not None:
            end(self._process, _STOP_GRACE_S)
            self._process = None
        if self._owned is not None:
            shutil.rmtree(self._owned, ignore_errors=True)
            self._owned = None

    def _scale(self, tier: str, replicas: int, annotation: str = "") -> None:
        body = {"replicas": replicas, "annotation": annotation}
        self._control.call("POST", f"/v1/tiers/{tier}/scale", body=body)
