"""Documents that are wrong on purpose, and the proof that reading them starts nothing.

A table of mistakes is a YAML file in tests/unit/malformed/: one valid document, and what goes
wrong with it, by sort. tests/unit/malformed/README.md says how a case is written.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")
_ACTS = frozenset(
    "subprocess.Popen os.system os.exec os.fork os.forkpty os.posix_spawn socket.connect"
    " socket.sendto os.mkdir os.remove os.rename os.kill os.killpg".split()
)


# In C where libyaml is there: ten times as fast.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


@dataclass(frozen=True)
class Mistake:
    """One case of a table.

    Attributes:
        kind: of document: the table's name.
        sort: of mistake.
        name: what is wrong, in words.
        file: relative to the project, where the document is put.
        text: the document.
        command: what is asked of `faultload`.
        said_of: the file that the message names, relative to the project.
        at: the key that the message names; "": the whole file.
        says: what else is in the message.
        code: the command's exit code.
    """

    kind: str
    sort: str
    name: str
    file: str
    text: str
    command: Sequence[str]
    said_of: str
    at: str
    says: Sequence[str]
    code: int

    def __str__(self) -> str:
        """Return the test's id."""
        return f"{self.kind}-{self.sort}-{self.name}".replace(" ", "_")


@dataclass(frozen=True)
class Table:
    """One file of mistakes.

    Attributes:
        kind: its name.
        file: relative to the project, where its documents are put.
        command: what is asked of `faultload`, unless a case has its own.
        base: the valid document that the mistakes are made in.
        beside: other files that its commands need, by path.
        mistakes: its cases.
    """

    kind: str
    file: str
    command: Sequence[str]
    base: str
    beside: Mapping[str, str]
    mistakes: Sequence[Mistake]


@functools.cache
def read_table(path: Path) -> Table:
    """Return the table in a file."""
    about = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)  # noqa: S506  # it is a safe one
    base, file, command = about["base"], about["file"], about["command"]
    mistakes = [
        _mistake(case, base, Mistake(path.stem, sort, name, file, "", command, file, "", (), 64))
        for sort, cases in about["mistakes"].items()
        for name, case in cases.items()
    ]
    return Table(path.stem, file, command, base, about.get("beside", {}), mistakes)


def _mistake(case: Mapping[str, Any], base: str, about: Mistake) -> Mistake:
    known = set("put drop text whole at says code in command".split())
    assert set(case) <= known, f"{about}: {set(case) - known}"
    dropped = case.get("drop", [])
    dropped = [dropped] if isinstance(dropped, str) else dropped
    changed = [*case.get("put", {}), *dropped]
    says = case.get("says", [])
    return Mistake(
        kind=about.kind,
        sort=about.sort,
        name=about.name,
        file=about.file,
        text=_spoilt(case, base, dropped),
        command=case.get("command", about.command),
        said_of=case.get("in", about.file),
        at=case.get("at", changed[0] if changed else ""),
        says=[str(one) for one in (says if isinstance(says, list) else [says])],
        code=case.get("code", about.code),
    )


def _spoilt(case: Mapping[str, Any], base: str, dropped: Sequence[str]) -> str:
    text = str(case.get("whole", base))
    if "text" in case:
        old, new = case["text"]
        assert old in text, f"{old!r} is not in the base"
        text = text.replace(old, new, 1)
    if "put" in case or dropped:
        documents = list(yaml.load_all(text, Loader=_LOADER))  # see above
        for path, value in case.get("put", {}).items():
            put(documents[0], path, value)
        for path in dropped:
            drop(documents[0], path)
        text = yaml.dump_all(documents, Dumper=_DUMPER, sort_keys=False, allow_unicode=True)
    return text


def put(document: Any, path: str, value: Any) -> None:
    """Set what a dotted path names, `method[0].provider.func`; a list's end + 1 appends."""
    holder, last = _holder(document, path)
    if isinstance(holder, list) and last == len(holder):
        holder.append(value)
    else:
        holder[last] = value


def drop(document: Any, path: str) -> None:
    """Remove what a dotted path names."""
    holder, last = _holder(document, path)
    del holder[last]


def _holder(document: Any, path: str) -> tuple[Any, Any]:
    steps = [int(index) if index else key for key, index in _STEP.findall(path)]
    for step in steps[:-1]:
        document = document[step]
    return document, steps[-1]


def copied(document: Any) -> Any:
    """Return a document of one's own."""
    return copy.deepcopy(document)


class _Watch:
    """What Python tells of what is done, between the two ends of a `with`."""

    seen: list[str] | None = None
    is_installed = False

    @classmethod
    def hear(cls, event: str, arguments: tuple[Any, ...]) -> None:
        if cls.seen is None:
            return
        writes = event == "open" and set(str(arguments[1] or "")) & set("wax+")
        if event in _ACTS or writes:
            cls.seen.append(f"{event} {arguments[:2]!r}")
            raise PermissionError(f"reading must do nothing: {cls.seen[-1]}")


@contextlib.contextmanager
def nothing_is_done() -> Iterator[None]:
    """Fail where a process is started, a connection is made or a file is written within.

    Raises:
        AssertionError: something was; says what.
    """
    if not _Watch.is_installed:
        sys.addaudithook(_Watch.hear)
        _Watch.is_installed = True
    seen: list[str] = []
    _Watch.seen = seen
    try:
        yield
    finally:
        _Watch.seen = None
    assert not seen, f"reading must do nothing, and did: {'; '.join(seen)}"
