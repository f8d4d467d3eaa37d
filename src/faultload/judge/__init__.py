"""The judge: arrays in, verdict out. Pure: no clock, no network, no files."""

from faultload.judge.model import (
    BudgetSpent,
    Evidence,
    Expectation,
    Finding,
    Judgement,
    PhaseResult,
    Recovery,
    TokenLedger,
    Verdict,
    worst,
)

__all__ = [
    "BudgetSpent",
    "Evidence",
    "Expectation",
    "Finding",
    "Judgement",
    "PhaseResult",
    "Recovery",
    "TokenLedger",
    "Verdict",
    "worst",
]
