r"""The words of an answer, and how prompts are counted.

**Prompts.** A token is a whitespace-separated word. A chat adds what a small chat template adds:
three tokens a message (role, colon, end of turn) and two at the end (assistant, colon).

**Answers.** Token *i* of an answer is the word `tok<i>-<tag> `, for instance `tok0017-3fa9 `: the
index is the token's place in the answer and the tag is 16 bits of a hash of seed and prompt. So a
reader proves from the text alone which tokens were lost (a gap), doubled (a repeat) or belong to
somebody else (another tag). The same seed and prompt give the same answer on every replica. The
regular expression of one word is `WORD`.

**Length.** Without `ignore_eos` the model "wants" to stop after a number of tokens drawn from the
same hash: geometric with median `NATURAL_MEDIAN_TOKENS`. As in vLLM the end-of-sequence token
counts as a token and has no text.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from zlib import crc32

WORD = r"tok(\d{4,})-([0-9a-f]{4}) "

# Median output length of the workload in which the default step costs were measured.
NATURAL_MEDIAN_TOKENS = 140
VOCABULARY = 151_936  # ids are below; the vocabulary of the default model's family
END_OF_TURN = "</s>"

# End of turn, assistant, colon: what a chat that continues its last message does not get.
CHAT_ENDING_TOKENS = 3
ASSISTANT_TOKENS = 2


def chat_tokens(messages: Iterable[tuple[str, str]]) -> list[str]:
    """Return the prompt tokens of a chat given as (role, text) pairs."""
    tokens: list[str] = []
    for role, text in messages:
        tokens += [*role.split(), ":", *text.split(), END_OF_TURN]
    return [*tokens, "assistant", ":"]


def chat_characters(messages: Iterable[tuple[str, str]]) -> int:
    """Return the length of a chat as the template writes it: `user : hello </s> assistant : `."""
    between = len(f" :  {END_OF_TURN} ")
    return sum(len(role) + len(text) + between for role, text in messages) + len("assistant : ")


def word(index: int, tag: str) -> str:
    """Return the text of token `index` (from 0) of the answer that `tag` marks."""
    return f"tok{index:04d}-{tag} "


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, known in full before its first token is computed.

    `tokens` counts every token, the silent end of sequence included. `cut` is the number of
    characters that are shown; None means all. `stop_reason` is the stop string that ended it, if
    one did, or the id of the stop token, which is silent as the end of sequence is. `held` is the
    number of characters that a stream holds back until it knows that no stop string begins there.
    `is_cut` means that the last of `tokens` is none: it only says that the answer was aborted.
    """

    tag: str
    tokens: int
    finish_reason: str
    stop_reason: str | int | None = None
    cut: int | None = None
    held: int = 0
    is_cut: bool = False

    @property
    def used_tokens(self) -> int:
        """Tokens that count as used."""
        return self.tokens - self.is_cut

    def aborted(self, tokens: int, *, is_cut: bool) -> Answer:
        """Return the answer ended after so many tokens."""
        return replace(self, tokens=tokens, finish_reason="abort", stop_reason=None, is_cut=is_cut)

    def text(self, index: int) -> str:
        """Return what token `index` adds to the visible text; empty for the end of sequence."""
        is_silent = self.finish_reason == "stop" and not isinstance(self.stop_reason, str)
        if index == self.tokens - 1 and (is_silent or self.is_cut):
            return ""
        if self.cut is None:
            return word(index, self.tag)
        return word(index, self.tag)[: max(0, self.cut - _start_of(index))]

    def delta(self, index: int) -> str:
        """Return what a stream shows when token `index` has come."""
        if not self.held:
            return self.text(index)
        is_last = index == self.tokens - 1
        begin = max(0, self._length(index) - self.held)
        end = self._length(index + 1) - (0 if is_last else self.held)
        if end <= begin:
            return ""
        first = index
        while _start_of(first) > begin:
            first -= 1
        shown = "".join(self.text(i) for i in range(first, index + 1))
        return shown[begin - _start_of(first) : end - _start_of(first)]

    def _length(self, tokens: int) -> int:
        """Return how many characters so many tokens show."""
        if not tokens:
            return 0
        before = _start_of(tokens - 1)
        return min(before, before if self.cut is None else self.cut) + len(self.text(tokens - 1))

    def ids(self) -> list[int]:
        """Return the ids of all tokens; the silent end of sequence is the end of turn's."""
        return [self.id(index) for index in range(self.used_tokens)]

    def id(self, index: int) -> int:
        """Return the id of a token."""
        is_silent = index == self.tokens - 1 and not self.text(index)
        if is_silent and self.stop_reason is None:
            return token_id(END_OF_TURN)
        return token_id(word(index, self.tag))

    def continued(self, prompt: Sequence[str], start: int, end: int) -> tuple[str, ...]:
        """Return tokens `start` to `end` of the prompt with this answer behind it."""
        asked = len(prompt)
        answered = (word(i - asked, self.tag)[:-1] for i in range(max(start, asked), end))
        return (*prompt[start:end], *answered)

    def full_text(self) -> str:
        """Return the whole visible text."""
        return "".join(self.text(index) for index in range(self.tokens))


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request says about where its answer ends."""

    max_tokens: int
    min_tokens: int = 0
    ignore_eos: bool = False
    stop: Sequence[str] = ()
    include_stop: bool = False
    stop_token_ids: frozenset[int] = frozenset()


def plan_answer(seed: int, prompt: str, limits: Limits) -> Answer:
    """Return the answer to a prompt: a pure function of its arguments."""
    digest = blake2b(f"{seed}\0{prompt}".encode(errors="surrogatepass"), digest_size=8).digest()
    tag = digest[:2].hex()
    uniform = (int.from_bytes(digest[2:], "big") + 1) / 2**48
    natural = 1 + int(-NATURAL_MEDIAN_TOKENS * math.log2(uniform))
    natural = max(natural, limits.min_tokens + 1)
    if limits.ignore_eos or natural > limits.max_tokens:
        answer = Answer(tag, limits.max_tokens, "length")
    else:
        answer = Answer(tag, natural, "stop")
    if limits.stop_token_ids:
        answer = _stop_at_token(answer, limits)
    if not limits.stop:
        return answer
    held = 0 if limits.include_stop else max(map(len, limits.stop)) - 1
    return replace(_stop_early(answer, limits), held=held)


def token_id(text: str) -> int:
    """Return the id of a word: a hash, the same everywhere, below `VOCABULARY`."""
    return crc32(text.strip().encode(errors="surrogatepass")) % VOCABULARY


def _stop_at_token(answer: Answer, limits: Limits) -> Answer:
    """Return the answer ended by the first stop token after `min_tokens`."""
    for index in range(limits.min_tokens, answer.tokens):
        found = token_id(word(index, answer.tag))
        if answer.text(index) and found in limits.stop_token_ids:
            return Answer(answer.tag, index + 1, "stop", found)
    return answer


def _start_of(index: int) -> int:
    """Return where token `index` begins in an uncut text; words grow at 10^4 and 10^5."""
    return len(word(0, "0000")) * index + max(0, index - 10**4) + max(0, index - 10**5)


def _stop_early(answer: Answer, limits: Limits) -> Answer:
    """Return the answer ended by the first stop string that it completes after `min_tokens`."""
    longest = max(map(len, limits.stop))
    text = ""
    for index in range(answer.tokens):
        new_from = max(0, len(text) - longest + 1)
        text += answer.text(index)
        if index < limits.min_tokens:
            continue
        hits = [(at, stop) for stop in limits.stop if (at := text.find(stop, new_from)) >= 0]
        if hits:
            start, stop = min(hits)
            cut = start + len(stop) if limits.include_stop else start
            return Answer(answer.tag, index + 1, "stop", stop, cut)
    return answer
