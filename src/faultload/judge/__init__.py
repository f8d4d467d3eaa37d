"""The judge: arrays in, verdict out. Pure: no clock, no network, no files."""

from faultload.judge.family import FamilyResult, confirm, family
from faultload.judge.gate import GateResult, GateRule, gate, look
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
from faultload.judge.shown import Degradation, Goodput, Mark, Stage
from faultload.judge.transform import Transform
from faultload.judge.validity import LOAD_CLIENT

__all__ = [
    "LOAD_CLIENT",
    "AlertOutcome",
    "BudgetSpent",
    "Degradation",
    "Evidence",
    "Expectation",
    "FamilyResult",
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
    "Transform",
    "Verdict",
    "confirm",
    "family",
    "gate",
    "judge",
    "look",
    "worst",
]
