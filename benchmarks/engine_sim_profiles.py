"""How well the GPU profiles of the engine simulator agree with published vLLM measurements.

`python benchmarks/engine_sim_profiles.py` simulates every row of `data/published_vllm.csv` with
our device model and our scheduler in virtual time, the way it was measured (closed loop, so many
concurrent requests of so many tokens), and writes both charts, the numbers they are drawn from
and the table in docs/engine-simulator.md. With `--check` it writes nothing and exits 1 when one of
these files is not what it would write.
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import statistics
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from faultload.report.svg import Chart, LogScale, Size
from inference_platform.engine_sim.device import profiles
from inference_platform.engine_sim.flags import Flags, parse
from inference_platform.engine_sim.scheduler import ContinuousBatching, Request
from inference_platform.engine_sim.startup import make_core

ROOT = Path(__file__).parents[1]
PUBLISHED = ROOT / "benchmarks/data/published_vllm.csv"
DOCUMENT = ROOT / "docs/engine-simulator.md"
BEGIN, END = "<!-- errors of the profiles: generated -->\n", "<!-- end of the errors -->\n"
# The first wave arrives all at once and is not measured; so many later ones are.
WAVES = 4
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
# What a row of the data is worth, in the order of the table.
USES = {
    "fitted": "the profile was fitted to them",
    "check": "not used in the fit",
    "old engine": "vLLM 0.6.3 of 2024, whose steps cost more; the profile is for vLLM >= 0.20",
    "doubtful": "settings not published or the client was the limit; kept out of the fit",
}
NOT_VALIDATED = "not validated"
FILLS = {"check": "#fff", "old engine": "#ddd", "doubtful": "none"}


@dataclass(frozen=True, slots=True)
class Load:
    """A model on so many GPUs, and requests of one length for it. `quantization`: bf16 is none."""

    gpu: str
    model: str
    quantization: str
    gpus: int
    input_tokens: int
    output_tokens: int

    @property
    def label(self) -> str:
        """Say briefly which it is; the GPU is said elsewhere."""
        size = self.model.rpartition("-")[2]
        name = f"{'Mistral ' if self.model.startswith('m') else ''}{size.upper()}"
        times = f" \N{MULTIPLICATION SIGN}{self.gpus}" if self.gpus > 1 else ""
        long = " long" if self.input_tokens > 4096 else ""
        return f"{name} {self.quantization}{times}{long}"


@dataclass(frozen=True, slots=True)
class Result:
    """What clients see on average; NaN: not published."""

    ttft_ms: float
    tpot_ms: float
    tokens_per_s: float


@dataclass(frozen=True, slots=True)
class Row:
    """One published measurement."""

    load: Load
    concurrency: int
    result: Result
    use: str


# What is drawn of each GPU: what was measured at most concurrencies; without any, what fits it.
DRAWN = {
    "T4": [("mistral-7b", "awq", 1, 256, 256), ("qwen2.5-0.5b", "awq", 1, 512, 512)],
    "A10G": [("mistral-7b", q, 1, 256, 256) for q in ("bf16", "awq")],
    "L4": [("mistral-7b", q, 1, 16, 256) for q in ("bf16", "awq")]
    + [("qwen2.5-0.5b", "bf16", 1, 256, 128)],
    "L40S": [("llama-3.1-8b", q, 1, 1024, 256) for q in ("bf16", "fp8", "awq")],
    "A100-40": [("llama-3.1-8b", q, 1, 1024, 128) for q in ("bf16", "awq")],
    "A100-80": [("qwen2.5-7b", "bf16", 1, 1, 2048), ("qwen2.5-1.5b", "bf16", 1, 1, 2048)],
    "H100": [("llama-3.1-70b", "fp8", n, 1024, 1024) for n in (2, 4, 8)]
    + [("llama-3.1-70b", "fp8", 4, 8192, 1024), ("qwen3-32b", "bf16", 2, 1024, 512)],
    "H200": [("llama-3.1-70b", "fp8", n, 1024, 1024) for n in (1, 2, 4, 8)]
    + [("llama-3.1-70b", "fp8", 1, 8192, 1024)],
    "B200": [("llama-3.1-70b", "fp8", n, 1024, 1024) for n in (1, 2, 4, 8)]
    + [("llama-3.1-70b", "fp8", 1, 8192, 1024)],
}


def read_published() -> list[Row]:
    """Return the measurements; throughput that is not published follows from the latencies."""
    rows = []
    with PUBLISHED.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            where = (line["gpu"], line["model"], line["quantization"], int(line["gpus"]))
            load = Load(*where, int(line["input_tokens"]), int(line["output_tokens"]))
            concurrency, tpot_ms = int(line["concurrency"]), float(line["tpot_ms"])
            ttft_ms = float(line["ttft_ms"] or "nan")
            rate = line["output_tokens_per_s"]
            tokens_per_s = float(rate) if rate else throughput(load, concurrency, ttft_ms, tpot_ms)
            result = Result(ttft_ms, tpot_ms, tokens_per_s)
            rows.append(Row(load, concurrency, result, line["use"]))
    return rows


def throughput(load: Load, concurrency: int, ttft_ms: float, tpot_ms: float) -> float:
    """Return output tokens a second of a closed loop with these mean latencies."""
    request_s = (ttft_ms + (load.output_tokens - 1) * tpot_ms) / 1000
    return concurrency * load.output_tokens / request_s


def flags_of(load: Load) -> Flags:
    """Return what the command line asks for; all that is not said is the simulator's default."""
    longest = load.input_tokens + load.output_tokens
    # No two prompts are alike, so there is nothing to find in a prefix cache.
    argv = f"--max-model-len {longest} --no-enable-prefix-caching --sim-gpu {load.gpu}"
    argv += f" --sim-model-profile {load.model} --tensor-parallel-size {load.gpus}"
    argv += "" if load.quantization == "bf16" else f" --quantization {load.quantization}"
    return parse(argv.split())


def batches(load: Load) -> list[int]:
    """Return the numbers of concurrent requests to draw: those that fit the KV cache together."""
    flags = flags_of(load)
    _, blocks = make_core(flags)
    needed = -(-flags.max_model_len // flags.block_size)
    return [batch for batch in BATCHES if batch * needed < blocks]  # one block is the null block


@cache
def simulate(load: Load, concurrency: int) -> Result:
    """Keep so many requests in the engine."""
    core, _ = make_core(flags_of(load))
    scheduler = core.scheduler
    if not isinstance(scheduler, ContinuousBatching):
        raise TypeError(f"expected ContinuousBatching, found {scheduler}")
    asked: list[Request] = []

    def ask(now: float) -> None:
        name = str(len(asked))
        asked.append(Request(name, load.input_tokens, load.output_tokens, now))
        scheduler.add(asked[-1])

    for _ in range(concurrency):
        ask(0.0)
    measured: list[tuple[float, float]] = []
    while len(measured) < concurrency * WAVES:
        scheduler.leap(math.inf)
        due = scheduler.next_at
        if due is None:
            raise AssertionError(f"{load}: the scheduler stopped with {len(measured)} done")
        for request in scheduler.step(due).tokens:
            if not request.finished:
                continue
            ask(due)
            first_s, last_s = request.first_token_s, request.last_token_s
            if request.arrived_s > 0 and first_s is not None and last_s is not None:
                steps = load.output_tokens - 1
                measured.append((first_s - request.arrived_s, (last_s - first_s) / steps))
    ttft_ms, tpot_ms = (statistics.fmean(column) * 1000 for column in zip(*measured, strict=True))
    return Result(ttft_ms, tpot_ms, throughput(load, concurrency, ttft_ms, tpot_ms))


def error(row: Row, name: str) -> float:
    """Return how much the simulation is over the measurement, as a ratio; NaN: not published."""
    ours = simulate(row.load, row.concurrency)
    return float(getattr(ours, name) / getattr(row.result, name)) - 1


def worst_and_median(errors: Iterable[float]) -> str:
    """Return two cells of the table."""
    known = [abs(error) for error in errors if not math.isnan(error)]
    if not known:
        return "no data | no data"
    return f"{statistics.median(known):.1%} | {max(known):.1%}"


def table(rows: Sequence[Row]) -> str:
    """Return the errors by GPU and by what the rows are worth, in Markdown."""
    head = "| GPU | rows | what they are | TPOT: median | worst | throughput: median | worst "
    lines = [head + "| TTFT: median | worst |", "|--|--:|--|" + "--:|" * 6]
    for gpu in DRAWN:
        found = [row for row in rows if row.load.gpu == gpu]
        if not found:
            lines.append(f"| {gpu} | 0 | **{NOT_VALIDATED}**: no published row" + " | " * 6 + " |")
        for use, meaning in USES.items():
            of_use = [row for row in found if row.use == use]
            if of_use:
                cells = [
                    worst_and_median(error(row, name) for row in of_use)
                    for name in ("tpot_ms", "tokens_per_s", "ttft_ms")
                ]
                lines.append(f"| {gpu} | {len(of_use)} | {meaning} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def sources() -> str:
    """Return where the measurements come from, in Markdown."""
    with PUBLISHED.open(encoding="utf-8", newline="") as file:
        found = {(line["source"], line["engine"]): line["gpu"] for line in csv.DictReader(file)}
    return "\n".join(f"- {source}: {engine}" for source, engine in sorted(found)) + "\n"


def numbers(rows: Sequence[Row]) -> str:
    """Return everything that is drawn, as CSV; empty where nothing was published."""
    out = io.StringIO()
    write = csv.writer(out, lineterminator="\n").writerow
    fields = "gpu,model,quantization,gpus,input_tokens,output_tokens,concurrency,use"
    kinds = [f"{who}_{name}" for who in ("simulated", "published") for name in Result.__slots__]
    write([*fields.split(","), *kinds])
    published = {(row.load, row.concurrency): row for row in rows}
    curves = {(load, batch): None for load in loads() for batch in batches(load)}
    for load, batch in dict.fromkeys([*curves, *published]):
        row = published.get((load, batch))
        known = [simulate(load, batch), row.result if row else Result(*[math.nan] * 3)]
        values = [getattr(result, name) for result in known for name in Result.__slots__]
        cells = ["" if math.isnan(value) else f"{value:.2f}" for value in values]
        where = [load.gpu, load.model, load.quantization, load.gpus]
        use = row.use if row else ""
        write([*where, load.input_tokens, load.output_tokens, batch, use, *cells])
    return out.getvalue()


def loads() -> Iterator[Load]:
    """Yield what is drawn."""
    for gpu, drawn in DRAWN.items():
        for model, quantization, gpus, input_tokens, output_tokens in drawn:
            yield Load(gpu, model, quantization, gpus, input_tokens, output_tokens)


class BatchScale(LogScale):
    """Numbers of concurrent requests."""

    def ticks(self) -> list[float]:
        """Return powers of four."""
        return [1.0, 4.0, 16.0, 64.0, 256.0]


class Panel(Chart):
    """One GPU's plot."""

    def label(self, x: float, y: float, text: str, style: str) -> None:
        """Write at pixels."""
        self._text(x, y, text, style)

    def point(self, x: float, y: float, style: str, fill: str) -> None:
        """Draw a measurement; `fill` is empty for the line's colour."""
        at = f'cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="3"'
        paint = f' style="fill:{fill}"' if fill else ""
        self._add(f'<circle class="point {style}" {at}{paint}/>')


COLOURS = ("#1864ab", "#d9480f", "#2b8a3e", "#862e9c", "#0b7285")
CSS = """
text { font: 11px system-ui, sans-serif; fill: #555 } .mid { text-anchor: middle }
.end { text-anchor: end } .head { font-weight: 600; font-size: 13px; fill: #111 }
.title { font-size: 16px; font-weight: 600; fill: #111 } .grid { stroke: #e8e8e4; fill: none }
.base { stroke: #999; fill: none } .line { fill: none; stroke-width: 1.6 }
.warn { fill: #b02a2a; font-weight: 600 } .point { stroke-width: 1.4 }
""" + "".join(
    f".c{i} {{ stroke: {c} }} .point.c{i} {{ fill: {c} }} text.c{i} {{ fill: {c}; stroke: none }}\n"
    for i, c in enumerate(COLOURS)
)
WIDTH, HEIGHT, COLUMNS = 400, 260, 3


def panel(gpu: str, rows: Sequence[Row], name: str, y: tuple[float, float]) -> str:
    """Draw one GPU: lines are simulated, points are published."""
    size = Size(WIDTH, HEIGHT, left=46, right=96, top=40, bottom=28)
    x_scale = BatchScale(1, 256, size.left, size.plot_right)
    y_scale = LogScale(*y, size.plot_bottom, size.top)
    chart = Panel(size, x_scale, y_scale, f"{name}-{gpu}", f"{gpu}: {name}", "")
    chart.axes(lambda value: f"{value:g}", lambda value: f"{value:g}")
    found = [row for row in rows if row.load.gpu == gpu]
    used = [row for row in found if row.use in ("fitted", "check")]
    chart.label(size.left, 16, gpu, "head")
    errors = [abs(e) for row in used if not math.isnan(e := error(row, name))]
    if len(errors) == 1:
        text = f"one row, error {errors[0]:.1%}: {NOT_VALIDATED}"
        chart.label(size.left, 31, text, "warn")
    elif errors:
        text = f"{len(errors)} rows, median error {statistics.median(errors):.1%}"
        chart.label(size.left, 31, f"{text}, worst {max(errors):.0%}", "")
    else:
        why = "none published" if used else NOT_VALIDATED
        chart.label(size.left, 31, f"prediction only: {why}", "warn")
    labels = []
    for number, load in enumerate(load for load in loads() if load.gpu == gpu):
        values = [getattr(simulate(load, batch), name) for batch in batches(load)]
        chart.line(batches(load), values, f"c{number}")
        labels.append((y_scale(values[-1]), load.label, f"c{number}"))
        for row in found:
            value = getattr(row.result, name)
            if row.load == load and not math.isnan(value):
                chart.point(row.concurrency, value, f"c{number}", FILLS.get(row.use, ""))
    last = -math.inf
    for at, text, style in sorted(labels):
        last = max(at + 4, last + 12)
        chart.label(size.plot_right + 5, last, text, style)
    return chart.render()


def draw(rows: Sequence[Row], name: str, title: str, y: tuple[float, float]) -> str:
    """Return a picture with a panel for each GPU."""
    parts = []
    for number, gpu in enumerate(DRAWN):
        left, top = number % COLUMNS * WIDTH, 66 + number // COLUMNS * HEIGHT
        place = f'x="{left}" y="{top}" width="{WIDTH}" height="{HEIGHT}"'
        parts.append(f"<svg {place}>{panel(gpu, rows, name, y)}</svg>")
    height = 66 + -(-len(DRAWN) // COLUMNS) * HEIGHT + 6
    legend = (
        "Across: concurrent requests. Lines: simulated, as far as the KV cache reaches. Points: "
        "published; filled: the profile was fitted to it; white: was not; grey: vLLM 0.6.3. "
        "Long: 8192 prompt tokens."
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH * COLUMNS} {height}" '
        f'width="{WIDTH * COLUMNS}" height="{height}"><style>{CSS}</style>'
        f'<rect width="100%" height="100%" fill="#fff"/><text class="title" x="46" y="28">{title}'
        f'</text><text x="46" y="48">{legend}</text>{"".join(parts)}</svg>\n'
    )


def outputs(folder: Path) -> dict[Path, str]:
    """Return every file that is written, and its text."""
    rows = read_published()
    tpot = "Time per output token, milliseconds"
    rate = "Throughput, output tokens a second of all GPUs of one engine"
    document = DOCUMENT.read_text(encoding="utf-8")
    before, _, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise SystemExit(f"{DOCUMENT}: expected the lines {BEGIN!r} and {END!r}, found not both")
    made = f"{BEGIN}\n{table(rows)}\nMeasured by:\n\n{sources()}\n{END}"
    return {
        folder / "engine-sim-tpot.svg": draw(rows, "tpot_ms", tpot, (2, 200)),
        folder / "engine-sim-throughput.svg": draw(rows, "tokens_per_s", rate, (10, 20000)),
        folder / "engine-sim-profiles.csv": numbers(rows),
        DOCUMENT: before + made + after,
    }


def main() -> int:
    """Write or compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/figures")
    parser.add_argument("--check", action="store_true", help="write nothing, fail on a difference")
    asked = parser.parse_args()
    drifted = []
    for path, text in outputs(asked.out).items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            drifted.append(path)
            if not asked.check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
    for path in drifted:
        print(f"{path}: {'is not what this command writes' if asked.check else 'written'}")
    return int(asked.check and bool(drifted))


if __name__ == "__main__":
    unknown = set(profiles()["gpus"]) ^ set(DRAWN)
    if unknown:
        sys.exit(f"expected DRAWN to have every GPU of profiles.yaml, differs in {unknown}")
    sys.exit(main())
