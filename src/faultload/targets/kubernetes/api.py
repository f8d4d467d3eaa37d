"""Calls of a cluster's API: bounded, repeated where that may help, with errors a person can use.

Objects are the API's own JSON. Nothing is watched: whoever waits asks again, so that no watch can
expire.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

import urllib3
from kubernetes import client

from faultload.errors import FaultError, MissingError, RefusedError
from faultload.secrecy import keep_secret, redacted
from faultload.targets.kubernetes.resources import Ref, Resource

Object = dict[str, Any]

_MERGE = "application/merge-patch+json"
_PAGE_SIZES = (500, 500, 0)  # the last is everything at once, which cannot expire half-way
_CONFLICTS_MAX = 8
_WORTH_REPEATING = {500, 502, 503, 504}
_TEXT_MAX = 300


@dataclass(frozen=True)
class Patience:
    """How long a call may take.

    Attributes:
        connect_s, read_s: of one attempt; `read_s` bounds each silence.
        attempts: at most.
        total_s: no attempt begins later.
        pause_s: before the second attempt; doubles from then on.
        pause_s_max: longest pause, also where the API asks for a longer one.
    """

    connect_s: float = 5.0
    read_s: float = 15.0
    attempts: int = 5
    total_s: float = 30.0
    pause_s: float = 0.2
    pause_s_max: float = 5.0


@dataclass(frozen=True)
class Call:
    """One call.

    Every call may be repeated: those that change something name the uid or the version of what they
    change, or create under a fixed name.

    Attributes:
        method, path: of HTTP.
        what: the verb, the resource and the namespace, for errors.
        query: of the URL.
        body: JSON; None: none.
    """

    method: str
    path: str
    what: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Object | None = None

    @property
    def url(self) -> str:
        """Path and query."""
        return f"{self.path}?{urlencode(self.query)}" if self.query else self.path


class ApiError(MissingError):
    """The API did not do what it was asked.

    Attributes:
        status: HTTP's; 0: there was no answer.
        document: the API's `Status`, {} where it gave none.
        repeated: an earlier attempt went unanswered, and may have been carried out.
    """

    def __init__(
        self, text: str, status: int, document: Mapping[str, Any], *, repeated: bool = False
    ) -> None:
        """Say `text`, in one line."""
        super().__init__(text)
        self.status, self.document, self.repeated = status, document, repeated

    @property
    def message(self) -> str:
        """What the API said, with its causes; "" for nothing."""
        details = self.document.get("details") or {}
        causes = [str(cause.get("message", "")) for cause in details.get("causes") or []]
        return " ".join(filter(None, [str(self.document.get("message", "")), *causes]))

    @property
    def retry_after_s(self) -> float | None:
        """When the API wants to be asked again; None: it does not say."""
        seconds = (self.document.get("details") or {}).get("retryAfterSeconds")
        return float(seconds) if seconds else None


class GoneError(FaultError):
    """An object is not there, or another has taken its name."""

    def __init__(self, what: str) -> None:
        """Name it."""
        super().__init__(f"{what} is gone, or is another by now")


class Api:
    """One cluster's API, for one user. May be used by several threads."""

    def __init__(
        self,
        sign_in: Callable[[], client.ApiClient],
        context: str,
        patience: Patience = Patience(),
    ) -> None:
        """Sign in.

        Args:
            sign_in: called again when the API takes the credentials no more: files and plugins
                may have new ones.
            context: of the kubeconfig, for errors.
            patience: with every call that brings none of its own.
        """
        self._sign_in, self._client = sign_in, sign_in()
        self._context, self._patience = context, patience
        self._ahead_s = 0.0

    def close(self) -> None:
        """Close the connections. Idempotent."""
        self._client.rest_client.pool_manager.clear()
        self._client.close()

    def new_client(self) -> client.ApiClient:
        """Return another client, signed in in the same way; raises what `ask` raises."""
        return self._again()

    def _again(self) -> client.ApiClient:
        """Sign in anew, to the same place: which cluster it is was checked there, and only there.

        Raises:
            RefusedError: the context leads elsewhere by now.
        """
        again, host = self._sign_in(), self._client.configuration.host
        if again.configuration.host != host:
            elsewhere = again.configuration.host
            again.close()
            raise RefusedError(
                f"context {self._context!r} led to {host} and leads to {elsewhere} by now, which"
                " nobody has checked: nothing is asked there"
            )
        return again

    def now_unix_s(self) -> float:
        """Return the API server's time: one clock for all who call it, as of the last answer."""
        return time.time() + self._ahead_s

    def get(self, ref: Ref, patience: Patience | None = None) -> Object:
        """Return one object, whatever its uid.

        Raises:
            ApiError: there is none (404), or it cannot be read.
        """
        return self.call(Call("GET", ref.path(), f"get {ref.words()}"), patience)

    def find(self, ref: Ref) -> Object | None:
        """Return one object, whatever its uid; None: there is none."""
        try:
            return self.get(ref)
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    def list_all(
        self, kind: Resource, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> list[Object]:
        """Return all objects of a kind, page by page, from the start again when a page expired.

        Args:
            kind: what.
            namespace: "": of all, or the kind has none.
            labels: a selector, as kubectl takes it.
            fields: the same for fields.
        """
        chosen = {"labelSelector": labels, "fieldSelector": fields}
        for size in _PAGE_SIZES:
            with contextlib.suppress(_PageExpiredError):
                return self._pages(kind, namespace, chosen, size)
        raise MissingError(f"{kind.words(namespace)}: every list expired before its end")

    def _pages(
        self, kind: Resource, namespace: str, chosen: Mapping[str, str], size: int
    ) -> list[Object]:
        items: list[Object] = []
        query = {key: value for key, value in chosen.items() if value} | {"limit": str(size)}
        what = f"list {kind.words(namespace)}"
        while True:
            try:
                page = self.call(Call("GET", kind.path(namespace), what, query))
            except ApiError as error:
                if error.status == HTTPStatus.GONE and "continue" in query:
                    raise _PageExpiredError from None
                raise
            items += page.get("items") or []
            following = page["metadata"].get("continue")
            if not following:
                return items
            query["continue"] = following

    def create(self, kind: Resource, namespace: str, body: Object) -> Object:
        """Create an object; the body's kind is filled in.

        Raises:
            ApiError: 409: there is one of that name, perhaps from an attempt of ours.
        """
        body = {"apiVersion": kind.api_version, "kind": kind.kind} | body
        what = f"create {kind.words(namespace)}"
        return self.call(Call("POST", kind.path(namespace), what, body=body))

    def delete(self, ref: Ref, grace_s: int | None = None) -> None:
        """Delete the object of this uid; grace_s None: its own last seconds.

        Raises:
            GoneError: there is no such object.
        """
        body: Object = {"preconditions": {"uid": ref.uid}}
        if grace_s is not None:
            body["gracePeriodSeconds"] = grace_s
        try:
            self.call(Call("DELETE", ref.path(), f"delete {ref.words()}", body=body))
        except ApiError as error:
            if error.status not in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
                raise
            if not error.repeated:
                raise GoneError(ref.words()) from None

    def amend(
        self, ref: Ref, change: Callable[[Object], Object | None], patience: Patience | None = None
    ) -> Object:
        """Change the object of this uid, exactly as it was when it was looked at.

        Args:
            ref: which.
            change: object → merge patch, None: it is as it should be. Called again when somebody
                else changed the object in between, or when a patch went unanswered.
            patience: with each call.

        Returns:
            The object afterwards.

        Raises:
            GoneError: there is no such object.
            FaultError: it never stood still, or cannot be changed so.
        """
        for _ in range(_CONFLICTS_MAX):
            try:
                seen = self.get(ref, patience)
                if seen["metadata"]["uid"] != ref.uid:
                    raise GoneError(ref.words())
                patch = change(seen)
                if patch is None:
                    return seen
                # Should either be another by now, the API refuses the patch.
                exactly = {key: seen["metadata"][key] for key in ("uid", "resourceVersion")}
                patch = patch | {"metadata": patch.get("metadata", {}) | exactly}
                return self.call(
                    Call("PATCH", ref.path(), f"patch {ref.words()}", body=patch), patience
                )
            except ApiError as error:
                if error.status == HTTPStatus.NOT_FOUND:
                    raise GoneError(ref.words()) from None
                if error.status == HTTPStatus.UNPROCESSABLE_ENTITY:
                    problem = f"{ref.words()} cannot be changed so: {error.message}"
                    raise FaultError(problem) from None
                if error.status != HTTPStatus.CONFLICT:
                    raise
        raise FaultError(f"{ref.words()}: others changed it {_CONFLICTS_MAX} times meanwhile")

    def call(self, call: Call, patience: Patience | None = None) -> Object:
        """Return what the API answers to a call, as JSON.

        Raises:
            ApiError: it was refused, or not answered in time.
        """
        try:
            document: Object = json.loads(self.ask(call, patience))
        except ValueError:
            raise ApiError(f"{call.what}: the API did not answer in JSON", 0, {}) from None
        return document

    def ask(self, call: Call, patience: Patience | None = None) -> bytes:
        """Return what the API answers to a call, as it is; `patience` None: the usual.

        Raises:
            ApiError: it was refused, or not answered in time.
            RefusedError: the credentials were renewed, and lead to another place.
        """
        bounds = patience or self._patience
        begin, pause_s, attempts, signed_again, unsure = time.monotonic(), 0.0, 0, False, False
        while True:
            time.sleep(pause_s)
            attempts += 1
            answer, problem = self._send(call, bounds)
            if answer is not None and answer.status < HTTPStatus.MULTIPLE_CHOICES:
                return bytes(answer.data)
            if answer is not None and answer.status == HTTPStatus.UNAUTHORIZED and not signed_again:
                self._client, signed_again, pause_s = self._again(), True, 0.0
                continue
            wish_s = _wish_s(answer)
            pause_s = bounds.pause_s * 2 ** (attempts - 1) if wish_s is None else wish_s
            pause_s = min(pause_s, bounds.pause_s_max)
            waited_s = time.monotonic() - begin
            is_late = attempts >= bounds.attempts or waited_s + pause_s > bounds.total_s
            if is_late or not _is_worth_repeating(answer):
                tries = f" ({attempts} attempts in {waited_s:.1f} s)" if attempts > 1 else ""
                text, document = self._problem(call.what, answer, problem, tries)
                status = 0 if answer is None else answer.status
                raise ApiError(text, status, document, repeated=unsure)
            unsure = unsure or answer is None or answer.status != HTTPStatus.TOO_MANY_REQUESTS

    def _send(self, call: Call, bounds: Patience) -> tuple[urllib3.BaseHTTPResponse | None, str]:
        """Return the answer of one attempt, or None and why there was none."""
        signed_in = self._client
        headers = {"Accept": "application/json, */*", "User-Agent": signed_in.user_agent}
        if call.body is not None:
            headers["Content-Type"] = _MERGE if call.method == "PATCH" else "application/json"
        signed_in.update_params_for_auth(headers, [], ["BearerToken"])
        # A token from a file may end its line, and a header must not.
        headers = {key: value.strip() for key, value in headers.items()}
        keep_secret(headers.get("authorization", "").partition(" ")[2])
        try:
            answer: urllib3.BaseHTTPResponse = signed_in.rest_client.pool_manager.request(
                call.method,
                signed_in.configuration.host + call.url,
                body=None if call.body is None else json.dumps(call.body),
                headers=headers,
                timeout=urllib3.Timeout(connect=bounds.connect_s, read=bounds.read_s),
                retries=False,
                redirect=False,
            )
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            return None, f"{type(error).__name__}: {error}"
        with contextlib.suppress(KeyError, ValueError):
            self._ahead_s = parsedate_to_datetime(answer.headers["Date"]).timestamp() - time.time()
        return answer, ""

    def _problem(
        self, what: str, answer: urllib3.BaseHTTPResponse | None, problem: str, tries: str
    ) -> tuple[str, Mapping[str, Any]]:
        """Return what an error says, and the API's own document, {} for none."""
        host = self._client.configuration.host
        if answer is None:
            return f"{host} does not answer: {what}: {self._redacted(problem)}{tries}", {}
        status, document = answer.status, _document(answer)
        said = str(document.get("message") or answer.data.decode(errors="replace"))
        said = self._redacted(said) or "nothing said"
        if status == HTTPStatus.UNAUTHORIZED:
            text = f"credentials of context {self._context!r} were not accepted (expired?)"
            return f"{text} by {host}: {what}", document
        if status == HTTPStatus.FORBIDDEN:
            return f"context {self._context!r} may not {what}: {said}", document
        return f"{host} refused: {what}: {status}: {said}{tries}", document

    def _redacted(self, text: str) -> str:
        """Return a line that holds no credential, whoever may have echoed it."""
        return " ".join(redacted(text).split())[:_TEXT_MAX]


class _PageExpiredError(Exception):
    """A list's next page can no longer be had."""


def _document(answer: urllib3.BaseHTTPResponse) -> Mapping[str, Any]:
    with contextlib.suppress(ValueError):
        document = json.loads(answer.data)
        if isinstance(document, dict) and document.get("kind") == "Status":
            return document
    return {}


def _is_worth_repeating(answer: urllib3.BaseHTTPResponse | None) -> bool:
    if answer is None or answer.status in _WORTH_REPEATING:
        return True
    if answer.status != HTTPStatus.TOO_MANY_REQUESTS:
        return False
    # With causes it is a disruption budget's answer, and no plea for fewer calls.
    return not (_document(answer).get("details") or {}).get("causes")


def _wish_s(answer: urllib3.BaseHTTPResponse | None) -> float | None:
    """Return when the API wants to be asked again; None: it does not say."""
    if answer is None:
        return None
    with contextlib.suppress(KeyError, ValueError):
        return max(float(answer.headers["Retry-After"]), 0.0)
    return None
