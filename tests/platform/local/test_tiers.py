"""Revisions, rollbacks, and when a rollout is called stalled."""

import pytest

from inference_platform.local.errors import OrderError
from inference_platform.local.settings import Tier
from inference_platform.local.tiers import TierState


def tier() -> TierState:
    """A tier of two."""
    return TierState("fast", Tier(model="chat-fast", replicas=2))


def stalled(state: TierState, updated: int, waited_s: float) -> list[str]:
    """Look at a rollout that last came forward some time ago; return the events."""
    reasons: list[str] = []
    state.moved_unix -= waited_s
    state.look(updated, lambda reason, _obj, _text: reasons.append(reason), deadline_s=60)
    return reasons


def test_a_rollback_goes_to_what_was_used_before() -> None:
    """As `kubectl rollout undo`: twice is there and back again."""
    state = tier()
    state.release({"max_num_seqs": 8}, pullable=True)
    state.release({}, pullable=False)

    assert [state.roll_back(None).name for _ in range(3)] == ["r2", "r3", "r2"]
    assert state.roll_back("r1").engine.max_num_seqs == 32
    assert [r.name for r in state.revisions] == ["r3", "r2", "r1"]


def test_a_release_keeps_what_it_does_not_name() -> None:
    """Only the named keys change, from what is current."""
    state = tier()
    state.release({"max_num_seqs": 8}, pullable=True)
    revision = state.release({"slow_factor": 2}, pullable=True)

    assert (revision.engine.max_num_seqs, revision.engine.slow_factor) == (8, 2)


def test_an_annotation_stays_with_its_revision() -> None:
    """Whoever released it finds it again; a rollback brings that of the revision before."""
    state = tier()
    state.release({}, pullable=True, annotation="ours")

    assert state.revision.annotation == "ours"
    assert state.roll_back(None).annotation == ""
    assert state.roll_back(None).annotation == "ours"


def test_a_release_that_no_engine_can_have_changes_nothing() -> None:
    """The key is named, and the revision stays."""
    state = tier()
    with pytest.raises(OrderError, match="engine.max_num_seqs"):
        state.release({"max_num_seqs": 0}, pullable=True)

    assert state.revision.name == "r1"


def test_a_rollout_without_progress_is_stalled_once() -> None:
    """One event, and progress ends it."""
    state = tier()
    assert stalled(state, updated=0, waited_s=61) == ["ProgressDeadlineExceeded"]
    assert state.stalled
    assert stalled(state, updated=0, waited_s=61) == []
    assert stalled(state, updated=1, waited_s=0) == []
    assert not state.stalled


def test_a_rollout_that_was_complete_does_not_stall_later() -> None:
    """Replicas that are lost after it are no rollout's affair."""
    state = tier()
    assert stalled(state, updated=2, waited_s=0) == []
    assert stalled(state, updated=0, waited_s=3600) == []
    state.release({}, pullable=True)
    assert stalled(state, updated=0, waited_s=61) == ["ProgressDeadlineExceeded"]
