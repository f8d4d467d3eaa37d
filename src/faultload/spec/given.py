"""What the command line says for an experiment that has no extension block: a stock one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from faultload.errors import UsageError

_PHASES = {"warmup_s": 10, "baseline_s": 30, "recovery_s": 120}
"""Seconds; a target file replaces them by its own."""


@dataclass(frozen=True)
class GivenBlock:
    """The extension block that the command line stands in for.

    Attributes:
        scenario: a scenario's name.
        slos: names of SLOs, or of files of them.
        blast_radius: component → how many replicas may be hit at most.
    """

    scenario: str
    slos: Sequence[str]
    blast_radius: Mapping[str, int] = field(default_factory=lambda: {"engine": 1})

    @classmethod
    def of(
        cls, scenario: str | None, slos: Sequence[str], blast_radius: Sequence[str]
    ) -> Self | None:
        """Return what the options say; None: none was given.

        Raises:
            UsageError: one is missing or wrong, or a component is given twice.
        """
        if not (scenario or slos or blast_radius):
            return None
        if not (scenario and slos):
            raise UsageError(
                "expected --scenario and --slos together, for an experiment without an extension"
                " block named faultload"
            )
        hit = dict[str, int]()
        for component, replicas in map(_entry, blast_radius):
            if component in hit:
                raise UsageError(
                    "expected --blast-radius once for each component, found"
                    f" {component}={hit[component]} and {component}={replicas}"
                )
            hit[component] = replicas
        names = [name for given in slos for name in given.split(",")]
        return cls(scenario, names, hit or {"engine": 1})

    def document(self) -> dict[str, Any]:
        """Return the block as a file would have it."""
        return {
            "name": "faultload",
            "scenario": self.scenario,
            "slos": list(self.slos),
            "phases": dict(_PHASES),
            "blast_radius": [
                {"component": component, "replicas": replicas}
                for component, replicas in self.blast_radius.items()
            ],
        }

    def words(self) -> list[str]:
        """Return the options that say it."""
        radius = [f"--blast-radius={name}={most}" for name, most in self.blast_radius.items()]
        return ["--scenario", self.scenario, "--slos", ",".join(self.slos), *radius]


def _entry(given: str) -> tuple[str, int]:
    component, _, replicas = given.partition("=")
    if not (component and replicas.isdecimal() and int(replicas) > 0):
        raise UsageError(f"expected --blast-radius COMPONENT=REPLICAS, found {given!r}")
    return component, int(replicas)
