"""What may refuse a run before anything is touched; the cheapest is asked first.

These need the plan and the time alone, so they are asked before the target is even opened. What
the target itself says (opt-in, lock, rights, blast radius) and the programs that may veto
(`run.preflight`) come after them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from faultload.errors import RefusedError
from faultload.run.harm import dangers_of
from faultload.run.plan import RunPlan


@dataclass(frozen=True)
class Answer:
    """What one guard says.

    Attributes:
        guard: `danger`, `freeze` or `production`.
        passed: whether the run may begin.
        text: why, in a line.
    """

    guard: str
    passed: bool
    text: str


def admit(plan: RunPlan, now: datetime) -> None:
    """See that a run may begin now; `now` is aware.

    Raises:
        RefusedError: it may not; says what the first guard against it says.
    """
    for answer in ask_guards(plan, now):
        if not answer.passed:
            raise RefusedError(answer.text)


def ask_guards(plan: RunPlan, now: datetime) -> list[Answer]:
    """Return what every guard says of a run that begins now; `now` is aware."""
    return [_danger(plan), _freeze(plan, now), _production(plan)]


def _danger(plan: RunPlan) -> Answer:
    allowed = plan.target.danger_allowed
    for fault, danger in dangers_of(plan):
        if danger > allowed:
            is_default = plan.target.danger_max is None
            whence = " (the default in production)" if is_default else ""
            return Answer(
                "danger",
                passed=False,
                text=f"{plan.experiment.name}: {fault} is of danger {danger:d} of 4, and"
                f" {plan.target_path}: danger_max is {allowed}{whence}: choose what does less harm,"
                " or raise it",
            )
    return Answer("danger", passed=True, text=f"nothing is over danger_max {allowed}")


def _freeze(plan: RunPlan, now: datetime) -> Answer:
    end = now + timedelta(seconds=plan.length_s + plan.steps_s_max)
    for number, freeze in enumerate(plan.target.freeze):
        window = freeze.window(now, end)
        if window is None:
            continue
        first, last = window
        is_on = first.timestamp() <= now.timestamp()
        when = "" if is_on else f"from {_words(first)}, and the run may last until {_words(end)},"
        return Answer(
            "freeze",
            passed=False,
            text=f"target {plan.target.name!r} is frozen {when or 'now,'} until {_words(last)}:"
            f" {freeze.why} ({plan.target_path}: freeze[{number}])",
        )
    return Answer("freeze", passed=True, text=f"none until {_words(end)}")


def _production(plan: RunPlan) -> Answer:
    name, consent = plan.target.name, plan.consent
    if consent.confirmed and consent.confirmed != name:
        said = f"{consent.confirmed!r} was confirmed, and the target is {name!r}: nothing is done"
        return Answer("production", passed=False, text=said)
    if not plan.target.production:
        return Answer("production", passed=True, text="it is none")
    if consent.game_day:
        return Answer("production", passed=True, text=f"game day {consent.game_day}")
    if consent.confirmed:
        return Answer("production", passed=True, text="confirmed by name")
    return Answer(
        "production",
        passed=False,
        text=f"target {name!r} is production: say --confirm {name}, or --game-day ID (with pytest"
        " --chaos-confirm and --chaos-game-day), on the command line",
    )


def _words(moment: datetime) -> str:
    return moment.strftime("%a %Y-%m-%d %H:%M %Z")
