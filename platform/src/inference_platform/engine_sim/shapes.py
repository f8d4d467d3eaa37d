"""The bytes of answers: vLLM's JSON, field by field and in its order.

Streams are written by hand from prefixes that are the same for all of a request's chunks: the
words need no escaping, and building JSON for each token would cost more than everything else does.
"""

from __future__ import annotations

import json
from typing import Any

import orjson

from inference_platform.engine_sim.body import Kind
from inference_platform.engine_sim.tokens import Answer

DONE = b"data: [DONE]\n\n"
VERSION = "0.33.0"


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

    `details` is what the usage tells of the prompt's tokens, None where nobody asked.

    Args:
        kind: chat or completion.
        answer_id: with its `chatcmpl-` or `cmpl-` prefix.
        created: Unix time in whole seconds.
        model: the served name.
        fingerprint: `system_fingerprint`.
        prompt_tokens: for the usage.
        choices: how many answers there are.
        role: who speaks in a chat.
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
        role: str = "assistant",
    ) -> None:
        """Prepare what all chunks share."""
        self.is_chat = kind == "chat"
        self.id = answer_id
        self.created = created
        self.model = model
        self.prompt_tokens = prompt_tokens
        self.role = role
        self.details: dict[str, Any] | None = None
        self._fingerprint = fingerprint
        self._print = b'"system_fingerprint":' + orjson.dumps(fingerprint)
        name = "chat.completion.chunk" if self.is_chat else "text_completion"
        head = {"id": answer_id, "object": name, "created": created, "model": model}
        self._head = b"data: " + orjson.dumps(head)[:-1] + b',"choices":['
        text = ',"delta":{"content":"' if self.is_chat else ',"text":"'
        self._befores = [f'{self._head.decode()}{{"index":{i}{text}' for i in range(choices)]
        if self.is_chat:
            after = '"},"logprobs":null,"finish_reason":null,"token_ids":null}]'
        else:
            after = '","logprobs":null,"finish_reason":null,"stop_reason":null'
            after += ',"prompt_token_ids":null,"token_ids":null,"weight_versions":null}]'
        self._middle = after
        self._after = after + ',"kv_transfer_params":null}\n\n'

    def usage(self, tokens: int) -> dict[str, Any]:
        """Return the usage after so many tokens of all answers."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "total_tokens": self.prompt_tokens + tokens,
            "completion_tokens": tokens,
        }

    def _running_usage(self, tokens: int | None) -> bytes:
        """Return the usage inside a chunk; `tokens` is None when the client did not ask for it."""
        if tokens is None:
            return b""
        usage = self.usage(tokens)
        if self.is_chat:
            usage["completion_tokens_details"] = None
        return b',"usage":' + orjson.dumps(usage)

    def role_chunk(
        self, usage_tokens: int | None, choice: int = 0, prompt_ids: list[int] | None = None
    ) -> bytes:
        """Return the first chunk of a chat; completions have none."""
        if not self.is_chat:
            return b""
        delta = orjson.dumps({"role": self.role, "content": ""})
        return b"".join(
            (
                self._head,
                b'{"index":%d,"delta":%b,"logprobs":null,' % (choice, delta),
                b'"finish_reason":null}]',
                self._running_usage(usage_tokens),
                b',"prompt_token_ids":%b,"prompt_text":null}\n\n' % orjson.dumps(prompt_ids),
            )
        )

    def echo_chunk(self, text: str, choice: int) -> bytes:
        """Return the chunk that repeats the message which a chat continues."""
        ending = b',"logprobs":null,"finish_reason":null}]}\n\n'
        delta = orjson.dumps({"content": text})
        return b'%b{"index":%d,"delta":%b%b' % (self._head, choice, delta, ending)

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
        opening = '"},"logprobs":null' if self.is_chat else '","logprobs":null'
        ids = b',"token_ids":null' if self.is_chat else b',"prompt_token_ids":null,"token_ids":null'
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
        body = orjson.dumps(error) if self.is_chat else json.dumps(error).encode()
        return b"data: " + body + b"\n\n" + DONE

    def usage_chunk(self, tokens: int, metrics: dict[str, float] | None) -> bytes:
        """Return the chunk without choices that ends a stream when usage was asked for."""
        usage = self.usage(tokens)
        if self.details is not None:
            usage["prompt_tokens_details"] = self.details
        times = b"" if metrics is None else b',"metrics":' + orjson.dumps(metrics)
        parts = (self._head, b'],"usage":', orjson.dumps(usage), b",", self._print, times, b"}\n\n")
        return b"".join(parts)

    def whole(
        self,
        choices: list[dict[str, Any]],
        tokens: int,
        prompt: dict[str, Any],
        metrics: dict[str, float] | None,
    ) -> dict[str, Any]:
        """Return the answer of a request that does not stream.

        Args:
            choices: what `choice` returned.
            tokens: of all answers together.
            prompt: `prompt_logprobs` and `prompt_token_ids`; a completion shows them by choice.
            metrics: how long the request took, None where nobody asked.
        """
        usage = self.usage(tokens)
        details = self.details and self.details | {"multimodal_tokens": None}
        usage |= {"prompt_tokens_details": details, "completion_tokens_details": None}
        head = {
            "id": self.id,
            "object": "chat.completion" if self.is_chat else "text_completion",
            "created": self.created,
            "model": self.model,
            "choices": choices,
            "service_tier": None,
            "system_fingerprint": self._fingerprint,
            "usage": usage,
        }
        times = metrics and metrics | {"speculative_decoding": None}
        tail = {"kv_transfer_params": None, "ec_transfer_params": None, "metrics": times}
        return head | (prompt | {"prompt_text": None} if self.is_chat else {}) | tail

    def choice(  # noqa: PLR0913  # each is one field of the choice
        self,
        index: int,
        answer: Answer,
        text: str,
        logprobs: dict[str, Any] | None,
        token_ids: list[int] | None,
        prompt: dict[str, Any],
    ) -> dict[str, Any]:
        """Return one choice of a whole answer."""
        ending = {
            "logprobs": logprobs,
            "finish_reason": answer.finish_reason,
            "stop_reason": answer.stop_reason,
            "token_ids": token_ids,
        }
        weights = {"routed_experts": None, "weight_versions": None}
        if not self.is_chat:
            return {"index": index, "text": text} | ending | prompt | weights
        message = {
            "role": self.role,
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
