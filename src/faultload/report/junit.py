"""`junit.xml`: one test suite a run, for the test views of CI systems.

Viewers know no "inconclusive": it becomes a failure of that type, because nothing that is not a
pass may look like one. An invalid run is one error; its other cases are skipped, because nothing
it says may be believed, good or bad.
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from faultload.judge import Verdict
from faultload.report import formats
from faultload.report.facts import Facts, phase_label


@dataclass(frozen=True)
class _Case:
    name: str
    kind: str
    verdict: Verdict
    text: str


def junit_xml(facts: Facts) -> bytes:
    """Return the document; well formed whatever the texts hold."""
    cases = _cases(facts)
    is_invalid = facts.judgement.verdict is Verdict.INVALID
    end_s = max((p.end_s for p in facts.manifest.phases), default=0.0)
    suite = Element(
        "testsuite",
        name=formats.clean(f"faultload {facts.manifest.experiment}"),
        timestamp=formats.timestamp(facts.manifest.clock.t0_unix_s).removesuffix("Z"),
        time=f"{end_s:.3f}",
    )
    _add_properties(suite, facts)
    counts = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    for case in cases:
        counts["tests"] += 1
        element = SubElement(
            suite,
            "testcase",
            classname=formats.clean(f"{facts.manifest.experiment}.{case.kind}"),
            name=formats.clean(case.name),
            time=f"{end_s:.3f}" if case.kind == "verdict" else "0.000",
        )
        outcome = _outcome(case, is_invalid=is_invalid)
        if outcome is None:
            continue
        tag, counter, type_ = outcome
        counts[counter] += 1
        message = formats.clean(f"{type_.upper()}: {case.text}")
        child = SubElement(element, tag, message=message)
        if tag != "skipped":
            child.set("type", type_)
            child.text = message
    for key, value in counts.items():
        suite.set(key, str(value))
    root = Element("testsuites", {key: str(value) for key, value in counts.items()})
    root.set("name", "faultload")
    root.append(suite)
    indent(root)
    return bytes(tostring(root, encoding="utf-8", xml_declaration=True))


def _cases(facts: Facts) -> list[_Case]:
    judgement = facts.judgement
    invalid = [f for f in judgement.findings if f.verdict is Verdict.INVALID]
    is_invalid = judgement.verdict is Verdict.INVALID
    reasons = "; ".join(f"{f.subject}: {f.text}" for f in invalid) or judgement.reason
    validity = Verdict.INVALID if is_invalid else Verdict.PASS
    cases = [_Case("the run can be judged", "validity", validity, reasons)]
    for result in judgement.phases:
        if result.verdict is not None:
            name = f"{result.slo}, {phase_label(result.phase)}: {result.statement}"
            ratio = formats.percent(result.bad_ratio)
            text = (
                f"{formats.count(result.bad)} of {formats.count(result.events)} bad"
                f" ({ratio}; budget {formats.percent(result.budget)})"
                if result.events
                else formats.NO_DATA
            )
            cases.append(_Case(name, "slo", result.verdict, text))
    cases += [_Case(e.name, "expects", e.verdict, e.text) for e in judgement.expectations]
    # Some reasons, an abort say, belong to no SLO: this case makes the suite's colour the verdict.
    cases.append(_Case(facts.manifest.title, "verdict", judgement.verdict, judgement.reason))
    return cases


def _outcome(case: _Case, *, is_invalid: bool) -> tuple[str, str, str] | None:
    """Return (element, counter, type); None: a pass."""
    if case.kind == "validity" and case.verdict is Verdict.INVALID:
        return ("error", "errors", "invalid")
    if is_invalid:
        return ("skipped", "skipped", "not judged, the run is invalid")
    if case.verdict is Verdict.PASS:
        return None
    return ("failure", "failures", str(case.verdict))


def _add_properties(suite: Element, facts: Facts) -> None:
    manifest = facts.manifest
    properties = SubElement(suite, "properties")
    for name, value in (
        ("run_id", manifest.run_id),
        ("verdict", facts.judgement.verdict),
        ("target", manifest.target),
        ("seed", manifest.seed),
        ("commit", manifest.commit),
        ("repeat", manifest.repeat),
        *_money(facts),
    ):
        SubElement(properties, "property", name=name, value=formats.clean(str(value)))


def _money(facts: Facts) -> list[tuple[str, float]]:
    """Return what is known of the cost; what is not known has no property."""
    cost = facts.judgement.cost
    found = [("usd", cost.usd), ("usd_per_1m_tokens", cost.usd_per_1m_tokens)] if cost else []
    return [(name, value) for name, value in found if value is not None]
