"""`faultload lint metrics`: which files it reads by itself, and how it ends."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from faultload.cli import invoke

ROOT = Path(__file__).parents[3]
HOME = ROOT / "platform/observability"
_DEAD = "groups: [{name: g, rules: [{alert: A, expr: 'vllm:gpu_cache_usage_perc > 0.9'}]}]\n"


def test_shipped_files_are_clean(capsys: pytest.CaptureFixture[str]) -> None:
    """Without files it looks at dashboards, rules and triggers of the project."""
    assert invoke(["lint", "metrics", "--root", str(ROOT)]) == 0
    assert "name nothing dead" in capsys.readouterr().out


def test_a_dead_name_is_one_line_and_a_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """File, rule, what is dead and what to use."""
    path = tmp_path / "rules.yaml"
    path.write_text(_DEAD)

    assert invoke(["lint", "metrics", str(path), "--root", str(ROOT)]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith(
        "rules.yaml: alert 'A': vllm:gpu_cache_usage_perc: no such series;"
        " it was removed, use vllm:kv_cache_usage_perc"
    )


def test_a_metrics_file_of_ones_own_needs_no_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who has another platform names what it exports, and stands wherever they like."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(HOME / "metrics.yaml", tmp_path / "own.yaml")
    Path("rules.yaml").write_text(_DEAD)

    assert invoke(["lint", "metrics", "rules.yaml", "--metrics", "own.yaml", "--json"]) == 1
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["file"], found["kind"], found["name"]) == ("rules.yaml", "alert", "A")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("board.json", "{", "expected JSON"),
        ("deployment.yaml", "kind: Deployment\n", "found no query in it"),
        ("nothing.yaml", None, "no such file"),
    ],
)
def test_another_file_is_refused(
    tmp_path: Path, name: str, text: str | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is nothing we read is never clean."""
    path = tmp_path / name
    if text is not None:
        path.write_text(text)

    assert invoke(["lint", "metrics", str(path), "--root", str(ROOT)]) == 64
    assert said in capsys.readouterr().err


def test_a_prometheus_that_is_away_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody was asked, so nothing is said about the queries."""
    assert invoke(["lint", "metrics", "--root", str(ROOT), "--url", "http://127.0.0.1:9"]) == 69
    assert "cannot be reached" in capsys.readouterr().err
