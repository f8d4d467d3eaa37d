"""Files are found by short names; a wrong name is told the nearest right one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from faultload.errors import SpecError, UsageError
from faultload.spec import Catalogue

_ASKED_BY = Path("experiments/engine/replica-loss.yaml")


def test_root_is_found_from_below(project: Path) -> None:
    """A command works in any folder of the project."""
    assert Catalogue.find(project / "experiments" / "engine") == Catalogue(project)


def test_no_project_is_a_usage_error(tmp_path: Path) -> None:
    """Outside a project the error says what was looked for and what to do."""
    with pytest.raises(UsageError, match="expected a folder with experiments/ and targets/"):
        Catalogue.find(tmp_path)


@pytest.mark.parametrize("name", ["engine/replica-loss", "experiments/engine/replica-loss.yaml"])
def test_experiment_by_name_or_path(project: Path, name: str) -> None:
    """Lists show `folder/name`, shells complete paths: both work."""
    assert Catalogue(project).experiment(name).name == "engine/replica-loss"


def test_slos_come_in_the_order_asked_without_repeats(project: Path) -> None:
    """A file's stem stands for all in it; what is asked twice is judged once."""
    found = Catalogue(project).slos(["batch", "chat-served", "chat"], _ASKED_BY)
    assert [slo.name for slo in found] == ["batch-e2e", "chat-served", "chat-ttft"]


def test_unknown_experiment(project: Path) -> None:
    """The nearest experiment is named."""
    with pytest.raises(UsageError, match=r"did you mean 'engine/replica-loss'"):
        Catalogue(project).experiment("engine/replica-los")


def test_unknown_slo(project: Path) -> None:
    """The error names the asking file, the place in its list and the nearest SLO."""
    with pytest.raises(SpecError) as caught:
        Catalogue(project).slos(["batch", "chat-tfft"], _ASKED_BY)
    assert str(caught.value) == (
        f"{_ASKED_BY}: extensions[faultload].slos[1]: no SLO named 'chat-tfft' in slos/;"
        " did you mean 'chat-ttft'?"
    )


def test_unknown_scenario(project: Path) -> None:
    """The error names the asking file and its key."""
    with pytest.raises(SpecError) as caught:
        Catalogue(project).scenario("chatt", _ASKED_BY)
    assert caught.value.file == _ASKED_BY
    assert caught.value.key == "extensions[faultload].scenario"
    assert "no scenario named 'chatt' in scenarios/; did you mean 'chat'?" in str(caught.value)


def test_unknown_target(project: Path) -> None:
    """A target comes from the command line, so no file is at fault."""
    with pytest.raises(UsageError, match=r"no target named 'locale'.*did you mean 'local'"):
        Catalogue(project).target("locale")


def test_missing_path(project: Path) -> None:
    """A path that leads nowhere is named as it was given."""
    with pytest.raises(SpecError, match="no such file"):
        Catalogue(project).target("targets/moon.yaml")


def test_slo_name_in_two_files(mend: Callable[[str, str, str], Path], project: Path) -> None:
    """One name must not mean two SLOs."""
    mend("slos/batch.yaml", "metadata: {name: batch-e2e}", "metadata: {name: chat-ttft}")
    with pytest.raises(SpecError, match="'chat-ttft' is given twice: in another file too"):
        Catalogue(project).slos(["chat"], _ASKED_BY)
