"""Lines on standard error as vLLM's logger prints them."""

from __future__ import annotations

import contextlib
import os
import sys
import time


def log(level: str, text: str, process: str = "APIServer") -> None:
    """Print one line; `process` is the part of vLLM that speaks."""
    now = time.strftime("%m-%d %H:%M:%S")
    with contextlib.suppress(OSError):  # whoever read the log may be gone; we still must shut down
        sys.stderr.write(f"({process} pid={os.getpid()}) {level} {now} {text}\n")


def log_death(reason: str) -> None:
    """Say why the core ends, as vLLM's core does."""
    log("ERROR", "EngineCore encountered a fatal error.", "EngineCore")
    log("ERROR", reason, "EngineCore")
