"""Made-up log-probabilities: vLLM's shapes, values that depend on the token only.

A token's log-probability is a hash of its text, between -2 and 0; the alternatives beside it are
words that no answer contains, each less likely than the one before.
"""

from __future__ import annotations

from typing import Any
from zlib import crc32

from inference_platform.engine_sim.tokens import END_OF_TURN, Answer

MOST = 20  # vLLM's --max-logprobs


def _ranked(answer: Answer, index: int, top: int) -> list[tuple[str, float]]:
    """Return the token and its alternatives with their values, the likeliest first."""
    token = answer.text(index) or END_OF_TURN
    own = -(crc32(token.encode()) % 2000) / 1000
    return [(token, own), *((f"alt{k:02d}-{answer.tag} ", own - k / 2) for k in range(1, top))]


def _described(token: str, value: float) -> dict[str, Any]:
    return {"token": token, "logprob": value, "bytes": list(token.encode())}


def chat_logprobs(answer: Answer, indices: range, top: int) -> dict[str, Any]:
    """Return `logprobs` of a chat's choice for some of its tokens."""
    content = []
    for index in indices:
        ranked = _ranked(answer, index, max(1, top))
        alternatives = [_described(*pair) for pair in ranked] if top else []
        content.append(_described(*ranked[0]) | {"top_logprobs": alternatives})
    return {"content": content}


def completion_logprobs(answer: Answer, indices: range, top: int) -> dict[str, Any]:
    """Return `logprobs` of a completion's choice for some of its tokens."""
    ranked = [_ranked(answer, index, max(1, top)) for index in indices]
    offsets = [sum(len(answer.text(i)) for i in range(index)) for index in indices[:1]]
    for pairs in ranked[:-1]:
        offsets.append(offsets[-1] + len(pairs[0][0]))
    return {
        "text_offset": offsets,
        "token_logprobs": [pairs[0][1] for pairs in ranked],
        "tokens": [pairs[0][0] for pairs in ranked],
        "top_logprobs": [dict(pairs) for pairs in ranked],
    }
