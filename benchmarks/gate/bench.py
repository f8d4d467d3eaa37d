"""How often the regression gate is wrong, next to other judges of the same trials.

    make bench-gate              # all; a few minutes; writes data and docs/statistics.md
    make bench-gate SMALL=1      # 300 gates a regime from other seeds; writes nothing
    python benchmarks/gate/bench.py --tables     # write docs/statistics.md from the stored data
    python benchmarks/gate/bench.py --check      # exit 1 when it is not what that would write

Gates are played as `faultload gate` plays them, look by look and by each of its plans, on trials
whose truth is known: nothing got worse, or all of it by so much. What they say is counted in
benchmarks/data/gate.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import scipy

sys.path.insert(0, str(Path(__file__).parent))

import first_look
from judges import judges_of_errors, judges_of_latency
from tables import tables, write
from trials import REGIMES, REQUESTS, TRACES, Array, Gates, Regime, Sli, draw

from faultload.judge import GateResult, Verdict
from faultload.judge.trial import slis_of
from faultload.run.gate.looks import look_at
from faultload.run.gate.plan import ROUNDS, Mode

ROOT = Path(__file__).parents[2]
DATA = ROOT / "benchmarks" / "data" / "gate.json"
DOCUMENT = ROOT / "docs" / "statistics.md"
SEED = 20_261_121
"""Of what is published; nothing is tuned on it."""
SEED_SMALL = 7
CHUNK = 100
SLIS = {sli.name: sli for sli in slis_of([])}
"""What ships, with its limits."""
PLANS = {
    f"{mode}{', history' if has_history else ''}": (has_history, rounds)
    for mode in Mode
    for has_history in (False, True)
    for rounds in [ROUNDS[mode.value, has_history]]
}
"""How the gate is run: its modes, without a stored history and with one."""


@dataclass
class Count:
    """How gates of one SLI ended.

    Attributes:
        sli: which.
        effect: by how much the candidate was worse.
        plan: one of `PLANS`.
        verdicts: of each gate, in order.
        trials: run by each gate, both sides.
        detectable: by the gates that did not decide.
    """

    sli: str
    effect: float
    plan: str
    verdicts: list[Verdict] = field(default_factory=list)
    trials: list[int] = field(default_factory=list)
    detectable: list[float] = field(default_factory=list)

    def play(self, sli: Sli) -> None:
        """Play gates and count them."""
        for old, new, past in zip(sli.old, sli.new[self.effect], sli.history, strict=True):
            result, turns = _play(old, new, past, self.sli, self.plan)
            self.verdicts.append(result.verdict)
            self.trials.append(2 * TRACES * turns)
            if result.verdict is Verdict.INCONCLUSIVE and result.effect_detectable is not None:
                self.detectable.append(result.effect_detectable)

    def kept(self) -> dict[str, object]:
        """Return what is published. A failure is confirmed when the next gate fails, too."""
        fails = np.array([verdict is Verdict.FAIL for verdict in self.verdicts])
        counts = {verdict.value: self.verdicts.count(verdict) for verdict in Verdict}
        return {
            "sli": self.sli,
            "effect": self.effect,
            "plan": self.plan,
            "gates": len(self.verdicts),
            **counts,
            "fail_confirmed": int((fails & np.roll(fails, -1)).sum()),
            "trials_mean": round(float(np.mean(self.trials)), 1),
            "effect_detectable": round(float(np.median(self.detectable)), 3)
            if self.detectable
            else None,
        }


def main() -> int:
    """Measure, or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gates", type=int, help="of a thing against itself (2000)")
    parser.add_argument("--worse", type=int, help="of each worsening (1000)")
    parser.add_argument("--small", action="store_true", help="300 of each; print, write nothing")
    parser.add_argument("--tables", action="store_true", help="write the tables only")
    parser.add_argument("--check", action="store_true", help="look whether they are written")
    args = parser.parse_args()
    if args.tables or args.check:
        return write(json.loads(DATA.read_text()), DOCUMENT, only_check=args.check)
    gates, worse = (300, 300) if args.small else (2000, 1000)
    data = measure(
        SEED_SMALL if args.small else SEED, args.gates or gates, args.worse or args.gates or worse
    )
    if args.small:
        print(tables(data))
        return 0
    DATA.write_text(json.dumps(data, indent=1) + "\n")
    return write(data, DOCUMENT, only_check=False)


def measure(seed: int, gates: int, worse: int) -> dict[str, object]:
    """Play all regimes."""
    versions = {"python": platform.python_version(), "numpy": np.__version__}
    regimes: list[dict[str, Any]] = []
    for index, regime in enumerate(REGIMES):
        print(f"{regime.name} ...", file=sys.stderr)
        regimes.append(_regime(regime, [seed, index], gates, worse))
    drawn = {name for regime in regimes for name in regime["spread"]}
    return {
        "seed": seed,
        "slis": {name: asdict(sli) for name, sli in SLIS.items() if name in drawn},
        "plans": {plan: list(rounds) for plan, (_, rounds) in PLANS.items()},
        "trials": {"traces": TRACES, "requests": REQUESTS},
        "versions": versions | {"scipy": scipy.__version__},
        "regimes": regimes,
        "first_looks": list(first_look.measure(np.random.default_rng([seed, len(REGIMES)]))),
    }


def _regime(regime: Regime, seed: Sequence[int], gates: int, worse: int) -> dict[str, Any]:
    counts: dict[tuple[str, float, str], Count] = {}
    others: dict[tuple[str, int, float], list[int]] = {}
    variances: dict[str, list[float]] = {}
    for start in range(0, gates, CHUNK):
        drawn = draw(regime, min(CHUNK, gates - start), np.random.default_rng([*seed, start]))
        for sli in drawn.slis:
            variances.setdefault(sli.name, []).append(_variance(sli))
            for case in _cases(sli, is_all=start < worse):
                counts.setdefault(case, Count(*case)).play(sli)
        if start < worse:
            _ask_others(regime, drawn, others)
    return {
        "name": regime.name,
        "says": regime.says,
        "parameters": asdict(regime),
        "spread": {sli: round(float(np.sqrt(np.mean(v))), 4) for sli, v in variances.items()},
        "gates": [count.kept() for count in counts.values()],
        "others": [
            {"judge": judge, "pairs": pairs, "effect": effect, "gates": n, "alarms": alarms}
            for (judge, pairs, effect), (n, alarms) in others.items()
        ],
    }


def _cases(sli: Sli, *, is_all: bool) -> Iterator[tuple[str, float, str]]:
    """Name what is to be played with one SLI's trials; of most of them nothing got worse."""
    for effect in sli.new:
        if is_all or not effect:
            yield from ((sli.name, effect, plan) for plan in PLANS)


def _play(old: Array, new: Array, past: Array, sli: str, plan: str) -> tuple[GateResult, int]:
    """Look until it is decided, and say after how many turns; arrays are [trial, trace]."""
    has_history, rounds = PLANS[plan]
    turns = 0
    for stage, more in enumerate(rounds, start=1):
        turns += more
        result = look_at(
            SLIS[sli],
            *(_by_trace(side[:turns]) for side in (old, new)),
            stage=stage,
            stages=len(rounds),
            requests=REQUESTS,
            history=_by_trace(past) if has_history else None,
        )
        if result.verdict is not Verdict.INCONCLUSIVE:
            break
    return result, turns


def _by_trace(trials: Array) -> dict[str, list[float]]:
    return {str(trace): list(numbers) for trace, numbers in enumerate(trials.T)}


def _ask_others(
    regime: Regime, gates: Gates, others: dict[tuple[str, int, float], list[int]]
) -> None:
    judges = judges_of_errors() if regime.errors else judges_of_latency()
    for effect, (old, new) in gates.requests.items():
        for name, judge in judges.items():
            for pairs in (1, TRACES):
                alarms = judge(old[:, :pairs], new[:, :pairs])
                so_far = others.setdefault((name, pairs, effect), [0, 0])
                so_far[0] += len(alarms)
                so_far[1] += int(alarms.sum())


def _variance(sli: Sli) -> float:
    """Return the variance between trials under one trace, on the transformed scale."""
    sides = np.stack([sli.old, sli.new[0.0]])
    scaled = np.arcsin(np.sqrt(sides)) if SLIS[sli.name].is_share else np.log(sides)
    return float(scaled.var(axis=2, ddof=1).mean())


if __name__ == "__main__":
    sys.exit(main())
