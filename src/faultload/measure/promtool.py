"""promtool: where it is, and PromQL asked of series that nobody serves."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

from faultload.errors import MissingError, told_by_machine

_ALIVE = "alive"
_GOT = re.compile(r'\{case="([^"]+)"\} (\S+)')


def find_promtool(*starts: Path) -> str:
    """Return where promtool is: on PATH, or in `.tools/bin` of a folder given or above it.

    Raises:
        MissingError: it is nowhere.
    """
    folders = [f / ".tools/bin" for start in starts for f in (start, *start.resolve().parents)]
    found = shutil.which(
        "promtool", path=os.pathsep.join([os.environ.get("PATH", ""), *map(str, folders)])
    )
    if found is None:
        raise MissingError("promtool is not on PATH nor in .tools/bin; run: make setup")
    return found


def ask(
    promtool: str,
    series: Mapping[str, str],
    questions: Iterable[tuple[str, str, int]],
    within_s: float,
) -> dict[str, float]:
    """Return the value of every question that has one; what has no sample is left out.

    `promtool test rules` loads made-up series and evaluates expressions on them with Prometheus'
    own engine. It knows no other way to tell a value than to say that another one was expected,
    so nothing is expected of any question, and what came is read from what it says.

    Args:
        promtool: the program.
        series: by selector, a value a second in promtool's notation.
        questions: name, PromQL that yields one value without labels, and at which second.
        within_s: longest time that it may take.

    Raises:
        MissingError: it did not answer, or with something else than values.
    """
    asked = [(_ALIVE, "vector(1)", 1), *questions]
    latest = max(at for _, _, at in asked)
    test = {
        "evaluation_interval": f"{latest}s",  # samples are loaded as far as rules are evaluated
        "tests": [
            {
                "interval": "1s",
                "input_series": [{"series": s, "values": v} for s, v in series.items()],
                "promql_expr_test": [
                    {
                        "expr": f'label_replace({promql}, "case", "{name}", "", "")',
                        "eval_time": f"{at}s",
                    }
                    for name, promql, at in asked
                ],
            }
        ],
    }
    try:
        done = _run(promtool, test, within_s)
    except subprocess.TimeoutExpired:
        raise MissingError(f"promtool did not answer within {within_s:.0f} s") from None
    except OSError as error:
        raise MissingError(f"promtool cannot be run: {told_by_machine(error)}") from None
    said = done.stdout + done.stderr
    answers = {name: float(value) for name, value in _GOT.findall(said)}
    if answers.pop(_ALIVE, None) != 1 or ", err: " in said:
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        told = next((line for line in lines if "err" in line), lines[-1] if lines else "nothing")
        raise MissingError(f"promtool gave no values but said: {told[:200]}")
    return answers


def _run(
    promtool: str, test: Mapping[str, object], within_s: float
) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory(prefix="faultload-promtool-") as folder:
        path = Path(folder) / "replay.yaml"
        path.write_text(yaml.dump(test, Dumper=_DUMPER, width=1 << 20), encoding="utf-8")
        return subprocess.run(
            [promtool, "test", "rules", str(path)],
            capture_output=True,
            text=True,
            timeout=max(0.1, within_s),
            check=False,
            cwd=folder,
        )


_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
