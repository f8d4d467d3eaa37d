"""`python -m inference_platform.local up`: the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from inference_platform.local import config
from inference_platform.local.errors import PlatformError
from inference_platform.local.up import Options, up


def main(argv: Sequence[str] | None = None) -> int:
    """Run a platform in the foreground; 0 after SIGTERM or SIGINT, else the error's code."""
    parser = argparse.ArgumentParser(prog="python -m inference_platform.local")
    command = parser.add_subparsers(dest="command", required=True).add_parser(
        "up", help="start a platform and keep it running until SIGTERM or SIGINT"
    )
    command.add_argument("--config", type=Path, default=config.DEFAULT_PATH)
    command.add_argument(
        "--state-dir", type=Path, required=True, help="where platform.json, logs and data go"
    )
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change one value of the configuration, like tiers.fast.replicas=1",
    )
    command.add_argument(
        "--die-with-parent", action="store_true", help="end when the parent process ends"
    )
    command.add_argument(
        "--json", action="store_true", help="print platform.json when ready, steps on stderr"
    )
    try:
        args = parser.parse_args(argv)
    except SystemExit as left:
        return 64 if left.code else 0
    try:
        up(
            config.load(args.config, args.set),
            Options(args.state_dir, die_with_parent=args.die_with_parent, as_json=args.json),
        )
    except PlatformError as error:
        sys.stderr.write(f"platform: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
