"""The words: provable, deterministic, and ended where they should be."""

from __future__ import annotations

import re
import statistics

from hypothesis import given
from hypothesis import strategies as st

from inference_platform.engine_sim.tokens import (
    NATURAL_MEDIAN_TOKENS,
    WORD,
    Limits,
    chat_tokens,
    plan_answer,
)


@given(st.integers(0, 2**63 - 1), st.text(), st.integers(1, 300))
def test_every_token_names_its_place_and_its_answer(seed: int, prompt: str, tokens: int) -> None:
    """With ignore_eos there are max_tokens words, numbered without a gap, all with one tag."""
    answer = plan_answer(seed, prompt, Limits(tokens, ignore_eos=True))
    found = re.findall(WORD, answer.full_text())
    assert [int(index) for index, _ in found] == list(range(tokens))
    assert {tag for _, tag in found} == {answer.tag}
    assert answer.finish_reason == "length"


def test_the_answer_depends_on_seed_and_prompt_only() -> None:
    """Two replicas say the same; another seed or prompt says something else."""
    limits = Limits(50, ignore_eos=True)
    assert plan_answer(1, "hello", limits) == plan_answer(1, "hello", limits)
    tags = {plan_answer(seed, p, limits).tag for seed in range(10) for p in ("a", "b", "c")}
    assert len(tags) == 30


def test_natural_lengths_vary_around_the_documented_median() -> None:
    """Without ignore_eos answers end by themselves, with a silent end of sequence."""
    answers = [plan_answer(0, f"prompt {i}", Limits(10**6)) for i in range(2000)]
    assert {a.finish_reason for a in answers} == {"stop"}
    median = statistics.median(a.tokens for a in answers)
    assert 0.85 < median / NATURAL_MEDIAN_TOKENS < 1.15
    answer = answers[0]
    assert answer.text(answer.tokens - 1) == ""
    assert len(re.findall(WORD, answer.full_text())) == answer.tokens - 1


@given(st.text(), st.integers(1, 400), st.integers(0, 400))
def test_min_and_max_tokens_bound_the_length(prompt: str, most: int, least: int) -> None:
    """The end of sequence never comes before min_tokens words, nor the end after max_tokens."""
    least = min(least, most)
    answer = plan_answer(0, prompt, Limits(most, min_tokens=least))
    assert least <= answer.tokens <= most
    words = len(re.findall(WORD, answer.full_text()))
    assert words >= least


@given(
    prompt=st.text(),
    stops=st.lists(st.sampled_from(["0003", "k0002-", " tok0005", "7", "x"]), min_size=1),
    include=st.booleans(),
)
def test_a_stop_string_ends_the_answer_where_it_begins(
    *, prompt: str, stops: list[str], include: bool
) -> None:
    """The visible text is the full text up to the first stop string, token by token."""
    full = plan_answer(0, prompt, Limits(40, ignore_eos=True)).full_text()
    limits = Limits(40, ignore_eos=True, stop=stops, include_stop=include)
    answer = plan_answer(0, prompt, limits)
    if answer.stop_reason is None:
        assert answer.full_text() == full
        assert not any(stop in full for stop in stops)
        return
    assert isinstance(answer.stop_reason, str)
    at = full.find(answer.stop_reason)
    assert answer.full_text() == full[: at + len(answer.stop_reason) * include]
    assert (answer.finish_reason, answer.stop_reason in stops) == ("stop", True)
    ended_by = at + len(answer.stop_reason)
    assert all(full.find(s) + len(s) > ended_by - 13 for s in stops if s in full)


@given(
    prompt=st.text(),
    stops=st.lists(st.sampled_from(["0003", " tok0005", "x", "y" * 30, "tok0000-"]), max_size=3),
    include=st.booleans(),
    tokens=st.integers(1, 12),
)
def test_a_stream_holds_back_what_may_be_a_stop_string(
    *, prompt: str, stops: list[str], include: bool, tokens: int
) -> None:
    """Nothing is shown of a stop string, nothing is lost, and the end brings all that was held."""
    answer = plan_answer(0, prompt, Limits(tokens, stop=stops, include_stop=include))
    shown, text = "", ""
    for index in range(answer.tokens):
        shown, text = shown + answer.delta(index), text + answer.text(index)
        if index < answer.tokens - 1:
            assert shown == text[: max(0, len(text) - answer.held)]
    assert shown == text == answer.full_text()
    assert answer.held == (0 if include or not stops else max(map(len, stops)) - 1)


def test_prompts_are_counted_in_words_plus_the_chat_template() -> None:
    """`user : hello world </s> assistant :` is seven tokens, as recorded from vLLM."""
    tokens = chat_tokens([("user", " hello  world\n")])
    assert tokens == ["user", ":", "hello", "world", "</s>", "assistant", ":"]


def test_a_second_turn_begins_with_the_tokens_of_the_first_and_its_answer() -> None:
    """So a conversation finds its own past in the prefix cache."""
    first = [("user", "hello world")]
    answer = plan_answer(0, "hello world", Limits(5, ignore_eos=True))
    prompt = chat_tokens(first)
    second = chat_tokens([*first, ("assistant", answer.full_text()), ("user", "and now?")])
    assert tuple(second[:12]) == answer.continued(prompt, 0, 12)
    assert answer.continued(prompt, 10, 12) == tuple(second[10:12])
