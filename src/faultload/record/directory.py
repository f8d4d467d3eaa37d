"""A run's directory: `reports/<run_id>/`, with the record inside and the reports beside it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faultload.errors import MissingError, SpecError, UsageError, is_full, told_by_machine
from faultload.record.injections import InjectionJournal
from faultload.record.manifest import Manifest
from faultload.record.stored import parsed
from faultload.secrecy import redacted_data


def make_folders(what: str, top: Path, *inside: Path) -> None:
    """Make a directory below the reports, and folders in it, readable by their owner only.

    Args:
        what: it is of, for the error.
        top: of which only the parent may exist.
        inside: in order.

    Raises:
        UsageError: it cannot be made, or exists already.
        MissingError: there is no room for it.
    """
    try:
        top.parent.mkdir(parents=True, exist_ok=True)
        for folder in (top, *inside):
            folder.mkdir(mode=0o700)
    except OSError as error:
        problem = f"{top}: cannot make the {what}'s directory: {told_by_machine(error)}"
        if is_full(error):
            raise MissingError(f"{problem}; make room, or give another --reports") from None
        raise UsageError(f"{problem}; give --reports a writable folder") from None


@dataclass(frozen=True)
class RunDirectory:
    """Paths of one run. Nothing is created except by `create`.

    Attributes:
        path: `reports/<run_id>`.
    """

    path: Path

    @classmethod
    def create(cls, reports: Path, run_id: str) -> RunDirectory:
        """Make the directory of a new run, readable by its owner only.

        Raises:
            UsageError: it cannot be made, or exists already.
            MissingError: there is no room for it.
        """
        run = cls(reports / run_id)
        make_folders("run", run.path, run.record, run.logs)
        return run

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """Return the run at `path` (`reports/<run_id>` or its record folder).

        Raises:
            UsageError: there is no record.
        """
        path = path.parent if path.name == "record" else path
        run = cls(path)
        if not run.record.is_dir():
            raise UsageError(f"{path}: expected a run's directory with record/ inside, found none")
        return run

    @property
    def run_id(self) -> str:
        """Name of the directory."""
        return self.path.name

    @property
    def record(self) -> Path:
        """What was observed; sealed by the manifest."""
        return self.path / "record"

    @property
    def logs(self) -> Path:
        """Output of every process of the run."""
        return self.record / "logs"

    @property
    def experiment(self) -> Path:
        """The experiment as it ran."""
        return self.record / "experiment.yaml"

    @property
    def scenario(self) -> Path:
        """The scenario as it ran."""
        return self.record / "scenario.yaml"

    @property
    def slos(self) -> Path:
        """The SLOs of the run, one document each."""
        return self.record / "slos.yaml"

    @property
    def windows(self) -> Path:
        """The burn-rate windows of the run; not there where the project has none."""
        return self.record / "windows.yaml"

    @property
    def target(self) -> Path:
        """The target file, without secrets."""
        return self.record / "target.yaml"

    @property
    def prices(self) -> Path:
        """The price lists of the run, one document each; older records have none."""
        return self.record / "prices.yaml"

    @property
    def history(self) -> Path:
        """The earlier runs that the run is held beside; not there in older records."""
        return self.record / "history.json"

    @property
    def journal(self) -> Path:
        """Chaos Toolkit's journal."""
        return self.record / "journal.json"

    @property
    def injections(self) -> InjectionJournal:
        """Our own journal of every act of harm."""
        return InjectionJournal(self.record / "injections.jsonl")

    @property
    def requests(self) -> Path:
        """One row a request."""
        return self.record / "requests.parquet"

    @property
    def series(self) -> Path:
        """Raw Prometheus samples."""
        return self.record / "series.parquet"

    @property
    def alerts(self) -> Path:
        """The alert rules replayed on the series; not there in older records."""
        return self.record / "alerts.parquet"

    @property
    def events(self) -> Path:
        """What the harness did and what the platform said, one JSON object a line."""
        return self.record / "events.jsonl"

    @property
    def manifest_path(self) -> Path:
        """`manifest.json`."""
        return self.record / "manifest.json"

    def manifest(self) -> Manifest:
        """Return the manifest.

        Raises:
            SpecError: missing (the run was never sealed) or not a manifest.
        """
        path = self.manifest_path
        try:
            return parsed(Manifest.model_validate_json, path.read_bytes(), path)
        except FileNotFoundError:
            problem = "no manifest: the run was not sealed; try faultload recover"
            raise SpecError(path, "", problem) from None

    def seal(self, manifest: Manifest) -> Manifest:
        """Write the manifest with the SHA-256 of every other file; the record is final after it."""
        sealed = manifest.model_copy(update={"sha256": self._hashes()})
        write_json(self.manifest_path, redacted_data(sealed.model_dump(mode="json")))
        return sealed

    def check_sealed(self) -> None:
        """See that nothing was changed since the record was sealed.

        Raises:
            SpecError: something was, and such a record proves nothing.
        """
        refuse_changed("record", self.record, self.tampered())

    def tampered(self) -> list[str]:
        """Return the files that are missing, added or changed since the record was sealed."""
        sealed, now = self.manifest().sha256, self._hashes()
        return sorted(name for name in sealed.keys() | now if sealed.get(name) != now.get(name))

    def _hashes(self) -> dict[str, str]:
        files = sorted(p for p in self.record.rglob("*") if p.is_file() and p != self.manifest_path)
        hashes: dict[str, str] = {}
        for path in files:
            with path.open("rb") as file:
                name = path.relative_to(self.record).as_posix()
                hashes[name] = hashlib.file_digest(file, "sha256").hexdigest()
        return hashes


def refuse_changed(what: str, where: Path, changed: Sequence[str]) -> None:
    """Refuse what is no longer as it was sealed; `what` it is, for the error.

    Raises:
        SpecError: a file was changed.
    """
    if changed:
        names = ", ".join(changed)
        raise SpecError(
            where, "", f"changed since it was sealed: {names}; such a {what} proves nothing"
        )


def write_json(path: Path, data: Any) -> None:
    """Write JSON so that a reader sees the old file or the whole new one, never a part."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        json.dump(data, file, indent=2, sort_keys=True, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
