"""Checks of what a request says about sampling, and where its answers end."""

from __future__ import annotations

from inference_platform.engine_sim.body import Kind
from inference_platform.engine_sim.errors import bad_request, not_modelled
from inference_platform.engine_sim.fields import Body, truth
from inference_platform.engine_sim.logprobs import MOST
from inference_platform.engine_sim.tokens import VOCABULARY, Limits

MOST_ANSWERS = 16384  # vLLM's VLLM_MAX_N_SEQUENCES
COMPLETION_DEFAULT_MAX_TOKENS = 16  # OpenAI's legacy default, kept by vLLM


def read_n(body: Body) -> int:
    """Return how many answers are wanted to each prompt."""
    n = 1 if body.get("n") is None else int(body["n"])
    if n < 1:
        raise bad_request(f"n must be at least 1, got {n}.")
    if n > MOST_ANSWERS:
        text = "To increase this limit, set the VLLM_MAX_N_SEQUENCES environment variable."
        raise bad_request(f"n must be at most {MOST_ANSWERS}, got {n}. {text}")
    if n > 1 and body.get("temperature") is not None and float(body["temperature"]) == 0:
        raise bad_request(f"n must be 1 when using greedy sampling, got {n}.")
    return n


def check_sampling(body: Body) -> None:
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
    if repetition is not None and not (value := float(repetition)) > 0:
        raise bad_request(f"repetition_penalty must be greater than zero, got {value}.")
    if body.get("stream_options") and not truth(body.get("stream")):
        text = "Stream options can only be defined when `stream=True`."
        raise bad_request(text, "stream_options")
    _check_token_choice(body)


def _check_token_choice(body: Body) -> None:
    """Refuse token ids that no token has; who asks for others would be answered the same words."""
    if biases := body.get("logit_bias"):
        words = [key for key in biases if not key.strip().removeprefix("-").isdecimal()]
        if words:
            text = "logit_bias contains key(s) that cannot be converted to integer token IDs: "
            raise bad_request(f"{text}{words}", "logit_bias", words)
        strange = [key for key in biases if len(key) > 12 or not 0 <= int(key) < VOCABULARY]
        if strange:
            ids = "[" + ", ".join(key.strip()[:20] for key in strange) + "]"
            text = f"token_id(s) {ids} in logit_bias contain out-of-vocab token ids. "
            raise bad_request(f"{text}Vocabulary size: {VOCABULARY}", "logit_bias", ids)
        raise not_modelled("logit_bias")
    if (allowed := body.get("allowed_token_ids")) is not None:
        if not allowed:
            raise bad_request("allowed_token_ids is not None and empty!", "allowed_token_ids", [])
        if not all(0 <= int(number) < VOCABULARY for number in allowed):
            text = "allowed_token_ids contains out-of-vocab token id!"
            raise bad_request(text, "allowed_token_ids", allowed)
        raise not_modelled("allowed_token_ids")


def read_logprobs(kind: Kind, body: Body) -> int | None:
    """Return how many alternatives to show with each token; None when no logprobs are wanted."""
    top = body.get("top_logprobs" if kind == "chat" else "logprobs")
    if kind == "chat" and not truth(body.get("logprobs")):
        if top:
            text = "when using `top_logprobs`, `logprobs` must be set to true."
            raise bad_request(text, "top_logprobs")
        return None
    if top is None:
        return 0 if kind == "chat" else None
    return _checked("sample", int(top), "logprobs")


def read_prompt_logprobs(body: Body, echoed: int | None) -> int | None:
    """Return how many alternatives to show with each prompt token; None for none at all.

    `echoed` is what an echo of the prompt brings without being asked, None for no echo.
    """
    top = body.get("prompt_logprobs")
    if top is None:
        return echoed
    if truth(body.get("stream")) and int(top):
        text = "`prompt_logprobs` are not available when `stream=True`."
        raise bad_request(text, "prompt_logprobs")
    return _checked("prompt", int(top), "prompt_logprobs")


def _checked(what: str, top: int, param: str) -> int:
    if top < 0:
        raise not_modelled(param, top)
    if top > MOST:
        text = f"Requested {what} logprobs of {top}, which is greater than max allowed: {MOST}"
        raise bad_request(text, param, top)
    return top


def read_limits(kind: Kind, body: Body, prompt_tokens: int, max_model_len: int) -> Limits:
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
        ignore_eos=truth(body.get("ignore_eos")),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        stop_token_ids=frozenset(map(int, body.get("stop_token_ids") or ())),
        include_stop=truth(body.get("include_stop_str_in_output")),
    )
