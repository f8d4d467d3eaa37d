"""Start-up in phases: what it says, how long it takes, and every way in which it fails."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inference_platform.engine_sim.core import Core
from inference_platform.engine_sim.device import StartError
from inference_platform.engine_sim.flags import PHASES, parse
from inference_platform.engine_sim.startup import plan, start_core

PHASE_FLAG = ("--sim-startup-phases", "weights=10,compile=40,graphs=12,init=5")
LAST = "Engine core initialization failed. See root cause above. Failed core proc(s): "


def go_through(*argv: str) -> tuple[list[float], Core]:
    """Do a start without waiting; return the waits it asked for and the core."""
    start, waits = start_core(parse(argv)), []
    while True:
        try:
            waits.append(next(start))
        except StopIteration as done:
            return waits, done.value[0]


def test_phases_take_their_scaled_time_and_tell_the_unscaled(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The lines are vLLM's, in its order, with the figures that the phases stand for."""
    waits, _ = go_through(*PHASE_FLAG, "--sim-time-scale", "0.1")
    assert waits == pytest.approx([1.0, 4.0, 1.2, 0.5], abs=0.01)
    said = [line.split(" ", 5)[-1] for line in capsys.readouterr().err.splitlines()]
    patterns = [
        r"Initializing a V1 LLM engine \(v0.33.0\)",
        r"Loading weights took 10.00 seconds",
        r"Model loading took 2.88 GiB memory and 10.000000 seconds",
        r"torch.compile took 40.00 s in total",
        r"Available KV cache memory: 16.21 GiB",
        r"GPU KV cache size: [\d,]+ tokens, Maximum concurrency for 8,192 tokens per request: ",
        r"Graph capturing finished in 12 secs, took 0.45 GiB",
        r"init engine \(.*, warmup model\) took 57.00 s \(compilation: 40.00 s\)",
    ]
    assert len(said) == len(patterns)
    for line, pattern in zip(said, patterns, strict=True):
        assert re.search(pattern, line)


def test_one_total_is_divided_and_the_age_of_the_process_taken_off() -> None:
    """`--sim-startup-s` is from process start until it serves."""
    times = plan(parse(["--sim-startup-s", "67"]), 33.5)
    assert times["compile"] == (pytest.approx(40.0), pytest.approx(20.0))
    assert sum(takes for _, takes in times.values()) == pytest.approx(33.5)
    assert all(takes == 0 for _, takes in plan(parse([]), 5.0).values())


@pytest.mark.parametrize("phase", PHASES)
def test_a_phase_that_is_told_to_fail_does(phase: str) -> None:
    """With a message or with one of vLLM's own."""
    with pytest.raises(StartError, match=r"CUDA|ptxas"):
        go_through("--sim-fail-phase", phase)
    with pytest.raises(StartError, match="^RuntimeError: NCCL error: it is late$"):
        go_through("--sim-fail-phase", f"{phase}:RuntimeError: NCCL error: it is late")


@pytest.mark.parametrize("mode", ["--sim-core-process", "--no-sim-core-process"])
def test_a_failed_start_looks_like_vllms(spawn: Callable[..., Any], mode: str) -> None:
    """Root cause from the core, then the API server's last line, and exit code 1."""
    engine = spawn(mode, "--sim-fail-phase", "graphs")
    assert engine.process.wait(10) == 1
    lines = engine.log().splitlines()
    assert not any("Graph capturing finished" in line for line in lines)
    assert any("torch.compile took" in line for line in lines)
    assert lines[-3].startswith("(EngineCore pid=")
    assert lines[-3].endswith("EngineCore failed to start.")
    assert "torch.AcceleratorError: CUDA error" in lines[-2]
    assert lines[-1].startswith("(APIServer pid=")
    assert lines[-1].endswith(f"RuntimeError: {LAST}{{'EngineCore': 1}}")


@pytest.mark.parametrize(
    ("argv", "state", "said"),
    [
        ((), {"foreign_gib": 10.0}, r"Free memory on device cuda:0 \(12.05/22.05 GiB\) on startup"),
        (("--sim-gpu", "T4", "--sim-model-profile", "mistral-7b"), {}, "No available memory for"),
        (("--sim-gpu", "L4", "--sim-model-profile", "mistral-7b", "--max-model-len", "99999"), {},
         "estimated maximum model length is"),
        (("--sim-gpu", "T4", "--sim-model-profile", "llama-3.1-70b"), {},
         "torch.OutOfMemoryError: CUDA out of memory"),
        ((), {"broken": "RuntimeError: No CUDA GPUs are available"}, "No CUDA GPUs"),
    ],
)  # fmt: skip
def test_what_the_gpu_has_not_got_ends_the_start(
    tmp_path: Path, argv: tuple[str, ...], state: dict[str, object], said: str
) -> None:
    """All four of vLLM's ways to be out of memory at start, and a GPU that is gone."""
    file = tmp_path / "gpu.json"
    file.write_text(json.dumps(state))
    with pytest.raises(StartError, match=said):
        go_through("--sim-gpu-state", str(file), *argv)


def write_weights(folder: Path, **change: object) -> Path:
    """Write a folder of one file and its manifest, the latter changed."""
    data = b"weights" * 1000
    (folder / "model.safetensors").write_bytes(data)
    entry = {"name": "model.safetensors", "size": len(data)}
    entry |= {"sha256": hashlib.sha256(data).hexdigest()} | change
    (folder / "manifest.json").write_text(json.dumps({"model": "m", "files": [entry]}))
    return folder


def test_whole_weights_load(tmp_path: Path) -> None:
    """What the manifest says is what is there."""
    go_through("--sim-weights", str(write_weights(tmp_path)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "gone.safetensors"}, "^FileNotFoundError: .*gone.safetensors"),
        ({"size": 7001}, "SafetensorError: Error while deserializing header: .*expected 7001"),
        ({"sha256": "00"}, "SafetensorError: .*expected sha256 00, found "),
    ],
)
def test_weights_that_are_not_whole_fail_the_phase_in_one_line(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    """Missing, short or different: the first bad file is named."""
    with pytest.raises(StartError, match=said) as failed:
        go_through("--sim-weights", str(write_weights(tmp_path, **change)))
    assert "\n" not in str(failed.value)


def test_a_folder_without_a_manifest_fails_the_phase(tmp_path: Path) -> None:
    """Nothing and nonsense are told apart."""
    with pytest.raises(StartError, match="^FileNotFoundError: .*manifest.json"):
        go_through("--sim-weights", str(tmp_path))
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(StartError, match='^OSError: .*expected {"files": '):
        go_through("--sim-weights", str(tmp_path))
