"""The scheduler in virtual time: what holds for every workload, and cases that explain it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_platform.engine_sim.blocks import BlockPool
from inference_platform.engine_sim.cost import Cost, StepCost
from inference_platform.engine_sim.device import make_device
from inference_platform.engine_sim.scheduler import (
    ContinuousBatching,
    Request,
    StepOutput,
)
from inference_platform.engine_sim.virtual import run as run_virtually


@dataclass
class Setup:
    """The engine under test and who asks it what."""

    max_num_seqs: int
    budget: int
    blocks: int
    block_size: int
    requests: list[tuple[float, int, int]]  # gap since the previous arrival, prompt, output
    caching: bool = True
    same_text: bool = False  # all prompts begin alike
    aborts: dict[int, int] = field(default_factory=dict)  # request → after how many steps


@st.composite
def setups(draw: st.DrawFn) -> Setup:
    """Small engines under all kinds of pressure; every request can fit on its own."""
    block_size = draw(st.integers(1, 8))
    prompts, outputs = st.integers(1, 60), st.integers(1, 30)
    gaps = st.sampled_from([0.0, 0.0, 0.001, 0.02, 1.0])
    requests = draw(st.lists(st.tuples(gaps, prompts, outputs), min_size=1, max_size=25))
    largest = max(prompt + output for _, prompt, output in requests)
    least_blocks = -(-largest // block_size) + 1
    max_num_seqs = draw(st.integers(1, 8))
    return Setup(
        max_num_seqs=max_num_seqs,
        budget=max_num_seqs + draw(st.integers(0, 40)),
        blocks=least_blocks + draw(st.integers(0, 40)),
        block_size=block_size,
        requests=requests,
        caching=draw(st.booleans()),
        same_text=draw(st.booleans()),
        aborts=draw(st.dictionaries(st.integers(0, len(requests) - 1), st.integers(0, 30))),
    )


def play(setup: Setup) -> tuple[ContinuousBatching, list[Request]]:
    """Run a setup to its end, checking at every step what must always hold."""
    pool = BlockPool(setup.blocks, setup.block_size, caching=setup.caching)
    scheduler = ContinuousBatching(StepCost(), pool, setup.max_num_seqs, setup.budget)
    clock, requests = 0.0, []
    for index, (gap_s, prompt, answer) in enumerate(setup.requests):
        clock += gap_s
        contents = one_text if setup.same_text else None
        requests.append(Request(str(index), prompt, answer, clock, contents))
    arrivals = list(requests)
    counted = StepOutput()
    last_s, steps = 0.0, 0
    while arrivals or scheduler.next_at is not None:
        due = scheduler.next_at
        if arrivals and (due is None or arrivals[0].arrived_s <= due):
            scheduler.add(arrivals.pop(0))
            continue
        assert due is not None
        assert due >= last_s, "time runs backwards"
        before = {r: (r.computed_tokens, r.preemptions) for r in requests}
        output = scheduler.step(due)
        last_s, steps = due, steps + 1
        computed = [
            r.computed_tokens - before[r][0]
            for r in requests
            if r.preemptions == before[r][1] and (before[r][0] or not setup.caching)
        ]
        assert sum(computed) <= setup.budget
        check_gains(counted, output)
        assert len(set(output.tokens)) == len(output.tokens), "two tokens in one step"
        for index, after in setup.aborts.items():
            if after == steps and requests[index] not in arrivals:
                scheduler.abort(requests[index])
        assert scheduler.running <= setup.max_num_seqs
        check_blocks(pool, requests)
        assert steps < 10_000, "the scheduler does not come to an end"
    assert counted.preempted == sum(r.preemptions for r in requests)
    assert len(counted.tokens) == sum(r.emitted_tokens for r in requests)
    return scheduler, requests


def one_text(start: int, end: int) -> tuple[int, int]:
    """Contents of a request that says what all others say."""
    return (start, end)


def check_gains(counted: StepOutput, output: StepOutput) -> None:
    """Add a step to the totals; nothing that is counted may shrink."""
    assert min(output.preempted, output.cache_queries, output.cache_hits) >= 0
    assert output.cache_hits <= output.cache_queries
    counted.preempted += output.preempted
    counted.tokens += output.tokens


def check_blocks(pool: BlockPool, requests: list[Request]) -> None:
    """Every block is free or held, a shared one by those who share it; only whole prompts wait."""
    holders = Counter(block for r in requests for block in r.blocks)
    assert len(holders) == pool.held <= pool.capacity
    assert all(1 <= block <= pool.capacity for block in holders)
    assert all(pool.holders(block) == count for block, count in holders.items())
    assert pool.remembered <= pool.capacity * pool.caching
    for request in requests:
        assert (
            len(request.blocks) == pool.needed(request.computed_tokens)
            or request.finished
            or request.aborted
        )


@settings(max_examples=80, deadline=None)
@given(setups())
def test_every_token_asked_for_comes_out_and_every_block_comes_back(setup: Setup) -> None:
    """No request is lost, none gets too much, and nothing stays reserved."""
    scheduler, requests = play(setup)
    for request in requests:
        if not request.aborted:
            assert request.emitted_tokens == request.output_tokens
        assert request.emitted_tokens <= request.output_tokens
    assert (scheduler.running, scheduler.waiting, scheduler.kv_usage) == (0, 0, 0.0)
    assert scheduler.pool.held == 0


@settings(max_examples=80, deadline=None)
@given(setups())
def test_requests_are_admitted_in_the_order_they_came(setup: Setup) -> None:
    """First come, first served: nobody overtakes, however small."""
    _, requests = play(setup)
    admitted = [r.scheduled_s for r in requests if r.scheduled_s is not None]
    assert admitted == sorted(admitted)
    assert all(r.scheduled_s >= r.arrived_s for r in requests if r.scheduled_s is not None)


def engine(blocks: int = 101, seqs: int = 8, budget: int = 32) -> ContinuousBatching:
    """Return a small engine with blocks of 4 tokens and round step costs."""
    cost = StepCost(base_s=1.0, per_seq_s=0.1, per_prefill_token_s=0.01)
    return ContinuousBatching(cost, BlockPool(blocks, 4), seqs, budget)


def test_a_step_costs_base_plus_decodes_plus_prefill_tokens() -> None:
    """The latency model is exactly the documented sum."""
    scheduler = engine()
    scheduler.add(Request("a", 20, 3, 5.0))
    assert scheduler.next_at == 5.0
    scheduler.step(5.0)
    assert scheduler.next_at == pytest.approx(5.0 + 1.0 + 20 * 0.01)
    first = scheduler.step(6.2)
    assert (len(first.tokens), first.latencies_s) == (1, [None])
    assert scheduler.next_at == pytest.approx(6.2 + 1.0 + 0.1)
    assert scheduler.step(7.3).latencies_s == [pytest.approx(1.1)]


def test_the_slow_factor_multiplies_every_step() -> None:
    """A slower engine is slower in every part."""
    assert StepCost(1.0, 0.1, 0.01, 3.0).duration_s(2, 10) == pytest.approx(3 * 1.3)


def test_a_long_prompt_is_computed_in_chunks_while_others_decode() -> None:
    """Chunked prefill: a prompt over the budget takes several steps and stops nobody's tokens."""
    scheduler = engine(budget=16)
    short, long = Request("short", 4, 20, 0.0), Request("long", 40, 2, 0.0)
    scheduler.add(short)
    scheduler.add(long)
    computed = []
    for _ in range(5):
        assert scheduler.next_at is not None
        scheduler.step(scheduler.next_at)
        computed.append((short.emitted_tokens, long.computed_tokens))
    # 12 tokens beside the first prompt, then 15 beside each decode, then the 13 that are left.
    assert computed == [(0, 12), (1, 27), (2, 40), (3, 41), (4, 41)]
    assert long.first_token_s is not None


def test_a_request_that_does_not_fit_waits_and_holds_up_those_behind_it() -> None:
    """Too few KV blocks mean waiting, even for a small request behind a large one."""
    scheduler = engine(blocks=11, budget=64)
    scheduler.add(Request("holds most", 20, 5, 0.0))
    scheduler.add(Request("large", 24, 1, 0.0))
    scheduler.add(Request("small", 4, 1, 0.0))
    scheduler.step(0.0)
    assert (scheduler.running, scheduler.waiting) == (1, 2)
    while scheduler.running:
        assert scheduler.next_at is not None
        scheduler.step(scheduler.next_at)
    assert scheduler.waiting == 0


def test_kv_usage_counts_computed_tokens() -> None:
    """Usage grows with the tokens, block by block, as vLLM's gauge does."""
    scheduler = engine(blocks=101)
    scheduler.add(Request("a", 8, 50, 0.0))
    scheduler.step(0.0)
    assert scheduler.kv_usage == 2 / 100
    scheduler.step(1.0)
    assert scheduler.kv_usage == 3 / 100


def test_a_step_takes_nobody_who_came_after_it_began() -> None:
    """A caller who is late must not let a request start, or end, before it arrived."""
    scheduler = engine()
    scheduler.add(Request("a", 4, 9, 0.0))
    scheduler.step(0.0)
    late = Request("b", 4, 9, 5.0)
    scheduler.add(late)
    scheduler.step(1.0)
    assert late.scheduled_s is None
    scheduler.step(5.0)
    assert late.scheduled_s == 5.0


def test_an_abort_frees_at_once_and_its_step_in_flight_emits_nothing() -> None:
    """A reader who leaves takes nothing with him."""
    scheduler = engine()
    request = Request("a", 8, 50, 0.0)
    scheduler.add(request)
    scheduler.step(0.0)
    scheduler.abort(request)
    assert (scheduler.running, scheduler.kv_usage) == (0, 0.0)
    assert scheduler.step(2.0).tokens == []
    assert scheduler.next_at is None
    scheduler.abort(request)  # again is harmless


def test_a_request_larger_than_the_cache_is_refused() -> None:
    """What can never fit must not wait for ever."""
    with pytest.raises(ValueError, match="needs 26 KV blocks, the cache has 10"):
        engine(blocks=11).add(Request("a", 100, 5, 0.0))


def test_preemption_goes_as_recorded_from_vllm() -> None:
    """Five requests of 42 + 100 tokens on 19 blocks of 16: the recorded states, in their order.

    A state is (running, waiting, preemptions so far).
    """
    pool = BlockPool(20, 16)
    scheduler = ContinuousBatching(StepCost(0.025, 0.0, 0.00005), pool, 8, 2048)
    requests = [Request(str(i), 42, 100, 0.0) for i in range(5)]
    for request in requests:
        scheduler.add(request)
    states: list[tuple[int, int, int]] = []
    preempted, queries, usage = 0, 0, set()
    while (due := scheduler.next_at) is not None:
        output = scheduler.step(due)
        preempted += output.preempted
        queries += output.cache_queries
        usage.add(round(scheduler.kv_usage * 19))
        state = (scheduler.running, scheduler.waiting, preempted)
        if state not in states[-1:]:
            states.append(state)
    # (1, 1, 4) was recorded too: vLLM sets its gauges before the next step begins.
    recorded = [(5, 0, 0), (4, 1, 1), (3, 2, 2), (2, 3, 3), (3, 0, 3), (2, 1, 4), (2, 0, 4)]
    passing = {(1, 3, 3), (2, 1, 3), (0, 0, 4)}  # a single step long, between two looks
    assert [s for s in states if s not in passing] == [*recorded, (1, 0, 4)]
    assert queries == 210
    assert 19 in usage
    assert sum(r.preemptions for r in requests) == 4
    assert {r.emitted_tokens for r in requests} == {100}


def run(scheduler: ContinuousBatching) -> None:
    """Step until nothing is left."""
    while (due := scheduler.next_at) is not None:
        scheduler.step(due)


def test_a_prompt_that_was_seen_before_is_computed_from_where_it_differs() -> None:
    """Whole blocks only, and never the last token: 85 tokens seen before are 80 hits."""
    pool = BlockPool(101, 16)
    scheduler = ContinuousBatching(StepCost(), pool, 8, 2048)
    first, again = (Request(name, 85, 2, 0.0, one_text) for name in ("first", "again"))
    scheduler.add(first)
    run(scheduler)
    assert (scheduler.kv_usage, pool.remembered) == (0.0, 5)
    scheduler.add(again)
    output = scheduler.step(0.0)
    assert (output.cache_queries, output.cache_hits) == (85, 80)
    assert (first.cached_tokens, again.cached_tokens) == (0, 80)


def test_an_exact_repeat_computes_its_last_block() -> None:
    """The last prompt token is always computed, so its block is too."""
    pool = BlockPool(101, 16)
    scheduler = ContinuousBatching(StepCost(), pool, 8, 2048)
    for name in ("first", "again"):
        request = Request(name, 64, 1, 0.0, one_text)
        scheduler.add(request)
        run(scheduler)
    assert request.cached_tokens == 48


def test_requests_that_begin_alike_share_blocks_while_they_run() -> None:
    """A shared block is held once, and stays until its last holder has gone."""
    pool = BlockPool(101, 16)
    scheduler = ContinuousBatching(StepCost(), pool, 8, 2048)
    requests = [Request(str(i), 33, 50, 0.0, one_text) for i in range(4)]
    for request in requests:
        scheduler.add(request)
    scheduler.step(0.0)
    assert pool.held == 2 + 4
    scheduler.abort(requests[0])
    assert pool.held == 2 + 3


def test_the_block_that_was_free_longest_is_forgotten_first() -> None:
    """What was used last is found again, what was used first has gone."""
    pool = BlockPool(6, 4)
    scheduler = ContinuousBatching(StepCost(), pool, 8, 2048)

    def hits(name: str) -> int:
        request = Request(name, 9, 1, 0.0, lambda start, _: (name[0], start))
        scheduler.add(request)
        run(scheduler)
        return request.cached_tokens

    assert [hits("a1"), hits("b1"), hits("b2"), hits("a2")] == [0, 0, 8, 4]


def test_without_prefix_caching_nothing_is_found() -> None:
    """--no-enable-prefix-caching: no hits, and no queries either."""
    pool = BlockPool(101, 16, caching=False)
    scheduler = ContinuousBatching(StepCost(), pool, 8, 2048)
    outputs = []
    for name in ("first", "again"):
        scheduler.add(Request(name, 85, 2, 0.0, one_text))
        outputs.append(scheduler.step(0.0))
        run(scheduler)
    assert [(o.cache_queries, o.cache_hits) for o in outputs] == [(0, 0), (0, 0)]
    assert pool.remembered == 0


def story(setup: Setup, *, leaping: bool, cost: Cost) -> tuple[int, list[Request], BlockPool]:
    """Run a setup in virtual time, leaping or not."""
    pool = BlockPool(setup.blocks, setup.block_size, caching=setup.caching)
    scheduler = ContinuousBatching(cost, pool, setup.max_num_seqs, setup.budget)
    clock, requests = 0.0, []
    for index, (gap_s, prompt, answer) in enumerate(setup.requests):
        clock += gap_s
        contents = one_text if setup.same_text else lambda start, _, i=index: (i, start)
        requests.append(Request(str(index), prompt, answer, clock, contents))
    return run_virtually(scheduler, requests, leaping=leaping), requests, pool


@settings(max_examples=80, deadline=None)
@given(setups(), st.booleans())
def test_leaping_over_uniform_steps_changes_nothing(setup: Setup, roofline: bool) -> None:
    """As many steps, and every time, count and block the same to the last bit."""
    cost = make_device("L4", "qwen2.5-0.5b", None, 1) if roofline else StepCost()
    stepped, leapt = (story(setup, leaping=leaping, cost=cost) for leaping in (False, True))
    assert leapt[0] == stepped[0]

    def facts(request: Request) -> tuple[object, ...]:
        return (
            request.scheduled_s,
            request.first_token_s,
            request.last_token_s,
            request.emitted_tokens,
            request.cached_tokens,
            request.preemptions,
        )

    assert [facts(r) for r in leapt[1]] == [facts(r) for r in stepped[1]]
    assert leapt[2].layout() == stepped[2].layout()


def test_a_run_in_virtual_time_ends_where_it_is_told_to() -> None:
    """Nothing is stepped after the end, leaping or not."""
    for leaping in (False, True):
        scheduler = engine()
        request = Request("a", 4, 300, 0.0)
        run_virtually(scheduler, [request], until_s=100.0, leaping=leaping)
        assert request.last_token_s is not None
        assert 98.0 < request.last_token_s <= 100.0
        assert scheduler.running == 1
