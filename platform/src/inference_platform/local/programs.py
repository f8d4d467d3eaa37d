"""Where the programs are, and every command line that the platform starts."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

from inference_platform.local.addresses import Address, Addresses, url
from inference_platform.local.errors import MissingError
from inference_platform.local.pod import Pod
from inference_platform.local.settings import PlatformConfig

TOOLS_VARIABLE = "FAULTLOAD_TOOLS"


def find(name: str, start: Path | None = None) -> str:
    """Return the path of a program.

    Looks on PATH, in the folder that $FAULTLOAD_TOOLS names, and in `.tools/bin` of the working
    directory and of every folder above it.

    Raises:
        MissingError: it is nowhere.
    """
    if on_path := shutil.which(name):
        return on_path
    here = (start or Path.cwd()).resolve()
    folders = [folder / ".tools" for folder in (here, *here.parents)]
    if tools := os.environ.get(TOOLS_VARIABLE):
        folders.insert(0, Path(tools))
    for folder in folders:
        for candidate in (folder / "bin" / name, folder / name):
            if candidate.is_file() and os.access(candidate, os.X_OK):
                return str(candidate)
    raise MissingError(
        f"{name} is not on PATH, in ${TOOLS_VARIABLE} or in .tools/bin; "
        "run: make setup, or install it"
    )


def engine(config: PlatformConfig, pod: Pod, startup_s: float, chaos_token: Path) -> list[str]:
    """Return the command line of one engine replica.

    Args:
        config: of the platform.
        pod: which replica.
        startup_s: from its start until it serves, in seconds of a real cluster.
        chaos_token: file with the token of its port for faults.
    """
    speed, where = pod.revision.engine, pod.addresses
    flags: dict[str, object] = {
        "served-model-name": config.tiers[pod.tier].model,
        "host": where.engine[0],
        "port": where.engine[1],
        "max-num-seqs": speed.max_num_seqs,
        "seed": config.seed + pod.number,
        "tensor-parallel-size": config.tiers[pod.tier].gpus,
        "shutdown-timeout": config.scaled(speed.shutdown_timeout_s),
        "sim-startup-s": startup_s,
        "sim-time-scale": config.time_scale,
        "sim-step-base-s": speed.step_base_s,
        "sim-step-per-seq-s": speed.step_per_seq_s,
        "sim-prefill-per-token-s": speed.prefill_per_token_s,
        "sim-slow-factor": speed.slow_factor,
        "sim-chaos-port": where.chaos[1],
        "sim-chaos-token-file": chaos_token,
        "sim-dcgm-port": where.dcgm[1],
        "sim-pod": f"{config.namespace}/{pod.name}",
    }
    if pod.gpu_state is not None:
        flags["sim-gpu-state"] = pod.gpu_state
    if pod.weights is not None:
        flags["sim-weights"] = pod.weights
    if speed.fixed_ttft_s is not None:
        flags["sim-fixed-ttft-s"] = speed.fixed_ttft_s
        flags["sim-fixed-tpot-s"] = speed.fixed_tpot_s
    argv = [sys.executable, "-m", "inference_platform.engine_sim", "--sim-die-with-parent"]
    for flag, value in flags.items():
        argv += [f"--{flag}", str(value)]
    return [*argv, *speed.extra_args]


def links(config: PlatformConfig, file: Path) -> list[str]:
    """Return the command line of the process that carries every link."""
    return [
        *(sys.executable, "-m", "inference_platform.local.links", "--die-with-parent"),
        *("--file", str(file), "--seed", str(config.seed)),
    ]


def model_store(config: PlatformConfig, address: Address) -> list[str]:
    """Return the command line of the model store, which has every tier's model from the start."""
    argv = [
        *(sys.executable, "-m", "inference_platform.local.models", "serve"),
        *("--host", address[0], "--port", str(address[1])),
    ]
    about = config.model_store
    for tier in config.tiers.values():
        stand_in = {
            "model": tier.model,
            "shards": about.shards,
            "shard_bytes": about.shard_bytes,
            "seed": config.seed,
        }
        argv += ["--publish", json.dumps(stand_in)]
    return argv


def change_model(addresses: Addresses, model: str, how: str) -> list[str]:
    """Return the command line that harms a model in the store, or mends it."""
    return [
        *(sys.executable, "-m", "inference_platform.local.models", "change", how),
        *("--store", url(addresses.services["model-store"]), "--model", model),
    ]


def fetch(config: PlatformConfig, addresses: Addresses, pod: Pod, folder: Path) -> list[str]:
    """Return the command line that fetches a replica's weights into a machine's cache."""
    store = addresses.services["model-store-link" if config.links else "model-store"]
    model = config.tiers[pod.tier].model
    return [
        *(sys.executable, "-m", "inference_platform.local.models", "fetch"),
        *("--store", url(store), "--model", model, "--into", str(folder / model)),
    ]


def router(config: PlatformConfig, fd: int, endpoints: Path, redis: Address) -> list[str]:
    """Return the command line of the router; it serves a socket that we keep open for it."""
    return [
        *(sys.executable, "-m", "inference_platform.router", "--die-with-parent"),
        *("--fd", str(fd)),
        *("--endpoints", str(endpoints)),
        *("--redis-url", url(redis, "redis")),
        *("--tiers", ",".join(config.tiers)),
        *config.router.extra_args,
    ]


def prometheus(
    binary: str, config: PlatformConfig, file: Path, data: Path, address: Address
) -> list[str]:
    """Return the command line of Prometheus."""
    return [
        binary,
        f"--config.file={file}",
        f"--storage.tsdb.path={data}",
        f"--storage.tsdb.retention.time={round(config.prometheus.retention_s)}s",
        f"--web.listen-address={address[0]}:{address[1]}",
    ]


def redis(binary: str, folder: Path, address: Address) -> list[str]:
    """Return the command line of Redis: it keeps sessions, nothing that must survive."""
    return [
        *(binary, "--bind", address[0], "--port", str(address[1])),
        *("--save", "", "--appendonly", "no", "--dir", str(folder)),
    ]
