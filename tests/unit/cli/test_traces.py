"""`faultload trace`: make, import and show, and one line for whatever goes wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from faultload.cli import invoke
from faultload.errors import ExitCode

ROOT = Path(__file__).parents[3]
SAMPLES = ROOT / "scenarios" / "samples"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test writes into a folder of its own."""
    monkeypatch.chdir(tmp_path)


def made(name: str, *more: str) -> int:
    """Make a trace of a shipped scenario."""
    return invoke(["trace", "make", name, "--out", "t", "--root", str(ROOT), *more])


def test_show_says_what_is_in_a_trace(capsys: pytest.CaptureFixture[str]) -> None:
    """For a person and for a script: rate, tiers, tenants, sessions and what repeats."""
    assert made("shared-prefix", "--duration", "30", "--seed", "3") == ExitCode.PASS
    capsys.readouterr()
    assert invoke(["trace", "show", "t"]) == ExitCode.PASS
    shown = capsys.readouterr().out
    for word in ("acme", "chat-reasoning", "up to 6 turns", "p50/p95/max", "prefixes"):
        assert word in shown
    assert invoke(["trace", "show", "t", "--json"]) == ExitCode.PASS
    about = json.loads(capsys.readouterr().out)
    assert about["rate_rps"] == pytest.approx(16, rel=0.2)
    assert len(about["rate"]) == 10
    assert sum(row["rps"] * (row["to_s"] - row["from_s"]) for row in about["rate"]) == (
        pytest.approx(about["requests"])
    )
    assert {row["tier"] for row in about["tiers"]} == {"fast", "reasoning"}
    assert about["sessions"]["share"] == pytest.approx(0.7, abs=0.1)
    assert 0.5 < about["prefix_share"] < 1


def test_a_trace_of_nothing_can_be_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """No request is no rate, and no defect."""
    assert made("soak", "--duration", "0.001") == ExitCode.PASS
    assert invoke(["trace", "show", "t"]) == ExitCode.PASS
    assert capsys.readouterr().out.count("0 requests") == 2
    assert invoke(["trace", "show", "t", "--json"]) == ExitCode.PASS
    assert json.loads(capsys.readouterr().out)["rate_rps"] is None


def test_import_writes_a_trace(capsys: pytest.CaptureFixture[str]) -> None:
    """It says how many requests there are, their hash, and how many were left out."""
    words = ["trace", "import", "burstgpt", str(SAMPLES / "burstgpt.csv"), "--out", "t"]
    models = ["--map", "ChatGPT=fast:chat-fast", "--map", "GPT-4=reasoning:chat-reasoning"]
    assert invoke([*words, *models, "--scale-rate", "2"]) == ExitCode.PASS
    said = capsys.readouterr().out
    assert "t: 5 requests, sha256 " in said
    assert "left out: 1 requests" in said
    assert invoke(["trace", "show", "t", "--json"]) == ExitCode.PASS
    about = json.loads(capsys.readouterr().out)
    assert about["last_due_s"] == 9.5
    assert [row["requests"] for row in about["tiers"]] == [3, 2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["import", "azur", "azure.csv"], "did you mean 'azure'?"),
        (["import", "azure", "none.csv"], "No such file"),
        (["import", "azure", "sharegpt.json"], "column TIMESTAMP"),
        (["import", "burstgpt", "burstgpt.csv", "--map", "GPT-4"], "expected RECORDED=TIER:MODEL"),
        (["import", "azure", "azure.csv", "--from-s", "5", "--to-s", "5"], "--to-s: expected more"),
        (["import", "azure", "azure.csv", "--scale-rate", "0"], "--scale-rate"),
        (["import", "azure", "azure.csv", "--limit", "0"], "--limit"),
        (["show", "azure.csv"], "not a readable trace"),
        (["show", "none.parquet"], "no such trace"),
        (["make", "soakk", "--root", str(ROOT)], "did you mean 'soak'?"),
    ],
)
def test_mistakes_are_one_line_and_64(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    """Nothing is written, and no traceback is shown."""
    found = [str(SAMPLES / word) if (SAMPLES / word).is_file() else word for word in arguments]
    out = [] if arguments[0] == "show" else ["--out", "t"]
    assert invoke(["trace", *found, *out]) == ExitCode.USAGE
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert not Path("t").exists()
