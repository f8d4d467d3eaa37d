"""What a run keeps outside its record, so that another process can undo it after a crash.

`$XDG_STATE_HOME/faultload/<target fingerprint>/runs/<run id>/` holds the injection journal, the
session (how to reach the target) and the draft of the manifest. A clean end removes it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from faultload.errors import RefusedError, SpecError
from faultload.faults import SessionFile
from faultload.record import InjectionJournal, Manifest
from faultload.secrecy import redacted_data
from faultload.targets import Target, keeping_state, state_home

STANDING = "chaos-run"
"""Name of the state that a platform left up keeps for stock `chaos run`."""


@dataclass(frozen=True)
class RunState:
    """One run's state folder.

    Attributes:
        folder: `<fingerprint>/runs/<run id>`.
    """

    folder: Path

    @classmethod
    def create(cls, fingerprint: str, run_id: str, run_directory: Path | None) -> RunState:
        """Make the folder of a new run; `run_directory` is where its record goes, if it has one."""
        state = cls(state_home() / fingerprint / "runs" / run_id)
        with keeping_state(state.folder):
            state.folder.mkdir(parents=True, mode=0o700)
            if run_directory is not None:
                whole = str(run_directory.resolve())
                (state.folder / "directory").write_text(whole, encoding="utf-8")
        return state

    @property
    def is_standing(self) -> bool:
        """Tell whether this is the journal of a platform left up rather than of a run."""
        return self.folder.name == STANDING

    @property
    def journal(self) -> InjectionJournal:
        """The injection journal; copied into the record when the run is sealed."""
        return InjectionJournal(self.folder / "injections.jsonl")

    @property
    def session_path(self) -> Path:
        """The session file that children read."""
        return self.folder / "session.json"

    @property
    def session(self) -> SessionFile:
        """How to reach the target.

        Raises:
            MissingError: the run died before it wrote it.
        """
        return SessionFile.read(self.session_path)

    @property
    def run_directory(self) -> Path:
        """`reports/<run id>` of this run."""
        return Path((self.folder / "directory").read_text(encoding="utf-8"))

    @property
    def target_home(self) -> Path:
        """`<fingerprint>`: where the target's lock is."""
        return self.folder.parent.parent

    def save_draft(self, manifest: Manifest) -> None:
        """Keep what the manifest would be if the run died now."""
        partial = self.folder / "draft.partial"
        shown = redacted_data(json.loads(manifest.model_dump_json()))
        partial.write_text(json.dumps(shown, indent=2), encoding="utf-8")
        partial.replace(self.folder / "draft.json")

    def draft(self) -> Manifest | None:
        """Return the draft; None when the run died before it wrote one."""
        try:
            return Manifest.model_validate_json((self.folder / "draft.json").read_bytes())
        except (OSError, ValueError):
            return None

    def may_be_harmed(self) -> bool:
        """Tell whether a fault may be in force; a journal that cannot be read may hide one."""
        try:
            return bool(self.journal.unreverted())
        except (SpecError, OSError):
            return True

    def remove(self) -> None:
        """Forget the run: everything is reverted and sealed."""
        shutil.rmtree(self.folder, ignore_errors=True)


def left_behind(fingerprint: str = "*") -> Iterator[RunState]:
    """Yield the state of runs that never ended in good order, oldest first.

    A platform left up keeps a journal for stock `chaos run`; it counts once a fault is in force.
    """
    folders = state_home().glob(f"{fingerprint}/runs/*")
    for state in map(RunState, sorted(folders, key=lambda path: path.name)):
        if not state.is_standing or state.may_be_harmed():
            yield state


def refuse_if_harmed(fingerprint: str) -> None:
    """Refuse to start on a target where a fault may still be in force.

    Raises:
        RefusedError: names the runs and the remedy.
    """
    harmed = [s.folder.name for s in left_behind(fingerprint) if s.may_be_harmed()]
    if harmed:
        raise RefusedError(
            f"an earlier run left a fault in force on this target ({', '.join(harmed)});"
            " run: faultload recover"
        )


def refuse_if_changed(target: Target, name: str) -> None:
    """Refuse to start where somebody's changes are in force on the target itself.

    Raises:
        RefusedError: names them and the remedy.
    """
    if left := target.left_behind():
        raise RefusedError(
            f"an earlier run's changes are in force on this target: {'; '.join(left)}. Run"
            " faultload recover where that was started, or, once they have expired,"
            f" faultload recover --expired --target {name}"
        )
