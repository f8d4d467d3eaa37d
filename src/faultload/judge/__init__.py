"""The judge: arrays in, verdict out. Pure: no clock, no network, no files."""

from faultload.judge.gate import GateResult, GateRule, gate
from faultload.judge.judge import judge
from faultload.judge.model import (
    BudgetSpent,
    Evidence,
    Expectation,
    Finding,
    Judgement,
    PhaseResult,
    Recovery,
    ReplicaCounts,
    TokenLedger,
    Verdict,
    worst,
)
from faultload.judge.shown import Degradation, Goodput, Mark, Stage

__all__ = [
    "BudgetSpent",
    "Degradation",
    "Evidence",
    "Expectation",
    "Finding",
    "GateResult",
    "GateRule",
    "Goodput",
    "Judgement",
    "Mark",
    "PhaseResult",
    "Recovery",
    "ReplicaCounts",
    "Stage",
    "TokenLedger",
    "Verdict",
    "gate",
    "judge",
    "worst",
]
