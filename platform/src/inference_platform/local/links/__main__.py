"""`python -m inference_platform.local.links`: the process that carries every link."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import gc
import os
import resource
import signal
import sys
from pathlib import Path

import uvloop

from inference_platform.local.links.follow import Follower

POLL_S = 0.02
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(argv: list[str] | None = None) -> int:
    """Relay until SIGTERM or SIGINT: 0; 64 for a bad command line."""
    parser = argparse.ArgumentParser(
        prog="python -m inference_platform.local.links",
        description="Plays the network: relays that add latency, limits, resets and partitions.",
    )
    parser.add_argument("--file", type=Path, required=True, help="links.json, followed")
    parser.add_argument("--seed", type=int, default=0, help="decides every draw (default 0)")
    parser.add_argument(
        "--die-with-parent", action="store_true", help="end when the parent process does"
    )
    try:
        options = parser.parse_args(argv)
    except SystemExit as left:
        return 64 if left.code else 0
    parent = os.getppid() if options.die_with_parent else None
    if parent is not None and sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # some systems call "unlimited" too much
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    uvloop.run(_serve(Follower(options.file, options.seed), parent))
    return 0


async def _serve(follower: Follower, parent: int | None) -> None:
    """Follow the file until a signal, or until the parent is another one."""
    loop = asyncio.get_running_loop()
    following = loop.create_task(_follow(follower, parent))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, following.cancel)
    # What is alive now lives as long as the process: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await following
    finally:
        follower.close()
        await asyncio.sleep(0)  # sockets close in the loop's next turn


async def _follow(follower: Follower, parent: int | None) -> None:
    while parent is None or os.getppid() == parent:
        follower.poll()
        await asyncio.sleep(POLL_S)


if __name__ == "__main__":
    sys.exit(main())
