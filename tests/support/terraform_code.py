"""Reads Terraform as text: the folders, and what is in each, for rules that need no provider."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hcl2

ROOT = Path(__file__).parents[2]
PLATFORM = ROOT / "platform/terraform"
HARNESS = ROOT / "terraform"
ENVIRONMENTS = tuple(PLATFORM / "environments" / name for name in ("dev", "staging", "prod"))
ROOTS = (*ENVIRONMENTS, PLATFORM / "environments/kubeadm", PLATFORM / "bootstrap", HARNESS)
MODULES = tuple(sorted(path for path in (PLATFORM / "modules").iterdir() if path.is_dir()))
FOLDERS = (*MODULES, *ROOTS)

_OPTIONS = hcl2.SerializationOptions(
    with_comments=False, explicit_blocks=False, strip_string_quotes=True
)


@dataclass(frozen=True, slots=True)
class Resource:
    """One `resource` block; `body` as python-hcl2 gives it: expressions are texts in `${}`."""

    kind: str
    name: str
    body: dict[str, Any]

    @property
    def address(self) -> str:
        """Return what Terraform calls it."""
        return f"{self.kind}.{self.name}"


@dataclass(slots=True)
class Folder:
    """What one folder of Terraform declares."""

    path: Path
    text: str
    variables: dict[str, dict[str, Any]] = field(default_factory=dict)
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    resources: list[Resource] = field(default_factory=list)
    calls: dict[str, dict[str, Any]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    checks: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Return the folder's path in the repository."""
        return self.path.relative_to(ROOT).as_posix()

    def of(self, kind: str) -> list[Resource]:
        """Return the resources of one kind."""
        return [each for each in self.resources if each.kind == kind]


def source(path: Path) -> str:
    """Return the whole text of a folder's `.tf` files."""
    return "\n".join(file.read_text() for file in sorted(path.glob("*.tf")))


def parse(path: Path, text: str | None = None) -> Folder:
    """Read a folder, or `text` as if it were what the folder holds."""
    text = source(path) if text is None else text
    folder = Folder(path, text)
    document = hcl2.loads(text, serialization_options=_OPTIONS)
    for name, body in _named(document, "variable"):
        folder.variables[name] = body
    for name, body in _named(document, "output"):
        folder.outputs[name] = body
    for name, body in _named(document, "module"):
        folder.calls[name] = body
    folder.checks = [name for name, _ in _named(document, "check")]
    for kind, named in _named(document, "resource"):
        folder.resources.extend(Resource(kind, name, body) for name, body in named.items())
    for block in document.get("terraform", []):
        folder.settings.update(block)
    return folder


def _named(document: dict[str, Any], kind: str) -> Iterator[tuple[str, Any]]:
    for block in document.get(kind, []):
        yield from block.items()


def blocks(body: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Return the nested blocks of that name."""
    found = body.get(name, [])
    return found if isinstance(found, list) else [found]


def statements(text: str) -> Iterator[str]:
    """Yield every statement of an IAM policy in a text, braces included."""
    for match in re.finditer(r'^[ \t]*Effect\s*=\s*"(?:Allow|Deny)"', text, re.MULTILINE):
        start = _opening(text, match.start())
        yield text[start : _closing(text, start) + 1]


def _opening(text: str, at: int) -> int:
    depth = 0
    for index in range(at - 1, -1, -1):
        depth += {"}": 1, "{": -1}.get(text[index], 0)
        if depth < 0:
            return index
    raise ValueError(f"no brace opens before character {at}")


def _closing(text: str, start: int) -> int:
    depth = 0
    for index in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[index], 0)
        if depth == 0:
            return index
    raise ValueError(f"no brace closes after character {start}")
