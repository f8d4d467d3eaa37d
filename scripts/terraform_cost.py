#!/usr/bin/env python3
"""Print as a Markdown table what each environment of platform/terraform costs a month at least.

GPU nodes at the size that the environment starts with, of each group's first instance type, at the
dated prices of src/faultload/spec/prices_data/; control plane and NAT gateways at those of
platform/terraform/prices.yaml. What has no dated price is not guessed: docs/deploy.md names it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import hcl2
import yaml

ROOT = Path(__file__).parents[1]
ENVIRONMENTS = ("dev", "staging", "prod")
HOURS_PER_MONTH = 730  # as AWS counts
_PRICES = {"ON_DEMAND": "us-east-1.yaml", "SPOT": "us-east-1-spot.yaml"}
_OPTIONS = hcl2.SerializationOptions(
    with_comments=False, explicit_blocks=False, strip_string_quotes=True
)


def platform_call(environment: str) -> dict[str, Any]:
    """Return the arguments that an environment gives modules/platform."""
    path = ROOT / "platform/terraform/environments" / environment / "main.tf"
    document = hcl2.loads(path.read_text(), serialization_options=_OPTIONS)
    call: dict[str, Any] = document["module"][0]["platform"]
    return call


def gpu_usd_per_hour(group: dict[str, Any]) -> float:
    """Return what a group's nodes cost at its first size; KeyError for a type without a price."""
    path = ROOT / "src/faultload/spec/prices_data" / _PRICES[group["capacity_type"]]
    prices = {
        each["instance_type"]: float(each["usd_per_hour"])
        for each in yaml.safe_load(path.read_text())["instances"]
    }
    return int(group["size"]) * prices[group["instance_types"][0]]


def row(environment: str) -> tuple[str, ...]:
    """Return one line of the table."""
    call = platform_call(environment)
    listed = yaml.safe_load((ROOT / "platform/terraform/prices.yaml").read_text())["usd_per_hour"]
    groups = call["gpu_groups"].values()
    nodes = [
        f"{group['size']} x {group['instance_types'][0]} {group['capacity_type'].lower()}"
        for group in groups
        if int(group["size"])
    ]
    gateways = 3 if call["nat_gateways"] == "per_zone" else 1
    hourly = (
        sum(gpu_usd_per_hour(group) for group in groups),
        listed["eks_control_plane"],
        gateways * listed["nat_gateway"],
    )
    monthly = [each * HOURS_PER_MONTH for each in hourly]
    texts = [f"{each:,.0f}" for each in (*monthly, sum(monthly))]
    return (environment, re.sub("_", "-", ", ".join(nodes)), *texts)


def table() -> str:
    """Return the whole table."""
    head = (
        "environment",
        "GPU nodes at first",
        "GPU nodes",
        "control plane",
        "NAT",
        "sum, at least",
    )
    lines = [head, ("--",) * len(head), *(row(each) for each in ENVIRONMENTS)]
    return (
        "\n".join(f"| {' | '.join(line)} |" for line in lines)
        .replace("| -- ", "|--")
        .replace("|-- |", "|--|")
    )


if __name__ == "__main__":
    print(table())
