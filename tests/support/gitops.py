"""Argo CD's Applications as our repository has them, and what each makes of its chart."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from charts import CHARTS, Object, render
from platform_tools import ROOT

FOLDER = ROOT / "platform/gitops"
OURS = "https://github.com/example/faultload.git"
ENVIRONMENTS = ("dev", "staging", "prod")


def read(path: Path) -> list[Object]:
    """Return the objects of a file."""
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def applications(environment: str) -> dict[str, Object]:
    """Return the Applications of an environment, by name."""
    found = read(FOLDER / f"environments/{environment}.yaml")
    assert {one["kind"] for one in found} == {"Application"}
    return {one["metadata"]["name"]: one for one in found}


def chart_of(application: Object) -> str:
    """Return the name of the chart that an Application installs."""
    folder = ROOT / application["spec"]["source"]["path"]
    return next(chart for chart, path in CHARTS.items() if path == folder)


def rendered(name: str, application: Object, change: Mapping[str, Any]) -> list[Object]:
    """Render a chart as Argo CD would: its layers, `valuesObject`, then parameters; then `change`.

    Raises:
        Refused: Helm rendered nothing.
    """
    helm = application["spec"]["source"].get("helm", {})
    values: dict[str, Any] = {}
    lay(values, helm.get("valuesObject", {}))
    for parameter in helm.get("parameters", []):
        lay(values, _nested(parameter["name"], parameter["value"]))
    lay(values, change)
    layers = [Path(file).stem for file in helm.get("valueFiles", [])]
    return render(chart_of(application), *layers, change=values, release=name)


def lay(under: dict[str, Any], over: Mapping[str, Any]) -> None:
    """Lay one tree of values over another, which is changed."""
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(under.get(key), dict):
            lay(under[key], value)
        else:
            under[key] = copy.deepcopy(value)


def _nested(name: str, text: str) -> dict[str, Any]:
    """Return a parameter as a tree; an empty text stays one, as it does for `helm --set`."""
    found: Any = yaml.safe_load(text) if text else ""
    for key in reversed(name.split(".")):
        found = {key: found}
    return dict(found)
