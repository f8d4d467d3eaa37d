"""Which machines a run was paid for, and what their GPUs did: stored series into a `Fleet`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import orjson
import pandas as pd

from faultload.record import Phase
from faultload.record.fleet import Flags, Fleet, Floats, Machine

_STANDS_FOR = 1.5  # scrapes: how long a sample says what is
_EDGE = 3.5  # scrapes: how far from an end of the run the nearest look may be
_SEEN_MIN = 0.95  # a smaller share of the run under observation cannot be split
_COST, _INFO = "node_total_hourly_cost", "kube_node_info"
_TYPES = ("label_node_kubernetes_io_instance_type", "label_beta_kubernetes_io_instance_type")
_CAPACITY = ("label_karpenter_sh_capacity_type", "label_eks_amazonaws_com_capacity_type")
_ZONE = "label_topology_kubernetes_io_zone"
_OF_SCRAPING = frozenset("instance job endpoint service prometheus prometheus_replica".split())

NOT_RECORDED = (
    "the record has no series of nodes: it is from before they were kept, or the platform's"
    " Prometheus has no kube_node_info"
)


@dataclass(frozen=True)
class _Track:
    """The samples of one label set, in order of time."""

    name: str
    labels: Mapping[str, str]
    at_s: Floats
    samples: Floats

    def at(self, when_s: Floats, stale_s: float) -> Floats:
        """Return the last value before each moment; NaN where that is too old or there is none."""
        place = np.searchsorted(self.at_s, when_s, side="right") - 1
        known = place >= 0
        place = np.maximum(place, 0)
        known &= when_s - self.at_s[place] <= stale_s
        return np.where(known, self.samples[place], np.nan)


@dataclass
class _Replica:
    """A pod that holds GPUs of a node."""

    gpus: _Track
    ready: list[_Track] = field(default_factory=list)
    running: list[_Track] = field(default_factory=list)


def read_fleet(  # noqa: PLR0913  # what a record holds of it
    series: pd.DataFrame,
    phases: Sequence[Phase],
    t0_unix_s: float,
    scrape_interval_s: float,
    gpus_of: Callable[[str], int | None] = lambda _: None,
    *,
    shared: bool = False,
) -> Fleet:
    """Return the machines with GPUs that were there within a run.

    A machine is paid for from its creation, else from the last look that did not see it, to the
    first look that sees it no more: what is not known is counted, never left out.

    Args:
        series: rows in the record's series schema.
        phases: of the run; none: nothing was paid for.
        t0_unix_s: the run's start.
        scrape_interval_s: between two looks.
        gpus_of: how many GPUs an instance type has, for machines that never said; None: unknown.
        shared: others have machines in these series, too; ours are those that held our pods.
    """
    end_s = phases[-1].end_s if phases else 0.0
    edges = _edges(phases, end_s, scrape_interval_s)
    tracks = {name: list(_tracks(series, name)) for name in _NEEDED}
    # A node stays listed for a while after its instance has ended: who says the price knows better.
    priced = {_identity(track) for track in tracks[_COST]}
    listed = [*tracks[_COST], *(t for t in tracks[_INFO] if _identity(t) not in priced)]
    if not listed or not phases:
        return Fleet(edges, (), problem=NOT_RECORDED)
    looks_by = {name: _looks(tracks[name], end_s) for name in (_COST, _INFO)}
    looks = np.unique(np.concatenate(list(looks_by.values())))
    slack_s = _EDGE * scrape_interval_s
    if not len(looks) or looks[0] > slack_s or looks[-1] < end_s - slack_s:
        return Fleet(edges, (), problem="Prometheus did not see the nodes at both ends of the run")
    reader = _Reader(tracks, edges, looks, scrape_interval_s, t0_unix_s)
    found = (reader.machine(track, looks_by[track.name], gpus_of) for track in listed)
    machines = [one for one in found if one and (not shared or reader.held(one.node))]
    machines.sort(key=lambda one: (one.node, one.start_s))
    problem = "" if machines else "no node with GPUs was seen"
    return Fleet(edges, machines, problem, reader.parts_problem())


_NEEDED = (
    _COST,
    _INFO,
    "kube_node_labels",
    "kube_node_created",
    "kube_node_status_allocatable",
    "kube_pod_container_resource_requests",
    "kube_pod_status_ready",
    "vllm:num_requests_running",
)


class _Reader:
    """One run's series, taken apart once."""

    def __init__(
        self,
        tracks: Mapping[str, list[_Track]],
        edges: Floats,
        looks: Floats,
        scrape_interval_s: float,
        t0_unix_s: float,
    ) -> None:
        self._edges, self._looks, self._end_s = edges, looks, float(edges[-1])
        self._stands_s = _STANDS_FOR * scrape_interval_s
        self._t0_unix_s = t0_unix_s
        self._middles = (edges[:-1] + edges[1:]) / 2
        self._by_node = {
            name: _grouped(tracks[name], "node") for name in _NEEDED if name.startswith("kube_node")
        }
        running = _grouped(tracks["vllm:num_requests_running"], "replica", "pod")
        ready = _grouped(
            [t for t in tracks["kube_pod_status_ready"] if t.labels.get("condition") == "true"],
            "pod",
        )
        self._replicas: dict[str, list[_Replica]] = {}
        for track in tracks["kube_pod_container_resource_requests"]:
            pod, uid = track.labels.get("pod", ""), track.labels.get("uid", "")
            of_pod = [one for one in ready.get(pod, []) if one.labels.get("uid", "") == uid]
            found = _Replica(track, of_pod, running.get(pod, []))
            self._replicas.setdefault(track.labels.get("node", ""), []).append(found)

    def machine(
        self, track: _Track, looks: Floats, gpus_of: Callable[[str], int | None]
    ) -> Machine | None:
        """Return the instance that a track is about; None: no GPUs, or it was not there.

        `looks` are of its own exporter: another one looks at other moments.
        """
        at_s = track.at_s[(track.at_s >= 0) & (track.at_s <= self._end_s)]
        node, labels = track.labels.get("node", ""), self._labels(track)
        instance_type = _first(labels, *_TYPES) or track.labels.get("instance_type", "")
        gpus = self._gpus(node, gpus_of(instance_type))
        if not len(at_s) or gpus == 0:
            return None
        start_s, start_error_s = self._start(node, at_s[0], looks)
        end_s, end_error_s = self._end(at_s[-1], looks)
        began, ended = start_s > 0, end_s < self._end_s
        busy, cold = self._gpu_seconds(node, gpus, (start_s, end_s), began=began)
        return Machine(
            node=node,
            provider_id=track.labels.get("provider_id", ""),
            instance_type=instance_type,
            capacity_type=_first(labels, *_CAPACITY).lower().replace("_", "-"),
            zone=labels.get(_ZONE, ""),
            gpus=gpus,
            usd_per_h=_price(track.samples) if track.name == _COST else None,
            start_s=start_s,
            end_s=end_s,
            began=began,
            ended=ended,
            error_s=start_error_s + end_error_s,
            busy_gpu_s=busy,
            cold_gpu_s=cold,
            typical=track.name == _COST and track.labels.get("typical") == "true",
        )

    def held(self, node: str) -> bool:
        """Tell whether a node held pods with GPUs that the record knows."""
        return node in self._replicas

    def parts_problem(self) -> str:
        """Say why what the GPUs did cannot be told; "" where it can."""
        found = [one for group in self._replicas.values() for one in group]
        if not found:
            return "no series says which pods held GPUs (kube_pod_container_resource_requests)"
        if not any(one.running for one in found):
            return "no vllm:num_requests_running names the pods that held GPUs"
        lengths = np.diff(self._edges)
        seen = float(lengths[self._seen()].sum() / lengths.sum())
        if seen < _SEEN_MIN:
            return f"only {seen:.0%} of the run was seen by Prometheus"
        return ""

    def _seen(self) -> Flags:
        place = np.searchsorted(self._looks, self._middles, side="right") - 1
        last = self._looks[np.maximum(place, 0)]
        return np.abs(self._middles - last) <= self._stands_s

    def _start(self, node: str, first_s: float, looks: Floats) -> tuple[float, float]:
        before = looks[looks < first_s]
        created = [
            float(value) - self._t0_unix_s
            for track in self._by_node["kube_node_created"].get(node, [])
            for value in np.unique(track.samples)
        ]
        born = [at_s for at_s in created if at_s <= first_s]
        if not len(before):
            return 0.0, 0.0
        if born and max(born) > before[-1] - _EDGE * self._stands_s:
            return max(0.0, *born), 0.0
        return float(before[-1]), float(first_s - before[-1])

    def _end(self, last_s: float, looks: Floats) -> tuple[float, float]:
        after, unseen_s = looks[looks > last_s], self._end_s - last_s
        if not len(after):
            return self._end_s, unseen_s if unseen_s > _EDGE * self._stands_s else 0.0
        return float(after[0]), float(after[0] - last_s)

    def _labels(self, track: _Track) -> Mapping[str, str]:
        """Return the node's labels as they were while the instance was there."""
        tracks = self._by_node["kube_node_labels"].get(track.labels.get("node", ""), [])
        same = [t for t in tracks if t.at_s[-1] >= track.at_s[0] and t.at_s[0] <= track.at_s[-1]]
        return same[-1].labels if same else {}

    def _gpus(self, node: str, of_type: int | None) -> int:
        """Return how many it has: offered at its best, else by its type, else held by pods."""
        offered = self._by_node["kube_node_status_allocatable"].get(node, [])
        most = max((float(track.samples.max()) for track in offered), default=0.0)
        held = [self._last(one.gpus) for one in self._replicas.get(node, [])]
        return int(most or of_type or (np.nansum(held, axis=0).max() if held else 0))

    def _gpu_seconds(
        self, node: str, gpus: int, span: tuple[float, float], *, began: bool
    ) -> tuple[Floats, Floats]:
        """Return busy and cold GPU-seconds by cell."""
        overlap = np.minimum(self._edges[1:], span[1]) - np.maximum(self._edges[:-1], span[0])
        overlap = np.maximum(overlap, 0.0)
        busy, cold = np.zeros_like(overlap), np.zeros_like(overlap)
        first_ready = np.inf
        for replica in self._replicas.get(node, []):
            held = self._last(replica.gpus)
            ready = self._most(replica.ready) > 0
            running = self._most(replica.running)
            there = np.nan_to_num(held)
            serving = there * (running > 0)
            busy += serving * overlap
            # A replica that is there and not ready, or whose engine says nothing, serves nobody.
            cold += there * ~(running > 0) * (~ready | np.isnan(running)) * overlap
            works = (there > 0) & ready & (overlap > 0)
            if works.any():
                first_ready = min(first_ready, float(self._edges[:-1][works][0]))
        if began:
            waiting = self._edges[:-1] < first_ready
            cold = np.where(waiting, np.maximum(gpus * overlap - busy, 0.0), cold)
        whole = gpus * overlap
        busy = np.minimum(busy, whole)
        return busy, np.minimum(cold, whole - busy)

    def _last(self, track: _Track) -> Floats:
        """Return a track's value in each cell; while Prometheus was away, what it was before."""
        found = track.at(self._middles, self._stands_s)
        before = track.at(self._middles, np.inf)
        return np.where(self._seen(), found, before)

    def _most(self, tracks: Sequence[_Track]) -> Floats:
        """Return the sum over tracks in each cell; NaN where none has a value."""
        rows = [self._last(track) for track in tracks]
        if not rows:
            return np.full_like(self._middles, np.nan)
        stacked = np.array(rows)
        total: Floats = np.nansum(stacked, axis=0)
        return np.where(np.isnan(stacked).all(axis=0), np.nan, total)


def _price(samples: Floats) -> float | None:
    """Return the mean price; None: none above 0, which is what exporters say that know none."""
    said = samples[samples > 0]
    return round(float(said.mean()), 9) if len(said) else None


def _edges(phases: Sequence[Phase], end_s: float, step_s: float) -> Floats:
    steps = np.arange(0.0, max(end_s, step_s), step_s)
    marks = [at_s for phase in phases for at_s in (phase.start_s, phase.end_s)]
    edges = np.unique(np.concatenate([steps, marks, [0.0, end_s]]))
    return edges[(edges >= 0) & (edges <= end_s)]


def _tracks(series: pd.DataFrame, name: str) -> Iterator[_Track]:
    """Yield what was sampled, whoever was asked: an exporter may move, and there may be two."""
    rows = series[series["series"] == name].sort_values("t_s", kind="stable")
    about = {
        encoded: {k: v for k, v in orjson.loads(str(encoded)).items() if k not in _OF_SCRAPING}
        for encoded in rows["labels"].unique()
    }
    same = {encoded: repr(sorted(labels.items())) for encoded, labels in about.items()}
    for _, group in rows.groupby(rows["labels"].map(same), sort=True):
        at_s, values = (group[key].to_numpy(dtype=np.float64) for key in ("t_s", "value"))
        yield _Track(name, about[group["labels"].iloc[0]], at_s, values)


def _looks(tracks: Sequence[_Track], end_s: float) -> Floats:
    """Return when an exporter was asked within the run."""
    if not tracks:
        return np.empty(0)
    looks = np.unique(np.concatenate([track.at_s for track in tracks]))
    return looks[(looks >= 0) & (looks <= end_s)]


def _identity(track: _Track) -> tuple[str, str]:
    """Return node and instance; some exporters give the cloud's whole path, some its last part."""
    return track.labels.get("node", ""), track.labels.get("provider_id", "").rpartition("/")[2]


def _grouped(tracks: Sequence[_Track], *labels: str) -> dict[str, list[_Track]]:
    found: dict[str, list[_Track]] = {}
    for track in tracks:
        found.setdefault(_first(track.labels, *labels), []).append(track)
    return found


def _first(labels: Mapping[str, str], *names: str) -> str:
    return next((labels[name] for name in names if labels.get(name)), "")
