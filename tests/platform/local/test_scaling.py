"""Autoscaling on a running platform: real load, real Prometheus, KEDA's and the HPA's rules."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

pytestmark = pytest.mark.local

METRICS_FILE = Path(__file__).parents[3] / "platform/observability/metrics.yaml"
ADDED_BY_SCRAPING = {"job", "instance"}
SERIES = [
    series
    for series in yaml.safe_load(METRICS_FILE.read_text())["series"]
    if series.get("only_while") == "autoscaling is on"
]


@pytest.fixture(scope="module")
def platform(local_of: Any) -> Iterator[Any]:
    """Two tiers of two, one with room for two requests at a time; a hundred times as fast."""
    yield from local_of(
        "time_scale=0.01",
        "autoscaling=true",
        "cold_start_s=10",
        "model_store.enabled=false",
        "readiness.period_s=0.1",
        "prometheus.scrape_interval_s=0.25",
        "tiers.fast.engine.max_num_seqs=2",
    )


@pytest.fixture
def crowd(platform: Any) -> Iterator[Callable[[], None]]:
    """Forty clients that ask for answers of 100 tokens until they are sent away."""
    leave = threading.Event()

    def ask() -> None:
        url = platform.document["router_url"] + "/v1/completions"
        body = {"model": "chat-fast", "prompt": "hello", "max_tokens": 100, "ignore_eos": True}
        with requests.Session() as session:
            session.trust_env = False
            while not leave.is_set():
                session.post(url, json=body, timeout=60)

    clients = [threading.Thread(target=ask) for _ in range(40)]
    for client in clients:
        client.start()
    yield leave.set
    leave.set()
    for client in clients:
        client.join(60)


def fast(platform: Any) -> dict[str, Any]:
    """The state of the fast tier."""
    return platform.state()["tiers"][0]


@pytest.mark.full
def test_a_queue_makes_the_tier_grow_and_calm_lets_it_shrink(
    platform: Any, crowd: Callable[[], None]
) -> None:
    """Up to its maximum while requests wait; back to its minimum after the windows, in steps."""
    platform.wait_for(lambda: fast(platform)["ready"] == 4)
    crowd()
    platform.wait_for(lambda: fast(platform)["wanted"] == 2)

    events = platform.ask("GET", "/v1/events?since=0")[1]
    words = [e["message"] for e in events if e["reason"] == "SuccessfulRescale"]
    assert "above target" in words[0]
    assert "below target" in words[-1]
    sizes = [int(word.split("New size: ")[1].split(";")[0]) for word in words]
    assert sizes[-2:] == [3, 2]


@pytest.mark.parametrize("series", SERIES, ids=lambda s: s["name"])
def test_its_series_are_there_as_their_home_says(platform: Any, series: dict[str, Any]) -> None:
    """What dashboards show of an autoscaler is exported under kube-state-metrics' names."""
    found = platform.wait_for(lambda: platform.query(series["name"]))

    for row in found:
        labels = {k: v for k, v in row["metric"].items() if k not in ADDED_BY_SCRAPING}
        assert labels.keys() - {"__name__"} == set(series["labels"])
        for name, known in series.get("values", {}).items():
            assert labels[name] in known


def test_state_says_who_scales_a_tier(platform: Any) -> None:
    """Whoever would scale it by hand learns that an autoscaler would undo that."""
    assert fast(platform)["scaled_by"] == "scaledobject/fast"
