"""The ledger of an answer whose words carry their index: `tok0017-3fa9 `, the simulator's way.

The number is the token's place in the answer, from 0; the tag is the answer's own. So the text
alone proves what was lost, doubled, put out of order, or belongs to another answer. A text that
does not begin with such a word has no ledger, and nothing is claimed about it.
"""

from __future__ import annotations

import re

_WORD = re.compile(r"tok(\d{4,18})-([0-9a-f]{4})")
_FIRST = re.compile(_WORD.pattern + " ")

# A word that skips more than any answer holds is not of this answer.
_SKIPPED_MAX = 1_000_000

# The beginnings of the first words of any answer, written once; longer answers are read word by
# word beyond these.
_NUMBERED: list[bytes] = []
_FORETOLD_MAX = 65_536


class Ledger:
    """What came of an answer so far; memory grows with what is missing, not with what came."""

    __slots__ = (
        "_behind",
        "_holes",
        "_next",
        "_tag",
        "_unended",
        "duplicated",
        "foreign",
        "received",
        "reordered",
    )

    def __init__(self, tag: str) -> None:
        """Expect token 0 of the answer that `tag` marks."""
        self.received = 0
        """Words of any kind."""
        self.duplicated = 0
        self.reordered = 0
        """Came after a later one."""
        self.foreign = 0
        """Of another answer, or no such word at all."""
        self._tag, self._behind = tag, tag.encode() + b" "
        self._next = 0  # one above the highest index that came
        self._holes: set[int] = set()  # below it, and never came
        self._unended = ""  # a word whose end has not come

    @classmethod
    def of(cls, text: str) -> Ledger | None:
        """Return a ledger for an answer that begins with `text`; None if it carries no index."""
        found = _FIRST.match(text)
        return cls(found[2]) if found else None

    @property
    def missing(self) -> int:
        """Indices below the highest one that never came."""
        return len(self._holes)

    @property
    def whole(self) -> int:
        """Different tokens of this answer that came."""
        return self._next - len(self._holes)

    def foretold(self, count: int) -> bytes:
        """Return the only `count` words that can come next if nothing goes wrong.

        Empty past the longest answer that is foretold. Only where no word has begun.
        """
        end, behind = self._next + count, self._behind
        if end > _FORETOLD_MAX:
            return b""
        while len(_NUMBERED) < end:
            _NUMBERED.append(b"tok%04d-" % len(_NUMBERED))
        return behind.join(_NUMBERED[self._next : end]) + behind

    def advance(self, count: int = 1) -> None:
        """Enter words that came as foretold."""
        self.received += count
        self._next += count

    @property
    def is_between_words(self) -> bool:
        """No word has begun and not ended."""
        return not self._unended

    def take(self, text: str) -> int:
        """Enter the next piece of text; return how many words ended in it."""
        count = text.count(" ")
        if count and self.is_between_words and text.encode() == self.foretold(count):
            self.advance(count)
            return count
        *words, self._unended = (self._unended + text).split(" ")
        for word in words:
            self._enter(word)
        return len(words)

    def close(self) -> None:
        """Enter what is left: a last word may lack its space."""
        if self._unended:
            self._enter(self._unended)
            self._unended = ""

    def _enter(self, word: str) -> None:
        self.received += 1
        found = _WORD.fullmatch(word)
        index = int(found[1]) if found else -1
        if found is None or found[2] != self._tag or index - self._next > _SKIPPED_MAX:
            self.foreign += 1
        elif index >= self._next:
            self._holes.update(range(self._next, index))
            self._next = index + 1
        elif index in self._holes:
            self._holes.remove(index)
            self.reordered += 1
        else:
            self.duplicated += 1

    def faults(self) -> str:
        """Say what is wrong with the words that came; "" where nothing is."""
        kinds = ("missing", "duplicated", "reordered", "foreign")
        counts = (self.missing, self.duplicated, self.reordered, self.foreign)
        said = [f"{n} {kind}" for kind, n in zip(kinds, counts, strict=True) if n]
        return f"of {self.received} tokens: {', '.join(said)}" if said else ""
