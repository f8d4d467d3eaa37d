"""A run that a pre-flight program vetoes: refused, recorded, and nothing touched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from memory import Platform, replica

from faultload.errors import ExitCode, RefusedError
from faultload.record import Outcome
from faultload.run.consent import Consent
from faultload.run.events import read_events
from faultload.run.flow import RunResult, run_experiment
from faultload.run.plan import prepare
from faultload.run.progress import Silent
from faultload.run.state import left_behind
from faultload.spec import Catalogue
from faultload.spec.guards import Preflight

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def platform() -> Platform:
    """Return two replicas."""
    return Platform(replica("a"), replica("b"))


@pytest.fixture(scope="module")
def result(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """Return what came of a run on production that whoever is on call did not want."""
    folder = tmp_path_factory.mktemp("veto")
    plan = prepare(Catalogue(ROOT), "engine/replica-loss", "local", reports=folder / "reports")
    hooks = [
        Preflight(name="freeze", command=["echo", "no freeze"]),
        Preflight(name="on-call", command=["sh", "-c", "echo nobody has acked; exit 3"]),
    ]
    keys = {"production": True, "danger_max": 4, "preflight": hooks}
    target = plan.target.model_copy(update=keys)
    plan = replace(plan, target=target, consent=Consent("local", "GD-7"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        done = run_experiment(plan, platform, Silent())  # type: ignore[arg-type]
        assert list(left_behind()) == []
    return done


def test_veto_is_a_refusal_before_load_and_harm(result: RunResult, platform: Platform) -> None:
    """75 with the program's own words; the lock was all that was taken, and it is given back."""
    assert isinstance(result.error, RefusedError)
    assert "preflight 'on-call' vetoed with 3: nobody has acked" in str(result.error)
    assert result.exit_code == ExitCode.REFUSED
    assert [act for act, _ in platform.acts] == ["lock"]
    assert not (result.directory.record / "trace.parquet").exists()


def test_record_has_every_program_that_was_asked_and_who_agreed(result: RunResult) -> None:
    """In order, those that agreed too, with their last words and how long they took."""
    events = read_events(result.directory.events)
    asked = [event for event in events if event["kind"] == "preflight"]
    assert [event["text"] for event in asked] == [
        "preflight freeze: goes ahead: no freeze",
        "preflight on-call: vetoed with 3: nobody has acked",
    ]
    assert [event["data"]["exit_code"] for event in asked] == [0, 3]
    assert all(event["data"]["took_s"] >= 0 for event in asked)
    manifest = result.directory.manifest()
    assert manifest.outcome is Outcome.STOPPED
    assert "nobody has acked" in manifest.reason
    assert manifest.consent == {"confirmed": "local", "game_day": "GD-7"}
