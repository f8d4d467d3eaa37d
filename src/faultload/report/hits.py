"""What was hit, as the injection journal tells it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from faultload.record import InjectionEntry, InjectionStep, Manifest
from faultload.report import formats

# A plan's token proves who may undo; like any secret it has no place in a page that is shared.
_HIDDEN_KEYS = ("secret", "password", "authorization", "api_key")


@dataclass(frozen=True)
class Hit:
    """One application of one fault, as the journal tells it.

    Attributes:
        injection_id: the journal's id.
        fault: the fault's name.
        component: what kind of thing was hit; "" where the plan does not say.
        victims: names of what was hit.
        whom: who was hit, in words, where the platform chose; "" where `victims` says it.
        details: what the plan says of each victim, as pairs.
        of: how many of the kind there are; None: not recorded.
        undo: how it is undone, as pairs; empty: the plan needs none, or there is no plan.
        proof: what was seen once it took effect, as pairs; empty: never proven.
        proof_gone: what was seen once it was undone, as pairs; empty: never proven.
        problems: what failed.
        steps: (step, seconds since the start), in order.
    """

    injection_id: str
    fault: str
    component: str
    victims: Sequence[str]
    whom: str
    details: Sequence[Sequence[tuple[str, str]]]
    of: int | None
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
            return self.whom or "victims not recorded"
        if self.of is None:
            return formats.plural(hit, noun)
        return f"{hit} of {formats.plural(self.of, noun)}"


def pairs(data: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return nested JSON as (dotted key, text) pairs, without the keys that may hold a secret."""
    found: list[tuple[str, str]] = []
    for key, value in data.items():
        lowered = str(key).lower()
        if lowered.endswith("token") or any(hidden in lowered for hidden in _HIDDEN_KEYS):
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
    victims = [v if isinstance(v, Mapping) else {"name": v} for v in victims]
    component = str(next((v["component"] for v in victims if v.get("component")), ""))
    undo = plan.get("undo") or {}
    return Hit(
        injection_id=injection_id,
        fault=lines[0].fault,
        component=component,
        victims=[str(v.get("name", "unnamed")) for v in victims],
        whom=str(plan.get("whom") or ""),
        details=[pairs({k: w for k, w in v.items() if k != "name"}) for v in victims],
        of=_how_many(component, manifest.platform),
        undo=pairs(undo) if isinstance(undo, Mapping) else pairs({"undo": undo}),
        proof=_evidence_of(lines, InjectionStep.VERIFIED),
        proof_gone=_evidence_of(lines, InjectionStep.VERIFIED_REVERTED),
        problems=[e.problem for e in lines if e.problem],
        steps=[(formats.words(e.step), e.time_unix_s - manifest.clock.t0_unix_s) for e in lines],
    )


def _how_many(component: str, platform: Mapping[str, Any]) -> int | None:
    """Return how many of the component the target says it has; None: it does not say."""
    listed = platform.get("nodes" if component == "node" else "replicas")
    if not isinstance(listed, list):
        return None
    # A target that lists one kind of replica only need not name the kind.
    kinds = [r.get("component", component) if isinstance(r, Mapping) else component for r in listed]
    return kinds.count(component) or None


def _evidence_of(lines: Sequence[InjectionEntry], step: InjectionStep) -> list[tuple[str, str]]:
    proven = [entry for entry in lines if entry.step is step]
    if not proven:
        return []
    seen, data = proven[-1].evidence.get("text"), proven[-1].evidence.get("data")
    numbers = pairs(data) if isinstance(data, Mapping) else []
    return [("seen", str(seen or "yes, without details")), *numbers]
