"""Every file people are given to start from is one that faultload accepts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from chaoslib.experiment import ensure_experiment_is_valid

import faultload.targets
from faultload.faults.catalogue import FAULTS
from faultload.spec import (
    Catalogue,
    load_experiment,
    load_gameday,
    load_scenario,
    load_slos,
    load_target,
)
from faultload.spec import labels as selectors
from faultload.spec.target import KubernetesTargetSpec, LocalTargetSpec
from faultload.spec.windows import WINDOWS_FILE, load_windows

_ROOT = Path(__file__).parents[2]
_PARTS = set("engine gpu node router release scaling network dependency".split())
_CLAIM = re.compile(
    r"\b(is|are|has|have|stays?|loses?|costs?|keeps?|ends?|takes?|spends?|serves?|recovers?"
    r"|survives?|misses|drops?|notices?|finishes|reaches|waits?|gets?|holds?|moves?|returns?"
    r"|answers?|does|do|can|cannot|never|no longer)\b"
)


def _files(folder: str) -> list[Path]:
    files = sorted((_ROOT / folder).rglob("*.yaml"))
    return [path for path in files if path.name != WINDOWS_FILE]


def _each(folder: str) -> pytest.MarkDecorator:
    files = _files(folder)
    ids = [str(path.relative_to(_ROOT / folder).with_suffix("")) for path in files]
    return pytest.mark.parametrize("path", files, ids=ids)


@pytest.mark.parametrize("folder", ["experiments", "scenarios", "slos", "targets"])
def test_there_is_something_to_start_from(folder: str) -> None:
    """Each folder holds at least one file, else the contracts below would check nothing."""
    assert _files(folder), f"{folder}/ holds no YAML file"


@_each("experiments")
def test_experiment_loads(path: Path) -> None:
    """Our schema accepts the file, and it lies in the folder of the part that is hurt."""
    experiment = load_experiment(path)
    assert path.parent.parent == _ROOT / "experiments"
    assert path.parent.name in _PARTS
    assert experiment.fault_actions, "an experiment that breaks nothing proves nothing"


@_each("experiments")
def test_chaos_toolkit_accepts_the_experiment(path: Path) -> None:
    """`chaos validate` finds every module, function and argument that the file names."""
    ensure_experiment_is_valid(load_experiment(path).raw)


@_each("experiments")
def test_experiment_names_things_that_exist(path: Path) -> None:
    """The scenario and the SLOs are in their folders; the capabilities are ones a target may have.

    What the method's faults need is asked for in `requires`, so that a target which lacks it skips.
    """
    experiment, catalogue = load_experiment(path), Catalogue(_ROOT)
    catalogue.scenario(experiment.block.scenario, path)
    catalogue.slos(experiment.block.slos, path)
    known = {
        value
        for name, value in vars(faultload.targets).items()
        if name.isupper() and isinstance(value, str)
    }
    assert set(experiment.block.requires) <= known
    called = [action["provider"].get("func") for action in experiment.fault_actions]
    needed = {FAULTS[name].capability for name in called if name in FAULTS}
    assert needed <= set(experiment.block.requires)


@_each("experiments")
def test_title_is_a_claim(path: Path) -> None:
    """A title says what we believe, so that a run can prove it wrong; it is not the name of a test.

    It starts with a capital, has a verb, does not end with a full stop, and fits on a line.
    """
    title = load_experiment(path).title
    assert not title.lower().startswith("test"), title
    assert title[0].isupper(), title
    assert not title.endswith("."), title
    assert len(title) <= 120, title
    assert _CLAIM.search(title), f"no verb we know in {title!r}; add it to this test if it is one"


def test_experiment_titles_are_unique() -> None:
    """Two experiments never claim the same: reports and test ids show titles."""
    titles = [load_experiment(path).title for path in _files("experiments")]
    assert sorted(titles) == sorted(set(titles))


@_each("scenarios")
def test_scenario_loads(path: Path) -> None:
    """The file is a scenario and its name is the file's, which is how experiments ask for it."""
    assert load_scenario(path).name == path.stem


@_each("slos")
def test_slos_load(path: Path) -> None:
    """The file holds SLOs that faultload can judge, each named once in the whole folder."""
    names = [slo.name for slo in load_slos(path)]
    assert names
    assert Catalogue(_ROOT).slos(names, path)


def test_burn_rate_windows_load() -> None:
    """The windows that alert are read as they are, and say whose they are."""
    found = load_windows(_ROOT / "slos" / WINDOWS_FILE)
    assert "Workbook" in found.source
    assert (_ROOT / found.runbook).is_file()


@_each("targets")
def test_target_loads(path: Path) -> None:
    """The file is a target, and the files it points at exist."""
    target = load_target(path)
    assert target.name == path.name.split(".")[0]
    if isinstance(target, LocalTargetSpec):
        assert (path.parent / target.local.config).is_file()
    if isinstance(target, KubernetesTargetSpec):
        for component in target.kubernetes.components.values():
            assert component.namespace in ("", *target.kubernetes.namespaces)
            assert selectors.parse(component.selector)


@pytest.mark.parametrize("path", _files("gamedays") or [None], ids=str)
def test_game_day_loads(path: Path | None) -> None:
    """A plan names experiments and a target that exist; a project may have no plans."""
    if path is None:
        return
    plan, catalogue = load_gameday(path), Catalogue(_ROOT)
    catalogue.target(plan.target)
    for step in plan.steps:
        catalogue.experiment(step.experiment)


def test_every_fault_has_a_test_file() -> None:
    """A fault is one file and so is its test: nobody trusts harm that was never undone."""
    tests = {path.name for path in (_ROOT / "tests").rglob("test_*.py")}
    modules = {fault.__module__.rpartition(".")[2] for fault in FAULTS.values()}
    missing = sorted(f"test_{m}.py" for m in modules if f"test_{m}.py" not in tests)
    assert not missing, f"missing under tests/: {', '.join(missing)}"
