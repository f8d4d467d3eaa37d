"""Checkov finds nothing in what the charts make but what checkov.yaml explains."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from charts import every_case, pod_templates, render, write
from platform_tools import need

_TIMEOUT_S = 500.0
_EXPLAINED = yaml.safe_load((Path(__file__).parent / "checkov.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> set[tuple[str, str, str]]:
    """What Checkov says of every case: chart, rule, and what it is about."""
    folder = tmp_path_factory.mktemp("rendered")
    for chart, layers in every_case():
        objects = render(chart, *layers)
        # Of kinds it does not know Checkov says nothing, so it gets the pods that they make.
        objects += [
            {"apiVersion": "v1", "kind": "Pod", **template, "metadata": metadata}
            for where, template in pod_templates(objects)
            if where.startswith("LeaderWorkerSet/")
            for metadata in [
                {
                    **template["metadata"],
                    "name": where.split()[-1].lower(),
                    "namespace": "inference",
                }
            ]
        ]
        write(objects, folder / f"{'-'.join([chart, *layers])}.{chart}.yaml")
    command = [need("checkov"), "-d", str(folder), "--framework", "kubernetes", "--quiet"]
    done = subprocess.run(
        [*command, "--compact", "--output", "json"],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    assert answer["summary"]["passed"] > 0
    assert answer["summary"]["parsing_errors"] == 0
    return {
        (
            one["file_path"].split(".")[-2],
            one["check_id"],
            f"{one['check_name']}: {one['resource']} of {one['file_path'].strip('/')}",
        )
        for one in answer["results"]["failed_checks"]
    }


def test_every_finding_is_explained(found: set[tuple[str, str, str]]) -> None:
    """An exception is a decision, with its reason; what has none is a mistake."""
    left = [
        f"{rule} {about}"
        for chart, rule, about in sorted(found)
        if chart not in _EXPLAINED.get(rule, {"charts": []}).get("charts", [chart])
    ]
    assert left == []


def test_every_exception_is_used(found: set[tuple[str, str, str]]) -> None:
    """One that nothing needs any more would excuse the next mistake."""
    used = {(chart, rule) for chart, rule, _ in found}
    for rule, exception in _EXPLAINED.items():
        assert len(exception["why"]) > 60, rule
        charts = exception.get("charts")
        assert any(one == rule for _, one in used), rule
        assert charts is None or all((chart, rule) in used for chart in charts), rule
