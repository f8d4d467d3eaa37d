"""Which experiments an expression, a folder or a seed choose."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faultload.errors import UsageError
from faultload.spec import Catalogue
from faultload.spec.selection import (
    Expression,
    every_name,
    expand,
    matching,
    sample,
    words_of,
)

ROOT = Path(__file__).parents[3]
SPOT = ["node/spot-interruption", "gpu", "interrupt_spot"]


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ("node", True),
        ("NODE/Spot-Interruption", True),
        ("node/spot-interruption and not drain", True),
        ("not (drain or gpu)", False),
        ("drain or gpu", True),
        ("not not node", True),
        ("drain or gpu and nowhere", False),
        ("interrupt_spot", True),
        ("terrupt", True),
        ("True", False),
        ("none_of_these or(node)", True),
    ],
)
def test_expression_holds_as_pytest_has_it(expression: str, holds: bool) -> None:
    """Substrings of name, tags and faults, any case; not binds tightest, then and, then or."""
    assert Expression.parse(expression).matches(SPOT) is holds


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "()",
        "a b",
        "a(b)",
        "and",
        "a and",
        "not",
        "(a",
        "a)",
        "a and or b",
        "NOT a",
        "not " * 5000 + "a",
        "(" * 150 + "a" + ")" * 20,
    ],
)
def test_what_is_no_expression_is_one_line(expression: str) -> None:
    """Nothing but words, the three operators and parentheses: never a traceback."""
    with pytest.raises(UsageError, match="^expected ") as caught:
        Expression.parse(expression)
    assert "\n" not in str(caught.value)


_WORD = st.text("abcdefz019/-_.:[]{}=+*'\"\\#@!\u00e9", min_size=1, max_size=8).filter(
    lambda word: word not in {"and", "or", "not"}
)
_Shape = tuple[str, Callable[[Mapping[str, bool]], bool], frozenset[str]]


def _not(one: _Shape) -> _Shape:
    return f"not ({one[0]})", lambda on: not one[1](on), one[2]


def _join(parts: tuple[str, _Shape, _Shape]) -> _Shape:
    operator, left, right = parts
    combine = all if operator == "and" else any
    text = f"({left[0]}) {operator} ({right[0]})"
    return text, lambda on: combine([left[1](on), right[1](on)]), left[2] | right[2]


_SHAPES: st.SearchStrategy[_Shape] = st.recursive(
    _WORD.map(lambda word: (word, lambda on: on[word], frozenset({word}))),
    lambda inner: (
        inner.map(_not) | st.tuples(st.sampled_from(["and", "or"]), inner, inner).map(_join)
    ),
    max_leaves=8,
)


@given(_SHAPES, st.lists(_WORD, max_size=4))
def test_any_expression_means_what_its_parts_mean(shape: _Shape, about: list[str]) -> None:
    """Whatever the words are made of, Python's own words and signs included."""
    text, truth, words = shape
    on = {word: any(word.lower() in one.lower() for one in about) for word in words}

    assert Expression.parse(text).matches(about) is truth(on)


@given(st.text(max_size=60) | st.text("ab()andort \n", max_size=60))
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    """No text ends in anything but an answer or a usage error."""
    try:
        answer = Expression.parse(text).matches(SPOT)
    except UsageError:
        return
    assert answer in (True, False)


@pytest.fixture
def project(tmp_path: Path) -> Catalogue:
    """Return a catalogue of copies, which are told apart by their names alone."""
    source = (ROOT / "experiments" / "engine" / "replica-loss.yaml").read_text(encoding="utf-8")
    for name in ("engine/hang", "node/drain", "node/spot", "router/loss"):
        path = tmp_path / "experiments" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    (tmp_path / "experiments" / "empty").mkdir()
    return Catalogue(tmp_path)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["node"], ["node/drain", "node/spot"]),
        (["experiments/node"], ["node/drain", "node/spot"]),
        (["experiments"], ["engine/hang", "node/drain", "node/spot", "router/loss"]),
        (["node/spot", "node"], ["node/spot", "node/drain"]),
        (["node/spot", "node/spot"], ["node/spot", "node/spot"]),
        (["experiments/node/spot.yaml"], ["experiments/node/spot.yaml"]),
    ],
)
def test_folder_stands_for_what_is_in_it(
    project: Catalogue, names: list[str], found: list[str]
) -> None:
    """By its name or its path; it adds what is not there yet, and a repetition stays one."""
    assert expand(project, names) == found


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nod", "did you mean 'node'?"),
        ("node/spott", "did you mean 'node/spot'?"),
        ("empty", "expected experiments in this folder, found none"),
    ],
)
def test_misspelt_name_gives_the_nearest(project: Catalogue, name: str, said: str) -> None:
    """Of experiments and folders alike."""
    with pytest.raises(UsageError) as caught:
        expand(project, [name])
    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["", " ", ".", "..", "./", "node/..", "experiments/..", "/"])
def test_everything_is_never_selected_by_a_slip(project: Catalogue, name: str) -> None:
    """An unset variable or a dot is refused: who wants to break everything writes so."""
    with pytest.raises(UsageError, match="--all"):
        expand(project, [name])


def test_folder_of_all_may_be_written_out(
    project: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By name or by path, and not as the dot of somebody who stands in it."""
    home = project.root / "experiments"
    for name in ("experiments/", "./experiments", str(home)):
        assert expand(project, [name]) == every_name(project)
    monkeypatch.chdir(home)
    with pytest.raises(UsageError, match="--all"):
        expand(project, ["."])


def test_expression_that_selects_nothing_lists_what_there_is(project: Catalogue) -> None:
    """An empty choice is a mistake, and the line helps to mend it."""
    everything = [project.experiment(name) for name in every_name(project)]

    chosen = matching(everything, "node and not spot")
    assert [one.name for one in chosen] == ["node/drain"]
    assert matching(everything, "kill_replica and process-loss") == everything
    with pytest.raises(UsageError, match="selects none of: engine/hang, node/drain, node/spot"):
        matching(everything, "nowhere")


def test_words_are_name_tags_and_faults(project: Catalogue) -> None:
    """Neither the title nor the description: too many words stand there."""
    assert words_of(project.experiment("node/spot")) == [
        "node/spot",
        "engine",
        "process-loss",
        "kill_replica",
    ]


NAMES = [f"part/{index}" for index in range(40)]


@given(st.text(max_size=12), st.integers(1, 50))
def test_sample_is_drawn_by_its_seed_alone(seed: str, size: int) -> None:
    """The same from the same names in any order, in the order given; all where there are fewer."""
    taken = sample(NAMES, size, seed)

    assert len(taken) == min(size, len(NAMES))
    assert taken == [name for name in NAMES if name in taken]
    assert set(sample(NAMES[::-1], size, seed)) == set(taken)


def test_samples_rotate_and_a_new_experiment_displaces_one_at_most() -> None:
    """Over a few commits everything is run; adding a file leaves the rest of a sample as it is."""
    seen = {name for seed in range(60) for name in sample(NAMES, 8, str(seed))}
    assert seen == set(NAMES)
    for seed in map(str, range(20)):
        before, after = sample(NAMES, 8, seed), sample([*NAMES, "part/new"], 8, seed)
        assert len(set(before) - set(after)) <= 1
