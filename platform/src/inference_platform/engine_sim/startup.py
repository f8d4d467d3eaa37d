"""Start-up of the engine core in phases, with vLLM's log lines and its ways to fail.

A start is a generator: it yields how many seconds to wait, so that a process of its own can sleep
and an event loop can go on. Phases, in order: `weights` are read, `compile` is torch.compile and
the profiling run after which the KV cache's size is known, `graphs` are captured, `init` is the
rest of the warm-up. A phase that fails does so at its end.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

from inference_platform.engine_sim.blocks import BlockPool
from inference_platform.engine_sim.core import OUT_OF_MEMORY, Core
from inference_platform.engine_sim.cost import Cost, StepCost
from inference_platform.engine_sim.device import GIB, StartError
from inference_platform.engine_sim.fixed_timing import FixedTiming
from inference_platform.engine_sim.flags import PHASES, Flags
from inference_platform.engine_sim.gpu import GRAPH_BYTES, Gpu, make_gpu
from inference_platform.engine_sim.gpu_state import read_state
from inference_platform.engine_sim.logs import log
from inference_platform.engine_sim.scheduler import ContinuousBatching, Scheduler
from inference_platform.engine_sim.shapes import VERSION
from inference_platform.engine_sim.weights import verify

# How `--sim-startup-s` is divided: an example of a small model on an L40S-class GPU, a stand-in.
SHARES = {"weights": 10 / 67, "compile": 40 / 67, "graphs": 12 / 67, "init": 5 / 67}
# What a phase that is told to fail says when it is not told what: vLLM's or torch's own words.
FAILURES = {
    "weights": f"{OUT_OF_MEMORY} Tried to allocate 224.00 MiB.",
    "compile": "torch._inductor.exc.InductorError: CalledProcessError: ptxas died with <Signals."
    "SIGKILL: 9>.",
    "graphs": "torch.AcceleratorError: CUDA error: operation failed due to a previous error during "
    "capture",
    "init": "RuntimeError: CUDA out of memory occurred when warming up sampler with {seqs} dummy "
    "requests. Please try lowering `max_num_seqs` or `gpu_memory_utilization` when initializing "
    "the engine.",
}

Start = Generator[float, None, tuple[Core, int]]


def start_core(flags: Flags) -> Start:
    """Load, and return the core and its number of KV blocks; StartError is the root cause."""
    _say(f"Initializing a V1 LLM engine (v{VERSION}) with config: model='{flags.model}'")
    gpu = make_gpu(flags)
    state = read_state(flags.sim_gpu_state)
    if state.broken is not None:
        raise StartError(state.broken)
    gpu.check_free(state.foreign_gib)
    times = plan(flags, process_age_s())

    yield from _weights(flags, gpu, *times["weights"])
    stands_for_s, takes_s = times["compile"]
    yield takes_s
    _fail_if_asked(flags, "compile")
    _say(f"torch.compile took {stands_for_s:.2f} s in total")
    _say(f"Available KV cache memory: {gpu.kv_bytes / GIB:.2f} GiB")
    pool = _make_pool(flags, gpu)
    tokens = pool.capacity * flags.block_size
    share = tokens / flags.max_model_len
    _say(
        f"GPU KV cache size: {tokens:,} tokens, Maximum concurrency for {flags.max_model_len:,} "
        f"tokens per request: {share:.2f}x"
    )
    stands_for_s, takes_s = times["graphs"]
    yield takes_s
    _fail_if_asked(flags, "graphs")
    size = GRAPH_BYTES / GIB
    _say(f"Graph capturing finished in {stands_for_s:.0f} secs, took {size:.2f} GiB")
    yield times["init"][1]
    _fail_if_asked(flags, "init")
    whole_s = sum(times[phase][0] for phase in ("compile", "graphs", "init"))
    _say(
        f"init engine (profile, create kv cache, warmup model) took {whole_s:.2f} s "
        f"(compilation: {times['compile'][0]:.2f} s)"
    )
    return Core(make_scheduler(flags, pool)), pool.capacity + 1


def plan(flags: Flags, age_s: float) -> dict[str, tuple[float, float]]:
    """Return how long each phase stands for, and how long it takes here, in seconds.

    Without phases `sim_startup_s` is divided, and what the process has run already is taken off.
    """
    scale = flags.sim_time_scale
    if flags.sim_startup_phases is not None:
        return {
            name: (s, s * scale) for name, s in zip(PHASES, flags.sim_startup_phases, strict=True)
        }
    total_s = flags.sim_startup_s
    left_s = max(0.0, total_s * scale - age_s)
    return {name: (total_s * SHARES[name], left_s * SHARES[name]) for name in PHASES}


def run_start(start: Start) -> tuple[Core, int]:
    """Do a start in a process that has nothing else to do."""
    while True:
        try:
            time.sleep(next(start))
        except StopIteration as done:
            loaded: tuple[Core, int] = done.value
            return loaded


def make_scheduler(flags: Flags, pool: BlockPool) -> Scheduler:
    """Return the scheduler that the flags ask for."""
    slow = flags.sim_slow_factor
    if flags.sim_fixed_ttft_s is not None and flags.sim_fixed_tpot_s is not None:
        return FixedTiming(flags.sim_fixed_ttft_s * slow, flags.sim_fixed_tpot_s * slow)
    cost: Cost = make_gpu(flags).device or StepCost(
        flags.sim_step_base_s, flags.sim_step_per_seq_s, flags.sim_prefill_per_token_s, slow
    )
    return ContinuousBatching(cost, pool, flags.max_num_seqs, flags.max_num_batched_tokens)


def make_core(flags: Flags) -> tuple[Core, int]:
    """Return a core without the time and the words of a start, and its number of KV blocks."""
    pool = _make_pool(flags, make_gpu(flags))
    return Core(make_scheduler(flags, pool)), pool.capacity + 1


def log_failure(error: StartError) -> None:
    """Say why the core does not start, as vLLM's core does."""
    log("ERROR", "EngineCore failed to start.", "EngineCore")
    log("ERROR", str(error), "EngineCore")


def process_age_s() -> float:
    """Return how long this process has run; 0 where the system does not say."""
    try:
        stat = Path("/proc/self/stat").read_text(encoding="ascii")
    except OSError:
        return 0.0
    ticks = int(stat.rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def _weights(
    flags: Flags, gpu: Gpu, stands_for_s: float, takes_s: float
) -> Generator[float, None, None]:
    began_s = time.monotonic()
    if flags.sim_weights is not None:
        yield from verify(Path(flags.sim_weights))
    yield max(0.0, takes_s - (time.monotonic() - began_s))
    _fail_if_asked(flags, "weights")
    gpu.check_weights()
    _say(f"Loading weights took {stands_for_s:.2f} seconds")
    size = gpu.weights_bytes / GIB
    _say(f"Model loading took {size:.2f} GiB memory and {stands_for_s:.6f} seconds")


def _make_pool(flags: Flags, gpu: Gpu) -> BlockPool:
    if gpu.device is not None:
        blocks = gpu.device.kv_blocks(
            flags.gpu_memory_utilization, flags.block_size, flags.max_model_len
        )
        flags = replace(flags, sim_kv_blocks=blocks)
    pool = BlockPool(flags.sim_kv_blocks, flags.block_size, caching=flags.enable_prefix_caching)
    needed = pool.needed(flags.max_model_len)
    if needed > pool.capacity:
        raise StartError(
            "ValueError: To serve at least one request with the model's max seq len "
            f"({flags.max_model_len}), {needed} KV blocks of {flags.block_size} tokens are needed, "
            f"available are {pool.capacity}: raise --sim-kv-blocks or lower --max-model-len"
        )
    return pool


def _fail_if_asked(flags: Flags, phase: str) -> None:
    if flags.sim_fail_phase is not None and flags.sim_fail_phase[0] == phase:
        text = flags.sim_fail_phase[1] or FAILURES[phase].format(seqs=flags.max_num_seqs)
        raise StartError(text)


def _say(text: str) -> None:
    log("INFO", text, "EngineCore")
