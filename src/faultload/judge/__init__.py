"""The judge: arrays in, verdict out. Pure: no clock, no network, no files."""

from faultload.judge.gate import GateResult, GateRule, gate
from faultload.judge.judge import judge
from faultload.judge.model import (
    AlertOutcome,
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

__all__ = [
    "AlertOutcome",
    "BudgetSpent",
    "Evidence",
    "Expectation",
    "Finding",
    "GateResult",
    "GateRule",
    "Judgement",
    "PhaseResult",
    "Recovery",
    "ReplicaCounts",
    "TokenLedger",
    "Verdict",
    "gate",
    "judge",
    "worst",
]
