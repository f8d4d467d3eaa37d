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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference_platform.local import addresses, discovery, programs
from inference_platform.local.cluster import Cluster, Layout
from inference_platform.local.config import PlatformConfig
from inference_platform.local.control import Control, server
from inference_platform.local.errors import BusyError, MissingError
from inference_platform.local.process import last_line, watch_children
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
        replicas = sum(tier.replicas for tier in config.tiers.values())
        chosen = addresses.choose(config.network, replicas, addresses.can_bind)
        listening = {
            name: sockets.enter_context(addresses.listen(chosen.services[name], name))
            for name in ("router", "control")
        }
        layout = Layout(state, binaries, listening["router"].fileno())
        cluster = Cluster(config, chosen, layout)
        asyncio.run(_Supervisor(cluster, options, listening["control"]).run())


@contextlib.contextmanager
def _state_directory(path: Path) -> Iterator[Path]:
    """Make the directory ours alone, and its files unreadable for others."""
    state = path.resolve()
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
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

    def __init__(self, cluster: Cluster, options: Options, control: socket.socket) -> None:
        self._cluster = cluster
        self._config = cluster.config
        self._options = options
        self._socket = control
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
        discovery.write(self._cluster.layout.state / "token", token, mode=0o600)
        self._cluster.prepare()
        control = server(Control(self._cluster, self._id).app(token))
        tasks = [asyncio.create_task(control.serve(sockets=[self._socket]))]
        if self._options.die_with_parent:
            tasks.append(asyncio.create_task(self._watch_parent()))
        try:
            tasks += await self._start()
            if not self._ending.is_set():
                self._announce()
                await self._until_end(tasks)
        finally:
            await self._stop(control.handle_exit, tasks)

    async def _start(self) -> list[asyncio.Task[None]]:
        """Start every unit and wait until all are ready, or a signal ends the wait."""
        tasks = [asyncio.create_task(unit.run()) for unit in self._cluster.units]
        deadline = self._started + self._config.ready_timeout_s
        try:
            while not (self._ending.is_set() or await self._is_up()):
                self._check_start(tasks, deadline)
                await asyncio.sleep(POLL_S)
        except BaseException:
            for task in tasks:
                task.cancel()
            raise
        return tasks

    async def _is_up(self) -> bool:
        """Say whether all units are ready and the router knows that of the replicas."""
        tiers = self._config.tiers.values()
        if not all(unit.ready for unit in self._cluster.units):
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
        self, end_control: Callable[[int, None], None], tasks: list[asyncio.Task[None]]
    ) -> None:
        self._cluster.changed = lambda _line: None
        self._say("stopping")
        end_control(signal.SIGTERM, None)
        for task in tasks[1:]:
            task.cancel()
        grace_s = self._config.stop_grace_s
        await asyncio.gather(*(unit.stop(grace_s) for unit in self._cluster.units))
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
