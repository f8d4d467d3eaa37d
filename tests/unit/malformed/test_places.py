"""Files that cannot be written down as text: of another encoding, no files at all, or endless."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from malformed import Table, nothing_is_done, read_table

from faultload.cli import invoke
from faultload.errors import ExitCode, SpecError
from faultload.load import make_trace, read_trace
from faultload.run.plan import prepare
from faultload.spec import (
    Catalogue,
    load_experiment,
    load_gameday,
    load_scenario,
    load_slos,
    load_target,
)
from faultload.spec.prices import load_prices

_HERE = Path(__file__).parent
_LOADERS: dict[str, Callable[[Path], object]] = {
    "experiments": load_experiment,
    "scenarios": load_scenario,
    "slos": load_slos,
    "targets": load_target,
    "clusters": load_target,
    "gamedays": load_gameday,
}
_BOUND_S = 20.0


def _fill(data: bytes) -> Callable[[Path, bytes], None]:
    return lambda path, _: (path.write_bytes(data), None)[1]


def _loop(path: Path, _: bytes) -> None:
    path.with_suffix(".a").symlink_to(path)
    path.symlink_to(path.with_suffix(".a"))


def _forbid(path: Path, text: bytes) -> None:
    path.write_bytes(text)
    path.chmod(0)


_PLACES: dict[str, tuple[Callable[[Path, bytes], None], str]] = {
    "nothing": (lambda _path, _text: None, "no such file"),
    "a folder": (lambda path, _: path.mkdir(), "expected a file, found a folder"),
    "a loop of links": (_loop, "cannot be read"),
    "a link to nothing": (lambda path, _: path.symlink_to("nowhere"), "no such file"),
    "a link to all there is": (lambda path, _: path.symlink_to("/dev/zero"), "expected a file"),
    "a pipe nobody writes to": (lambda path, _: os.mkfifo(path), "expected a file"),
    "a picture": (_fill(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\xff\xd8"), "expected UTF-8 text"),
    "an archive": (_fill(b"\x1f\x8b\x08\x00\xff\xff" * 9), "expected UTF-8 text"),
    "UTF-16": (lambda path, text: _fill(text.decode().encode("utf-16"))(path, b""), "UTF-8 text"),
    "Latin-1": (_fill(b"name: gr\xf6\xdfe\n"), "expected UTF-8 text, found other bytes at byte 8"),
    "zero bytes": (_fill(b"\x00" * 4096), "not valid YAML"),
    "a megabyte of text": (lambda path, text: _fill(text * 9999)(path, b""), "expected at most"),
    "a long line": (_fill(b"name: " + b"x" * 2**20), "expected at most"),
    "a thousand brackets": (_fill(b"[" * 1000), "not valid YAML: nested too deeply"),
    "a sparse giant": (lambda path, _: (path.touch(), os.truncate(path, 2**40))[1], "at most"),
}


@pytest.mark.parametrize(
    ("kind", "place"),
    [("experiments", place) for place in _PLACES]
    + [(kind, place) for kind in _LOADERS for place in ("a folder", "UTF-16", "zero bytes")],
)
def test_what_is_no_text_is_refused_at_once(tmp_path: Path, kind: str, place: str) -> None:
    """Every loader says what it found instead, and never waits for an end that does not come."""
    spoil, says = _PLACES[place]
    path = tmp_path / "file.yaml"
    spoil(path, _table(kind).base.encode())

    with nothing_is_done(), pytest.raises(SpecError) as caught:
        _LOADERS[kind](path)

    assert caught.value.file == path
    assert says in caught.value.problem
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("kind", _LOADERS)
def test_a_file_we_may_not_read_is_refused(tmp_path: Path, kind: str) -> None:
    """Rights are no defect of ours."""
    path = tmp_path / "file.yaml"
    _forbid(path, _table(kind).base.encode())
    with pytest.raises(SpecError, match="cannot be read: Permission denied; expected a file"):
        _LOADERS[kind](path)


@pytest.mark.parametrize("kind", _LOADERS)
def test_a_byte_order_mark_and_other_line_ends_are_no_mistake(tmp_path: Path, kind: str) -> None:
    """Editors of other systems add them, and nobody sees them."""
    path = tmp_path / "file.yaml"
    text = _table(kind).base.replace("\n", "\r\n")
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert _LOADERS[kind](path)


@pytest.mark.parametrize("key", ["scenario: chat", "slos: [chat", "func: kill_replica"])
def test_an_endless_word_is_shortened(tmp_path: Path, key: str) -> None:
    """A message is read by people: what is long is not repeated whole."""
    root = _project(tmp_path)
    path = root / _table("experiments").file
    text = path.read_text(encoding="utf-8")
    assert key in text
    path.write_text(text.replace(key, key + "x" * 9000), encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        prepare(Catalogue(root), str(path), "local")
    assert len(str(caught.value)) < 1500


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "x" * 5000], "no experiment and no folder"),
        (["run", "x" * 5000 + ".yaml"], "cannot be read"),
        (["run", "engine/replica-loss", "--target", "x" * 5000], "no target named"),
        (["trace", "make", "x" * 5000, "--out", "x.parquet"], "no scenario named"),
        (["run", "a\0b"], "no experiment and no folder"),
    ],
)
def test_names_that_no_file_can_have_are_mistakes_like_others(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    says: str,
) -> None:
    """The system refuses to look for them, which is no defect of ours."""
    monkeypatch.chdir(_project(tmp_path))
    with nothing_is_done():
        code = invoke(arguments)
    err = capsys.readouterr().err
    assert code == ExitCode.USAGE, err
    assert says in err
    assert err.count("\n") == 1


def _trace() -> pd.DataFrame:
    scenario = load_scenario(_HERE.parents[2] / "scenarios" / "reasoning-calm.yaml")
    return make_trace(scenario, 20, 1)


_TRACES: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], str]] = {
    "no time": (lambda t: t.assign(due_s=float("nan")), "due_s"),
    "before the start": (lambda t: t.assign(due_s=t["due_s"] - 5), "due_s"),
    "out of order": (lambda t: t.iloc[::-1], "due_s"),
    "times are texts": (lambda t: t.assign(due_s="soon"), "due_s"),
    "numbers given twice": (lambda t: t.assign(index=3), "index"),
    "no tokens asked": (lambda t: t.assign(output_tokens=0), "output_tokens"),
    "fewer than none": (lambda t: t.assign(prompt_tokens=-1), "prompt_tokens"),
    "more than a whole number holds": (lambda t: t.assign(prompt_tokens=2**40), "prompt_tokens"),
    "no prompt": (lambda t: t.assign(prompt=None), "prompt"),
    "header of one's own": (lambda t: t.assign(tenant="a\r\nX-Harm: 1"), "tenant"),
    "tier beyond ASCII": (lambda t: t.assign(tier="größe"), "tier"),
    "column missing": (lambda t: t.drop(columns="model"), "model"),
    "another table": (lambda _: pd.DataFrame({"a": [1]}), "index"),
}


@pytest.mark.parametrize("name", _TRACES)
def test_a_trace_that_nobody_could_send_is_refused(tmp_path: Path, name: str) -> None:
    """What a column must hold is looked at before a request is sent, and the column is named."""
    spoil, column = _TRACES[name]
    path = tmp_path / "day.parquet"
    spoil(_trace()).to_parquet(path)
    with pytest.raises(SpecError, match=r"expected .+, found ") as caught:
        read_trace(path)
    assert (caught.value.file, caught.value.key) == (path, column)


_PRICES = """\
region: us-east-1
as_of: 2026-11-01
source: the price list
instances:
  - {instance_type: a, gpu: T4, gpus: 1, gpu_memory_gib: 16, usd_per_hour: 0.5}
"""


@pytest.mark.parametrize(
    ("old", "new", "key", "says"),
    [
        ("0.5", "0", "instances[0].usd_per_hour", "expected more than 0, found 0"),
        ("0.5", "-1", "instances[0].usd_per_hour", "expected more than 0, found -1"),
        ("0.5", ".inf", "instances[0].usd_per_hour", "found inf"),
        ("0.5", "$0.50", "instances[0].usd_per_hour", "expected a number, found '$0.50'"),
        ("gpus: 1", "gpus: 0", "instances[0].gpus", "expected at least 1, found 0"),
        ("gpus: 1", "gpus: one", "instances[0].gpus", "expected a whole number, found 'one'"),
        ("gpu: T4", "gpu: 4", "instances[0].gpu", "expected a text, found 4"),
        ("instance_type: a, ", "", "instances[0].instance_type", "required and missing"),
        ("usd_per_hour", "eur_per_hour", "instances[0].eur_per_hour", "mean 'usd_per_hour'?"),
        ("2026-11-01", "last week", "as_of", "found 'last week'"),
        ("2026-11-01", "2026-02-30", "line 2, column 8", "not valid YAML"),
        ("source: the price list\n", "", "source", "required and missing"),
        ("region:", "regoin:", "regoin", "did you mean 'region'?"),
    ],
)
def test_a_price_list_is_refused_like_any_other_file(
    tmp_path: Path, old: str, new: str, key: str, says: str
) -> None:
    """A price that is wrong would be money that is wrong."""
    path = tmp_path / "prices.yaml"
    assert old in _PRICES
    path.write_text(_PRICES.replace(old, new), encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        load_prices(path)
    assert (caught.value.file, caught.value.key) == (path, key)
    assert says in caught.value.problem


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "bad.yaml", "--target", "local"], "bad.yaml: titel: unknown key 'titel'"),
        (["slo", "list"], "chat.yaml: spec.objectives[0].target: expected less than 1"),
    ],
)
def test_the_real_command_says_the_same(tmp_path: Path, arguments: list[str], says: str) -> None:
    """Nothing between the library and the shell adds a traceback or another exit code."""
    slos = _project(tmp_path) / _table("slos").file
    slos.write_text(_table("slos").base.replace("0.95", "95"), encoding="utf-8")
    bad = _table("experiments").base.replace("title: ", "titel: ", 1)
    (tmp_path / "bad.yaml").write_text(bad, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "faultload", *arguments],
        cwd=tmp_path,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")},
        capture_output=True,
        text=True,
        timeout=_BOUND_S,
        check=False,
    )
    assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "state").exists()


def _table(kind: str) -> Table:
    return read_table(_HERE / f"{kind}.yaml")


def _project(root: Path) -> Path:
    """Write the tables' valid documents; return their root."""
    for kind in ("experiments", "scenarios", "slos", "targets"):
        table = _table(kind)
        for name, text in {**table.beside, table.file: table.base}.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return root


def test_every_bad_file_of_a_folder_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One malformed file among good ones keeps all from running, and each says what is wrong."""
    _project(tmp_path)
    base = _table("experiments").base
    for name, old, new in (
        ("a-good-one", "", ""),
        ("b-typo", "title: ", "titel: "),
        ("c-scenario", "scenario: chat", "scenario: caht"),
        ("d-good-one", "", ""),
        ("e-yaml", "[engine]", "[engine"),
    ):
        path = tmp_path / "experiments" / "engine" / f"{name}.yaml"
        path.write_text(base.replace(old, new, 1), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    for how in (["engine"], ["--all"], ["engine/d-good-one", "engine/e-yaml", "engine/b-typo"]):
        with nothing_is_done():
            code = invoke(["run", *how, "--target", "local"])
        lines = capsys.readouterr().err.splitlines()
        bad = ["b-typo", "c-scenario", "e-yaml"] if len(how) == 1 else ["e-yaml", "b-typo"]
        assert code == ExitCode.USAGE
        assert len(lines) == len(bad)
        for line, name in zip(lines, bad, strict=True):
            assert line.startswith("faultload: ")
            assert f"{name}.yaml: " in line

    with nothing_is_done():  # -k reads them all before it chooses
        code = invoke(["run", "-k", "engine", "--target", "local"])
    assert code == ExitCode.USAGE
    assert len(capsys.readouterr().err.splitlines()) == 2
