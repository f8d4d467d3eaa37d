"""A gate before it starts: what is refused, and how long and how often each side is asked."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from gates import ROOT, make_catalogue

from faultload.errors import FaultloadError, RefusedError, UsageError
from faultload.load import make_trace, read_trace, write_trace
from faultload.run.gate.plan import Asked, GatePlan, Mode, prepare_gate
from faultload.run.gate.sides import differences, flat
from faultload.spec import Catalogue, load_scenario

URLS = {"baseline": "http://127.0.0.1:1", "candidate": "http://127.0.0.1:2"}


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    """Return a project whose targets and scenarios a test may spoil."""
    made = make_catalogue(tmp_path)
    (tmp_path / "targets").unlink()
    shutil.copytree(ROOT / "targets", tmp_path / "targets")
    return made


def plan(catalogue: Catalogue, **asked: Any) -> GatePlan:
    """Return the plan of two URLs under the tiny scenario."""
    return prepare_gate(catalogue, Asked(**(URLS | {"scenario": "tiny"} | asked)))


def change(path: Path, **keys: Any) -> None:
    """Change keys of a YAML file."""
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump(document | keys), encoding="utf-8")


def test_trial_is_as_long_as_a_thousand_requests_take(catalogue: Catalogue) -> None:
    """What a p95 needs, at the scenario's own rate, unless somebody says otherwise."""
    assert plan(catalogue).trial_s == 25
    assert plan(catalogue, trial_s=7.5).trial_s == 7.5


def test_target_says_how_long_its_trials_are(catalogue: Catalogue) -> None:
    """A target's own phases, minutes where nodes are slow, count before the scenario."""
    path = catalogue.root / "targets" / "local.yaml"
    change(path, phases={"warmup_s": 60, "baseline_s": 300})

    found = plan(catalogue, baseline="local", candidate="local")

    assert (found.warmup_s, found.trial_s) == (60, 300)


@pytest.mark.parametrize(
    ("mode", "has_history", "trials"),
    [
        (Mode.QUICK, True, [10, 10]),
        (Mode.QUICK, False, [20]),
        (Mode.FULL, True, [10, 10, 10]),
        (Mode.FULL, False, [20, 10]),
    ],
)
def test_first_look_has_enough_to_look_at(
    catalogue: Catalogue, mode: Mode, has_history: bool, trials: list[int]
) -> None:
    """One trial a trace and side says nothing about noise: without a history there are two."""
    found = plan(catalogue, mode=mode, has_history=has_history)

    assert [len(found.order(stage + 1)) for stage in range(found.stages)] == trials


def test_sides_take_turns_in_every_trace(catalogue: Catalogue) -> None:
    """Over two turns of all traces each side went first in each of them: ABBA."""
    trials = plan(catalogue).order(1)
    first = [side for _, side in trials[::2]]

    assert [side != other for side, other in zip(first[:5], first[5:], strict=True)] == [True] * 5
    assert [trace for trace, _ in trials[::2]] == ["t1", "t2", "t3", "t4", "t5"] * 2


def test_same_seed_gives_the_same_traces(catalogue: Catalogue, tmp_path: Path) -> None:
    """Byte for byte, and five of them that differ."""
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
    small = plan(catalogue, trial_s=2)

    first, second = (small.write_traces(folder) for folder in folders)

    assert first == second
    assert len(set(first.values())) == 5


def test_recording_is_cut_into_pieces(catalogue: Catalogue, tmp_path: Path) -> None:
    """Each trace is a piece of its own, from 0 on; a recording that is too short says so."""
    folder = catalogue.root / "scenarios"
    tiny = load_scenario(folder / "tiny.yaml")
    write_trace(make_trace(tiny, 12.0, 1), folder / "recorded.parquet")
    (folder / "played.yaml").write_text((folder / "tiny.yaml").read_text(encoding="utf-8"))
    arrivals = {"kind": "trace", "path": "recorded.parquet"}
    change(folder / "played.yaml", name="played", arrivals=arrivals)
    asked = {"scenario": "played", "warmup_s": 1, "trial_s": 2}

    pieces = plan(catalogue, traces=3, **asked)
    pieces.write_traces(tmp_path)

    traces = [read_trace(tmp_path / f"t{number}.parquet") for number in (1, 2, 3)]
    assert all(trace["due_s"].iloc[0] == pytest.approx(0, abs=0.05) for trace in traces)
    assert not np.array_equal(traces[0]["prompt"], traces[1]["prompt"])
    with pytest.raises(UsageError, match="none in piece 5; ask for fewer --traces"):
        plan(catalogue, traces=5, **asked).write_traces(tmp_path)


def test_closed_loop_is_refused(catalogue: Catalogue) -> None:
    """It would ask a slow side less often, and flatter it."""
    shutil.copy(ROOT / "scenarios" / "autoscaling.yaml", catalogue.root / "scenarios")

    with pytest.raises(UsageError, match="expected an open loop"):
        plan(catalogue, scenario="autoscaling")


def test_production_is_refused(catalogue: Catalogue) -> None:
    """A gate loads its sides as far as the scenario goes; users are not to feel it."""
    change(catalogue.root / "targets" / "local.yaml", production=True)

    with pytest.raises(RefusedError, match="production"):
        plan(catalogue, candidate="local")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"candidate_set": ["a=1"]}, "--candidate-set changes a local platform"),
        ({"candidate": "http://me:secret@127.0.0.1"}, "one with a user name in it"),
        ({"baseline": "loacl"}, "did you mean 'local'"),
        ({"slos": ["chatt"]}, "no SLO named 'chatt'"),
        ({"scenario": "tinyy"}, "did you mean 'tiny'"),
    ],
)
def test_mistake_is_said_before_anything_starts(
    catalogue: Catalogue, asked: dict[str, Any], said: str
) -> None:
    """One line: what was expected, what was found."""
    with pytest.raises(FaultloadError) as caught:
        plan(catalogue, **asked)

    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


def test_environments_are_compared_key_by_key() -> None:
    """Whoever reads a report sees which flag differs, not that something does."""
    old = flat({"config": {"fast": {"step_s": 0.006, "args": ["--a"]}}, "replicas": 2})
    new = flat({"config": {"fast": {"step_s": 0.0096, "args": ["--a", "--b"]}}, "replicas": 2})

    assert differences(old, new) == [
        "config.fast.args[1]: nothing → --b",
        "config.fast.step_s: 0.006 → 0.0096",
    ]
    assert differences({str(n): "1" for n in range(20)}, {}, most=2)[-1] == "and 18 more"
