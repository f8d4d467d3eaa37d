"""Experiments as test items: which are taken, and that each waits for a steady target."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from memory import Platform, replica

from faultload.errors import ExitCode, SkippedError
from faultload.judge import Verdict
from faultload.run.plan import RunPlan

ROOT = Path(__file__).parents[2]
NAMES = ["engine/graceful-delete", "engine/hang", "engine/replica-loss", "node/drain"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project of four experiments, as the current folder."""
    for folder in ("scenarios", "slos", "targets"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    shutil.copytree(ROOT / "platform", tmp_path / "platform", ignore=lambda *_: ["src"])
    for name in NAMES:
        path = tmp_path / "experiments" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "experiments" / f"{name}.yaml", path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


class Session:
    """What a pytest session inside this one did.

    Attributes:
        ran: experiments that were run, in order.
        reports: of their calls: experiment's file → outcome and text.
        opened: how often the platform was.
    """

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.reports: dict[str, tuple[str, str]] = {}
        self.opened = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what came of each item."""
        if report.when == "call":
            self.reports[Path(report.nodeid.split("::")[0]).stem] = (
                report.outcome,
                report.longreprtext,
            )


@pytest.fixture
def session(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[pytest.ExitCode | int, Session]]:
    """Return what runs a pytest session on a platform in memory, where every run passes.

    But those that `late` has a word for, until there is none left.
    """

    def play(
        *words: str,
        act: Callable[[str, Platform], BaseException | None] = lambda *_: None,
        late: Iterable[str] = (),
    ) -> tuple[pytest.ExitCode | int, Session]:
        platform, seen = Platform(replica("a"), replica("b")), Session()
        words_left = iter(late)

        def run(plan: RunPlan, *_: object) -> Any:
            name = plan.experiment.name
            seen.ran.append(name)
            defect, spoilt = act(name, platform), next(words_left, "")
            verdict = Verdict.INVALID if spoilt else Verdict.PASS
            return SimpleNamespace(
                error=defect,
                defect=defect,
                judgement=SimpleNamespace(verdict=verdict, reason=spoilt),
                spoilt=spoilt,
                directory=SimpleNamespace(path=project),
            )

        monkeypatch.setattr("faultload.run.flow.run_experiment", run)

        def open_(*_: object) -> Platform:
            seen.opened += 1
            return platform

        monkeypatch.setattr("faultload.run.site.attach_or_start", open_)
        given = [
            "-p",
            "no:cacheprovider",
            "-p",
            "no:asyncio",
            "-m",
            "chaos",
            "--rootdir",
            str(project),
            "experiments",
        ]
        return pytest.main([*given, *words], plugins=[seen]), seen

    return play


def test_secrets_are_in_no_report(
    session: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in what pytest shows of a failure and of what was printed, nor in JUnit's file."""
    monkeypatch.setenv("OPENAI_API_KEY", "k3y-of-nobody")

    def act(*_: object) -> BaseException:
        sys.stdout.write("asked http://eva:hunter-two@host\n")
        return RuntimeError("401 for k3y-of-nobody at /?api_key=hunter-two")

    junit = tmp_path / "junit.xml"
    words = ["--junitxml", str(junit), "-o", "junit_logging=all", "--showlocals"]
    code, seen = session("--chaos-select", "replica-loss", *words, act=act)
    assert code == 1
    outcome, text = seen.reports["replica-loss"]
    assert outcome == "failed"
    for said in (text, junit.read_text(encoding="utf-8")):
        assert "401 for *** at /?api_key=***" in said
        assert "hunter-two" not in said
        assert "k3y-of" not in said
    assert "asked http://***@host" in junit.read_text(encoding="utf-8")


def test_selection_is_that_of_the_command(session: Callable[..., Any]) -> None:
    """Name, tags and faults, as `faultload run -k` has it, and not the words of the title."""
    code, seen = session("--chaos-select", "engine and not (hang or kill_replica)")
    assert code == 0
    assert seen.ran == ["engine/graceful-delete"]


def test_selection_of_nothing_is_a_usage_error(
    session: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """With the names there are: a chaos run of nothing must not look like a good one."""
    code, seen = session("--chaos-select", "nowhere")
    assert code == pytest.ExitCode.USAGE_ERROR
    assert "selects none of: engine/graceful-delete, engine/hang" in capsys.readouterr().err
    assert seen.ran == []


def test_sample_is_seeded_said_and_run_in_pytest_s_order(
    session: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """A commit's experiments are the same on every machine; another seed takes others."""
    taken = set()
    for seed in ("one", "one", "two", "three", "four"):
        code, seen = session("--chaos-sample", "2", "--chaos-seed", seed)
        assert code == 0
        assert seen.ran == sorted(seen.ran)
        again = f"faultload run {' '.join(seen.ran)} --target local --order given"
        said = f"chaos: a sample of 2 of 4, seed {seed}; the same again: {again}"
        assert said in capsys.readouterr().out
        taken.add((seed, *seen.ran))
    assert len(taken) == 4
    assert len({names for _, *names in taken for names in names}) > 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--chaos-sample", "0"], "--chaos-sample: expected 1 or more, found 0"),
        (["--chaos-sample", "-1"], "--chaos-sample: expected 1 or more, found -1"),
        (["--chaos-seed", "one"], "--chaos-seed: expected --chaos-sample beside it"),
    ],
)
def test_sample_that_cannot_be_drawn_is_a_usage_error(
    session: Callable[..., Any], capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    """A sample of none runs nothing, not all; a seed alone would be silently ignored."""
    code, seen = session(*words)
    assert code == pytest.ExitCode.USAGE_ERROR
    assert said in capsys.readouterr().err
    assert seen.ran == []


def test_session_whose_experiments_were_all_skipped_is_no_success(
    session: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """It exits with the code of a skip and says so in a line; one that ran is enough for 0."""

    def skip(name: str, _: Platform) -> None:
        if name != "node/drain":
            raise SkippedError("skipped: target 'local' lacks split-the-sea")

    code, seen = session("--chaos-select", "engine", act=skip)
    assert code == ExitCode.MISSING
    assert len(seen.ran) == 3
    out = capsys.readouterr().out
    assert "none of 3 selected experiments ran, all were skipped" in out

    code, _ = session(act=skip)
    assert code == 0
    assert "none of" not in capsys.readouterr().out
    assert session("--collect-only")[0] == 0


def test_item_waits_for_a_target_of_others_and_the_rest_does_not_wait_in_vain(
    session: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that finds it not steady fails with what was seen, and ends the session."""
    monkeypatch.setattr("faultload.run.site.is_started_for_us", lambda *_: False)

    def harm(name: str, platform: Platform) -> None:
        if name == "engine/hang":
            platform.engines["a"] = replace(platform.engines["a"], ready=False)

    code, seen = session("--chaos-cooldown-max", "0", act=harm)

    assert code == pytest.ExitCode.TESTS_FAILED
    assert seen.ran == ["engine/graceful-delete", "engine/hang"]
    assert set(seen.reports) == {"graceful-delete", "hang", "replica-loss"}
    outcome, text = seen.reports["replica-loss"]
    assert outcome == "failed"
    assert "has 1 ready, expected 2, not ready: a" in text


@pytest.mark.parametrize(("allowed", "verdict"), [("2", "passed"), ("1", "failed")])
def test_item_that_our_own_client_spoilt_is_repeated_and_that_is_said(
    session: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    allowed: str,
    verdict: str,
) -> None:
    """On a platform of its own, as often as is allowed; each spoilt run is named."""
    late = ["Requests left 90 ms late.", "Requests left 80 ms late."]

    junit = tmp_path / "junit.xml"

    words = ["--chaos-select", "hang", "--chaos-reruns", allowed, "--junitxml", str(junit)]
    code, seen = session(*words, late=late)

    assert seen.ran == ["engine/hang"] * (int(allowed) + 1)
    assert seen.opened == len(seen.ran)
    assert (code, seen.reports["hang"][0]) == (int(verdict == "failed"), verdict)
    out = capsys.readouterr().out
    assert out.count("chaos: engine/hang ran again: Requests left") == int(allowed)
    assert junit.read_text(encoding="utf-8").count('name="earlier_run"') == int(allowed)


def test_item_that_could_not_be_measured_may_be_a_skip_and_is_no_pass(
    session: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Where it is asked for: the others decide, and where none was measured nothing was shown."""
    late = ["Requests left 90 ms late.", "Requests left 80 ms late."]
    words = ["--chaos-reruns", "1", "--chaos-skip-spoilt"]

    code, seen = session(*words, "-rs", late=late)

    assert (code, len(seen.ran)) == (0, len(NAMES) + 1)
    outcomes = sorted(outcome for outcome, _ in seen.reports.values())
    assert outcomes == ["passed", "passed", "passed", "skipped"]
    assert "not measured: Requests left 80 ms late." in capsys.readouterr().out

    code, _ = session("--chaos-select", "hang", *words, late=late)
    assert code == ExitCode.MISSING


@pytest.mark.parametrize("many", ["-1", "6"])
def test_reruns_have_a_bound(
    session: Callable[..., Any], capsys: pytest.CaptureFixture[str], many: str
) -> None:
    """Where five do not suffice the machine is the matter."""
    code, _ = session(f"--chaos-reruns={many}")
    assert code == pytest.ExitCode.USAGE_ERROR
    assert f"--chaos-reruns: expected 0 to 5, found {many}" in capsys.readouterr().err


def test_item_on_a_platform_of_our_own_gets_a_new_one(session: Callable[..., Any]) -> None:
    """So its verdict does not hang on what ran before it."""
    code, seen = session()
    assert code == 0
    assert seen.opened == len(seen.ran) == len(NAMES)


def test_defect_of_a_run_is_told_as_it_is(session: Callable[..., Any]) -> None:
    """With its traceback, for whoever mends it; a verdict beside it hides nothing."""
    code, seen = session("--chaos-select", "node", act=lambda *_: ZeroDivisionError("oh"))

    assert code == pytest.ExitCode.TESTS_FAILED
    assert "ZeroDivisionError: oh" in seen.reports["drain"][1]


def test_experiment_for_another_kind_of_target_is_skipped(
    project: Path, session: Callable[..., Any]
) -> None:
    """It is read like any other; what the target lacks is found out when its turn comes."""
    path = project / "experiments" / "engine" / "hang.yaml"
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    words = {"label_selector": "app=vllm", "ns": "llm"}
    action = {"module": "chaosk8s.pod.actions", "func": "terminate_pods", "arguments": words}
    document["method"][0]["provider"] = {"type": "python", **action}
    path.write_text(yaml.safe_dump(document), encoding="utf-8")

    def lack(name: str, _: Platform) -> None:
        if name == "engine/hang":
            raise SkippedError("skipped: it lacks terminate-pods")

    code, seen = session(act=lack)

    assert code == 0
    assert seen.ran == NAMES
    assert seen.reports["hang"][0] == "skipped"


@pytest.fixture
def production(project: Path) -> Path:
    """Return the project with a target that is production."""
    document = {"name": "prod", "kind": "local", "local": {"config": "../platform/local.yaml"}}
    text = yaml.safe_dump(document | {"production": True, "danger_max": 3})
    (project / "targets" / "prod.yaml").write_text(text, encoding="utf-8")
    return project


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--chaos-confirm"),
        (["--chaos-confirm=other"], "'other' was confirmed, and the target is 'prod'"),
    ],
)
def test_production_wants_the_word_of_whoever_runs_the_session(
    production: Path,
    session: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    said: str,
) -> None:
    """Each item fails with the guard's line; the platform is not even opened."""
    code, seen = session("--target", "prod", "--chaos-select", "engine", *words)

    assert code == pytest.ExitCode.TESTS_FAILED
    assert seen.ran == []
    assert len(seen.reports) == 3
    assert all(said in text for _, text in seen.reports.values())
    assert seen.opened == 0


@pytest.mark.parametrize(
    "words", [["--chaos-confirm", "prod"], ["--chaos-confirm=prod"], ["--chaos-game-day", "GD-7"]]
)
def test_word_typed_with_pytest_counts(
    production: Path, session: Callable[..., Any], words: list[str]
) -> None:
    """As `faultload run --confirm` and `--game-day` do."""
    code, seen = session("--target", "prod", "--chaos-select", "drain", *words)
    assert (code, seen.ran) == (0, ["node/drain"])


@pytest.mark.parametrize("where", ["variable", "file"])
@pytest.mark.parametrize("word", ["--chaos-confirm=prod", "--chaos-game-day=GD-7"])
def test_word_that_nobody_typed_is_a_usage_error(
    production: Path,
    session: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    where: str,
    word: str,
) -> None:
    """PYTEST_ADDOPTS and `addopts` would confirm every session there ever is."""
    if where == "variable":
        monkeypatch.setenv("PYTEST_ADDOPTS", word)
    else:
        (production / "pytest.ini").write_text(f"[pytest]\naddopts = {word}\n", encoding="utf-8")

    code, seen = session("--target", "prod")

    assert code == pytest.ExitCode.USAGE_ERROR
    assert "expected on the command line itself" in capsys.readouterr().err
    assert seen.ran == []


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("danger_max: 2", "danger_max is 2"),
        (
            "freeze: [{from: 2000-01-01T00:00Z, until: 2100-01-01T00:00Z, why: sale}]",
            "frozen now, until Fri 2100-01-01 00:00 UTC: sale",
        ),
    ],
)
def test_guards_of_a_target_are_asked_for_each_item(
    project: Path, session: Callable[..., Any], keys: str, said: str
) -> None:
    """What the target file says holds however an experiment was begun."""
    with (project / "targets" / "local.yaml").open("a", encoding="utf-8") as file:
        file.write(f"{keys}\n")

    code, seen = session("--chaos-select", "drain")

    assert code == pytest.ExitCode.TESTS_FAILED
    assert said in seen.reports["drain"][1]
    assert (seen.ran, seen.opened) == ([], 0)


def test_without_chaos_nothing_is_collected(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The options of chaos alone break nothing."""
    words = ["-p", "no:cacheprovider", "-p", "no:asyncio", "--rootdir", str(project), "experiments"]
    assert pytest.main([*words, "--chaos-sample", "1"]) == pytest.ExitCode.NO_TESTS_COLLECTED
