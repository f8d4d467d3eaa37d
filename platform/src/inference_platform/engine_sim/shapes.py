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

    Args:
        kind: chat or completion.
        answer_id: with its `chatcmpl-` or `cmpl-` prefix.
        created: Unix time in whole seconds.
        model: the served name.
        fingerprint: `system_fingerprint`.
        prompt_tokens: for the usage.
    """

    def __init__(  # noqa: PLR0913  # each is one field of the answer
        self,
        kind: Kind,
        answer_id: str,
        created: int,
        model: str,
        fingerprint: str,
        prompt_tokens: int,
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
        text = b'{"index":0,"delta":{"content":"' if self._chat else b'{"index":0,"text":"'
        self._before = (self._head + text).decode()
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

    def role_chunk(self, usage_tokens: int | None) -> bytes:
        """Return the first chunk of a chat; completions have none."""
        if not self._chat:
            return b""
        return b"".join(
            (
                self._head,
                b'{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,',
                b'"finish_reason":null}]',
                self._running_usage(usage_tokens),
                b',"prompt_token_ids":null,"prompt_text":null}\n\n',
            )
        )

    def token_chunk(self, text: str, usage_tokens: int | None) -> bytes:
        """Return the chunk of a token that is not the last one."""
        if usage_tokens is None:
            return f"{self._before}{text}{self._after}".encode()
        middle = f"{self._before}{text}{self._middle}".encode()
        return middle + self._running_usage(usage_tokens) + b',"kv_transfer_params":null}\n\n'

    def last_chunk(self, answer: Answer, usage_tokens: int | None, *, usage_follows: bool) -> bytes:
        """Return the last token's chunk; without a usage chunk it carries the fingerprint."""
        text = answer.text(answer.tokens - 1)
        reason, stop = orjson.dumps(answer.finish_reason), orjson.dumps(answer.stop_reason)
        middle = (
            b'"},"logprobs":null,"finish_reason":'
            if self._chat
            else (b'","logprobs":null,"finish_reason":')
        )
        ids = b',"token_ids":null' if self._chat else b',"prompt_token_ids":null,"token_ids":null'
        return b"".join(
            (
                self._before.encode(),
                text.encode(),
                middle,
                reason,
                b',"stop_reason":',
                stop,
                ids,
                b',"weight_versions":null}]',
                self._running_usage(usage_tokens),
                b"" if usage_follows else b"," + self._print,
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

    def whole(self, answer: Answer) -> dict[str, Any]:
        """Return the answer of a request that does not stream."""
        choice: dict[str, Any] = {"index": 0}
        ending = {
            "logprobs": None,
            "finish_reason": answer.finish_reason,
            "stop_reason": answer.stop_reason,
            "token_ids": None,
        }
        per_prompt = {"prompt_logprobs": None, "prompt_token_ids": None}
        weights = {"routed_experts": None, "weight_versions": None}
        if self._chat:
            message = {
                "role": "assistant",
                "content": answer.full_text(),
                "refusal": None,
                "annotations": None,
                "audio": None,
                "function_call": None,
                "reasoning": None,
            }
            choice |= {"message": message} | ending | weights
            per_answer = per_prompt | {"prompt_text": None}
        else:
            choice |= {"text": answer.full_text()} | ending | per_prompt | weights
            per_answer = {}
        usage = self._usage(answer.tokens, detailed=False)
        usage |= {"prompt_tokens_details": None, "completion_tokens_details": None}
        head = {
            "id": self._id,
            "object": "chat.completion" if self._chat else "text_completion",
            "created": self._created,
            "model": self._model,
            "choices": [choice],
            "service_tier": None,
            "system_fingerprint": self._fingerprint,
            "usage": usage,
        }
        tail = {"kv_transfer_params": None, "ec_transfer_params": None, "metrics": None}
        return head | per_answer | tail
