"""Tests of the rules for `promtool test rules`: when each alert must fire, and when it must not."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from faultload.measure.rules import BurnAlert, as_yaml, blind_name, burn_alerts
from faultload.spec.promql import CounterSelector
from faultload.spec.server_view import ServerView
from faultload.spec.slo import SLO
from faultload.spec.windows import BurnWindows, seconds_of

_MARGIN = 0.15
"""An alert must be silent so much before it is due, and fire so much after it: a rate is taken
between samples, and an evaluation comes when it comes."""
_OTHER = "of-another-kind"


def rule_tests(slos: Iterable[SLO], windows: BurnWindows, file: str) -> dict[str, str]:
    """Return the tests of one rule file by name, one for each pair of windows.

    Every alert is silent after a healthy time as long as its long window, silent shortly before
    a total outage reaches its limit, and fires shortly after; one that cannot fire never does.
    One bad event in a quiet time is silent, where more are asked for.
    Without traffic nothing fires; without samples the alert that says so does. An SLO whose
    matchers are too clever for series to be made up has no test here.

    Args:
        slos: that the rules were made of.
        windows: that they were made with.
        file: name of the rule file, one folder up.
    """
    counted = [(slo, burn_alerts(slo, windows)) for slo in slos]
    counted = [(slo, alerts) for slo, alerts in counted if alerts and _can_play(alerts[0].view)]
    head = f"# Made by `faultload slo rules` beside {file}; promtool test rules runs it."
    made = {}
    for index, window in enumerate(windows.windows):
        step_s = max(1, window.long_s // 24)
        tests = [_outage(alerts[index], step_s) for _, alerts in counted]
        if windows.bad_events_min > 1:
            tests += [_one_bad(alerts[index], step_s) for _, alerts in counted]
        if index == 0:
            tests.append(_no_traffic((alerts[0].view for _, alerts in counted), 6 * step_s))
            tests.append(_no_samples([slo for slo, _ in counted], 6 * step_s))
        data = {
            "rule_files": [f"../{file}"],
            "evaluation_interval": f"{step_s}s",
            "tests": tests,
        }
        made[f"{file.removesuffix('.yaml')}-{window.long}.yaml"] = as_yaml([head], data)
    return made


def _outage(alert: BurnAlert, step_s: int) -> dict[str, Any]:
    window, name = alert.window, alert.name
    sample_s = max(1, min(step_s // 5, seconds_of(window.short) // 4))
    healthy_s = _up(window.long_s, step_s)
    due_s = alert.fires_after_s
    silent, fires, outage_s = [float(healthy_s)], [], float(window.long_s)
    if due_s < math.inf:
        silent.append(healthy_s + due_s * (1 - _MARGIN) // step_s * step_s)
        outage_s = _up(due_s * (1 + _MARGIN), step_s)
        fires.append(healthy_s + outage_s)
    else:
        silent.append(healthy_s + outage_s)
    healthy, outage = healthy_s // sample_s, outage_s // sample_s + 1
    return {
        "name": f"{alert.slo.name}: a total outage",
        "interval": f"{sample_s}s",
        "input_series": [
            {
                "series": series,
                "values": f"0+{before * sample_s}x{healthy:.0f}"
                f" {before * sample_s * (healthy + 1):.0f}+{then * sample_s}x{outage:.0f}",
            }
            for series, before, then in _series(alert.view)
        ],
        "alert_rule_test": [
            {"eval_time": f"{at:.0f}s", "alertname": name, "exp_alerts": []}
            for at in sorted(set(silent))
        ],
        "promql_expr_test": [
            {
                "expr": f'count by (severity) (ALERTS{{alertname="{name}",alertstate="firing"}})',
                "eval_time": f"{at:.0f}s",
                "exp_samples": [{"labels": f'{{severity="{window.severity}"}}', "value": 1}],
            }
            for at in fires
        ],
    }


def _one_bad(alert: BurnAlert, step_s: int) -> dict[str, Any]:
    window = alert.window
    sample_s = max(1, seconds_of(window.short) // 4)
    apart = window.long_s // 12 // sample_s
    calm = [f"{count}x{apart - 1}" for count in range(12)]
    series = []
    for name, before, then in _series(alert.view):
        counts = calm if before else [f"0x{12 * apart - 1}"]
        last = (12 if before else 0) + then
        series.append({"series": name, "values": " ".join([*counts, f"{last}x{apart}"])})
    ends_s = 12 * apart * sample_s + sample_s
    return {
        "name": f"{alert.slo.name}: one bad event of twelve",
        "interval": f"{sample_s}s",
        "input_series": series,
        "alert_rule_test": [
            {"eval_time": f"{at}s", "alertname": alert.name, "exp_alerts": []}
            for at in (_up(ends_s, step_s), _up(ends_s, step_s) + step_s)
        ],
    }


def _no_traffic(views: Iterable[ServerView], at_s: int) -> dict[str, Any]:
    flat = dict.fromkeys(series for view in views for series, _, _ in _series(view))
    return {
        "name": "no traffic is not an outage",
        "interval": "1m",
        "input_series": [{"series": series, "values": "7+0x60"} for series in flat],
        "promql_expr_test": [{"expr": "ALERTS", "eval_time": f"{at_s}s", "exp_samples": []}],
    }


def _no_samples(slos: Iterable[SLO], at_s: int) -> dict[str, Any]:
    blind = [{"labels": f'{{alertname="{blind_name(slo)}"}}', "value": 1} for slo in slos]
    return {
        "name": "no samples are said to be missing",
        "interval": "1m",
        "input_series": [{"series": "something_else", "values": "1+0x60"}],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": f"{at_s}s",
                "exp_samples": blind,
            }
        ],
    }


def _series(view: ServerView) -> list[tuple[str, int, int]]:
    """Return what is counted: series, events a second while all is well, and while nothing is."""
    good_labels, bad_labels = _labels(view)
    good = (_named(view.good, good_labels), 1, 0)
    if bad_labels is None:
        return [good, (_named(view.total, _example(view.total)), 1, 1)]
    return [good, (_named(view.total, bad_labels), 0, 1)]


def _can_play(view: ServerView) -> bool:
    try:
        _labels(view), _example(view.total)
    except StopIteration:
        return False
    return True


def _labels(view: ServerView) -> tuple[Mapping[str, str], Mapping[str, str] | None]:
    """Return labels of a good event, and of a bad one where both are of one metric."""
    if view.good.metric != view.total.metric:
        return _example(view.good), None
    candidates = list(_candidates(view.good, view.total))
    good = next(c for c in candidates if view.good.accepts(c) and view.total.accepts(c))
    bad = next(c for c in candidates if view.total.accepts(c) and not view.good.accepts(c))
    return good, bad


def _example(selector: CounterSelector) -> Mapping[str, str]:
    return next(c for c in _candidates(selector) if selector.accepts(c))


def _candidates(*selectors: CounterSelector) -> Iterable[Mapping[str, str]]:
    """Yield labels made of the values that the matchers speak of, and of one that none does."""
    values: dict[str, list[str]] = {}
    for selector in selectors:
        for label, how, text in selector.matchers:
            spoken = text.split("|") if "~" in how else [text]
            known = values.setdefault(label, [])
            known += [one for one in spoken if one not in known]
    named = [[(label, one) for one in (*known, _OTHER)] for label, known in values.items()]
    for choice in itertools.product(*named):
        yield dict(choice)


def _named(selector: CounterSelector, labels: Mapping[str, str]) -> str:
    inner = ",".join(f"{label}={json.dumps(text)}" for label, text in labels.items())
    return f"{selector.metric}{{{inner}}}"


def _up(seconds: float, step_s: int) -> int:
    return math.ceil(seconds / step_s) * step_s
