"""Evidence ids: every number in a report points at the file of the record it was taken from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from faultload.record import Manifest

_FILES: Mapping[str, str] = {
    "manifest.json": "what ran, with what and when; phases, clock, load client, platform",
    "requests.parquet": "one row a request, as the client saw it",
    "injections.jsonl": "every step of every act of harm, written before the act",
    "series.parquet": "raw Prometheus samples: the server's view",
    "events.jsonl": "what the harness did and what the platform said",
    "alerts.parquet": "alerts that fired, or would have",
    "experiment.yaml": "the experiment as it ran, with its claims",
    "slos.yaml": "the SLOs of the run",
    "scenario.yaml": "the workload as it ran",
    "target.yaml": "the target, without secrets",
    "journal.json": "Chaos Toolkit's own journal",
    "trace.parquet": "the requests that were to be sent, and when",
    "prices.yaml": "the price lists of the run, dated, with their sources",
}
"""Files of a record that reports quote. The order makes the ids, so new files go at the end."""

_IDS = {name: f"E{index}" for index, name in enumerate(_FILES, start=1)}


@dataclass(frozen=True)
class EvidenceFile:
    """One file of the record that numbers came from.

    Attributes:
        id: `E2`; the same file has the same id in every report.
        name: path inside `record/`.
        holds: what is in it.
        sha256: as sealed; "" where the record was sealed without it.
    """

    id: str
    name: str
    holds: str
    sha256: str


def evidence_id(source: str) -> str:
    """Return the id of the first record file that `source` names, else `source` itself.

    Args:
        source: a file's name, or a text that has one in it, as `Finding.evidence` may be.
    """
    found = [(source.find(name), id_) for name, id_ in _IDS.items() if name in source]
    return min(found)[1] if found else source


def evidence_files(manifest: Manifest) -> list[EvidenceFile]:
    """Return every file that reports quote, in the order of the ids."""
    return [
        EvidenceFile(_IDS[name], name, holds, manifest.sha256.get(name, ""))
        for name, holds in _FILES.items()
    ]
