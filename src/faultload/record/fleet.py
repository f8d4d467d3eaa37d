"""The machines that a run was paid for, and what their GPUs did: read from a record, not stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Machine:
    """One instance.

    Attributes:
        node: its node's name.
        provider_id: the cloud's name for it; a node that comes back is another instance.
        instance_type, capacity_type, zone: "" where nobody said.
        gpus: on it; 0: not known.
        usd_per_h: as the platform says; None: it does not.
        start_s, end_s: when it was paid for, within the run.
        began, ended: whether it was launched, and whether it ended, in the run.
        error_s: how much longer or shorter that may have been.
        typical: that is a value to plan with; what was paid may differ.
        busy_gpu_s, cold_gpu_s: GPU-seconds by cell of the fleet's `edges_s`; see `Fleet`.
    """

    node: str
    provider_id: str
    instance_type: str
    capacity_type: str
    zone: str
    gpus: int
    usd_per_h: float | None
    start_s: float
    end_s: float
    began: bool
    ended: bool
    error_s: float
    busy_gpu_s: Floats
    cold_gpu_s: Floats
    typical: bool = False


@dataclass(frozen=True)
class Fleet:
    """Every instance with GPUs, over one run.

    A GPU is busy while its replica has requests in its batch; cold while its replica is there and
    cannot serve (it starts, waits to start again, or is silent), and from the launch of its machine
    until a first replica there is ready; idle otherwise.

    Attributes:
        edges_s: of the cells, from the run's start to its end; phases begin and end on edges.
        machines: in order of name and start.
        problem: why the machines are not known; "": they are.
        parts_problem: why what their GPUs did is not known; "": it is.
    """

    edges_s: Floats
    machines: Sequence[Machine]
    problem: str = ""
    parts_problem: str = ""
