"""The injection journal: what it says survives any crash, and says what may still be broken."""

from __future__ import annotations

import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faultload.errors import SpecError
from faultload.record import InjectionEntry, InjectionJournal, InjectionStep

_STEPS = list(InjectionStep)


def _entry(injection_id: str, step: InjectionStep, **more: object) -> InjectionEntry:
    return InjectionEntry(injection_id, step, "kill_replica", 1000.0, **more)  # type: ignore[arg-type]


def _journal(folder: Path, *entries: InjectionEntry) -> InjectionJournal:
    journal = InjectionJournal(folder / "injections.jsonl")
    for entry in entries:
        journal.append(entry)
    return journal


def test_what_is_appended_is_read_back(tmp_path: Path) -> None:
    """Entries come back equal and in order; the file is its owner's only."""
    entries = [
        _entry("a", InjectionStep.PLANNED, plan={"victims": [{"name": "engine-1"}]}),
        _entry("a", InjectionStep.VERIFIED, evidence={"text": "gone — at last"}),
        _entry("a", InjectionStep.FAILED, problem="revert: two\nlines"),
    ]
    journal = _journal(tmp_path, *entries)
    assert journal.entries() == entries
    assert stat.S_IMODE(journal.path.stat().st_mode) == 0o600


def test_no_file_is_no_harm(tmp_path: Path) -> None:
    """A run that never planned a fault has nothing to revert."""
    journal = InjectionJournal(tmp_path / "injections.jsonl")
    assert journal.entries() == []
    assert journal.unreverted() == []


@settings(deadline=None)
@given(st.data())
def test_cut_anywhere_loses_at_most_the_last_line(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """A crash in the middle of a write spoils that entry only; the next append is whole."""
    entries = [_entry(f"é{n}", _STEPS[n], problem="ü" * n) for n in range(4)]
    journal = _journal(tmp_path_factory.mktemp("cut"), *entries)
    whole = journal.path.read_bytes()
    keep = data.draw(st.integers(0, len(whole)))
    journal.path.write_bytes(whole[:keep])
    # A last line that lacks only its newline is whole.
    kept = sum(len(line) <= keep for line in _prefixes(whole))
    assert journal.entries() == entries[:kept]
    after = _entry("after", InjectionStep.PLANNED)
    journal.append(after)
    assert journal.entries() == [*entries[:kept], after]


@pytest.mark.parametrize("rubbish", [b"\0" * 64, b"\xff\xfe\x00", b'{"step": "pla'])
def test_rubbish_at_the_end_is_left_out(tmp_path: Path, rubbish: bytes) -> None:
    """A file system may leave anything where a write was under way; `recover` must still read."""
    entry = _entry("a", InjectionStep.PLANNED)
    journal = _journal(tmp_path, entry)
    with journal.path.open("ab") as file:
        file.write(rubbish)
    assert journal.entries() == [entry]
    journal.append(entry)
    assert journal.entries() == [entry, entry]


def _prefixes(text: bytes) -> list[bytes]:
    """Return the file up to the end of each line, newline left out."""
    ends = [index for index, byte in enumerate(text) if byte == ord("\n")]
    return [text[:end] for end in ends]


@pytest.mark.parametrize(
    "line",
    [
        '{"step": "planned"}',
        '{"step": "exploded", "injection_id": "a", "fault": "f", "time_unix_s": 1}',
        '{"injection_id": "a"}',
        "[1, 2]",
        "3",
        '{"step": "planned", "injection_id": "a", "fault": "f", "time_unix_s": 1, "more": 2}',
    ],
)
def test_whole_line_that_is_no_entry_is_an_error(tmp_path: Path, line: str) -> None:
    """JSON that is not an entry was not cut short: someone wrote it, and we must not guess."""
    path = tmp_path / "injections.jsonl"
    path.write_text(line + "\n", encoding="utf-8")
    with pytest.raises(SpecError, match="line 1: not a journal entry"):
        InjectionJournal(path).entries()


def test_unreverted_are_those_that_began_and_are_not_proven_gone(tmp_path: Path) -> None:
    """Newest first, because harm is taken back in the opposite order; a mere plan did none."""
    step = InjectionStep
    journal = _journal(
        tmp_path,
        *(_entry("gone", s) for s in (step.PLANNED, step.INJECTING, step.INJECTED)),
        *(_entry("gone", s) for s in (step.REVERTING, step.REVERTED, step.VERIFIED_REVERTED)),
        *(_entry("half", s) for s in (step.PLANNED, step.INJECTING, step.FAILED)),
        *(_entry("only planned", s) for s in (step.PLANNED,)),
        *(_entry("unproven", s) for s in (step.PLANNED, step.INJECTING, step.REVERTED)),
    )
    found = journal.unreverted()
    assert [entry.injection_id for entry in found] == ["unproven", "half"]
    assert all(entry.step is step.PLANNED for entry in found)


@pytest.mark.parametrize("spoilt", [b"\0" * 40, b'{"fault": "kill_rep', b"", b"\xff{}"])
def test_line_that_cannot_be_read_may_have_begun_the_harm(tmp_path: Path, spoilt: bytes) -> None:
    """A plan is not forgotten because the disk lost the line behind it; what is gone stays gone."""
    step = InjectionStep
    journal = _journal(
        tmp_path,
        *(_entry("gone", s) for s in (step.PLANNED, step.INJECTING, step.VERIFIED_REVERTED)),
        _entry("first", step.PLANNED),
        _entry("second", step.PLANNED),
        _entry("second", step.INJECTING),
    )
    with journal.path.open("ab") as file:
        file.write(spoilt + b"\n")
    journal.append(_entry("second", step.REVERTING))

    listed = [entry.injection_id for entry in journal.unreverted()]
    assert listed == (["second", "first"] if spoilt else ["second"]), "an empty line says nothing"


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(_STEPS)), max_size=12))
def test_unreverted_never_forgets(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, InjectionStep]]
) -> None:
    """Whatever the order, harm that was begun is listed until proven gone."""
    journal = _journal(tmp_path_factory.mktemp("any"), *(_entry(i, s) for i, s in steps))
    listed = {entry.injection_id for entry in journal.unreverted()}
    for name in "abc":
        own = [step for injection, step in steps if injection == name]
        proven_gone = InjectionStep.VERIFIED_REVERTED in own
        harmful = InjectionStep.INJECTING in own
        if harmful and not proven_gone:
            assert name in listed
        if not harmful:
            assert name not in listed


def test_full_disk_is_an_error_before_the_act(tmp_path: Path) -> None:
    """A disk that takes only part of a line makes the append fail: nobody acts on half a plan."""
    code = textwrap.dedent(f"""
        import pathlib, resource, signal
        from faultload.record import InjectionEntry, InjectionJournal, InjectionStep
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        journal = InjectionJournal(pathlib.Path({str(tmp_path / "j")!r}))
        resource.setrlimit(resource.RLIMIT_FSIZE, (50, 50))
        try:
            journal.append(InjectionEntry("a", InjectionStep.PLANNED, "f", 0.0))
        except OSError:
            raise SystemExit(3)
    """)

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 3
