"""What our Helm charts make: rendered by Helm itself, as Python objects.

render("vllm", "spot", change={"replicas": 1})   # a list of objects
refusal("vllm", change={"drain": {"preStopSeconds": 0}})   # what Helm says no with
"""

from __future__ import annotations

import copy
import functools
import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from platform_tools import ROOT, need

Object = dict[str, Any]

# Every folder with a Chart.yaml; a chart's name is its folder's.
CHARTS = {
    path.parent.name: path.parent
    for path in sorted(
        [*ROOT.glob("platform/charts/*/Chart.yaml"), *ROOT.glob("charts/*/Chart.yaml")]
    )
}
# Where charts are installed.
NAMESPACES = {"observability": "observability", "faultload": "faultload"}
# What a chart wants its user to say, in a file named as the chart; most want nothing.
_SAID = ROOT / "tests/support/chart_values"
_TIMEOUT_S = 120.0
_KUBERNETES = "1.35.0"
_WORKLOADS = {"Deployment", "StatefulSet", "DaemonSet", "Job"}


class Refused(Exception):  # noqa: N818  # what a rule does, not yet an error
    """Helm rendered nothing; the text is what it said."""


def value_files(chart: str) -> list[str]:
    """Return the layers that a chart has beside its values.yaml, by name."""
    return sorted(path.stem for path in (CHARTS[chart] / "values").glob("*.yaml"))


def every_case() -> list[tuple[str, tuple[str, ...]]]:
    """Return each chart with its defaults alone and with each of its layers."""
    return [
        (chart, layers)
        for chart in CHARTS
        for layers in [(), *((name,) for name in value_files(chart))]
    ]


def values_of(chart: str, *layers: str, change: Mapping[str, Any]) -> dict[str, Any]:
    """Return all values of a release: the chart's, some of its `values/` over them, `change`."""
    found: dict[str, Any] = {}
    for name in ("values", *(f"values/{layer}" for layer in layers)):
        lay(found, yaml.safe_load((CHARTS[chart] / f"{name}.yaml").read_text(encoding="utf-8")))
    lay(found, change)
    return found


def lay(under: dict[str, Any], over: Mapping[str, Any]) -> None:
    """Lay one tree of values over another, which is changed."""
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(under.get(key), dict):
            lay(under[key], value)
        else:
            under[key] = copy.deepcopy(value)


def render(
    chart: str, *layers: str, change: Mapping[str, Any] | None = None, release: str | None = None
) -> list[Object]:
    """Return what a chart makes with some of its `values/` laid over its defaults, then `change`.

    Without a name of its own a release is called as its chart; one of vllm `chat-` and its tier.

    Raises:
        Refused: Helm rendered nothing.
    """
    # A copy each time, since a test may alter what it gets.
    text = _templated(chart, layers, json.dumps(change or {}, sort_keys=True), release)
    return [one for one in yaml.load_all(text, yaml.CSafeLoader) if one]


def refusal(chart: str, *layers: str, change: Mapping[str, Any], release: str | None = None) -> str:
    """Return what a chart refuses a change with; fails when it renders."""
    try:
        render(chart, *layers, change=change, release=release)
    except Refused as no:
        return str(no)
    raise AssertionError(f"{chart} {' '.join(layers)} rendered with {dict(change)}")


def lint(chart: str, *layers: str) -> str:
    """Return what `helm lint --strict` says against a chart, "" for nothing."""
    done = _helm("lint", "--strict", "--quiet", *_arguments(chart, layers), text="{}")
    return "" if done.returncode == 0 else done.stdout + done.stderr


@functools.cache
def _templated(chart: str, layers: tuple[str, ...], change: str, release: str | None) -> str:
    name = release or _release(chart, layers, json.loads(change))
    done = _helm("template", name, *_arguments(chart, layers), text=change)
    if done.returncode != 0:
        raise Refused(done.stderr.strip())
    return done.stdout


def _release(chart: str, layers: tuple[str, ...], change: Mapping[str, Any]) -> str:
    """Return what a release is called where nobody says it: as its chart, or for its tier."""
    return f"chat-{values_of(chart, *layers, change=change)['tier']}" if chart == "vllm" else chart


def _arguments(chart: str, layers: tuple[str, ...]) -> list[str]:
    folder = CHARTS[chart]
    said = [_SAID / f"{chart}.yaml"] if (_SAID / f"{chart}.yaml").is_file() else []
    files = [
        f"--values={path}" for path in [*said, *(folder / f"values/{name}.yaml" for name in layers)]
    ]
    namespace = NAMESPACES.get(chart, "inference")
    where = [f"--namespace={namespace}", f"--kube-version={_KUBERNETES}"]
    return [str(folder), *files, "--values=-", *where]


def _helm(*arguments: str, text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [need("helm"), *arguments],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT_S,
    )


def only(objects: list[Object], kind: str, name: str | None = None) -> Object:
    """Return the one object of a kind (and name); fails when there is another number."""
    found = [
        one for one in objects if one["kind"] == kind and name in {None, one["metadata"]["name"]}
    ]
    assert len(found) == 1, [one["metadata"]["name"] for one in found]
    return found[0]


def pod_templates(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Yield each pod template, with `Kind/name` of what makes its pods."""
    for one in objects:
        where = f"{one['kind']}/{one['metadata']['name']}"
        if one["kind"] in _WORKLOADS:
            yield where, one["spec"]["template"]
        elif one["kind"] == "CronJob":
            yield where, one["spec"]["jobTemplate"]["spec"]["template"]
        elif one["kind"] == "LeaderWorkerSet":
            for role in ("leaderTemplate", "workerTemplate"):
                yield f"{where} {role}", one["spec"]["leaderWorkerTemplate"][role]


def operated_pods(objects: list[Object]) -> list[dict[str, str]]:
    """Return labels of the pods that the Prometheus operator makes, and of Loki's beside them."""
    made = [
        {
            "app.kubernetes.io/name": one["kind"].lower(),
            "app.kubernetes.io/instance": one["metadata"]["name"],
        }
        for one in objects
        if one["kind"] in {"Prometheus", "Alertmanager"}
    ]
    return [*made, {"app.kubernetes.io/name": "loki"}] if made else []


def containers(template: Object) -> list[Object]:
    """Return every container of a pod template, those that run first included."""
    return [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Return whether a selector's matchLabels fit; an empty selector fits all."""
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def write(objects: list[Object], path: Path) -> Path:
    """Write objects as one YAML file; return its path."""
    path.write_text(yaml.safe_dump_all(objects), encoding="utf-8")
    return path
