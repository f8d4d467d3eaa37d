"""How fast the engine simulator runs in virtual time.

`python benchmarks/engine_sim.py --replicas 100 --minutes 10 --rate 2` simulates so many engines,
one after the other on one core, and prints what it took. Prompts and answers have the lengths of
a chat workload (medians of 300 and 140 tokens).
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import time
from collections.abc import Iterator

from inference_platform.engine_sim.blocks import BlockPool
from inference_platform.engine_sim.cost import Cost, StepCost
from inference_platform.engine_sim.device import make_device
from inference_platform.engine_sim.scheduler import ContinuousBatching, Request
from inference_platform.engine_sim.tokens import NATURAL_MEDIAN_TOKENS
from inference_platform.engine_sim.virtual import run

PROMPT_MEDIAN_TOKENS = 300


def arrivals(seed: int, rate: float, seconds: float) -> Iterator[Request]:
    """Yield requests of a Poisson process."""
    draw = random.Random(seed)
    now = draw.expovariate(rate)
    while now < seconds:
        prompt = min(4000, 1 + int(draw.lognormvariate(0, 1) * PROMPT_MEDIAN_TOKENS))
        answer = min(2000, 1 + int(draw.expovariate(0.693 / NATURAL_MEDIAN_TOKENS)))
        yield Request(f"{seed}-{now}", prompt, answer, now)
        now += draw.expovariate(rate)


def main() -> int:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--replicas", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=2.0, help="requests a second and replica")
    parser.add_argument("--gpu", help="with --model: the roofline of profiles.yaml")
    parser.add_argument("--model")
    parser.add_argument("--no-leaps", action="store_true", help="do every step by itself")
    asked = parser.parse_args()
    cost: Cost = StepCost()
    if asked.gpu:
        cost = make_device(asked.gpu, asked.model, None, 1)
    seconds = asked.minutes * 60
    began_s, steps, requests, tokens = time.process_time(), 0, 0, 0
    for replica in range(asked.replicas):
        scheduler = ContinuousBatching(cost, BlockPool(32768, 16), 256, 2048)
        work = list(arrivals(replica, asked.rate, seconds))
        steps += run(scheduler, work, leaping=not asked.no_leaps)
        requests += len(work)
        tokens += sum(request.emitted_tokens for request in work)
    took_s = time.process_time() - began_s
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(
        f"{asked.replicas} replicas x {asked.minutes:g} min x {asked.rate:g} req/s: "
        f"{took_s:.1f} s of one core, {requests} requests, {tokens} tokens, {steps} steps, "
        f"{asked.replicas * seconds / took_s:.0f} x real time, peak {peak_mib:.0f} MiB\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
