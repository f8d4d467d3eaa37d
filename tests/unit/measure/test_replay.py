"""Recorded counters replayed against the rules: what fires, when, and what an outage would need."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from faultload.errors import MissingError
from faultload.measure import replay
from faultload.measure.promtool import ask, find_promtool
from faultload.measure.replay import replay_alerts
from faultload.measure.rules import burn_alerts, rules_text
from faultload.record import SERIES_SCHEMA, AlertState, Phase, PhaseName
from faultload.spec import SLO
from faultload.spec.windows import BurnWindows, Window

_ROOT = Path(__file__).parents[3]
_PAGES = BurnWindows(
    source="s",
    runbook="r",
    windows=[Window(severity="page", burn_rate=14.4, long="1h", short="5m")],
)
_GOOD, _BAD = '{"code":"200"}', '{"code":"500"}'


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let promtool take its time: the machine may be busy, and no test is about that."""
    monkeypatch.setattr(replay, "_WITHIN_S", 120.0)


def _slo(target: float = 0.995) -> SLO:
    query = {"good": 'done_total{code="200"}', "total": "done_total"}
    source = {"type": "prometheus", "spec": query}
    indicator = {"ratioMetric": {"rawType": "success", "raw": {"metricSource": source}}}
    return SLO.model_validate(
        {
            "apiVersion": "openslo/v1",
            "kind": "SLO",
            "metadata": {"name": "done"},
            "spec": {
                "description": "d",
                "service": "s",
                "indicator": {"metadata": {"name": "x"}, "spec": indicator},
                "timeWindow": [{"duration": "30d", "isRolling": True}],
                "budgetingMethod": "Occurrences",
                "objectives": [{"target": target}],
            },
        }
    )


def _phases(fault_s: float = 20.0, after_s: float = 20.0) -> list[Phase]:
    ends = [(PhaseName.WARMUP, 5.0), (PhaseName.BASELINE, 20.0), (PhaseName.FAULT, 20.0 + fault_s)]
    ends.append((PhaseName.RECOVERY, 20.0 + fault_s + after_s))
    starts = [0.0, *(end for _, end in ends)]
    return [
        Phase(name=name, start_s=start, end_s=end)
        for (name, end), start in zip(ends, starts, strict=False)
    ]


def _series(
    phases: Sequence[Phase], bad_share: float, resets_at: float = np.inf, rate: float = 30.0
) -> pd.DataFrame:
    """Return counters of a steady load of which a share is bad during the fault."""
    fault, end_s = phases[2], phases[-1].end_s
    t = np.arange(0.37, end_s, 1.0)
    in_fault = (t > fault.start_s) & (t <= fault.end_s)
    rows = []
    for labels, share in ((_GOOD, 1 - bad_share * in_fault), (_BAD, bad_share * in_fault)):
        values = np.cumsum(rate * share)
        if labels == _GOOD and t[-1] > resets_at:
            values = values - np.where(t >= resets_at, values[t < resets_at][-1], 0.0)
        rows += [("done_total", labels, *pair) for pair in zip(t, values, strict=True)]
    return pd.DataFrame(rows, columns=SERIES_SCHEMA.names)


def _replayed(
    series: pd.DataFrame, phases: Sequence[Phase], slo: SLO, windows: BurnWindows = _PAGES
) -> pd.DataFrame:
    return replay_alerts(series, [slo], windows, phases, _ROOT)


@pytest.mark.parametrize(("bad", "target"), [(1.0, 0.995), (0.5, 0.995), (1.0, 0.95)])
def test_a_short_outage_pages_nobody_and_is_told_how_long_it_needs(
    bad: float, target: float
) -> None:
    """Promtool's answer on drawn-out counters is what steady rates give on paper, within 1 %."""
    phases = _phases()
    found = _replayed(_series(phases, bad), phases, _slo(target)).iloc[0]

    assert found["state"] == AlertState.QUIET
    expected = _PAGES.windows[0].fires_after_s(1 - target, bad)
    assert found["outage_to_fire_s"] == pytest.approx(expected, rel=0.01, abs=2)


def test_a_long_outage_pages_when_its_window_is_spent() -> None:
    """Each pair of windows fires in its own time, seconds from theory, and ends when it may."""
    rates = ((14.4, "10m", "1m"), (6, "1h", "5m"), (6, "6h", "30m"))
    windows = [Window(severity="page", burn_rate=b, long=lo, short=sh) for b, lo, sh in rates]
    phases = _phases(fault_s=150.0, after_s=80.0)
    burn = BurnWindows(source="s", runbook="r", windows=windows)
    found = _replayed(_series(phases, 1.0), phases, _slo(), burn).set_index("alert")

    fast = found.loc["DoneBurn10m"]
    assert fast["state"] == AlertState.FIRED
    assert fast["start_s"] - 20 == pytest.approx(43.2, abs=3)
    # The minute is clean enough again before the outage is a minute past.
    assert 170 < fast["end_s"] <= 170 + 60
    assert found.loc["DoneBurn1h", "start_s"] - 20 == pytest.approx(108, abs=3)
    assert np.isnan(found.loc["DoneBurn1h", "end_s"])
    assert found.loc["DoneBurn6h", "state"] == AlertState.QUIET
    assert found.loc["DoneBurn6h", "outage_to_fire_s"] == pytest.approx(648, rel=0.01)


def test_an_outage_too_mild_never_pages() -> None:
    """Burning slower than the window asks is never a page, however long it goes on."""
    phases = _phases()
    found = _replayed(_series(phases, 0.05), phases, _slo()).iloc[0]

    assert found["state"] == AlertState.QUIET
    assert np.isnan(found["outage_to_fire_s"])


def test_a_counter_that_began_anew_makes_no_outage() -> None:
    """A restart within the run is a reset, before and after which the rates are right."""
    phases = _phases()
    found = _replayed(_series(phases, 0.0, resets_at=30.0), phases, _slo()).iloc[0]

    assert found["state"] == AlertState.QUIET
    assert np.isnan(found["outage_to_fire_s"])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s[s["labels"] == _BAD], 'no sample of done_total{code="200"}'),
        (lambda s: s.assign(value=7.0), "before the fault nothing was counted by done_total"),
        (lambda s: s.iloc[:0], "no sample of"),
    ],
)
def test_what_cannot_be_replayed_says_why(change: object, says: str) -> None:
    """Missing data is not an alert that stayed silent."""
    phases = _phases()
    found = _replayed(change(_series(phases, 1.0)), phases, _slo())  # type: ignore[operator]

    assert set(found["state"]) == {AlertState.NOT_REPLAYED}
    assert says in found["why"].iloc[0]


def test_no_fault_is_nothing_to_replay() -> None:
    """A run that never got to its fault says so in the alerts' place."""
    phases = _phases()
    found = _replayed(_series(phases, 0.0), phases[:2], _slo())

    assert found["why"].tolist() == ["the run had no fault after a baseline"]


def test_no_promtool_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without promtool has runs all the same, and no claim about pages."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    phases = _phases()
    found = replay_alerts(_series(phases, 1.0), [_slo()], _PAGES, phases, tmp_path)

    assert set(found["state"]) == {AlertState.NOT_REPLAYED}
    assert "promtool is not on PATH nor in .tools/bin; run: make setup" in found["why"].iloc[0]


def test_promtool_that_refuses_is_no_silence(tmp_path: Path) -> None:
    """What promtool cannot evaluate is an error and never an alert that did not fire."""
    with pytest.raises(MissingError, match="promtool gave no values but said"):
        ask(find_promtool(_ROOT), {}, [("x", "rate(", 5)], 60)
    with pytest.raises(MissingError, match="promtool gave no values but said"):
        ask(
            find_promtool(_ROOT), {"up": "1 1"}, [("x", 'label_replace(up,"a","b","c","(")', 1)], 60
        )
    (tmp_path / "promtool").write_text("#!/bin/sh\nexec sleep 60\n", encoding="utf-8")
    (tmp_path / "promtool").chmod(0o700)
    with pytest.raises(MissingError, match="did not answer within"):
        ask(str(tmp_path / "promtool"), {}, [], 0.2)


def test_samples_land_on_the_second_they_are_meant_for() -> None:
    """A gap in promtool's notation is as long as it says."""
    found = ask(
        find_promtool(_ROOT),
        {"a": "_x3 7 _x2 9"},
        [("first", "min_over_time(timestamp(a)[9s:1s])", 9), ("at6", "sum(a)", 6)],
        60,
    )

    assert found == {"first": 3.0, "at6": 9.0}


def test_the_replay_fires_when_the_shipped_rules_do(tmp_path: Path) -> None:
    """Asking for the condition each second gives the moment at which the rules themselves fire."""
    window = Window(severity="page", burn_rate=14.4, long="5m", short="1m")
    windows = BurnWindows(source="s", runbook="r", windows=[window])
    alert = burn_alerts(_slo(), windows)[0]
    (tmp_path / "rules.yaml").write_text(rules_text("x", "w", [_slo()], windows), encoding="utf-8")
    series = {
        'done_total{code="200"}': "0+30x300 9030+0x60",
        'done_total{code="500"}': "0+0x300 0+30x60",
    }
    question = ("fires", f"min_over_time(timestamp({alert.condition})[60s:1s])", 360)
    fires = int(ask(find_promtool(_ROOT), series, [question], 60)["fires"])
    firing = 'count(ALERTS{severity="page"})'
    test = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1s",
        "tests": [
            {
                "interval": "1s",
                "input_series": [{"series": s, "values": v} for s, v in series.items()],
                "promql_expr_test": [
                    {"expr": firing, "eval_time": f"{fires - 1}s", "exp_samples": []},
                    {
                        "expr": firing,
                        "eval_time": f"{fires}s",
                        "exp_samples": [{"labels": "{}", "value": 1}],
                    },
                ],
            }
        ],
    }
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(test), encoding="utf-8")
    done = subprocess.run(
        [find_promtool(_ROOT), "test", "rules", "test.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert fires - 300 == pytest.approx(21.6, abs=2)
