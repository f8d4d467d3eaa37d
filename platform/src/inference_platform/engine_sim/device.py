"""A GPU and a model in numbers: how long a step takes, and how much KV cache there is.

A step takes the longer of reading (weights and the context's KV) and computing, each at the share
of the datasheet's rate that published vLLM measurements reach, plus overheads: fixed, by layer, by
decoding sequence, and for the all-reduces of tensor parallelism. The numbers, their sources and
what they are worth are in `profiles.yaml`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.resources import files
from typing import Any

GIB = 2**30
# Activations, CUDA context and graphs: 1.15 GiB in a published run of Llama-3.1-8B, rounded up.
OVERHEAD_BYTES = 1.2 * GIB
_MORE = "See https://docs.vllm.ai/en/latest/configuration/conserving_memory/ for more details."


class StartError(Exception):
    """Why an engine cannot start; the text is the root cause in vLLM's words."""


@cache
def profiles() -> dict[str, dict[str, Any]]:
    """Return the known GPUs and models by name."""
    yaml = import_module("yaml")  # late: it would cost every engine a tenth of its start
    text = files(__package__).joinpath("profiles.yaml").read_text(encoding="utf-8")
    loaded: dict[str, dict[str, Any]] = yaml.safe_load(text)
    return loaded


@dataclass(frozen=True, slots=True)
class Device:
    """One engine's GPUs with its model on them; sizes in bytes and rates by GPU, all together.

    `weights_bytes` is what is loaded, `read_bytes` what one decode step reads of it. `linear_flop`
    is what one token costs outside of attention, `pair_flop` what one token's look at another does.
    """

    memory_bytes: float
    weights_bytes: float
    read_bytes: float
    kv_bytes_per_token: float
    bytes_per_s: float
    flop_per_s: float
    linear_flop: float
    pair_flop: float
    overhead_s: float
    per_seq_s: float
    slow_factor: float = 1.0

    def duration_s(
        self, decodes: int, prefill_tokens: int, context_tokens: int = 0, pairs: int = 0
    ) -> float:
        """Return the length of a step; see `cost.Cost`."""
        read = self.read_bytes + context_tokens * self.kv_bytes_per_token
        flop = self.linear_flop * (decodes + prefill_tokens) + self.pair_flop * pairs
        longest_s = max(read / self.bytes_per_s, flop / self.flop_per_s)
        return (longest_s + self.overhead_s + self.per_seq_s * decodes) * self.slow_factor

    def kv_blocks(self, utilization: float, block_size: int, max_model_len: int) -> int:
        """Return how many KV blocks fit; StartError when a full context would not."""
        if self.weights_bytes > self.memory_bytes:
            raise StartError(
                "torch.OutOfMemoryError: CUDA out of memory. GPU 0 has a total capacity of "
                f"{self.memory_bytes / GIB:.2f} GiB, the weights need "
                f"{self.weights_bytes / GIB:.2f} GiB."
            )
        room = utilization * self.memory_bytes - self.weights_bytes - OVERHEAD_BYTES
        if room <= 0:
            raise StartError(
                "ValueError: No available memory for the cache blocks. Try increasing "
                f"`gpu_memory_utilization` when initializing the engine. {_MORE}"
            )
        block_bytes = block_size * self.kv_bytes_per_token
        needed = -(-max_model_len // block_size) * block_bytes
        if needed > room:
            most = int(room // block_bytes) * block_size
            raise StartError(
                "ValueError: To serve at least one request with the model's max seq len "
                f"({max_model_len}), ({needed / GIB:.2f} GiB KV cache is needed, which is larger "
                f"than the available KV cache memory ({room / GIB:.2f} GiB). Based on the "
                f"available memory, the estimated maximum model length is {most}. Try increasing "
                "`gpu_memory_utilization` or decreasing `max_model_len` when initializing the "
                f"engine. {_MORE}"
            )
        return int(room // block_bytes) + 1  # and the null block


def make_device(
    gpu: str, model: str, quantization: str | None, gpus: int, slow_factor: float = 1.0
) -> Device:
    """Put a model on so many GPUs; ValueError in one line for what is not known."""
    known = profiles()
    card = _find(known["gpus"], gpu, "--sim-gpu")
    net = _find(known["models"], model, "--sim-model-profile")
    kind = quantization or "bf16"
    weights_gb = net.get(f"{kind}_gb")
    if weights_gb is None:
        raise ValueError(f"expected --quantization awq or fp8 for {model}, found {kind}")
    is_8_bit = kind == "fp8" and card["tflops_8"] is not None
    tflops, efficiency = (
        (card["tflops_8"], card["flop_eff_8"])
        if is_8_bit
        else (card["tflops_16"], card["flop_eff_16"])
    )
    embedding_gb = net["bf16_gb"] - net["bf16_read_gb"]  # stays at 16 bits, is not read
    read_gb = net.get(f"{kind}_read_gb", weights_gb - embedding_gb)
    allreduce_s = 2 * net["layers"] * card["allreduce_us"] / 1e6 if gpus > 1 else 0.0
    layers_s = net["layers"] * card["per_layer_us"] / 1e6
    return Device(
        memory_bytes=card["memory_gib"] * GIB,
        weights_bytes=weights_gb * 1e9 / gpus,
        read_bytes=read_gb * 1e9 / gpus,
        kv_bytes_per_token=net["kv_bytes"] / gpus,
        bytes_per_s=card["bandwidth"] * 1e9 * card["bw_eff"],
        flop_per_s=tflops * 1e12 * efficiency,
        linear_flop=net["bf16_read_gb"] * 1e9 / gpus,  # 2 operations for 2 bytes of parameter
        pair_flop=4 * net["hidden"] * net["layers"] / gpus,
        overhead_s=card["fixed_ms"] / 1e3 + layers_s + allreduce_s,
        per_seq_s=card["per_seq_us"] / 1e6,
        slow_factor=slow_factor,
    )


def _find(rows: dict[str, Any], name: str, flag: str) -> dict[str, Any]:
    for key, row in rows.items():
        if key.lower() == name.lower():
            found: dict[str, Any] = row
            return found
    raise ValueError(f"expected {flag} to be one of {', '.join(rows)}, found {name!r}")
