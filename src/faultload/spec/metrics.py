"""The file that names every series of a platform: its labels, their values, what absence means.

`platform/observability/metrics.yaml` is one; who has another platform writes another.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field

from faultload.errors import nearest
from faultload.spec.reading import Spec, parse, read_document

SUFFIXES = ("_bucket", "_sum", "_count")
"""Of the series that a histogram NAME stands for."""
_EVERY_JOB = "*"
_SCRAPED = frozenset({"job", "instance"})


class Job(Spec):
    """Who exports series, and the labels that scraping it adds."""

    exported_by: str
    labels: list[str]
    only_on_kubernetes: list[str] = Field(default_factory=list)
    """Labels that scraping adds there and a platform without Kubernetes lacks."""


class Label(Spec):
    """What a label says; its values where they are a fixed list, empty where they are not."""

    meaning: str
    values: list[str] = Field(default_factory=list)


class Series(Spec):
    """One series, or with `histogram` a family of three."""

    name: str
    job: str
    type: Literal["counter", "gauge", "histogram"]
    unit: str
    labels: list[str]
    meaning: str
    values: dict[str, list[str]] = Field(default_factory=dict)
    """Of labels that have other values here than elsewhere."""
    only_while: str = ""
    """When it is there, if it is not always."""
    only_on_kubernetes: list[str] = Field(default_factory=list)
    """Further labels that the exporter sets there and a platform without Kubernetes lacks."""
    from_first_event: bool = False
    """A combination of labels is there from its first event on, not from the start at 0."""


class Removed(Spec):
    """A name that dashboards still carry and nobody exports any more."""

    name: str
    use: str
    """What to ask instead, or why there is nothing to ask."""


class MetricsFile(Spec):
    """Everything that may be asked for, and what may not any more."""

    jobs: dict[str, Job]
    labels: dict[str, Label]
    removed: list[Removed] = Field(default_factory=list)
    series: list[Series] = Field(min_length=1)

    @cached_property
    def by_name(self) -> Mapping[str, Series]:
        """Every name that Prometheus has, those of histograms in full."""
        found: dict[str, Series] = {}
        for one in self.series:
            names = [one.name + s for s in SUFFIXES] if one.type == "histogram" else [one.name]
            found |= dict.fromkeys(names, one)
        return found

    def labels_of(self, name: str) -> frozenset[str]:
        """Return every label that a series of this name has.

        Raises:
            KeyError: there is no such series.
        """
        series = self.by_name[name]
        jobs = self.jobs.values() if series.job == _EVERY_JOB else [self.jobs[series.job]]
        added = {label for job in jobs for label in (*job.labels, *job.only_on_kubernetes)}
        edges = {"le"} if name.endswith("_bucket") and series.type == "histogram" else set()
        return _SCRAPED | added | edges | {*series.labels, *series.only_on_kubernetes}

    def values_of(self, name: str, label: str) -> tuple[str, ...]:
        """Return the values that a label has in this series; (): any."""
        own = self.by_name[name].values.get(label)
        if own is not None:
            return tuple(own)
        if label == "job" and self.by_name[name].job == _EVERY_JOB:
            return tuple(self.jobs)
        if label == "job":
            return (self.by_name[name].job,)
        return tuple(self.labels[label].values) if label in self.labels else ()

    def instead_of(self, name: str) -> str:
        """Return what to use in place of a name that is not here; "" when nothing comes near."""
        for one in self.removed:
            if name in {one.name, *(one.name + suffix for suffix in SUFFIXES)}:
                return f"; it was removed, use {one.use}"
        return nearest(name, self.by_name)


def load_metrics(path: Path) -> MetricsFile:
    """Return a metrics file.

    Raises:
        SpecError: it is not one.
    """
    return parse(MetricsFile, read_document(path), path)
