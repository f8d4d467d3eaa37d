"""What spot machines cost lately, as EC2 says to whoever has an account."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from faultload.errors import MissingError, UsageError
from faultload.secrecy import redacted
from faultload.spec.prices import InstancePrice, Prices

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

_PRODUCT = "Linux/UNIX"
_ANSWER_S = 20.0
_URL = "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSpotPriceHistory.html"


@dataclass(frozen=True)
class SpotPrice:
    """One change of a price."""

    instance_type: str
    zone: str
    at: datetime
    usd_per_h: float


def spot_client(region: str, endpoint_url: str | None = None) -> EC2Client:
    """Return a client that signs in as boto3 always does: environment, profile or role.

    Args:
        region: AWS's name of it.
        endpoint_url: None: AWS's own.

    Raises:
        UsageError: no such region, URL or profile.
    """
    import boto3  # noqa: PLC0415  # takes half a second that other commands need not pay
    from botocore.config import Config  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415

    tries: Any = {"max_attempts": 3}
    config = Config(connect_timeout=_ANSWER_S, read_timeout=_ANSWER_S, retries=tries)
    try:
        return boto3.client("ec2", region_name=region, endpoint_url=endpoint_url, config=config)
    except (BotoCoreError, ValueError) as error:  # a bad URL is a ValueError
        what = f"region {region!r}" + (f", endpoint {endpoint_url!r}" if endpoint_url else "")
        raise UsageError(
            f"EC2 cannot be asked ({what}): {redacted(str(error))}; see --region, --endpoint-url"
            " and AWS_PROFILE"
        ) from None


def spot_history(
    client: EC2Client, instance_types: Sequence[str], now: datetime, days: float
) -> list[SpotPrice]:
    """Return every change of price in the last days, and the one before each zone's first.

    Raises:
        MissingError: nobody is signed in, AWS does not answer, or it does not let us ask.
    """
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    pages = client.get_paginator("describe_spot_price_history").paginate(
        InstanceTypes=list(instance_types),  # type: ignore[arg-type]  # names come from people
        ProductDescriptions=[_PRODUCT],
        StartTime=now - timedelta(days=days),
        EndTime=now,
    )
    try:
        return [
            SpotPrice(
                str(row["InstanceType"]),
                row["AvailabilityZone"],
                row["Timestamp"],
                float(row["SpotPrice"]),
            )
            for page in pages
            for row in page["SpotPriceHistory"]
        ]
    except (BotoCoreError, ClientError) as error:
        raise MissingError(f"spot prices could not be asked for: {redacted(str(error))}") from None


def spot_list(history: Iterable[SpotPrice], region: str, now: datetime, days: float) -> Prices:
    """Return a price list: each type's mean over time, and over the zones that offer it.

    Args:
        history: of one region.
        region: its name.
        now: the end of the history.
        days: its length.

    Raises:
        UsageError: nothing in it.
    """
    start = now - timedelta(days=days)
    by_zone: dict[str, dict[str, list[SpotPrice]]] = {}
    for one in sorted(history, key=lambda one: one.at):
        by_zone.setdefault(one.instance_type, {}).setdefault(one.zone, []).append(one)
    if not by_zone:
        raise UsageError(
            f"EC2 has no spot price in {region} for these types in the last {days:g} days;"
            " see that the region offers them"
        )
    rows = [
        InstancePrice(instance_type=kind, usd_per_hour=round(_mean(zones, start, now), 6))
        for kind, zones in sorted(by_zone.items())
    ]
    source = f"EC2 spot price history for {_PRODUCT}, mean over {days:g} days and over the zones"
    return Prices(
        region=region,
        as_of=now.astimezone(UTC).date(),
        source=source,
        url=_URL,
        capacity_type="spot",
        instances=rows,
    )


def _mean(zones: dict[str, list[SpotPrice]], start: datetime, now: datetime) -> float:
    means = [_mean_over_time(changes, start, now) for changes in zones.values()]
    return sum(means) / len(means)


def _mean_over_time(changes: Sequence[SpotPrice], start: datetime, now: datetime) -> float:
    """Return the mean price, each for as long as it held; before the first: the first."""
    begins = [start, *(max(one.at, start) for one in changes[1:])]
    ends = [*begins[1:], now]
    held_s = [
        max(0.0, (end - begin).total_seconds()) for begin, end in zip(begins, ends, strict=True)
    ]
    if not sum(held_s):
        return changes[-1].usd_per_h
    paid = sum(one.usd_per_h * held for one, held in zip(changes, held_s, strict=True))
    return paid / sum(held_s)
