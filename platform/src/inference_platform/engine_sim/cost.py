"""What a step costs in time, as a plain sum; `device` knows a roofline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Cost(Protocol):
    """How long a step takes, in seconds."""

    def duration_s(
        self, decodes: int, prefill_tokens: int, context_tokens: int = 0, pairs: int = 0
    ) -> float:
        """Return the length of a step.

        Args:
            decodes: requests that get their next token.
            prefill_tokens: prompt tokens that are computed.
            context_tokens: tokens whose KV is read, over all requests.
            pairs: computed tokens times the tokens each looks back at.
        """


@dataclass(frozen=True, slots=True)
class StepCost:
    """How long a step takes, in seconds: base + decoding requests + prompt tokens computed."""

    base_s: float = 0.008
    per_seq_s: float = 0.00022
    per_prefill_token_s: float = 0.00005
    slow_factor: float = 1.0

    def duration_s(
        self, decodes: int, prefill_tokens: int, context_tokens: int = 0, pairs: int = 0
    ) -> float:
        """Return the length of a step; how much context it reads does not change it."""
        del context_tokens, pairs
        busy_s = self.per_seq_s * decodes + self.per_prefill_token_s * prefill_tokens
        return (self.base_s + busy_s) * self.slow_factor
