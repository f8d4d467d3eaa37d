"""What stands beside the verdict: the way back in parts, moved tails, goodput and the scorecard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from faultload.judge import Degradation, Judgement, Mark, Stage
from faultload.report import formats
from faultload.report.evidence import evidence_id

NOT_KNOWN = "not known"
_STAGES = {
    "detect": "the platform noticed",
    "reroute": "the last request it had to send again, or that failed",
    "capacity": "as many ready replicas as before",
    "warm": "first tokens as soon as before",
}
_PHASES = {"warmup": "warm-up"}


@dataclass(frozen=True)
class StageRow:
    """One part of the way back, in words; `reached` and `took` are "not known" together."""

    name: str
    meaning: str
    reached: str
    took: str
    text: str
    evidence: str


@dataclass(frozen=True)
class MarkRow:
    """One row of the scorecard; `met` is `met`, `missed` or `not known`."""

    title: str
    limit: str
    measured: str
    met: str
    text: str
    evidence: str


@dataclass(frozen=True)
class Shown:
    """Everything of it, ready for a template.

    Attributes:
        stages: in order.
        degraded: one sentence each.
        goodput: phase, requests, good, requests a second, tokens a second.
        marks: the scorecard.
        tally: `4 met, 1 missed, 7 not known`.
    """

    stages: Sequence[StageRow]
    degraded: Sequence[str]
    goodput: Sequence[Sequence[str]]
    marks: Sequence[MarkRow]
    tally: str


def beside(judgement: Judgement) -> Shown:
    """Return what stands beside the verdict."""
    marks = [_mark(mark) for mark in judgement.scorecard]
    counts = [
        (sum(row.met == word for row in marks), word) for word in ("met", "missed", NOT_KNOWN)
    ]
    return Shown(
        stages=[_stage(stage) for stage in judgement.stages],
        degraded=[degraded_text(one) for one in judgement.degraded],
        goodput=[
            (
                _PHASES.get(one.phase, str(one.phase)),
                formats.count(one.requests),
                formats.count(one.good),
                formats.number(one.requests_per_s),
                formats.number(one.tokens_per_s),
            )
            for one in judgement.goodput
        ],
        marks=marks,
        tally=", ".join(f"{count} {word}" for count, word in counts if count),
    )


def degraded_text(one: Degradation) -> str:
    """Return `fast-ttft p95: 61 ms before, 92 ms since the harm (at least 84 ms)`."""
    after = formats.milliseconds(one.after_s) if one.after_s is not None else "∞"
    surely = formats.milliseconds(one.after_s_min)
    was, most = formats.milliseconds(one.before_s), formats.milliseconds(one.before_s_max)
    share = f"p{one.share * 100:.0f}"
    return f"{one.slo} {share}: {was} before (at most {most}), {after} since (at least {surely})"


def _stage(stage: Stage) -> StageRow:
    reached = took = NOT_KNOWN
    if stage.reached_s is not None:
        reached = f"{formats.seconds(stage.reached_s)} ± {formats.seconds(stage.error_s)}"
        took = formats.seconds(stage.took_s)
    meaning = _STAGES.get(stage.name, "")
    return StageRow(stage.name, meaning, reached, took, stage.text, evidence_id(stage.evidence))


def _mark(mark: Mark) -> MarkRow:
    met = {True: "met", False: "missed", None: NOT_KNOWN}[mark.met]
    measured = NOT_KNOWN if mark.measured is None else _in_unit(mark.name)(mark.measured)
    evidence = evidence_id(mark.evidence)
    return MarkRow(mark.title, mark.limit, measured, met, mark.text, evidence)


def _in_unit(name: str) -> Callable[[float | None], str]:
    if name == "rollback_s":
        return formats.seconds
    if "_s_p" in name or name.endswith("_s"):
        return formats.milliseconds
    if name.endswith(("_saved", "_share")):
        return formats.percent
    return formats.number
