"""From the numbers of trials to a verdict an SLI: stage by stage, then the confirmation."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from faultload.judge import GateResult, Verdict
from faultload.judge import confirm as confirm_by
from faultload.judge.trial import Measured, Sli, measure_trial
from faultload.record import RunDirectory, read_requests
from faultload.record.baseline import Baseline
from faultload.record.gate import TrialEntry
from faultload.run.gate.looks import Numbers
from faultload.spec import SLO, Scenario

Look = Callable[..., GateResult]
"""As `looks.look_at`."""
REPEATED_SHARE_MAX = 0.2
"""Where more of the trials had to be repeated, what was left is a selection."""
_LEAST_REPEATED = 2
"""So many repetitions happen in a short gate on a good day."""


@dataclass(frozen=True)
class Trial:
    """One valid trial: where it belongs, and what it said."""

    entry: TrialEntry
    measured: Measured


@dataclass(frozen=True)
class Decision:
    """What the gate says of one SLI.

    Attributes:
        sli: which.
        verdict: with the confirmation.
        reason: one sentence.
        result: of the last look of the first round.
        stage: of that look.
        confirmation: of the last look of the second round; None: there was none for it.
        baseline, candidate: mean of its numbers in the first round; None: there is none.
        trials: a side, in the first round.
    """

    sli: Sli
    verdict: Verdict
    reason: str
    result: GateResult
    stage: int
    confirmation: GateResult | None
    baseline: float | None
    candidate: float | None
    trials: int


@dataclass(frozen=True)
class Stage:
    """What was found by the end of a round so far: by SLI, the deciding look and its stage."""

    results: Mapping[str, tuple[GateResult, int]]

    def of(self, verdict: Verdict) -> list[str]:
        """Return the SLIs with this verdict."""
        return [name for name, (result, _) in self.results.items() if result.verdict is verdict]

    @property
    def is_over(self) -> bool:
        """Whether another stage could change nothing that counts: one SLI's fail fails the gate."""
        left = self.of(Verdict.INCONCLUSIVE)
        return not left or bool(self.of(Verdict.FAIL) or self.of(Verdict.INVALID))


def measure(
    directory: RunDirectory, slos: Sequence[SLO], scenario: Scenario, window_s: tuple[float, float]
) -> Measured:
    """Return what a trial's record says of the requests due in a window."""
    return measure_trial(read_requests(directory.requests), slos, scenario.timeouts, window_s)


def stored_trials(stored: Baseline) -> list[Trial]:
    """Return a stored baseline's trials, as if they had been run first; only numbers are known."""
    found = []
    for trace in sorted({trace for own in stored.trials.values() for trace in own}):
        columns = {sli: own[trace] for sli, own in stored.trials.items() if trace in own}
        for number in range(max(map(len, columns.values()))):
            numbers = {sli: own[number] for sli, own in columns.items() if number < len(own)}
            entry = TrialEntry(
                name="",
                round=1,
                stage=1,
                side="baseline",
                trace=trace,
                attempt=1,
                start_s=0.0,
                length_s=0.0,
                problems=[],
            )
            found.append(Trial(entry, Measured(numbers, stored.requests)))
    return found


def side_of(trials: Sequence[Trial], side: str, sli: str, stage: int) -> dict[str, list[float]]:
    """Return a side's numbers of the first `stage` stages, by trace; NaN: a trial has none."""
    found: dict[str, list[float]] = {}
    for one in sorted(trials, key=lambda one: one.entry.stage):
        if one.entry.side == side and one.entry.stage <= stage:
            found.setdefault(one.entry.trace, []).append(one.measured.numbers.get(sli, math.nan))
    return found


def look_back(  # noqa: PLR0913  # what a round is made of
    trials: Sequence[Trial],
    slis: Sequence[Sli],
    look: Look,
    *,
    upto: int,
    stages: int,
    history: Mapping[str, Numbers],
) -> Stage:
    """Take every look of one round again; what a look decided is not looked at again.

    Args:
        trials: the valid ones of the round.
        slis: what is compared.
        look: as `looks.look_at`.
        upto: the last stage that is complete.
        stages: how many there may be.
        history: by SLI; may lack some.
    """
    found: dict[str, tuple[GateResult, int]] = {}
    for stage in range(1, upto + 1):
        for sli in slis:
            if sli.name in found and found[sli.name][0].verdict is not Verdict.INCONCLUSIVE:
                continue
            sides = [side_of(trials, side, sli.name, stage) for side in ("baseline", "candidate")]
            past = history.get(sli.name)
            result = look(
                sli,
                *sides,
                stage=stage,
                stages=stages,
                requests=fewest([one for one in trials if one.entry.stage <= stage]),
                history=past,
            )
            found[sli.name] = (result, stage)
        if Stage(found).is_over:
            break
    return Stage(found)


def unanswered(slis: Sequence[str], why: str) -> Stage:
    """Return what a repetition says for which there was no candidate: it would serve nobody.

    Args:
        slis: that it was to confirm.
        why: what was said instead of an answer.
    """
    reason = f"both sides were opened anew, and only the candidate was not there: {why}"
    result = GateResult(Verdict.FAIL, reason, None, None, None, None, 0)
    return Stage(dict.fromkeys(slis, (result, 1)))


def decide(
    first: Sequence[Trial],
    slis: Sequence[Sli],
    seen: Stage,
    again: Stage | None,
    *,
    confirm: bool,
) -> list[Decision]:
    """Return a decision an SLI, in the order of `slis`.

    Args:
        first: valid trials of the first round.
        slis: what is compared.
        seen: the first round's looks.
        again: the second round's, of the SLIs that failed, or `unanswered`; None: there was none.
        confirm: whether a fail needs the second round.
    """
    decisions = []
    for sli in slis:
        if sli.name not in seen.results:
            continue
        result, stage = seen.results[sli.name]
        old, new = (side_of(first, side, sli.name, stage) for side in ("baseline", "candidate"))
        decision = Decision(
            sli=sli,
            verdict=result.verdict,
            reason=result.reason,
            result=result,
            stage=stage,
            confirmation=None,
            baseline=mean(old),
            candidate=mean(new),
            trials=sum(map(len, new.values())),
        )
        if confirm and result.verdict is Verdict.FAIL:
            decision = _confirmed(decision, again)
        decisions.append(decision)
    return decisions


def _confirmed(decision: Decision, again: Stage | None) -> Decision:
    name = decision.sli.name
    second = {name: again.results[name][0]} if again and name in again.results else {}
    verdict = confirm_by({name: decision.result}, second)[name].verdict
    said = "Confirmed" if verdict is Verdict.FAIL else "Not confirmed"
    how = ": the repetition did not take place."
    if second:
        how = f" by a fresh repetition: {second[name].reason}"
    return replace(
        decision,
        verdict=verdict,
        reason=f"{decision.reason} {said}{how}",
        confirmation=second.get(name),
    )


def spoilt(entries: Collection[TrialEntry]) -> str:
    """Return why the trials as a whole prove nothing; "" when they may be judged."""
    for one in entries:
        if one.attempt == 2 and one.problems:
            where = f"the {one.side}'s trial of {one.trace} in stage {one.stage}"
            return f"{where} was invalid twice: {one.problems[0]}"
    repeated = sum(one.attempt == 2 for one in entries)
    share = repeated / max(1, len(entries) - repeated)
    if repeated > _LEAST_REPEATED and share > REPEATED_SHARE_MAX:
        return (
            f"{repeated} of {len(entries) - repeated} trials had to be repeated: more than"
            f" {REPEATED_SHARE_MAX:.0%}, and what is left is a selection"
        )
    return ""


def losses(entries: Collection[TrialEntry]) -> list[str]:
    """Return a note on what the candidate lost under the load; empty: nothing."""
    found = [one.lost for one in entries if one.lost]
    if not found:
        return []
    return [f"after {len(found)} of its trials the candidate was less than before: {found[0]}"]


def fewest(trials: Sequence[Trial]) -> int:
    """Return the requests of the trial with the fewest."""
    return min((one.measured.requests for one in trials), default=0)


def mean(side: Numbers) -> float | None:
    """Return the mean of what is known; None: nothing is."""
    values = [one for own in side.values() for one in own if math.isfinite(one)]
    return sum(values) / len(values) if values else None
