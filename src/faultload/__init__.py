"""Break an LLM inference platform on purpose, under real load, and say whether users noticed.

Five nouns (workload, fault, target, record, verdict) and one flow: `faultload.run.flow`.
"""

from importlib.metadata import version
from typing import Any

__version__ = version("faultload")


def discover(discover_system: bool = True) -> Any:  # noqa: ARG001, FBT001, FBT002
    """Return what `chaos discover faultload` lists; Chaos Toolkit looks for this name here."""
    from faultload.faults.discovery import discover_activities  # noqa: PLC0415

    return discover_activities(__version__)
