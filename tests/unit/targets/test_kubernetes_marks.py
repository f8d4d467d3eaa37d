"""Marks: a change and its undo are one patch, and an undo takes back nothing but its own."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faultload.errors import RefusedError
from faultload.targets import Mark
from faultload.targets.kubernetes.marks import UNDO, Field, Undo, changed, restored

REPLICAS = Field(("spec", "replicas"))
LABEL = Field(("metadata", "labels", "faultload.dev/partition"))
OURS, THEIRS = Mark("ours", 1000.0), Mark("theirs", 1000.0)

values = st.one_of(st.none(), st.integers(0, 9))


def merged(document: Any, patch: dict[str, Any]) -> Any:
    """Return a document after a JSON merge patch (RFC 7386); empty mappings go, as in the API."""
    result = dict(document or {})
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            inner = merged(result.get(key), value)
            result.pop(key, None)
            if inner:
                result[key] = inner
        else:
            result[key] = value
    return result


def workload(replicas: int | None) -> dict[str, Any]:
    """Return an object with a number of replicas."""
    spec = {} if replicas is None else {"replicas": replicas}
    return {"metadata": {"name": "engine"}, "spec": {"paused": False} | spec}


def undone(seen: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Return an object after its own undo, and what is said of it."""
    undo = Undo.of(seen)
    assert undo is not None
    patch, said = restored(seen, REPLICAS, undo, undo.was)
    return merged(seen, patch), said


@given(was=values, now=st.integers(0, 9))
def test_a_change_and_its_undo_leave_what_was(was: int | None, now: int) -> None:
    """Set or not set before: the same object afterwards, without a trace."""
    before = workload(was)
    patch = changed(before, REPLICAS, now, OURS, 0.0)
    assert patch is not None
    seen = merged(before, patch)
    assert seen["spec"]["replicas"] == now
    assert changed(seen, REPLICAS, now, OURS, 0.0) is None
    assert undone(seen) == (before, "")


@given(was=values, now=st.integers(0, 9), meanwhile=values)
def test_what_somebody_else_set_meanwhile_stays(
    was: int | None, now: int, meanwhile: int | None
) -> None:
    """Only the mark goes, unless the value is the one that we gave it."""
    seen = merged(workload(was), changed(workload(was), REPLICAS, now, OURS, 0.0) or {})
    seen = merged(seen, REPLICAS.patch(seen, meanwhile))
    after, said = undone(seen)
    assert UNDO not in after["metadata"].get("annotations", {})
    if meanwhile != now:
        assert REPLICAS.read(after) == meanwhile
        assert f"no longer {now} as ours made it" in said


def test_a_mark_of_others_refuses_until_it_expires() -> None:
    """Then its undo is ours: the object goes back to what it was before both."""
    seen = merged(workload(2), changed(workload(2), REPLICAS, 3, THEIRS, 0.0) or {})
    with pytest.raises(RefusedError, match=r"theirs of faultload@.* 1970-01-01 00:16:40Z"):
        changed(seen, REPLICAS, 4, OURS, 999.0)
    seen = merged(seen, changed(seen, REPLICAS, 4, OURS, 1000.0) or {})
    assert undone(seen) == (workload(2), "")


def test_an_expired_mark_on_a_value_that_moved_on_hands_nothing_over() -> None:
    """What somebody chose after the expired change is what there was before ours."""
    seen = merged(workload(2), changed(workload(2), REPLICAS, 3, THEIRS, 0.0) or {})
    seen = merged(seen, REPLICAS.patch(seen, 5))
    seen = merged(seen, changed(seen, REPLICAS, 4, OURS, 1000.0) or {})
    assert undone(seen)[0] == workload(5)


def test_a_label_and_its_mark_are_one_patch() -> None:
    """Both lie in the metadata, and neither patch overwrites the other."""
    pod = {"metadata": {"name": "engine-0", "labels": {"app": "engine"}}}
    patch = changed(pod, LABEL, "ours", OURS, 0.0)
    assert patch is not None
    assert set(patch["metadata"]) == {"labels", "annotations"}
    seen = merged(pod, patch)
    undo = Undo.of(seen)
    assert undo is not None
    assert merged(seen, restored(seen, LABEL, undo, undo.was)[0]) == pod


@pytest.mark.parametrize("text", ["", "by hand", "[]", "{}", '{"token": 1}', "null"])
def test_an_annotation_that_is_not_ours_is_refused(text: str) -> None:
    """Nothing is guessed from it, and nothing is overwritten."""
    seen = workload(2)
    seen["metadata"]["annotations"] = {UNDO: text}
    with pytest.raises(RefusedError, match="engine: the annotation faultload.dev/undo is none"):
        changed(seen, REPLICAS, 3, OURS, 0.0)


def test_a_time_in_quotes_is_a_time() -> None:
    """Whoever wrote it by hand keeps nobody from undoing the rest."""
    seen = workload(2)
    document = {"token": "t", "was": 1, "now": 2, "expires_unix_s": "1000", "by": "somebody"}
    seen["metadata"]["annotations"] = {UNDO: json.dumps(document)}
    undo = Undo.of(seen)
    assert undo is not None
    assert undo.expires_unix_s == 1000.0


def test_a_mark_says_what_a_person_needs() -> None:
    """Token, field, before, now, expiry and who, as JSON in one annotation."""
    patch = changed(workload(2), REPLICAS, 3, OURS, 0.0) or {}
    document = json.loads(patch["metadata"]["annotations"][UNDO])
    assert set(document) == {"token", "was", "now", "expires_unix_s", "by", "field"}
