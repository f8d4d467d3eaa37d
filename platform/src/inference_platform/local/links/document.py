"""What links.json says: which links there are, and what is wrong with each."""

from __future__ import annotations

import json
import math
import socket
from dataclasses import MISSING, dataclass, fields
from typing import Any

Address = tuple[str, int]


class DocumentError(ValueError):
    """A document that cannot be used; the text is one line: where, expected, found.

    Attributes:
        version: the document's, None if it has none.
    """

    version: int | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """One link and its conditions; the defaults are a link that nobody disturbs.

    Attributes:
        name: unlike any other link's.
        listen: where callers connect to, on loopback.
        to: where the callee listens, on loopback.
        latency_s: added each way.
        jitter_s: most that the latency of a chunk differs from `latency_s`, either way.
        bandwidth_bytes_per_s: each way, of all connections together; None: as fast as it goes.
        reset_ratio: share of connections that are reset, 0-1.
        partitioned: nothing passes.
    """

    name: str
    listen: Address
    to: Address
    latency_s: float = 0.0
    jitter_s: float = 0.0
    bandwidth_bytes_per_s: float | None = None
    reset_ratio: float = 0.0
    partitioned: bool = False


_KEYS = {field.name: field.default for field in fields(Link)}
_REQUIRED = [name for name, default in _KEYS.items() if default is MISSING]


def parse(text: str | bytes) -> tuple[int, list[Link]]:
    """Return version and links.

    Raises:
        DocumentError: with the first thing that is wrong.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise DocumentError(f"expected JSON, found none: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("links"), list):
        raise DocumentError('expected {"version": ..., "links": [...]}')
    version = document.get("version")
    if not isinstance(version, int) or isinstance(version, bool):
        raise DocumentError(f"version: expected a whole number, found {version!r}")
    try:
        return version, _links(document["links"])
    except DocumentError as error:
        error.version = version
        raise


def _links(rows: list[Any]) -> list[Link]:
    links = [_link(row, f"links[{i}]") for i, row in enumerate(rows)]
    for key in ("name", "listen"):
        values = [getattr(link, key) for link in links]
        if twice := [value for value in values if values.count(value) > 1]:
            raise DocumentError(f"links: expected a {key} of its own for each, found {twice[0]!r}")
    return links


def _link(row: Any, where: str) -> Link:
    if not isinstance(row, dict):
        raise DocumentError(f"{where}: expected an object, found {row!r}")
    if unknown := sorted(row.keys() - _KEYS.keys()):
        raise DocumentError(f"{where}.{unknown[0]}: no such key; known: {', '.join(_KEYS)}")
    if missing := [key for key in _REQUIRED if key not in row]:
        raise DocumentError(f"{where}.{missing[0]}: expected a value, found none")
    values = {key: _value(key, value, f"{where}.{key}") for key, value in row.items()}
    return Link(**values)


def _value(key: str, value: Any, where: str) -> Any:
    """Return a value as `Link` has it."""
    if key in {"listen", "to"}:
        return _loopback(value, where)
    if key == "name":
        good, expected = isinstance(value, str) and value != "", "a name"
    elif key == "partitioned":
        good, expected = isinstance(value, bool), "true or false"
    elif key == "bandwidth_bytes_per_s":
        good, expected = value is None or (_is_number(value) and value > 0), "null or more than 0"
    elif key == "reset_ratio":
        good, expected = _is_number(value) and 0 <= value <= 1, "a number from 0 to 1"
    else:
        good, expected = _is_number(value) and value >= 0, "seconds, 0 or more"
    if not good:
        raise DocumentError(f"{where}: expected {expected}, found {value!r}")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _loopback(value: Any, where: str) -> Address:
    match value:
        case [str(host), int(port)] if host.startswith("127.") and 0 < port < 65536:
            try:
                socket.inet_pton(socket.AF_INET, host)
            except OSError:
                pass
            else:
                return host, port
    raise DocumentError(f'{where}: expected ["127.x.y.z", port], found {value!r}')
