"""A load worker of its own: what a second machine runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

from faultload.load.plan import address_of

LOCUSTFILE = Path(__file__).with_name("worker") / "user.py"


def be_worker(master: str) -> NoReturn:
    """Become a Locust worker of the master at `HOST:PORT`, in this process.

    The trace, the orders and the start come from the master, and rows go there. They are kept in a
    temporary folder too, until the master has them complete. Locust looks for its master for five
    minutes, and a worker ends with its master.

    Raises:
        UsageError: that is no address.
    """
    host, port = address_of(master)
    # Locust reads locust.conf and pyproject.toml from the current folder, and Python its modules.
    os.chdir("/")
    # Locust reads LOCUST_* as options; a stray one would change the load.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LOCUST_")}
    options = ["--worker", "--master-host", host, "--master-port", str(port)]
    command = [sys.executable, "-P", "-m", "locust", "-f", str(LOCUSTFILE), *options]
    os.execve(sys.executable, command, environment)  # noqa: S606 (no shell is wanted)
