"""The group `slo`: objectives in words, and the Prometheus rules made of them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from faultload.cli.output import Json, Root, catalogue_of, complain, echo_json, echo_lines, relative
from faultload.errors import ExitCode

slos = typer.Typer(no_args_is_help=True)


@slos.command("list")
def slo_list(root: Root = None, as_json: Json = False) -> None:
    """List every SLO of slos/ in words, and how soon a total outage pages somebody."""
    from faultload.measure.paging import paging_of
    from faultload.spec.windows import load_windows

    catalogue = catalogue_of(root)
    found = catalogue.slos(catalogue.names("slos"), catalogue.root / "slos")
    path = catalogue.windows_path
    windows = load_windows(path) if path.exists() else None
    rows, lines = [], []
    for slo in found:
        row: dict[str, object] = {
            "name": slo.name,
            "target": slo.target,
            "statement": slo.statement,
        }
        lines.append(f"{slo.name:<24} {slo.statement}")
        if windows is not None:
            paging = paging_of(slo, windows)
            after = paging.page_after_s
            row["page_after_s"] = None if after is None or math.isinf(after) else after
            row["pages_in_time"] = paging.in_time
            lines.append(f"{'':<24} {paging.sentence}")
        rows.append(row)
    if as_json:
        echo_json(rows)
    else:
        echo_lines(lines)


@slos.command("rules")
def slo_rules(
    files: Annotated[
        list[Path] | None, typer.Argument(help="SLO files; default: all of slos/.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where they go; default: platform/observability/rules.")
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Write nothing; exit 1 where a file is not as it would be."),
    ] = False,
    root: Root = None,
) -> int:
    """Make Prometheus rules of SLOs: ratios to record, burn-rate alerts, and tests for promtool."""
    from faultload.measure.paging import paging_of
    from faultload.measure.rule_files import drift, rule_files, write
    from faultload.spec import load_slos
    from faultload.spec.windows import load_windows

    catalogue = catalogue_of(root)
    windows = load_windows(catalogue.windows_path)
    paths = files or catalogue.slo_paths()
    folder = out or catalogue.root / "platform/observability/rules"
    made = rule_files(paths, windows)
    if check:
        changed = drift(made, folder, alone=not files)
        for name in changed:
            told = "no SLO file makes it any more; remove it"
            if name in made:
                told = "not what the SLOs say; run: faultload slo rules"
            complain(f"{relative(folder / name)}: {told}")
        return int(ExitCode.FAIL if changed else ExitCode.PASS)
    for slo in (slo for path in paths for slo in load_slos(path)):
        echo_lines([f"{slo.name:<24} {paging_of(slo, windows).sentence}"])
    echo_lines([f"wrote {relative(path)}" for path in write(made, folder)])
    return int(ExitCode.PASS)
