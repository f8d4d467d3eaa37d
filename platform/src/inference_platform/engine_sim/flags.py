"""The command line: vLLM's flags that we obey or accept, and our own `--sim-*` flags."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from inference_platform.engine_sim.device import profiles

# A step that took no time would let no time pass for those who wait.
LEAST_STEP_S = 1e-4
_Add = Callable[[str, Callable[[str], object], str], None]
PHASES = ("weights", "compile", "graphs", "init")
DEFAULT_MODEL = "Qwen/Qwen3-0.6B"  # what `vllm serve` starts when it is given no model


@dataclass(frozen=True, slots=True)
class Flags:
    """Everything the command line can set. Times are in seconds.

    `sim_fixed_ttft_s` is None unless known timing was asked for; then both fixed times are set.
    `sim_startup_phases` are in the order of `PHASES`. `sim_fail_phase` is a phase and a message,
    "" for the usual one. `sim_pod` is a namespace and a name.
    """

    model: str = DEFAULT_MODEL
    served_model_name: str = DEFAULT_MODEL
    host: str = "127.0.0.1"
    port: int = 8000
    max_model_len: int = 8192
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 2048
    gpu_memory_utilization: float = 0.92
    block_size: int = 16
    seed: int = 0
    api_key: tuple[str, ...] = ()
    shutdown_timeout: float = 0.0
    max_num_queued_reqs: int | None = None
    max_num_queued_tokens: int | None = None
    enable_prefix_caching: bool = True
    enable_server_load_tracking: bool = False
    enable_request_id_headers: bool = False
    enable_prompt_tokens_details: bool = False
    enable_per_request_metrics: bool = False
    enable_force_include_usage: bool = False
    sse_keep_alive_interval: float = 0.0
    dtype: str = "auto"
    quantization: str | None = None
    tensor_parallel_size: int = 1
    sim_startup_s: float = 0.0
    sim_step_base_s: float = 0.008
    sim_step_per_seq_s: float = 0.00022
    sim_prefill_per_token_s: float = 0.00005
    sim_fixed_ttft_s: float | None = None
    sim_fixed_tpot_s: float | None = None
    sim_slow_factor: float = 1.0
    sim_kv_blocks: int = 32768
    sim_gpu: str | None = None
    sim_model_profile: str | None = None
    sim_die_with_parent: bool = False
    sim_watchdog_s: float = 5.0
    sim_chaos_port: int | None = None
    sim_chaos_token_file: str | None = None
    sim_core_process: bool = True
    sim_startup_phases: tuple[float, ...] | None = None
    sim_time_scale: float = 1.0
    sim_fail_phase: tuple[str, str] | None = None
    sim_weights: str | None = None
    sim_gpu_state: str | None = None
    sim_dcgm_port: int | None = None
    sim_pod: tuple[str, str] | None = None


def parse(argv: Sequence[str]) -> Flags:
    """Read the arguments after the program's name; a bad one ends the process with exit code 2."""
    parser = _parser()
    given = vars(parser.parse_args(argv))
    model = given.pop("model_tag") or given["model"]
    served = given["served_model_name"]
    given.update(
        model=model,
        served_model_name=model if served is None else served,
        api_key=tuple(given["api_key"] or ()),
    )
    seqs, tokens = batch_defaults(given["sim_gpu"])
    given["max_num_seqs"] = given["max_num_seqs"] or seqs
    given["max_num_batched_tokens"] = given["max_num_batched_tokens"] or tokens
    flags = Flags(**given)
    if (flags.sim_fixed_ttft_s is None) != (flags.sim_fixed_tpot_s is None):
        parser.error("--sim-fixed-ttft-s and --sim-fixed-tpot-s must be given together")
    if (flags.sim_gpu is None) != (flags.sim_model_profile is None):
        parser.error("--sim-gpu and --sim-model-profile must be given together")
    if (flags.sim_chaos_port is None) != (flags.sim_chaos_token_file is None):
        parser.error("--sim-chaos-port and --sim-chaos-token-file must be given together")
    if flags.sim_startup_phases is not None and flags.sim_startup_s:
        parser.error("--sim-startup-phases and --sim-startup-s exclude each other")
    if flags.max_num_batched_tokens < flags.max_num_seqs:
        parser.error(
            f"--max-num-batched-tokens ({flags.max_num_batched_tokens}) must be at least "
            f"--max-num-seqs ({flags.max_num_seqs})"
        )
    return flags


def batch_defaults(gpu: str | None) -> tuple[int, int]:
    """Return vLLM's max_num_seqs and max_num_batched_tokens for a GPU of `profiles.yaml`.

    vLLM gives more to GPUs with 70 GiB and more, the A100 excepted.
    """
    small, large, largest = (256, 2048), (1024, 8192), (1024, 16384)
    if gpu is None or gpu.upper().startswith("A100"):
        return small
    gib = {name.lower(): row["memory_gib"] for name, row in profiles()["gpus"].items()}
    memory_gib = gib.get(gpu.lower(), 0.0)  # one that is not known is refused later
    if memory_gib >= 160:
        return largest
    return large if memory_gib >= 70 else small


def _parser() -> argparse.ArgumentParser:
    """Build the parser; defaults come from `Flags` so that they are written once."""
    default = {name: field.default for name, field in Flags.__dataclass_fields__.items()}
    default |= {"max_num_seqs": None, "max_num_batched_tokens": None}  # the GPU decides
    parser = argparse.ArgumentParser(
        prog="python -m inference_platform.engine_sim",
        description="Plays `vllm serve` without a GPU.",
        allow_abbrev=False,
    )

    def add(name: str, kind: Callable[[str], object], help_text: str) -> None:
        parser.add_argument(
            name, type=kind, default=default[name[2:].replace("-", "_")], help=help_text
        )

    parser.add_argument("model_tag", nargs="?", metavar="MODEL", help="name of the model")
    parser.add_argument("--served-model-name", help="name that clients use (default: the model's)")
    parser.add_argument("--api-key", nargs="+", help="keys accepted under /v1")
    parser.add_argument(
        "--sim-die-with-parent", action="store_true", help="end when the parent ends (Linux)"
    )
    for name, text in (
        ("--enable-server-load-tracking", "count requests in /load"),
        ("--enable-request-id-headers", "answer with an X-Request-Id header"),
        ("--enable-prompt-tokens-details", "tell in the usage what came from the prefix cache"),
        ("--enable-per-request-metrics", "tell in each answer how long it took"),
        ("--enable-force-include-usage", "send the usage chunk of a stream unasked"),
    ):
        parser.add_argument(name, action="store_true", help=text)
    add("--model", str, "same as MODEL")
    add("--host", str, "address to listen on")
    add("--port", _whole(0), "port to listen on; 0 lets the system choose and the log tells")
    add("--max-model-len", _whole(1), "context length in tokens")
    add("--max-num-seqs", _whole(1), "most requests in one batch (default: the GPU's)")
    add("--max-num-batched-tokens", _whole(1), "token budget of one step (default: the GPU's)")
    add("--gpu-memory-utilization", _number(0.0, 1.0), "of a --sim-gpu; else only reported")
    add("--block-size", _whole(1), "tokens in one KV block")
    add("--seed", _whole(0), "seed of the words of requests that bring none")
    add("--shutdown-timeout", _number(0.0), "seconds to drain after SIGTERM; 0 stops at once")
    add("--sse-keep-alive-interval", _number(0.0), "seconds of silence before a comment; 0: none")
    add("--max-num-queued-reqs", _whole(1), "most requests running and waiting (default: no limit)")
    add("--max-num-queued-tokens", _whole(1), "most prompt tokens before prefill ends, or no limit")
    parser.add_argument(
        "--enable-prefix-caching",
        action=argparse.BooleanOptionalAction,
        default=default["enable_prefix_caching"],
        help="use KV blocks again for prompts that begin alike",
    )
    add("--dtype", str, "accepted, without effect")
    add("--quantization", str, "of a --sim-model-profile: awq or fp8; else without effect")
    add("--tensor-parallel-size", _whole(1), "number of --sim-gpu; else without effect")
    _add_simulators(parser, add)
    return parser


def _add_simulators(parser: argparse.ArgumentParser, add: _Add) -> None:
    """Add the flags that vLLM has not."""
    add("--sim-startup-s", _number(0.0), "from process start until it serves")
    add("--sim-step-base-s", _number(LEAST_STEP_S), "cost of a step")
    add("--sim-step-per-seq-s", _number(0.0), "added for every decoding request")
    add("--sim-prefill-per-token-s", _number(0.0), "added for every prompt token computed")
    add("--sim-fixed-ttft-s", _number(0.0), "known timing: first token this long after arrival")
    add("--sim-fixed-tpot-s", _number(0.0), "known timing: each next token this long after")
    add("--sim-slow-factor", _number(0.1), "multiplies every step time")
    add("--sim-kv-blocks", _whole(2), "KV blocks on the simulated GPU, one of them reserved")
    add("--sim-gpu", str, "GPU of profiles.yaml: sets step times and KV blocks, with the model")
    add("--sim-model-profile", str, "model of profiles.yaml; --quantization awq or fp8 counts")
    add("--sim-watchdog-s", _number(0.1), "how often it looks whether its engine is dead")
    add("--sim-chaos-port", _whole(0), "loopback port that takes faults; 0: the log tells")
    add("--sim-chaos-token-file", str, "file with the token that the chaos port asks for")
    parser.add_argument(
        "--sim-core-process",
        action=argparse.BooleanOptionalAction,
        default=Flags.__dataclass_fields__["sim_core_process"].default,
        help="run the engine core as a process of its own, as vLLM does",
    )
    add("--sim-startup-phases", _phases, "seconds, as weights=10,compile=40,graphs=12,init=5")
    add("--sim-time-scale", _number(0.0, 1e3), "multiplies the phases; the log tells them unscaled")
    add("--sim-fail-phase", _failure, "phase that fails, or phase:message")
    add("--sim-weights", str, "folder whose manifest.json and files are verified while loading")
    add("--sim-gpu-state", str, "file that keeps the GPU's damage and memory hogs between engines")
    add("--sim-dcgm-port", _whole(0), "port with dcgm-exporter's metrics; 0: the log tells")
    add("--sim-pod", _pod, "NAMESPACE/POD for dcgm-exporter's labels")


def _phases(text: str) -> tuple[float, ...]:
    """Read `phase=seconds` for every phase."""
    pairs = [part.split("=", 1) for part in text.split(",")]
    given = {pair[0]: pair[-1] for pair in pairs}
    if sorted(given) != sorted(PHASES) or len(pairs) != len(PHASES):
        wanted = ",".join(f"{name}=SECONDS" for name in PHASES)
        raise argparse.ArgumentTypeError(f"expected {wanted}, got {text!r}")
    return tuple(_number(0.0)(given[name]) for name in PHASES)


def _failure(text: str) -> tuple[str, str]:
    """Read a phase, or a phase and a message."""
    phase, _, message = text.partition(":")
    if phase not in PHASES:
        raise argparse.ArgumentTypeError(f"expected one of {', '.join(PHASES)}, got {phase!r}")
    return (phase, message.strip())


def _pod(text: str) -> tuple[str, str]:
    """Read a namespace and a name."""
    namespace, _, name = text.partition("/")
    if not namespace or not name:
        raise argparse.ArgumentTypeError(f"expected NAMESPACE/POD, got {text!r}")
    return (namespace, name)


def _whole(least: int) -> Callable[[str], int]:
    """Return a reader of whole numbers from `least` on."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(
                f"expected a whole number from {least} on, got {text!r}"
            )
        return value

    return read


def _number(least: float, most: float = 1e9) -> Callable[[str], float]:
    """Return a reader of numbers between `least` and `most`."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(
                f"expected a number between {least:g} and {most:g}, got {text!r}"
            )
        return value

    return read
