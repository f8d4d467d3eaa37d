"""GPU and model profiles against published numbers, and engines that do not fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from inference_platform.engine_sim.device import StartError, make_device, profiles


@pytest.mark.parametrize(
    ("gpu", "model", "quantization", "batch", "published_ms"),
    [
        ("L4", "mistral-7b", None, 1, 55.9),
        ("L4", "mistral-7b", None, 8, 59.7),
        ("L4", "mistral-7b", "awq", 1, 16.4),
        ("L4", "mistral-7b", "awq", 8, 17.9),
        ("A100-40", "llama-3.1-8b", None, 1, 13.3),
        ("H100", "llama-3.1-8b", None, 1, 6.48),
    ],
)
def test_decode_steps_are_near_published_ones(
    gpu: str, model: str, quantization: str | None, batch: int, published_ms: float
) -> None:
    """Within 8 % of rows that the fit is based on; contexts of 300 tokens."""
    device = make_device(gpu, model, quantization, 1)
    step_ms = device.duration_s(batch, 0, 300 * batch, 300 * batch) * 1000
    assert step_ms == pytest.approx(published_ms, rel=0.08)


def test_prefill_is_bound_by_computing() -> None:
    """1024 tokens of Qwen2.5-72B on two H100: 129 ms published, its time to the first token."""
    device = make_device("H100", "qwen2.5-72b", None, 2)
    assert device.duration_s(0, 1024, 0, 1024 * 512) == pytest.approx(0.129, rel=0.15)


@pytest.mark.parametrize(
    ("gpu", "model", "quantization", "tokens"),
    [("L4", "mistral-7b", None, 42_000), ("L4", "mistral-7b", "awq", 121_000),
     ("H100", "llama-3.1-8b", None, 451_000), ("T4", "qwen2.5-1.5b", None, 338_000)],
)  # fmt: skip
def test_kv_cache_is_what_weights_and_overhead_leave(
    gpu: str, model: str, quantization: str | None, tokens: int
) -> None:
    """At 90 % of the memory, as in the published calculation."""
    blocks = make_device(gpu, model, quantization, 1).kv_blocks(0.9, 16, 2048)
    assert blocks * 16 == pytest.approx(tokens, rel=0.03)


@pytest.mark.parametrize(
    ("gpu", "model", "length", "said"),
    [
        ("T4", "llama-3.1-70b", 2048, "torch.OutOfMemoryError: CUDA out of memory."),
        ("T4", "mistral-7b", 2048, "No available memory for the cache blocks."),
        ("L4", "mistral-7b", 131_072, "the estimated maximum model length is "),
    ],
)
def test_what_does_not_fit_says_so_in_vllms_words(
    gpu: str, model: str, length: int, said: str
) -> None:
    """Weights too large, no room left, and too little room for one full context."""
    with pytest.raises(StartError, match=said):
        make_device(gpu, model, None, 1).kv_blocks(0.92, 16, length)


def test_every_profile_can_be_put_together() -> None:
    """No row lacks a number, and each names its source."""
    known = profiles()
    for rows in known.values():
        assert all(row["source"] for row in rows.values())
    for gpu in known["gpus"]:
        for model in known["models"]:
            assert make_device(gpu, model, "awq", 1).duration_s(1, 0) > 0


def test_unknown_names_are_one_clear_line() -> None:
    """The message lists what there is."""
    with pytest.raises(ValueError, match="expected --sim-gpu to be one of T4, .*found 'Z9'"):
        make_device("Z9", "mistral-7b", None, 1)
    with pytest.raises(ValueError, match="expected --quantization awq or fp8"):
        make_device("L4", "mistral-7b", "gptq", 1)


def test_an_engine_that_does_not_fit_is_exit_1(spawn: Callable[..., Any]) -> None:
    """Root cause first, then vLLM's last line."""
    engine = spawn("--sim-gpu", "T4", "--sim-model-profile", "mistral-7b")
    assert engine.process.wait(10) == 1
    lines = engine.log().splitlines()
    assert "EngineCore failed to start." in lines[-3]
    assert "No available memory for the cache blocks" in lines[-2]
    assert lines[-1].endswith("See root cause above. Failed core proc(s): {'EngineCore': 1}")


def test_an_engine_that_fits_tells_its_cache(spawn: Callable[..., Any]) -> None:
    """The blocks are those of the profile."""
    engine = spawn("--sim-gpu", "l4", "--sim-model-profile", "mistral-7b", "--quantization", "awq")
    engine.url()
    assert "GPU KV cache size: 124," in engine.log()
