"""Choosing experiments among those there are: by folder, by expression, by seeded sample.

An expression is pytest's `-k`: words with `and`, `or`, `not` and parentheses. A word is anything
without a space or a parenthesis, so `node/spot-interruption` is one; it holds where it is part of
the experiment's name, of a tag or of a fault, in upper or lower case. pytest's own evaluator is
private, so Python's parser reads the shape here, with every word replaced by a name of ours, and
nothing but the three operators is let through.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from faultload.errors import UsageError, nearest
from faultload.spec.catalogue import Catalogue
from faultload.spec.documents import is_there
from faultload.spec.experiment import Experiment

_TOKEN = re.compile(r"[()]|[^\s()]+")
_OWN = frozenset({"and", "or", "not", "(", ")"})
_TOKENS_MAX = 200
"""More than anybody types, and far from what Python's parser can nest."""


@dataclass(frozen=True)
class Expression:
    """A selecting expression.

    Attributes:
        text: as given.
        tree: its shape.
        words: name in the tree → what it stands for, in lower case.
    """

    text: str
    tree: ast.expr
    words: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> Expression:
        """Read an expression.

        Raises:
            UsageError: it is not one.
        """
        tokens = _TOKEN.findall(text)
        names = [one if one in _OWN else f"w{index}" for index, one in enumerate(tokens)]
        words = {name: one.lower() for name, one in zip(names, tokens, strict=True)}
        wrong = f"expected words with and, or, not and parentheses, found {text!r}"
        if len(tokens) > _TOKENS_MAX:
            raise UsageError(f"expected at most {_TOKENS_MAX} words, found {len(tokens)}")
        try:
            tree = ast.parse(" ".join(names), mode="eval").body
        except SyntaxError:
            raise UsageError(wrong) from None
        if not _is_ours(tree):
            raise UsageError(wrong)
        return cls(text, tree, words)

    def matches(self, about: Collection[str]) -> bool:
        """Say whether it holds of something that these words are about."""
        return self._holds(self.tree, [one.lower() for one in about])

    def _holds(self, tree: ast.expr, about: Sequence[str]) -> bool:
        match tree:
            case ast.BoolOp(op=ast.And()):
                return all(self._holds(one, about) for one in tree.values)
            case ast.BoolOp():
                return any(self._holds(one, about) for one in tree.values)
            case ast.UnaryOp():
                return not self._holds(tree.operand, about)
            case _:
                assert isinstance(tree, ast.Name)  # noqa: S101  # `_is_ours` let it through
                return any(self.words[tree.id] in one for one in about)


def _is_ours(tree: ast.expr) -> bool:
    match tree:
        case ast.Name():
            return True
        case ast.UnaryOp(op=ast.Not()):
            return _is_ours(tree.operand)
        case ast.BoolOp():
            return all(map(_is_ours, tree.values))
        case _:
            return False


def words_of(experiment: Experiment) -> list[str]:
    """Return what an expression's words are looked for in: name, tags and faults."""
    faults = [str(action["provider"].get("func", "")) for action in experiment.fault_actions]
    return [experiment.name, *experiment.tags, *faults]


def expand(catalogue: Catalogue, names: Sequence[str]) -> list[str]:
    """Return experiments by name, with each folder replaced by what is in it.

    A folder is `node`, `experiments/node` or a path. It adds what is not listed yet; what is named
    twice stays twice. All there are must be asked for in so many words: `experiments`.

    Raises:
        UsageError: an empty name, a folder without experiments or around all of them, or no such
            experiment; names the nearest.
    """
    everything, found = _names(catalogue), list[str]()
    for name in names:
        folder = _folder(catalogue, name)
        if folder is None:
            found.append(_known(catalogue, name, everything))
            continue
        inside = [one for one in everything if folder in everything[one].resolve().parents]
        if not inside:
            raise UsageError(f"{name}: expected experiments in this folder, found none")
        found += [one for one in inside if one not in found]
    return found


def every_name(catalogue: Catalogue) -> list[str]:
    """Return the names of all experiments, in path order."""
    return list(_names(catalogue))


def matching(experiments: Sequence[Experiment], expression: str) -> list[Experiment]:
    """Return those of the experiments of which the expression holds.

    Raises:
        UsageError: it cannot be read, or holds of none; lists what there is.
    """
    asked = Expression.parse(expression)
    chosen = [one for one in experiments if asked.matches(words_of(one))]
    if not chosen:
        known = ", ".join(one.name for one in experiments)
        raise UsageError(f"{expression!r} selects none of: {known}")
    return chosen


def sample(names: Sequence[str], size: int, seed: str) -> list[str]:
    """Return a seeded sample, in the order given; all where there are not more.

    What is taken depends on seed and names alone, and a new experiment displaces one at most.
    """

    def lot(name: str) -> bytes:
        return hashlib.sha256(f"{seed}:{name}".encode()).digest()

    taken = set(sorted(set(names), key=lot)[:size])
    return [name for name in names if name in taken]


def _names(catalogue: Catalogue) -> dict[str, Path]:
    home = catalogue.root / "experiments"
    return {
        path.relative_to(home).with_suffix("").as_posix(): path
        for path in catalogue.experiment_paths()
    }


def _folder(catalogue: Catalogue, name: str) -> Path | None:
    if not name.strip():
        raise UsageError(
            "expected the name of an experiment or a folder, found an empty one (a variable that"
            " is not set?); all there are: --all"
        )
    home = catalogue.root / "experiments"
    places = (home / name, catalogue.root / name, Path(name))
    folder = next((one.resolve() for one in places if is_there(one) and one.is_dir()), None)
    # "." and ".." are slips more often than a wish to break everything.
    is_all = folder is not None and home.resolve().is_relative_to(folder)
    if is_all and not (folder == home.resolve() and Path(name).name == home.name):
        raise UsageError(
            f"{name}: expected an experiment or a folder in {home}, found one that holds all"
            " experiments; if you mean all: --all"
        )
    return folder


def _known(catalogue: Catalogue, name: str, everything: Mapping[str, Path]) -> str:
    if Path(name).suffix not in (".yaml", ".yml") and name not in everything:
        folders = {one.rpartition("/")[0] for one in everything} - {""}
        raise UsageError(
            f"no experiment and no folder {name!r} in {catalogue.root / 'experiments'}"
            f"{nearest(name, [*everything, *folders])}"
        )
    return name
