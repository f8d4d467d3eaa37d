"""Contracts look at the repository itself: its files, its documents, its layers."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_FILE_LINES_MAX = 400
_FUNCTION_LINES_MAX = 60
_EXPERIMENT_LINES_MAX = 70


@pytest.fixture(scope="session")
def root() -> Path:
    """Top of the repository."""
    return ROOT


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what is longer than we aim for: a habit, not a gate."""
    offenders = list(_too_long())
    if offenders:
        terminalreporter.section("longer than we aim for")
        for line in offenders:
            terminalreporter.write_line(line)


def _too_long() -> Iterator[str]:
    for folder in ("src", "platform/src", "scripts", "tests", "benchmarks"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            name, lines = path.relative_to(ROOT), len(text.splitlines())
            if lines > _FILE_LINES_MAX:
                yield f"{name}: {lines} lines, aim {_FILE_LINES_MAX}"
            try:
                tree = ast.parse(text)
            except SyntaxError:
                continue  # ruff and mypy say so
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    long = (node.end_lineno or node.lineno) - node.lineno + 1
                    if long > _FUNCTION_LINES_MAX:
                        yield f"{name}:{node.lineno} {node.name}: {long}, aim {_FUNCTION_LINES_MAX}"
    for path in sorted((ROOT / "experiments").rglob("*.yaml")):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > _EXPERIMENT_LINES_MAX:
            yield f"{path.relative_to(ROOT)}: {lines} lines, aim {_EXPERIMENT_LINES_MAX}"
