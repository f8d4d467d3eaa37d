"""The life of the process: bind, start up, serve, signals, exit code.

As vLLM does: the port is bound before the engine loads and listens only when it is ready, so
clients are refused meanwhile. SIGTERM with `--shutdown-timeout 0` stops listening and the engine
at once, but open connections stay open and silent until their clients leave. With a timeout it
first drains for as long.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import uvicorn
import uvloop

from inference_platform.engine_sim import flags as command_line
from inference_platform.engine_sim.api import Api
from inference_platform.engine_sim.blocks import BlockPool
from inference_platform.engine_sim.chaos import ChaosApi, read_token
from inference_platform.engine_sim.device import Device, StartError, make_device
from inference_platform.engine_sim.engine import Engine
from inference_platform.engine_sim.fixed_timing import FixedTiming
from inference_platform.engine_sim.flags import Flags
from inference_platform.engine_sim.metrics import EngineMetrics
from inference_platform.engine_sim.scheduler import (
    ContinuousBatching,
    Cost,
    Scheduler,
    StepCost,
)
from inference_platform.engine_sim.shapes import VERSION

KEEP_ALIVE_S = 5  # vLLM's default for idle connections
_PR_SET_PDEATHSIG = 1  # from <sys/prctl.h>


def main(argv: list[str] | None = None) -> int:
    """Run the server until it ends; return its exit code."""
    flags = command_line.parse(sys.argv[1:] if argv is None else argv)
    if flags.sim_die_with_parent:
        _die_with_parent()
    try:
        flags = _with_device(flags)
    except (StartError, ValueError) as error:
        _log("ERROR", str(error), "EngineCore")
        if isinstance(error, StartError):
            cause = "See root cause above. Failed core proc(s): {'EngineCore': 1}"
            _log("ERROR", f"RuntimeError: Engine core initialization failed. {cause}")
        return 1
    pool = make_pool(flags)
    if pool.needed(flags.max_model_len) > pool.capacity:
        _log(
            "ERROR",
            "RuntimeError: Engine core initialization failed. To serve at least one request with "
            f"the model's max seq len ({flags.max_model_len}), {pool.needed(flags.max_model_len)} "
            f"KV blocks of {flags.block_size} tokens are needed, available are {pool.capacity}: "
            "raise --sim-kv-blocks or lower --max-model-len",
        )
        return 1
    try:
        sock = bind(flags.host, flags.port)
    except OSError as error:
        _log("ERROR", f"cannot bind {flags.host}:{flags.port}: {error.strerror or error}")
        return 1
    with sock, contextlib.ExitStack() as stack:
        try:
            chaos = _prepare_chaos(flags, stack)
        except (OSError, ValueError) as error:
            _log("ERROR", str(error))
            return 1
        try:
            uvloop.run(_serve(flags, pool, sock, chaos))
        except KeyboardInterrupt:  # Ctrl-C while loading; later we handle it ourselves
            return 130
    return 0


def _device(flags: Flags) -> Device | None:
    """Return the GPU and model that are asked for; None without."""
    if flags.sim_gpu is None or flags.sim_model_profile is None:
        return None
    gpus = flags.tensor_parallel_size
    return make_device(
        flags.sim_gpu, flags.sim_model_profile, flags.quantization, gpus, flags.sim_slow_factor
    )


def _with_device(flags: Flags) -> Flags:
    """Replace the number of KV blocks by what fits the GPU, where one is asked for."""
    device = _device(flags)
    if device is None:
        return flags
    share = flags.gpu_memory_utilization
    blocks = device.kv_blocks(share, flags.block_size, flags.max_model_len)
    return replace(flags, sim_kv_blocks=blocks)


def _prepare_chaos(flags: Flags, stack: contextlib.ExitStack) -> Chaos | None:
    """Bind the chaos port and read its token; None when it is not asked for."""
    if flags.sim_chaos_port is None or flags.sim_chaos_token_file is None:
        return None
    token = read_token(Path(flags.sim_chaos_token_file))
    host = flags.host if flags.host.startswith("127.") else "127.0.0.1"  # never beyond loopback
    sock = stack.enter_context(bind(host, flags.sim_chaos_port))
    return Chaos(sock, token)


def build(flags: Flags, pool: BlockPool | None = None) -> tuple[Api, Engine]:
    """Put an application together; it needs a running event loop only when requests come."""
    metrics = EngineMetrics(flags)
    pool = pool or make_pool(flags)
    engine = Engine(_make_scheduler(flags, pool), metrics)
    return Api(flags, engine, metrics), engine


def make_pool(flags: Flags) -> BlockPool:
    """Return the KV blocks that the flags ask for."""
    return BlockPool(flags.sim_kv_blocks, flags.block_size, caching=flags.enable_prefix_caching)


def _make_scheduler(flags: Flags, pool: BlockPool) -> Scheduler:
    slow = flags.sim_slow_factor
    if flags.sim_fixed_ttft_s is not None and flags.sim_fixed_tpot_s is not None:
        return FixedTiming(flags.sim_fixed_ttft_s * slow, flags.sim_fixed_tpot_s * slow)
    cost: Cost = _device(flags) or StepCost(
        flags.sim_step_base_s, flags.sim_step_per_seq_s, flags.sim_prefill_per_token_s, slow
    )
    return ContinuousBatching(cost, pool, flags.max_num_seqs, flags.max_num_batched_tokens)


def bind(host: str, port: int) -> socket.socket:
    """Bind without listening."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle off only where the protocol is named.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def _log(level: str, text: str, process: str = "APIServer") -> None:
    """Print one line as vLLM's logger does."""
    now = time.strftime("%m-%d %H:%M:%S")
    with contextlib.suppress(OSError):  # whoever read the log may be gone; we still must shut down
        sys.stderr.write(f"({process} pid={os.getpid()}) {level} {now} {text}\n")


def _die_with_parent() -> None:
    """Ask Linux for a SIGKILL when the parent ends; elsewhere do nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Chaos:
    """Where the chaos port is and what its callers must know."""

    sock: socket.socket
    token: bytes


class Server(uvicorn.Server):
    """uvicorn without its signal handlers: ours decide what a signal means."""

    def __init__(self, config: uvicorn.Config) -> None:
        """Start with no listener, so that stopping early is harmless."""
        super().__init__(config)
        self.servers = []

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield

    def stop_listening(self) -> None:
        """Refuse new connections now and end when the open ones have closed."""
        for server in self.servers:
            server.close()
        self.should_exit = True


class ApiServer(Server):
    """The server whose start is the application's."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say that we listen, once we do."""
        await super().startup(sockets)
        _log("INFO", "Application startup complete.")


def make_server(api: Api | ChaosApi, kind: type[Server] = ApiServer) -> Server:
    """Return the HTTP server for an application, ready for `serve(sockets=[…])`."""
    config = uvicorn.Config(
        api,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    return kind(config)


async def _serve(flags: Flags, pool: BlockPool, sock: socket.socket, chaos: Chaos | None) -> None:
    """Load, serve, and return when the last connection has closed after a signal."""
    loop = asyncio.get_running_loop()
    address = sock.getsockname()[:2]
    _log("INFO", f"version {VERSION} model {flags.model}")
    await _load(flags, pool)
    api, engine = build(flags, pool)
    server = make_server(api)

    def on_signal() -> None:
        if api.draining:
            return  # as in vLLM a second signal changes nothing
        api.draining = True
        mode = "drain" if flags.shutdown_timeout else "abort"
        _log("INFO", "[shutdown] API server: shutdown triggered")
        timeout = f"timeout={flags.shutdown_timeout:g}s"
        _log("INFO", f"[shutdown] API server: stopping engine client mode={mode} {timeout}")
        if flags.shutdown_timeout:
            engine.when_idle(finish)
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
    _log("INFO", f"Starting vLLM server on http://{address[0]}:{address[1]}")
    _log("INFO", f"Started server process [{os.getpid()}]")
    async with _chaos_port(chaos, engine):
        await server.serve(sockets=[sock])


@contextlib.asynccontextmanager
async def _chaos_port(chaos: Chaos | None, engine: Engine) -> AsyncIterator[None]:
    """Take faults until the block ends."""
    if chaos is None:
        yield
        return
    server = make_server(ChaosApi(engine, chaos.token), Server)
    _log("INFO", "Chaos port on http://{}:{}".format(*chaos.sock.getsockname()[:2]))
    task = asyncio.get_running_loop().create_task(server.serve(sockets=[chaos.sock]))
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
        _log("ERROR", "EngineCore encountered a fatal error.", "EngineCore")
        _log("ERROR", reason, "EngineCore")
        _log("ERROR", "AsyncLLM output_handler failed.")
        text = "EngineCore encountered an issue. See stack trace (above) for the root cause."
        _log("ERROR", f"vllm.v1.engine.exceptions.EngineDeadError: {text}")
        if not keep_alive:
            loop.call_later(watchdog_s - (loop.time() - began) % watchdog_s, end)

    def end() -> None:
        if not keep_alive and not server.should_exit:
            _log("INFO", "Shutting down")
            server.stop_listening()

    keep_alive = os.environ.get("VLLM_KEEP_ALIVE_ON_ENGINE_DEATH", "0") not in ("", "0")
    engine.on_death = on_death
    api.on_dead_answer = end


async def _load(flags: Flags, pool: BlockPool) -> None:
    """Take as long as asked for since the process began; a first SIGTERM is lost, as in vLLM."""
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        loop.remove_signal_handler(signal.SIGTERM)

    loop.add_signal_handler(signal.SIGTERM, on_signal)
    began_s = _process_age_s()
    await asyncio.sleep(max(0.0, flags.sim_startup_s - began_s))
    tokens = pool.capacity * pool.block_size
    share = tokens / flags.max_model_len
    _log(
        "INFO",
        f"GPU KV cache size: {tokens:,} tokens, Maximum concurrency for {flags.max_model_len:,} "
        f"tokens per request: {share:.2f}x",
    )


def _process_age_s() -> float:
    """Return how long this process has run; 0 where the system does not say."""
    try:
        stat = Path("/proc/self/stat").read_text(encoding="ascii")
    except OSError:
        return 0.0
    ticks = int(stat.rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
