"""`faultload prices`: what machines cost, dated, with the source."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
import yaml

from faultload.cli.output import Json, Root, catalogue_of, echo_json, say
from faultload.errors import UsageError, told_by_machine

prices = typer.Typer(no_args_is_help=True)


@prices.command("list")
def prices_list(
    region: Annotated[str | None, typer.Option(help="Only this region.")] = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """List prices with their date and source: those shipped, and those of prices/."""
    from faultload.spec.prices import load_price_book

    book = load_price_book(_folder(root))
    lists = [one for one in book.lists if region in (None, one.region)]
    if region is not None and not lists:
        known = ", ".join(sorted({one.region for one in book.lists}))
        raise UsageError(f"no price list for {region!r}; there are lists for {known}")
    if as_json:
        echo_json({"lists": [one.model_dump(mode="json") for one in lists]})
        return
    for one in lists:
        typical = ", typical values" if one.typical else ""
        say(f"{one.region}, {one.capacity_type}{typical}, as of {one.as_of}: {one.source}")
        for row in one.instances:
            gpus = f"{row.gpu:<8} x{row.gpus}" if row.gpus else ""
            say(f"  {row.instance_type:<18} {gpus:<12} ${row.usd_per_hour:.4f}/h")


@prices.command("refresh")
def prices_refresh(
    region: Annotated[str, typer.Option(help="AWS region, such as us-east-1.")],
    types: Annotated[
        list[str] | None,
        typer.Option("--type", help="Instance type; may be given again. Default: all known."),
    ] = None,
    days: Annotated[float, typer.Option(min=0.1, max=90, help="Length of the history.")] = 7.0,
    endpoint_url: Annotated[
        str | None, typer.Option(help="Another EC2 endpoint than AWS's own.")
    ] = None,
    root: Root = None,
) -> None:
    """Write what spot machines cost lately into prices/, with its date; needs an AWS account.

    Credentials are found as boto3 finds them, and need ec2:DescribeSpotPriceHistory.
    """
    from faultload.spec.prices import load_price_book
    from faultload.targets.spot_prices import spot_client, spot_history, spot_list

    folder = catalogue_of(root).root / "prices"
    book, now = load_price_book(folder), datetime.now(UTC)
    known = sorted({row.instance_type for one in book.lists for row in one.instances})
    history = spot_history(spot_client(region, endpoint_url), types or known, now, days)
    found = spot_list(history, region, now, days)
    path = folder / f"{region}-spot-{found.as_of}.yaml"
    text = yaml.safe_dump(found.model_dump(exclude_defaults=True), sort_keys=False)
    try:
        folder.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {told_by_machine(error)}") from None
    say(f"{path}: {len(found.instances)} types, {found.source}")


def _folder(root: Path | None) -> Path | None:
    """Return the project's own lists; None: we are in no project, and what is shipped is shown."""
    try:
        return catalogue_of(root).root / "prices"
    except UsageError:
        if root is not None:
            raise
        return None
