"""`faultload tune batch`: exit codes, and one line for every mistake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sweeps import Platforms, sweep_plan

from faultload.cli import invoke


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--sizes", "4,many", "--model", "chat-fast"], "expected whole numbers such as 4,8,16"),
        (["--sizes", "4,4", "--model", "chat-fast"], "found 4 twice"),
        ([], "say which with --model"),
        (["--model", "gpt"], "no requests to model 'gpt'"),
        (["--model", "chat-fast", "--target", "https://x.example"], "--runs 16=reports/RUN"),
        (["--runs", "16=nowhere"], "expected a run's directory"),
        (["--runs", "16=nowhere", "--seed", "3"], "--runs starts nothing"),
        (["--runs", "16=nowhere", "--slo", "chat"], "expected a file"),
        (["--model", "chat-fast", "--slo", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_mistakes_are_one_line_and_start_nothing(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 64, and what to do."""
    assert invoke(["tune", "batch", *words]) == 64

    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_stored_sweep_is_told_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table, or JSON for a script; the exit code is the choice's; files are written."""
    sweep = Platforms().sweep(sweep_plan(tmp_path / "live", sizes=(8, 16)))
    sweep.run()
    stored = ["tune", "batch", "--runs", str(sweep.path), "--reports", str(tmp_path / "again")]

    assert invoke(stored) == 0
    assert "cheapest that holds: 16" in capsys.readouterr().out
    assert invoke([*stored, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["choice"]["batch"] == 16
    assert len(list((tmp_path / "again").glob("tune-*/tune.html"))) == 2
