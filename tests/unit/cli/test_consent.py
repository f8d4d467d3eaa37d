"""Who may harm production from the command line: what was typed, and nothing else."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from memory import Platform, replica

from faultload.cli import invoke
from faultload.judge import Judgement, TokenLedger, Verdict
from faultload.record import RunDirectory
from faultload.run.flow import RunResult
from faultload.run.guards import admit
from faultload.run.plan import RunPlan

ROOT = Path(__file__).parents[3]
ONE = ["run", "engine/replica-loss"]
YES = [*ONE, "--target", "prod", "--confirm", "prod"]


class Opened:
    """A project with a target `prod`, and what was opened and run of it.

    Attributes:
        path: of the project.
        ran: the consent of each run.
        opened: how often the target was opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ran: list[dict[str, str]] = []
        self.opened = 0

    def target(self, **keys: Any) -> None:
        """Write the target file."""
        document = {"name": "prod", "kind": "local", "local": {"config": "../platform/local.yaml"}}
        text = yaml.safe_dump(document | {"production": True, "danger_max": 3} | keys)
        (self.path / "targets" / "prod.yaml").write_text(text, encoding="utf-8")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opened:
    """Return it as the current folder; its runs pass, on a platform in memory."""
    for folder in ("scenarios", "slos", "targets", "experiments"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    shutil.copytree(ROOT / "platform", tmp_path / "platform", ignore=lambda *_: ["src"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    made = Opened(tmp_path)
    made.target()

    def open_(*_: object) -> Platform:
        made.opened += 1
        return Platform(replica("a"), replica("b"))

    def run(plan: RunPlan, *_: object) -> RunResult:
        made.ran.append(plan.consent.as_json())
        judgement = Judgement(
            Verdict.PASS, "so", [], [], [], [], [], 0, 0, TokenLedger(0, 0, 0, 0, 0, 0), None
        )
        (tmp_path / "verdict.json").write_text("{}", encoding="utf-8")
        (tmp_path / "junit.xml").write_text("<testsuites/>", encoding="utf-8")
        return RunResult(RunDirectory(tmp_path), judgement, [], None)

    monkeypatch.setattr("faultload.run.site.attach_or_start", open_)
    monkeypatch.setattr("faultload.run.series.run_experiment", run)
    monkeypatch.setattr("faultload.cli.running.render_summary", lambda *_: "one run")
    manifest = SimpleNamespace(manifest=lambda: None)
    monkeypatch.setattr(
        "faultload.cli.running.RunDirectory", SimpleNamespace(open=lambda _: manifest)
    )
    return made


def at_terminal(monkeypatch: pytest.MonkeyPatch, typed: str) -> None:
    """Sit somebody at a terminal who types that."""
    sitting = io.StringIO(typed)
    monkeypatch.setattr(sitting, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", sitting)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "say --confirm prod, or --game-day ID"),
        (["--confirm", "PROD"], "'PROD' was confirmed, and the target is 'prod'"),
        (["--confirm", "local"], "'local' was confirmed"),
        (["--game-day", "GD-7", "--confirm", "local"], "'local' was confirmed"),
    ],
)
@pytest.mark.parametrize("asked", [["engine/replica-loss"], ["engine"]])
def test_production_is_not_even_opened_without_its_name(
    project: Opened,
    capsys: pytest.CaptureFixture[str],
    asked: list[str],
    words: list[str],
    said: str,
) -> None:
    """One line and 75, for one experiment and for a series; nothing is written."""
    assert invoke(["run", *asked, "--target", "prod", *words]) == 75
    assert said in capsys.readouterr().err
    assert (project.opened, project.ran) == (0, [])
    assert not (project.path / "reports").exists()


@pytest.mark.parametrize("name", ["CONFIRM", "GAME_DAY", "CHAOS_CONFIRM"])
def test_no_environment_variable_confirms_anything(
    project: Opened, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Nor in the forms that command-line libraries know."""
    for prefix in ("FAULTLOAD_", "FAULTLOAD_RUN_", ""):
        monkeypatch.setenv(f"{prefix}{name}", "prod")
    assert invoke([*ONE, "--target", "prod"]) == 75
    assert project.opened == 0


@pytest.mark.parametrize(
    ("words", "consent"),
    [
        (["--confirm", "prod"], {"confirmed": "prod"}),
        (["--game-day", "GD-7"], {"game_day": "GD-7"}),
        (["--game-day=GD-7", "--confirm=prod"], {"confirmed": "prod", "game_day": "GD-7"}),
    ],
)
def test_what_was_typed_is_the_run_s(
    project: Opened, words: list[str], consent: dict[str, str]
) -> None:
    """It reaches the manifest with the plan."""
    assert invoke([*ONE, "--target", "prod", *words]) == 0
    assert project.ran == [consent]


def test_series_carries_the_word_to_each(project: Opened) -> None:
    """Said once, for what was listed."""
    words = ["run", *ONE[1:], "engine/hang", "--target", "prod", "--confirm", "prod"]
    assert invoke(words) == 0
    assert project.ran == [{"confirmed": "prod"}] * 2


@pytest.mark.parametrize(("typed", "code"), [("prod\n", 0), ("yes\n", 75), ("\n", 75), ("", 75)])
def test_person_at_a_terminal_types_the_name_once_more(
    project: Opened,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    typed: str,
    code: int,
) -> None:
    """With what is about to happen before his eyes; a command line comes back with one key."""
    at_terminal(monkeypatch, typed)
    assert invoke(YES) == code
    assert project.opened == (code == 0)
    err = capsys.readouterr().err
    assert "engine/replica-loss: kill_replica, 1.1 minutes" in err
    assert "1 experiment on prod, which is production. Type its name:" in err
    assert ("nothing was touched" in err) is (code == 75)


def test_terminal_alone_confirms_nothing(project: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """Typing is asked for beside the option, not instead of it."""
    at_terminal(monkeypatch, "prod\n")
    assert invoke([*ONE, "--target", "prod"]) == 75
    assert project.opened == 0


def test_nobody_is_asked_on_a_game_day_or_where_it_is_no_production(
    project: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """People agreed beforehand, or have nothing to agree to."""
    at_terminal(monkeypatch, "")
    assert invoke([*ONE, "--target", "prod", "--game-day", "GD-7"]) == 0
    project.target(production=False)
    assert invoke([*ONE, "--target", "prod"]) == 0


@pytest.mark.parametrize("option", ["--confirm", "--game-day"])
def test_empty_word_is_a_usage_error(
    project: Opened, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    """`--confirm "$TARGET"` in a script that lost its variable."""
    assert invoke([*ONE, "--target", "prod", option, ""]) == 64
    assert project.opened == 0


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"danger_max": 2}, "danger_max is 2"),
        (
            {
                "freeze": [
                    {"from": "2000-01-01T00:00Z", "until": "2100-01-01T00:00Z", "why": "sale"}
                ]
            },
            "frozen now, until Fri 2100-01-01 00:00 UTC: sale",
        ),
    ],
)
def test_other_guards_refuse_before_anybody_is_asked(
    project: Opened,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    keys: dict[str, Any],
    said: str,
) -> None:
    """75, and the target is not opened."""
    project.target(**keys)
    at_terminal(monkeypatch, "prod\n")
    assert invoke(YES) == 75
    err = capsys.readouterr().err
    assert said in err
    assert "Type its name" not in err
    assert project.opened == 0


def test_series_ends_at_the_first_that_is_too_dangerous(
    project: Opened, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Least harm goes first, so all that is allowed has run; the rest is refused by name."""
    from datetime import UTC, datetime

    project.target(danger_max=2)
    told: list[str] = []

    def run(plan: RunPlan, *_: object) -> RunResult:
        admit(plan, datetime.now(UTC))
        told.append(plan.experiment.name)
        ledger = TokenLedger(0, 0, 0, 0, 0, 0)
        judgement = Judgement(Verdict.PASS, "so", [], [], [], [], [], 0, 0, ledger, None)
        (project.path / "verdict.json").write_text("{}", encoding="utf-8")
        (project.path / "junit.xml").write_text("<testsuites/>", encoding="utf-8")
        return RunResult(RunDirectory(project.path), judgement, [], None)

    monkeypatch.setattr("faultload.run.series.run_experiment", run)
    words = ["run", "engine/replica-loss", "gpu", "--target", "prod", "--confirm", "prod"]
    assert invoke(words) == 75
    captured = capsys.readouterr()
    assert told
    assert "engine/replica-loss" not in told
    assert "REFUSED" in captured.out
    assert "danger_max is 2" in captured.out
