"""`python -m inference_platform.local.models`: `serve` a store, `fetch` from one, `change` one.

`manifest` makes a folder ready to be copied to a store.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from inference_platform.local.models import s3, signed, store
from inference_platform.local.models.cache import Wanted, fetch
from inference_platform.local.models.errors import StoreError
from inference_platform.local.models.layout import MANIFEST, StandIn, check_names
from inference_platform.local.models.manifest import write_manifest

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
CHANGES: dict[str, Callable[[str, str], object]] = {
    "empty": store.empty,
    "corrupt": store.corrupt,
    "truncate": store.truncate,
    "restore": store.restore,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; 0, 1 when a fetch failed, 64 for a bad command line, 69 for no server."""
    try:
        args = _parser().parse_args(argv)
    except SystemExit as left:
        return 64 if left.code else 0
    run: Callable[[argparse.Namespace], int] = args.run
    return run(args)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m inference_platform.local.models")
    commands = parser.add_subparsers(required=True)

    server = commands.add_parser("serve", help="play S3 until SIGTERM or SIGINT")
    server.set_defaults(run=_serve)
    server.add_argument("--host", default="127.0.0.1")
    server.add_argument("--port", type=int, required=True, help="0 for a free one")
    server.add_argument(
        "--publish",
        action="append",
        default=[],
        type=_stand_in,
        metavar="JSON",
        help='have this model from the start: {"model":"chat","version":"v1","shards":4,...}',
    )
    server.add_argument(
        "--die-with-parent", action="store_true", help="be killed when the parent ends (Linux)"
    )

    pod = commands.add_parser("fetch", help="make a directory hold a model")
    pod.set_defaults(run=_fetch)
    pod.add_argument(
        "--store",
        type=_any_store,
        required=True,
        metavar="URL",
        help="http://HOST:PORT[/BUCKET], or s3://BUCKET[/FOLDER] as AWS has it",
    )
    pod.add_argument("--model", type=_model, required=True)
    pod.add_argument("--version", type=_version, help="default: the one in service")
    pod.add_argument("--into", type=Path, required=True, metavar="DIR")
    pod.add_argument("--verify", action="store_true", help="read what is cached, not only its size")
    pod.add_argument(
        "--offline-ok",
        action="store_true",
        help="an intact cache will do when the store has no answer; with --version it is not asked",
    )
    for name, default, text in (
        ("--timeout", 60.0, "longest silence of the store, connecting included"),
        ("--deadline", 600.0, "longest time for everything"),
    ):
        pod.add_argument(
            name, type=_seconds, default=default, metavar="S", help=f"{text} (default {default:g})"
        )
    change = commands.add_parser("change", help="harm a model in the store, or mend it")
    change.set_defaults(run=_change)
    change.add_argument("how", choices=CHANGES)
    change.add_argument("--store", type=_store, required=True, metavar="http://HOST:PORT[/BUCKET]")
    change.add_argument("--model", type=_model, required=True)

    told = commands.add_parser("manifest", help="say what a folder of weights holds, in it")
    told.set_defaults(run=_manifest)
    told.add_argument("folder", type=Path, metavar="DIR")
    told.add_argument("--model", type=_model, required=True)
    told.add_argument("--version", type=_version, required=True)
    return parser


def _manifest(args: argparse.Namespace) -> int:
    try:
        manifest = write_manifest(args.folder, args.model, args.version)
    except (StoreError, OSError) as error:
        sys.stderr.write(f"manifest {args.model}: {error}\n")
        return 1
    size = sum(file.size for file in manifest.files)
    print(f"{args.folder / MANIFEST}: {len(manifest.files)} files, {size} bytes", flush=True)  # noqa: T201
    return 0


def _change(args: argparse.Namespace) -> int:
    try:
        CHANGES[args.how](args.store, args.model)
        found = store.status(args.store, args.model)[args.model]
    except (StoreError, KeyError) as error:
        sys.stderr.write(f"{args.how} {args.model}: {error}\n")
        return 1
    print(f"{args.model}/{found.version} is {found.state}", flush=True)  # noqa: T201
    return 0


def _fetch(args: argparse.Namespace) -> int:
    wanted = Wanted(
        store=args.store,
        model=args.model,
        into=args.into,
        version=args.version,
        verify=args.verify,
        offline_ok=args.offline_ok,
        silence_s=args.timeout,
        whole_s=args.deadline,
    )
    try:
        manifest = fetch(wanted, lambda text: print(text, flush=True))  # noqa: T201
    except (StoreError, OSError) as error:
        sys.stderr.write(f"fetch {args.model}: {error}\n")
        return 1
    print(f"{manifest.model}/{manifest.version} is in {args.into}", flush=True)  # noqa: T201
    return 0


def _serve(args: argparse.Namespace) -> int:
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    gc.disable()  # nothing to collect in what is only imported
    try:
        if args.die_with_parent:
            _die_with_parent()
        with _bind(args.host, args.port) as listener:
            # moto costs 0.8 s of CPU to import: a fetch must not pay for it.
            from inference_platform.local.models.server import serve  # noqa: PLC0415

            serve(listener, args.publish)
    except (StoreError, OSError) as error:
        sys.stderr.write(f"model store: {error}\n")
        return 69
    return 0


def _leave(*_: object) -> NoReturn:
    sys.exit(0)


def _die_with_parent() -> None:
    if sys.platform != "linux":
        raise StoreError("--die-with-parent: only Linux can do that; leave it out")
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the kernel knew
        os.kill(os.getpid(), signal.SIGKILL)


def _bind(host: str, port: int) -> socket.socket:
    """Take the address, without listening: until the store is ready connections are refused."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        why = getattr(error, "strerror", None) or error
        raise StoreError(f"cannot listen on {host}:{port}: {why}; choose another port") from None
    return listener


def _stand_in(text: str) -> StandIn:
    try:
        return StandIn(**json.loads(text))
    except (ValueError, TypeError) as error:
        raise argparse.ArgumentTypeError(
            f'expected JSON like {{"model":"chat","version":"v1"}}, found {text!r}: {error}'
        ) from None


def _store(text: str) -> str:
    try:
        s3.split(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _any_store(text: str) -> str:
    if not text.startswith(signed.SCHEME):
        return _store(text)
    try:
        signed.split(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _model(text: str) -> str:
    return _named(text, None)


def _version(text: str) -> str:
    return _named("-", text)


def _named(model: str, version: str | None) -> str:
    try:
        check_names(model, version)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return version or model


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e9:
        raise argparse.ArgumentTypeError(f"expected seconds, more than 0, found {text!r}")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
