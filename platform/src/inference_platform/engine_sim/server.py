"""The life of the API server's process: bind, start the core, serve, signals, exit code.

As vLLM does: the port is bound before the engine loads and listens only when it is ready, so
clients are refused meanwhile. SIGTERM with `--shutdown-timeout 0` stops listening and the engine
at once, but open connections stay open and silent until their clients leave. With a timeout it
first drains for as long.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import uvloop

from inference_platform.engine_sim import core_process
from inference_platform.engine_sim import flags as command_line
from inference_platform.engine_sim.api import Api
from inference_platform.engine_sim.chaos import ChaosApi, read_token
from inference_platform.engine_sim.core import Core, Link
from inference_platform.engine_sim.core_local import LocalCore
from inference_platform.engine_sim.core_process import CoreProcess
from inference_platform.engine_sim.dcgm import Telemetry
from inference_platform.engine_sim.device import StartError
from inference_platform.engine_sim.engine import LOST, Engine
from inference_platform.engine_sim.flags import Flags
from inference_platform.engine_sim.gpu import make_gpu
from inference_platform.engine_sim.gpu_faults import GpuFaults
from inference_platform.engine_sim.gpu_state import read_state
from inference_platform.engine_sim.listen import Application, Server, bind, make_server
from inference_platform.engine_sim.logs import log
from inference_platform.engine_sim.metrics import EngineMetrics
from inference_platform.engine_sim.shapes import VERSION
from inference_platform.engine_sim.startup import log_failure, make_core, run_start, start_core

OPEN_FILES = 65535  # what vLLM asks for


@dataclass(frozen=True, slots=True)
class Ports:
    """Where we will listen; None for ports that were not asked for."""

    api: socket.socket
    chaos: socket.socket | None
    token: bytes
    dcgm: socket.socket | None


def main(argv: list[str] | None = None) -> int:
    """Run the server until it ends; return its exit code."""
    flags = command_line.parse(sys.argv[1:] if argv is None else argv)
    if flags.sim_die_with_parent:
        core_process.die_with_parent()
    _allow_open_files()
    with contextlib.ExitStack() as stack:
        try:
            make_gpu(flags)  # names that are not known are told before anything starts
            read_state(flags.sim_gpu_state)
            ports = _bind_all(flags, stack)
        except (OSError, ValueError) as error:
            log("ERROR", str(error))
            return 1
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # until `_lose_first_sigterm`
        log("INFO", f"version {VERSION} model {flags.model}")
        core = _fork_core(flags, ports) if flags.sim_core_process else None
        try:
            return uvloop.run(_serve(flags, ports, core))
        except KeyboardInterrupt:  # Ctrl-C while loading; later we handle it ourselves
            return 130
        finally:
            if core is not None:
                core.kill()


def _allow_open_files() -> None:
    """Raise the soft limit of open files as vLLM's `set_ulimit` does, as far as the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def build(flags: Flags) -> tuple[Api, Engine]:
    """Put an application together whose core shares its event loop and takes no time to start."""
    core, blocks = make_core(flags)
    return _assemble(flags, LocalCore(core), blocks)


def _assemble(flags: Flags, link: Link, blocks: int) -> tuple[Api, Engine]:
    flags = replace(flags, sim_kv_blocks=blocks)
    metrics = EngineMetrics(flags)
    engine = Engine(link, metrics, can_slow=flags.sim_fixed_ttft_s is None)
    return Api(flags, engine, metrics), engine


def _bind_all(flags: Flags, stack: contextlib.ExitStack) -> Ports:
    """Bind every port that is asked for, and read the chaos port's token."""
    api, chaos, token, dcgm = stack.enter_context(bind(flags.host, flags.port)), None, b"", None
    if flags.sim_chaos_port is not None and flags.sim_chaos_token_file is not None:
        token = read_token(Path(flags.sim_chaos_token_file))
        host = flags.host if flags.host.startswith("127.") else "127.0.0.1"  # never beyond loopback
        chaos = stack.enter_context(bind(host, flags.sim_chaos_port))
    if flags.sim_dcgm_port is not None:
        dcgm = stack.enter_context(bind(flags.host, flags.sim_dcgm_port))
    return Ports(api, chaos, token, dcgm)


def _fork_core(flags: Flags, ports: Ports) -> CoreProcess:
    """Start the core; there is no event loop yet."""

    def load() -> tuple[Core, int]:
        try:
            return run_start(start_core(flags))
        except StartError as error:
            log_failure(error)
            raise SystemExit(1) from error

    gc.freeze()  # shared with the core as long as neither collects it
    not_ours: Sequence[socket.socket | None] = (ports.api, ports.chaos, ports.dcgm)
    return core_process.start(
        load, flags.shutdown_timeout, [sock for sock in not_ours if sock is not None]
    )


async def _serve(flags: Flags, ports: Ports, core: CoreProcess | None) -> int:
    """Load, serve, and return when the last connection has closed after a signal."""
    loop = asyncio.get_running_loop()
    loaded = await _load(flags, core)
    if loaded is None:
        return 1
    api, engine = _assemble(flags, *loaded)
    server = make_server(api)

    def on_signal() -> None:
        if api.draining:
            return  # as in vLLM a second signal changes nothing
        api.draining = True
        mode = "drain" if flags.shutdown_timeout else "abort"
        log("INFO", "[shutdown] API server: shutdown triggered")
        timeout = f"timeout={flags.shutdown_timeout:g}s"
        log("INFO", f"[shutdown] API server: stopping engine client mode={mode} {timeout}")
        if flags.shutdown_timeout:
            engine.drain(finish)
            loop.call_later(flags.shutdown_timeout, finish)
        else:
            finish()

    def finish() -> None:
        engine.stop()
        server.stop_listening()

    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, on_signal)
    _end_after_death(api, engine, server, flags.sim_watchdog_s)
    gc.collect()
    gc.freeze()  # what start-up made stays; later collections need not look at it again
    address = ports.api.getsockname()[:2]
    log("INFO", f"Starting vLLM server on http://{address[0]}:{address[1]}")
    log("INFO", f"Started server process [{os.getpid()}], engine core [{engine.core_pid}]")
    async with _side_ports(flags, ports, engine):
        await server.serve(sockets=[ports.api])
    engine.stop()
    return 0


@contextlib.asynccontextmanager
async def _side_ports(flags: Flags, ports: Ports, engine: Engine) -> AsyncIterator[None]:
    """Take faults and show the GPUs until the block ends, as far as that is asked for."""
    gpu, state = make_gpu(flags), read_state(flags.sim_gpu_state)
    faults = GpuFaults(engine, gpu, state, flags.sim_gpu_state)
    async with contextlib.AsyncExitStack() as stack:
        app = ChaosApi(engine, faults, ports.token)
        await stack.enter_async_context(_side_port("Chaos port", ports.chaos, app))
        if ports.dcgm is not None:
            telemetry = Telemetry(flags, gpu, engine, state)
            await stack.enter_async_context(_side_port("DCGM port", ports.dcgm, telemetry))
            looking = asyncio.get_running_loop().create_task(telemetry.run())
            stack.callback(looking.cancel)
        yield


@contextlib.asynccontextmanager
async def _side_port(
    what: str, sock: socket.socket | None, app: Application
) -> AsyncIterator[None]:
    """Serve another application until the block ends."""
    if sock is None:
        yield
        return
    server = make_server(app, Server)
    host, port = sock.getsockname()[:2]
    task = asyncio.get_running_loop().create_task(server.serve(sockets=[sock]))
    while not (server.started or task.done()):  # noqa: ASYNC110  # uvicorn has no event for it
        await asyncio.sleep(0.001)
    log("INFO", f"{what} on http://{host}:{port}")
    try:
        yield
    finally:
        server.stop_listening()
        await task


def _end_after_death(api: Api, engine: Engine, server: Server, watchdog_s: float) -> None:
    """Stop serving when the engine has died: at a watchdog's next look, or at the first 500.

    As vLLM: the exit code is 0, and VLLM_KEEP_ALIVE_ON_ENGINE_DEATH=1 keeps the server up.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()

    def on_death(reason: str) -> None:
        if reason is LOST:
            text = "engine core exited unexpectedly; starting cleanup"
            log("WARNING", f"[shutdown] MPClient: {text}")
        log("ERROR", "AsyncLLM output_handler failed.")
        text = "EngineCore encountered an issue. See stack trace (above) for the root cause."
        log("ERROR", f"vllm.v1.engine.exceptions.EngineDeadError: {text}")
        if not keep_alive:
            loop.call_later(watchdog_s - (loop.time() - began) % watchdog_s, end)

    def end() -> None:
        if not keep_alive and not server.should_exit:
            log("INFO", "Shutting down")
            server.stop_listening()

    keep_alive = os.environ.get("VLLM_KEEP_ALIVE_ON_ENGINE_DEATH", "0") not in ("", "0")
    engine.on_death = on_death
    api.on_dead_answer = end


async def _load(flags: Flags, core: CoreProcess | None) -> tuple[Link, int] | None:
    """Wait for the core; return the way to it and its KV blocks, None when it cannot start."""
    _lose_first_sigterm(core)
    blocks: int | None = None
    link: Link
    if core is not None:
        link, blocks = core, await core.open()
    else:
        start = start_core(flags)
        try:
            loaded = None
            while loaded is None:
                try:
                    wait_s = next(start)
                except StopIteration as done:
                    loaded = done.value
                else:
                    await asyncio.sleep(wait_s)
            link, blocks = LocalCore(loaded[0]), loaded[1]
        except StartError as error:
            log_failure(error)
    if blocks is None:
        cause = "See root cause above. Failed core proc(s): {'EngineCore': 1}"
        log("ERROR", f"RuntimeError: Engine core initialization failed. {cause}")
        return None
    return link, blocks


def _lose_first_sigterm(core: CoreProcess | None) -> None:
    """While the engine loads a SIGTERM is lost, as in vLLM; a second one ends it as a Ctrl-C."""
    loop = asyncio.get_running_loop()

    def on_first() -> None:
        loop.add_signal_handler(signal.SIGTERM, on_second)

    def on_second() -> None:
        log("ERROR", "KeyboardInterrupt: terminated")
        if core is not None:
            core.kill()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)

    loop.add_signal_handler(signal.SIGTERM, on_first)
