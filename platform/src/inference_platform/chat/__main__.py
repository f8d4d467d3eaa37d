"""`python -m inference_platform.chat`: the command line of one chat."""

import argparse
import logging
import os
import re
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from inference_platform.chat.app import create_app
from inference_platform.chat.settings import Settings
from inference_platform.router.endpoints import http_address
from inference_platform.router.serving import ServingError, die_with_parent, listen, serve

# Settings with a flag of their own name, and what it means.
_FLAGS = {
    "name": "who this chat is, in its log",
    "connect_timeout_s": "longest wait for a connection to the router",
    "first_byte_timeout_s": "longest wait for an answer's first event",
    "idle_timeout_s": "longest silence inside an answer",
    "answer_timeout_s": "longest time of an answer, also where the browser does not read it",
    "models_timeout_s": "longest wait for the list of models",
    "body_timeout_s": "longest wait for the rest of a question",
    "body_bytes_max": "largest question, with all that came before it",
    "messages_max": "longest conversation, in messages",
    "tokens_max": "longest answer, in tokens",
    "streams_max": "answers at a time",
    "drain_s": "how long a stopping chat finishes answers",
}
_KEY_VARIABLE = "INFERENCE_CHAT_API_KEY"
_KEY = re.compile(r"[\x21-\x7e]+")


class _UsageError(Exception):
    """The command line asks for what cannot be; one line that says what was expected."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m inference_platform.chat",
        description="Serves the chat's page, and asks the router on its behalf.",
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True, help="listen here")
    parser.add_argument("--page", type=Path, required=True, help="folder of the built page")
    parser.add_argument("--router", required=True, help="http://HOST[:PORT] of the router")
    parser.add_argument(
        "--api-key-file", type=Path, help=f"file with the engines' key; without it ${_KEY_VARIABLE}"
    )
    parser.add_argument(
        "--secure-cookie", action="store_true", help="browsers come by HTTPS: say so to them"
    )
    parser.add_argument(
        "--die-with-parent", action="store_true", help="be killed when the parent ends (Linux)"
    )
    defaults: dict[str, Any] = {field.name: field.default for field in fields(Settings)}
    for name, text in _FLAGS.items():
        default = defaults[name]
        parser.add_argument(
            "--" + name.replace("_", "-"),
            type=type(default),
            default=default,
            help=f"{text} (default {default})",
        )
    return parser


def _settings(options: argparse.Namespace) -> Settings:
    if not (options.page / "index.html").is_file():
        raise _UsageError(
            f"--page {options.page}: expected a folder with index.html, found none: "
            "run `npm install --no-save && npm run build` in platform/chat, and give its dist"
        )
    try:
        http_address(options.router)
    except ValueError as error:
        raise _UsageError(f"--router: {error}") from None
    return Settings(
        page_path=options.page,
        router_url=options.router,
        api_key=_api_key(options.api_key_file),
        secure_cookie=options.secure_cookie,
        **{name: getattr(options, name) for name in _FLAGS},
    )


def _api_key(path: Path | None) -> str | None:
    """The key; None where nobody gave one. What is wrong with it is said without it."""
    if path is None:
        where, key = f"${_KEY_VARIABLE}", os.environ.get(_KEY_VARIABLE)
        if not key:
            return None
    else:
        where = f"--api-key-file {path}"
        try:
            key = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise _UsageError(f"{where}: cannot be read: {error}") from None
    key = key.strip()
    if not _KEY.fullmatch(key):
        raise _UsageError(f"{where}: expected one word of ASCII, found something else")
    return key


def main(argv: list[str] | None = None) -> int:
    """Run a chat; 0 after a drain, 64 for a bad command line, 69 if it cannot listen."""
    parser = _parser()
    try:
        options = parser.parse_args(argv)
    except SystemExit as left:
        return 64 if left.code else 0
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format=f"%(asctime)s {options.name} %(levelname)s %(message)s",
    )
    try:
        settings = _settings(options)
        if options.die_with_parent:
            die_with_parent()
        sockets = [listen(options.host, options.port)]
    except (_UsageError, ServingError) as error:
        sys.stderr.write(f"{error}\n")
        return 64 if isinstance(error, _UsageError) else 69
    serve(create_app(settings), sockets, settings.drain_s)
    return 0


if __name__ == "__main__":
    sys.exit(main())
