"""Programs that may veto a run: a change freeze elsewhere, whoever is on call, a ticket's state.

They are asked last, once it is known whom the run would hit, and before its load starts.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from faultload.errors import RefusedError
from faultload.faults import Plan
from faultload.report.formats import clean
from faultload.run.harm import harm_of
from faultload.run.plan import RunPlan
from faultload.secrecy import redacted
from faultload.spec.guards import Preflight
from faultload.targets import Target
from faultload.targets.processes import die_with_parent, end

_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ")
"""Of our environment; all else may be a secret, and is a program's only if the file names it."""
_END_GRACE_S = 1.0
_SAID_BYTES_MAX = 4096
_LINE_MAX = 300
_SECRET_LENGTH_MIN = 4
"""A shorter value would be found in every other word."""


@dataclass(frozen=True)
class Heard:
    """What came of one program.

    Attributes:
        hook: its name in the target file.
        veto: why the run may not go on; "": it may.
        said: the last line of what it wrote, "" for nothing.
        exit_code: None: it was not started, or did not end in time.
        took_s: how long it took.
    """

    hook: str
    veto: str
    said: str
    exit_code: int | None
    took_s: float


def facts_of(plan: RunPlan, target: Target, hit: Sequence[Plan], run_id: str) -> dict[str, Any]:
    """Return what a program is told on its standard input, as JSON; no secrets.

    Args:
        plan: of the run.
        target: where.
        hit: what each fault would hit now, in the method's order.
        run_id: the run's.
    """
    usd_per_h = target.usd_per_h()
    length_s_max = plan.length_s + plan.steps_s_max
    return {
        "run_id": run_id,
        "experiment": plan.experiment.name,
        "title": plan.experiment.title,
        "target": asdict(target.identity),
        "production": plan.target.production,
        "danger": int(harm_of(plan).danger),
        "faults": [
            {"fault": name, "hits": one.hits, "victims": one.victims}
            for (name, _), one in zip(plan.faults, hit, strict=True)
        ],
        "length_s": plan.length_s,
        "length_s_max": length_s_max,
        "usd_max": None if usd_per_h is None else usd_per_h * length_s_max / 3600,
        "game_day": plan.consent.game_day,
        "confirmed": plan.consent.confirmed,
    }


def ask_preflight(
    plan: RunPlan, target: Target, hit: Sequence[Plan], run_id: str, tell: Callable[..., None]
) -> None:
    """Ask every program of the target file, in order; the first veto counts, the rest is not asked.

    `tell(source, kind, text, **data)` writes an event; the others are `facts_of`'s.

    Raises:
        RefusedError: a program vetoed, or could not be asked.
    """
    hooks = plan.target.preflight
    facts = facts_of(plan, target, hit, run_id) if hooks else {}
    for hook in hooks:
        heard = _ask(hook, facts, plan.target_path.parent)
        went = heard.veto or f"goes ahead: {heard.said or 'nothing said'}"
        tell("harness", "preflight", f"preflight {hook.name}: {went}", **asdict(heard))
        if heard.veto:
            raise RefusedError(f"{plan.target_path}: preflight {hook.name!r} {heard.veto}")


def _ask(hook: Preflight, facts: Mapping[str, Any], folder: Path) -> Heard:
    """Run one program; a veto is whatever is not an exit with 0 in time."""
    absent = [name for name in hook.environment if name not in os.environ]
    if absent:
        return Heard(hook.name, f"wants ${absent[0]}, which is not set", "", None, 0.0)
    environment = {
        name: os.environ[name] for name in (*_KEPT, *hook.environment) if name in os.environ
    }
    secrets = [environment[name] for name in hook.environment]
    begin_s = time.monotonic()
    with tempfile.TemporaryFile() as told, tempfile.TemporaryFile() as output:
        told.write(json.dumps(facts, default=str).encode())
        told.seek(0)
        try:
            process = subprocess.Popen(
                hook.command,
                cwd=folder,
                env=environment,
                stdin=told,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent(),  # noqa: PLW1509  # as all our children
            )
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            problem = getattr(error, "strerror", None) or type(error).__name__
            return Heard(hook.name, f"could not be started: {problem}", "", None, 0.0)
        code: int | None = None
        try:
            code = process.wait(hook.timeout_s)
        except subprocess.TimeoutExpired:
            pass
        finally:  # a signal ends it, too, and what it started
            end(process, _END_GRACE_S if code is None else 0.0)
        said = _last_line(output, secrets)
    took_s = time.monotonic() - begin_s
    return Heard(hook.name, _veto(hook, code, said), said, code, round(took_s, 3))


def _veto(hook: Preflight, code: int | None, said: str) -> str:
    if code == 0:
        return ""
    how = f"did not end within {hook.timeout_s:g} s" if code is None else f"vetoed with {code}"
    return f"{how}: {said or 'it said nothing'}"


def _last_line(output: BinaryIO, secrets: Sequence[str]) -> str:
    """Return the last line that says something, in one line a terminal may be shown."""
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - _SAID_BYTES_MAX))
    text = output.read(_SAID_BYTES_MAX).decode(errors="replace")
    for secret in secrets:
        if len(secret) >= _SECRET_LENGTH_MIN:
            text = text.replace(secret, "***")
    lines = [" ".join(clean(line).split()) for line in redacted(text).splitlines()]
    return next((line[:_LINE_MAX] for line in reversed(lines) if line), "")
