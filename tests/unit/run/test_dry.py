"""A dry run: everything a run would ask before it touches anything, and nothing else."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from memory import Platform, replica
from pydantic import BaseModel

from faultload.errors import ExitCode
from faultload.faults.component_scale import Size
from faultload.faults.limits import Limits, Radius
from faultload.faults.node_drain import Drain
from faultload.faults.victims import Choice
from faultload.judge.cost import count_tokens, work_out
from faultload.record import REQUEST_SCHEMA, Phase, PhaseName
from faultload.record.fleet import Fleet, Machine
from faultload.run.consent import Consent
from faultload.run.dry import dry_run
from faultload.run.plan import RunPlan, prepare
from faultload.spec import Catalogue
from faultload.spec.guards import Preflight

ROOT = Path(__file__).parents[3]
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
NEITHER = (False, False)
"""Neither launched nor ended in the run."""


@pytest.fixture
def plan(tmp_path: Path) -> RunPlan:
    """Return the plan of replica-loss on the local target."""
    return prepare(Catalogue(ROOT), "engine/replica-loss", "local", reports=tmp_path)


@pytest.fixture
def platform() -> Platform:
    """Return two replicas on two nodes, the second the busier one."""
    return Platform(replica("a"), replica("b", inflight=3, node="node-b"))


def test_it_shows_what_a_run_would_do_and_touches_nothing(
    plan: RunPlan, platform: Platform, tmp_path: Path
) -> None:
    """Target, victims, undo, limits, phases and requests; no lock, no record, no act."""
    wide = replace(plan.limits, share_max=1.0, radius={"engine": Radius(2)})
    plan = replace(plan, limits=wide, faults=[*plan.faults, ("drain_node", Drain())])

    found = dry_run(plan, platform, NOW)

    assert found.exit_code == ExitCode.PASS
    assert found.target == {"name": "memory", "kind": "memory", "fingerprint": "0" * 16}
    assert [(one.fault, one.hits) for one in found.faults] == [
        ("kill_replica", "b"),
        ("drain_node", "b"),
    ]
    assert found.faults[1].undo["uncordon"][0]["name"] == "node-b"
    assert found.phases == {"warmup": 5, "baseline": 15, "hold": 36, "recovery": 13}
    assert found.requests == pytest.approx(24 * 69, rel=0.1)
    assert found.steps_s_max == 300
    text = "\n".join(found.lines())
    for words in (
        "victim      component engine, name b",
        "nothing to take back",
        "1.1 minutes",
        "at most 100% of a component's ready replicas",
        "redis may be hit whole",
        "at most 2 engine, 100% of those ready",
    ):
        assert words in text
    assert platform.acts == []
    assert list(tmp_path.iterdir()) == []
    json.dumps(asdict(found), allow_nan=False)


def test_what_the_faults_hit_together_is_held_against_the_limits(
    plan: RunPlan, platform: Platform
) -> None:
    """Each alone would be allowed: a machine's replica, and the one that is left."""
    faults = [("drain_node", Drain()), ("scale_to", Size(1))]

    found = dry_run(replace(plan, faults=faults), platform, NOW)

    assert found.exit_code == ExitCode.REFUSED
    assert found.faults[0].problem == ""
    assert "hitting 2 of 2 ready engine replicas by several faults" in found.faults[1].problem


def test_whom_a_platform_would_choose_is_said(plan: RunPlan, platform: Platform) -> None:
    """A fault without victims of its own says how many would go."""
    platform = Platform(replica("a"), replica("b"), replica("c"))
    plan = replace(plan, faults=[("scale_to", Size(2))])

    text = "\n".join(dry_run(plan, platform, NOW).lines())

    assert "would hit   1 of 3 ready replicas of tier fast, chosen by the platform" in text


def test_all_that_is_wrong_is_shown_at_once(plan: RunPlan, platform: Platform) -> None:
    """A fault that cannot be planned hides no other; the first problem's code counts."""
    platform.lacking = ["create pods/eviction in namespace inference"]
    tight = replace(plan.limits, healthy_min={"engine": 2})
    faults = [("kill_replica", Choice()), ("kill_replica", Choice(tier="no-such"))]

    found = dry_run(replace(plan, limits=tight, faults=faults), platform, NOW)

    assert found.missing_rights == platform.lacking
    assert found.exit_code == ExitCode.MISSING
    rights, refused, nobody = found.problems
    assert "not allowed to: create pods/eviction" in rights
    assert "healthy_min wants 2" in refused
    assert "of tier 'no-such'" in nobody
    assert "  rights        create pods/eviction in namespace inference" in found.lines()
    assert "cannot      " in "\n".join(found.lines())


@pytest.mark.parametrize(
    ("limits", "faults", "code"),
    [
        (Limits(share_max=0.2), [("kill_replica", Choice())], ExitCode.REFUSED),
        (Limits(), [("kill_replica", Choice(replicas=3))], ExitCode.INVALID),
        (Limits(), [], ExitCode.INVALID),
    ],
)
def test_problem_has_the_code_a_run_would_end_with(
    plan: RunPlan,
    platform: Platform,
    limits: Limits,
    faults: list[tuple[str, Choice]],
    code: ExitCode,
) -> None:
    """A script may ask before a run what the run would say."""
    found = dry_run(replace(plan, limits=limits, faults=faults), platform, NOW)

    assert found.exit_code == code
    assert any(line.startswith("  WOULD FAIL    ") for line in found.lines())


def test_what_an_earlier_run_left_and_a_full_disk_are_said(
    plan: RunPlan, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run would be refused for it, so a look at one that ends with 0 would be no look."""
    platform.left = ["node-a is cordoned by run-1"]
    monkeypatch.setattr("faultload.run.room.TO_BEGIN_BYTES", 2**62)

    seen = dry_run(plan, platform, NOW)

    assert any("node-a is cordoned by run-1" in one for one in seen.problems)
    assert any("to begin a run: make room" in one for one in seen.problems)
    assert seen.exit_code != ExitCode.PASS


def test_target_that_cannot_do_it_is_not_asked_to(plan: RunPlan, platform: Platform) -> None:
    """A missing capability would be a skip; its fault is not planned on such a target."""
    platform.capabilities = frozenset()

    found = dry_run(plan, platform, NOW)

    assert found.exit_code == ExitCode.MISSING
    assert found.problems == ["target 'local' lacks kill-replica"]
    assert found.faults[0].problem == "the target lacks kill-replica"


def test_money_is_the_price_of_the_nodes_for_as_long_as_it_lasts(
    plan: RunPlan, platform: Platform
) -> None:
    """GPU-dollars of the phases, and of the longest it may take; a price not known is not 0."""
    unknown = dry_run(plan, platform, NOW)
    assert (unknown.usd_per_h, unknown.usd, unknown.usd_max) == (None, None, None)
    assert "  GPU-dollars   not known: " in "\n".join(unknown.lines())

    platform.price_usd_per_h = 36.0
    found = dry_run(plan, platform, NOW)
    assert found.usd == pytest.approx(69 / 100)
    assert found.usd_max == pytest.approx((69 + 180) / 100)
    assert "  GPU-dollars   0.69, at most 2.49 (36.00 an hour)" in found.lines()
    assert "  at most       4.2 minutes" in found.lines()


def test_money_is_what_the_bill_of_such_a_run_says(plan: RunPlan, platform: Platform) -> None:
    """Planned and paid are the same arithmetic, for machines that neither come nor go."""
    platform.price_usd_per_h = 6.5016
    edges = np.arange(0.0, plan.length_s + 1)
    nothing = np.zeros(len(edges) - 1)
    there = ("", "", "us-east-1a", 4)
    machines = [
        Machine(name, "", *there, usd, 0.0, plan.length_s, *NEITHER, 0.0, nothing, nothing)
        for name, usd in (("node-a", 4.6016), ("node-b", 1.9))
    ]
    phases = [Phase(name=PhaseName.BASELINE, start_s=0.0, end_s=plan.length_s)]
    tokens = count_tokens(pd.DataFrame(columns=REQUEST_SCHEMA.names), [])
    paid = work_out(Fleet(edges, machines), phases, tokens, None)

    assert dry_run(plan, platform, NOW).usd == pytest.approx(paid.usd)


def test_every_call_is_said_by_step(plan: RunPlan, platform: Platform) -> None:
    """What the target says of the capability, and of every run."""
    found = dry_run(plan, platform, NOW)

    assert found.faults[0].calls == platform.calls("kill-replica")
    text = "\n".join(found.lines())
    for line in (
        "    calls       inject: do kill-replica",
        "    calls       verify: look",
        "    calls       revert: undo kill-replica",
        "  every run     verify: look",
    ):
        assert line in text


def test_guards_answer_and_programs_are_not_asked(
    plan: RunPlan, platform: Platform, tmp_path: Path
) -> None:
    """What a run would be refused for is refused here, with the same code; nothing is started."""
    touched = tmp_path / "touched"
    target = plan.target.model_copy(
        update={
            "production": True,
            "danger_max": 4,
            "preflight": [Preflight(name="on-call", command=["touch", str(touched)])],
        }
    )

    found = dry_run(replace(plan, target=target), platform, NOW)

    assert found.exit_code == ExitCode.REFUSED
    assert [(one.guard, one.passed) for one in found.guards] == [
        ("danger", True),
        ("freeze", True),
        ("production", False),
    ]
    assert f"  would ask     preflight on-call: touch {touched}" in found.lines()
    assert any(line.startswith("  WOULD FAIL    target 'local' is") for line in found.lines())
    assert not touched.exists()
    confirmed = replace(plan, target=target, consent=Consent("local"))
    assert dry_run(confirmed, platform, NOW).exit_code == ExitCode.PASS


def test_stop_conditions_are_shown(plan: RunPlan, platform: Platform) -> None:
    """What would end the run early, as the files say it."""

    class Stop(BaseModel):
        usd_max: float | None = None
        tokens_max: int | None = None

    object.__setattr__(plan, "stop", [Stop(usd_max=3.5)])

    found = dry_run(plan, platform, NOW)

    assert found.stop == [{"usd_max": 3.5}]
    assert "  stops at      usd_max 3.5" in found.lines()


def test_requests_of_a_closed_loop_are_not_made_up(plan: RunPlan, platform: Platform) -> None:
    """Its users ask when they are answered: nobody knows beforehand how often that is."""
    closed = {"kind": "closed", "steps": [{"for_s": 10, "users": 3}], "think_s": 1}
    data = plan.scenario.model_dump() | {"arrivals": closed}
    users = replace(plan, scenario=type(plan.scenario).model_validate(data))

    found = dry_run(users, platform, NOW)

    assert found.requests is None
    assert "  requests      as many as its users manage" in found.lines()
