"""`faultload run` of several experiments: what is chosen, in which order, and what is printed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from memory import Platform, replica

from faultload.cli import invoke
from faultload.cli.selecting import Order, Selection, choose
from faultload.errors import Interrupted, RefusedError, SkippedError
from faultload.judge import LOAD_CLIENT, Finding, Judgement, TokenLedger, Verdict
from faultload.record import RunDirectory
from faultload.run.flow import RunResult
from faultload.run.plan import RunPlan
from faultload.spec import Catalogue

ROOT = Path(__file__).parents[3]
SHIPPED = [
    "engine/graceful-delete",
    "engine/hang",
    "engine/replica-loss",
    "node/drain",
]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project of four shipped experiments, as the current folder."""
    for folder in ("scenarios", "slos", "targets"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    shutil.copytree(ROOT / "platform", tmp_path / "platform", ignore=lambda *_: ["src"])
    for name in SHIPPED:
        path = tmp_path / "experiments" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "experiments" / f"{name}.yaml", path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def chosen(project: Path, *names: str, **asked: Any) -> list[str]:
    """Return the names that a selection comes to."""
    found = choose(Catalogue(project), Selection(names, **asked), "local")
    return [step.experiment for step in found.day.steps]


def write_day(project: Path) -> str:
    """Write a game day of two steps, the more harmful one first; return its path."""
    steps = [{"experiment": "node/drain", "cooldown_s": 3}, {"experiment": "engine/hang"}]
    day = {"name": "second", "target": "local", "steps": steps}
    path = project / "gamedays" / "second.yaml"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump(day), encoding="utf-8")
    return "gamedays/second.yaml"


def test_names_folders_and_expressions_narrow_each_other(project: Path) -> None:
    """-k alone means all there are; beside names it means those of them."""
    assert chosen(project, everything=True) == SHIPPED
    assert chosen(project, expression="engine and not hang") == SHIPPED[::2]
    assert chosen(project, "node", "engine/hang") == ["node/drain", "engine/hang"]
    assert chosen(project, "engine", expression="drain or hang") == ["engine/hang"]
    assert chosen(project, "experiments/engine/hang.yaml", expression="hang") == [
        "experiments/engine/hang.yaml"
    ]


def test_sample_says_what_it_took_and_how_to_take_it_again(project: Path) -> None:
    """The same seed takes the same; without one the seed that was drawn is said."""
    ask = Selection(everything=True, sample=2, seed="c0ffee")
    found = choose(Catalogue(project), ask, "local")
    names = [step.experiment for step in found.day.steps]

    assert chosen(project, everything=True, sample=2, seed="c0ffee") == names
    assert found.note == (
        "a sample of 2 of 4, seed c0ffee; the same again:"
        f" faultload run {' '.join(names)} --target local"
    )
    drawn = choose(Catalogue(project), Selection(everything=True, sample=2), "local")
    seed = drawn.note.split("seed ")[1].split(";")[0]
    again = chosen(project, everything=True, sample=2, seed=seed)
    assert [step.experiment for step in drawn.day.steps] == again
    assert len(chosen(project, everything=True, sample=9)) == 4


def test_game_day_keeps_its_own_order_unless_told_otherwise(project: Path) -> None:
    """A plan was made by people; an ad-hoc list was not."""
    catalogue, day = Catalogue(project), write_day(project)

    own = choose(catalogue, Selection([day]), "other")
    assert own.order is Order.GIVEN
    assert own.is_series
    assert own.day.target == "local"
    assert [step.cooldown_s for step in own.day.steps] == [3, 0]
    assert choose(catalogue, Selection([day], order=Order.HARM), "local").order is Order.HARM
    assert choose(catalogue, Selection(["engine"]), "local").order is Order.HARM
    narrowed = choose(catalogue, Selection([day], expression="drain"), "local")
    assert [step.experiment for step in narrowed.day.steps] == ["node/drain"]


def test_game_day_is_one_from_wherever_it_is_named(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder tells, whether or not it was typed."""
    day = project / write_day(project)
    for folder, name in (
        (day.parent, "second.yaml"),
        (project / "slos", "../gamedays/second.yaml"),
    ):
        monkeypatch.chdir(folder)
        found = choose(Catalogue(project), Selection([name]), "other").day
        assert found.name == "second"
        assert [step.cooldown_s for step in found.steps] == [3, 0]


@pytest.mark.parametrize(
    ("asked", "is_series"),
    [
        (Selection(["node/drain"]), False),
        (Selection(["experiments/node/drain.yaml"]), False),
        (Selection(["node"]), True),
        (Selection(["node/drain", "engine/hang"]), True),
        (Selection(expression="drain"), True),
        (Selection(["node/drain"], sample=1), True),
        (Selection(everything=True), True),
    ],
)
def test_one_experiment_by_name_is_no_series(
    project: Path, asked: Selection, is_series: bool
) -> None:
    """What a script gets depends on what it asked for, and not on how many were found."""
    assert choose(Catalogue(project), asked, "local").is_series is is_series


def test_list_shows_what_would_run_in_order_and_starts_nothing(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Harm, most that is hit, length and faults of each; least harm first."""
    monkeypatch.setattr("faultload.run.site.attach_or_start", pytest.fail)

    assert invoke(["run", "node", "engine", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:4]] == SHIPPED
    assert "3 takes replicas" in lines[3]
    assert "at most 2 replicas, 50%" in lines[3]
    assert "drain_node" in lines[3]
    assert lines[4].startswith("4 experiments, ")

    assert invoke(["run", "node", "engine", "--list", "--order", "given", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["experiment"] for row in rows] == ["node/drain", *SHIPPED[:3]]
    assert rows[0]["harm"]["danger"] == 3
    assert rows[0]["faults"] == ["drain_node"]
    assert rows[0]["length_s"] > 30
    assert not (project / "reports").exists()


@pytest.fixture
def acts(project: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[], Any]]:
    """Have runs pass on a platform in memory; return what is to happen instead, by experiment."""
    told: dict[str, Callable[[], Any]] = {}
    platform = Platform(replica("a"), replica("b"))
    monkeypatch.setattr("faultload.run.site.attach_or_start", lambda *_: platform)
    monkeypatch.setattr("faultload.cli.running.render_summary", lambda *_: "one run")
    manifest = SimpleNamespace(manifest=lambda: None)
    monkeypatch.setattr(
        "faultload.cli.running.RunDirectory", SimpleNamespace(open=lambda _: manifest)
    )

    def run(plan: RunPlan, *_: object) -> RunResult:
        name = plan.experiment.name
        verdict, error = told.get(name, lambda: (Verdict.PASS, None))()
        folder = plan.reports / name.replace("/", "-")
        folder.mkdir(parents=True, exist_ok=True)
        document = {"experiment": name, "verdict": verdict.value}
        (folder / "verdict.json").write_text(json.dumps(document), encoding="utf-8")
        (folder / "junit.xml").write_text("<testsuites><testsuite tests='1'/></testsuites>")
        ledger = TokenLedger(0, 0, 0, 0, 0, 0)
        late = Finding(Verdict.INVALID, LOAD_CLIENT, "Requests left 90 ms late.", "")
        findings = [late] if verdict is Verdict.INVALID else []
        judgement = Judgement(verdict, "so it is", findings, [], [], [], [], 0, 0, ledger, None)
        return RunResult(RunDirectory(folder), judgement, [], error)

    monkeypatch.setattr("faultload.run.series.run_experiment", run)
    return told


def raising(error: BaseException) -> Callable[[], Any]:
    """Return an act that raises."""

    def act() -> Any:
        raise error

    return act


def test_json_of_one_is_its_verdict_and_of_several_one_list(
    project: Path, acts: dict[str, Callable[[], Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    """One document either way: a script parses all of standard output at once."""
    assert invoke(["run", "engine/hang", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["experiment"] == "engine/hang"
    assert not list((project / "reports").glob("summary-*"))

    acts["node/drain"] = raising(SkippedError("skipped: no nodes"))
    assert invoke(["run", "node", "engine/replica-loss", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(one["experiment"], one["verdict"]) for one in found] == [
        ("engine/replica-loss", "pass"),
        ("node/drain", "skipped"),
    ]


def test_runs_that_were_repeated_are_named_wherever_the_last_one_is(
    project: Path, acts: dict[str, Callable[[], Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    """A pass at the second try is told from one at the first, by machines and by people."""
    tries = [(Verdict.PASS, None), (Verdict.INVALID, None)] * 2
    acts["engine/hang"] = tries.pop

    assert invoke(["run", "engine/hang", "--reruns", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["earlier_runs"] == ["engine-hang"]

    assert invoke(["run", "engine/hang", "node/drain", "--reruns", "1"]) == 0
    assert "so it is (1 earlier run spoilt by the load client: engine-hang)" in (
        capsys.readouterr().out
    )
    (junit,) = (project / "reports").glob("*.junit.xml")
    assert '<property name="earlier_runs" value="engine-hang"' in junit.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("act", "code", "said"),
    [
        (lambda: (Verdict.FAIL, None), 1, "3 experiments: 1 fail, 2 pass; exit code 1"),
        (lambda: (Verdict.INVALID, None), 3, "exit code 3: a run cannot tell"),
        (raising(SkippedError("skipped: lacks it")), 0, "1 skipped, 2 pass; exit code 0"),
        (raising(RefusedError("locked")), 75, "1 refused, 1 not run, 1 pass; exit code 75"),
        (lambda: (Verdict.INVALID, Interrupted(15)), 143, "1 not run, 1 pass; exit code 143"),
        (raising(ZeroDivisionError("oh")), 70, "2 not run, 1 pass; exit code 70"),
        (
            lambda: (Verdict.INVALID, ZeroDivisionError("oh")),
            70,
            "1 invalid, 1 not run, 1 pass; exit code 70",
        ),
    ],
)
def test_summary_comes_whatever_happens(
    project: Path,
    acts: dict[str, Callable[[], Any]],
    capsys: pytest.CaptureFixture[str],
    act: Callable[[], Any],
    code: int,
    said: str,
) -> None:
    """The worst code, the counts, the files; what ended it is told once, on standard error."""
    acts["engine/hang"] = act

    assert invoke(["run", "engine"]) == code
    captured = capsys.readouterr()
    assert said in captured.out
    assert len(list((project / "reports").glob("summary-*"))) == 3
    text = next((project / "reports").glob("summary-*.md")).read_text(encoding="utf-8")
    assert "--target local --order given" in text
    complaints = [line for line in captured.err.splitlines() if line.startswith("faultload: ")]
    assert bool(complaints) is (code > 69)


def test_defect_of_one_run_is_told_as_a_defect(
    project: Path, acts: dict[str, Callable[[], Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Its report is there, and so is what a maintainer needs; it never looks merely invalid."""
    acts["engine/hang"] = lambda: (Verdict.INVALID, ZeroDivisionError("oh"))

    assert invoke(["run", "engine/hang"]) == 70
    captured = capsys.readouterr()
    assert "one run" in captured.out
    assert "oh" in captured.err


def test_stock_files_are_summed_up_and_repeated_as_they_were_given(
    project: Path,
    acts: dict[str, Callable[[], Any]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """They have no block and stand in no folder of ours; what the target lacks is a skip each."""
    words = {"label_selector": "app=vllm", "ns": "llm"}
    provider = {"type": "python", "module": "chaosk8s.pod.actions", "func": "terminate_pods"}
    action = {"type": "action", "name": "end", "provider": provider | {"arguments": words}}
    document = {"title": "Losing a pod is not seen", "description": "So.", "method": [action]}
    for name in ("one", "two"):
        (project / f"{name}.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
        acts[f"{project.name}/{name}"] = acts[f"/{name}"] = raising(SkippedError("it lacks pods"))
    given = ["--scenario", "chat-steady", "--slos", "chat", "--blast-radius=engine=2"]

    assert invoke(["run", "two.yaml", "one.yaml", "--order", "given", *given]) == 69

    assert "2 experiments: 2 skipped; exit code 69" in capsys.readouterr().out
    text = next((project / "reports").glob("summary-*.md")).read_text(encoding="utf-8")
    again = "faultload run two.yaml one.yaml --target local --order given"
    assert f"{again} {' '.join(given)}" in text


def test_missing_target_never_leaves_a_pass(
    project: Path,
    acts: dict[str, Callable[[], Any]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What ended the series early counts where all that ran has passed."""
    from faultload.errors import TargetGoneError

    acts["engine/hang"] = raising(TargetGoneError("the platform is gone"))

    assert invoke(["run", "engine"]) == 69
    assert "faultload: the platform is gone" in capsys.readouterr().err


def test_single_experiment_that_cannot_begin_is_one_line(
    project: Path, acts: dict[str, Callable[[], Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    """As ever: no summary of one, its own code, one line."""
    acts["engine/hang"] = raising(RefusedError("the target is locked"))

    assert invoke(["run", "engine/hang"]) == 75
    captured = capsys.readouterr()
    assert "faultload: the target is locked\n" in captured.err
    assert not list((project / "reports").glob("summary-*"))


def test_target_that_is_not_steady_is_refused_within_the_bound_given(
    project: Path, acts: dict[str, Callable[[], Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    """`--cooldown-max` bounds the wait; nothing is run on a target that is not whole."""
    from faultload.run import site

    platform = site.attach_or_start(None, "", [])
    platform.engines["a"] = replace(platform.engines["a"], ready=False)

    assert invoke(["run", "engine", "--cooldown-max", "0"]) == 75
    captured = capsys.readouterr()
    assert "has 1 ready, expected 2, not ready: a" in captured.err
    assert "3 experiments: 3 not run; exit code 75" in captured.out
