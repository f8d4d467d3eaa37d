"""What a gate says: lines for a terminal, Markdown for a pull request, JSON, JUnit.

Nothing that is not a pass looks like one: in JUnit an inconclusive SLI is a failure of that type,
and an invalid gate an error.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from faultload.judge import Verdict
from faultload.judge.trial import Unit
from faultload.report import formats
from faultload.secrecy import redacted_bytes

_HEAD = ("SLI", "verdict", "baseline", "candidate", "change", "interval", "detectable", "trials")
_MEANING = {
    Verdict.PASS: "no SLI got worse by more than is tolerated, as far as these error rates go",
    Verdict.FAIL: "an SLI got worse",
    Verdict.INCONCLUSIVE: "the trials do not decide; more of them would",
    Verdict.INVALID: "this is no comparison",
}


@dataclass(frozen=True)
class SliLine:
    """One SLI.

    Attributes:
        sli: its name.
        unit: of `baseline` and `candidate`.
        verdict: the gate's.
        reason: one sentence.
        baseline, candidate: mean over the trials; None: not known.
        effect: worsening: of latencies relative, 0.1 = 10 % worse; of shares a difference, 0.01 =
            a percentage point worse. None: not computed.
        interval: of the effect, as in `GateResult`; None: not computed. A bound that so few trials
            leave open is infinite.
        effect_detectable: smallest worsening that so many trials would find; None: not known.
        trials: a side.
        trials_needed: more a side until it would be decided; 0: it is.
        stage: at which the last look was.
        confirmed: None: nobody tried.
    """

    sli: str
    unit: str
    verdict: Verdict
    reason: str
    baseline: float | None
    candidate: float | None
    effect: float | None
    interval: tuple[float, float] | None
    effect_detectable: float | None
    trials: int
    trials_needed: int
    stage: int
    confirmed: bool | None

    def value(self, number: float | None) -> str:
        """Return a number of this SLI as people read it."""
        return shown(self.unit, number)

    def change(self, effect: float | None, *, signed: bool = True) -> str:
        """Return a worsening in the unit people think in: percent, or percentage points."""
        if effect is None:
            return formats.NO_DATA
        if signed and self.unit == Unit.GOOD_SHARE:
            effect = -effect
        plus = "+" if signed and effect > 0 else ""
        name = "%" if self.unit == Unit.SECONDS else "pp"
        return f"{plus}{formats.number(effect * 100, 2)}{formats.THIN}{name}"

    def cells(self) -> list[str]:
        """Return its row of the table."""
        bounds = " to ".join(map(self.change, self.interval)) if self.interval else ""
        more = f" (+{self.trials_needed})" if self.trials_needed else ""
        return [
            self.sli,
            self.verdict.upper(),
            self.value(self.baseline),
            self.value(self.candidate),
            self.change(self.effect),
            bounds or formats.NO_DATA,
            self.change(self.effect_detectable, signed=False),
            f"{self.trials}{more}",
        ]


@dataclass(frozen=True)
class GateReport:
    """A gate that has ended, or was judged again.

    Attributes:
        gate_id: its directory's name; of a comparison of stored things, what was compared.
        verdict: the worst of its SLIs, or invalid.
        reason: one sentence.
        baseline, candidate: as they were asked for.
        differences: what is known to differ between the two, a clause each.
        slis: in order.
        trials: run in all.
        repeated: of those, repetitions of invalid ones.
        elapsed_s: from start to end.
        left_s: what the trials still needed would take; 0: none is.
        notes: what else a reader must know, a sentence each.
        repeat: the command that repeats it; "": there is none.
    """

    gate_id: str
    verdict: Verdict
    reason: str
    baseline: str
    candidate: str
    differences: Sequence[str]
    slis: Sequence[SliLine]
    trials: int
    repeated: int
    elapsed_s: float
    left_s: float
    notes: Sequence[str]
    repeat: str

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON data; key names are the contract of `gate.json`.

        JSON has no infinity: an open bound is null.
        """
        return {**asdict(self), "slis": [_finite(asdict(line)) for line in self.slis]}

    @property
    def cost(self) -> str:
        """How long it took, and what is left."""
        repeated = f", {self.repeated} of them repeated" if self.repeated else ""
        left = f"; about {formats.seconds(self.left_s)} more to decide" if self.left_s else ""
        count, took = formats.plural(self.trials, "trial"), formats.seconds(self.elapsed_s)
        return f"{count}{repeated}, {took}{left}"

    def lines(self) -> list[str]:
        """Return it for a terminal or a log."""
        rows = [list(_HEAD), *(line.cells() for line in self.slis)]
        rows = [[_line(cell) for cell in row] for row in rows]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        said = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        told = [f"  {_line(line.sli)}: {_line(line.reason)}" for line in self._open]
        notes = [f"note: {_line(note)}" for note in self.notes]
        head = f"{self.verdict.upper()}: {_line(self.candidate)} against {_line(self.baseline)}"
        changed = [f"differs in {_line(one)}" for one in self.differences]
        end = [_line(self.cost), f"{self.verdict.upper()}: {_line(self.reason)}"]
        return [head, *changed, "", *(said if self.slis else []), *told, *notes, *end]

    @property
    def _open(self) -> list[SliLine]:
        """What is not a plain pass, and needs its reason said."""
        return [line for line in self.slis if line.verdict is not Verdict.PASS]


def write_gate_reports(report: GateReport, folder: Path) -> list[Path]:
    """Write `gate.json`, `gate.md` and `junit.xml`; return their paths."""
    makers: dict[str, Callable[[], bytes]] = {
        "gate.json": lambda: json.dumps(
            report.as_json(), indent=2, sort_keys=True, allow_nan=False
        ).encode(),
        "gate.md": lambda: gate_markdown(report).encode(),
        "junit.xml": lambda: gate_junit(report),
    }
    for name, make in makers.items():
        (folder / name).write_bytes(redacted_bytes(make()))
    return [folder / name for name in makers]


def gate_markdown(report: GateReport) -> str:
    """Return the summary as a pull request shows it."""
    rows = ["| " + " | ".join(_HEAD) + " |", "|" + "--|" * len(_HEAD)]
    rows += ["| " + " | ".join(map(_cell, line.cells())) + " |" for line in report.slis]
    told = [f"- **{_cell(line.sli)}**: {_cell(line.reason)}" for line in report._open]  # noqa: SLF001  # ours
    changed = [f"- differs in {_code(one)}" for one in report.differences]
    notes = [f"- {_cell(note)}" for note in report.notes]
    repeat = ["", f"Again: {_code(report.repeat)}"] if report.repeat else []
    parts = [
        f"## SLO gate: {report.verdict.upper()}",
        "",
        f"{_code(report.candidate)} against {_code(report.baseline)}: {_cell(report.reason)}",
        "",
        *(rows if report.slis else []),
        "",
        *told,
        *changed,
        *notes,
        "",
        _cell(f"{report.cost} ({report.gate_id})"),
        *repeat,
    ]
    return "\n".join(parts) + "\n"


def gate_junit(report: GateReport) -> bytes:
    """Return one suite, a case an SLI and one for the whole."""
    suite = Element("testsuite", name="faultload gate", time=f"{report.elapsed_s:.3f}")
    counts = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    cases = [(line.sli, line.verdict, line.reason) for line in report.slis]
    cases.append(("the gate", report.verdict, report.reason))
    for name, verdict, text in cases:
        counts["tests"] += 1
        case = SubElement(suite, "testcase", classname="gate", name=formats.clean(name), time="0")
        if verdict is Verdict.PASS:
            continue
        tag, counter = ("failure", "failures")
        if verdict is Verdict.INVALID:
            tag, counter = ("error", "errors")
        counts[counter] += 1
        message = formats.clean(f"{verdict.upper()}: {text}")
        SubElement(case, tag, type=verdict, message=message).text = message
    for key, value in counts.items():
        suite.set(key, str(value))
    root = Element("testsuites", {key: str(value) for key, value in counts.items()})
    root.set("name", "faultload")
    root.append(suite)
    indent(root)
    return bytes(tostring(root, encoding="utf-8", xml_declaration=True))


def shown(unit: str, number: float | None) -> str:
    """Return a number of a unit as people read it."""
    if number is None or math.isnan(number):
        return formats.NO_DATA
    if unit == Unit.SECONDS:
        return formats.milliseconds(number)
    return formats.percent(number)


def meaning(verdict: Verdict) -> str:
    """Return what a gate's verdict means, in words."""
    return _MEANING[verdict]


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _line(text: str) -> str:
    return " ".join(formats.clean(text).replace(formats.THIN, " ").split())


def _cell(text: str) -> str:
    """Return text that stays text in a Markdown table."""
    safe = _line(text).replace("&", "&amp;").replace("<", "&lt;").replace("@", "&#64;")
    for mark in "\\|`*_[]":
        safe = safe.replace(mark, f"\\{mark}")
    return safe


def _code(text: str) -> str:
    return "`" + _line(text).replace("`", "'").replace("|", "¦") + "`"
