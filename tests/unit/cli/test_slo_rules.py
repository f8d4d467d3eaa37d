"""`faultload slo rules`: writing is repeatable, drift is named, and a bad SLO file is one line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from faultload.cli import invoke

ROOT = Path(__file__).parents[3]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project with the repository's SLOs and no rules, as the current folder."""
    shutil.copytree(ROOT / "slos", tmp_path / "slos")
    for name in ("experiments", "targets"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def rules(project: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Return the folder of the rules, just written."""
    assert invoke(["slo", "rules"]) == 0
    capsys.readouterr()
    return project / "platform/observability/rules"


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_writing_twice_changes_nothing(rules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same SLOs give the same bytes, those of the repository, and what is checked is whole."""
    first = contents(rules)

    assert invoke(["slo", "rules"]) == 0
    assert capsys.readouterr().out.count("wrote platform/observability/rules/") == len(first)
    assert contents(rules) == first
    shipped = contents(ROOT / "platform/observability/rules")
    assert {name: shipped[name] for name in first} == first
    assert invoke(["slo", "rules", "--check"]) == 0


def test_every_drift_is_named_and_nothing_is_written(
    rules: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that differs, one that is missing and one too many: a line each, exit code 1."""
    (rules / "chat.yaml").write_text("groups: []\n", encoding="utf-8")
    missing = next((rules / "tests").iterdir())
    missing.unlink()
    (rules / "old.yaml").write_text("# Made by `faultload slo rules`\n", encoding="utf-8")
    (rules / "own.yaml").write_text("groups: []\n", encoding="utf-8")  # somebody's, let be
    before = contents(rules)

    assert invoke(["slo", "rules", "--check"]) == 1

    said = capsys.readouterr().err.splitlines()
    where = "platform/observability/rules"
    assert said == [
        f"{where}/chat.yaml: not what the SLOs say; run: faultload slo rules",
        f"{where}/old.yaml: no SLO file makes it any more; remove it",
        f"{where}/tests/{missing.name}: not what the SLOs say; run: faultload slo rules",
    ]
    assert contents(rules) == before


def test_what_check_asks_for_mends_it(
    rules: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another target is drift until the command has run."""
    path = project / "slos/chat.yaml"
    text = path.read_text(encoding="utf-8")
    assert "target: 0.95" in text
    path.write_text(text.replace("target: 0.95", "target: 0.96", 1), encoding="utf-8")

    assert invoke(["slo", "rules", "--check"]) == 1
    assert f"{rules.name}/chat.yaml: not what" in capsys.readouterr().err
    assert invoke(["slo", "rules"]) == 0
    assert invoke(["slo", "rules", "--check"]) == 0


@pytest.mark.parametrize("option", [[], ["--check"]])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: SLO\n", "bad.yaml"),
        ("kind: [\n", "bad.yaml"),
    ],
)
def test_bad_slo_file_is_one_line(
    project: Path, capsys: pytest.CaptureFixture[str], option: list[str], text: str, said: str
) -> None:
    """It is named, the exit code is 64, and no rule of any other file is written."""
    (project / "slos/bad.yaml").write_text(text, encoding="utf-8")

    assert invoke(["slo", "rules", *option]) == 64

    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
    assert not (project / "platform").exists()
