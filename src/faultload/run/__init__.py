"""The one flow: load, break, revert, judge, report."""

from faultload.run.flow import RunResult, run_experiment
from faultload.run.plan import RunPlan, prepare

__all__ = ["RunPlan", "RunResult", "prepare", "run_experiment"]
