"""The part of an experiment that Chaos Toolkit plays: read more strictly than it reads it.

chaoslib ignores keys that it does not know, takes almost any value for a pause, and says of what it
objects to neither where it is nor what to do.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from faultload.errors import SpecError, nearest
from faultload.spec.reading import Spec, parse
from faultload.spec.wording import found, unknown_key

PAUSE_S_MAX = 86400.0

# chaoslib reads these and ignores every other key without a word, so a misspelt one would
# silently do nothing (docs/writing-experiments.md).
EXPERIMENT_KEYS = frozenset(
    "version title description tags contributions configuration secrets extensions controls "
    "steady-state-hypothesis method rollbacks runtime".split()
)
_ACTIVITY_KEYS = frozenset(
    "type name provider ref pauses tolerance background controls secrets configuration".split()
)
_HYPOTHESIS = "steady-state-hypothesis"
_HYPOTHESIS_KEYS = frozenset({"title", "probes", "controls"})
_PAUSE_KEYS = frozenset({"before", "after"})
_PROVIDER_KEYS: Mapping[str, frozenset[str]] = {
    "python": frozenset("type module func arguments secrets configuration".split()),
    "process": frozenset("type path arguments timeout secrets".split()),
    "http": frozenset(
        "type url method headers arguments timeout secrets expected_status max_retries "
        "verify_tls".split()
    ),
}
_PROVIDER_NEEDS: Mapping[str, tuple[str, ...]] = {
    "python": ("module", "func"),
    "process": ("path",),
    "http": ("url",),
}


class _Rollbacks(Spec):
    strategy: Literal["default", "always", "never", "deviated"] = "default"


class _Hypothesis(Spec):
    strategy: Literal[
        "default",
        "before-method-only",
        "after-method-only",
        "during-method-only",
        "continuously",
        "skip",
    ] = "default"
    frequency: float = Field(default=1.0, gt=0, le=86400)
    fail_fast: bool = False
    fail_fast_ratio: float = Field(default=0, ge=0, le=1)


class _Runtime(Spec):
    """What `chaos run` reads; a run of ours always rolls back."""

    rollbacks: _Rollbacks = _Rollbacks()
    hypothesis: _Hypothesis = _Hypothesis()


def check_keys(path: Path, at: str, given: Mapping[Any, Any], known: frozenset[str]) -> None:
    """Refuse the first key that nobody reads.

    Raises:
        SpecError: the key, and the nearest right one.
    """
    for key in given:
        if key not in known:
            raise SpecError(path, f"{at}.{key}" if at else str(key), unknown_key(key, known))


def check_activities(path: Path, raw: Mapping[str, Any]) -> None:
    """Check every probe and action, what they refer to, and how they are played.

    Raises:
        SpecError: the key and the remedy.
    """
    if _HYPOTHESIS in raw:
        hypothesis = raw[_HYPOTHESIS]
        check_keys(path, _HYPOTHESIS, hypothesis, _HYPOTHESIS_KEYS)
        _text(path, f"{_HYPOTHESIS}.title", hypothesis.get("title"))
        if "probes" not in hypothesis:
            raise SpecError(path, f"{_HYPOTHESIS}.probes", "this key is required and missing")
    parse(_Runtime, raw.get("runtime", {}), path, "runtime")
    for key, activity in _activities(path, raw):
        if not isinstance(activity, dict):
            raise SpecError(path, key, f"expected a mapping, found {found(activity)}")
        check_keys(path, key, activity, _ACTIVITY_KEYS)
        if "ref" in activity:
            problem = "expected the activity itself, found a reference: write it out"
            raise SpecError(path, f"{key}.ref", problem)
        _check_activity(path, key, activity)
        for when, pause in _pauses(path, key, activity).items():
            _check_pause(path, f"{key}.pauses.{when}", pause, raw.get("configuration", {}))


def seconds_of(pause: Any, configuration: Mapping[str, Any]) -> Any:
    """Return a pause with `${name}` replaced; unchecked, and None where there is no such name."""
    if isinstance(pause, str) and pause.startswith("${") and pause.endswith("}"):
        return configuration.get(pause[2:-1])
    return pause


def _activities(path: Path, raw: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    sections = {
        f"{_HYPOTHESIS}.probes": raw.get(_HYPOTHESIS, {}).get("probes", []),
        "method": raw["method"],
        "rollbacks": raw.get("rollbacks", []),
    }
    for section, activities in sections.items():
        if not isinstance(activities, list):
            problem = f"expected a list of activities, found {found(activities)}"
            raise SpecError(path, section, problem)
        for index, activity in enumerate(activities):
            yield f"{section}[{index}]", activity


def _check_activity(path: Path, key: str, activity: Mapping[str, Any]) -> None:
    allowed = ("probe",) if key.startswith(_HYPOTHESIS) else ("action", "probe")
    kind = activity.get("type")
    if kind not in allowed:
        near = nearest(str(kind), allowed)
        problem = f"expected {' or '.join(allowed)}, found {found(kind)}{near}"
        raise SpecError(path, f"{key}.type", problem)
    _text(path, f"{key}.name", activity.get("name"), is_there="name" in activity)
    background = activity.get("background", False)
    if not isinstance(background, bool):
        problem = f"expected true or false, found {found(background)}"
        raise SpecError(path, f"{key}.background", problem)
    _check_provider(path, f"{key}.provider", activity.get("provider"))
    if key.startswith(_HYPOTHESIS) and activity.get("tolerance") is not True:
        # A NaN in a numeric tolerance ends chaoslib with the rollbacks not played.
        tolerance = found(activity.get("tolerance"))
        problem = f"expected true (steady-state probes answer yes or no), found {tolerance}"
        raise SpecError(path, f"{key}.tolerance", problem)


def _check_provider(path: Path, key: str, provider: Any) -> None:
    if not isinstance(provider, dict):
        raise SpecError(path, key, f"expected a mapping with a type, found {found(provider)}")
    kind = provider.get("type")
    if not isinstance(kind, str) or kind not in _PROVIDER_KEYS:
        near = nearest(str(kind), _PROVIDER_KEYS)
        problem = f"expected one of {', '.join(sorted(_PROVIDER_KEYS))}, found {found(kind)}{near}"
        raise SpecError(path, f"{key}.type", problem)
    check_keys(path, key, provider, _PROVIDER_KEYS[kind])
    for needed in _PROVIDER_NEEDS[kind]:
        _text(path, f"{key}.{needed}", provider.get(needed), is_there=needed in provider)
    arguments = provider.get("arguments", {})
    if kind == "python" and not isinstance(arguments, dict):
        problem = f"expected a mapping, found {found(arguments)}; leave the key out for none"
        raise SpecError(path, f"{key}.arguments", problem)


def _text(path: Path, key: str, value: Any, *, is_there: bool = False) -> None:
    if value is None and not is_there:
        raise SpecError(path, key, "this key is required and missing")
    if not isinstance(value, str) or not value.strip():
        shown = found(value) if not isinstance(value, str) else "nothing"
        raise SpecError(path, key, f"expected a text, found {shown}")


def _pauses(path: Path, key: str, activity: Mapping[str, Any]) -> dict[Any, Any]:
    pauses = activity.get("pauses") or {}
    if not isinstance(pauses, dict):
        problem = f"expected before and after, found {found(pauses)}"
        raise SpecError(path, f"{key}.pauses", problem)
    check_keys(path, f"{key}.pauses", pauses, _PAUSE_KEYS)
    return pauses


def _check_pause(path: Path, key: str, pause: Any, configuration: Mapping[str, Any]) -> None:
    seconds = seconds_of(pause, configuration)
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if is_number and 0 <= seconds <= PAUSE_S_MAX:
        return
    if seconds is None and isinstance(pause, str):
        name = pause[2:-1]
        problem = f"expected a name of the configuration, found {name!r}"
        raise SpecError(path, key, problem + (nearest(name, configuration) or "; add it there"))
    shown = found(seconds) + (f" for {pause}" if seconds is not pause else "")
    raise SpecError(path, key, f"expected seconds, 0 to {PAUSE_S_MAX:g}, found {shown}")


def check_nothing_runs(path: Path, raw: Mapping[str, Any]) -> None:
    """Refuse values that Chaos Toolkit would run before the experiment begins.

    Whatever they do would be in no journal and within no blast radius.

    Raises:
        SpecError: the first such value.
    """
    for section in ("configuration", "secrets"):
        for name, value in raw.get(section, {}).items():
            if _holds_probe(value):
                raise SpecError(
                    path,
                    f"{section}.{name}",
                    "expected a value or type: env, found type: probe, which would be run before"
                    " anything is checked; write its value down, or take it from the environment",
                )
            if isinstance(value, float) and not math.isfinite(value):
                problem = f"expected a finite number, found {value}"
                raise SpecError(path, f"{section}.{name}", problem)


def _holds_probe(value: Any) -> bool:
    """Say whether a value is a probe or brings one: as a default, or as JSON in a text."""
    if isinstance(value, Mapping):
        return value.get("type") == "probe" or any(map(_holds_probe, value.values()))
    if isinstance(value, list):
        return any(map(_holds_probe, value))
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        try:
            return _holds_probe(json.loads(value))
        except ValueError:
            return False
        except RecursionError:  # then chaoslib cannot read it either
            return True
    return False
