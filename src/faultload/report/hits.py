"""What was hit, as the injection journal tells it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from faultload.record import InjectionEntry, InjectionStep, Manifest
from faultload.report import formats

# A plan's token proves who may undo; like any secret it has no place in a page that is shared.
_HIDDEN_KEYS = ("token", "secret", "password", "authorization", "api_key")


@dataclass(frozen=True)
class Hit:
    """One application of one fault, as the journal tells it.

    Attributes:
        injection_id: the journal's id.
        fault: the fault's name.
        component: what kind of thing was hit; "" where the plan does not say.
        victims: what was hit, in words.
        ready_before: how many of the kind were ready before; None: not recorded.
        undo: how it is undone, as pairs.
        proof: what was seen once it took effect, as pairs; empty: never proven.
        proof_gone: what was seen once it was undone, as pairs; empty: never proven.
        problems: what failed.
        steps: (step, seconds since the start), in order.
    """

    injection_id: str
    fault: str
    component: str
    victims: Sequence[str]
    ready_before: int | None
    undo: Sequence[tuple[str, str]]
    proof: Sequence[tuple[str, str]]
    proof_gone: Sequence[tuple[str, str]]
    problems: Sequence[str]
    steps: Sequence[tuple[str, float]]

    @property
    def summary(self) -> str:
        """`1 of 4 replicas`, as far as it is known."""
        noun = {"node": "node", "router": "router replica"}.get(self.component, "replica")
        hit = len(self.victims)
        if not hit:
            return "victims not recorded"
        if self.ready_before is None:
            return formats.plural(hit, noun)
        plural = "" if self.ready_before == 1 else "s"
        return f"{hit} of {self.ready_before} {noun}{plural}"


def pairs(data: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return nested JSON as (dotted key, text) pairs, without the keys that may hold a secret."""
    found: list[tuple[str, str]] = []
    for key, value in data.items():
        if any(hidden in str(key).lower() for hidden in _HIDDEN_KEYS):
            continue
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            found += pairs(value, f"{name}.")
        elif name.endswith("_s") and isinstance(value, int | float) and value is not True:
            found.append((name.removesuffix("_s"), formats.seconds(value)))
        elif isinstance(value, list | tuple):
            found.append((name, ", ".join(_text_of(item) for item in value) or "none"))
        else:
            found.append((name, _text_of(value)))
    return found


def _text_of(value: Any) -> str:
    if value is None:
        return formats.NO_DATA
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return formats.number(value, 6)
    if isinstance(value, Mapping):
        return " ".join(f"{key}={text}" for key, text in pairs(value))
    return str(value)


def read_hits(entries: Iterable[InjectionEntry], manifest: Manifest) -> list[Hit]:
    """Return one `Hit` for each injection of the journal, in order."""
    by_id: dict[str, list[InjectionEntry]] = {}
    for entry in entries:
        by_id.setdefault(entry.injection_id, []).append(entry)
    return [_hit(key, lines, manifest) for key, lines in by_id.items()]


def _hit(injection_id: str, lines: Sequence[InjectionEntry], manifest: Manifest) -> Hit:
    plan = next((e.plan for e in lines if e.plan), {})
    victims = plan.get("victims") or []
    if not isinstance(victims, list | tuple):
        victims = [victims]
    component = str(plan.get("component") or "")
    undo = plan.get("undo") or {}
    return Hit(
        injection_id=injection_id,
        fault=lines[0].fault,
        component=component,
        victims=[_victim(v) for v in victims],
        ready_before=_ready_before(plan, component, manifest.platform),
        undo=pairs(undo) if isinstance(undo, Mapping) else pairs({"undo": undo}),
        proof=_evidence_of(lines, InjectionStep.VERIFIED),
        proof_gone=_evidence_of(lines, InjectionStep.VERIFIED_REVERTED),
        problems=[e.problem for e in lines if e.problem],
        steps=[(formats.words(e.step), e.time_unix_s - manifest.clock.t0_unix_s) for e in lines],
    )


def _victim(victim: Any) -> str:
    if not isinstance(victim, Mapping):
        return str(victim)
    name = victim.get("name") or victim.get("id")
    rest = {k: v for k, v in victim.items() if k not in ("name", "id") or not name}
    details = ", ".join(f"{key} {text}" for key, text in pairs(rest))
    return f"{name} ({details})" if name and details else str(name or details)


def _ready_before(
    plan: Mapping[str, Any], component: str, platform: Mapping[str, Any]
) -> int | None:
    """Return how many were ready: from the plan, else from what the target said of itself."""
    found = plan.get("ready_before", platform.get("replicas"))
    if isinstance(found, Mapping):
        found = found.get(component)
    if isinstance(found, list | tuple):
        return len(found)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def _evidence_of(lines: Sequence[InjectionEntry], step: InjectionStep) -> list[tuple[str, str]]:
    proven = [entry for entry in lines if entry.step is step]
    if not proven:
        return []
    return pairs(proven[-1].evidence) or [("seen", "yes, without details")]
