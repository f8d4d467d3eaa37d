"""The injection journal: written and fsynced before each act, so that any crash can be undone."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from faultload.errors import SpecError
from faultload.secrecy import redacted, redacted_data


class InjectionStep(StrEnum):
    """Steps of the fault protocol, as journalled: before a step (`*ING`) and after it."""

    PLANNED = "planned"
    INJECTING = "injecting"
    INJECTED = "injected"
    VERIFIED = "verified"
    REVERTING = "reverting"
    REVERTED = "reverted"
    VERIFIED_REVERTED = "verified_reverted"
    FAILED = "failed"


@dataclass(frozen=True)
class InjectionEntry:
    """One line of the journal.

    Attributes:
        injection_id: one application of one fault.
        step: what is about to happen or has happened.
        fault: the fault's name.
        time_unix_s: wall clock; the record's clock anchor turns it into seconds since the start.
        plan: victims, undo and token, as JSON; on the `planned` line, else empty.
        evidence: what was seen, as JSON; on `verified` and `verified_reverted` lines, else empty.
        problem: on `failed` lines: which step and why.
    """

    injection_id: str
    step: InjectionStep
    fault: str
    time_unix_s: float
    plan: dict[str, Any] = field(default_factory=dict)
    evidence: dict[str, Any] = field(default_factory=dict)
    problem: str = ""


class InjectionJournal:
    """Append-only JSON lines; every append is on disk when it returns."""

    def __init__(self, path: Path) -> None:
        """Use the file at `path`; it need not exist yet."""
        self.path = path

    def append(self, entry: InjectionEntry) -> None:
        """Write one entry and fsync it, and the folder when the file is new.

        Its plan is written as it is: what undoes a fault must not be changed. Nor is what machines
        read, whatever secret has the same name: only evidence and problem are redacted.
        """
        is_new = not self.path.exists()
        shown = _shown(asdict(entry), "evidence", "problem")
        line = json.dumps(shown, sort_keys=True, default=str) + "\n"
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            # A line cut short by a crash is ended first, so that it spoils only itself.
            data = (self._missing_newline() + line).encode()
            while data:  # a nearly full disk takes a part and then refuses
                data = data[os.write(descriptor, data) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if is_new:
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _missing_newline(self) -> str:
        try:
            with self.path.open("rb") as file:
                file.seek(-1, os.SEEK_END)
                return "" if file.read(1) == b"\n" else "\n"
        except OSError:
            return ""

    def copy_redacted(self, path: Path) -> None:
        """Write all lines to another file, for people: their plans redacted as well.

        What a crash left of a line is kept.
        """
        shown = list[str]()
        for line in self.path.read_text(encoding="utf-8", errors="replace").split("\n"):
            try:
                data = _shown(json.loads(line), "plan", "evidence", "problem")
                shown.append(json.dumps(data, sort_keys=True))
            except json.JSONDecodeError:
                shown.append(redacted(line))
        path.write_text("\n".join(shown), encoding="utf-8")

    def entries(self) -> list[InjectionEntry]:
        """Return every whole line, in order; a line cut short by a crash is left out.

        Raises:
            SpecError: a whole line is not an entry.
        """
        return [entry for entry in self._read() if entry is not None]

    def _read(self) -> Iterator[InjectionEntry | None]:
        """Yield every line; None stands for one that cannot be read."""
        try:
            # A crash of the machine may leave bytes that are no text; they spoil only their line.
            text = self.path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return
        for number, line in enumerate(text.split("\n"), start=1):
            if not line:
                continue
            try:
                data = json.loads(line)
                data["step"] = InjectionStep(data["step"])
                yield InjectionEntry(**data)
            except json.JSONDecodeError:
                yield None
            except (TypeError, KeyError, ValueError) as error:
                problem = f"not a journal entry: {error}"
                raise SpecError(self.path, f"line {number}", problem) from None

    def unreverted(self) -> list[InjectionEntry]:
        """Return faults that may still be in force, newest first.

        A plan that was never followed by `injecting` did no harm and is left out, unless a line
        after it cannot be read: that may have been it, and taking back what was not done is
        harmless. An entry is the `planned` one, or where that line was lost the `injecting` one,
        whose plan is empty.
        """
        planned: dict[str, InjectionEntry] = {}  # in this order
        begun: set[str] = set()
        for entry in self._read():
            if entry is None:
                begun |= planned.keys()
            elif entry.step is InjectionStep.PLANNED:
                planned[entry.injection_id] = entry
            elif entry.step is InjectionStep.INJECTING:
                planned.setdefault(entry.injection_id, entry)
                begun.add(entry.injection_id)
            elif entry.step is InjectionStep.VERIFIED_REVERTED:
                planned.pop(entry.injection_id, None)
                begun.discard(entry.injection_id)
        return [planned[key] for key in reversed(planned) if key in begun]

    def is_being_reverted(self) -> bool:
        """Tell whether what may be in force is being taken back: the newest fault comes first."""
        entries = [entry for entry in self._read() if entry is not None]
        reverting = {e.injection_id for e in entries if e.step is InjectionStep.REVERTING}
        return all(entry.injection_id in reverting for entry in self.unreverted()[:1])


def _shown(entry: Any, *keys: str) -> Any:
    """Return a line's data with these keys redacted; all of it where it is no entry."""
    if not isinstance(entry, dict) or "injection_id" not in entry:
        return redacted_data(entry)
    return entry | {key: redacted_data(entry[key]) for key in keys if key in entry}
