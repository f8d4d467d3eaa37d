"""The dead-metric lint: what nobody exports is found by name, and what is exported passes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from faultload.errors import MissingError, SpecError
from faultload.measure.metric_answers import answers, silent, table
from faultload.measure.metric_lint import lint
from faultload.measure.queries import Kind, Query, read_queries
from faultload.spec.metrics import load_metrics

_HOME = Path(__file__).parents[3] / "platform/observability"
_METRICS = load_metrics(_HOME / "metrics.yaml")
_TTFT = "vllm:time_to_first_token_seconds_bucket"
_REQUESTS = "inference_router_requests_total"


def _query(text: str, kind: Kind = Kind.PANEL) -> Query:
    return Query(Path("board.json"), kind, "Queue", text, text)


def _said(text: str) -> list[str]:
    return [str(one) for one in lint([_query(text)], _METRICS)]


@pytest.mark.parametrize(
    ("text", "dead"),
    [
        ("vllm:gpu_cache_usage_perc", "was removed, use vllm:kv_cache_usage_perc"),
        (
            "rate(vllm:time_per_output_token_seconds_bucket[5m])",
            "was removed, use vllm:inter_token_latency_seconds",
        ),
        ("vllm:num_request_waiting", "did you mean 'vllm:num_requests_waiting'?"),
        ("sum by (modell) (vllm:num_requests_running)", "did you mean 'model_name'?"),
        (f'{_REQUESTS}{{outcome="okay"}}', "label outcome is never 'okay'"),
        (f'{_REQUESTS}{{outcome=~"ok|cutt"}}', "label outcome is never 'cutt'"),
        (f'{_REQUESTS}{{outcom="ok"}}', "has no label 'outcom'"),
        (f'{_TTFT}{{le="0.12"}}', "label le is never '0.12'"),
        (f'{_TTFT}{{le="1"}}', "label le is never '1'"),
        (f"histogram_quantile(0.9, sum(rate({_TTFT}[1m])))", "needs the label 'le'"),
        ("sum by (node) (sum by (tier) (up))", "nothing under it has: 'node'"),
        ("up * on (node) group_left (zone) kube_node_info", "to take over: 'zone'"),
        ("up * on (nod) kube_node_info", "that one lacks: 'nod'"),
        ('label_replace(up, "x", "$1", "instanc", "(.*)")', "not there: 'instanc'"),
        ('up{job="vllm"}', "label job is never 'vllm'"),
        ('{job="engine"}', "without a name"),
        ("sum(up", "is not PromQL"),
    ],
)
def test_what_is_dead_is_named_with_what_to_use(text: str, dead: str) -> None:
    """A line says file, panel, what is dead and what to ask instead."""
    (line,) = _said(text)

    assert line.startswith("board.json: panel 'Queue': ")
    assert dead in line


@pytest.mark.parametrize(
    "text",
    [
        f'sum by (tier) (rate({_REQUESTS}{{code=~"5..",tier=~".+"}}[5m]))',
        'sum(rate(http_requests_total{status=~"4xx|5xx"}[5m]))',
        f'histogram_quantile(0.9, sum by (le) (rate({_TTFT}{{namespace=~".*"}}[1m])))',
        "sum by (replica) (up) / on (replica) group_left (tier) vllm:num_requests_running",
        'sum by (x) (label_replace(up, "x", "$1", "instance", "(.*)"))',
        'absent(up{job="router"}) or vector(1)',
        'count by (alertname) (ALERTS{alertstate="firing"})',
        "max_over_time((sum by (tier) (vllm:num_requests_waiting))[1h:1m])",
        f'topk(3, {_REQUESTS}) - on (tier) group_right () {_REQUESTS}{{outcome!="ok"}}',
    ],
)
def test_what_is_exported_passes(text: str) -> None:
    """Matchers, joins, sub-queries and labels that a query makes itself are no findings."""
    assert _said(text) == []


def test_shipped_queries_name_nothing_dead() -> None:
    """Dashboards, rules and triggers of the platform hold to its own metrics.yaml."""
    small = _HOME.parent / "local-autoscaling-triggers.yaml"

    assert lint(read_queries([_HOME, small]), _METRICS) == []


def test_what_rules_record_may_be_asked_for_with_its_labels() -> None:
    """A recorded series has the labels of its rule's result and those the rule adds, no others."""
    text = "sum by (tier) (rate(vllm:prompt_tokens_total[1m]))"
    rule = Query(Path("r.yaml"), Kind.RECORD, "t:rate", text, text, labels={"service": "chat"})

    assert lint([rule, _query('t:rate{tier="fast",service="chat"}')], _METRICS) == []
    assert "no label 'zone'" in str(lint([_query('t:rate{zone="a"}')], _METRICS, [rule])[0])
    assert "never 'cha'" in str(lint([rule, _query('t:rate{service="cha"}')], _METRICS)[0])


def _grafana(expr: str, **more: Any) -> dict[str, Any]:
    return {"title": "b", "panels": [{"title": "Queue", "targets": [{"expr": expr}]}], **more}


def test_variables_of_grafana_stand_for_everything(tmp_path: Path) -> None:
    """Declared and built-in variables are filled in; one that is not declared is a finding."""
    path = tmp_path / "b.json"
    expr = f'sum(rate({_REQUESTS}{{tier=~"$tier",code="${{code:regex}}"}}[$__rate_interval]))'
    variables = [
        {"name": "tier", "type": "query", "query": "label_values(inference_router_inflight, tiers)"}
    ]
    path.write_text(json.dumps(_grafana(expr, templating={"list": variables})))

    said = [one.problem for one in lint(read_queries([path]), _METRICS)]

    assert said[0] == "variable $code is not one of the dashboard's"
    assert "'tiers'" in said[1]
    assert len(said) == 2


@pytest.mark.parametrize(
    ("document", "where"),
    [
        ({"dashboard": _grafana("dead_series")}, "panel 'Queue'"),
        ({"title": "b", "panels": [_grafana("dead_series")]}, "panel 'Queue'"),
        ({"groups": [{"rules": [{"alert": "A", "expr": "dead_series"}]}]}, "alert 'A'"),
        (
            {
                "kind": "PrometheusRule",
                "spec": {"groups": [{"rules": [{"record": "r", "expr": "dead_series"}]}]},
            },
            "record 'r'",
        ),
        (
            {
                "kind": "ScaledObject",
                "metadata": {"name": "chat"},
                "spec": {
                    "triggers": [
                        {"type": "cpu"},
                        {"type": "prometheus", "metadata": {"query": "dead_series"}},
                    ]
                },
            },
            "trigger 'chat/1'",
        ),
        (
            {"kind": "ConfigMap", "data": {"b.json": json.dumps(_grafana("dead_series"))}},
            "panel 'Queue'",
        ),
    ],
)
def test_every_kind_of_file_is_read(tmp_path: Path, document: dict[str, Any], where: str) -> None:
    """Grafana's, Prometheus', the operator's and KEDA's files, and what charts put them into."""
    path = tmp_path / "x.yaml"
    path.write_text(json.dumps(document))

    (finding,) = lint(read_queries([path]), _METRICS)

    assert str(finding).startswith(f"{path}: {where}: dead_series: no such series")


def test_a_file_that_asks_nothing_is_not_what_was_meant(tmp_path: Path) -> None:
    """Silence about the wrong file would read as a clean bill."""
    path = tmp_path / "x.yaml"
    path.write_text("kind: Deployment\n")

    with pytest.raises(SpecError, match="found no query in it"):
        read_queries([path])


class _Prometheus:
    """Answers what it was given, by exact text."""

    def __init__(self, **known: list[float]) -> None:
        self._known = known

    def instant(self, query: str) -> list[tuple[dict[str, str], float, float]]:
        if "group_left" in query:
            raise MissingError("Prometheus refused: many-to-many matching")
        name = query.removeprefix("count(").split("{")[0].split(")")[0].strip()
        return [({}, 0.0, value) for value in self._known.get(name, [])]


@pytest.mark.parametrize(
    ("query", "problem", "said"),
    [
        (_query("up"), "", "2 series, 0 to 1"),
        (_query("up * on (job) group_left () up"), "many-to-many", ""),
        (_query("vllm:num_requests_running"), "nothing has vllm:num_requests_running", ""),
        (_query("kube_pod_deletion_timestamp"), "", "only while a pod is being stopped"),
        (_query('http_requests_total{status="5xx"}'), "", "from the first such event"),
        (_query("http_requests_total"), "returns nothing", ""),
        (_query("kube_node_created"), "returns NaN", ""),
        (_query("up > 7"), "returns nothing: although every series", ""),
        (_query("up > 7", Kind.ALERT), "", "silent"),
        (_query("up", Kind.ALERT), "", "holds for 2"),
        (_query("vllm:num_requests_running > 7", Kind.ALERT), "cannot fire: nothing has", ""),
    ],
)
def test_no_data_is_never_fine_unless_it_is_explained(
    query: Query, problem: str, said: str
) -> None:
    """Only metrics.yaml excuses silence; an alert must have something that it listens to."""
    prometheus = _Prometheus(up=[1.0, 0.0], kube_node_created=[float("nan")])

    found = answers([query], _METRICS, prometheus)

    assert problem in found[0].problem
    assert bool(found[0].problem) == bool(problem) == bool(silent(found))
    assert said in found[0].said
    assert (problem or said) in table(found)
