"""Argo CD's Applications as our repository has them, and what each makes of its chart."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from charts import CHARTS, Object, lay, render, values_of
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
    own = _own_values(application, change)
    return render(chart_of(application), *_layers(application), change=own, release=name)


def all_values(application: Object, change: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of an Application's release: the chart's, its layers, its own; `change`."""
    own = _own_values(application, change)
    return values_of(chart_of(application), *_layers(application), change=own)


def _helm(application: Object) -> Object:
    found: Object = application["spec"]["source"].get("helm", {})
    return found


def _layers(application: Object) -> list[str]:
    return [Path(file).stem for file in _helm(application).get("valueFiles", [])]


def _own_values(application: Object, change: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an Application says itself, over its layers: an object, parameters, `change`."""
    values: dict[str, Any] = {}
    lay(values, _helm(application).get("valuesObject", {}))
    for parameter in _helm(application).get("parameters", []):
        lay(values, _nested(parameter["name"], parameter["value"]))
    lay(values, change)
    return values


def _nested(name: str, text: str) -> dict[str, Any]:
    """Return a parameter as a tree; an empty text stays one, as it does for `helm --set`."""
    found: Any = yaml.safe_load(text) if text else ""
    for key in reversed(name.split(".")):
        found = {key: found}
    return dict(found)
