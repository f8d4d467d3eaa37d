"""Choosing a tier for requests that leave it open (`model: "auto"`)."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

FAST = "fast"
REASONING = "reasoning"

# Longer prompts are seldom small talk; about 300 tokens of English.
SHORT_PROMPT_CHARS = 1200
# A token is about four characters of English.
CHARS_PER_TOKEN = 4

_CUES = re.compile(
    r"step[- ]by[- ]step|chain of thought|\bprove\b|\bproof\b|\bderive\b|\bwhy\b|\bsolve\b"
    r"|\banaly[sz]e\b|\bcompare\b|\btrade-?offs?\b|\bdebug\b|\brefactor\b|\balgorithm\b|```",
    re.IGNORECASE,
)


class TierChooser(Protocol):
    """Picks the tier for one request; must be quick, it runs on the event loop."""

    def choose(self, body: Mapping[str, Any], tiers: Sequence[str]) -> str:
        """One of `tiers` (never empty) for an OpenAI request body (chat or completion)."""
        ...


def needs_reasoning(body: Mapping[str, Any]) -> bool:
    """Whether a request looks worth the larger model: long, cued, or asked for by effort."""
    effort = body.get("reasoning_effort")
    if isinstance(effort, str):
        return effort.lower() not in {"none", "minimal", "low"}
    text, chars = _prompt(body)
    return chars > SHORT_PROMPT_CHARS or _CUES.search(text) is not None


class HeuristicChooser:
    """Short prompts without cues for reasoning go to `fast`, all others to `reasoning`."""

    def choose(self, body: Mapping[str, Any], tiers: Sequence[str]) -> str:
        """See TierChooser; a tier that does not exist here falls back to the first there is."""
        wanted = REASONING if needs_reasoning(body) else FAST
        return wanted if wanted in tiers else tiers[0]


def _prompt(body: Mapping[str, Any]) -> tuple[str, int]:
    """The prompt's text and its length in characters (estimated where it comes as token ids)."""
    texts: list[str] = []
    tokens = 0
    pending: list[object] = [body.get("messages"), body.get("prompt")]
    while pending:
        part = pending.pop()
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, int):
            tokens += 1
        elif isinstance(part, list):
            pending.extend(part)
        elif isinstance(part, dict):
            pending.extend((part.get("content"), part.get("text")))
    text = "\n".join(texts)
    return text, len(text) + tokens * CHARS_PER_TOKEN
