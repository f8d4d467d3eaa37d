"""A gate's directory: `reports/gate-<id>/`, one record a trial, and the manifest over all of them.

manifest.json             what was compared, in which order, and the SHA-256 of every file
scenario.yaml slos.yaml   as they were used
traces/<trace>.parquet    what every trial of a trace was asked
trials/<name>/record/     one trial: its request rows and its own sealed manifest
gate.json gate.md junit.xml   what the gate says; made again from the rest at any time
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from faultload.errors import SpecError, UsageError
from faultload.record.baseline import Baseline
from faultload.record.directory import RunDirectory, make_folders, refuse_changed, write_json
from faultload.record.manifest import Outcome
from faultload.record.stored import Stored, parsed
from faultload.secrecy import redacted_data

SideName = Literal["baseline", "candidate"]


class TrialEntry(Stored):
    """One trial, in the order they were run."""

    name: str
    """Of its folder."""
    round: int
    """1; 2: the repetition that is to confirm a fail."""
    stage: int
    side: SideName
    trace: str
    attempt: int
    """2: the repetition of an invalid one."""
    start_s: float
    """Since the gate's start."""
    length_s: float
    """How long it took, with its start and end."""
    problems: list[str]
    """Why it is invalid; empty: it is not."""
    lost: str = ""
    """What a candidate was seen to lose in it, such as replicas; "": nothing."""


class SideEntry(Stored):
    """One side of the comparison."""

    name: str
    """As asked for: a target, or a URL."""
    overrides: list[str]
    environment: dict[str, str]
    """What it was: engine flags, images, replicas; flat, the same for the same platform."""


class Against(Stored):
    """The stored baseline that a candidate was held against; no baseline was run."""

    name: str
    """`NAME@000001`."""
    entry: Baseline
    differs: list[str]
    """What of their fingerprints was said to be meant to differ, a clause each."""


class GateManifest(Stored):
    """`manifest.json` of a gate."""

    schema_version: Literal[1] = 1
    gate_id: str
    mode: str
    rounds: list[int]
    """How often each side plays each trace in each stage; as many stages as there are numbers."""
    confirm: bool
    scenario: str
    slos: list[str]
    seed: int
    traces: dict[str, str]
    """Trace → SHA-256 of its file."""
    warmup_s: float
    trial_s: float
    """Measured, after the warm-up."""
    sides: dict[SideName, SideEntry]
    trials: list[TrialEntry] = Field(default_factory=list)
    history: dict[str, dict[str, list[float]]] = Field(default_factory=dict)
    """SLI → trace → numbers of a stored baseline, for the noise alone; empty: none was given."""
    against: Against | None = None
    """None: both sides were run, turn by turn."""
    candidate_gone: str = ""
    """What was said when both sides were opened anew to confirm a fail, and only the candidate did
    not start or answer, neither at once nor after a pause; "": it did, or nobody tried."""
    outcome: Outcome
    reason: str = ""
    """Why it ended early; "": it did not."""
    repeat: str
    """The command that repeats it."""
    faultload_version: str
    versions: dict[str, str]
    commit: str
    started_unix_s: float
    sha256: dict[str, str] = Field(default_factory=dict)
    """Every file it rests on, by path inside the gate's directory."""


@dataclass(frozen=True)
class GateDirectory:
    """Paths of one gate.

    Attributes:
        path: `reports/gate-<id>`.
    """

    path: Path

    @classmethod
    def create(cls, reports: Path, gate_id: str) -> GateDirectory:
        """Make it, readable by its owner only.

        Raises:
            UsageError: it cannot be made, or exists already.
            MissingError: there is no room for it.
        """
        gate = cls(reports / gate_id)
        make_folders("gate", gate.path, gate.traces, gate.trials)
        return gate

    @classmethod
    def open(cls, path: Path) -> GateDirectory:
        """Return the gate at `path`.

        Raises:
            UsageError: there is none.
        """
        gate = cls(path)
        if not gate.manifest_path.is_file() or not gate.trials.is_dir():
            expected = "expected a gate's directory with manifest.json and trials/ inside"
            raise UsageError(f"{path}: {expected}, found none")
        return gate

    @property
    def manifest_path(self) -> Path:
        """`manifest.json`."""
        return self.path / "manifest.json"

    @property
    def scenario(self) -> Path:
        """The scenario as it was used."""
        return self.path / "scenario.yaml"

    @property
    def slos(self) -> Path:
        """The SLOs, one document each."""
        return self.path / "slos.yaml"

    @property
    def traces(self) -> Path:
        """One file a trace."""
        return self.path / "traces"

    @property
    def trials(self) -> Path:
        """One folder a trial."""
        return self.path / "trials"

    def trial(self, name: str) -> RunDirectory:
        """Return the record of a trial."""
        return RunDirectory(self.trials / name)

    def manifest(self) -> GateManifest:
        """Return the manifest.

        Raises:
            SpecError: it is missing, or is none.
        """
        path = self.manifest_path
        try:
            return parsed(GateManifest.model_validate_json, path.read_bytes(), path)
        except FileNotFoundError:
            raise SpecError(path, "", "no manifest: this is no gate") from None

    def seal(self, manifest: GateManifest) -> GateManifest:
        """Write the manifest with the SHA-256 of what is there now; each trial has its own."""
        sealed = manifest.model_copy(update={"sha256": self._hashes(manifest)})
        write_json(self.manifest_path, redacted_data(sealed.model_dump(mode="json")))
        return sealed

    def check_sealed(self) -> None:
        """See that nothing was changed since the gate was sealed.

        Raises:
            SpecError: something was, and such a gate proves nothing.
        """
        refuse_changed("gate", self.path, self.tampered())

    def tampered(self) -> list[str]:
        """Return the files that are missing or changed since the gate was sealed."""
        manifest = self.manifest()
        now = self._hashes(manifest)
        found = [
            name
            for name in manifest.sha256.keys() | now
            if manifest.sha256.get(name) != now.get(name)
        ]
        for trial in manifest.trials:
            own = self.trial(trial.name)
            if f"trials/{trial.name}/record/manifest.json" in now:
                found += [f"trials/{trial.name}/record/{name}" for name in own.tampered()]
        return sorted(found)

    def _hashes(self, manifest: GateManifest) -> dict[str, str]:
        paths = [self.scenario, self.slos, *sorted(self.traces.glob("*.parquet"))]
        paths += [self.trial(one.name).manifest_path for one in manifest.trials]
        return {
            path.relative_to(self.path).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in paths
            if path.is_file()
        }
