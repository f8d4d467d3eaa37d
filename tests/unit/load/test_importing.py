"""Public recordings become traces; what is not in their format is one clear line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from faultload.errors import FaultloadError, SpecError, UsageError
from faultload.load import ImportOptions, describe, import_trace, make_trace, write_trace
from faultload.load import importing as importing_module
from faultload.load.trace import TRACE_SCHEMA
from faultload.spec.scenario import Scenario

SAMPLES = Path(__file__).parents[3] / "scenarios" / "samples"
FILES = {
    "azure": SAMPLES / "azure.csv",
    "burstgpt": SAMPLES / "burstgpt.csv",
    "mooncake": SAMPLES / "mooncake.jsonl",
    "sharegpt": SAMPLES / "sharegpt.json",
}
PLAIN = ImportOptions()


def imported(kind: str, options: ImportOptions = PLAIN) -> pd.DataFrame:
    """The sample of a format as a trace."""
    return import_trace(kind, FILES[kind], options)[0]


def words(prompt: str, count: int) -> list[str]:
    """The first words of a prompt."""
    return prompt.split()[:count]


@pytest.mark.parametrize("kind", FILES)
def test_every_format_makes_a_whole_trace(kind: str) -> None:
    """All columns, in order of due times, numbered from 0, and as many words as tokens."""
    trace = imported(kind)
    assert list(trace.columns) == TRACE_SCHEMA.names
    assert trace["index"].tolist() == list(range(len(trace)))
    assert trace["due_s"].is_monotonic_increasing
    assert (trace["prompt"].str.split().str.len() == trace["prompt_tokens"]).all()
    assert (trace["output_tokens"] > 0).all()
    assert set(zip(trace["tier"], trace["model"], strict=True)) == {("fast", "chat-fast")}


@pytest.mark.parametrize("kind", FILES)
def test_the_same_seed_makes_the_same_file(kind: str, tmp_path: Path) -> None:
    """Byte for byte; another seed says other words at the same lengths."""
    files = [tmp_path / name for name in "abc"]
    for file, seed in zip(files, (1, 1, 2), strict=True):
        write_trace(imported(kind, ImportOptions(seed=seed)), file)
    first, same, other = (file.read_bytes() for file in files)
    assert first == same
    assert first != other
    again = imported(kind, ImportOptions(seed=2))
    lengths = sorted(zip(again["prompt_tokens"], again["output_tokens"], strict=True))
    plain = imported(kind)
    assert lengths == sorted(zip(plain["prompt_tokens"], plain["output_tokens"], strict=True))


def test_azure_is_read_as_recorded() -> None:
    """Times count from the first request; one that got no token is left out and counted."""
    trace, left_out = import_trace("azure", FILES["azure"], PLAIN)
    assert left_out == 1
    assert trace["prompt_tokens"].tolist() == [310, 640, 75, 220, 415]
    assert trace["due_s"].tolist() == [0.0, 2.25, 2.5, 4.875, 9.0]


def test_azure_of_2024_has_zones_and_whole_seconds(tmp_path: Path) -> None:
    """The later files write `+00:00`, and no fraction where there is none."""
    path = tmp_path / "a.csv"
    path.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2024-01-02 00:00:00+00:00,5,6\n2024-01-02 00:00:00.009000+00:00,7,8\n\n"
    )
    trace, _ = import_trace("azure", path, PLAIN)
    assert trace["due_s"].tolist() == [0.0, 0.009]


def test_burstgpt_models_become_tiers() -> None:
    """Each recorded model goes where `models` says; sessions get names of ours."""
    models = {"ChatGPT": ("fast", "chat-fast"), "GPT-4": ("reasoning", "chat-reasoning")}
    trace = imported("burstgpt", ImportOptions(models=models))
    assert trace["tier"].tolist() == ["fast", "fast", "fast", "reasoning", "reasoning"]
    assert trace["session"].tolist() == ["s000000", "", "s000000", "", "s000001"]
    assert trace["due_s"].tolist() == [0, 3, 7, 7, 19]
    with pytest.raises(SpecError, match=r"line 5, column Model: expected ChatGPT, found 'GPT-4'"):
        imported("burstgpt", ImportOptions(models={"ChatGPT": ("a", "b")}))


def test_the_first_burstgpt_has_no_sessions(tmp_path: Path) -> None:
    """Its earlier files lack two columns, and are read all the same."""
    path = tmp_path / "b.csv"
    path.write_text(
        "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
        "5,ChatGPT,30,12,42,Conversation log\n45,ChatGPT,90,25,115,Conversation log\n"
    )
    trace, _ = import_trace("burstgpt", path, PLAIN)
    assert set(trace["session"]) == {""}
    assert trace["due_s"].tolist() == [0.0, 40.0]


def test_mooncake_blocks_are_shared_as_recorded() -> None:
    """Prompts are alike exactly as far as their block ids are."""
    prompts = imported("mooncake")["prompt"].tolist()
    first, second, third, fourth, fifth = prompts
    assert words(first, 512) == words(second, 512)
    assert words(first, 1024) == words(third, 1024)
    assert words(third, 1536) == words(fifth, 1536)
    assert words(first, 1300)[1024:] != words(third, 1300)[1024:]
    assert words(second, 700)[512:] != words(first, 700)[512:]
    assert words(fourth, 400) != words(first, 400)
    shared = describe(imported("mooncake"))["prefix_share"]
    assert shared == pytest.approx((512 + 1024 + 1536) / (1300 + 700 + 1800 + 400 + 2100))


def test_mooncake_with_too_few_ids_shares_no_more(tmp_path: Path) -> None:
    """What no id covers is a request's own."""
    path = tmp_path / "m.jsonl"
    path.write_text(
        '{"timestamp": 0, "input_length": 600, "output_length": 1, "hash_ids": [7]}\n' * 2
    )
    one, two = import_trace("mooncake", path, PLAIN)[0]["prompt"]
    assert words(one, 512) == words(two, 512)
    assert len(one.split()) == 600
    assert one.split()[512:] != two.split()[512:]


def test_sharegpt_turns_send_the_whole_conversation() -> None:
    """A later prompt begins with the earlier one and a stand-in for its answer.

    Lengths are a token for every four bytes; an unanswered question is no request.
    """
    trace = imported("sharegpt")
    assert len(trace) == 4
    talk = trace[trace["session"].map(trace["session"].value_counts()) == 2]
    first, second = talk.itertuples()
    assert str(second.prompt).startswith(f"{first.prompt} ")
    assert first.prompt_tokens == 14
    assert second.prompt_tokens == 14 + first.output_tokens + 10
    assert second.due_s > first.due_s


def test_window_limit_and_rate() -> None:
    """The window counts in recorded seconds, the limit within it, and then time is squeezed."""
    options = ImportOptions(from_s=4, to_s=11, scale_rate=2, limit=2)
    trace = imported("burstgpt", options)
    assert trace["due_s"].tolist() == [1.5, 1.5]
    assert trace["prompt_tokens"].tolist() == [330, 620]
    whole = imported("burstgpt")
    assert trace["prompt"].tolist() == whole["prompt"].tolist()[2:4]


def test_only_what_was_looked_at_is_counted_as_left_out() -> None:
    """A failure that comes after the last request taken is none of the trace's."""
    counts = [
        import_trace("azure", FILES["azure"], ImportOptions(limit=limit))[1] for limit in (2, 4)
    ]
    assert counts == [0, 1]


def test_long_requests_are_cut() -> None:
    """A cut prompt is the beginning of the whole one, so that prefixes stay shared."""
    cut = imported("mooncake", ImportOptions(prompt_tokens_max=600, output_tokens_max=20))
    whole = imported("mooncake")
    assert cut["prompt_tokens"].tolist() == [600, 600, 600, 400, 600]
    assert cut["output_tokens"].max() == 20
    for short, long in zip(cut["prompt"], whole["prompt"], strict=True):
        assert long.startswith(short)


AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-01-02 09:00:46,10,20\n"
BURST = "Timestamp,Model,Request tokens,Response tokens\n5,ChatGPT,10,20\n"
MOON = '{"timestamp": 0, "input_length": 5, "output_length": 1, "hash_ids": [0]}\n'


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("azure", "", "line 1: expected a header, found an empty file"),
        ("azure", "a,b\n1,2\n", "line 1, column TIMESTAMP: .* found only a, b"),
        ("azure", AZURE.partition("2023")[0], "expected requests, found none"),
        ("azure", f"{AZURE}yesterday,1,2\n", "line 3, column TIMESTAMP: .*found 'yesterday'"),
        ("azure", f"{AZURE}2023-01-02 09:00:47,-1,2\n", "line 3, column ContextTokens: .*'-1'"),
        ("azure", f"{AZURE}2023-01-02 09:00:47,1,2.5\n", "column GeneratedTokens: .*'2.5'"),
        ("azure", f"{AZURE}2023-01-02 09:00:47,1\n", "GeneratedTokens: .*found nothing"),
        ("azure", f"{AZURE}2023-01-02 09:00:47,1,2,3\n", "not a CSV file: .*line 3"),
        ("azure", AZURE.replace("20\n", "20,30\n"), "line 2: expected 3 fields, found more"),
        ("azure", f"{AZURE}2023-01-02 09:00:47,1,1e99\n", "whole number of tokens"),
        ("burstgpt", f"{BURST}soon,GPT-4,1,2\n", "line 3, column Timestamp: .*found 'soon'"),
        ("burstgpt", f"{BURST}inf,GPT-4,1,2\n", "line 3, column Timestamp: expected seconds"),
        ("burstgpt", f"{BURST}6,,1,2\n", "line 3, column Model: .*found nothing"),
        ("mooncake", "", "expected requests, found none"),
        ("mooncake", f"{MOON}{{broken\n", "line 2: expected JSON"),
        ("mooncake", f"{MOON}[1]\n", "line 2: expected a JSON object, found"),
        ("mooncake", MOON.replace("output_length", "out"), "line 1, output_length: .*no such key"),
        ("mooncake", MOON.replace("[0]", "[true]"), "hash_ids: expected a list of whole numbers"),
        ("mooncake", MOON.replace(": 5", ": -5"), "input_length: expected a whole number"),
        ("sharegpt", "{}", "expected a list of conversations"),
        ("sharegpt", "[1,", "line 1, column 4: expected JSON"),
        ("sharegpt", '[{"id": 1}]', r"\[0\].conversations: expected a list of turns, found None"),
        ("sharegpt", '[{"conversations": [{"from": 1}]}]', r"\[0\].conversations\[0\]: expected"),
        ("sharegpt", "[]", "expected requests, found none"),
    ],
)
def test_bad_files_are_one_clear_line(tmp_path: Path, kind: str, text: str, said: str) -> None:
    """File, line and column, what was expected and what was found."""
    path = tmp_path / "recording"
    path.write_text(text)
    with pytest.raises(SpecError, match=said) as caught:
        import_trace(kind, path, PLAIN)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", FILES)
def test_what_cannot_be_read_is_said(tmp_path: Path, kind: str) -> None:
    """No file, a folder, and bytes that are no text."""
    noise = tmp_path / "noise"
    noise.write_bytes(bytes(range(128, 256)) * 4)
    for path in (tmp_path / "none", tmp_path, noise):
        with pytest.raises(SpecError, match=path.name):
            import_trace(kind, path, PLAIN)


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("azur", PLAIN, "did you mean 'azure'"),
        ("azure", ImportOptions(from_s=1e6), "expected requests with tokens from"),
        ("azure", ImportOptions(models={"a": ("b", "c")}), "records no models"),
    ],
)
def test_options_that_cannot_be_met(kind: str, options: ImportOptions, said: str) -> None:
    """Each is a usage error that says what to do."""
    with pytest.raises(UsageError, match=said):
        import_trace(kind, FILES.get(kind, FILES["azure"]), options)


def test_a_recording_that_would_fill_the_memory_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before its words are made; the error names the options that take less."""
    monkeypatch.setattr(importing_module, "_PROMPT_TOKENS_MAX", 1000)
    with pytest.raises(FaultloadError, match="--limit"):
        imported("mooncake")
    assert len(imported("mooncake", replace(PLAIN, prompt_tokens_max=100))) == 5


def test_an_imported_trace_is_played_by_a_scenario(tmp_path: Path) -> None:
    """`arrivals: {kind: trace}` takes the file, if the scenario knows its tiers."""
    write_trace(imported("burstgpt"), tmp_path / "day.parquet")
    lengths = {"median": 1}
    tier = {"tier": "fast", "model": "m", "weight": 1}
    fields = {
        "name": "replay",
        "description": "d",
        "arrivals": {"kind": "trace", "path": "day.parquet"},
        "tiers": [tier | {"prompt_tokens": lengths, "output_tokens": lengths}],
    }
    trace = make_trace(Scenario.model_validate(fields), 5, 1, tmp_path)
    assert trace["due_s"].tolist() == [0, 3]
    fields["tiers"][0]["tier"] = "reasoning"
    with pytest.raises(SpecError, match=r"tier: expected the tiers .*\(reasoning\), found 'fast'"):
        make_trace(Scenario.model_validate(fields), 5, 1, tmp_path)


def test_what_has_no_time_yet_has_no_rate() -> None:
    """Questions of a closed loop are described by all but when they come."""
    about = describe(imported("mooncake").assign(due_s=float("inf")))
    assert about["requests"] == 5
    assert about["rate_rps"] is None
    assert about["rate"] == []
