"""Load balancers close idle connections, never what stands behind them."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from charts import CHARTS
from terraform_code import PLATFORM, parse

from inference_platform.chat import __main__ as chat
from inference_platform.router import __main__ as router
from inference_platform.router import serving


async def _app(scope: Any, receive: Any, send: Any) -> None:
    """Answer nothing: the server is built and not run."""


def _kept_s() -> float:
    """Return how long the server keeps an idle connection."""
    return serving.build_server(_app, drain_s=1.0).config.timeout_keep_alive


@pytest.mark.parametrize("program", [router, chat], ids=["router", "chat"])
def test_programs_run_that_server(program: Any) -> None:
    """What holds for it holds for both that load balancers ask."""
    assert program.serve is serving.serve


@pytest.mark.parametrize("chart", ["router", "chat"])
def test_charts_allow_no_balancer_that_keeps_them_longer(chart: str) -> None:
    """A request down a connection that is just being closed is a 502, and is not tried again."""
    schema = json.loads((CHARTS[chart] / "values.schema.json").read_text(encoding="utf-8"))
    allowed = schema["properties"]["ingress"]["properties"]["idleTimeoutSeconds"]
    values = yaml.safe_load((CHARTS[chart] / "values.yaml").read_text(encoding="utf-8"))
    assert values["ingress"]["idleTimeoutSeconds"] <= allowed["maximum"] < _kept_s()


def test_terraforms_balancer_closes_first() -> None:
    """It reuses connections of routers for as long as its own idle timeout says."""
    module = {one.address: one.body for one in parse(PLATFORM / "modules/ingress").resources}
    assert module["aws_lb.this"]["idle_timeout"] < _kept_s()
