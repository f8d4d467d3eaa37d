"""The group `trace`: made from scenarios, imported from public recordings, and shown."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from faultload.cli.output import Json, Root, catalogue_of, echo_json, relative, say
from faultload.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

traces = typer.Typer(no_args_is_help=True)

_BAR_WIDTH = 30

_Out = Annotated[Path, typer.Option(help="The Parquet file to write.")]


@traces.command("make")
def make(
    scenario: Annotated[str, typer.Argument(help="Scenario, as path or name in scenarios/.")],
    out: _Out,
    duration: Annotated[float, typer.Option(min=0.001, help="Seconds the trace lasts.")] = 60.0,
    seed: Annotated[int | None, typer.Option(min=0, help="Default: the scenario's.")] = None,
    root: Root = None,
) -> None:
    """Write the trace of a scenario; the same seed gives the same bytes."""
    from faultload.load import check_size, make_trace

    path, spec = catalogue_of(root).scenario(scenario)
    check_size(spec, path, duration)
    trace = make_trace(spec, duration, spec.seed if seed is None else seed, path.parent)
    _write(trace, out)


@traces.command("import")
def import_(
    format_: Annotated[
        str, typer.Argument(metavar="FORMAT", help="azure, burstgpt, mooncake or sharegpt.")
    ],
    file: Annotated[Path, typer.Argument(help="The recording, as it was published.")],
    out: _Out,
    tier: Annotated[str, typer.Option(help="Tier of every request.")] = "fast",
    model: Annotated[str, typer.Option(help="Model to ask for.")] = "chat-fast",
    map_: Annotated[
        list[str] | None,
        typer.Option("--map", help="RECORDED=TIER:MODEL, for a recorded model; may be repeated."),
    ] = None,
    scale_rate: Annotated[
        float, typer.Option(min=1e-6, help="2: twice the requests a second.")
    ] = 1.0,
    limit: Annotated[int | None, typer.Option(min=1, help="The earliest so many.")] = None,
    from_s: Annotated[float, typer.Option(min=0, help="From this recorded second on.")] = 0.0,
    to_s: Annotated[float | None, typer.Option(min=0, help="Up to this recorded second.")] = None,
    prompt_tokens_max: Annotated[int | None, typer.Option(min=1, help="Cut prompts to it.")] = None,
    output_tokens_max: Annotated[int | None, typer.Option(min=1, help="Cut answers to it.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the words, and of times made up.")] = 1,
    starts_rps: Annotated[
        float, typer.Option(min=1e-6, help="sharegpt: conversations begun a second.")
    ] = 1.0,
    turn_gap_s: Annotated[
        float, typer.Option(min=0, help="sharegpt: mean time from question to question.")
    ] = 20.0,
) -> None:
    """Make a trace of a public recording; its lengths and times are kept, its texts are not."""
    from faultload.load import ImportOptions, import_trace

    if to_s is not None and to_s <= from_s:
        raise UsageError(f"--to-s: expected more than --from-s ({from_s:g}), found {to_s:g}")
    options = ImportOptions(
        tier=tier,
        model=model,
        models=dict(map(_mapped, map_ or [])),
        scale_rate=scale_rate,
        limit=limit,
        from_s=from_s,
        to_s=math.inf if to_s is None else to_s,
        prompt_tokens_max=prompt_tokens_max,
        output_tokens_max=output_tokens_max,
        seed=seed,
        starts_rps=starts_rps,
        turn_gap_s=turn_gap_s,
    )
    trace, left_out = import_trace(format_, file, options)
    _write(trace, out)
    if left_out:
        say(f"left out: {left_out} requests without a prompt or without an answer")


@traces.command("show")
def show(
    file: Annotated[Path, typer.Argument(help="A trace, also that of a record.")],
    as_json: Json = False,
) -> None:
    """Say what is in a trace: rate over time, lengths, tiers, tenants, sessions, what repeats."""
    from rich.console import Console

    from faultload.load import describe, read_trace

    about = describe(read_trace(file))
    if as_json:
        echo_json(about)
        return
    console = Console(highlight=False)
    with console.capture() as captured:
        console.print(_head(about))
        console.print(_tiers(about["tiers"]))
        console.print(_rates(about["rate"]))
    say(captured.get().rstrip())


def _write(trace: pd.DataFrame, out: Path) -> None:
    from faultload.load import write_trace

    write_trace(trace, out)
    digest = hashlib.sha256(out.read_bytes()).hexdigest()
    say(f"{relative(out)}: {len(trace)} requests, sha256 {digest}")


def _mapped(text: str) -> tuple[str, tuple[str, str]]:
    recorded, _, place = text.partition("=")
    tier, _, model = place.partition(":")
    if not (recorded and tier and model):
        raise UsageError(f"--map: expected RECORDED=TIER:MODEL, found {text!r}")
    return recorded, (tier, model)


def _head(about: dict[str, Any]) -> str:
    sessions, tenants = about["sessions"], about["tenants"]
    rate = "" if about["rate_rps"] is None else f", {about['rate_rps']:.1f} a second"
    lines = [f"{about['requests']} requests, the last due at {about['last_due_s']:.1f} s{rate}"]
    shown = [f"{name} {count}" for name, count in list(tenants.items())[:8]]
    more = f" and {len(tenants) - 8} more" if len(tenants) > len(shown) else ""
    lines.append(f"tenants   {', '.join(shown)}{more}")
    talk = f"{sessions['share']:.0%} of requests in {sessions['count']}"
    ending = f", up to {sessions['turns_max']} turns" if sessions["count"] else ""
    lines.append(f"sessions  {talk}{ending}")
    lines.append(f"prefixes  {about['prefix_share']:.0%} of prompt tokens have been sent before")
    return "\n".join(lines)


def _tiers(tiers: list[dict[str, Any]]) -> Table:
    table = _table("tier", "model", "requests", "prompt p50/p95/max", "output p50/p95/max")
    for row in tiers:
        lengths = ["/".join(map(str, row[f"{what}_tokens"].values())) for what in _WHAT]
        table.add_row(row["tier"], row["model"], str(row["requests"]), *lengths)
    return table


def _rates(rate: list[dict[str, float]]) -> Table:
    table = _table("from s", "a second", "")
    most = max((row["rps"] for row in rate), default=0.0) or 1.0
    for row in rate:
        bar = "#" * round(_BAR_WIDTH * row["rps"] / most)
        table.add_row(f"{row['from_s']:g}", f"{row['rps']:.1f}", bar)
    return table


_WHAT = ("prompt", "output")


def _table(*columns: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="left" if column in ("tier", "model", "") else "right")
    return table
