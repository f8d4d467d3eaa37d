"""The reference page of the faults: what their classes and intents say of themselves.

One function makes it for `faultload faults list`, `faultload faults show` and docs/faults.md.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from faultload.errors import UsageError, nearest
from faultload.faults.catalogue import FAULTS
from faultload.faults.danger import DANGER
from faultload.faults.protocol import FaultClass
from faultload.faults.stock_list import ACTIONS, PROBES, REFUSED
from faultload.targets import offers

IN_FORCE, REVERTED = "In force when", "Reverted"
"""How the paragraphs of a fault's docstring begin that say what proves it, and its end."""

_WORDS = {int: "integer", float: "number", str: "text", bool: "true or false", type(None): ""}
_UNITS = {"_s": "s", "_rps": "requests a second", "_share": "0-1"}
_BOUNDS = {"ge": "from", "gt": "over", "le": "to", "lt": "under"}
_ATTRIBUTE = re.compile(r"^    (\w+(?:, \w+)*): (.*(?:\n {6,}.*)*)", re.MULTILINE)

_HEAD = """\
# The faults

<!-- Written by `make reference` from the faults' own docstrings; change those. -->

An experiment's action names a fault as `func`, with `module: faultload.faults` and the arguments
of its table ([how](writing-experiments.md)). Each is planned, held against the blast radius,
journalled, injected, proven, and proven gone again. `faultload faults show NAME` prints one of
these sections, and `chaos discover faultload` lists them for Chaos Toolkit.

"Needs" is the capability that a target must offer; one that does not skips the experiment.
"""

_CHAOSK8S = """\
## What of chaosk8s may be used

By [stock experiments](writing-experiments.md#stock-experiments). What is not listed was not
examined, and is refused.
"""


@dataclass(frozen=True)
class Parameter:
    """One argument of a fault.

    Attributes:
        name: as experiments give it.
        type: in words, with its bounds.
        unit: "" where it has none.
        default: as in YAML; "" where it must be given.
        about: what it means.
    """

    name: str
    type: str
    unit: str
    default: str
    about: str


@dataclass(frozen=True)
class Description:
    """What there is to know of a fault before using it.

    Attributes:
        name: as experiments name it.
        capability: what a target must offer.
        danger: what it can do at its worst, of 4.
        targets: the kinds that do.
        summary: what it does, in a sentence.
        paragraphs: how, what proves it and what ends it.
        parameters: what it takes.
    """

    name: str
    capability: str
    danger: int
    targets: list[str]
    summary: str
    paragraphs: list[str]
    parameters: list[Parameter]

    def markdown(self) -> str:
        """Return its section of the page."""
        where = ", ".join(self.targets) or "no target yet"
        rows = [
            f"| `{one.name}` | {one.type}{', ' + one.unit if one.unit else ''}"
            f" | {one.default or 'required'} | {one.about} |"
            for one in self.parameters
        ]
        table = ["| argument | type | default | |", "|--|--|--|--|", *rows]
        parts = [
            f"## {self.name}",
            self.summary,
            *map(_emphasized, self.paragraphs),
            f"Needs `{self.capability}`: {where}. Danger {self.danger} of 4.",
            "\n".join(table),
        ]
        return "\n\n".join(parts) + "\n"


def describe(name: str) -> Description:
    """Return what a fault's class and intent say.

    Raises:
        UsageError: there is no such fault.
    """
    fault = FAULTS.get(name)
    if fault is None:
        raise UsageError(f"no fault {name!r}{nearest(name, FAULTS)}; faultload faults list has all")
    summary, *paragraphs = [
        " ".join(part.split()) for part in (inspect.getdoc(fault) or "").split("\n\n")
    ]
    return Description(
        name=name,
        capability=fault.capability,
        danger=int(DANGER[fault.capability]),
        targets=[kind for kind, can in offers().items() if fault.capability in can],
        summary=summary,
        paragraphs=paragraphs,
        parameters=_parameters(fault),
    )


def page() -> str:
    """Return docs/faults.md."""
    found = [describe(name) for name in sorted(FAULTS)]
    kinds = list(offers())
    rows = [
        f"| [`{one.name}`](#{one.name}) | {one.summary} | "
        + " | ".join("yes" if kind in one.targets else "" for kind in kinds)
        + " |"
        for one in found
    ]
    head = f"| fault | | {' | '.join(kinds)} |\n|--|--|{'--|' * len(kinds)}"
    sections = [*(one.markdown() for one in found), _chaosk8s()]
    return "\n".join([_HEAD, head, *rows, "", *sections]).rstrip() + "\n"


def _chaosk8s() -> str:
    """Return the section about the functions of Chaos Toolkit's own extension."""
    rows = [
        *(f"| `{name}` | played by `{one.fault}`: {one.why} |" for name, one in ACTIONS.items()),
        *(f"| `{name}` | asked: {why} |" for name, why in PROBES.items()),
        *(f"| `{name}` | refused: {why} |" for name, why in REFUSED.items()),
    ]
    return "\n".join([_CHAOSK8S, "| function | |\n|--|--|", *rows]) + "\n"


def _emphasized(paragraph: str) -> str:
    for start in (IN_FORCE, REVERTED):
        if paragraph.startswith(start):
            return f"**{start}**{paragraph.removeprefix(start)}"
    return paragraph


def _parameters(fault: FaultClass) -> list[Parameter]:
    intent: Any = fault.intent
    hints, about = get_type_hints(intent, include_extras=True), _attributes(intent)
    return [
        Parameter(
            name=field.name,
            type=_type(hints[field.name]),
            unit=next((unit for end, unit in _UNITS.items() if field.name.endswith(end)), ""),
            default=_default(field),
            about=about.get(field.name, "").replace("None: ", "none: "),
        )
        for field in dataclasses.fields(intent)
    ]


def _attributes(intent: Callable[..., Any]) -> Mapping[str, str]:
    """Return attribute → what the docstrings of a class and of its bases say of it."""
    found: dict[str, str] = {}
    for base in reversed(inspect.getmro(intent)):  # type: ignore[arg-type]  # a class, always
        _, _, text = inspect.cleandoc(base.__doc__ or "").partition("Attributes:\n")
        for names, said in _ATTRIBUTE.findall(text):
            found |= dict.fromkeys(names.split(", "), " ".join(said.split()))
    return found


def _default(field: dataclasses.Field[Any]) -> str:
    value = field.default
    if value is MISSING and field.default_factory is not MISSING:
        value = field.default_factory()
    if value is MISSING:
        return ""
    return "none" if value is None else f"`{value:g}`" if _is_number(value) else f"`{value}`"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _type(hint: Any) -> str:
    """Return a type in words."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        bounds = _bounds(inner[1:])
        return f"{_type(inner[0])}{' ' + bounds if bounds else ''}"
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in inner)
    if origin in (Union, types.UnionType):
        return " or ".join(filter(None, map(_type, inner)))
    if inspect.isclass(origin) and issubclass(origin, Sequence):
        return f"list of {_type(inner[0])}"
    return _WORDS[hint] if hint in _WORDS else str(getattr(hint, "__name__", hint))


def _bounds(constraints: Sequence[Any]) -> str:
    """Return the limits of a number: pydantic keeps them as objects with one attribute each."""
    seen = [
        f"{word} {getattr(one, key):g}"
        for constraint in constraints
        for one in (constraint, *getattr(constraint, "metadata", ()))
        for key, word in _BOUNDS.items()
        if getattr(one, key, None) is not None
    ]
    return " ".join(seen)
