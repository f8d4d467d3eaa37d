"""The baseline store: entries are added, never changed, in a folder or in a bucket."""

from __future__ import annotations

import hashlib
import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from faultload.errors import RefusedError, UsageError, nearest, told_by_machine
from faultload.judge.trial import Sli, slis_of
from faultload.record.baseline import (
    AnyEntry,
    Baseline,
    Promotion,
    check_name,
    from_text,
    key_of,
    number_of,
    to_text,
    unlike,
)
from faultload.record.gate import GateDirectory, GateManifest, SideName
from faultload.record.history import AcceptedRun, Withdrawal
from faultload.run.gate.deciding import Trial, fewest, side_of
from faultload.run.gate.judging import of_no_use, read_gate
from faultload.targets.objects import ObjectStore

_TRIES = 5
"""Others may save at the same moment."""


class Store(Protocol):
    """Where entries are kept."""

    where: str
    """For people."""

    def keys(self) -> list[str]:
        """Return every key, sorted."""
        ...

    def read(self, key: str) -> bytes:
        """Return an entry."""
        ...

    def create(self, key: str, data: bytes) -> bool:
        """Add an entry; False: there is one under this key."""
        ...


class Folder:
    """A folder, to be kept under version control."""

    def __init__(self, path: Path) -> None:
        """Use a folder, made when something is saved."""
        self._path = path
        self.where = str(path)

    def keys(self) -> list[str]:
        """Return `NAME/FILE` of every file."""
        found = [path for path in self._path.glob("*/*") if path.is_file()]
        return sorted(path.relative_to(self._path).as_posix() for path in found)

    def read(self, key: str) -> bytes:
        """Return an entry."""
        return (self._path / key).read_bytes()

    def create(self, key: str, data: bytes) -> bool:
        """Add an entry, whole or not at all.

        Raises:
            UsageError: the folder cannot be written to.
        """
        path = self._path / key
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
            partial.write_bytes(data)
            try:
                path.hardlink_to(partial)  # unlike a rename it never writes over what is there
            except FileExistsError:
                return False
            finally:
                partial.unlink()
        except OSError as error:
            problem = f"{path}: cannot be saved: {told_by_machine(error)}"
            raise UsageError(f"{problem}; give --store a writable folder") from None
        return True


@dataclass(frozen=True)
class Saved:
    """An entry of the store.

    Attributes:
        name: of the baseline.
        number: its place in the log of that name: `000001`.
        entry: what it says.
        promoted: it is the accepted one now; False of what is no baseline.
        withdrawn: it counts no more; False of what is no run.
    """

    name: str
    number: str
    entry: AnyEntry
    promoted: bool = False
    withdrawn: bool = False


def open_store(place: str) -> Store:
    """Return the store at `s3://BUCKET/PREFIX`, or in a folder."""
    return ObjectStore(place) if place.startswith("s3://") else Folder(Path(place))


def save(store: Store, name: str, gate: Path, side: SideName) -> Saved:
    """Save a side of a gate as a baseline.

    Raises:
        UsageError: it is no gate, or a name is wrong.
        RefusedError: its trials prove nothing.
    """
    check_name(name)
    directory = GateDirectory.open(gate)
    manifest, slos, trials = read_gate(directory)
    if problem := of_no_use(manifest):
        raise RefusedError(f"{gate}: {problem}; such trials are no baseline")
    own = [one for one in trials if one.entry.side == side]
    if not own:
        raise RefusedError(f"{gate}: no valid trial of its {side} is whole")
    kept = numbers_by_sli(own, side, slis_of(slos))
    if lacking := [name for name, numbers in kept.items() if not _is_whole(numbers)]:
        raise RefusedError(
            f"{gate}: a trial of its {side} has no number for {', '.join(lacking)};"
            " run the gate longer, or of traffic that has them: such trials are no baseline"
        )
    entry = Baseline(
        saved=now_utc(),
        gate_id=manifest.gate_id,
        side=side,
        commit=manifest.commit,
        fingerprint=fingerprint_of(directory, manifest, side),
        requests=fewest(own),
        trials=kept,
    )
    return add(store, name, entry)


def promote(store: Store, name: str, number: str, reason: str) -> Saved:
    """Say that a baseline is the accepted one from here on.

    Raises:
        UsageError: there is no such baseline.
    """
    found = {one.number: one for one in entries(store, name) if isinstance(one.entry, Baseline)}
    wanted = f"{int(number):06d}" if number.isdecimal() else number
    if wanted not in found:
        known = ", ".join(found) or "none"
        raise UsageError(f"{store.where}: no baseline {name}@{wanted}; there are {known}")
    return add(store, name, Promotion(saved=now_utc(), entry=wanted, reason=reason))


def entries(store: Store, name: str = "") -> list[Saved]:
    """Return the log of one name, or of all; oldest first.

    Raises:
        SpecError: an entry cannot be read.
    """
    found: list[Saved] = []
    accepted: dict[str, str] = {}
    withdrawn = set[tuple[str, str]]()
    for key in store.keys():  # noqa: SIM118  # it is no mapping
        about = number_of(key)
        if about is None or (name and about[0] != name):
            continue
        entry = from_text(f"{store.where}/{key}", store.read(key))
        if isinstance(entry, Promotion):
            accepted[about[0]] = entry.entry
        if isinstance(entry, Withdrawal):
            withdrawn.add((about[0], entry.entry))
        found.append(Saved(about[0], f"{about[1]:06d}", entry))
    return [
        replace(
            one,
            promoted=isinstance(one.entry, Baseline) and accepted.get(one.name) == one.number,
            withdrawn=isinstance(one.entry, AcceptedRun) and (one.name, one.number) in withdrawn,
        )
        for one in found
    ]


def accepted(store: Store, asked: str) -> Saved:
    """Return a baseline: `NAME`, the promoted one, or `NAME@000001`.

    Raises:
        UsageError: there is none, or none of that name was promoted.
    """
    name, _, number = asked.partition("@")
    check_name(name)
    own = [one for one in entries(store, name) if isinstance(one.entry, Baseline)]
    if not own:
        known = {one.name for one in entries(store)}
        near = nearest(name, known) or f"; there are {', '.join(sorted(known)) or 'none'}"
        raise UsageError(f"{store.where}: no baseline named {name!r}{near}")
    wanted = f"{int(number):06d}" if number.isdecimal() else number
    found = [one for one in own if (one.number == wanted if number else one.promoted)]
    if not found:
        which = f"no {name}@{wanted}" if number else "none is promoted"
        listed = ", ".join(one.number for one in own)
        raise UsageError(
            f"{store.where}: {which}; there are {listed}: faultload baseline promote {name} NUMBER"
        )
    return found[-1]


def trials_of(saved: Saved) -> dict[str, dict[str, list[float]]]:
    """Return SLI → trace → numbers of a baseline."""
    assert isinstance(saved.entry, Baseline)  # noqa: S101  # `accepted` returns no other
    return saved.entry.trials


def check_comparable(
    saved: Saved, fingerprint: Mapping[str, str], differs: Sequence[str] = ()
) -> list[str]:
    """Return what differs and was said to; what was not is refused.

    Args:
        saved: a baseline.
        fingerprint: of what is compared with it.
        differs: beginnings of keys that are meant to differ: `environment.config.tiers.fast`.

    Raises:
        RefusedError: something else differs; says what.
    """
    assert isinstance(saved.entry, Baseline)  # noqa: S101  # `accepted` returns no other
    found = unlike(saved.entry.fingerprint, fingerprint)
    meant = [one for one in found if one.startswith(tuple(differs))]
    strange = [one for one in found if one not in meant]
    if strange:
        more = f"; and {len(strange) - 6} more" if len(strange) > 6 else ""
        raise RefusedError(
            f"baseline {saved.name}@{saved.number} was measured on something else:"
            f" {'; '.join(strange[:6])}{more}. Run both sides live, save a baseline of this, or say"
            " with --differs KEY what is meant to differ"
        )
    return meant


def fingerprint_of(
    directory: GateDirectory, manifest: GateManifest, side: SideName
) -> dict[str, str]:
    """Return what must be equal for two sets of trials to be compared."""
    environment = manifest.sides[side].environment
    return {
        "scenario": digest(directory.scenario.read_bytes()),
        "slos": digest(directory.slos.read_bytes()),
        "traces": digest(repr(sorted(manifest.traces.items())).encode()),
        "warmup_s": f"{manifest.warmup_s:g}",
        "trial_s": f"{manifest.trial_s:g}",
        "faultload": manifest.faultload_version,
        **{f"version.{name}": value for name, value in manifest.versions.items()},
        **{f"environment.{key}": value for key, value in environment.items()},
    }


def numbers_by_sli(
    trials: Sequence[Trial], side: SideName, slis: Sequence[Sli]
) -> dict[str, dict[str, list[float]]]:
    """Return SLI → trace → numbers; NaN: a trial has none."""
    last = max((one.entry.stage for one in trials), default=0)
    return {sli.name: side_of(trials, side, sli.name, last) for sli in slis}


def _is_whole(numbers: Mapping[str, Sequence[float]]) -> bool:
    return all(math.isfinite(value) for values in numbers.values() for value in values)


def add(store: Store, name: str, entry: AnyEntry) -> Saved:
    """Add an entry under the next number of its name.

    Raises:
        RefusedError: others are always quicker.
    """
    for _ in range(_TRIES):
        taken = [found[1] for key in store.keys() if (found := number_of(key)) and found[0] == name]  # noqa: SIM118
        number = max(taken, default=0) + 1
        if store.create(key_of(name, number), to_text(entry).encode()):
            return Saved(name, f"{number:06d}", entry)
    raise RefusedError(f"{store.where}: others save under {name!r} all the time; try again")


def now_utc() -> str:
    """Return the time as entries have it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def digest(data: bytes) -> str:
    """Return what stands for data where entries are compared: equal for equal data."""
    return hashlib.sha256(data).hexdigest()[:16]
