"""`/tokenize` and `/detokenize`: words and their ids.

An id is a hash of its word, so only ids of words that `/tokenize` has seen can be turned back.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import Any

from inference_platform.engine_sim.errors import Problem, invalid
from inference_platform.engine_sim.fields import Body
from inference_platform.engine_sim.generation import read_prompt_tokens
from inference_platform.engine_sim.tokens import token_id

MOST_WORDS = 100_000


class Tokenizer:
    """Turns text into ids and back, and remembers the words it has seen last."""

    def __init__(self, max_model_len: int) -> None:
        """Start without words."""
        self._max_model_len = max_model_len
        self._words: OrderedDict[int, str] = OrderedDict()
        self._lock = Lock()  # big bodies are read on threads of their own

    def tokenize(self, body: Body) -> dict[str, Any]:
        """Return the answer to `/tokenize`; the body brings a prompt or messages."""
        words = read_prompt_tokens(body)
        ids = [self._remember(word) for word in words]
        strings = words if body.get("return_token_strs") else None
        return {
            "count": len(ids),
            "max_model_len": self._max_model_len,
            "tokens": ids,
            "token_strs": strings,
        }

    def detokenize(self, body: Body) -> dict[str, Any]:
        """Return the answer to `/detokenize`; ids that were never seen have no text."""
        tokens = body.get("tokens")
        if not isinstance(tokens, list) or not all(type(i) is int and i >= 0 for i in tokens):
            text = "Input should be a valid list of token ids"
            raise invalid([Problem("list_type", "body.tokens", text, tokens)])
        words = (self._words.get(number) for number in tokens)
        return {"prompt": " ".join(word for word in words if word is not None)}

    def _remember(self, word: str) -> int:
        number = token_id(word)
        with self._lock:
            self._words[number] = word
            self._words.move_to_end(number)
            if len(self._words) > MOST_WORDS:
                self._words.popitem(last=False)
        return number
