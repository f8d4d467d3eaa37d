"""The picture of the platform as it is deployed, held against charts and Terraform."""

from __future__ import annotations

import re
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_PAGE = (_ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
_PICTURE = (
    _PAGE.partition("### As it is deployed")[2].partition("```mermaid")[2].partition("```")[0]
)
_ARROW = re.compile(r"^ {4}(\w+)(?:\[.*?\])? --> (\w+)(?:\[.*?\])?$", re.MULTILINE)


def _arrows(part: str) -> set[tuple[str, str]]:
    return set(_ARROW.findall(_PICTURE.partition(f"subgraph {part} ")[2].partition("  end")[0]))


def _given() -> set[tuple[str, str]]:
    """Return which module is given something of which, in the module that joins them."""
    folder = _ROOT / "platform" / "terraform" / "modules"
    text = (folder / "platform" / "main.tf").read_text(encoding="utf-8")
    blocks = re.findall(r'^module "(\w+)" \{\n(.*?)^\}', text, re.MULTILINE | re.DOTALL)
    names = {path.name.replace("-", "_") for path in folder.iterdir() if path.name != "platform"}
    assert {name for name, _ in blocks} == names
    return {
        (source, name) for name, body in blocks for source in re.findall(r"\bmodule\.(\w+)", body)
    }


def test_modules_and_what_they_are_given_are_the_picture() -> None:
    """An arrow more or less in Terraform is one more or less on the page."""
    assert _arrows("terraform") == _given()


def test_charts_are_the_picture() -> None:
    """Every chart is drawn, and none that is gone."""
    drawn = {name for part in ("charts", "harness") for arrow in _arrows(part) for name in arrow}
    folders = [*(_ROOT / "platform" / "charts").iterdir(), *(_ROOT / "charts").iterdir()]
    assert drawn == {f"chart_{path.name}" for path in folders}
