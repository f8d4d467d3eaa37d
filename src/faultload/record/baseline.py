"""A stored baseline: what was accepted, as numbers a trial, under the fingerprint it holds for.

A store is a log of small JSON files, `NAME/000001.json` and so on. Nothing in it is ever changed:
a baseline is one entry, that it is now the accepted one is another; so are a run and that it counts
no more. Keys are sorted and every
number stands on a line of its own, so that two entries diff well. Accepted runs of experiments
lie beside them (`faultload.record.history`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from faultload.errors import UsageError
from faultload.record.history import AcceptedRun, Withdrawal
from faultload.record.stored import Stored, parsed

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ENTRY = re.compile(r"(\d{6})\.json")


class Baseline(Stored):
    """One accepted state, measured."""

    kind: Literal["baseline"] = "baseline"
    schema_version: Literal[1] = 1
    saved: str
    """When, UTC."""
    gate_id: str
    side: str
    """Of that gate."""
    commit: str
    fingerprint: dict[str, str]
    """Scenario, traces, SLOs, environment and versions: what must be equal to compare."""
    requests: int
    """Of its shortest trial."""
    trials: dict[str, dict[str, list[float]]]
    """SLI → trace → one number a trial."""


class Promotion(Stored):
    """Says which baseline is the accepted one from here on."""

    kind: Literal["promotion"] = "promotion"
    schema_version: Literal[1] = 1
    saved: str
    entry: str
    """Of the baseline: `000001`."""
    reason: str


AnyEntry = Baseline | Promotion | AcceptedRun | Withdrawal
Entry = Annotated[AnyEntry, Field(discriminator="kind")]
_ENTRIES: TypeAdapter[AnyEntry] = TypeAdapter(Entry)


def check_name(name: str) -> None:
    """See that a baseline's name can be a folder's.

    Raises:
        UsageError: it cannot.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"baseline: expected letters, digits, '.', '_' and '-', found {name!r}")


def key_of(name: str, number: int) -> str:
    """Return where an entry is kept: `chat/000001.json`."""
    return f"{name}/{number:06d}.json"


def number_of(key: str) -> tuple[str, int] | None:
    """Return a key's name and number; None: it is nobody's."""
    name, _, file = key.partition("/")
    found = _ENTRY.fullmatch(file)
    return (name, int(found[1])) if found and _NAME.fullmatch(name) else None


def to_text(entry: AnyEntry) -> str:
    """Return an entry as its file has it."""
    return json.dumps(entry.model_dump(mode="json"), indent=1, sort_keys=True) + "\n"


def from_text(where: str, data: bytes) -> AnyEntry:
    """Return the entry of a file; `where` is named in the error.

    Raises:
        SpecError: it is none.
    """
    return parsed(_ENTRIES.validate_json, data, where)


def unlike(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Return what differs between two fingerprints, a clause each."""
    return [
        f"{key}: {old.get(key, 'nothing')} there, {new.get(key, 'nothing')} here"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]
