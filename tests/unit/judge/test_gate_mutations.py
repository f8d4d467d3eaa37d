"""Break each part of the gate in turn: some comparison of a small corpus must then end otherwise.

The parts are every function, method and property between the rows of a trial and a verdict.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from mutants import Part, bent, parts_of, replace_everywhere
from scenes import rows, slo

from faultload.judge import GateRule
from faultload.judge.trial import ERRORS, GOODPUT, TTFT, Sli
from faultload.spec.scenario import Timeouts

arrangements, family, gate, transform, trial, looks = MODULES = [
    import_module(f"faultload.{name}")
    for name in (
        "judge.arrangements",
        "judge.family",
        "judge.gate",
        "judge.transform",
        "judge.trial",
        "run.gate.looks",
    )
]
TRACES = ("t1", "t2", "t3", "t4", "t5")
Side = dict[str, list[float]]


def drawn(seed: int, level: float, count: int, spread: float = 0.03) -> Side:
    """Return trials by trace around a level."""
    generator = np.random.default_rng(seed)
    return {t: list(level * np.exp(generator.normal(0, spread, count))) for t in TRACES}


def looked(sli: Sli, old: Side, new: Side, **changes: Any) -> Any:
    """Look as a gate does."""
    asked: dict[str, Any] = {"stage": 1, "stages": 1, "requests": 1000, "history": None}
    return looks.look_at(sli, old, new, **(asked | changes))


def once(**changes: Any) -> Any:
    """Compare stored runs, once: three of what is accepted with four."""
    generator = np.random.default_rng(6)
    old, new = (generator.normal(1.0, 0.02, count) for count in (5, 6))
    return gate.gate(old, new * 1.02, GateRule(**changes))


def measured() -> Any:
    """Return the numbers of a trial with all kinds of requests."""
    due = np.arange(100) / 10
    table = rows(due, bad=np.arange(100) % 10 == 0, tier=np.where(due < 5, "fast", "slow"))
    goods = {"ttft": "ttft_s <= 0.05", "e2e": "e2e_s <= 0.2", "gap": "gap_s_max <= 1"}
    slos = [slo(name, good) for name, good in goods.items()]
    slos += [slo("fast", "tpot_s <= 0.001", tier="fast"), slo("intact", "intact")]
    slis = trial.slis_of(slos)
    numbers = trial.measure_trial(table, slos, Timeouts(), (0.0, 9.9))
    return slis, [one.is_share for one in slis], numbers


def confirmed() -> Any:
    """Return what a repetition says of a fail."""
    fail = looked(TTFT, drawn(1, 1.0, 2), drawn(2, 1.3, 2))
    same = looked(TTFT, drawn(1, 1.0, 2), drawn(2, 1.0, 2))
    return family.confirm({"a": fail, "b": fail, "c": fail}, {"a": fail, "b": same})


def summed_up() -> Any:
    """Return what SLIs say together, and what one that passes says alone."""
    results = {"a": looked(TTFT, drawn(1, 1.0, 2), drawn(2, 1.3, 2))}
    results["b"] = looked(TTFT, drawn(1, 1.0, 2), drawn(2, 1.0, 2))
    return family.family(results), family.family({"b": results["b"]}), family.family({})


CORPUS: Mapping[str, Callable[[], Any]] = {
    "a tenth slower": lambda: looked(TTFT, drawn(1, 1.0, 2), drawn(2, 1.1, 2)),
    "not slower": lambda: looked(TTFT, drawn(1, 1.0, 2), drawn(2, 1.0, 2)),
    "one trial each": lambda: looked(TTFT, drawn(1, 1.0, 1), drawn(2, 1.05, 1), stages=3),
    "with a history": lambda: looked(
        TTFT, drawn(1, 1.0, 1), drawn(2, 1.05, 1), stages=3, history=drawn(3, 1.0, 4, 0.06)
    ),
    "one trace, one trial": lambda: looked(TTFT, {"t1": [1.0]}, {"t1": [1.1]}),
    "drawn arrangements": lambda: looked(TTFT, drawn(1, 1.0, 3), drawn(2, 1.03, 3)),
    "saturated": lambda: looked(TTFT, drawn(1, 1.0, 2, 0.4), drawn(2, 1.0, 2, 0.4)),
    "a trial without a number": lambda: looked(TTFT, drawn(1, 1.0, 2), drawn(2, np.nan, 2)),
    "a trace of one side": lambda: looked(TTFT, drawn(1, 1.0, 2), {"t1": [1.0]}),
    "just enough arrangements": lambda: looked(
        TTFT, {f"t{n}": [1.0 + n / 9] for n in range(6)}, {f"t{n}": [1.2 - n / 9] for n in range(6)}
    ),
    "copies": lambda: looked(TTFT, drawn(1, 1.0, 2), drawn(1, 1.0, 2)),
    "no errors": lambda: looked(ERRORS, drawn(1, 0.0, 2), drawn(1, 0.0, 2)),
    "errors": lambda: looked(ERRORS, drawn(1, 0.02, 2, 0.5), drawn(2, 0.03, 2, 0.5)),
    "goodput": lambda: looked(GOODPUT, drawn(1, 0.9, 2), drawn(2, 0.87, 2)),
    "all bad": lambda: looked(ERRORS, drawn(1, 1.0, 2, 0.0), drawn(2, 1.0, 2, 0.0)),
    "stored runs": once,
    "stored runs of shares": lambda: gate.gate(
        [0.1] * 5, [0.1, 0.2] * 3, GateRule(transform=transform.Transform.RATIO)
    ),
    "a trial": measured,
    "a repetition": confirmed,
    "several SLIs": summed_up,
}


def said(case: str) -> str:
    """Return everything that comes of a case; or that nothing does."""
    arrangements._arrangements.cache_clear()
    try:
        return repr(CORPUS[case]())
    except (ArithmeticError, AttributeError, IndexError, TypeError, ValueError) as error:
        return f"none: {error}"


@functools.cache
def sound() -> Mapping[str, str]:
    """Return what the whole gate says of each case."""
    return {case: said(case) for case in CORPUS}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # bent numbers leave every domain
@pytest.mark.parametrize("part", parts_of(MODULES), ids=lambda part: part.label)
def test_a_broken_part_of_the_gate_is_noticed(part: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what it returns bent, some comparison gets another verdict or number."""
    expected = sound()

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **kwargs: bent(function(*args, **kwargs))

    replace_everywhere(monkeypatch, part, part.wrapped(wrap), MODULES)

    assert any(said(case) != expected[case] for case in CORPUS)
    arrangements._arrangements.cache_clear()
