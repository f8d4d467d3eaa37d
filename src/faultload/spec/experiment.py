"""Experiments: plain Chaos Toolkit files with one extension block named `faultload`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from faultload.errors import SpecError, nearest
from faultload.spec.clear_text import refuse_inline_secrets
from faultload.spec.given import GivenBlock
from faultload.spec.reading import Spec, parse, read_document
from faultload.spec.stop import Stop

# chaoslib reads these and ignores every other key without a word, so a misspelt one would
# silently do nothing (docs/writing-experiments.md).
_EXPERIMENT_KEYS = frozenset(
    "version title description tags contributions configuration secrets extensions controls "
    "steady-state-hypothesis method rollbacks runtime".split()
)
_ACTIVITY_KEYS = frozenset(
    "type name provider ref pauses tolerance background controls secrets configuration".split()
)
_HYPOTHESIS_KEYS = frozenset({"title", "probes", "controls"})
_PAUSE_KEYS = frozenset({"before", "after"})
_SHAPES: Mapping[str, tuple[type, str]] = {
    "title": (str, "a text"),
    "description": (str, "a text"),
    "tags": (list, "a list"),
    "configuration": (dict, "a mapping"),
    "secrets": (dict, "a mapping"),
    "extensions": (list, "a list"),
    "steady-state-hypothesis": (dict, "a mapping"),
    "method": (list, "a list of activities"),
    "rollbacks": (list, "a list of activities"),
}
_PROVIDER_KEYS: Mapping[str, frozenset[str]] = {
    "python": frozenset("type module func arguments secrets configuration".split()),
    "process": frozenset("type path arguments timeout secrets".split()),
    "http": frozenset(
        "type url method headers arguments timeout secrets expected_status max_retries "
        "verify_tls".split()
    ),
}


class Phases(Spec):
    """How long each part of a run lasts; the hold is Chaos Toolkit's own `configuration.hold_s`."""

    warmup_s: float = Field(ge=0, le=3600)
    """Load runs, nothing is judged. 0 for a platform that needs no warming."""
    baseline_s: float = Field(gt=0, le=86400)
    """Load runs, the steady state is measured."""
    recovery_s: float = Field(gt=0, le=86400)
    """Observed after the fault is gone. At least 3x the expected recovery, else it is censored."""


class BlastRadius(Spec):
    """The most that may be hurt; checked on resolved victims, never on the file alone."""

    component: str
    """What is hit: `engine`, `router`, `node`, …"""
    replicas: int = Field(ge=1)
    """How many at most."""
    share_max: float = Field(default=0.5, gt=0, le=1)
    """Largest share of the component's ready replicas, 0-1. 1 for what there is only one of, where
    the target calls it expendable."""


class Expects(Spec):
    """What the title claims, as numbers. None: not claimed, hence not judged."""

    recovery_s_max: float | None = Field(default=None, gt=0)
    """From the injection until every SLO is met again and stays met."""
    budget_percent_max: float | None = Field(default=None, ge=0)
    """Largest share of a month's error budget that one such fault may spend, per SLO, percent."""
    streams_lost_max: int | None = Field(default=None, ge=0)
    """Streams that began and did not finish."""
    revert_s_max: float | None = Field(default=None, gt=0)
    """From the begin of reverting until proven gone, of the fault that takes longest: how long a
    rollback lasts."""
    scale_up_s_max: float | None = Field(default=None, gt=0)
    """From the injection until every tier that was to grow has one more replica ready."""
    scale_down_s_max: float | None = Field(default=None, gt=0)
    """From the proven end of the fault until every tier that grew has as many as before."""
    refused_max: int | None = Field(default=None, ge=0)
    """Requests answered 502 or 503, those of traffic that a fault added included."""


class FaultloadBlock(Spec):
    """The extension that links an experiment to its workload, objectives and limits."""

    name: Literal["faultload"]
    scenario: str
    """A file of scenarios/, without its suffix."""
    slos: list[str] = Field(min_length=1)
    """Names of SLOs in slos/; a file's stem stands for all SLOs in it."""
    phases: Phases
    blast_radius: list[BlastRadius] = Field(min_length=1)
    """One for each component that is hit; a single one needs no list."""
    requires: list[str] = Field(default_factory=list)
    """Capabilities the target must have, else the experiment is skipped with that reason."""
    gaps: list[str] = Field(default_factory=list)
    """Series this fault takes away by nature: their absence is then not held against the run.

    Names, or patterns such as `vllm:*`; `*` is all, where Prometheus itself is taken away.
    """
    expects: Expects = Expects()
    stop: Stop = None
    """What ends the run early, beside what the target file names."""

    @field_validator("blast_radius", mode="before")
    @classmethod
    def _may_be_one(cls, value: Any) -> Any:
        return [value] if isinstance(value, dict) else value

    @field_validator("blast_radius")
    @classmethod
    def _names_each_once(cls, value: list[BlastRadius]) -> list[BlastRadius]:
        names = [one.component for one in value]
        if len(set(names)) < len(names):
            raise ValueError(f"expected each component once, found {', '.join(names)}")
        return value


@dataclass(frozen=True)
class Experiment:
    """One validated experiment file.

    Attributes:
        path: where it was read.
        title: the claim.
        description: why it is believed.
        tags: free words.
        block: the extension block.
        raw: the whole document, as Chaos Toolkit runs it.
    """

    path: Path
    title: str
    description: str
    tags: tuple[str, ...]
    block: FaultloadBlock
    raw: dict[str, Any]

    @property
    def name(self) -> str:
        """The file's folder and stem, `engine/replica-loss`: what lists and `-k` show."""
        return f"{self.path.parent.name}/{self.path.stem}"

    @property
    def hold_s(self) -> float:
        """How long the fault is held: the sum of the method's pauses, after substitution."""
        configuration = self.raw.get("configuration", {})
        return sum(
            _seconds(pause, configuration)
            for activity in self.raw["method"]
            for pause in (activity.get("pauses") or {}).values()
        )

    @property
    def fault_actions(self) -> list[dict[str, Any]]:
        """The method's actions, in order."""
        return [a for a in self.raw["method"] if a.get("type") == "action"]

    def holding(self, hold_s: float) -> Experiment:
        """Return the experiment with `configuration.hold_s` replaced; itself where it has none."""
        configuration = self.raw.get("configuration", {})
        if "hold_s" not in configuration:
            return self
        return replace(self, raw={**self.raw, "configuration": {**configuration, "hold_s": hold_s}})


def _seconds(pause: Any, configuration: Mapping[str, Any]) -> float:
    if isinstance(pause, str) and pause.startswith("${") and pause.endswith("}"):
        pause = configuration.get(pause[2:-1])
    return float(pause)


def load_experiment(path: Path, given: GivenBlock | None = None) -> Experiment:
    """Read and validate one experiment file.

    Args:
        path: of the file.
        given: stands in for the block of a file that has none; None: it must have one.

    Raises:
        SpecError: the file, the key and the remedy.
    """
    document = read_document(path)
    _check_keys(path, "", document, _EXPERIMENT_KEYS)
    # A section left blank is null in YAML, which chaoslib takes for a value.
    raw = {key: value for key, value in document.items() if value is not None}
    for key, (shape, words) in _SHAPES.items():
        if not isinstance(raw.get(key, shape()), shape):
            found = type(raw[key]).__name__
            raise SpecError(path, key, f"expected {words}, found a {found}")
    for key in ("title", "description", "method"):
        if not raw.get(key):
            raise SpecError(path, key, "this key is required and missing")
    _check_nothing_runs(path, raw)
    refuse_inline_secrets(path, raw)
    if given is not None:
        raw = _with_given(path, raw, given)
    blocks = _blocks(raw)
    if len(blocks) != 1:
        raise SpecError(
            path,
            "extensions",
            f"expected one extension with name: faultload, found {len(blocks)}"
            " (docs/writing-experiments.md shows one; for a stock experiment, the options"
            " --scenario and --slos say what it would)",
        )
    index, block = blocks[0]
    _check_activities(path, raw)
    experiment = Experiment(
        path=path,
        title=raw["title"],
        description=raw["description"].strip(),
        tags=tuple(map(str, raw.get("tags", []))),
        block=parse(FaultloadBlock, block, path, f"extensions[{index}]"),
        raw=raw,
    )
    _check_hold(experiment)
    return experiment


def _blocks(raw: Mapping[str, Any]) -> list[tuple[int, Any]]:
    return [
        (index, block)
        for index, block in enumerate(raw.get("extensions", []))
        if isinstance(block, dict) and block.get("name") == "faultload"
    ]


def _with_given(path: Path, raw: dict[str, Any], given: GivenBlock) -> dict[str, Any]:
    if _blocks(raw):
        raise SpecError(
            path,
            "extensions",
            "this file has a block named faultload: leave the options out that would contradict"
            f" it ({' '.join(given.words())}), or change the block",
        )
    return raw | {"extensions": [*raw.get("extensions", []), given.document()]}


def _check_hold(experiment: Experiment) -> None:
    try:
        hold_s = experiment.hold_s
    except (TypeError, ValueError):
        raise SpecError(
            experiment.path, "method", "pauses must be numbers of seconds or ${configuration} names"
        ) from None
    if not 0 <= hold_s <= 86400:
        raise SpecError(experiment.path, "method", f"pauses of 0 to 86400 s, found {hold_s} s")


def _check_nothing_runs(path: Path, raw: Mapping[str, Any]) -> None:
    """Refuse values that Chaos Toolkit would run before the experiment begins.

    Whatever they do would be in no journal and within no blast radius.
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
    return False


def _check_activities(path: Path, raw: dict[str, Any]) -> None:
    hypothesis = raw.get("steady-state-hypothesis", {})
    _check_keys(path, "steady-state-hypothesis", hypothesis, _HYPOTHESIS_KEYS)
    for key, activity in _activities(path, raw):
        if not isinstance(activity, dict):
            raise SpecError(path, key, f"expected a mapping, found a {type(activity).__name__}")
        _check_keys(path, key, activity, _ACTIVITY_KEYS)
        pauses = activity.get("pauses") or {}
        if not isinstance(pauses, dict):
            raise SpecError(path, f"{key}.pauses", f"expected before and after, found {pauses!r}")
        _check_keys(path, f"{key}.pauses", pauses, _PAUSE_KEYS)
        if "ref" not in activity:
            _check_provider(path, f"{key}.provider", activity.get("provider"))
        if key.startswith("steady-state-hypothesis") and activity.get("tolerance") is not True:
            # A NaN in a numeric tolerance ends chaoslib with the rollbacks not played.
            raise SpecError(
                path,
                f"{key}.tolerance",
                f"expected true (steady-state probes answer yes or no),"
                f" found {activity.get('tolerance')!r}",
            )


def _check_provider(path: Path, key: str, provider: Any) -> None:
    if not isinstance(provider, dict):
        raise SpecError(path, key, f"expected a mapping with a type, found {provider!r}")
    known = _PROVIDER_KEYS.get(str(provider.get("type")))
    if known is None:
        raise SpecError(
            path,
            f"{key}.type",
            f"expected one of {', '.join(sorted(_PROVIDER_KEYS))}, found {provider.get('type')!r}",
        )
    _check_keys(path, key, provider, known)
    arguments = provider.get("arguments", {})
    if provider["type"] == "python" and not isinstance(arguments, dict):
        problem = f"expected a mapping, found {arguments!r}; leave the key out for none"
        raise SpecError(path, f"{key}.arguments", problem)


def _activities(path: Path, raw: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    sections = {
        "steady-state-hypothesis.probes": raw.get("steady-state-hypothesis", {}).get("probes", []),
        "method": raw["method"],
        "rollbacks": raw.get("rollbacks", []),
    }
    for section, activities in sections.items():
        if not isinstance(activities, list):
            raise SpecError(path, section, "expected a list of activities")
        for index, activity in enumerate(activities):
            yield f"{section}[{index}]", activity


def _check_keys(path: Path, at: str, found: Mapping[Any, Any], known: frozenset[str]) -> None:
    for key in found:
        if key not in known:
            where = f"{at}.{key}" if at else str(key)
            raise SpecError(path, where, f"unknown key{nearest(str(key), known)}")
