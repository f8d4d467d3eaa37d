"""The catalogue's runs: what is run in which order, what is kept, and what the table says."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from faultload.errors import ExitCode, UsageError
from faultload.spec import Catalogue, Experiment, load_experiment
from inference_platform.local import config

ROOT = Path(__file__).parents[3]
LOSS = "engine/replica-loss"
SINGLES = ["one-replica", "no-probes"]
OVERRIDES = {"good": [], "all": ["a=1"], "one-replica": ["b=1"], "no-probes": ["c=1"]}


@pytest.fixture
def catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module whose results go to a file of this test."""
    spec = importlib.util.spec_from_file_location("catalogue", ROOT / "scripts" / "catalogue.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["catalogue"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    results = tmp_path / "results.jsonl"
    for function in (module.read, module.keep, module.tidy):
        defaults = (*(function.__defaults__ or ())[:-1], results)
        monkeypatch.setattr(function, "__defaults__", defaults)
    return module


@pytest.fixture
def loss() -> Experiment:
    """An experiment that ships."""
    return load_experiment(ROOT / "experiments" / "engine" / "replica-loss.yaml")


def asked(**options: Any) -> argparse.Namespace:
    """Return a command line."""
    given = {"experiment": None, "variant": None, "jobs": 1, "redo": None, **options}
    return argparse.Namespace(**given)


def answering(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch, **verdicts: str
) -> list[tuple[str, str]]:
    """Let each run end with the verdict of its variant, `pass` by default; return what ran."""
    ran: list[tuple[str, str]] = []

    def run(name: str, variant: str, target: str, overrides: Sequence[str], commit: str) -> Any:
        assert overrides == OVERRIDES[variant]
        ran.append((variant, target))
        verdict = verdicts.get(variant.replace("-", "_"), "pass")
        return module.Result(name, variant, verdict, "a reason", 70, "2026-01-01", commit)

    monkeypatch.setattr(module, "run", run)
    return ran


def test_only_what_is_red_on_the_bad_platform_is_attributed(
    catalogue: ModuleType, loss: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Good and bad first; then each misconfiguration alone, where bad was red."""
    ran = answering(catalogue, monkeypatch, all="fail")

    assert catalogue._measure([loss], OVERRIDES, asked())
    assert [variant for variant, _ in ran] == ["good", "all", *SINGLES]

    green = answering(catalogue, monkeypatch)
    catalogue._measure([loss], OVERRIDES, asked(redo="any", variant=["good", "all"]))
    assert [variant for variant, _ in green] == ["good", "all"]


def test_runs_go_on_where_they_were(
    catalogue: ModuleType, loss: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has a result is not run again; what ended without one is, and nothing is kept of it."""
    answering(catalogue, monkeypatch, all="error")
    assert not catalogue._measure([loss], OVERRIDES, asked())

    ran = answering(catalogue, monkeypatch)
    assert catalogue._measure([loss], OVERRIDES, asked())

    assert [variant for variant, _ in ran] == ["all"]
    assert {key: one.verdict for key, one in catalogue.read().items()} == {
        (LOSS, "good"): "pass",
        (LOSS, "all"): "pass",
    }


def test_what_proved_nothing_can_be_run_again_by_its_verdict(
    catalogue: ModuleType, loss: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy machine makes runs invalid: those alone are tried again."""
    answering(catalogue, monkeypatch, good="invalid")
    catalogue._measure([loss], OVERRIDES, asked())

    ran = answering(catalogue, monkeypatch)
    catalogue._measure([loss], OVERRIDES, asked(redo="invalid"))

    assert [variant for variant, _ in ran] == ["good"]
    assert catalogue.read()[LOSS, "good"].verdict == "pass"


def test_unknown_experiment_is_a_usage_error(catalogue: ModuleType, loss: Experiment) -> None:
    """A misspelt name runs nothing, and is told the nearest right one."""
    with pytest.raises(UsageError, match=f"did you mean '{LOSS}'"):
        catalogue._measure([loss], OVERRIDES, asked(experiment=["engine/replica-los"]))


@pytest.mark.parametrize(
    ("code", "out", "err", "verdict", "reason"),
    [
        (1, '{"verdict": "fail", "reason": "x"}', "", "fail", "x"),
        (69, '{"experiment": "a/b", "skipped": "lacks y"}', "", "skipped", "lacks y"),
        (75, "", "a step\nfaultload: over the blast radius\n", "refused", "over the blast radius"),
        (130, '{"verdict": "invalid", "reason": "x"}', "", "interrupted", None),
        (69, "", "faultload: port taken\n", "error", "port taken"),
        (70, "", "", "error", "it said nothing"),
    ],
)
def test_what_a_command_said_becomes_a_result(
    catalogue: ModuleType, code: int, out: str, err: str, verdict: str, reason: str | None
) -> None:
    """A verdict is taken as it is; an interrupt's is none, nor is a platform that did not start."""
    found = catalogue.understand(code, out, err)

    assert found[0] == verdict
    assert reason in (None, found[1])


def test_experiment_runs_on_the_target_that_a_tag_names(
    catalogue: ModuleType, loss: Experiment
) -> None:
    """A rule that needs no table: a tag is a target's name, or the target is `local`."""
    assert catalogue.target_of(loss, ["local", "elsewhere"]) == "local"
    assert catalogue.target_of(loss, [loss.tags[0]]) == loss.tags[0]
    scaling = load_experiment(ROOT / "experiments" / "scaling" / "autoscaling.yaml")
    assert catalogue.target_of(scaling, Catalogue(ROOT).names("targets")) == "local-autoscaling"


@pytest.mark.parametrize("target", ["local", "local-autoscaling"])
def test_each_misconfiguration_can_be_set_on_each_local_platform(
    catalogue: ModuleType, target: str
) -> None:
    """Keys of tiers that are not there are left out; all others stay, and are understood."""
    path, spec = Catalogue(ROOT).target(target)
    assert spec.kind == "local"
    tiers = catalogue.tiers_of(target)

    for variant, overrides in catalogue.misconfigurations().items():
        sets = catalogue.settable(overrides, tiers)
        changed = config.load(path.parent / spec.local.config, sets)
        assert set(changed.tiers) == tiers
        assert sets, variant
        left_out = {one.split(".")[1] for one in set(overrides) - set(sets)}
        assert left_out == ({"fast"} if left_out else set())
        assert not (left_out and target == "local")


def test_experiment_is_run_with_what_its_target_has(
    catalogue: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that the platform refuses would end every run of it without a result."""
    scaling = load_experiment(ROOT / "experiments" / "scaling" / "autoscaling.yaml")
    seen = list[tuple[str, list[str]]]()

    def run(name: str, variant: str, target: str, overrides: list[str], commit: str) -> Any:
        seen.append((target, overrides))
        return catalogue.Result(name, variant, "pass", "a reason", 70, "2026-01-01", commit)

    monkeypatch.setattr(catalogue, "run", run)
    sets = ["tiers.fast.replicas=1", "tiers.reasoning.replicas=1", "autoscaling=true"]
    catalogue._measure([scaling], {"good": [], "all": sets}, asked())

    assert seen == [("local-autoscaling", []), ("local-autoscaling", sets[1:])]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--jobs", "0"], "--jobs: expected a whole number of 1 or more, found '0'"),
        (["--jobs", "-1"], "--jobs: expected a whole number of 1 or more, found '-1'"),
        (["--jobs", "many"], "--jobs: expected a whole number of 1 or more, found 'many'"),
        (["--redo", "invald"], "--redo: invalid choice: 'invald' (choose from "),
    ],
)
def test_bad_argument_is_a_usage_error(
    catalogue: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    """In a line, before anything runs: a misspelt verdict would redo nothing and look done."""
    monkeypatch.setattr(sys, "argv", ["catalogue.py", *words])

    with pytest.raises(SystemExit) as caught:
        catalogue._arguments(SINGLES)

    assert caught.value.code == ExitCode.USAGE
    assert said in capsys.readouterr().err


def test_redo_is_of_all_or_of_a_verdict(
    catalogue: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every verdict that is kept may be named."""
    for words, redo in [([], None), (["--redo"], "any"), (["--redo", "refused"], "refused")]:
        monkeypatch.setattr(sys, "argv", ["catalogue.py", *words])
        assert catalogue._arguments(SINGLES).redo == redo


@pytest.mark.parametrize(
    ("verdicts", "caught"),
    [
        ({}, ""),
        ({"good": "pass"}, ""),
        ({"all": "fail"}, ""),
        ({"good": "fail", "all": "pass"}, ""),
        ({"good": "invalid", "all": "fail", "one-replica": "fail", "no-probes": "pass"}, ""),
        ({"good": "skipped"}, "not applicable"),
        ({"good": "skipped", "all": "skipped"}, "not applicable"),
        ({"good": "pass", "all": "skipped"}, "not applicable"),
        ({"good": "pass", "all": "pass"}, "nothing"),
        ({"good": "pass", "all": "fail"}, "not attributed yet"),
        ({"good": "pass", "all": "fail", "one-replica": "fail"}, "one-replica, not attributed yet"),
        (
            {"good": "pass", "all": "fail", "one-replica": "refused", "no-probes": "fail"},
            "one-replica (refused), no-probes",
        ),
        (
            {"good": "pass", "all": "fail", "one-replica": "pass", "no-probes": "pass"},
            "only together",
        ),
    ],
)
def test_table_says_what_is_caught_and_what_is_not_known(
    catalogue: ModuleType, loss: Experiment, verdicts: dict[str, str], caught: str
) -> None:
    """One row an experiment; what was not tried is never shown as not caught."""
    results = {
        (LOSS, variant): catalogue.Result(LOSS, variant, verdict, "a|b", 70, "2026-01-01", "abc")
        for variant, verdict in verdicts.items()
    }

    row = catalogue.render([loss], results, SINGLES).splitlines()[-1]

    assert row.startswith(f"| [{LOSS}](../experiments/{LOSS}.yaml) | {loss.title} | `kill_replica`")
    assert row.split(" | ")[-2] == caught
    assert ("not measured yet" in row) == (not {"good", "all"} <= set(verdicts))
    red = {verdicts.get("good"), verdicts.get("all")} - {None, "pass"}
    assert ("a\\|b" in row) == bool(red)


def test_results_of_experiments_that_are_gone_are_dropped(catalogue: ModuleType) -> None:
    """The file holds one line a result, in order, so that two measurements can be compared."""
    for name, variant, verdict in [
        ("b/b", "good", "fail"),
        ("b/b", "good", "pass"),
        ("gone/x", "good", "pass"),
        ("a/a", "all", "pass"),
    ]:
        catalogue.keep(catalogue.Result(name, variant, verdict, "", 1, "2026-01-01", "abc"))

    kept = catalogue.tidy(catalogue.read(), ["a/a", "b/b"])

    assert list(kept) == [("a/a", "all"), ("b/b", "good")]
    assert catalogue.read() == kept
    assert kept["b/b", "good"].verdict == "pass"
