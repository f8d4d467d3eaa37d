"""Secrets planted in every kind of place are in nothing that is left behind.

Each place has a value of its own. It is planted, what writes is played for real, and everything
that was written, said or shown in a process list is searched for each value, also encoded. What
stands in its place shows that it came that far, and was hidden or refused there.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from planted import tattler, text_of, traces_of
from planted_scenes import (
    PLACES,
    VALUES,
    Scene,
    a_defect_is_told,
    answers,
    chaos_toolkit_plays,
    cluster_refuses,
    files_are_refused,
    finish,
    load_is_made,
    platform_of,
    pods_log,
    run_is_recorded,
    value_of,
)

from faultload import secrecy
from faultload.record import RunDirectory
from faultload.secrecy import keep_environment, private_files


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Play everything once; return the folder with all that is left behind."""
    folder, left = tmp_path_factory.mktemp("planted"), tmp_path_factory.mktemp("left")
    before = os.umask(0)
    with pytest.MonkeyPatch.context() as patch, tattler(answers()) as url, private_files():
        patch.setenv("XDG_STATE_HOME", str(left / "state"))
        key = VALUES["variable like OPENAI_API_KEY, in an exception"]
        patch.setenv("OPENAI_API_KEY", key)
        patch.setenv("HTTPS_PROXY", f"http://eva:{VALUES['proxy with a password']}@proxy:3128")
        scene = Scene(folder, left, url, patch)
        directory = RunDirectory.create(left, "run")
        with scene.processes:
            child, load = chaos_toolkit_plays(scene, directory), load_is_made(scene)
            files_are_refused(scene)
            a_defect_is_told(scene)
            cluster_refuses(scene)
            pods_log(scene)
            finish(child, load, left)
        keep_environment()
        run_is_recorded(scene, directory, platform_of(scene))
        (left / "processes.txt").write_text("\n".join(scene.processes.seen), encoding="utf-8")
    os.umask(before)
    return left


@pytest.mark.parametrize("place", PLACES)
def test_a_planted_secret_is_in_nothing_that_is_left(left: Path, place: str) -> None:
    """Neither plain nor encoded, in no file, word or argument; what stands there says so."""
    artefact, instead = PLACES[place]
    found = [path for path in left.glob(artefact) if instead in text_of(path)]
    assert found, [text_of(path)[-3000:] for path in left.glob(artefact)] or artefact
    assert traces_of(VALUES[place], left) == []


def test_what_is_left_is_private(left: Path) -> None:
    """Nobody but its owner may read or list any of it, although the umask forbids nothing."""
    open_to_others = [path for path in left.rglob("*") if path.stat().st_mode & 0o077]
    assert open_to_others == []


def test_programs_were_seen(left: Path) -> None:
    """The process lists that were searched have the children in them, with their arguments."""
    seen = (left / "processes.txt").read_text(encoding="utf-8")
    assert "faultload.run.chaos_child" in seen
    assert "-m locust" in seen


def test_the_search_finds_what_is_not_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nothing hidden the same places give their values away: the search can fail."""
    monkeypatch.setattr(secrecy, "_REGISTRY", secrecy._Registry())
    monkeypatch.setattr(secrecy, "_FORMS", ())
    monkeypatch.setattr(secrecy, "_disguises", lambda _: iter(()))
    monkeypatch.setattr(secrecy, "names_secret", lambda _: False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "left" / "state"))
    left = tmp_path / "left"
    left.mkdir()
    with tattler(answers()) as url:
        scene = Scene(tmp_path / "planted", left, url, monkeypatch)
        a_defect_is_told(scene)
        run_is_recorded(scene, RunDirectory.create(left, "run"), platform_of(scene))
    found = {place for place in PLACES if traces_of(VALUES[place], left)}
    expected = [place for place, (artefact, _) in PLACES.items() if _is_played_above(artefact)]
    assert found == set(expected)


def _is_played_above(artefact: str) -> bool:
    by_children = ("journal.json", "chaos.jsonl", "chaos.log")
    return artefact == "said/defect.txt" or (
        artefact.startswith("run/") and not artefact.endswith(by_children)
    )


@pytest.mark.parametrize("encode", [str.encode, lambda s: base64.b64encode(b"eva:" + s.encode())])
def test_one_that_is_planted_on_purpose_is_found(
    tmp_path: Path, encode: Callable[[str], bytes]
) -> None:
    """Plain, and inside of something encoded; in a text and in a table."""
    secret = value_of(99)
    (tmp_path / "a.log").write_bytes(b"x " + encode(secret) + b" y")
    table = pa.table({"error": [encode(secret).decode()]})
    pq.write_table(table, tmp_path / "a.parquet")
    found = {Path(trace.partition(": ")[0]).suffix for trace in traces_of(secret, tmp_path)}
    assert found == {".log", ".parquet"}
