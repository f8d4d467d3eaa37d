#!/usr/bin/env python3
"""Make Grafana's dashboards of the short files beside them: platform/observability/dashboards/.

    python scripts/dashboards.py            # write every .json
    python scripts/dashboards.py --check    # write nothing; exit 1 where one is out of date

A panel is a title, a unit, what to do when it is red, the runbook page and its queries by legend.
Red lines are not typed again: `red: slo NAME` is the limit in slos/, `budget NAME` its error
budget, `burn 1h` the burn rate in slos/windows.yaml, `trigger NAME` the threshold in triggers.yaml;
a plain number is one that stands in a rule. `each_slo` is a query for every SLO. Exits 64 for a bad
file.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from faultload.errors import FaultloadError, UsageError
from faultload.spec import SLO, Catalogue
from faultload.spec.slo import RequestsSource
from faultload.spec.windows import load_windows

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "platform/observability/dashboards"
TRIGGERS = ROOT / "platform/observability/triggers.yaml"
# Grafana's version 10.4; later ones migrate it when they import.
SCHEMA_VERSION = 39
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS = 24
HEIGHT = 8
# What every query of one kind is narrowed to.
NARROWED = {
    "<engine>": 'namespace=~"$namespace",model_name=~"$model"',
    "<engine-pod>": 'namespace=~"$namespace"',
    "<kube>": 'namespace=~"$namespace"',
    "<router>": 'namespace=~"$namespace",tier=~"$tier"',
}
VARIABLES = {
    "namespace": ("kube_pod_info", "namespace"),
    "model": ("vllm:num_requests_running", "model_name"),
    "tier": ("inference_router_replica_healthy", "tier"),
}


class Limits:
    """What red lines are drawn at, each from its own home."""

    def __init__(self, root: Path) -> None:
        """Read SLOs, windows and triggers."""
        catalogue = Catalogue(root)
        self.slos = {s.name: s for s in catalogue.slos(catalogue.names("slos"), root / "slos")}
        self._windows = {w.long: w for w in load_windows(catalogue.windows_path).windows}
        scaled = yaml.safe_load(TRIGGERS.read_text(encoding="utf-8"))["scaledObjects"]
        self._triggers = {
            trigger["name"]: float(trigger["metadata"]["threshold"])
            for one in scaled
            for trigger in one["triggers"]
        }

    def value(self, asked: object) -> float:
        """Return a line's height; what is asked is a number, or kind and name."""
        if isinstance(asked, int | float):
            return float(asked)
        kind, _, name = str(asked).partition(" ")
        try:
            if kind == "burn":
                return self._windows[name].burn_rate
            if kind == "trigger":
                return self._triggers[name]
            slo = self.slos[name]
        except KeyError:
            raise UsageError(f"red: {asked!r}: there is no {kind} of that name") from None
        if kind == "budget":
            return round(slo.budget, 9)
        return _limit_of(slo)


def _limit_of(slo: SLO) -> float:
    if isinstance(slo.source, RequestsSource) and slo.source.spec.condition.kind == "latency":
        return slo.source.spec.condition.limit_s
    raise UsageError(f"red: slo {slo.name}: it has no limit in seconds; use budget {slo.name}")


def made(path: Path, limits: Limits) -> str:
    """Return the dashboard's JSON."""
    source = yaml.safe_load(path.read_text(encoding="utf-8"))
    panels: list[dict[str, Any]] = []
    y = 0
    for row in source["rows"]:
        panels.append(_row(row["title"], y))
        y += 1
        wide = _width(len(row["panels"]))
        for number, panel in enumerate(row["panels"]):
            place = {"x": number * wide % COLUMNS, "y": y, "w": wide, "h": HEIGHT}
            panels.append(_panel(panel, place, limits))
            y += HEIGHT * (place["x"] + wide >= COLUMNS or number == len(row["panels"]) - 1)
    for number, panel in enumerate(panels, 1):
        panel["id"] = number
    board = {
        "uid": source["uid"],
        "title": source["title"],
        "tags": ["inference"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "",
        "links": [
            {
                "type": "dashboards",
                "title": "Inference",
                "tags": ["inference"],
                "asDropdown": True,
                "includeVars": True,
                "keepTime": True,
            }
        ],
        "templating": {"list": list(_variables(source["variables"]))},
        "annotations": {"list": [_firing()]},
        "panels": panels,
    }
    return json.dumps(board, indent=1, ensure_ascii=False) + "\n"


def _width(panels: int) -> int:
    """Two or four share lines of two, others of three."""
    return COLUMNS // (2 if panels in (2, 4) else 3)


def _row(title: str, y: int) -> dict[str, Any]:
    place = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
    return {"type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []}


def _panel(panel: dict[str, Any], place: dict[str, int], limits: Limits) -> dict[str, Any]:
    steps = list(_steps(panel, limits))
    return {
        "type": "timeseries",
        "title": panel["title"],
        "description": f"{panel['help']}\n\nRunbook: docs/runbooks/{panel['runbook']}.md",
        "datasource": DATASOURCE,
        "gridPos": place,
        "links": [
            {
                "title": f"Runbook {panel['runbook']}",
                "url": f"${{runbooks}}/{panel['runbook']}.md",
                "targetBlank": True,
            }
        ],
        "fieldConfig": {
            "defaults": {
                "unit": panel["unit"],
                "color": {"mode": "palette-classic"},
                "custom": {
                    "drawStyle": "line",
                    "fillOpacity": 0,
                    "lineWidth": 1,
                    "showPoints": "never",
                    # A gap is missing data and is to be seen.
                    "spanNulls": False,
                    "thresholdsStyle": {"mode": "line" if len(steps) > 1 else "off"},
                },
                "thresholds": {"mode": "absolute", "steps": steps},
            },
            "overrides": [],
        },
        "options": {
            "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull"]},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": DATASOURCE,
                "editorMode": "code",
                "range": True,
                "expr": expr,
                "legendFormat": legend,
            }
            for number, (legend, expr) in enumerate(_queries(panel, limits))
        ],
    }


def _queries(panel: dict[str, Any], limits: Limits) -> Iterator[tuple[str, str]]:
    for legend, expr in panel.get("queries", {}).items():
        for short, long in NARROWED.items():
            expr = expr.replace(short, long)  # noqa: PLW2901
        yield legend, " ".join(expr.split())
    if "each_slo" in panel:
        for name, slo in limits.slos.items():
            filled = panel["each_slo"].replace("<slo>", name)
            yield name, filled.replace("<budget>", f"{slo.budget:g}")


def _steps(panel: dict[str, Any], limits: Limits) -> Iterator[dict[str, Any]]:
    if "red_below" in panel:
        yield {"color": "red", "value": None}
        yield {"color": "green", "value": limits.value(panel["red_below"])}
        return
    yield {"color": "green", "value": None}
    for color in ("yellow", "red"):
        if color in panel:
            yield {"color": color, "value": limits.value(panel[color])}


def _variables(names: list[str]) -> Iterator[dict[str, Any]]:
    yield {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "current": {},
        "hide": 0,
    }
    for name in names:
        series, label = VARIABLES[name]
        yield {
            "name": name,
            "type": "query",
            "datasource": DATASOURCE,
            "query": {"query": f"label_values({series}, {label})", "refId": name},
            "refresh": 2,
            "sort": 1,
            "multi": True,
            "includeAll": True,
            # Matches what has no such label, too: a platform without Kubernetes.
            "allValue": ".*",
            "current": {"text": "All", "value": "$__all"},
            "hide": 0,
        }
    yield {
        "name": "runbooks",
        "label": "Runbooks",
        "description": "Address of docs/runbooks, where your copy of the repository can be read",
        "type": "textbox",
        "query": "docs/runbooks",
        "current": {"text": "docs/runbooks", "value": "docs/runbooks"},
        "hide": 2,
    }


def _firing() -> dict[str, Any]:
    return {
        "name": "Alerts",
        "datasource": DATASOURCE,
        "enable": True,
        "iconColor": "red",
        "expr": 'ALERTS{alertstate="firing",severity="page"}',
        "titleFormat": "{{alertname}}",
        "step": "30s",
    }


def main() -> int:
    """Write the dashboards, or say which are not what they should be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    status = 0
    try:
        limits = Limits(ROOT)
        for path in sorted(FOLDER.glob("*.yaml")):
            out, text = path.with_suffix(".json"), made(path, limits)
            if check and (not out.exists() or out.read_text(encoding="utf-8") != text):
                print(f"{out.name}: not what {path.name} and its limits say; run: make dashboards")
                status = 1
            elif not check:
                out.write_text(text, encoding="utf-8")
    except FaultloadError as error:
        print(f"dashboards: {error}", file=sys.stderr)
        return int(error.exit_code)
    return status


if __name__ == "__main__":
    sys.exit(main())
