"""The memory of the GPUs that an engine runs on, and who holds it; all figures are of one GPU.

vLLM claims `--gpu-memory-utilization` of the memory: weights, the KV pool, and an overhead of
which a part (context and graphs) is held and the rest is there for the activations of a step. The
memory that is left may be taken by somebody else.
"""

from __future__ import annotations

from dataclasses import dataclass

from inference_platform.engine_sim.core import OUT_OF_MEMORY
from inference_platform.engine_sim.device import (
    GIB,
    OVERHEAD_BYTES,
    Device,
    StartError,
    make_device,
)
from inference_platform.engine_sim.flags import Flags

# Published logs tell 0.44 to 0.48 GiB of CUDA graphs for models of 3 to 8 * 10^9 parameters.
GRAPH_BYTES = 0.45 * GIB
# What a full step needs for activations: the rest of the overhead.
ACTIVATION_BYTES = OVERHEAD_BYTES - GRAPH_BYTES
# Without --sim-gpu: an L4 with Qwen2.5-1.5B on it, as in profiles.yaml.
DEFAULT_GPU = "L4"
_DEFAULT_MEMORY_BYTES, _DEFAULT_WEIGHTS_BYTES = 22.05 * GIB, 3.09e9


@dataclass(frozen=True, slots=True)
class Gpu:
    """One of an engine's GPUs. `device` is None when step times do not come from a profile."""

    name: str
    memory_bytes: float
    weights_bytes: float
    utilization: float
    full_step_tokens: int
    device: Device | None

    @property
    def claim_bytes(self) -> float:
        """What vLLM is allowed to take."""
        return self.utilization * self.memory_bytes

    @property
    def kv_bytes(self) -> float:
        """The KV pool; 0 when nothing is left for it."""
        return max(0.0, self.claim_bytes - self.weights_bytes - OVERHEAD_BYTES)

    @property
    def held_bytes(self) -> float:
        """What the engine holds between steps."""
        return self.weights_bytes + self.kv_bytes + GRAPH_BYTES

    def foreign_bytes(self, wanted_gib: float) -> float:
        """Return how much of a foreign wish fits beside the engine."""
        return min(wanted_gib * GIB, self.memory_bytes - self.held_bytes)

    def step_tokens(self, wanted_gib: float) -> float:
        """Return how many tokens of a step fit beside a foreign hog; activations grow with them."""
        room = self.memory_bytes - self.held_bytes - self.foreign_bytes(wanted_gib)
        return self.full_step_tokens * room / ACTIVATION_BYTES

    def out_of_memory(self, wanted_gib: float) -> str:
        """Return what torch says when activations do not fit."""
        free = self.memory_bytes - self.held_bytes - self.foreign_bytes(wanted_gib)
        return (
            f"{OUT_OF_MEMORY} Tried to allocate {ACTIVATION_BYTES / 2**20:.2f} MiB. GPU 0 has a "
            f"total capacity of {self.memory_bytes / GIB:.2f} GiB of which {free / 2**20:.2f} MiB "
            "is free."
        )

    def check_free(self, foreign_gib: float) -> None:
        """Refuse to start beside somebody who holds too much, in vLLM's words."""
        free = self.memory_bytes - foreign_gib * GIB
        if free < self.claim_bytes:
            raise StartError(
                f"ValueError: Free memory on device cuda:0 ({max(0.0, free) / GIB:.2f}/"
                f"{self.memory_bytes / GIB:.2f} GiB) on startup is less than desired GPU memory "
                f"utilization ({self.utilization:g}, {self.claim_bytes / GIB:.2f} GiB). Decrease "
                "GPU memory utilization or reduce GPU memory used by other processes."
            )

    def check_weights(self) -> None:
        """Refuse weights that are larger than the GPU."""
        if self.weights_bytes > self.memory_bytes:
            raise StartError(
                f"{OUT_OF_MEMORY} GPU 0 has a total capacity of {self.memory_bytes / GIB:.2f} GiB, "
                f"the weights need {self.weights_bytes / GIB:.2f} GiB."
            )


def make_gpu(flags: Flags) -> Gpu:
    """Return the GPU that the flags ask for; ValueError in one line for what is not known."""
    device, name = None, DEFAULT_GPU
    memory, weights = _DEFAULT_MEMORY_BYTES, _DEFAULT_WEIGHTS_BYTES
    if flags.sim_gpu is not None and flags.sim_model_profile is not None:
        gpus = flags.tensor_parallel_size
        name, model = flags.sim_gpu, flags.sim_model_profile
        device = make_device(name, model, flags.quantization, gpus, flags.sim_slow_factor)
        memory, weights = device.memory_bytes, device.weights_bytes
    tokens, share = flags.max_num_batched_tokens, flags.gpu_memory_utilization
    return Gpu(name, memory, weights, share, tokens, device)


def bus_id(index: int) -> str:
    """Return a made-up PCI address of an engine's nth GPU."""
    return f"0000:{0x1B + index:02X}:00.0"
