"""`postmortem.md`: what the evidence can fill of an incident report; the rest needs a person.

The fields follow the templates of Google's SRE book, PagerDuty and AWS's Correction of Error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from faultload.judge import Verdict
from faultload.record import Outcome, PhaseName
from faultload.report import cost, formats
from faultload.report.evidence import evidence_files, evidence_id
from faultload.report.facts import VERDICT_MEANING, Facts, claim, recovery_text
from faultload.report.load_client import client_figures, loop_meaning
from faultload.report.shown import beside
from faultload.report.templating import markdown_environment

TIMELINE_MAX = 200

_REQUESTS = evidence_id("requests.parquet")
_SERIES = evidence_id("series.parquet")
_INJECTIONS = evidence_id("injections.jsonl")
_ALERTS = evidence_id("alerts.parquet")
_EXPERIMENT = evidence_id("experiment.yaml")
_MANIFEST = evidence_id("manifest.json")


@dataclass(frozen=True)
class Statement:
    """One sentence and the id of the file that backs it."""

    text: str
    evidence: str


@dataclass(frozen=True)
class Action:
    """One proposed action item; owner, priority and date are left for a person.

    Attributes:
        kind: prevent, detect or mitigate; repair where the run itself is at fault.
        text: what to do.
        evidence: id of the file that gave rise to it.
    """

    kind: str
    text: str
    evidence: str


@dataclass(frozen=True)
class Rule:
    """Proposes one action when `applies`."""

    applies: Callable[[Facts], bool]
    kind: str
    text: str
    evidence: str


def _has_status(facts: Facts, *prefixes: str) -> bool:
    statuses = {str(s) for s in facts.requests["status"].unique()}
    return any(status.startswith(prefixes) for status in statuses)


def _broke(facts: Facts, name: str) -> bool:
    return any(e.name == name and e.verdict is Verdict.FAIL for e in facts.judgement.expectations)


def _baseline_failed(facts: Facts) -> bool:
    return any(
        p.phase is PhaseName.BASELINE and p.verdict is Verdict.FAIL for p in facts.judgement.phases
    )


_RULES: Sequence[Rule] = (
    Rule(
        lambda f: f.manifest.outcome is Outcome.ABORTED,
        "prevent",
        "A stop condition ended the run: mend what it saw before breaking this again, or agree on"
        " another limit.",
        _MANIFEST,
    ),
    Rule(
        _baseline_failed,
        "prevent",
        "The SLO is missed without any fault: add capacity or lower the load before breaking more.",
        _REQUESTS,
    ),
    Rule(
        lambda f: (
            _broke(f, "recovery_s_max")
            or any(r.censored_at_s is not None for r in f.judgement.recoveries)
        ),
        "mitigate",
        "Shorten recovery, the part first that took longest (detect, reroute, capacity, warm).",
        _REQUESTS,
    ),
    Rule(
        lambda f: _broke(f, "revert_s_max"),
        "mitigate",
        "Shorten the way back: keep what runs until its successor has proven itself, or start it"
        " faster.",
        _INJECTIONS,
    ),
    Rule(
        lambda f: _broke(f, "budget_percent_max"),
        "mitigate",
        "Lower the cost of such a fault, or accept it by raising budget_percent_max with a reason.",
        _REQUESTS,
    ),
    Rule(
        lambda f: f.was_harmed and f.judgement.streams_lost > 0,
        "prevent",
        "Streams that had begun were lost: consider moving or replaying them, or a longer drain.",
        _REQUESTS,
    ),
    Rule(
        lambda f: (
            f.was_harmed
            and _has_status(
                f, "connect_refused", "connect_reset", "connect_error", "timeout_connect"
            )
        ),
        "mitigate",
        "Requests still went to replicas that could not answer: check health checks and retries.",
        _REQUESTS,
    ),
    Rule(
        lambda f: f.was_harmed and _has_status(f, "timeout_first_token", "timeout_gap"),
        "detect",
        "Requests waited until they timed out: check for engines that accept and stay silent.",
        _REQUESTS,
    ),
    Rule(
        lambda f: any(
            r.impact_s is not None and r.detect_s is None for r in f.judgement.recoveries
        ),
        "detect",
        "Users were hurt and the change detector stayed silent: the effect is small or slow; look.",
        _REQUESTS,
    ),
    Rule(
        lambda f: (
            f.alerts is not None
            and f.alerts.empty
            and any(r.impact_s is not None for r in f.judgement.recoveries)
        ),
        "detect",
        "Users were hurt and no alert fired: review the burn-rate windows for this SLO.",
        _ALERTS,
    ),
    Rule(
        lambda f: f.judgement.verdict is Verdict.INCONCLUSIVE,
        "repair",
        "Repeat with longer phases or more load, so that the evidence decides.",
        _REQUESTS,
    ),
)


def render_postmortem(facts: Facts) -> str:
    """Return the document."""
    timeline = facts.timeline()
    return (
        markdown_environment()
        .get_template("postmortem.md.j2")
        .render(
            facts=facts,
            manifest=facts.manifest,
            judgement=facts.judgement,
            experiment=facts.experiment,
            meaning=VERDICT_MEANING[facts.judgement.verdict],
            is_invalid=facts.judgement.verdict is Verdict.INVALID,
            invalid=[f for f in facts.judgement.findings if f.verdict is Verdict.INVALID],
            impact=impact(facts),
            measurement=measurement(facts),
            detection=detection(facts),
            recoveries=[(r, recovery_text(r)) for r in facts.judgement.recoveries],
            shown=beside(facts.judgement),
            well=_met(facts, Verdict.PASS),
            badly=_met(facts, Verdict.FAIL),
            open=_met(facts, Verdict.INCONCLUSIVE),
            actions=actions(facts),
            timeline=timeline[:TIMELINE_MAX],
            timeline_left_out=max(0, len(timeline) - TIMELINE_MAX),
            evidence=evidence_files(facts.manifest),
            evidence_id=evidence_id,
        )
    )


def impact(facts: Facts) -> list[Statement]:
    """Return what it cost users, one number a sentence."""
    judgement, failed = facts.judgement, facts.failed_requests
    if failed is None:
        return [Statement("No request rows were recorded, so the impact is not known.", _REQUESTS)]
    rows = formats.count(len(facts.requests))
    sentences = [f"{formats.count(failed)} of {rows} requests failed."]
    if facts.open_requests:
        still = formats.count(facts.open_requests)
        sentences.append(f"{still} were still open when the load was stopped; they do not count.")
    if facts.was_harmed:
        lost = formats.plural(judgement.streams_lost, "stream")
        sentences.append(f"{lost} began and did not finish, from the first harm on.")
        sentences += [
            f"{b.slo}: {formats.number(b.bad_minutes, 2)} bad minutes,"
            f" {formats.percent_points(b.budget_percent)} of the period's error budget;"
            f" largest burn rate over 10 s {formats.number(b.burn_rate_max, 2)}."
            for b in judgement.budgets
        ]
    else:
        sentences.append("No fault was in force, so its cost was not measured.")
    tokens = judgement.tokens
    sentences.append(
        f"Tokens: {formats.count(tokens.lost)} lost, {formats.count(tokens.wasted)} wasted,"
        f" {formats.count(tokens.refused)} refused, {formats.count(tokens.duplicated)} duplicated,"
        f" {formats.count(tokens.stalled)} stalled, of {formats.count(tokens.asked)} asked."
    )
    money = Statement(f"Money: {cost.sentence(judgement.cost)}", _SERIES)
    return [*(Statement(text, _REQUESTS) for text in sentences), money]


def measurement(facts: Facts) -> list[Statement]:
    """Return how the load was made and what its client says of itself."""
    load = facts.manifest.load
    if load is None:
        text = "The load client was not measured, so nobody can tell whether it was the bottleneck."
        return [Statement(text, _MANIFEST)]
    lines = [f"{f.label}: {f.value} (limit: {f.limit})." for f in client_figures(load)]
    return [Statement(text, _MANIFEST) for text in (loop_meaning(load), *lines)]


def detection(facts: Facts) -> list[Statement]:
    """Return when users felt it, when the harness saw it, what aborted the run, what alerted."""
    statements = []
    for r in facts.judgement.recoveries:
        felt = "no effect was seen" if r.impact_s is None else f"+{formats.seconds(r.impact_s)}"
        seen = "no alarm" if r.detect_s is None else f"+{formats.seconds(r.detect_s)}"
        text = f"{r.slo}: first effect on users {felt}, harness's change detector {seen}."
        statements.append(Statement(text, _REQUESTS))
    if facts.way_back:
        text = f"Stop condition: {facts.manifest.reason}; {facts.way_back}."
        statements.append(Statement(text, evidence_id("events.jsonl")))
    if facts.alerts is None:
        statements.append(Statement("Alerts were not recorded.", _ALERTS))
    elif facts.alerts.empty:
        statements.append(Statement("No alert fired, and none would have.", _ALERTS))
    else:
        names = ", ".join(sorted({str(a) for a in facts.alerts["alert"]}))
        statements.append(Statement(f"Alerts that fired, or would have: {names}.", _ALERTS))
    return statements


def actions(facts: Facts) -> list[Action]:
    """Return the proposals of the rules that apply; of an invalid run, only how to mend it."""
    if facts.judgement.verdict is Verdict.INVALID:
        return [
            Action("repair", f"Mend the run ({f.subject}): {f.text}", evidence_id(f.evidence))
            for f in facts.judgement.findings
            if f.verdict is Verdict.INVALID
        ]
    return [Action(r.kind, r.text, r.evidence) for r in _RULES if r.applies(facts)]


def _met(facts: Facts, verdict: Verdict) -> list[Statement]:
    """Return expectations and recovered SLOs with this verdict, in words."""
    judgement = facts.judgement
    found = [
        Statement(
            "{}: {} claimed, {} found. {}".format(e.name, *claim(e), e.text),
            f"{_EXPERIMENT}, {_INJECTIONS if e.name == 'revert_s_max' else _REQUESTS}",
        )
        for e in judgement.expectations
        if e.verdict is verdict
    ]
    found += [
        Statement(
            f"{p.slo} once the fault was gone: {formats.percent(p.bad_ratio)} bad"
            f" of a budget of {formats.percent(p.budget)}.",
            _REQUESTS,
        )
        for p in judgement.phases
        if p.phase is PhaseName.RECOVERY and p.verdict is verdict
    ]
    proven = [h for h in facts.hits if h.proof_gone]
    if verdict is Verdict.PASS and proven:
        text = f"The fault was undone and proven gone: {', '.join(h.fault for h in proven)}."
        found.append(Statement(text, _INJECTIONS))
    return found
