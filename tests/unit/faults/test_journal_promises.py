"""What the journal promises, whatever fails and whenever the harness dies."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from clock import Clock
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import Platform, replica

from faultload.errors import FaultError, FaultloadError, MissingError
from faultload.faults import FAULTS, FaultSession
from faultload.faults.limits import Limits
from faultload.record import InjectionEntry, InjectionJournal, InjectionStep

_FAULTS = ("hang_replica", "partition_replica", "cordon_node", "hang_engine", "slow_gpu")
"""Each leaves a harm of its own kind, which goes only when it is taken back."""
_ACTS = frozenset(
    {
        *("stop_replica", "continue_replica", "partition", "join", "cordon_node", "uncordon_node"),
        *("stop_engine", "continue_engine", "slow_engine", "quicken_engine"),
    }
)
_FAILURES = ("refused", "answer lost", "not written", "torn", "not synced", "died")


class Died(BaseException):
    """The harness was killed: nothing of it goes on."""


class Fate:
    """What goes wrong, in the order in which things are tried."""

    def __init__(self, failures: list[str]) -> None:
        self._failures = failures

    def next(self) -> str:
        return self._failures.pop(0) if self._failures else ""


class Journal(InjectionJournal):
    """A journal whose disk fails as fate has it."""

    def __init__(self, path: Path, fate: Fate) -> None:
        super().__init__(path)
        self._fate = fate

    def append(self, entry: InjectionEntry) -> None:
        failure = self._fate.next()
        if failure == "not written":
            raise OSError(errno.ENOSPC, "No space left on device")
        before = self.path.stat().st_size if self.path.exists() else 0
        super().append(entry)
        if failure in ("torn", "died"):  # a part of the line is there, and no more comes
            size = self.path.stat().st_size
            os.truncate(self.path, before + (size - before) // 2)
        if failure == "died":
            raise Died
        if failure in ("torn", "not synced"):
            raise OSError(errno.EIO, "Input/output error")


class Unreliable:
    """A platform that refuses, or does what it is told and cannot say so."""

    def __init__(self, platform: Platform, fate: Fate) -> None:
        self._platform, self._fate = platform, fate

    def __getattr__(self, name: str) -> Any:
        act = getattr(self._platform, name)
        if name not in _ACTS:
            return act

        def unreliable(*words: Any, **more: Any) -> Any:
            failure = self._fate.next()
            if failure == "refused":
                raise FaultError("refused")
            answer = act(*words, **more)
            if failure == "answer lost":
                raise MissingError("no answer")
            if failure == "died":
                raise Died
            return answer

        return unreliable


def engines() -> Platform:
    """Return a platform with two engines for each kind of fault."""
    return Platform(*(replica(f"{t}-{n}", tier=t, node=f"node-{t}") for t in _FAULTS for n in "ab"))


def harm(platform: Platform) -> dict[str, Any]:
    """Return all that is not as it should be; empty: nothing."""
    found = {
        "not ready": [one.name for one in platform.engines.values() if not one.ready],
        "closed": [one.name for one in platform.machines.values() if not one.schedulable],
        "hung": sorted(platform.hung),
        "slow": sorted(platform.slowed),
        "cut": sorted(platform.cut),
        "marked": sorted(platform.marks),
    }
    return {what: who for what, who in found.items() if who}


@contextmanager
def virtual() -> Iterator[None]:
    """Let time pass at once, and disks be quick: they fail where fate says so."""
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock()
        patch.setattr("faultload.faults.proofs.time", clock)
        patch.setattr("faultload.faults.session.time", clock)
        patch.setattr("os.fsync", lambda _: None)
        yield


def play(session: FaultSession, platform: Platform, names: list[str]) -> None:
    """Inject one after the other, as Chaos Toolkit does: whatever becomes of the one before."""
    for name in names:
        fault: Any = FAULTS[name]
        own = {} if name == "cordon_node" else {"tier": name}
        with suppress(FaultloadError, OSError):
            session.apply(fault(session.target, fault.intent(**own), Limits()))


def order(journal: InjectionJournal, step: InjectionStep) -> list[str]:
    """Return whose step was journalled, in order."""
    return [entry.injection_id for entry in journal.entries() if entry.step is step]


@settings(max_examples=80)
@given(
    names=st.lists(st.sampled_from(_FAULTS), min_size=1, max_size=4),
    failures=st.lists(st.sampled_from(("", "", *_FAILURES)), max_size=40),
)
def test_nothing_is_in_force_after_a_revert_in_peace(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], failures: list[str]
) -> None:
    """Whatever failed while harm was done and taken back, and wherever the harness died in it.

    The next process takes everything back, and once more changes nothing.
    """
    platform, path = engines(), tmp_path_factory.mktemp("journal") / "injections.jsonl"
    fate = Fate(list(failures))
    unreliable: Any = Unreliable(platform, fate)
    with virtual():
        session = FaultSession(unreliable, Journal(path, fate))
        with suppress(Died):
            play(session, platform, names)
            with suppress(FaultError):
                session.revert_all()

        journal = InjectionJournal(path)
        left = [entry.injection_id for entry in journal.unreverted()]
        before = len(order(journal, InjectionStep.REVERTING))
        FaultSession(platform, journal).revert_all()
        acts = list(platform.acts)
        again = FaultSession(platform, journal).revert_all()

    assert harm(platform) == {}
    assert order(journal, InjectionStep.REVERTING)[before:] == left
    begun = [key for key in order(journal, InjectionStep.PLANNED) if key in left]
    assert left == list(reversed(begun)), "the newest is taken back first"
    assert (again, platform.acts, journal.unreverted()) == ([], acts, [])


@settings(max_examples=20)
@given(stuck=st.integers(0, 4), order_=st.permutations(_FAULTS))
def test_one_that_cannot_be_taken_back_keeps_no_other(
    tmp_path_factory: pytest.TempPathFactory, stuck: int, order_: list[str]
) -> None:
    """The others go, the error names the one that stays, and later that goes too."""
    platform, path = engines(), tmp_path_factory.mktemp("journal") / "injections.jsonl"
    with virtual():
        session = FaultSession(platform, InjectionJournal(path))
        play(session, platform, order_)
        fault: Any = FAULTS[order_[stuck]]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fault, "revert", _fail)
            with pytest.raises(FaultError) as failed:
                session.revert_all()

        (left,) = session.journal.unreverted()
        named = [name for name in order_ if f"{name}-" in str(failed.value)]
        assert left.fault == order_[stuck]
        assert named == [order_[stuck]]
        session.revert_all()

    assert harm(platform) == {}


@pytest.mark.parametrize("written", range(21))
def test_full_disk_keeps_nothing_from_being_taken_back(tmp_path: Path, written: int) -> None:
    """Whichever entry is the first that finds no room: the harm goes, and the error says the rest.

    What the journal could not be told stays in it as unreverted, for `faultload recover`.
    """
    platform, path = engines(), tmp_path / "injections.jsonl"
    fate = Fate([""] * written + ["not written"] * 50)
    with virtual():
        session = FaultSession(platform, Journal(path, fate))
        play(session, platform, list(_FAULTS[:3]))
        if session.journal.unreverted():
            with pytest.raises(FaultError, match="taken back, but the journal .*No space left"):
                session.revert_all()
        assert harm(platform) == {}

        FaultSession(platform, InjectionJournal(path)).revert_all()
        assert (harm(platform), InjectionJournal(path).unreverted()) == ({}, [])


def _fail(*_: object) -> None:
    raise RuntimeError("no way back")


def test_act_waits_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the harm is done its plan and its beginning are fsynced, and so is the folder."""
    seen: list[str] = []
    platform = engines()
    sync, stop = os.fsync, platform.stop_replica

    def fsync(descriptor: int) -> None:
        sync(descriptor)
        seen.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "journal")  # noqa: PTH112

    def stop_replica(name: str, uid: str) -> None:
        seen.append("act")
        stop(name, uid)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(platform, "stop_replica", stop_replica)
    journal = InjectionJournal(tmp_path / "injections.jsonl")
    play(FaultSession(platform, journal), platform, ["hang_replica"])

    assert seen[: seen.index("act")] == ["journal", "folder", "journal"]
