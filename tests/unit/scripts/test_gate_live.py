"""Gates drawn from a pool of real trials: what is drawn, counted, kept and resumed."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from faultload.errors import UsageError
from faultload.judge.trial import ERRORS, TPOT, TTFT

pytestmark = pytest.mark.full

ROOT = Path(__file__).parents[3]
ROUNDS = {"quick": (2,), "full": (2, 1)}
SLIS = [TTFT, TPOT, ERRORS]
TRACES = tuple(f"t{number}" for number in range(1, 6))


@pytest.fixture(scope="module")
def live() -> Iterator[ModuleType]:
    """The benchmark as a module; what it imports is beside it and leaves with it."""
    folder = ROOT / "benchmarks" / "gate"
    before, path = set(sys.modules), list(sys.path)
    spec = importlib.util.spec_from_file_location("gate_live", folder / "live.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["gate_live"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").parent == folder:
            del sys.modules[name]


def pool(live: ModuleType, trials: int, *, slower: float = 0.2, noise: float = 0.03) -> Any:
    """Return a pool of so many trials an arm: no errors, latencies with a normal noise."""
    generator = np.random.default_rng(1)
    found = live.Pool({"traces": dict.fromkeys(TRACES, "")})
    found.openings.append(
        live.Opening("2026-11-22T01:00:00+00:00", "c", {"cpus": 2, "python": "3.11"}, 0.1)
    )
    for number, (at, arm) in enumerate(itertools.product(range(trials), live.ARMS)):
        trace = TRACES[at % len(TRACES)]
        level = (1 + slower * (arm == "slower")) * (1 + 0.3 * (at % len(TRACES)))
        ttft, tpot = np.round(level * np.exp(generator.normal(0, noise, 2)) * (0.05, 0.01), 6)
        quantiles = np.exp(np.linspace(-0.5, 0.5, 25))
        found.trials.append(
            live.Kept(
                arm=arm,
                trace=trace,
                turn=at // len(TRACES) + 1,
                opening=1,
                begun=f"2026-11-22T01:{number // 4:02d}:{number % 4 * 15:02d}+00:00",
                length_s=15.0,
                requests=440,
                problems=[],
                numbers={TTFT.name: ttft, TPOT.name: tpot, ERRORS.name: 0.0},
                ttft_ms=[round(float(one), 2) for one in 1000 * ttft * quantiles],
                tpot_ms=[round(float(one), 2) for one in 1000 * tpot * quantiles],
            )
        )
    return found


def rates(live: ModuleType, measured: Any, gates: int = 25) -> Any:
    """Return what drawn gates say, by case, mode and SLI."""
    draw = live.live_draws.Draw(ROUNDS, SLIS, gates)
    return live.live_draws.rates(measured, draw, np.random.default_rng(2))


def test_equal_arms_seldom_fail_and_a_slower_one_is_found(live: ModuleType) -> None:
    """Draws keep the gate's rates: what is equal passes, 20 % are found and never passed."""
    found = rates(live, pool(live, 40))

    for mode in ROUNDS:
        for case in ("A against A again", "both mixed"):
            same = found[case, mode, "whole gate"]
            assert same["fail"] <= 0.1, mode
            assert same["confirmed"] <= same["fail"], mode
        worse = found["A against slower", mode, TPOT.name]
        assert worse["fail"] >= 0.95, mode
        assert worse["confirmed"] >= 0.9, mode
        assert found["A against slower", mode, "whole gate"]["pass"] == 0, mode
        assert found["A against slower", mode, ERRORS.name]["fail"] == 0, mode
    full = found["A against A again", "full", "whole gate"]
    assert 20 <= full["trials"] <= 30
    assert found["A against A again", "quick", "whole gate"]["trials"] == 20


def test_other_judges_see_the_same_draws(live: ModuleType) -> None:
    """A threshold of 5 % and Mann-Whitney alarm where decode is 20 % slower, in each case once."""
    found = rates(live, pool(live, 40), gates=10)

    for name in ("p50 TPOT more than 5% up", "Mann-Whitney over requests' TPOT"):
        assert found["A against slower", "quick", name] == {"fail": 1.0}
        assert found["A against A again", "quick", name]["fail"] < 1


def test_a_gate_has_no_trial_twice_and_its_repetition_none_of_its_own(live: ModuleType) -> None:
    """First round and repetition are disjoint, each with the trials of its stages."""
    measured = pool(live, 40)
    old, new = measured.by_trace("a"), measured.by_trace("slower")

    rounds = [live.live_draws._Round(old, new, (2, 1), turn) for turn in (0, 1)]

    numbers = [[one.measured.numbers[TPOT.name] for one in each.trials] for each in rounds]
    assert [len(own) for own in numbers] == [30, 30]
    assert len({*numbers[0], *numbers[1]}) == 60
    stages = Counter((one.entry.side, one.entry.stage) for one in rounds[0].trials)
    assert stages == {(side, n): 10 / n for side in ("baseline", "candidate") for n in (1, 2)}


def test_mixed_sides_share_no_trial_and_have_both_arms(live: ModuleType) -> None:
    """Each trial of both arms is on one side, as many on each under every trace."""
    measured = pool(live, 40)
    sides = {arm: measured.by_trace(arm) for arm in live.ARMS}

    old, new = live.live_draws._two_sides(sides, "", np.random.default_rng(1))

    numbers = [
        [one.numbers[TPOT.name] for own in side.values() for one in own] for side in (old, new)
    ]
    assert [len(own) for own in numbers] == [40, 40]
    assert len({*numbers[0], *numbers[1]}) == 80
    assert {one.arm for own in old.values() for one in own} == {"a", "a again"}


@pytest.mark.parametrize("trials", [0, 1, 10])
def test_a_pool_that_is_too_small_says_so(live: ModuleType, trials: int, tmp_path: Path) -> None:
    """Neither a crash nor a number: which trials are missing, and of what."""
    path = tmp_path / "pool.json"
    pool(live, trials).write(path)

    said = live.live_draws.drawn(path, ROUNDS, SLIS, gates=5, resamples=1, seed=1, jobs=1)

    assert "too small: expected 3 good trials or more of 'a'" in said
    assert f"found {trials // 5 or trials}" in said


def test_a_small_pool_gates_and_confirms_nothing(live: ModuleType) -> None:
    """Fifteen trials an arm are one full gate: nothing is left for a repetition, and it is said."""
    measured = pool(live, 15)

    assert live.live_draws.too_small(measured, ROUNDS) == ""
    assert not any(live.live_draws.can_confirm(measured, own) for own in ROUNDS.values())
    assert "confirmed" not in rates(live, measured, 2)["A against A again", "quick", TPOT.name]


def test_section_is_that_of_the_pool(live: ModuleType, tmp_path: Path) -> None:
    """It comes with the first draw, in its place; a trial more, and the check says so."""
    path, kept, document = (tmp_path / name for name in ("pool.json", "drawn.json", "page.md"))
    document.write_text(f"before\n{live.live_tables.AFTER}after\n", encoding="utf-8")
    measured = pool(live, 40)
    measured.settings = live.settings(live.planned(), {"t1": "0"})
    measured.write(path)
    files = {"pool": path, "drawn": kept, "document": document}
    assert live.live_tables.write(only_check=True, **files) == 0

    found = live.live_draws.drawn(path, ROUNDS, SLIS, gates=2, resamples=2, seed=1, jobs=1)
    live.live_tables.keep(found, kept)

    assert live.live_tables.write(only_check=True, **files) == 1
    assert live.live_tables.write(only_check=False, **files) == 0
    assert live.live_tables.write(only_check=True, **files) == 0
    text = document.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith(f"{live.live_tables.END}after\n")
    assert "| quick | p50 TPOT |" in text
    noise = next(one for one in found["noise"] if one["sli"] == TPOT.name)
    assert 0.02 < noise["robust"][0] < 0.04
    assert noise["slower"]["verdict"] == "fail"
    pool(live, 45).write(path)
    assert live.live_tables.write(only_check=True, **files) == 1


def test_schedule_is_balanced_and_grows_without_changing(live: ModuleType) -> None:
    """Each order of the arms comes as often as any other; more trials only add to the end."""
    cells = live.schedule(40, TRACES, seed=3)

    assert len(set(cells)) == len(cells) == 120
    assert live.schedule(20, TRACES, seed=3) == cells[:60]
    assert live.schedule(40, TRACES, seed=4) != cells
    orders = Counter(tuple(one.arm for one in cells[at : at + 3]) for at in range(0, len(cells), 3))
    assert len(orders) == 6
    assert max(orders.values()) - min(orders.values()) <= 1


def test_resuming_goes_on_with_what_is_missing(live: ModuleType, tmp_path: Path) -> None:
    """What is kept survives a round trip; a spoilt trial is run again; others are not mixed in."""
    path, measured = tmp_path / "pool.json", pool(live, 10)
    measured.trials[0] = live.replace(
        measured.trials[0], problems=["late"], numbers={TTFT.name: float("nan")}
    )
    measured.write(path)
    cells = live.schedule(15, TRACES, seed=3)

    again = live._pool(path, measured.settings, is_resumed=True)

    assert len(live.missing(cells, again)) == 16
    assert again.trials[1:] == measured.trials[1:]
    with pytest.raises(UsageError, match="--resume"):
        live._pool(path, measured.settings, is_resumed=False)
    with pytest.raises(UsageError, match="other traces"):
        live._pool(path, {"traces": {}}, is_resumed=True)
