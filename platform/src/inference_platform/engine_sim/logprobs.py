"""Made-up log-probabilities: vLLM's shapes, values that depend on the token only.

A token's log-probability is a hash of its text, between -2 and 0; the alternatives beside it are
words that no answer contains, each less likely than the one before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from zlib import crc32

from inference_platform.engine_sim.tokens import END_OF_TURN, Answer, token_id

MOST = 20  # vLLM's --max-logprobs


Ranked = list[tuple[str, float]]


def _ranked(token: str, tag: str, top: int) -> Ranked:
    """Return a token and its alternatives with their values, the likeliest first."""
    own = -(crc32(token.encode()) % 2000) / 1000
    return [(token, own), *((f"alt{k:02d}-{tag} ", own - k / 2) for k in range(1, top))]


def _of_answer(answer: Answer, index: int, top: int) -> Ranked:
    return _ranked(answer.text(index) or END_OF_TURN, answer.tag, max(1, top))


def _of_prompt(tokens: Sequence[str], top: int) -> list[Ranked | None]:
    """Return a prompt's tokens with their values; nothing foretells the first one."""
    spaced = [f" {token}" if place else token for place, token in enumerate(tokens)]
    return [_ranked(token, "0000", max(1, top)) if i else None for i, token in enumerate(spaced)]


def _described(token: str, value: float) -> dict[str, Any]:
    return {"token": token, "logprob": value, "bytes": list(token.encode())}


def chat_logprobs(answer: Answer, indices: range, top: int) -> dict[str, Any]:
    """Return `logprobs` of a chat's choice for some of its tokens."""
    content = []
    for index in indices:
        ranked = _of_answer(answer, index, top)
        alternatives = [_described(*pair) for pair in ranked] if top else []
        content.append(_described(*ranked[0]) | {"top_logprobs": alternatives})
    return {"content": content}


def completion_logprobs(
    answer: Answer, indices: range, top: int, echoed: Sequence[str] = (), behind: int = 0
) -> dict[str, Any]:
    """Return `logprobs` of a completion's choice for some of its tokens, after those echoed.

    `behind` is the number of characters that were shown before the answer's first.
    """
    shown: list[Ranked | None] = _of_prompt(echoed, top)
    shown += [_of_answer(answer, index, top) for index in indices]
    tokens = [pairs[0][0] if pairs else echoed[0] for pairs in shown]
    offset = sum(len(answer.text(i)) for i in range(indices[0])) + behind
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token)
    return {
        "text_offset": offsets,
        "token_logprobs": [pairs and pairs[0][1] for pairs in shown],
        "tokens": tokens,
        "top_logprobs": [pairs and dict(pairs) for pairs in shown],
    }


def prompt_logprobs(tokens: Sequence[str], top: int) -> list[dict[str, Any] | None]:
    """Return `prompt_logprobs`: for each token its own value and the alternatives', by id."""
    shown: list[dict[str, Any] | None] = []
    for pairs in _of_prompt(tokens, top):
        entry = {
            str(token_id(token)): {"logprob": value, "rank": rank, "decoded_token": token}
            for rank, (token, value) in enumerate(pairs or (), start=1)
        }
        shown.append(entry if pairs else None)
    return shown
