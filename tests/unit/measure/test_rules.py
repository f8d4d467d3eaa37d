"""Rules made of SLOs: what they watch, from when on they fire, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml

from faultload.errors import SpecError, UsageError
from faultload.measure.paging import in_minutes, paging_of
from faultload.measure.rule_files import drift, rule_files, write
from faultload.measure.rules import burn_alerts
from faultload.spec import SLO, load_slos
from faultload.spec.windows import BurnWindows, load_windows

_ROOT = Path(__file__).parents[3]
_WINDOWS = load_windows(_ROOT / "slos/windows.yaml")
_SLO = """\
apiVersion: openslo/v1
kind: SLO
metadata:
  name: {name}
  annotations: {annotations}
spec:
  description: d
  service: chat
  indicator:
    metadata: {{name: x}}
    spec: {{ratioMetric: {{rawType: success, raw: {{metricSource: {source}}}}}}}
  timeWindow: [{{duration: 30d, isRolling: true}}]
  budgetingMethod: Occurrences
  objectives: [{{target: {target}}}]
"""
_ROWS = "{type: requests, spec: {good: served}}"
_COUNTED = "{type: prometheus, spec: {good: 'done_total{code=\"200\"}', total: sum(done_total)}}"


def _view(good: str, total: str) -> str:
    return f"{{faultload.dev/server-good: '{good}', faultload.dev/server-total: '{total}'}}"


def _slo(
    folder: Path, source: str = _COUNTED, annotations: str = "{}", target: float = 0.999
) -> SLO:
    path = folder / "x.yaml"
    text = _SLO.format(name="x-up", source=source, annotations=annotations, target=target)
    path.write_text(text, encoding="utf-8")
    return load_slos(path)[0]


def test_alerts_watch_both_windows_of_the_counters(tmp_path: Path) -> None:
    """The limit is burn rate times budget, without floating-point dust, over both windows."""
    page, *_, ticket = burn_alerts(_slo(tmp_path), _WINDOWS)

    assert page.name == "XUpBurn1h"
    assert page.recorded == (
        'sli:bad:ratio_rate1h{slo="x-up"} > 0.0144 and sli:bad:ratio_rate5m{slo="x-up"} > 0.0144'
        ' and sli:bad:events_increase1h{slo="x-up"} >= 5'
    )
    assert page.condition.endswith(
        "(sum(increase(done_total[1h])) - (sum(increase(done_total"
        '{code="200"}[1h])) or vector(0))) >= 5'
    )
    assert page.condition.startswith('(1 - (sum(rate(done_total{code="200"}[1h])) or vector(0))')
    assert ticket.window.severity == "ticket"


def test_rules_are_about_the_series_that_bear_the_given_labels(tmp_path: Path) -> None:
    """What is broken in staging pages nobody for production, whose Prometheus has both."""
    windows = _WINDOWS.model_copy(update={"matchers": {"namespace": "prod"}})
    _slo(tmp_path)

    made = rule_files([tmp_path / "x.yaml"], windows)

    for rule in yaml.safe_load(made["x.yaml"])["groups"][0]["rules"]:
        assert rule["expr"].count("done_total") == rule["expr"].count('namespace="prod"')
    assert 'done_total{code="200",namespace="prod"}' in made["tests/x-1h.yaml"]


def test_an_slo_of_another_period_than_the_windows_is_refused(tmp_path: Path) -> None:
    """14.4 over an hour is 2 % of 30 days' budget, and 9 % of a week's."""
    _slo(tmp_path)
    path = tmp_path / "x.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("30d", "7d"), encoding="utf-8")
    weekly = _WINDOWS.model_copy(update={"period": "1w"})

    with pytest.raises(UsageError, match="its period is 7d, and .* are sized for 30d"):
        rule_files([path], _WINDOWS)
    assert rule_files([path], weekly)


def test_an_slo_in_two_files_is_refused(tmp_path: Path) -> None:
    """Its alerts would all come twice."""
    _slo(tmp_path)
    other = tmp_path / "y.yaml"
    other.write_bytes((tmp_path / "x.yaml").read_bytes())

    with pytest.raises(SpecError, match="'x-up' is given twice"):
        rule_files([tmp_path / "x.yaml", other], _WINDOWS)


def test_windows_that_ask_for_no_number_of_events_have_none(tmp_path: Path) -> None:
    """Files of before are what they were."""
    windows = _WINDOWS.model_copy(update={"bad_events_min": 1})

    assert "increase" not in burn_alerts(_slo(tmp_path), windows)[0].condition
    assert "increase" not in "".join(rule_files([tmp_path / "x.yaml"], windows).values())


def test_rows_are_watched_through_the_declared_counters(tmp_path: Path) -> None:
    """An SLO of client rows has the alerts of the counters that stand in for them, else none."""
    view = _view('done_total{code="200"}', "done_total")

    assert "done_total" in burn_alerts(_slo(tmp_path, _ROWS, view), _WINDOWS)[0].condition
    assert burn_alerts(_slo(tmp_path, _ROWS), _WINDOWS) == []


@pytest.mark.parametrize(
    ("source", "annotations", "says"),
    [
        (_ROWS, "{faultload.dev/server-god: x}", "did you mean 'faultload.dev/server-good'?"),
        (_ROWS, "{faultload.dev/server-good: x}", "found no faultload.dev/server-total"),
        (_ROWS, _view("rate(x[5m])", "x"), "expected a counter's selector"),
        (_COUNTED, _view("x", "x"), "a source that is Prometheus already"),
        (
            "{type: requests, spec: {tier: fast, good: served}}",
            _view("x_total", "x_total"),
            'expected tier="fast" in x_total, found none',
        ),
        (
            "{type: requests, spec: {good: ttft_s <= 0.5}}",
            _view('x_bucket{le="0.25"}', "x_count"),
            'expected le="0.5", the limit of good requests, in x_bucket, found 0.25',
        ),
    ],
)
def test_counters_that_do_not_stand_in_are_refused(
    tmp_path: Path, source: str, annotations: str, says: str
) -> None:
    """A view that counts another tier or threshold would alert about another promise."""
    with pytest.raises(SpecError) as caught:
        _slo(tmp_path, source, annotations)
    assert caught.value.key == "metadata.annotations"
    assert says in str(caught.value)


def test_a_threshold_between_bucket_edges_is_refused(tmp_path: Path) -> None:
    """Nobody counts what lies between two edges."""
    view = _view(
        'inference_router_ttft_seconds_bucket{le="0.3"}', "inference_router_ttft_seconds_count"
    )
    slo = _slo(tmp_path, "{type: requests, spec: {good: ttft_s <= 0.3}}", view)

    with pytest.raises(
        UsageError, match=r"no bucket that ends at 0.3; the nearest end at 0.25 and 0.5"
    ):
        burn_alerts(slo, _WINDOWS)


def test_files_say_when_they_are_not_what_the_slos_say(tmp_path: Path) -> None:
    """The same SLOs give the same bytes; a changed, missing or left-over file is found."""
    _slo(tmp_path)
    made = rule_files([tmp_path / "x.yaml"], _WINDOWS)
    folder = tmp_path / "rules"

    assert drift(made, folder, alone=True) == sorted(made)
    write(made, folder)
    assert drift(rule_files([tmp_path / "x.yaml"], _WINDOWS), folder, alone=True) == []
    (folder / "x.yaml").write_text("groups: []\n", encoding="utf-8")
    (folder / "old.yaml").write_text(made["x.yaml"], encoding="utf-8")
    (folder / "by-hand.yaml").write_text("groups: []\n", encoding="utf-8")
    assert drift(made, folder, alone=True) == ["old.yaml", "x.yaml"]
    assert drift(made, folder, alone=False) == ["x.yaml"]


def test_every_alert_says_what_to_do_and_where(tmp_path: Path) -> None:
    """Whoever is woken finds severity, SLO, service, what to do and the runbook."""
    _slo(tmp_path)
    made = rule_files([tmp_path / "x.yaml"], _WINDOWS)
    rules = yaml.safe_load(made["x.yaml"])["groups"][0]["rules"]
    alerts = [rule for rule in rules if "alert" in rule]

    assert len(alerts) == 4
    for alert in alerts:
        assert alert["labels"].keys() == {"severity", "slo", "service"}
        assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (0.995, "pages after 4 min 20 s of total outage"),
        (0.95, "pages after 44 min of total outage: its budget burns at most 20 times too fast"),
        (0.8, "never pages, however long a total outage lasts"),
    ],
)
def test_an_slo_that_cannot_page_in_time_is_told(tmp_path: Path, target: float, says: str) -> None:
    """A budget too large for its windows is a finding before anything breaks."""
    paging = paging_of(_slo(tmp_path, target=target), _WINDOWS)

    assert paging.sentence.startswith(says)
    assert paging.in_time is (target > 0.99)


def test_an_slo_without_counters_has_no_alerts(tmp_path: Path) -> None:
    """That nobody watches is said, and is no page after zero seconds."""
    paging = paging_of(_slo(tmp_path, _ROWS), _WINDOWS)

    assert paging.page_after_s is None
    assert paging.sentence.startswith("no alerts")


def test_without_a_page_there_is_none(tmp_path: Path) -> None:
    """Tickets wake nobody."""
    tickets = [w for w in _WINDOWS.windows if w.severity == "ticket"]
    windows = BurnWindows(source="s", runbook="r", windows=tickets)

    assert paging_of(_slo(tmp_path), windows).page_after_s == math.inf


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (51.84, "52 s"), (60, "1 min"), (259.2, "4 min 20 s"), (7800, "2 h 10 min")],
)
def test_lengths_of_time_are_told_rounded_up(seconds: float, text: str) -> None:
    """Nobody is promised to be paged earlier than it happens."""
    assert in_minutes(seconds) == text
