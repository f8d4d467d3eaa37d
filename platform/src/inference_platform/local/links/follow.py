"""links.json followed: what it says is done, and said to be done in links.json.applied.

    {"version": 6, "newest": 7, "pid": 4711, "problems": ["links.json: links[0].to: expected ..."]}

`version` is the one in force, null before the first. `newest` is the file's, null when it cannot be
read so far. Where the two differ, `problems` says why, in one line. A version is done as a whole or
not at all. One that failed because an address is in use is tried again at every poll. The file's
time of change is a sign of life: a links process that stands still does not renew it.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from inference_platform.local.links.document import Address, DocumentError, Link, parse
from inference_platform.local.links.live import LiveLink, listen

SIGN_OF_LIFE_S = 0.2  # how often the acknowledgement's time of change is renewed


def applied_path(path: Path) -> Path:
    """Return where the acknowledgement of a links file is."""
    return path.with_name(path.name + ".applied")


class Follower:
    """All links of one file; a version that cannot be used keeps the one before it."""

    def __init__(self, path: Path, seed: int) -> None:
        """`poll` does the work, inside a running loop."""
        self._path = path
        self._seed = seed
        self._links: dict[Address, LiveLink] = {}
        self._version: int | None = None
        self._seen: tuple[int, int, int] | str | None = None
        self._said: tuple[int | None, str] = (None, "")
        self._sign_at = 0.0
        self._forget()

    def poll(self) -> None:
        """Apply the file if it changed since the last call, and show that we live."""
        now = time.monotonic()
        if now >= self._sign_at:
            self._sign_at = now + SIGN_OF_LIFE_S
            with contextlib.suppress(OSError):
                os.utime(applied_path(self._path))
        try:
            stat = self._path.stat()
            seen = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            if seen == self._seen:
                return
            text = self._path.read_bytes()
        except OSError as error:
            self._seen = None
            self._acknowledge(None, f"{self._path}: {error.strerror or error}")
            return
        self._seen = seen
        newest: int | None = None
        try:
            newest, links = parse(text)
            self._apply(links)
        except DocumentError as error:
            self._acknowledge(error.version, f"{self._path}: {error}")
        except OSError as error:
            self._seen = None  # whoever is in the way may leave
            self._acknowledge(newest, f"{self._path}: {error}")
        else:
            self._version = newest
            self._acknowledge(newest, "")

    def _apply(self, links: list[Link]) -> None:
        """Do what the file says, or nothing of it; a link is known by where it listens."""
        with ExitStack() as opened:
            listeners = {}
            for link in links:
                if link.listen not in self._links:
                    try:
                        listeners[link.listen] = opened.enter_context(listen(link.listen))
                    except OSError as error:
                        host, port = link.listen
                        why = f"{link.name} cannot listen on {host}:{port}: {error.strerror}"
                        raise OSError(why) from error
            opened.pop_all()
        wanted = {link.listen for link in links}
        for address in self._links.keys() - wanted:
            self._links.pop(address).close()
        for link in links:
            if link.listen in listeners:
                listener = listeners[link.listen]
                self._links[link.listen] = LiveLink(link, listener, self._seed)
            else:
                self._links[link.listen].change(link)

    def _acknowledge(self, newest: int | None, problem: str) -> None:
        """Say where we are; what is as it was is said once."""
        said, self._said = self._said, (newest, problem)
        if problem and said == self._said:
            return
        if problem and problem != said[1]:
            sys.stderr.write(f"{problem}; keeping the links known before\n")
        document: dict[str, Any] = {
            "version": self._version,
            "newest": newest,
            "pid": os.getpid(),
            "problems": [problem] if problem else [],
        }
        target = applied_path(self._path)
        new = target.with_name(f".{target.name}.new")
        try:
            new.write_text(json.dumps(document) + "\n", encoding="utf-8")
            new.replace(target)
        except OSError as error:
            sys.stderr.write(f"{target}: {error.strerror or error}; nobody knows what is applied\n")

    def close(self) -> None:
        """Close every link, and leave no acknowledgement of what is no more."""
        for link in self._links.values():
            link.close()
        self._links.clear()
        self._forget()

    def _forget(self) -> None:
        with contextlib.suppress(OSError):
            applied_path(self._path).unlink()
