"""Guards: what refuses a run before anything is touched, and that nothing else satisfies them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from memory import Platform, replica

from faultload.errors import RefusedError, UsageError
from faultload.faults.danger import DANGER, Danger
from faultload.faults.load_add import AddLoad
from faultload.faults.node_lose import LoseNode
from faultload.run import flow
from faultload.run.consent import UNSAID, Consent
from faultload.run.guards import admit, ask_guards
from faultload.run.harm import dangers_of
from faultload.run.plan import RunPlan, prepare
from faultload.run.progress import Silent
from faultload.spec import Catalogue
from faultload.spec.guards import Freeze

ROOT = Path(__file__).parents[3]
MONDAY = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
WEEKEND = Freeze(weekly="Fri 16:00 - Mon 08:00", time_zone="Europe/Berlin", why="nobody is there")


@pytest.fixture
def plan(tmp_path: Path) -> RunPlan:
    """Return the plan of replica-loss on the local target."""
    return prepare(Catalogue(ROOT), "engine/replica-loss", "local", reports=tmp_path)


def on(plan: RunPlan, consent: Consent = UNSAID, **target: Any) -> RunPlan:
    """Return the plan on a target that says more."""
    changed = plan.target.model_copy(update=target)
    return replace(plan, target=changed, consent=consent)


def test_a_target_that_says_nothing_refuses_nothing(plan: RunPlan) -> None:
    """Local files need no new key, and every fault there is may act."""
    assert plan.target.danger_allowed == max(DANGER.values()) == 4
    admit(plan, MONDAY)
    assert all(answer.passed for answer in ask_guards(plan, MONDAY))


def test_frozen_says_until_when_and_why(plan: RunPlan) -> None:
    """In the zone of the window, with the file and the entry that says so."""
    frozen = on(plan, freeze=[WEEKEND])
    with pytest.raises(RefusedError) as caught:
        admit(frozen, datetime(2026, 11, 21, 12, 0, tzinfo=UTC))
    text = str(caught.value)
    assert "frozen now, until Mon 2026-11-23 08:00 CET: nobody is there" in text
    assert "local.yaml: freeze[0]" in text
    admit(frozen, datetime(2026, 11, 23, 7, 0, tzinfo=UTC))


def test_run_that_would_still_last_when_a_freeze_begins_is_refused(plan: RunPlan) -> None:
    """By the longest it may take, its faults' own steps included."""
    frozen, begins = on(plan, freeze=[WEEKEND]), datetime(2026, 11, 27, 15, 0, tzinfo=UTC)
    length = timedelta(seconds=plan.length_s + plan.steps_s_max)

    with pytest.raises(RefusedError, match="frozen from Fri 2026-11-27 16:00 CET, and the run may"):
        admit(frozen, begins - length)
    admit(frozen, begins - length - timedelta(seconds=1))


@pytest.mark.parametrize(
    ("consent", "said"),
    [
        (Consent(), "say --confirm local, or --game-day ID"),
        (Consent(confirmed="Local"), "'Local' was confirmed, and the target is 'local'"),
        (Consent(confirmed="staging"), "'staging' was confirmed"),
        (Consent(confirmed="staging", game_day="GD-7"), "'staging' was confirmed"),
    ],
)
def test_production_wants_somebody_s_word_for_this_target(
    plan: RunPlan, consent: Consent, said: str
) -> None:
    """Another name was another target: it is refused whatever else was said."""
    with pytest.raises(RefusedError, match=said):
        admit(on(plan, consent, production=True, danger_max=4), MONDAY)


@pytest.mark.parametrize("consent", [Consent("local"), Consent("", "GD-7"), Consent("local", "7")])
def test_production_is_content_with_its_name_or_a_game_day(plan: RunPlan, consent: Consent) -> None:
    """One of both is enough."""
    admit(on(plan, consent, production=True, danger_max=4), MONDAY)


def test_another_target_s_name_is_refused_where_none_was_asked_for(plan: RunPlan) -> None:
    """Whoever typed it meant another target than this one."""
    with pytest.raises(RefusedError, match="'prod' was confirmed, and the target is 'local'"):
        admit(on(plan, Consent("prod")), MONDAY)


def test_what_is_more_dangerous_than_the_target_allows_is_refused(plan: RunPlan) -> None:
    """It names the fault, its level and the key."""
    with pytest.raises(RefusedError) as caught:
        admit(on(plan, danger_max=2), MONDAY)
    assert "kill_replica is of danger 3 of 4" in str(caught.value)
    assert "local.yaml: danger_max is 2:" in str(caught.value)
    admit(on(plan, danger_max=3), MONDAY)


def test_production_allows_what_degrades_unless_it_says_more(plan: RunPlan) -> None:
    """Two of four is the default there, and a file may set it."""
    said = Consent("local")
    with pytest.raises(RefusedError, match=r"danger_max is 2 \(the default in production\)"):
        admit(on(plan, said, production=True), MONDAY)
    admit(on(plan, said, production=True, danger_max=3), MONDAY)


def test_every_level_is_held_against_every_limit(plan: RunPlan) -> None:
    """A fault passes exactly where its danger is not over the target's."""
    (_, intent), *_ = plan.faults
    named = {AddLoad.name: Danger.DEGRADES, LoseNode.name: Danger.TAKES_MORE}
    for fault, danger in named.items():
        for limit in range(1, 5):
            tried = on(replace(plan, faults=[(fault, intent)]), danger_max=limit)
            assert dangers_of(tried) == [(fault, danger)]
            assert ask_guards(tried, MONDAY)[0].passed is (danger <= limit)


def test_guards_answer_all_at_once_and_the_cheapest_counts(plan: RunPlan) -> None:
    """For a dry run all of them; for a refusal the first."""
    bad = on(plan, production=True, danger_max=1, freeze=[WEEKEND])
    saturday = datetime(2026, 11, 21, tzinfo=UTC)

    answers = ask_guards(bad, saturday)

    assert [(one.guard, one.passed) for one in answers] == [
        ("danger", False),
        ("freeze", False),
        ("production", False),
    ]
    with pytest.raises(RefusedError, match="danger_max is 1"):
        admit(bad, saturday)


@pytest.mark.parametrize(
    "target",
    [
        {"production": True, "danger_max": 4},
        {"danger_max": 1},
        {
            "freeze": [
                Freeze.model_validate(
                    {"from": "2000-01-01T00:00Z", "until": "2100-01-01T00:00Z", "why": "always"}
                )
            ]
        },
    ],
)
def test_flow_refuses_before_the_target_is_asked_anything(
    plan: RunPlan, target: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However a run was begun: no lock, no record, no question."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    platform = Platform(replica("a"), replica("b"))
    del platform.capabilities  # whoever asks finds nothing

    with pytest.raises(RefusedError):
        flow.run_experiment(on(plan, **target), platform, Silent())  # type: ignore[arg-type]

    assert platform.acts == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("confirmed", "game_day"), [("", None), (" ", None), (None, ""), (None, "a b"), (None, "-x")]
)
def test_word_that_says_nothing_is_a_usage_error(
    confirmed: str | None, game_day: str | None
) -> None:
    """An empty variable in a pipeline is no game day."""
    with pytest.raises(UsageError):
        Consent.of(confirmed, game_day)


def test_what_was_said_is_kept_and_not_repeated(plan: RunPlan) -> None:
    """The manifest has it; the command that repeats the run does not: it is said anew."""
    assert Consent.of("prod", "GD-2026-11").as_json() == {
        "confirmed": "prod",
        "game_day": "GD-2026-11",
    }
    assert UNSAID.as_json() == {}
    assert "confirm" not in plan.repeat
