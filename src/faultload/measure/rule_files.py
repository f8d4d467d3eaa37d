"""The files that `faultload slo rules` writes, and whether those on disk are they."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from faultload.errors import SpecError, UsageError, told_by_machine
from faultload.measure.rule_tests import rule_tests
from faultload.measure.rules import rules_text
from faultload.spec.slo import load_slos
from faultload.spec.windows import WINDOWS_FILE, BurnWindows

_OURS = "# Made by `faultload slo rules`"
"""How each of them begins; rules that people wrote may stand beside them."""


def rule_files(paths: Sequence[Path], windows: BurnWindows) -> dict[str, str]:
    """Return the text of every file by its path under the rules' folder: rules, and their tests.

    Args:
        paths: SLO files; each gives a rule file of its own name.
        windows: when a burning budget alerts.

    Raises:
        UsageError: two SLO files have one name, two SLOs have, or a file is not right.
    """
    made: dict[str, str] = {}
    known: dict[str, Path] = {}
    for path in paths:
        name = f"{path.stem}.yaml"
        if name in made:
            raise UsageError(f"{path}: a second SLO file of this name; their rules would collide")
        slos = load_slos(path)
        for slo in slos:
            if slo.name in known:
                problem = f"{slo.name!r} is given twice: in {known[slo.name]} too; rename one"
                raise SpecError(path, "metadata.name", problem)
            known[slo.name] = path
        made[name] = rules_text(name, WINDOWS_FILE, slos, windows)
        tests = rule_tests(slos, windows, name)
        made |= {f"tests/{test}": text for test, text in tests.items()}
    return made


def write(made: Mapping[str, str], folder: Path) -> list[Path]:
    """Write the files; return their paths.

    Raises:
        UsageError: the folder cannot be written.
    """
    paths = []
    for name, text in made.items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UsageError(
                f"{path}: cannot be written: {told_by_machine(error)}; give --out a writable folder"
            ) from None
        paths.append(path)
    return paths


def drift(made: Mapping[str, str], folder: Path, *, alone: bool) -> list[str]:
    """Return the files that are missing or differ; `alone`: and those that no SLO file makes."""
    changed = [name for name, text in made.items() if _text(folder / name) != text]
    if alone:
        there = {p.relative_to(folder).as_posix(): _text(p) for p in folder.rglob("*.yaml")}
        ours = [name for name, text in there.items() if (text or "").startswith(_OURS)]
        changed += [name for name in ours if name not in made]
    return sorted(changed)


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
