"""What users and operators see when a dependency is gone: Redis, Prometheus, the model store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from live import Live, is_whole, live
from projects import wait_for

from faultload.errors import FaultError
from faultload.faults import FaultSession
from faultload.faults.component_outage import Absence, Outage
from faultload.faults.network_slow import Slowdown, SlowNetwork
from faultload.faults.replica_delete import DeleteReplica, Deletion
from faultload.record import InjectionJournal
from faultload.targets import LocalTarget, Mark

pytestmark = pytest.mark.local

UNAVAILABLE = 'inference_router_affinity_total{result="unavailable"}'
HITS = 'inference_router_affinity_total{result="hit"}'
WAITING = 'kube_pod_init_container_status_waiting_reason{reason="CrashLoopBackOff"}'


def undo(session: FaultSession, platform: LocalTarget) -> list[str]:
    """Undo what is in force, from the journal alone, newest first; say what was proven."""
    outcomes = FaultSession(platform, InjectionJournal(session.journal.path)).revert_all()
    assert session.revert_all() == []
    return [str(outcome["text"]) for outcome in outcomes]


def test_without_redis_affinity_is_all_that_is_lost(session: FaultSession, watched: Live) -> None:
    """The router says that it could not ask, and every request is served; then it hits again."""
    before = watched.query(UNAVAILABLE) or 0.0
    began_s = watched.now_s()
    done = session.apply(Outage(watched.target, Absence("redis")))

    watched.wait_for_query(UNAVAILABLE, lambda count: count > before)
    watched.wait_for_rows(lambda rows: len(rows) >= 20, "twenty requests", began_s)
    assert done["text"] == "nothing of redis is ready, connections are refused"
    assert (watched.rows(began_s)["status"] == "ok").all()

    assert "1 ready after" in undo(session, watched.target)[0]
    hits = watched.query(HITS) or 0.0
    watched.wait_for_query(HITS, lambda count: count > hits)


def test_without_prometheus_nothing_answers_and_its_series_have_a_hole(
    session: FaultSession, watched: Live
) -> None:
    """Users are served, nobody is scraped; afterwards the scrapes of that time are missing."""
    began_s = watched.now_s()
    session.apply(Outage(watched.target, Absence("prometheus")))
    watched.wait_for_rows(lambda rows: len(rows) >= 20, "twenty requests", began_s)
    assert (watched.rows(began_s)["status"] == "ok").all()
    assert watched.query("up") is None

    assert "1 ready after" in undo(session, watched.target)[0]
    width_s = round(watched.now_s() - began_s)
    assert width_s >= 2
    watched.wait_for_query('up{job="router"}', lambda up: up == 1)
    scrapes = watched.query(f'count_over_time(up{{job="router"}}[{width_s}s])')
    assert scrapes is None or scrapes < width_s
    assert watched.query(f'up{{job="router"}} offset {width_s + 1}s') == 1  # from before it


def test_part_is_one_or_none(platform: LocalTarget) -> None:
    """There is no second Redis to be had; one that is wanted already is not started twice."""
    (redis,) = platform.workloads("redis", None)
    (before,) = platform.replicas("redis")
    mark = Mark("a-token", 0.0)

    with pytest.raises(FaultError, match="has one redis or none, and not 2"):
        platform.set_scale(redis.name, redis.uid, 2, mark)
    platform.restore_scale(redis.name, redis.uid, "a-token", 1)

    assert list(platform.replicas("redis")) == [before]
    assert list(platform.workloads("etcd", None)) == []


@pytest.fixture(scope="module")
def with_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Start a platform whose replacements fetch their weights."""
    overrides = ("cold_start_s=5", "restart.backoff_s=1")
    with live(tmp_path_factory.mktemp("store"), overrides) as started:
        yield started


@pytest.mark.full
def test_without_model_store_nobody_is_replaced(session: FaultSession, with_store: Live) -> None:
    """A replacement waits for its weights as a pod does in a crash loop, until there are some."""
    target = with_store.target
    wait_for(lambda: is_whole(target), 30, "two ready replicas in each tier")
    began_s = with_store.now_s()
    session.apply(Outage(target, Absence("model-store")))
    session.apply(DeleteReplica(target, Deletion(tier="fast", grace_s=0.0)))

    with_store.wait_for_query(WAITING, lambda waiting: waiting >= 1)
    assert not is_whole(target)

    target.restore_scale("component/model-store", "model-store", "a-token", 1)
    undo(session, target)
    wait_for(lambda: is_whole(target), 60, "the replacement")
    with_store.wait_for_rows(lambda rows: len(rows) >= 20, "twenty requests", began_s)


@pytest.mark.full
def test_slow_model_store_makes_a_replacement_late(session: FaultSession, with_store: Live) -> None:
    """256 KiB at 30 kB/s take nine seconds; without, a replacement is ready in under five."""
    target = with_store.target
    wait_for(lambda: is_whole(target), 30, "two ready replicas in each tier")
    session.apply(SlowNetwork(target, Slowdown("model-store", bandwidth_bytes_per_s=30_000)))
    began_s = with_store.now_s()
    session.apply(DeleteReplica(target, Deletion(tier="fast", grace_s=0.0)))

    wait_for(lambda: is_whole(target), 60, "the replacement")
    slow_s = with_store.now_s() - began_s
    undo(session, target)
    began_s = with_store.now_s()
    session.apply(DeleteReplica(target, Deletion(tier="fast", grace_s=0.0)))
    wait_for(lambda: is_whole(target), 60, "the replacement")

    assert slow_s > with_store.now_s() - began_s + 6
    undo(session, target)
