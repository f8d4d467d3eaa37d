"""Experiments: plain Chaos Toolkit files with one extension block named `faultload`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from faultload.errors import SpecError, nearest
from faultload.spec.activities import (
    EXPERIMENT_KEYS,
    check_activities,
    check_keys,
    check_nothing_runs,
    seconds_of,
)
from faultload.spec.clear_text import refuse_inline_secrets
from faultload.spec.given import GivenBlock
from faultload.spec.reading import Spec, parse, read_document
from faultload.spec.stop import Stop
from faultload.spec.wording import found

_SHAPES: Mapping[str, tuple[type, str]] = {
    "title": (str, "a text"),
    "description": (str, "a text"),
    "tags": (list, "a list"),
    "contributions": (dict, "a mapping"),
    "controls": (list, "a list"),
    "configuration": (dict, "a mapping"),
    "secrets": (dict, "a mapping"),
    "extensions": (list, "a list"),
    "steady-state-hypothesis": (dict, "a mapping"),
    "method": (list, "a list of activities"),
    "rollbacks": (list, "a list of activities"),
    "runtime": (dict, "a mapping"),
}
_ITEMS: Mapping[str, tuple[type, str]] = {
    "tags": (str, "a text"),
    "extensions": (dict, "a mapping"),
}
_BLOCK = "extensions[faultload]"
"""How messages name the extension block, whatever its place in the list is."""


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

    recovery_s_max: float | None = Field(default=None, gt=0, le=3600)
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
    usd_per_1m_tokens_max: float | None = Field(default=None, gt=0)
    """What a million tokens, of prompts and answers together, cost over the whole run, in US
    dollars of machines with GPUs."""


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
            float(seconds_of(pause, configuration))
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


def load_experiment(path: Path, given: GivenBlock | None = None) -> Experiment:
    """Read and validate one experiment file.

    Args:
        path: of the file.
        given: stands in for the block of a file that has none; None: it must have one.

    Raises:
        SpecError: the file, the key and the remedy.
    """
    document = read_document(path)
    check_keys(path, "", document, EXPERIMENT_KEYS)
    # A section left blank is null in YAML, which chaoslib takes for a value.
    raw = {key: value for key, value in document.items() if value is not None}
    _check_shapes(path, raw)
    check_nothing_runs(path, raw)
    refuse_inline_secrets(path, raw)
    if given is not None:
        raw = _with_given(path, raw, given)
    blocks = _blocks(raw)
    if len(blocks) != 1:
        raise SpecError(path, "extensions", _no_one_block(raw, len(blocks)))
    check_activities(path, raw)
    block = parse(FaultloadBlock, blocks[0], path, _BLOCK)
    return Experiment(
        path=path,
        title=raw["title"],
        description=raw["description"].strip(),
        tags=tuple(raw.get("tags", [])),
        block=block,
        raw=raw,
    )


def _check_shapes(path: Path, raw: Mapping[str, Any]) -> None:
    for key, (shape, words) in _SHAPES.items():
        if not isinstance(raw.get(key, shape()), shape):
            raise SpecError(path, key, f"expected {words}, found {found(raw[key])}")
    for key, (shape, words) in _ITEMS.items():
        for index, one in enumerate(raw.get(key, [])):
            if not isinstance(one, shape):
                problem = f"expected {words}, found {found(one)}"
                raise SpecError(path, f"{key}[{index}]", problem)
    for key in ("title", "description", "method"):
        if key not in raw:
            raise SpecError(path, key, "this key is required and missing")
        if key != "method" and not raw[key].strip():
            raise SpecError(path, key, "expected a text, found nothing")
    if not raw["method"]:
        raise SpecError(path, "method", "expected at least one action, found none")


def _blocks(raw: Mapping[str, Any]) -> list[Any]:
    return [block for block in raw.get("extensions", []) if block.get("name") == "faultload"]


def _no_one_block(raw: Mapping[str, Any], count: int) -> str:
    names = [str(block.get("name")) for block in raw.get("extensions", [])]
    near = next((hint for hint in (nearest("faultload", [name]) for name in names) if hint), "")
    meant = "; did you mean 'faultload'?" if near and not count else ""
    return (
        f"expected one extension with name: faultload, found {count or 'none'}{meant}"
        " (docs/writing-experiments.md shows one; for a stock experiment, the options"
        " --scenario and --slos say what it would)"
    )


def _with_given(path: Path, raw: dict[str, Any], given: GivenBlock) -> dict[str, Any]:
    if _blocks(raw):
        raise SpecError(
            path,
            "extensions",
            "this file has a block named faultload: leave the options out that would contradict"
            f" it ({' '.join(given.words())}), or change the block",
        )
    return raw | {"extensions": [*raw.get("extensions", []), given.document()]}
