"""The command line: vLLM's names, its defaults, and clear refusals."""

from __future__ import annotations

import pytest

from inference_platform.engine_sim.flags import DEFAULT_MODEL, parse


def test_defaults_are_vllms() -> None:
    """Batch limits, block size and shutdown are what `vllm serve` starts with."""
    flags = parse([])
    assert (flags.model, flags.served_model_name) == (DEFAULT_MODEL, DEFAULT_MODEL)
    assert (flags.max_num_seqs, flags.max_num_batched_tokens, flags.block_size) == (256, 2048, 16)
    assert (flags.gpu_memory_utilization, flags.shutdown_timeout) == (0.92, 0.0)
    assert (flags.max_num_queued_reqs, flags.max_num_queued_tokens) == (None, None)
    assert flags.enable_prefix_caching
    assert not parse(["--no-enable-prefix-caching"]).enable_prefix_caching


def test_the_model_may_be_positional_and_several_keys_follow_one_flag() -> None:
    """As in vLLM a repeated --api-key replaces the first one."""
    flags = parse(["org/model", "--api-key", "k0", "--api-key", "k1", "k2"])
    assert (flags.model, flags.served_model_name) == ("org/model", "org/model")
    assert flags.api_key == ("k1", "k2")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--no-such-flag"], "unrecognized arguments: --no-such-flag"),
        (["--max-num"], "unrecognized arguments: --max-num"),
        (["--port", "-1"], "expected a whole number from 0 on, got '-1'"),
        (["--sim-step-base-s", "fast"], "expected a number between 0.0001 and 1e+09, got 'fast'"),
        (["--sim-startup-s", "nan"], "expected a number between 0 and 1e+09, got 'nan'"),
        (["--gpu-memory-utilization", "1.5"], "expected a number between 0 and 1, got '1.5'"),
        (["--sim-fixed-ttft-s", "1"], "must be given together"),
        (["--sim-startup-phases", "weights=1"], "expected weights=SECONDS,compile=SECONDS,"),
        (["--sim-fail-phase", "lunch"], "expected one of weights, compile, graphs, init"),
        (["--sim-pod", "engine-0"], "expected NAMESPACE/POD, got 'engine-0'"),
        (["--max-num-batched-tokens", "8"], "must be at least --max-num-seqs (256)"),
    ],
)
def test_a_bad_flag_is_one_clear_line_and_exit_code_2(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code is argparse's and the reason is in the last line."""
    with pytest.raises(SystemExit) as ended:
        parse(argv)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("gpu", "seqs", "tokens"),
    [
        ("L4", 256, 2048),
        ("a100-80", 256, 2048),
        ("H100", 1024, 8192),
        ("h200", 1024, 8192),
        ("B200", 1024, 16384),
    ],
)
def test_batch_limits_that_are_not_given_are_the_gpus(gpu: str, seqs: int, tokens: int) -> None:
    """As vLLM: by memory, the A100 excepted; what is given stays."""
    argv = ["--sim-gpu", gpu, "--sim-model-profile", "mistral-7b"]
    flags = parse(argv)
    assert (flags.max_num_seqs, flags.max_num_batched_tokens) == (seqs, tokens)
    assert parse([*argv, "--max-num-seqs", "7"]).max_num_seqs == 7
