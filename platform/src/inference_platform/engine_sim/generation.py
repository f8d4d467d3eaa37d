"""What a well-typed request body means: prompt, limits and options, or why it cannot be served."""

from __future__ import annotations

from dataclasses import dataclass

from inference_platform.engine_sim.body import (
    ApiError,
    Body,
    Kind,
    Problem,
    bad_request,
    check_types,
    invalid,
)
from inference_platform.engine_sim.logprobs import MOST
from inference_platform.engine_sim.tokens import (
    ASSISTANT_TOKENS,
    CHAT_ENDING_TOKENS,
    Limits,
    chat_tokens,
)

MOST_ANSWERS = 16384  # vLLM's VLLM_MAX_N_SEQUENCES
COMPLETION_DEFAULT_MAX_TOKENS = 16  # OpenAI's legacy default, kept by vLLM


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt, and where its answers end. Text and seed decide the answer."""

    text: str
    tokens: list[str]
    limits: Limits


@dataclass(frozen=True, slots=True)
class Generation:
    """A checked request for tokens.

    `seed` is None when the request brings none. `n` answers are asked for to each prompt.
    `logprobs` is the number of alternatives to show with each token, None for no logprobs.
    `echo` shows the prompt before the answer; `silent` hides the answer's one token.
    """

    prompts: list[Prompt]
    n: int
    echo: bool
    silent: bool
    logprobs: int | None
    seed: int | None
    stream: bool
    include_usage: bool
    continuous_usage: bool
    request_id: str | None


# These change the answer in ways that the simulator does not model: refused, not ignored.
_NOT_MODELLED = (
    "prompt_logprobs",
    "return_token_ids",
    "use_beam_search",
    "prompt_embeds",
    "logit_bias",
    "allowed_token_ids",
    "truncate_prompt_tokens",
)


def read_generation(kind: Kind, body: Body, max_model_len: int) -> Generation:
    """Check what a well-typed body means; ApiError 400 when it cannot be served."""
    _check_together(body, max_model_len)
    _check_modelled(kind, body)
    _check_sampling(body)
    texts = [_read_chat(body)] if kind == "chat" else _read_prompts(body)
    if any(len(tokens) > max_model_len for _, tokens in texts):
        raise bad_request(
            f"This model's maximum context length is {max_model_len} tokens. However, your prompt "
            f"contains at least {max_model_len + 1} input tokens, which exceeds this limit even "
            "without any output tokens. Please reduce the length of the input prompt.",
            "input_tokens",
            max_model_len + 1,
        )
    echo = kind == "completion" and _truth(body.get("echo"))
    silent = echo and body.get("max_tokens") == 0
    if silent:
        body = {**body, "max_tokens": 1}
    options = body.get("stream_options") or {}
    include_usage = _truth(options.get("include_usage"))
    seed = body.get("seed")
    return Generation(
        prompts=[
            Prompt(text, tokens, _read_limits(kind, body, len(tokens), max_model_len))
            for text, tokens in texts
        ],
        n=1 if body.get("n") is None else int(body["n"]),
        echo=echo,
        silent=silent,
        logprobs=_read_logprobs(kind, body),
        seed=None if seed is None else int(seed),
        stream=_truth(body.get("stream")),
        include_usage=include_usage,
        continuous_usage=include_usage and _truth(options.get("continuous_usage_stats")),
        request_id=body.get("request_id"),
    )


def read_prompt_tokens(body: Body) -> list[str]:
    """Return the tokens of the one prompt that a body brings, as messages or as text."""
    if "messages" in body:
        tokens = _read_chat(check_types("chat", body))[1]
        wanted = body.get("add_generation_prompt")
        return tokens if wanted is None or _truth(wanted) else tokens[:-ASSISTANT_TOKENS]
    if not isinstance(body.get("prompt"), str):
        text = "Input should be a valid string"
        raise invalid([Problem("string_type", "body.prompt", text, body.get("prompt"))])
    return str(body["prompt"]).split()


def _truth(value: object) -> bool:
    """Read a boolean as leniently as pydantic does."""
    return value in (True, "true", "True", "1", "yes", "on")


def _check_together(body: Body, max_model_len: int) -> None:
    """Refuse fields that contradict each other or the context length."""
    if body.get("tool_choice") not in (None, "none") and not body.get("tools"):
        raise bad_request("When using `tool_choice`, `tools` must be set.", "tool_choice")
    if _truth(body.get("continue_final_message")) and _truth(body.get("add_generation_prompt")):
        raise bad_request(
            "Cannot set both `continue_final_message` and `add_generation_prompt` to True."
        )
    if body.get("prompt_logprobs") and _truth(body.get("stream")):
        text = "`prompt_logprobs` are not available when `stream=True`."
        raise bad_request(text, "prompt_logprobs")
    size = body.get("truncate_prompt_tokens")
    if isinstance(size, int) and size > max_model_len:
        text = f"truncate_prompt_tokens={size} cannot be greater than max_model_len = "
        text += f"{max_model_len}. Please request a smaller truncation size."
        raise bad_request(text, "truncate_prompt_tokens", size)


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
            raise bad_request("The engine simulator does not model this.", name)
    if kind == "completion" and body.get("echo") and body.get("logprobs") is not None:
        raise bad_request("The engine simulator does not model this.", "echo")
    n = 1 if body.get("n") is None else int(body["n"])
    if n < 1:
        raise bad_request(f"n must be at least 1, got {n}.")
    if n > MOST_ANSWERS:
        text = "To increase this limit, set the VLLM_MAX_N_SEQUENCES environment variable."
        raise bad_request(f"n must be at most {MOST_ANSWERS}, got {n}. {text}")
    if n > 1 and body.get("temperature") is not None and float(body["temperature"]) == 0:
        raise bad_request(f"n must be 1 when using greedy sampling, got {n}.")


def _read_logprobs(kind: Kind, body: Body) -> int | None:
    """Return how many alternatives to show with each token; None when no logprobs are wanted."""
    top = body.get("top_logprobs" if kind == "chat" else "logprobs")
    if kind == "chat" and not _truth(body.get("logprobs")):
        if top:
            text = "when using `top_logprobs`, `logprobs` must be set to true."
            raise bad_request(text, "top_logprobs")
        return None
    if top is None:
        return 0 if kind == "chat" else None
    top = int(top)
    if top < 0:
        raise bad_request("The engine simulator does not model this.", "logprobs", top)
    if top > MOST:
        text = f"Requested sample logprobs of {top}, which is greater than max allowed: {MOST}"
        raise bad_request(text, "logprobs", top)
    return top


def _check_sampling(body: Body) -> None:
    """Refuse sampling parameters that are out of range."""
    for name in ("presence_penalty", "frequency_penalty"):
        if not -2.0 <= (value := float(body.get(name) or 0.0)) <= 2.0:
            raise bad_request(f"{name} must be in [-2, 2], got {value}.")
    temperature, top_p = body.get("temperature"), body.get("top_p")
    if temperature is not None and not 0.0 <= (value := float(temperature)) <= 2.0:
        rule = "be non-negative" if value < 0 else "be in [0, 2]"
        raise bad_request(f"temperature must {rule}, got {value}.", "temperature", value)
    if top_p is not None and not 0.0 < (value := float(top_p)) <= 1.0:
        raise bad_request(f"top_p must be in (0, 1], got {value}.", "top_p", value)
    stops = body.get("stop")
    if stops == "" or (isinstance(stops, list) and "" in stops):
        raise bad_request("stop cannot contain an empty string.")
    if (top_k := int(body.get("top_k") or 0)) < -1:
        raise bad_request(f"top_k must be 0 (disable), or at least 1, got {top_k}.")
    repetition = body.get("repetition_penalty")
    if repetition is not None and (value := float(repetition)) <= 0:
        raise bad_request(f"repetition_penalty must be greater than zero, got {value}.")
    if body.get("stream_options") and not _truth(body.get("stream")):
        text = "Stream options can only be defined when `stream=True`."
        raise bad_request(text, "stream_options")


def _read_chat(body: Body) -> tuple[str, list[str]]:
    """Return a chat as one text, and its tokens."""
    turns = [(message["role"], _content(message.get("content"))) for message in body["messages"]]
    if not turns:
        text = "Cannot apply chat template to an empty conversation. Provide at least one message."
        raise bad_request(text)
    tokens = chat_tokens(turns)
    if _truth(body.get("continue_final_message")):
        del tokens[-CHAT_ENDING_TOKENS:]
    return "\n".join(f"{role}: {text}" for role, text in turns), tokens


def _content(content: str | list[dict[str, str]] | None) -> str:
    if isinstance(content, list):
        return "\n".join(part.get("text", "") for part in content)
    return content or ""


def _read_prompts(body: Body) -> list[tuple[str, list[str]]]:
    """Return a completion's prompts and their tokens; token ids are taken as words."""
    prompt = body.get("prompt")
    if prompt == []:
        raise bad_request("You must pass at least one prompt", "prompt")
    if not prompt:
        raise bad_request(
            "Either prompt or prompt_embeds must be provided and non-empty.", "prompt"
        )
    if isinstance(prompt, list) and not isinstance(prompt[0], str):
        ids = list(map(str, prompt))
        return [(" ".join(ids), ids)]
    texts = prompt if isinstance(prompt, list) else [str(prompt)]
    return [(text, text.split() or [""]) for text in texts]


def _read_limits(kind: Kind, body: Body, prompt_tokens: int, max_model_len: int) -> Limits:
    """Return where the answer ends; it is capped where the context ends."""
    room = max_model_len - prompt_tokens
    asked = body.get("max_tokens")
    if kind == "completion" and "max_tokens" not in body:
        asked = COMPLETION_DEFAULT_MAX_TOKENS
    if kind == "chat" and body.get("max_completion_tokens") is not None:
        asked = body["max_completion_tokens"]
    max_tokens = room if asked is None else int(asked)
    if max_tokens > max_model_len:
        raise bad_request(
            f"max_tokens={max_tokens} cannot be greater than max_model_len={max_model_len}. "
            "Please request fewer output tokens.",
            "max_tokens",
            max_tokens,
        )
    max_tokens = min(max_tokens, room)
    if max_tokens < 1:
        text = f"max_tokens must be at least 1, got {max_tokens}."
        raise bad_request(text, "max_tokens", max_tokens)
    min_tokens = int(body.get("min_tokens") or 0)
    if min_tokens < 0:
        raise bad_request(f"min_tokens must be greater than or equal to 0, got {min_tokens}.")
    if min_tokens > max_tokens:
        raise bad_request(
            f"min_tokens must be less than or equal to max_tokens={max_tokens}, got {min_tokens}."
        )
    stop = body.get("stop") or ()
    return Limits(
        max_tokens=max_tokens,
        min_tokens=min_tokens,
        ignore_eos=_truth(body.get("ignore_eos")),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        stop_token_ids=frozenset(map(int, body.get("stop_token_ids") or ())),
        include_stop=_truth(body.get("include_stop_str_in_output")),
    )
