"""What the repository may hold, and what it says about itself."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

# What .gitignore leaves out, and the sources of what is there.
_NOT_OURS = set(
    ".git .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache"
    " __pycache__ dist node_modules".split()
)
_TEXT = set(".py .md .yaml .yml .toml .sh .html .j2 .json .svg .css .js .txt .cfg .tf .tpl".split())
_MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home|root|Users|work)/(?!\.cache\b)[\w.-]+")


def _text_files(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        here = Path(folder)
        folders[:] = sorted(set(folders) - _NOT_OURS)
        if here == root / "reports":
            folders[:] = [name for name in folders if name == "samples"]
        for name in names:
            if Path(name).suffix in _TEXT or not Path(name).suffix:
                yield here / name


def test_no_file_holds_a_path_of_one_machine(root: Path) -> None:
    """A path that exists on one person's machine only helps nobody else."""
    found = [
        f"{path.relative_to(root)}: {match[0]}"
        for path in _text_files(root)
        for match in _MACHINE_PATH.finditer(path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert not found, "\n".join(found)


def test_platform_is_not_a_package(root: Path) -> None:
    """No Python file lies directly under platform/: it would hide the standard library's module."""
    assert not list((root / "platform").glob("*.py"))
    assert not (root / "platform" / "tests").exists()
    assert not (root / "tests" / "platform" / "__init__.py").exists()


def test_tests_are_not_packages(root: Path) -> None:
    """Tests are found by path (importlib mode), so that two may have the same name.

    But those that share a platform: a fixture of a package ends with the package's last test.
    """
    found = list((root / "tests").rglob("__init__.py"))
    assert found == [root / "tests" / "local" / "faults" / "__init__.py"]


def test_lock_is_in_step(root: Path) -> None:
    """`uv.lock` is what pyproject.toml asks for."""
    ours = [root / ".tools" / folder / "bin" / "uv" for folder in ("uv", "uv-dist")]
    uv = next((str(path) for path in ours if path.exists()), None) or shutil.which("uv")
    if uv is None:
        pytest.skip("uv is neither in .tools/ nor on PATH; `make setup` fetches it")
    done = subprocess.run(
        [uv, "lock", "--check", "--offline"],
        cwd=root,
        env={**os.environ, "UV_PYTHON_DOWNLOADS": "never"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
