"""Where the programs are, and every command line that the platform starts."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from inference_platform.local.addresses import Address, url
from inference_platform.local.config import PlatformConfig
from inference_platform.local.errors import MissingError
from inference_platform.local.placement import Replica

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


def engine(
    config: PlatformConfig, replica: Replica, address: Address, startup_s: float
) -> list[str]:
    """Return the command line of one engine replica."""
    tier = config.tiers[replica.tier]
    speed = tier.engine
    flags: dict[str, object] = {
        "served-model-name": tier.model,
        "host": address[0],
        "port": address[1],
        "max-num-seqs": speed.max_num_seqs,
        "seed": config.seed + replica.number,
        "shutdown-timeout": speed.shutdown_timeout_s,
        "sim-startup-s": startup_s,
        "sim-step-base-s": speed.step_base_s,
        "sim-step-per-seq-s": speed.step_per_seq_s,
        "sim-prefill-per-token-s": speed.prefill_per_token_s,
        "sim-slow-factor": speed.slow_factor,
    }
    if speed.fixed_ttft_s is not None:
        flags["sim-fixed-ttft-s"] = speed.fixed_ttft_s
        flags["sim-fixed-tpot-s"] = speed.fixed_tpot_s
    argv = [sys.executable, "-m", "inference_platform.engine_sim", "--sim-die-with-parent"]
    for flag, value in flags.items():
        argv += [f"--{flag}", str(value)]
    return [*argv, *speed.extra_args]


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
