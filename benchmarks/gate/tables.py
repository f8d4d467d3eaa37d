"""The tables of docs/statistics.md about the gate, from benchmarks/data/gate.json."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from scipy import stats

BEGIN, END = "<!-- gate: written by make bench-gate -->\n", "<!-- end of the gate -->\n"


def write(data: Mapping[str, Any], document: Path, *, only_check: bool) -> int:
    """Put the tables between their markers; return an exit code."""
    marks, remedy = (BEGIN, END), "bench.py --tables"
    return put(document, marks, tables(data), only_check=only_check, remedy=remedy)


def put(  # noqa: PLR0913  # what stands where
    document: Path,
    marks: tuple[str, str],
    text: str,
    *,
    only_check: bool,
    remedy: str,
    after: str = "",
) -> int:
    """Put a text between its marks, or look whether it is there; return an exit code.

    Args:
        document: the file.
        marks: before and after the text. Where the file has none they come with the first text
            that is not empty, and go with it.
        text: "": there is nothing to say.
        only_check: change nothing.
        remedy: the command that writes it.
        after: what stands before the marks where the file has none yet.
    """
    begin, end = marks
    found = document.read_text(encoding="utf-8")
    before, begun, rest = found.partition(begin)
    if begun:
        _, _, rest = rest.partition(end)
    elif after:
        before, _, rest = found.partition(after)
        before += after
    wanted = before + (begin + text + end if text else "") + rest
    if only_check:
        if wanted != found:
            print(f"{document} does not hold the tables of the data: run {remedy}")
        return int(wanted != found)
    document.write_text(wanted, encoding="utf-8")
    return 0


def tables(data: Mapping[str, Any]) -> str:
    """Return all of them, as Markdown."""
    return "\n".join(
        [
            "",
            *_false_alarms(data),
            "",
            *_tolerated(data),
            *_powers(data),
            "",
            *_first_looks(data),
            "",
            *_others(data),
            "",
        ]
    )


def interval(hits: int, of: int) -> tuple[float, float]:
    """Return the 95 % interval of Clopper and Pearson."""
    low = stats.beta.ppf(0.025, hits, of - hits + 1) if hits else 0.0
    high = stats.beta.ppf(0.975, hits + 1, of - hits) if hits < of else 1.0
    return float(low), float(high)


def _share(hits: int, of: int) -> str:
    low, high = interval(hits, of)
    return f"{100 * hits / of:.2f} % ({100 * low:.2f}–{100 * high:.2f})"  # noqa: RUF001  # a range


def _brief(hits: int, of: int) -> str:
    return f"{100 * hits / of:.1f}"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    head = list(head)
    yield f"| {' | '.join(head)} |"
    yield "|" + "--|" * len(head)
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _brief_share(hits: int, of: int) -> str:
    low, high = interval(hits, of)
    return f"{100 * hits / of:.1f} ({100 * low:.1f}–{100 * high:.1f})"  # noqa: RUF001  # a range


def _counts(regime: Mapping[str, Any], plan: str = "full, history") -> list[dict[str, Any]]:
    return [count for count in regime["gates"] if count["plan"] == plan]


def _by_case(data: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], list[dict[str, Any]]]]:
    """Yield regime, and the counts of one SLI and effect by each plan, in the plans' order."""
    for regime in data["regimes"]:
        for case in _counts(regime):
            same = (case["sli"], case["effect"])
            counts = [count for plan in data["plans"] for count in _counts(regime, plan)]
            yield regime, [c for c in counts if (c["sli"], c["effect"]) == same]


def _effect(data: Mapping[str, Any], sli: str, effect: float) -> str:
    if data["slis"][sli]["unit"] == "s":
        return f"+{100 * effect:.0f} %"
    return f"{'-' if sli == 'goodput' else '+'}{100 * effect:.1f} points"


def _false_alarms(data: Mapping[str, Any]) -> Iterator[str]:
    rows = []
    for regime, counts in _by_case(data):
        sli = counts[0]["sli"]
        if counts[0]["effect"]:
            continue
        spread = regime["spread"][sli]
        is_latency = data["slis"][sli]["unit"] == "s"
        rows.append(
            [
                regime["name"],
                sli,
                f"{100 * spread:.1f} %" if is_latency else f"{spread:.3f}",
                *(_brief_share(c["fail"], c["gates"]) for c in counts),
                " / ".join(_brief(c["pass"], c["gates"]) for c in counts),
                " / ".join(f"{c['trials_mean']:.0f}" for c in counts),
            ]
        )
    count = data["regimes"][0]["gates"][0]["gates"]
    yield f"Nothing got worse ({count:,} gates a cell): false fails, in % (95 %)."
    yield ""
    head = ["regime", "SLI", "trial noise", *data["plans"], "pass, %", "trials run"]
    yield from table(head, rows)


def _tolerated(data: Mapping[str, Any]) -> Iterator[str]:
    for title, verdict in (("found", "fail"), ("wrongly passed", "pass")):
        rows = []
        for regime, counts in _by_case(data):
            sli, effect = counts[0]["sli"], counts[0]["effect"]
            if effect != data["slis"][sli]["tolerated"]:
                continue
            shares = [_brief_share(c[verdict], c["gates"]) for c in counts]
            rows.append([regime["name"], sli, _effect(data, sli, effect), *shares])
        yield f"Worse by exactly what is tolerated: {title}, in % (95 %)."
        yield ""
        yield from table(["regime", "SLI", "truth", *data["plans"]], rows)
        yield ""


def _powers(data: Mapping[str, Any]) -> Iterator[str]:
    rows = []
    for regime, counts in _by_case(data):
        sli, effect = counts[0]["sli"], counts[0]["effect"]
        if not effect or effect == data["slis"][sli]["tolerated"]:
            continue
        shares = [
            f"{_brief(c['fail'], c['gates'])} / {_brief(c['pass'], c['gates'])}" for c in counts
        ]
        rows.append([regime["name"], sli, _effect(data, sli, effect), *shares])
    yield "Worse by something else: fails / passes, in %."
    yield ""
    yield from table(["regime", "SLI", "truth", *data["plans"]], rows)


def _first_looks(data: Mapping[str, Any]) -> Iterator[str]:
    yield "Whose noise the first look believes (a third of 1 % is meant to fail):"
    yield ""
    yield from table(
        ["trials differ", "noise from", "false fail", "pass %", "fail at +10 %, %", "wrong pass"],
        (
            [
                look["noise"],
                look["source"],
                _share(look["false_fail"], look["gates"]),
                _brief(look["pass"], look["gates"]),
                _brief(look["fail"], look["gates"]),
                _share(look["wrong_pass"], look["gates"]),
            ]
            for look in data["first_looks"]
        ),
    )


def _others(data: Mapping[str, Any]) -> Iterator[str]:
    yield "Other judges of the same trials: alarms in per cent when nothing got worse | at each"
    yield "worsening, for one pair of runs and for five pairs:"
    yield ""
    rows = []
    for regime in data["regimes"]:
        names = list(dict.fromkeys(other["judge"] for other in regime["others"]))
        for name in names:
            cells = []
            for pairs in (1, data["trials"]["traces"]):
                found = [o for o in regime["others"] if (o["judge"], o["pairs"]) == (name, pairs)]
                first, *rest = (_brief(o["alarms"], o["gates"]) for o in found)
                cells += [f"**{first}**", " / ".join(rest)]
            rows.append([regime["name"], name, *cells])
        gated = next(c for c in _counts(regime) if not c["effect"] and c["sli"] in GATED)
        worse = [c for c in _counts(regime) if c["effect"] and c["sli"] == gated["sli"]]
        powers = " / ".join(_brief(c["fail"], c["gates"]) for c in worse)
        alarms = _brief(gated["fail"], gated["gates"])
        rows.append(
            [regime["name"], f"this gate in full, {gated['sli']}", "", "", f"**{alarms}**", powers]
        )
    yield from table(
        [
            "regime",
            "judge",
            "one pair: false",
            "true at +5 / +10 / +20 %*",
            "five pairs: false",
            "true at +5 / +10 / +20 %*",
        ],
        rows,
    )
    yield ""
    yield "\\* errors: +0.3 / +1 / +2 points. This gate, given a history, runs five to 15 pairs."


GATED = ("p95 TTFT", "error rate")
"""Which SLI stands next to the other judges."""
