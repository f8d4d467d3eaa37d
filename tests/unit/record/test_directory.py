"""A run's directory: sealed once, and every later change is seen."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from faultload.errors import SpecError, UsageError
from faultload.record import LoadSummary, Manifest, Outcome, Phase, PhaseName, RunDirectory
from faultload.record.directory import write_json
from faultload.record.manifest import Clock


def _manifest() -> Manifest:
    return Manifest(
        run_id="r1",
        experiment="engine/replica-loss",
        title="Losing one engine replica is over in 30 seconds",
        scenario="chat",
        slos=["chat-ttft"],
        target="local",
        target_fingerprint="f1",
        seed=1,
        repeat="faultload run engine/replica-loss --target local --seed 1",
        faultload_version="0.1.0",
        versions={"python": "3.11"},
        commit="",
        clock=Clock(t0_unix_s=1000.0, t0_monotonic_s=5.0),
        phases=[Phase(name=PhaseName.BASELINE, start_s=0.0, end_s=10.0)],
        outcome=Outcome.COMPLETED,
        load=LoadSummary(
            requests_due=3,
            requests_sent=3,
            rows=3,
            lag_s_p99=0.001,
            cpu_share_max=None,
            workers=1,
        ),
    )


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A run with two files in its record, one of them in a folder."""
    run = RunDirectory.create(tmp_path / "reports", "r1")
    run.experiment.write_text("title: A\n", encoding="utf-8")
    (run.logs / "engine.log").write_text("started\n", encoding="utf-8")
    return run


def test_created_for_its_owner_only(run: RunDirectory) -> None:
    """Logs and rows are nobody else's business."""
    for folder in (run.path, run.record, run.logs):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_run_is_never_written_over(run: RunDirectory) -> None:
    """An id that exists is refused, so that no record is lost."""
    with pytest.raises(UsageError, match="cannot make the run's directory"):
        RunDirectory.create(run.path.parent, run.run_id)


def test_opened_by_its_folder_or_its_record(run: RunDirectory) -> None:
    """People complete either path; a folder with no record is an error."""
    assert RunDirectory.open(run.path) == RunDirectory.open(run.record) == run
    with pytest.raises(UsageError, match="expected a run's directory"):
        RunDirectory.open(run.logs)


def test_seal_round_trips_and_names_every_file(run: RunDirectory) -> None:
    """The manifest read back is the one written, with a hash for each other file."""
    sealed = run.seal(_manifest())
    assert run.manifest() == sealed
    assert sorted(sealed.sha256) == ["experiment.yaml", "logs/engine.log"]
    assert run.tampered() == []


def test_tampering_is_seen(run: RunDirectory) -> None:
    """A file changed, added or missing since the seal is named."""
    run.seal(_manifest())
    run.experiment.write_text("title: B\n", encoding="utf-8")
    (run.logs / "engine.log").unlink()
    (run.record / "extra.txt").write_text("", encoding="utf-8")
    assert run.tampered() == ["experiment.yaml", "extra.txt", "logs/engine.log"]


def test_reports_beside_the_record_do_not_break_the_seal(run: RunDirectory) -> None:
    """A run can be reported again: only `record/` is final."""
    run.seal(_manifest())
    (run.path / "report.html").write_text("<html>", encoding="utf-8")
    assert run.tampered() == []


def test_sealing_again_seals_what_is_there(run: RunDirectory) -> None:
    """`recover` may seal a record that a crash left half sealed."""
    run.seal(_manifest())
    run.scenario.write_text("name: chat\n", encoding="utf-8")
    run.seal(_manifest())
    assert run.tampered() == []


def test_unsealed_run_says_what_to_do(run: RunDirectory) -> None:
    """No manifest means that the run never ended in good order."""
    with pytest.raises(SpecError, match="not sealed; try faultload recover"):
        run.manifest()


@pytest.mark.parametrize(
    ("text", "says"),
    [("", "Invalid JSON"), ("{", "Invalid JSON"), ("{}", "run_id"), ('{"run_id": 3}', "run_id")],
)
def test_damaged_manifest_is_one_line(run: RunDirectory, text: str, says: str) -> None:
    """A manifest that is none names its file and the key at fault."""
    run.manifest_path.write_text(text, encoding="utf-8")
    with pytest.raises(SpecError, match=says) as caught:
        run.manifest()
    assert "\n" not in str(caught.value)


def test_json_is_whole_or_old(tmp_path: Path) -> None:
    """A write that fails leaves what was there: a NaN is no JSON, and no half file replaces it."""
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(path, {"a": float("nan")})
    assert path.read_text(encoding="utf-8") == '{\n  "a": 1\n}\n'
