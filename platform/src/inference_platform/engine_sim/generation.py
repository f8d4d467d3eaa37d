"""What a well-typed request body means: prompt, limits and options, or why it cannot be served."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from inference_platform.engine_sim.body import Kind, check_types
from inference_platform.engine_sim.errors import (
    ApiError,
    Problem,
    bad_request,
    invalid,
    not_modelled,
)
from inference_platform.engine_sim.fields import Body, truth
from inference_platform.engine_sim.sampling import (
    MOST_ANSWERS,
    check_sampling,
    read_limits,
    read_logprobs,
    read_n,
    read_prompt_logprobs,
)
from inference_platform.engine_sim.tokens import (
    ASSISTANT_TOKENS,
    CHAT_ENDING_TOKENS,
    VOCABULARY,
    Limits,
    chat_characters,
    chat_tokens,
)

# A longer text is refused unread, as vLLM refuses what is longer than its longest token allows.
# Our words have no longest one; this is more than a real tokenizer needs for any real text.
MOST_CHARACTERS_PER_TOKEN = 64


@dataclass(frozen=True, slots=True)
class Text:
    """A prompt as text and as tokens; `echo` is what of it an echo shows."""

    text: str
    tokens: list[str]
    echo: str = ""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt, and where its answers end. Text and seed decide the answer.

    `echo` is what is shown of it before its answers.
    """

    text: str
    tokens: list[str]
    limits: Limits
    echo: str


@dataclass(frozen=True, slots=True)
class Generation:
    """A checked request for tokens.

    `seed` is None when the request brings none. `n` answers are asked for to each prompt.
    `logprobs` and `prompt_logprobs` are the number of alternatives to show with each token, None
    for no logprobs. `echo` shows the prompt before the answer; `silent` hides the answer's one
    token. `role` speaks in a chat. `said` is the body of a request that was not in our own words.
    """

    prompts: list[Prompt]
    n: int
    role: str
    echo: bool
    silent: bool
    logprobs: int | None
    prompt_logprobs: int | None
    token_ids: bool
    seed: int | None
    stream: bool
    include_usage: bool
    continuous_usage: bool
    request_id: str | None
    said: Body = field(default_factory=dict)

    @property
    def is_plain(self) -> bool:
        """Whether the chunks of a stream show words and nothing else."""
        is_one = self.n == len(self.prompts) == 1
        return is_one and not (
            self.echo or self.token_ids or self.logprobs is not None or self.prompts[0].limits.stop
        )


# These change the answer in ways that the simulator does not model: refused, not ignored.
_NOT_MODELLED = ("use_beam_search", "prompt_embeds")


def read_generation(kind: Kind, body: Body, max_model_len: int) -> Generation:
    """Check what a well-typed body means; ApiError 400 when it cannot be served."""
    _check_together(body)
    _check_modelled(kind, body)
    n = read_n(body)
    check_sampling(body)
    cut = _read_truncation(body, max_model_len)
    if kind == "chat":
        texts = _read_chat(body, max_model_len)
    else:
        texts = _read_prompts(body, n, max_model_len)
    if cut is not None:
        texts = [replace(text, tokens=text.tokens[len(text.tokens) - cut :]) for text in texts]
    if any(len(text.tokens) > max_model_len for text in texts):
        raise _too_many_tokens(max_model_len)
    echo = truth(body.get("echo"))
    silent = echo and kind == "completion" and body.get("max_tokens") == 0
    if silent:
        body = {**body, "max_tokens": 1}
    options = body.get("stream_options") or {}
    include_usage = truth(options.get("include_usage"))
    seed = body.get("seed")
    logprobs = read_logprobs(kind, body)
    echoed = int(body.get("top_logprobs") or 0) if kind == "chat" else logprobs
    return Generation(
        prompts=[
            Prompt(
                text.text,
                text.tokens,
                read_limits(kind, body, len(text.tokens), max_model_len),
                text.echo if echo else "",
            )
            for text in texts
        ],
        n=n,
        role=_role(kind, body),
        echo=echo,
        silent=silent,
        logprobs=logprobs,
        prompt_logprobs=read_prompt_logprobs(body, echoed if echo else None),
        token_ids=truth(body.get("return_token_ids")),
        seed=None if seed is None else int(seed),
        stream=truth(body.get("stream")),
        include_usage=include_usage,
        continuous_usage=include_usage and truth(options.get("continuous_usage_stats")),
        request_id=body.get("request_id"),
    )


def read_prompt_tokens(body: Body) -> list[str]:
    """Return the tokens of the one prompt that a body brings, as messages or as text."""
    if "messages" in body:
        return _read_chat(check_types("chat", body), None)[0].tokens
    if not isinstance(body.get("prompt"), str):
        text = "Input should be a valid string"
        raise invalid([Problem("string_type", "body.prompt", text, body.get("prompt"))])
    return str(body["prompt"]).split()


def _check_together(body: Body) -> None:
    """Refuse fields that contradict each other."""
    if body.get("tool_choice") not in (None, "none") and not body.get("tools"):
        raise bad_request("When using `tool_choice`, `tools` must be set.", "tool_choice")
    if truth(body.get("continue_final_message")) and truth(body.get("add_generation_prompt")):
        raise bad_request(
            "Cannot set both `continue_final_message` and `add_generation_prompt` to True."
        )


def _check_modelled(kind: Kind, body: Body) -> None:
    """Refuse what neither vLLM by default nor the simulator offers."""
    if kind == "chat" and body.get("tools"):
        raise bad_request(
            '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
        )
    if kind == "completion" and body.get("suffix"):
        text = "suffix is only supported for models with FIM completion rendering"
        raise ApiError(400, "BadRequestError", text, "suffix")
    for name in _NOT_MODELLED:
        if body.get(name):
            raise not_modelled(name)


def _too_many_tokens(max_model_len: int) -> ApiError:
    return bad_request(
        f"This model's maximum context length is {max_model_len} tokens. However, your prompt "
        f"contains at least {max_model_len + 1} input tokens, which exceeds this limit even "
        "without any output tokens. Please reduce the length of the input prompt.",
        "input_tokens",
        max_model_len + 1,
    )


def _read_truncation(body: Body, max_model_len: int) -> int | None:
    """Return how many tokens at the prompt's end are to be kept; None keeps them all."""
    size = body.get("truncate_prompt_tokens")
    if size is None:
        return None
    size = max_model_len if int(size) == -1 else int(size)
    if size < 0:
        text = "truncate_prompt_tokens must be -1 or at least 1."
        raise bad_request(text, "truncate_prompt_tokens", size)
    if size > max_model_len:
        text = f"truncate_prompt_tokens={size} cannot be greater than max_model_len = "
        text += f"{max_model_len}. Please request a smaller truncation size."
        raise bad_request(text, "truncate_prompt_tokens", size)
    return size or None


def _adds_generation_prompt(body: Body) -> bool:
    wanted = body.get("add_generation_prompt")
    return wanted is None or truth(wanted)


def _role(kind: Kind, body: Body) -> str:
    """Return who speaks: the assistant, or whose message is continued."""
    if kind == "chat" and not _adds_generation_prompt(body):
        return str(body["messages"][-1]["role"])
    return "assistant"


def _read_chat(body: Body, max_model_len: int | None) -> list[Text]:
    """Return a chat as one text with its tokens."""
    turns = [(message["role"], _content(message.get("content"))) for message in body["messages"]]
    if not turns:
        text = "Cannot apply chat template to an empty conversation. Provide at least one message."
        raise bad_request(text)
    _check_characters(chat_characters(turns), max_model_len)
    tokens = chat_tokens(turns)
    if truth(body.get("continue_final_message")):
        del tokens[-CHAT_ENDING_TOKENS:]
    elif not _adds_generation_prompt(body):
        del tokens[-ASSISTANT_TOKENS:]
    role, last = turns[-1]
    echo = last if role == _role("chat", body) else ""
    return [Text("\n".join(f"{role}: {text}" for role, text in turns), tokens, echo)]


def _content(content: str | list[dict[str, str]] | None) -> str:
    if isinstance(content, list):
        return "\n".join(part.get("text", "") for part in content)
    return content or ""


def _check_characters(count: int, max_model_len: int | None) -> None:
    """Refuse a text that is too long to be worth reading; None is no limit."""
    if max_model_len is None or count <= (most := MOST_CHARACTERS_PER_TOKEN * max_model_len):
        return
    raise bad_request(
        f"This model's maximum context length is {max_model_len} tokens. However, your prompt "
        f"contains {count} characters (more than {most} characters, which is the upper bound "
        f"for {max_model_len} input tokens). Please reduce the length of the input prompt.",
        "input_text",
        count,
    )


def _read_prompts(body: Body, n: int, max_model_len: int) -> list[Text]:
    """Return a completion's prompts and their tokens; token ids are taken as words."""
    prompt = body.get("prompt")
    if prompt == []:
        raise bad_request("You must pass at least one prompt", "prompt")
    if not prompt:
        raise bad_request(
            "Either prompt or prompt_embeds must be provided and non-empty.", "prompt"
        )
    is_one = isinstance(prompt, str) or isinstance(prompt[0], int | float)
    prompts = [prompt] if is_one else prompt
    if n * len(prompts) > MOST_ANSWERS:
        text = f"The engine simulator gives at most {MOST_ANSWERS} answers to one request"
        raise bad_request(f"{text}, not {n} to each of {len(prompts)} prompts.", "prompt")
    if not isinstance(prompts[0], str):
        return [_read_ids(ids, max_model_len) for ids in prompts]
    for text in prompts:
        _check_characters(len(text), max_model_len)
    return [Text(text, text.split() or [""], text) for text in prompts]


def _read_ids(ids: list[Any], max_model_len: int) -> Text:
    if not ids:
        raise bad_request("You must pass at least one token id in every prompt", "prompt")
    if len(ids) > max_model_len:
        raise _too_many_tokens(max_model_len)
    for number in ids:
        if int(number) >= VOCABULARY:
            raise bad_request(f"Token id {int(number)} is out of vocabulary")
    words = [str(int(number)) for number in ids]
    text = " ".join(words)
    return Text(text, words, text)
