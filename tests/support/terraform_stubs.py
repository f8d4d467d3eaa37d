"""Turns a folder of Terraform into one that plans without a provider: do its expressions evaluate?

What is kept: variables, local values, and every `jsonencode(...)` and `yamlencode(...)` outside
`for_each`, as outputs. What is read from AWS, a resource or a module becomes the text `stub`.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from terraform_code import source

_STUBS = (
    (r"data\.aws_\w+\.\w+(\[[^\]]*\])?(\.\w+)+", '"stub"'),
    (r"one\(aws_\w+\.\w+\[\*\]\.\w+\)", '"stub"'),
    (r"\bmodule\.\w+\.\w+(\[[^\]]*\])?", '"stub"'),
    # A resource that is looped over: one instance.
    (r"in aws_\w+\.\w+ :", 'in { a = { id = "stub", arn = "stub", name = "stub" } } :'),
    (r"\baws_\w+\.\w+(\[[^\]]*\])?\.\w+", '"stub"'),
    (r'\$\{"stub"\}', "stub"),
)


def write(folder: Path, into: Path) -> int:
    """Write the provider-free folder; return how many expressions it evaluates."""
    text = source(folder)
    locals_ = [f"locals {_until_closed(text, at)}" for at in _ends(r"^locals \{", text)]
    encoded = [
        expression
        for kind in ("jsonencode", "yamlencode")
        for at in _ends(rf"\b{kind}\(", text)
        if "each." not in (expression := f"{kind}{_until_closed(text, at)}")
    ]
    names = [name for block in locals_ for name in re.findall(r"^  (\w+)\s+=", block, re.MULTILINE)]
    values = [*(f"local.{name}" for name in names), *encoded]
    outputs = [f'output "e{i}" {{\n  value = {value}\n}}' for i, value in enumerate(values)]
    code = "\n".join([*locals_, *outputs]).replace("${path.module}", str(folder))
    for pattern, stub in _STUBS:
        code = re.sub(pattern, stub, code)
    (into / "main.tf").write_text(code)
    shutil.copy(folder / "variables.tf", into)
    return len(values)


def _ends(pattern: str, text: str) -> Iterator[int]:
    for match in re.finditer(pattern, text, re.MULTILINE):
        yield match.end() - 1


def _until_closed(text: str, start: int) -> str:
    depth = 0
    for index in range(start, len(text)):
        depth += {"{": 1, "(": 1, "}": -1, ")": -1}.get(text[index], 0)
        if depth == 0:
            return text[start : index + 1]
    raise ValueError(f"nothing closes what opens at character {start}")
