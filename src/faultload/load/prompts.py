"""What prompts say: plain words, system prompts that many begin with, and conversations.

All words are ones that common tokenizers keep whole, so that words count as tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from faultload.spec.scenario import Scenario

# Conversations of one tier and tenant that take turns. One at a time would put a session's next
# question before the answer to its last.
_OPEN_SESSIONS = 8

_TEXTS_AT_ONCE = 1024  # bounds the memory for word numbers

Counts = npt.NDArray[np.int32] | npt.NDArray[np.int64]


@cache
def vocabulary() -> npt.NDArray[np.object_]:
    """Return the words that every prompt is made of."""
    text = Path(__file__).with_name("words.txt").read_text(encoding="utf-8")
    return np.array(text.split(), dtype=object)


def texts(counts: Counts, rng: np.random.Generator) -> list[str]:
    """Return texts of so many words each."""
    words = vocabulary()
    made: list[str] = []
    for first in range(0, len(counts), _TEXTS_AT_ONCE):
        block = counts[first : first + _TEXTS_AT_ONCE].astype(np.int64)
        chosen = words[rng.integers(0, len(words), int(block.sum()))]
        parts = np.split(chosen, np.cumsum(block)[:-1])
        made += [" ".join(part) for part in parts]
    return made


class Turn(NamedTuple):
    """One request's place in a conversation, and all that it sends."""

    session: str
    """ "" outside a session."""
    prompt: str
    prompt_tokens: int


class _Talk:
    """A conversation that is going on."""

    def __init__(self, session: str, opening: int) -> None:
        self.session = session
        self.opening = opening
        self.turns = 0
        self.said: list[str] = []
        self.tokens = 0


class Conversations:
    """Deals requests to tenants, conversations and shared prefixes.

    Args:
        scenario: says how many belong together and how.
        streams: six random streams: who is in a session, which one, what stands for its answers,
            what the shared prefixes say, who begins with one, with which.
    """

    def __init__(self, scenario: Scenario, streams: Sequence[np.random.Generator]) -> None:
        """Draw the shared prefixes."""
        self._scenario = scenario
        returning, seating, remembering, framing, opening, choosing = streams
        self._returning, self._seating, self._remembering = returning, seating, remembering
        self._opening, self._choosing = opening, choosing
        shared = scenario.shared_prefixes
        self._prefix_tokens = shared.tokens if shared else 0
        count = shared.count if shared else 0
        self._prefixes = texts(np.full(count, self._prefix_tokens), framing)

    def tenant(self, position: int) -> str:
        """Return who sends a request."""
        tenants = self._scenario.tenants
        return tenants[position % len(tenants)]

    def turns(
        self,
        which: npt.NDArray[np.int64],
        lengths: Counts,
        questions: Sequence[str],
        answers: Counts,
    ) -> list[Turn]:
        """Return every request's turn, in their order.

        A turn with growing context begins with the prompt of the turn before it, word for word, and
        with words that stand for the answer: as many as were asked for, for nobody knows yet
        what the engine will say. A conversation keeps its tier, its tenant and its prefix.

        Args:
            which: the tiers' numbers.
            lengths: words of each question.
            questions: their words.
            answers: tokens asked for.
        """
        count, sessions = len(which), self._scenario.sessions
        growing = sessions.context == "growing"
        inside = self._returning.random(count) < sessions.share
        seats = self._seating.integers(0, _OPEN_SESSIONS, count)
        replies = texts(answers, self._remembering) if growing else []
        openings = self._openings(count)
        mixes = self._scenario.tiers
        talks: dict[tuple[str, str, int], _Talk] = {}
        opened = 0
        turns: list[Turn] = []
        for position, (mix, length) in enumerate(zip(which, lengths, strict=True)):
            if not inside[position]:
                turns.append(self._turn("", openings[position], [questions[position]], int(length)))
                continue
            seat = (mixes[mix].tier, self.tenant(position), int(seats[position]))
            talk = talks.get(seat)
            if (
                talk is None
                or talk.turns == sessions.turns
                or talk.tokens + int(length) > mixes[mix].prompt_tokens.max
            ):
                talk = talks[seat] = _Talk(f"s{opened:06d}", openings[position])
                opened += 1
            talk.turns += 1
            said = [*talk.said, questions[position]]
            spoken = talk.tokens + int(length)
            turns.append(self._turn(talk.session, talk.opening, said, spoken))
            if growing:
                talk.said, talk.tokens = [*said, replies[position]], spoken + int(answers[position])
        return turns

    def _openings(self, count: int) -> list[int]:
        """Return the number of the shared prefix that each request would open with; -1: none."""
        shared = self._scenario.shared_prefixes
        if shared is None:
            return [-1] * count
        chosen = self._choosing.integers(0, shared.count, count)
        begins = self._opening.random(count) < shared.share
        return [int(number) if yes else -1 for number, yes in zip(chosen, begins, strict=True)]

    def _turn(self, session: str, opening: int, said: list[str], tokens: int) -> Turn:
        if opening < 0:
            return Turn(session, " ".join(said), tokens)
        text = " ".join([self._prefixes[opening], *said])
        return Turn(session, text, self._prefix_tokens + tokens)
