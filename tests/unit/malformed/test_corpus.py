"""A corpus of files that are wrong: each is refused on a line of its own, and nothing is begun."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from malformed import Mistake, Table, nothing_is_done, read_table
from typer.main import get_command

from faultload.cli import invoke
from faultload.errors import ExitCode
from faultload.run.plan import prepare
from faultload.spec import Catalogue, load_gameday
from faultload.spec.gameday import check_gameday

_HERE = Path(__file__).parent
_TABLES = [read_table(path) for path in sorted(_HERE.glob("*.yaml"))]
_MISTAKES = [mistake for table in _TABLES for mistake in table.mistakes]

_STYLE = re.compile(
    r"expected .+, found .|expected .+, never the |unknown key '.+ \(known: |required and missing"
    r"|not valid YAML: .|is given twice|; \S|: keep it in an environment variable"
)
"""What was expected and found, or what to do: each message has one of these, or a remedy."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a project of the tables' valid documents, as the current folder."""
    root = tmp_path_factory.mktemp("project")
    for table in _TABLES:
        for name, text in {**table.beside, table.file: table.base}.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("XDG_STATE_HOME", str(root / "state"))
        # Building the commands takes longer than any of these tests.
        patch.setattr("faultload.cli.get_command", functools.cache(get_command))
        yield root


@pytest.mark.parametrize("mistake", _MISTAKES, ids=str)
def test_mistake_is_one_line_that_says_where_and_what(
    project: Path, capsys: pytest.CaptureFixture[str], mistake: Mistake
) -> None:
    """File, key, and what was expected and found; the right exit code; nothing is done."""
    path = project / mistake.file
    sound = path.read_text(encoding="utf-8")
    path.write_text(mistake.text, encoding="utf-8")
    try:
        with nothing_is_done():
            code = invoke(list(mistake.command))
    finally:
        path.write_text(sound, encoding="utf-8")
    out, err = capsys.readouterr()

    assert (code, out) == (mistake.code, ""), err
    assert err.count("\n") == 1, err
    file, key = mistake.said_of and f"{Path(mistake.said_of).name}: ", mistake.at
    _, _, problem = err.rstrip("\n").partition(file or "faultload: ")
    assert err.startswith("faultload: "), err
    assert problem, f"names another file: {err}"
    assert problem.startswith(f"{key}: " if key else ""), err
    for words in mistake.says:
        assert words in problem, err
    assert mistake.code != ExitCode.USAGE or _STYLE.search(problem.removeprefix(key)), err


@pytest.mark.parametrize("table", _TABLES, ids=lambda table: table.kind)
def test_what_the_mistakes_are_made_in_is_sound(project: Path, table: Table) -> None:
    """Each base is valid with its files, else its cases would show nothing."""
    del project
    name = table.command[1]
    if name.startswith("gamedays"):
        day = load_gameday(Path(name))
        check_gameday(day, Path(name), Catalogue(Path.cwd()))
    elif table.command[0] == "run":
        with nothing_is_done():
            prepare(Catalogue(Path.cwd()), name, table.command[3])


def test_there_are_enough_of_each_kind() -> None:
    """What people write is covered, file by file."""
    counts = Counter(mistake.kind for mistake in _MISTAKES)
    assert sum(counts.values()) >= 500
    assert min(counts.values()) >= 20, counts
