"""The command line: one line and the right exit code for whatever goes wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from faultload.cli import invoke
from faultload.cli.output import worst_code
from faultload.errors import ExitCode
from faultload.run.plan import prepare
from faultload.spec import Catalogue
from faultload.spec.target import LoadWorkers

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
        (["run"], "expected experiments, a folder of them"),
        (["run", "--all", "engine/hang"], "expected --all or names, found both"),
        (["run", "nod"], "did you mean 'node'?"),
        (["run", "-k", "nowhere"], "selects none of: dependency/cache-outage"),
        (["run", "-k", "node and"], "expected words with and, or, not and parentheses"),
        (["run", "engine/hang", "--sample-seed", "x"], "expected --sample beside it"),
        (["run", "--all", "--sample", "0"], "--sample"),
        (["run", "--all", "--order", "random"], "--order"),
        (["rnu"], "No such command"),
        (["judge", "reports/none"], "record"),
        (["trace", "make", "chat-stedy", "--out", "x"], "did you mean 'chat-steady'?"),
        (["run", "gamedays/first.yaml", "engine/replica-loss"], "game day file alone"),
        (["run", "engine/replica-loss", "--workers", "0"], "'--workers': Input should be greater"),
        (
            ["run", "engine/replica-loss", "--workers", "two"],
            "'--workers': Input should be a valid",
        ),
        (["run", "engine/replica-loss", "--load-listen", "here"], "HOST:PORT, found 'here'"),
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


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: None, "no such trace; make one with `faultload trace make`"),
        (lambda path: path.write_text("due_s\n1\n"), "not a readable trace"),
        (lambda path: path.mkdir(), "not a readable trace"),
    ],
    ids=["missing", "damaged", "a-folder"],
)
def test_a_recording_that_cannot_be_played_is_found_before_anything_starts(
    project: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], object], said: str
) -> None:
    """One line with the scenario file, its key and the trace; no platform and no run directory."""
    scenario = project / "scenarios" / "chat-steady.yaml"
    document = yaml.safe_load(scenario.read_text(encoding="utf-8"))
    document["arrivals"] = {"kind": "trace", "path": "day.parquet"}
    scenario.write_text(yaml.safe_dump(document), encoding="utf-8")
    damage(project / "scenarios" / "day.parquet")

    assert invoke(["run", "engine/replica-loss"]) == ExitCode.USAGE
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "chat-steady.yaml: arrivals.path: " in captured.err
    assert "day.parquet" in captured.err
    assert said in captured.err
    assert not (project / "reports").exists()


def test_load_options_override_the_target_file_and_are_repeated(project: Path) -> None:
    """`--workers` and `--load-listen` win over `load`, keep its other keys, and are in `repeat`.

    So is `--set`.
    """
    target = project / "targets" / "local.yaml"
    target.write_text(
        target.read_text(encoding="utf-8") + "load: {workers: 2, api_key_env: PATH}\n",
        encoding="utf-8",
    )
    catalogue, options = Catalogue(project), {"workers": 3, "listen": "127.0.0.1:5557"}
    worse = ["tiers.fast.replicas=1", "tiers.reasoning.replicas=1"]
    plan = prepare(catalogue, "engine/replica-loss", "local", load=options, overrides=worse)
    assert plan.target.load == LoadWorkers(workers=3, listen="127.0.0.1:5557", api_key_env="PATH")
    assert plan.repeat.endswith(
        "--seed 1 --set tiers.fast.replicas=1 --set tiers.reasoning.replicas=1"
        " --workers 3 --load-listen 127.0.0.1:5557"
    )
    own = prepare(catalogue, "engine/replica-loss", "local")
    assert own.target.load.workers == 2
    assert "--workers" not in own.repeat


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
    ("words", "said"),
    [
        (["--expired"], "--target NAME"),
        (["--target", "local"], "--expired"),
        (["--expired", "--target", "local", "--forget", "x"], "no --forget"),
        (["--expired", "--target", "local"], "keeps no marks"),
        (["--expired", "--target", "local", "--every", "1"], "keeps no marks"),
        (["--every", "1"], "no --every without"),
        (["--expired", "--target", "local", "--every", "0"], "--every"),
        (["--expired", "--target", "locall"], "did you mean 'local'"),
    ],
)
def test_recover_expired_wants_a_cluster(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Marks are on a cluster's objects: without one, the line says what was expected."""
    assert invoke(["recover", *words]) == ExitCode.USAGE
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["slo", "list"], ["faults", "list"], ["prices", "list"], ["runs", "list"]]
)
def test_lists_speak_json(
    project: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    """Every list has a form for scripts that is strict JSON."""
    assert invoke([*arguments, "--json"]) == ExitCode.PASS
    json.loads(capsys.readouterr().out)


def test_one_fault_is_shown_and_a_misspelt_one_is_not(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What proves it, what ends it, and every argument with its type, unit and default."""
    assert invoke(["faults", "show", "drain_node"]) == ExitCode.PASS
    shown = capsys.readouterr().out
    assert "**In force when**" in shown
    assert "| `timeout_s` | number over 0 to 3600, s | `120` |" in shown
    assert invoke(["faults", "show", "drain_nodes"]) == ExitCode.USAGE
    assert "did you mean 'drain_node'" in capsys.readouterr().err


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
