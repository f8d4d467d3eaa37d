"""What a well-typed request body means: prompt, limits and options, or why it cannot be served."""

from __future__ import annotations

from dataclasses import dataclass

from inference_platform.engine_sim.body import ApiError, Body, Kind, bad_request
from inference_platform.engine_sim.tokens import CHAT_ENDING_TOKENS, Limits, chat_tokens

COMPLETION_DEFAULT_MAX_TOKENS = 16  # OpenAI's legacy default, kept by vLLM


@dataclass(frozen=True, slots=True)
class Generation:
    """A checked request for tokens.

    The answer depends on `prompt` and `seed`; the latter is None when the request brings none.
    """

    prompt: str
    prompt_tokens: list[str]
    limits: Limits
    seed: int | None
    stream: bool
    include_usage: bool
    continuous_usage: bool
    request_id: str | None


# These change the answer in ways that the simulator does not model: refused, not ignored.
_NOT_MODELLED = (
    "logprobs",
    "top_logprobs",
    "prompt_logprobs",
    "echo",
    "stop_token_ids",
    "return_token_ids",
    "use_beam_search",
    "prompt_embeds",
    "logit_bias",
    "allowed_token_ids",
    "truncate_prompt_tokens",
)


def read_generation(kind: Kind, body: Body, max_model_len: int) -> Generation:
    """Check what a well-typed body means; ApiError 400 when it cannot be served."""
    _check_modelled(kind, body)
    _check_sampling(body)
    if kind == "chat":
        prompt, prompt_tokens = _read_chat(body)
    else:
        prompt, prompt_tokens = _read_prompt(body)
    if len(prompt_tokens) > max_model_len:
        raise bad_request(
            f"This model's maximum context length is {max_model_len} tokens. However, your prompt "
            f"contains at least {max_model_len + 1} input tokens, which exceeds this limit even "
            "without any output tokens. Please reduce the length of the input prompt.",
            "input_tokens",
            max_model_len + 1,
        )
    options = body.get("stream_options") or {}
    include_usage = _truth(options.get("include_usage"))
    seed = body.get("seed")
    return Generation(
        prompt=prompt,
        prompt_tokens=prompt_tokens,
        limits=_read_limits(kind, body, len(prompt_tokens), max_model_len),
        seed=None if seed is None else int(seed),
        stream=_truth(body.get("stream")),
        include_usage=include_usage,
        continuous_usage=include_usage and _truth(options.get("continuous_usage_stats")),
        request_id=body.get("request_id"),
    )


def _truth(value: object) -> bool:
    """Read a boolean as leniently as pydantic does."""
    return value in (True, "true", "True", "1", "yes", "on")


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
    n = 1 if body.get("n") is None else int(body["n"])
    if n < 1:
        raise bad_request(f"n must be at least 1, got {n}.")
    if n > 1:
        raise bad_request("The engine simulator answers once.", "n", n)


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


def _read_prompt(body: Body) -> tuple[str, list[str]]:
    """Return a completion's prompt and its tokens; token ids are taken as words."""
    prompt = body.get("prompt")
    if prompt == []:
        raise bad_request("You must pass at least one prompt", "prompt")
    if not prompt:
        raise bad_request(
            "Either prompt or prompt_embeds must be provided and non-empty.", "prompt"
        )
    if isinstance(prompt, list):
        if not isinstance(prompt[0], str):
            ids = list(map(str, prompt))
            return " ".join(ids), ids
        if len(prompt) > 1:
            raise bad_request("The engine simulator takes one prompt.", "prompt", len(prompt))
        prompt = prompt[0]
    text = str(prompt)
    return text, text.split() or [""]


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
        include_stop=_truth(body.get("include_stop_str_in_output")),
    )
