"""The bytes of answers: vLLM's JSON, field by field and in its order.

Streams are written by hand from prefixes that are the same for all of a request's chunks: the
words need no escaping, and building JSON for each token would cost more than everything else does.
"""

from __future__ import annotations

import json
from typing import Any

import orjson

from inference_platform.engine_sim.body import Kind
from inference_platform.engine_sim.logprobs import chat_logprobs, completion_logprobs
from inference_platform.engine_sim.tokens import Answer

DONE = b"data: [DONE]\n\n"
VERSION = "0.33.0"
_PER_PROMPT = {"prompt_logprobs": None, "prompt_token_ids": None}


def model_list(model: str, root: str, max_model_len: int, started: int) -> dict[str, Any]:
    """Return `/v1/models`."""
    permission = {
        "id": f"modelperm-{started:016x}",
        "object": "model_permission",
        "created": started,
        "allow_create_engine": False,
        "allow_sampling": True,
        "allow_logprobs": True,
        "allow_search_indices": False,
        "allow_view": True,
        "allow_fine_tuning": False,
        "organization": "*",
        "group": None,
        "is_blocking": False,
    }
    card = {
        "id": model,
        "object": "model",
        "created": started,
        "owned_by": "vllm",
        "root": root,
        "parent": None,
        "max_model_len": max_model_len,
        "permission": [permission],
    }
    return {"object": "list", "data": [card]}


class Shape:
    """One request's answer, as chunks or as a whole.

    Args:
        kind: chat or completion.
        answer_id: with its `chatcmpl-` or `cmpl-` prefix.
        created: Unix time in whole seconds.
        model: the served name.
        fingerprint: `system_fingerprint`.
        prompt_tokens: for the usage.
        choices: how many answers there are.
    """

    def __init__(  # noqa: PLR0913  # each is one field of the answer
        self,
        kind: Kind,
        answer_id: str,
        created: int,
        model: str,
        fingerprint: str,
        prompt_tokens: int,
        choices: int = 1,
    ) -> None:
        """Prepare what all chunks share."""
        self._chat = kind == "chat"
        self._id = answer_id
        self._created = created
        self._model = model
        self._fingerprint = fingerprint
        self._prompt_tokens = prompt_tokens
        self._print = b'"system_fingerprint":' + orjson.dumps(fingerprint)
        name = "chat.completion.chunk" if self._chat else "text_completion"
        head = {"id": answer_id, "object": name, "created": created, "model": model}
        self._head = b"data: " + orjson.dumps(head)[:-1] + b',"choices":['
        text = ',"delta":{"content":"' if self._chat else ',"text":"'
        self._befores = [f'{self._head.decode()}{{"index":{i}{text}' for i in range(choices)]
        if self._chat:
            after = '"},"logprobs":null,"finish_reason":null,"token_ids":null}]'
        else:
            after = '","logprobs":null,"finish_reason":null,"stop_reason":null'
            after += ',"prompt_token_ids":null,"token_ids":null,"weight_versions":null}]'
        self._middle = after
        self._after = after + ',"kv_transfer_params":null}\n\n'

    def _usage(self, tokens: int, *, detailed: bool) -> dict[str, Any]:
        usage: dict[str, Any] = {
            "prompt_tokens": self._prompt_tokens,
            "total_tokens": self._prompt_tokens + tokens,
            "completion_tokens": tokens,
        }
        if detailed and self._chat:
            usage["completion_tokens_details"] = None
        return usage

    def _running_usage(self, tokens: int | None) -> bytes:
        """Return the usage inside a chunk; `tokens` is None when the client did not ask for it."""
        if tokens is None:
            return b""
        return b',"usage":' + orjson.dumps(self._usage(tokens, detailed=True))

    def logprobs(self, answer: Answer, indices: range, top: int) -> dict[str, Any]:
        """Return the `logprobs` of some tokens of a choice."""
        return (chat_logprobs if self._chat else completion_logprobs)(answer, indices, top)

    def role_chunk(self, usage_tokens: int | None, choice: int = 0) -> bytes:
        """Return the first chunk of a chat; completions have none."""
        if not self._chat:
            return b""
        return b"".join(
            (
                self._head,
                b'{"index":%d,"delta":{"role":"assistant","content":""},"logprobs":null,' % choice,
                b'"finish_reason":null}]',
                self._running_usage(usage_tokens),
                b',"prompt_token_ids":null,"prompt_text":null}\n\n',
            )
        )

    def token_chunk(
        self,
        text: str,
        usage_tokens: int | None,
        choice: int = 0,
        logprobs: dict[str, Any] | None = None,
    ) -> bytes:
        """Return the chunk of a token that is not the last one; `text` is escaped already."""
        before = self._befores[choice]
        if usage_tokens is None and logprobs is None:
            return f"{before}{text}{self._after}".encode()
        middle = f"{before}{text}{_with_logprobs(self._middle, logprobs)}".encode()
        return middle + self._running_usage(usage_tokens) + b',"kv_transfer_params":null}\n\n'

    def last_chunk(  # noqa: PLR0913  # each is one field of the chunk
        self,
        answer: Answer,
        text: str,
        usage_tokens: int | None,
        choice: int = 0,
        logprobs: dict[str, Any] | None = None,
        *,
        with_print: bool,
    ) -> bytes:
        """Return the chunk of a choice's last token, with the fingerprint or without."""
        reason, stop = orjson.dumps(answer.finish_reason), orjson.dumps(answer.stop_reason)
        opening = '"},"logprobs":null' if self._chat else '","logprobs":null'
        ids = b',"token_ids":null' if self._chat else b',"prompt_token_ids":null,"token_ids":null'
        return b"".join(
            (
                self._befores[choice].encode(),
                text.encode(),
                _with_logprobs(opening, logprobs).encode(),
                b',"finish_reason":',
                reason,
                b',"stop_reason":',
                stop,
                ids,
                b',"weight_versions":null}]',
                self._running_usage(usage_tokens),
                b"," + self._print if with_print else b"",
                b',"kv_transfer_params":null}\n\n',
            )
        )

    def failure(self, error: dict[str, Any]) -> bytes:
        """Return what ends a stream after an error; completions space their JSON, chats do not."""
        body = orjson.dumps(error) if self._chat else json.dumps(error).encode()
        return b"data: " + body + b"\n\n" + DONE

    def usage_chunk(self, tokens: int) -> bytes:
        """Return the chunk without choices that ends a stream when usage was asked for."""
        usage = orjson.dumps(self._usage(tokens, detailed=False))
        return b"".join((self._head, b'],"usage":', usage, b",", self._print, b"}\n\n"))

    def whole(self, answers: list[tuple[Answer, str]], top: int | None) -> dict[str, Any]:
        """Return the answer of a request that does not stream, from each choice and its text.

        `top` is the number of alternatives to each token in the logprobs, None for no logprobs.
        """
        tokens = sum(answer.tokens for answer, _ in answers)
        usage = self._usage(tokens, detailed=False)
        usage |= {"prompt_tokens_details": None, "completion_tokens_details": None}
        head = {
            "id": self._id,
            "object": "chat.completion" if self._chat else "text_completion",
            "created": self._created,
            "model": self._model,
            "choices": [self._choice(i, *pair, top) for i, pair in enumerate(answers)],
            "service_tier": None,
            "system_fingerprint": self._fingerprint,
            "usage": usage,
        }
        tail = {"kv_transfer_params": None, "ec_transfer_params": None, "metrics": None}
        return head | (_PER_PROMPT | {"prompt_text": None} if self._chat else {}) | tail

    def _choice(self, index: int, answer: Answer, text: str, top: int | None) -> dict[str, Any]:
        """Return one choice of a whole answer."""
        shown = range(answer.tokens)
        ending = {
            "logprobs": None if top is None else self.logprobs(answer, shown, top),
            "finish_reason": answer.finish_reason,
            "stop_reason": answer.stop_reason,
            "token_ids": None,
        }
        weights = {"routed_experts": None, "weight_versions": None}
        if not self._chat:
            return {"index": index, "text": text} | ending | _PER_PROMPT | weights
        message = {
            "role": "assistant",
            "content": text,
            "refusal": None,
            "annotations": None,
            "audio": None,
            "function_call": None,
            "reasoning": None,
        }
        return {"index": index, "message": message} | ending | weights


def _with_logprobs(text: str, logprobs: dict[str, Any] | None) -> str:
    """Put logprobs where the text says that there are none."""
    if logprobs is None:
        return text
    return text.replace('"logprobs":null', '"logprobs":' + orjson.dumps(logprobs).decode(), 1)
