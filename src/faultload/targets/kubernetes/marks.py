"""What we leave on an object beside a change, so that anybody can undo it from the object alone.

The annotation is written in the same patch as the change, and goes in the same patch as the change.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Self

from faultload.errors import RefusedError
from faultload.targets.base import Mark

UNDO = "faultload.dev/undo"
"""The annotation's key; its value is the JSON of `Undo`."""


@dataclass(frozen=True)
class Field:
    """A value of an object that we change and set back.

    Attributes:
        path: of keys, from the top; in a list, the `name` of one of its items, and then one key.
    """

    path: tuple[str, ...]

    def read(self, seen: Mapping[str, Any]) -> Any:
        """Return the value; None: it is not set."""
        value: Any = seen
        for key in self.path:
            value = _inside(value, key)
        return value

    def patch(self, seen: Mapping[str, Any], value: Any) -> dict[str, Any]:
        """Return the merge patch that sets it in an object that was seen; None unsets it."""
        return dict(_patch(seen, self.path, value))


def _inside(value: Any, key: str) -> Any:
    if isinstance(value, list):
        return next((item for item in value if item.get("name") == key), None)
    return (value or {}).get(key)


def _patch(seen: Any, path: Sequence[str], value: Any) -> Any:
    if not path:
        return value
    key, *rest = path
    if not isinstance(seen, list):
        return {key: _patch((seen or {}).get(key), rest, value)}
    # A merge patch replaces lists: the other items, and its other keys, are repeated as they are.
    return [_with(item, rest[0], value) if item.get("name") == key else item for item in seen]


def _with(item: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    kept = {name: old for name, old in item.items() if name != key}
    return kept if value is None else kept | {key: value}


@dataclass(frozen=True)
class Undo:
    """What an annotation says.

    Attributes:
        token: the injection that made the change.
        was: the value before; None: it was not set.
        now: the value that the injection gave it.
        expires_unix_s: from then on anybody may undo it.
        by: who made the change.
        field: the path of the `Field` that was changed; () where that kind of object has one only.
    """

    token: str
    was: Any
    now: Any
    expires_unix_s: float
    by: str
    field: tuple[str, ...] = ()

    @classmethod
    def of(cls, seen: Mapping[str, Any]) -> Self | None:
        """Return what an object's annotation says; None: it has none.

        Raises:
            RefusedError: it cannot be read.
        """
        metadata = seen["metadata"]
        text = (metadata.get("annotations") or {}).get(UNDO)
        if text is None:
            return None
        try:
            document = json.loads(text)
            found = cls(**document)
            found = replace(
                found, expires_unix_s=float(found.expires_unix_s), field=tuple(found.field)
            )
        except (ValueError, TypeError):
            raise RefusedError(
                f"{metadata['name']}: the annotation {UNDO} is none of ours: {text[:200]!r};"
                " set right what it is about, and remove it"
            ) from None
        return found

    @classmethod
    def new(cls, mark: Mark, was: Any, now: Any, field: tuple[str, ...] = ()) -> Self:
        """Return what to write beside a change made now."""
        by = f"faultload@{socket.gethostname()}"
        return cls(mark.token, was, now, mark.expires_unix_s, by, field)

    def text(self) -> str:
        """Return the annotation's value."""
        return json.dumps(asdict(self))


def check_free(
    seen: Mapping[str, Any], mark: Mark, now_unix_s: float, field: Field | None = None
) -> Undo | None:
    """Return the undo on an object that is to be changed; None: it has none.

    Args:
        seen: the object.
        mark: of the change that is to be made.
        now_unix_s: by the clock that marks expire by.
        field: that is to be changed; None: one that no mark is about.

    Raises:
        RefusedError: another injection's change is in force, or expired and of another field: a
            second mark would be the end of its undo.
    """
    undo = Undo.of(seen)
    if undo is None or undo.token == mark.token:
        return undo
    name = seen["metadata"]["name"]
    if undo.expires_unix_s > now_unix_s:
        until = datetime.fromtimestamp(undo.expires_unix_s, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        raise RefusedError(
            f"{name}: the change {undo.token} of {undo.by} is in force there,"
            f" until {until} at the latest; let it be undone first"
        )
    if field is not None and undo.field != field.path:
        raise RefusedError(
            f"{name}: the change {undo.token} of {undo.by} has expired and was never undone; run"
            " first: faultload recover --expired"
        )
    return undo


def changed(
    seen: Mapping[str, Any], field: Field, value: Any, mark: Mark, now_unix_s: float
) -> dict[str, Any] | None:
    """Return the merge patch that gives a field a value and marks it; None: that is done already.

    The undo of a mark of the same field that has expired is taken over.

    Raises:
        RefusedError: as `check_free` has it.
    """
    undo, current = check_free(seen, mark, now_unix_s, field), field.read(seen)
    if undo is not None and undo.token == mark.token:
        return None
    was = undo.was if undo is not None and undo.now == current else current
    return _both(field.patch(seen, value), Undo.new(mark, was, value, field.path).text())


def restored(
    seen: Mapping[str, Any], field: Field, undo: Undo, value: Any
) -> tuple[dict[str, Any], str]:
    """Return the merge patch that undoes a change, and what is to be said of it, "" for nothing.

    A field that is no longer as the change made it is left alone: somebody else meant it so.

    Args:
        seen: the object.
        field: what was changed.
        undo: the object's own.
        value: what the field is to be again.
    """
    current = field.read(seen)
    if current == undo.now:
        return _both(field.patch(seen, value), None), ""
    name, path = seen["metadata"]["name"], ".".join(field.path)
    said = (
        f"{name}: {path} is {current!r} and no longer {undo.now!r} as {undo.token} made it;"
        f" it was left alone, and was {undo.was!r} before"
    )
    return _both({}, None), said


def unmarked() -> dict[str, Any]:
    """Return the merge patch that removes a mark and nothing else."""
    return _both({}, None)


def _both(patch: dict[str, Any], annotation: str | None) -> dict[str, Any]:
    metadata = patch.get("metadata", {}) | {"annotations": {UNDO: annotation}}
    return patch | {"metadata": metadata}
