"""Values that several kinds of file hold, with what is wrong about a value that is none."""

from __future__ import annotations

import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from faultload.spec.labels import parse as parse_selector
from faultload.spec.wording import found

_FILE_STEM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_METRIC_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_LABEL_KEY = re.compile(r"([a-z0-9][-a-z0-9.]*/)?[A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?", re.ASCII)
_UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_SYSTEM = ("kube-system", "kube-public", "kube-node-lease")


def _in_header(text: str) -> str:
    if not (text and text.isascii() and text.isprintable()) or text != text.strip():
        raise ValueError(f"expected printable ASCII on one line, found {found(text)}")
    return text


def _is_file_stem(name: str) -> str:
    if not _FILE_STEM.fullmatch(name):
        raise ValueError(f"expected letters, digits, '.', '_' and '-', found {found(name)}")
    return name


def _is_namespace(name: str) -> str:
    if not _DNS_LABEL.fullmatch(name) or name in _SYSTEM:
        raise ValueError(
            f"expected the name of a namespace that is not Kubernetes' own, found {found(name)}"
        )
    return name


def _is_label_key(name: str) -> str:
    if name and not _LABEL_KEY.fullmatch(name):
        raise ValueError(
            f"expected a label such as app or example.com/tier, found {found(name)}; leave the key"
            " out for none"
        )
    return name


def _is_metric_label(name: str) -> str:
    if not _METRIC_LABEL.fullmatch(name):
        raise ValueError(f"expected a label of Prometheus, such as namespace, found {found(name)}")
    return name


def _is_uid(uid: str) -> str:
    if not _UID.fullmatch(uid):
        raise ValueError(
            f"expected a UID, found {found(uid)}; kubectl get namespace kube-system"
            " -o jsonpath='{.metadata.uid}' says it"
        )
    return uid


def _is_selector(text: str) -> str:
    if not parse_selector(text.strip()):  # it would match every pod
        raise ValueError(f"expected a label selector such as app=vllm, found {found(text)}")
    return text


def _is_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        is_url = is_url and parts.username is None and not (parts.query or parts.fragment)
    except ValueError:
        parts, is_url = urlsplit(""), False
    if not is_url or not (text.isascii() and text.isprintable()) or " " in text:
        # What may hold a password or a key is not repeated.
        shown = "one with a user, a query or a fragment" if set(text) & set("@?#") else found(text)
        raise ValueError(f"expected http://HOST[:PORT][/PATH] or https://…, found {shown}")
    return text


def _is_named_variable(name: Any) -> str:
    # What was found is not said: it may be the key.
    if not (isinstance(name, str) and name.isascii() and name.isidentifier()):
        raise ValueError(  # pydantic's
            "expected the NAME of the environment variable that holds the API key, never the key"
            " itself"
        )
    return name


HeaderText = Annotated[str, AfterValidator(_in_header)]
"""What is sent as a header, or stands in a request."""
FileStem = Annotated[str, AfterValidator(_is_file_stem)]
"""What names files and folders."""
Namespace = Annotated[str, AfterValidator(_is_namespace)]
LabelKey = Annotated[str, AfterValidator(_is_label_key)]
ClusterUid = Annotated[str, AfterValidator(_is_uid)]
Selector = Annotated[str, AfterValidator(_is_selector)]
Url = Annotated[str, AfterValidator(_is_url)]
"""Holds no credentials."""
VariableName = Annotated[str, BeforeValidator(_is_named_variable)]
MetricLabel = Annotated[str, AfterValidator(_is_metric_label)]
LengthS = Annotated[float, Field(gt=0, le=86400)]
"""Of something that takes seconds, and never more than a day."""
Rate = Annotated[float, Field(gt=0, le=100_000)]
"""Requests a second."""
Share = Annotated[float, Field(ge=0, le=1)]
Tokens = Annotated[int, Field(ge=1, le=10_000_000)]
"""More than the longest context there is."""
