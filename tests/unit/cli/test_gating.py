"""`faultload gate` and `faultload baseline`: exit codes, and one line for every mistake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from gates import Bench, planned, threshold

from faultload.cli import invoke
from faultload.run.gate.conduct import Gate
from faultload.run.progress import Silent


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a gate of a platform with itself."""
    bench = Bench({1: {"baseline": 1.0, "candidate": 1.0}})
    plan = planned(tmp_path_factory.mktemp("gates"), traces=5, trial_s=25.0)
    gate = Gate(plan, Silent(), player=bench.play, opening=bench.opening, look=threshold)
    return gate.run().path


def test_stored_gate_is_judged_without_a_platform(
    stored: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code is the verdict's, and files are written beside the record."""
    assert invoke(["gate", "--stored", str(stored)]) == 0

    said = capsys.readouterr().out
    assert said.startswith("PASS: ")
    assert "gate.md" in said
    assert invoke(["gate", "--stored", str(stored), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "pass"


def test_baseline_is_saved_promoted_listed_and_compared(
    stored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was accepted is kept, and a candidate of another session can be held against it."""
    store = ["--store", str(tmp_path)]
    compare = ["gate", "--stored", "--baseline", "chat", "--candidate", str(stored)]

    assert invoke(["baseline", "save", "chat", str(stored), *store]) == 0
    assert invoke([*compare, *store]) == 64
    assert "none is promoted" in capsys.readouterr().err
    assert invoke(["baseline", "promote", "chat", "1", "--reason", "release 7", *store]) == 0
    assert invoke(["baseline", "list", *store]) == 0
    assert "* chat@000001" in capsys.readouterr().out

    assert invoke([*compare, *store]) == 0
    assert "another session" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 64, "expected --baseline and --candidate"),
        (["--baseline", "local"], 64, "expected --baseline and --candidate"),
        (["--stored"], 64, "--stored: expected a gate's directory"),
        (["--stored", "nowhere"], 64, "expected a gate's directory with manifest.json"),
        (
            ["--stored", "--baseline", "chat", "--candidate", "local", "--confirm"],
            64,
            "--stored --baseline NAME runs the candidate alone: expected no --confirm",
        ),
        (
            ["--stored", "--baseline", "chat", "--candidate", "http://127.0.0.1:1"],
            64,
            "no baseline named 'chat'",
        ),
        (["reports"], 64, "expected --baseline and --candidate"),
        (
            ["--baseline", "local", "--candidate", "local", "--mode", "fast"],
            64,
            "expected quick or full, found 'fast'",
        ),
        (
            ["--baseline", "http://127.0.0.1:1", "--candidate", "ftp://x"],
            64,
            "no target named 'ftp://x'",
        ),
        (
            ["--baseline", "http://127.0.0.1:1", "--candidate", "http://127.0.0.1:1"],
            69,
            "http://127.0.0.1:1/v1/models does not answer",
        ),
    ],
)
def test_mistake_is_one_line(
    words: list[str],
    code: int,
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What was expected, what was found, and the exit code of its kind; nothing is left behind."""
    where = ["--reports", str(tmp_path / "reports")]

    assert invoke(["gate", *words, *where]) == code

    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert list(tmp_path.glob("reports/gate-*")) == []
