"""Whatever a target file may say is explained where people look for it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from faultload.spec import KubernetesTargetSpec, LocalTargetSpec

ROOT = Path(__file__).parents[2]
PAGE = "docs/writing-experiments.md"


def keys_of(model: type[BaseModel], at: str = "") -> set[str]:
    """Return every key that a file of this model may have, as dotted paths."""
    found = set()
    for name, field in model.model_fields.items():
        path = f"{at}.{field.alias or name}".strip(".")
        found.add(path)
        for inner in models_in(field.annotation):
            found |= keys_of(inner, path)
    return found


def models_in(annotation: object) -> list[type[BaseModel]]:
    """Return the models that a value may be, or hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for arg in get_args(annotation) for model in models_in(arg)]


@pytest.mark.parametrize("key", sorted(keys_of(LocalTargetSpec) | keys_of(KubernetesTargetSpec)))
def test_every_key_of_a_target_file_is_documented(key: str) -> None:
    """By its own name in the table of keys, on the row of the key that holds it."""
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    section = text.partition("\n## The target file\n")[2].partition("\n## ")[0]
    top, _, _ = key.partition(".")
    rows = [row for row in section.splitlines() if re.match(rf"\| [^|]*`{top}`", row)]
    assert len(rows) == 1, f"expected one row for `{top}` in {PAGE}, found {len(rows)}"
    assert f"`{key.rpartition('.')[2]}`" in rows[0], f"{key} is not in its row of {PAGE}"


def test_table_names_no_key_that_is_gone() -> None:
    """A page that promises a guard that nobody keeps is worse than none."""
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    section = text.partition("\n## The target file\n")[2].partition("\n## ")[0]
    named = {
        word
        for row in section.splitlines()
        if row.startswith("| `")
        for word in re.findall(r"`([a-z_]+)`", row.split("|")[1])
    }
    assert named == {
        key for key in keys_of(LocalTargetSpec) | keys_of(KubernetesTargetSpec) if "." not in key
    }
