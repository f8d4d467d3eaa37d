"""Break each part of the judge in turn: some run of a small corpus must then be judged otherwise.

The parts are every function, method and check of every module that the judge imports, so a new one
cannot be forgotten: it fails here until a run of the corpus needs it.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import pkgutil
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from corpus import CORPUS
from mutants import Part, bent, parts_of, replace_everywhere

import faultload.judge
from faultload.judge import Evidence, Verdict, judge, model, validity

ELSEWHERE = {
    "cost_model.Cost.whole": "the report shows it: tests/unit/report/test_cost.py",
    "judge.judge": "is the whole: every test of the judge",
    "model.Judgement.as_json": "the fingerprint here is made without it: tests of the report",
    "rows.Rows.of_lines": "the abort watch reads live rows: test_abort_watch.py",
    "scorecard._read": "is called once, on import; what it made is broken by name",
    "slo.Events.bad": "the abort watch counts with it: test_abort_watch.py",
    "slo.Events.events": "the abort watch counts with it: test_abort_watch.py",
    "slo.count_events": "counts for others than the judge: test_slo.py",
}
"""What no stored run can show broken, and who shows it instead."""


def modules() -> Iterator[ModuleType]:
    """Yield the modules of the judge that judging a run imports."""
    seen, todo = set[str](), ["faultload.judge.judge"]
    known = {f"faultload.judge.{m.name}" for m in pkgutil.iter_modules(faultload.judge.__path__)}
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        module = sys.modules[name]
        yield module
        found = (getattr(value, "__module__", "") for value in vars(module).values())
        todo += [other for other in {*found, *_modules_in(module)} if other in known]


def _modules_in(module: ModuleType) -> Iterator[str]:
    return (value.__name__ for value in vars(module).values() if isinstance(value, ModuleType))


PARTS = parts_of(modules())
DOORS = frozenset(
    part.label
    for part in PARTS
    if part.label.split(".")[0] in {"absolute", "budget", "interval", "recovery", "slo", "validity"}
    and "._" not in part.label
)
"""Where there is little time these stand for what is behind them."""


SPECIAL: dict[str, Callable[[Any], Any]] = {"model.by_severity": lambda place: -place}
"""Where the usual way to bend a value keeps what it is used for: here the order."""


def fingerprint(evidence: Evidence) -> str:
    """Return everything that a judgement says, as text; or that there is none."""
    try:
        judgement = judge(dataclasses.replace(evidence))  # which keeps nothing worked out
    except (AttributeError, TypeError, ValueError) as error:
        return f"none: {error}"
    return json.dumps(dataclasses.asdict(judgement), default=str, sort_keys=True)


@functools.cache
def evidence_of(name: str) -> Evidence:
    """Return a run of the corpus, made once."""
    return CORPUS[name]()


@functools.cache
def sound() -> dict[str, str]:
    """Return what the whole judge says of each run."""
    return {name: fingerprint(evidence_of(name)) for name in CORPUS}


@functools.cache
def users() -> dict[str, list[str]]:
    """Return which runs use which part."""
    used: dict[str, list[str]] = {part.label: [] for part in PARTS}
    found: dict[str, set[str]] = {part.label: set() for part in PARTS}
    running = ""

    def counting(label: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(function)
            def counted_(*args: Any, **kwargs: Any) -> Any:
                result = function(*args, **kwargs)
                if not used[label] or used[label][-1] != running:
                    used[label].append(running)
                if isinstance(result, list) and result:
                    found[label].add(running)
                return result

            return counted_

        return wrap

    with pytest.MonkeyPatch.context() as patch:
        for part in PARTS:
            mutant = part.wrapped(counting(part.label))
            replace_everywhere(patch, part, mutant, modules())
        for running in CORPUS:  # read by `counted_`
            judge(dataclasses.replace(evidence_of(running)))
    # First those where it found something, and of them those with least to judge.
    return {
        label: sorted(runs, key=lambda name: (name not in found[label], size_of(name)))
        for label, runs in used.items()
    }


def size_of(name: str) -> int:
    """Return how much there is to judge in a run."""
    return len(evidence_of(name).slos)


@pytest.mark.parametrize(
    "part",
    [pytest.param(part, marks=[] if part.label in DOORS else [pytest.mark.full]) for part in PARTS],
    ids=lambda part: part.label,
)
def test_a_broken_part_is_noticed(part: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what it returns bent, some run of the corpus gets another verdict or number."""
    if part.label in ELSEWHERE:
        return
    expected, runs = sound(), users()[part.label]
    assert runs, f"no run of CORPUS needs {part.label}: add one that does"

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        def mutant(*args: Any, **kwargs: Any) -> Any:
            bend = SPECIAL.get(part.label, bent)
            return bend(function(*args, **kwargs))

        return mutant

    replace_everywhere(monkeypatch, part, part.wrapped(wrap), modules())

    assert any(fingerprint(evidence_of(name)) != expected[name] for name in runs)


@pytest.mark.parametrize("subject", [name for name, _ in validity.CHECKS])
def test_a_check_left_out_is_noticed(subject: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one validity check some run of the corpus is believed."""
    others = [(name, check) for name, check in validity.CHECKS if name != subject]
    # Computed with every check in place.
    invalid = [name for name, text in sound().items() if '"verdict": "invalid"' in text]

    monkeypatch.setattr(validity, "CHECKS", others)

    assert any(judge(evidence_of(name)).verdict is not Verdict.INVALID for name in invalid)


@pytest.mark.parametrize("swap", [(0, 1), (1, 2), (2, 3)])
def test_the_order_of_severity(swap: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two verdicts in each other's place: some run of the corpus is judged otherwise."""
    expected = sound()
    order = list(model._SEVERITY)
    order[swap[0]], order[swap[1]] = order[swap[1]], order[swap[0]]
    monkeypatch.setattr(model, "_SEVERITY", tuple(order))

    assert any(fingerprint(evidence_of(name)) != text for name, text in expected.items())
