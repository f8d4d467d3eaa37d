"""Parts of modules, broken one at a time: what a test that should notice it breaks.

A part is a function of a module, or a method or property of a class in it.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable
from enum import StrEnum
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import pytest

from faultload.judge import Verdict


@dataclasses.dataclass(frozen=True)
class Part:
    """A function of a module, or of a class in it."""

    owner: Any
    name: str

    @property
    def label(self) -> str:
        """As in `recovery.detect_change`."""
        owner = self.owner
        inside = (
            owner.__name__
            if isinstance(owner, ModuleType)
            else f"{owner.__module__}.{owner.__name__}"
        )
        return f"{inside}.{self.name}".removeprefix("faultload.").removeprefix("judge.")

    @property
    def raw(self) -> Any:
        """The attribute as it stands in its class or module."""
        return vars(self.owner)[self.name]

    def wrapped(self, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Any:
        """Return the attribute with its function wrapped."""
        raw = self.raw
        if isinstance(raw, property):
            assert raw.fget is not None
            return property(wrap(raw.fget))
        return (
            type(raw)(wrap(raw.__func__))
            if isinstance(raw, classmethod | staticmethod)
            else wrap(raw)
        )


def parts_of(modules: Iterable[ModuleType]) -> list[Part]:
    """Return everything in them that can be broken."""
    found = []
    for module in modules:
        for name, value in vars(module).items():
            own = getattr(value, "__module__", None) == module.__name__
            if own and isinstance(value, FunctionType):
                found.append(Part(module, name))
            elif own and inspect.isclass(value) and not issubclass(value, StrEnum):
                for method, attribute in vars(value).items():
                    is_ours = isinstance(attribute, FunctionType | property | classmethod)
                    if is_ours and not method.startswith("__"):
                        found.append(Part(value, method))
    return sorted(found, key=lambda part: part.label)


def replace_everywhere(
    patch: pytest.MonkeyPatch, part: Part, mutant: Any, modules: Iterable[ModuleType]
) -> None:
    """Put a mutant wherever the original is known by name in `modules`, or stands in a table."""
    if not isinstance(part.owner, ModuleType):
        patch.setattr(part.owner, part.name, mutant)
        return
    original = part.raw

    def swapped(value: Any) -> Any:
        if value is original:
            return mutant
        if isinstance(value, tuple | list) and not isinstance(value, str):
            return type(value)(swapped(item) for item in value) if _holds(value) else value
        return value

    def _holds(value: Any) -> bool:
        if isinstance(value, tuple | list):
            return any(_holds(item) for item in value)
        return value is original

    for module in modules:
        for name, value in list(vars(module).items()):
            if _holds(value):
                patch.setitem(vars(module), name, swapped(value))


def bent(value: Any) -> Any:  # noqa: PLR0911  # one kind of value a line
    """Return another value of the same kind; the same where there is none."""
    if isinstance(value, Verdict):
        return Verdict.PASS if value is not Verdict.PASS else Verdict.FAIL
    if isinstance(value, bool | np.bool_):
        return not value
    if isinstance(value, int | float | np.number):
        return value * 2 + 7
    if isinstance(value, str):
        return f"{value}, or not"
    if isinstance(value, np.ndarray):
        return ~value if value.dtype == np.bool_ else value * 2 + 7
    if isinstance(value, tuple):
        return tuple(bent(item) for item in value)
    if isinstance(value, list):
        return value[1:]
    if isinstance(value, dict):
        return dict(list(value.items())[1:])
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
        changed = {name: bent(item) for name, item in fields.items()}
        return dataclasses.replace(value, **changed)
    return 7.0 if value is None else value
