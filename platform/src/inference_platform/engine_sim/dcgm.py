"""What dcgm-exporter would show of the engine's GPUs, from what the engine does.

Memory is that of `gpu`; busy time, reads and floating point operations are those of the steps. The
rest is a stand-in with the right direction: power rises from idle towards the board's limit with
what is busy, temperature follows power slowly, energy is the integral of power.
"""

from __future__ import annotations

import asyncio
import socket
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.resources import files
from typing import Any

from inference_platform.engine_sim.call import Call, Receive, Scope, Send
from inference_platform.engine_sim.device import profiles
from inference_platform.engine_sim.engine import Engine
from inference_platform.engine_sim.flags import Flags
from inference_platform.engine_sim.gpu import Gpu, bus_id
from inference_platform.engine_sim.gpu_faults import xids
from inference_platform.engine_sim.gpu_state import GpuState

PERIOD_S = 1.0
DRIVER = "570.195.03"  # made up
_MIB = 2**20
# Without a GPU profile nobody knows what a step reads and computes: shares of a busy GPU.
_DRAM_SHARE, _TENSOR_SHARE = 0.7, 0.2
_HEAT_C, _ROOM_C, _HEAT_TIME_S = 50.0, 30.0, 30.0  # at full power, at none, time to follow
_BYTES_PER_TOKEN = 4096  # over PCIe: ids, positions and samples of a token


@dataclass(slots=True)
class Load:
    """Shares of the last period, 0-1; `tokens_per_s` were computed in it."""

    busy: float = 0.0
    tensor: float = 0.0
    dram: float = 0.0
    tokens_per_s: float = 0.0


class Telemetry:
    """The numbers of one engine's GPUs. Work is shared alike; faults are the first one's.

    Args:
        flags: the command line.
        gpu: one GPU's memory.
        engine: whose steps keep the GPUs busy.
        state: what is the matter with the first GPU.
    """

    def __init__(self, flags: Flags, gpu: Gpu, engine: Engine, state: GpuState) -> None:
        """Start idle and cool."""
        yaml = import_module("yaml")
        text = files(__package__).joinpath("dcgm.yaml").read_text(encoding="utf-8")
        known: dict[str, dict[str, Any]] = yaml.safe_load(text)
        self._fields = known["fields"]
        name = {key.lower(): key for key in known["boards"]}[gpu.name.lower()]
        self._board = known["boards"][name]
        self._card = profiles()["gpus"][name]
        self._flags, self._gpu, self._engine, self._state = flags, gpu, engine, state
        self._labels = [_labels(flags, i, self._board) for i in range(flags.tensor_parallel_size)]
        self._at = time.monotonic()
        self._work = engine.stats.work
        self.load = Load()
        self.power_w = float(self._board["idle_w"])
        self.temperature_c = _ROOM_C + _HEAT_C * self.power_w / self._board["tdp_w"]
        self.energy_mj = 0.0

    async def run(self) -> None:
        """Look once a period, until cancelled."""
        while True:
            await asyncio.sleep(PERIOD_S)
            self.look(time.monotonic())

    def look(self, now: float) -> None:
        """Take in what was done since the last look."""
        elapsed_s, self._at = now - self._at, now
        if elapsed_s <= 0:
            return
        work, before = self._engine.stats.work, self._work
        self._work = work
        self.load = self._measure([a - b for a, b in zip(work, before, strict=True)], elapsed_s)
        load, board = self.load, self._board
        effort = 0.35 * load.busy + 0.35 * min(1.0, load.dram / 0.8) + 0.3 * load.tensor
        self.power_w = board["idle_w"] + (board["tdp_w"] - board["idle_w"]) * effort
        target_c = _ROOM_C + _HEAT_C * self.power_w / board["tdp_w"]
        share = min(1.0, elapsed_s / _HEAT_TIME_S)
        self.temperature_c += (target_c - self.temperature_c) * share
        self.energy_mj += self.power_w * elapsed_s * 1000

    def _measure(self, done: list[float], elapsed_s: float) -> Load:
        steps, busy_s, tokens, context, pairs = done
        state, stats = self._engine.state, self._engine.stats
        if state == "dead":
            return Load()
        if state == "hung":  # a kernel that never ends: busy, without work
            return Load(busy=1.0)
        busy = min(1.0, busy_s / elapsed_s)
        if self._flags.sim_fixed_ttft_s is not None:  # known timing has no steps
            busy = 1.0 if tokens or stats.running else 0.0
        dram, tensor = _DRAM_SHARE * busy, _TENSOR_SHARE * busy
        device, card = self._gpu.device, self._card
        if device is not None:
            is_8_bit = self._flags.quantization == "fp8" and card["tflops_8"] is not None
            peak = card["tflops_8" if is_8_bit else "tflops_16"] * 1e12
            read = steps * device.read_bytes + context * device.kv_bytes_per_token
            flop = tokens * device.linear_flop + pairs * device.pair_flop
            dram = min(busy, read / (card["bandwidth"] * 1e9 * elapsed_s))
            tensor = min(busy, flop / (peak * elapsed_s))
        return Load(busy, tensor, dram, tokens / elapsed_s)

    def page(self) -> str:
        """Return the metrics page."""
        seen = list(enumerate(self._labels))
        if self._state.gone:
            del seen[0]
        rows = [(labels, self._values(index)) for index, labels in seen]
        lines: list[str] = []
        for name, (kind, text) in self._fields.items():
            if rows:
                lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
            lines += [f"{name}{{{labels}}} {_number(values[name])}" for labels, values in rows]
        return "".join(f"{line}\n" for line in lines)

    def _values(self, index: int) -> dict[str, float]:
        """Return one GPU's values by field."""
        gpu, board, load = self._gpu, self._board, self.load
        foreign = self._state.foreign_gib * 1024 if index == 0 else 0.0
        own = 0.0 if self._engine.dead else (gpu.held_bytes + load.busy * _peak(gpu)) / _MIB
        total = gpu.memory_bytes / _MIB
        used = min(total, own + foreign)
        xid = self._state.xid if index == 0 else 0
        row = xids().get(xid, {})
        is_up = load.busy > 0
        return {
            "DCGM_FI_DEV_SM_CLOCK": board["sm_mhz"] if is_up else 210,
            "DCGM_FI_DEV_MEM_CLOCK": board["mem_mhz"] if is_up or board["hbm"] else 405,
            "DCGM_FI_DEV_MEMORY_TEMP": round(self.temperature_c + 6) if board["hbm"] else 0,
            "DCGM_FI_DEV_GPU_TEMP": round(self.temperature_c),
            "DCGM_FI_DEV_POWER_USAGE": self.power_w,
            "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": round(self.energy_mj),
            "DCGM_FI_DEV_PCIE_REPLAY_COUNTER": 0,
            "DCGM_FI_DEV_GPU_UTIL": round(100 * load.busy),
            "DCGM_FI_DEV_MEM_COPY_UTIL": round(100 * load.dram),
            "DCGM_FI_DEV_ENC_UTIL": 0,
            "DCGM_FI_DEV_DEC_UTIL": 0,
            "DCGM_FI_DEV_XID_ERRORS": xid,
            "DCGM_FI_DEV_FB_FREE": round(total - used),
            "DCGM_FI_DEV_FB_USED": round(used),
            "DCGM_FI_DEV_FB_RESERVED": max(0, round(board["total_mib"] - total)),
            "DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL": 0,
            "DCGM_FI_DEV_VGPU_LICENSE_STATUS": 0,
            "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS": row.get("remapped", 0),
            "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS": 0,
            "DCGM_FI_DEV_ROW_REMAP_FAILURE": row.get("remap_failed", 0),
            "DCGM_FI_PROF_GR_ENGINE_ACTIVE": load.busy,
            "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE": load.tensor,
            "DCGM_FI_PROF_DRAM_ACTIVE": load.dram,
            "DCGM_FI_PROF_PCIE_TX_BYTES": round(load.tokens_per_s * _BYTES_PER_TOKEN),
            "DCGM_FI_PROF_PCIE_RX_BYTES": round(load.tokens_per_s * _BYTES_PER_TOKEN),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the page, as an ASGI application."""
        call = Call(scope, receive, send)
        if call.path == "/metrics":
            page_type = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")
            await call.answer(200, self.page().encode(), page_type)
        else:
            await call.answer(200 if call.path == "/health" else 404)


def _peak(gpu: Gpu) -> float:
    """Return what a busy GPU holds for activations, in bytes."""
    return max(0.0, gpu.claim_bytes - gpu.held_bytes)


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.6f}"


def _labels(flags: Flags, index: int, board: dict[str, Any]) -> str:
    """Return the labels of an engine's nth GPU; its UUID is made up, the same after a restart."""
    place = (socket.gethostname(), flags.port, flags.sim_pod, flags.sim_gpu_state, index)
    made_up = uuid.uuid5(uuid.NAMESPACE_DNS, repr(place))
    return ",".join(f'{name}="{value}"' for name, value in _pairs(flags, index, board, made_up))


def _pairs(
    flags: Flags, index: int, board: dict[str, Any], made_up: uuid.UUID
) -> Iterator[tuple[str, str]]:
    yield "gpu", str(index)
    yield "UUID", f"GPU-{made_up}"
    yield "pci_bus_id", f"0000{bus_id(index)}"
    yield "device", f"nvidia{index}"
    yield "modelName", board["name"]
    yield "hostname", socket.gethostname()
    yield "DCGM_FI_DRIVER_VERSION", DRIVER
    if flags.sim_pod is not None:
        namespace, pod = flags.sim_pod
        yield "namespace", namespace
        yield "pod", pod
        yield "container", "vllm"
