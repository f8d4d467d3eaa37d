"""`up`: start everything, wait until it is ready, serve, and end without leaving a process."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import secrets
import signal
import socket
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference_platform.local import addresses, discovery, imds, programs
from inference_platform.local.cluster import Cluster
from inference_platform.local.control import Control, server
from inference_platform.local.errors import BusyError, MissingError
from inference_platform.local.layout import Layout
from inference_platform.local.process import last_line, watch_children
from inference_platform.local.settings import PlatformConfig
from inference_platform.local.unit import Unit

POLL_S = 0.02
PARENT_POLL_S = 0.25
ENDING_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True)
class Options:
    """What the command line says beside the configuration.

    Attributes:
        state: the state directory; made if it is not there.
        die_with_parent: end as after SIGTERM when the parent is gone.
        as_json: print platform.json's content when ready; steps go to stderr.
    """

    state: Path
    die_with_parent: bool = False
    as_json: bool = False


def up(config: PlatformConfig, options: Options) -> None:
    """Run a platform until a signal ends it.

    Raises:
        PlatformError: it could not start; everything that did is gone again.
    """
    binaries = {name: programs.find(name) for name in ("prometheus", "redis-server")}
    with _state_directory(options.state) as state, contextlib.ExitStack() as sockets:
        chosen = addresses.choose(config.network, addresses.can_bind)
        listening = {
            name: sockets.enter_context(addresses.listen(chosen.services[name], name))
            for name in ("router", "control", "imds")
        }
        layout = Layout(state, binaries, listening["router"].fileno())
        asyncio.run(_run(config, chosen, layout, options, listening))


async def _run(
    config: PlatformConfig,
    chosen: addresses.Addresses,
    layout: Layout,
    options: Options,
    listening: Mapping[str, socket.socket],
) -> None:
    cluster = Cluster(config, chosen, layout)
    await _Supervisor(cluster, options, listening).run()


@contextlib.contextmanager
def _state_directory(path: Path) -> Iterator[Path]:
    """Make the directory ours alone, and its files unreadable for others."""
    state = path.resolve()
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        state.chmod(0o700)
        lock = (state / "lock").open("w")
    except OSError as error:
        raise MissingError(f"--state-dir {path}: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BusyError(f"--state-dir {path}: a platform runs there already") from error
        (state / "platform.json").unlink(missing_ok=True)
        try:
            yield state
        finally:
            (state / "platform.json").unlink(missing_ok=True)


class _Supervisor:
    """One run of a platform; its parts live in one event loop, in the main thread."""

    def __init__(
        self, cluster: Cluster, options: Options, listening: Mapping[str, socket.socket]
    ) -> None:
        self._cluster = cluster
        self._config = cluster.config
        self._options = options
        self._listening = listening
        self._parent = os.getppid()
        self._ending = asyncio.Event()
        self._id = str(uuid.uuid4())
        self._started = time.monotonic()
        cluster.changed = self._say

    async def run(self) -> None:
        """Start, wait until ready, serve until the end."""
        loop = asyncio.get_running_loop()
        watch_children(loop)
        for signum in ENDING_SIGNALS:
            loop.add_signal_handler(signum, self._ending.set)
        token = secrets.token_urlsafe(32)
        layout = self._cluster.layout
        discovery.write(layout.state / "token", token, mode=0o600)
        discovery.write(layout.chaos_token, secrets.token_urlsafe(32), mode=0o600)
        self._cluster.prepare()
        servers = {
            "control": server(Control(self._cluster, self._id).app(token)),
            "imds": server(imds.app(self._cluster.machines)),
        }
        serving = [
            asyncio.create_task(one.serve(sockets=[self._listening[name]]))
            for name, one in servers.items()
        ]
        tasks = [*serving, asyncio.create_task(self._cluster.run())]
        if self._options.die_with_parent:
            tasks.append(asyncio.create_task(self._watch_parent()))
        try:
            await self._until_ready(tasks)
            if not self._ending.is_set():
                self._announce()
                await self._until_end(tasks)
        finally:
            for one in servers.values():
                one.handle_exit(signal.SIGTERM, None)
            await self._stop(serving, tasks)

    async def _until_ready(self, tasks: list[asyncio.Task[None]]) -> None:
        """Wait until every unit is ready, or a signal ends the wait."""
        deadline = self._started + self._config.ready_timeout_s
        while not (self._ending.is_set() or await self._is_up()):
            self._check_start(tasks, deadline)
            await asyncio.sleep(POLL_S)

    async def _is_up(self) -> bool:
        """Say whether all units are ready and the router knows that of the replicas."""
        tiers = self._config.tiers.values()
        wanted = sum(tier.wanted for tier in self._cluster.tiers.values())
        if len(self._cluster.pods) < wanted or not all(u.ready for u in self._cluster.units):
            return False
        # A tier that was asked to have no replica would keep the router's health at 503.
        return any(tier.replicas == 0 for tier in tiers) or await self._cluster.serves()

    def _check_start(self, tasks: list[asyncio.Task[None]], deadline: float) -> None:
        """Raise when a unit has failed, or time is up."""
        for task in tasks:
            if task.done():
                task.result()  # it never returns: this raises what ended it
        for unit in self._cluster.units:
            if unit.exits:
                raise MissingError(f"{unit.object} ended while starting; {_last_words(unit)}")
        if time.monotonic() > deadline:
            late = next((u for u in self._cluster.units if not u.ready), None)
            late = late or self._cluster.components["router"]  # its health is what is missing
            raise MissingError(
                f"not ready after {self._config.ready_timeout_s:g} s: {late.object} is "
                f"{late.phase}; {_last_words(late)}"
            )

    def _announce(self) -> None:
        layout, services = self._cluster.layout, self._cluster.addresses.services
        document: dict[str, Any] = {
            "platform_id": self._id,
            "pid": os.getpid(),
            "control_url": addresses.url(services["control"]),
            "token_file": str(layout.state / "token"),
            "router_url": addresses.url(services["router"]),
            "prometheus_url": addresses.url(services["prometheus"]),
            "redis_url": addresses.url(services["redis"], "redis"),
            "imds_url": addresses.url(services["imds"]),
            "started_unix": time.time() - (time.monotonic() - self._started),
            "config": self._config.model_dump(mode="json"),
        }
        discovery.write(layout.state / "platform.json", document)
        self._say(f"platform ready at {document['router_url']}")
        if self._options.as_json:
            sys.stdout.write(json.dumps(document) + "\n")
            sys.stdout.flush()

    async def _until_end(self, tasks: list[asyncio.Task[None]]) -> None:
        """Wait for a signal, or for a task of ours that should not have ended."""
        ending = asyncio.create_task(self._ending.wait())
        done, _ = await asyncio.wait([*tasks, ending], return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        if not self._ending.is_set():
            for task in done - {ending}:
                task.result()

    async def _stop(
        self, serving: list[asyncio.Task[None]], tasks: list[asyncio.Task[None]]
    ) -> None:
        self._cluster.changed = lambda _line: None
        self._say("stopping")
        for task in tasks:
            if task not in serving:
                task.cancel()
        await self._cluster.stop(self._config.stop_grace_s)
        await asyncio.wait(tasks, timeout=2.0)
        self._say("stopped")

    async def _watch_parent(self) -> None:
        while os.getppid() == self._parent:  # noqa: ASYNC110  # the system tells nobody
            await asyncio.sleep(PARENT_POLL_S)
        self._ending.set()
        await asyncio.Event().wait()

    def _say(self, line: str) -> None:
        """Print one step; a reader that has gone away must not end the platform."""
        out = sys.stderr if self._options.as_json else sys.stdout
        with contextlib.suppress(OSError):
            out.write(f"{time.monotonic() - self._started:7.2f} s  {line}\n")
            out.flush()


def _last_words(unit: Unit) -> str:
    return f"the last line of {unit.recipe.log}: {last_line(unit.recipe.log)}"
