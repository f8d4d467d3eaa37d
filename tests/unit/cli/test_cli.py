"""The command line: one line and the right exit code for whatever goes wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from faultload.cli import invoke
from faultload.cli.output import worst_code
from faultload.errors import ExitCode

ROOT = Path(__file__).parents[3]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the project's own files that a test may spoil, as the current folder."""
    for folder in ("experiments", "scenarios", "slos", "targets", "gamedays"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    shutil.copytree(ROOT / "platform", tmp_path / "platform", ignore=lambda *_: ["src"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def spoil(path: Path, old: str, new: str) -> None:
    """Replace text that must be there."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


EXPERIMENT = "experiments/engine/replica-loss.yaml"


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        (EXPERIMENT, "blast_radius:", "blast_raduis:", "did you mean 'blast_radius'?"),
        (EXPERIMENT, "steady-state-hypothesis:", "steady-state-hypotesis:", "did you mean"),
        (EXPERIMENT, "slos: [chat]", "slos: [chatt]", "no SLO named 'chatt' in slos/; did you"),
        (EXPERIMENT, "chat-steady", "chat-stedy", "did you mean 'chat-steady'?"),
        (EXPERIMENT, "title:", "titel:", "did you mean 'title'?"),
        (EXPERIMENT, "func: kill_replica", "func: kill_replicas", "kill_replicas"),
        (EXPERIMENT, "replicas: 1}\n    pauses", "replica: 1}\n    pauses", "replica"),
        (EXPERIMENT, "tolerance: true", "tolerance: 1", "answer yes or no"),
        (EXPERIMENT, "tags: [engine", "tags: [engine]]", "not valid YAML"),
        (EXPERIMENT, "requires: [kill-replica]", "requires: 3", "requires"),
        ("scenarios/chat-steady.yaml", "arrivals:", "arrival:", "did you mean 'arrivals'?"),
        ("slos/chat.yaml", "budgetingMethod:", "budgetMethod:", "budgetingMethod"),
        ("targets/local.yaml", "kind: local", "kind: locale", "kind"),
        ("targets/local.yaml", "../platform/local.yaml", "nowhere.yaml", "no such file"),
    ],
)
def test_bad_file_is_one_line_and_64(
    project: Path, capsys: pytest.CaptureFixture[str], file: str, old: str, new: str, said: str
) -> None:
    """A mistake in any file names the file and the remedy on one line, and runs nothing."""
    spoil(project / file, old, new)

    code = invoke(["run", "engine/replica-loss", "--target", "local"])

    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line.startswith("faultload:")]
    assert code == ExitCode.USAGE, captured.err
    assert len(lines) == 1, captured.err
    assert said in lines[0]
    assert Path(file).name in lines[0]
    assert "Traceback" not in captured.err
    assert not (project / "reports").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "engine/replica-los"], "did you mean 'engine/replica-loss'?"),
        (["run", "experiments/engine/nothing.yaml"], "no such file"),
        (["run", "engine/replica-loss", "--target", "locale"], "did you mean 'local'?"),
        (["run", "engine/replica-loss", "--sed", "3"], "No such option: --sed"),
        (["run"], "Missing argument"),
        (["rnu"], "No such command"),
        (["judge", "reports/none"], "record"),
        (["trace", "make", "chat-stedy", "--out", "x"], "did you mean 'chat-steady'?"),
        (["run", "gamedays/first.yaml", "engine/replica-loss"], "game day file alone"),
    ],
)
def test_bad_arguments_are_one_line_and_64(
    project: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    """A mistyped command, option or name is a usage error with the nearest right one."""
    code = invoke(arguments)

    captured = capsys.readouterr()
    assert code == ExitCode.USAGE
    assert said in captured.err
    assert captured.err.count("\n") == 1


def test_no_project_here_says_where_to_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Outside a project the error says what was looked for and which option to give."""
    monkeypatch.chdir(tmp_path)

    assert invoke(["run", "engine/replica-loss"]) == ExitCode.USAGE
    assert "--root" in capsys.readouterr().err


def test_status_of_no_platform_is_missing(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing up is 69, so that a script can tell it from an answer."""
    assert invoke(["platform", "status"]) == ExitCode.MISSING
    assert invoke(["platform", "down"]) == ExitCode.MISSING


def test_recover_with_nothing_to_do_passes(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A clean machine has nothing to recover, and that is no failure."""
    assert invoke(["recover"]) == ExitCode.PASS
    assert "nothing to recover" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [["slo", "list"], ["faults", "list"], ["prices", "list"], ["runs", "list"]]
)
def test_lists_speak_json(
    project: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    """Every list has a form for scripts that is strict JSON."""
    assert invoke([*arguments, "--json"]) == ExitCode.PASS
    json.loads(capsys.readouterr().out)


def test_trace_is_byte_identical(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same scenario and seed write the same bytes; another seed writes others."""
    for name, seed in (("a", "7"), ("b", "7"), ("c", "8")):
        words = ["trace", "make", "chat-steady", "--out", name, "--seed", seed]
        assert invoke(words) == ExitCode.PASS

    a, b, c = (Path(name).read_bytes() for name in "abc")
    assert a == b
    assert a != c


@pytest.mark.parametrize(
    ("codes", "counts"),
    [
        ([0, 0], 0),
        ([0, 2, 1], 1),
        ([1, 3, 0], 3),
        ([1, 69], 1),
        ([69, 69], 69),
        ([1, 130], 130),
        ([0, 75], 75),
        ([], 2),
    ],
)
def test_the_code_that_counts(codes: list[int], counts: int) -> None:
    """A signal or refusal ends all; a skip hides no verdict; nothing at all is never a pass."""
    assert worst_code(codes) == counts


def test_reader_that_goes_away_changes_no_exit_code(project: Path) -> None:
    """`faultload ... | head` ends with the command's own code and no traceback."""
    command = f"{sys.executable} -m faultload slo list --json"
    script = f"{command} 2>err | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], cwd=project, check=False)

    assert done.returncode == ExitCode.PASS
    assert (project / "err").read_text() == ""


def test_importing_the_command_line_leaves_sockets_alone() -> None:
    """Locust and gevent patch sockets, threads and signals: they stay in their own processes."""
    code = (
        "import sys, faultload.cli.commands, faultload.run, faultload.load, faultload.report;"
        "sys.exit(any(m.split('.')[0] in ('locust', 'gevent') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
