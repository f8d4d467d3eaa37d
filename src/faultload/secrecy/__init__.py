"""What nobody may read in anything that we write: secrets at all, and the rest but its owner.

In a secret's place stands `***`.
A secret is hidden for one of two reasons. Its value was registered where it was read
(`keep_secret`): then it is found whatever stands around it, also encoded. Or it stands in a form
that only credentials have: a URL with a password, an Authorization header, `PASSWORD=…`.

Rooms that read a secret register it; what writes for others to read passes through `redacted` or
`redacted_data`; a process speaks through `guarded_output` and writes within `private_files`.
"""

from __future__ import annotations

import base64
import html
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote, quote_plus, unquote, urlsplit

from faultload.secrecy.forms import FORMS as _FORMS
from faultload.secrecy.forms import MASK, MATCHER, NAME, PEM, SURE_FORMS, SURE_NAME

SHORTEST = 6
"""Characters of the shortest value that is looked for: a shorter one stands in innocent words."""

_CUT = "..."
"""What `reprlib`, and so pytest, puts in place of the middle of a long value."""
_SHORTEST_PIECE = 4
"""Characters of a secret's head or tail beside such a cut that are hidden."""

_LONGER = 12
"""The same for what is refused rather than hidden: `postgres` is a password somewhere."""

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_VARIABLE = re.compile(r"(?:TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?)$")
_VAGUE_VARIABLE = re.compile(r"(?:_|API)(?:KEY|PASS|PWD|AUTH|COOKIE)$")
_HAS_DIGIT = re.compile(rf"(?=.*[0-9]).{{{SHORTEST},}}")
_DRAWN = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z]).{12,}")
_LONG = 2000
"""Characters from which on a text is searched line by line, those with a hint only."""

_BLOCK_BYTES = 4 << 20


class _Registry:
    """Every registered value in every disguise, the longest first; replaced as a whole."""

    kept: tuple[str, ...] = ()


_REGISTRY = _Registry()


def keep_secret(value: str | None) -> None:
    """Hide this value from now on, in plain and in the usual encodings.

    None, and what is shorter than `SHORTEST`, is let be. Of a value of several lines each is
    hidden by itself, too.
    """
    new = set[str]()
    for part in {value or "", *(value or "").split("\n")}:
        bare = part.strip()
        if len(bare) >= SHORTEST and bare != MASK and bare not in _REGISTRY.kept:
            new |= set(_disguises(bare))
    if new:
        _REGISTRY.kept = tuple(sorted(new.union(_REGISTRY.kept), key=len, reverse=True))


def keep_environment(variables: Mapping[str, str] | None = None) -> None:
    """Register what environment variables hold whose names or URLs say that it is a secret.

    Numbers and names of files that exist are none; of a `…_KEY`, which may be a word to sort by,
    only what looks drawn at random.

    Args:
        variables: None: those of this process.
    """
    for name, value in (os.environ if variables is None else variables).items():
        keep_password_of(value)
        is_vague = _VAGUE_VARIABLE.search(name.upper()) and _DRAWN.fullmatch(value)
        if not (_VARIABLE.search(name.upper()) or is_vague) or value.isdecimal():
            continue
        if not _is_path(value):
            keep_secret(value)


def keep_password_of(url: str) -> None:
    """Register the password, and what a client makes of it, of a text that is a URL with one."""
    if "@" not in url or "://" not in url:
        return
    try:
        parts = urlsplit(url)
    except ValueError:
        return
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if password:
        keep_secret(password)
        keep_secret(parts.password)
        keep_secret(f"{user}:{password}")


def redacted(text: str) -> str:
    """Return a text with `***` for each secret that it holds."""
    for kept in _REGISTRY.kept:
        if kept in text:
            text = text.replace(kept, MASK)
    return _without_forms(text)


def redacted_pieces(text: str) -> str:
    """Return a text as `redacted` does, and without what a cut (`...`) left of a secret.

    For what somebody else has shortened: then there is no whole secret to be found.
    """
    pieces = redacted(text).split(_CUT)
    for kept in _REGISTRY.kept:
        for i in range(len(pieces) - 1):
            if size := _overlap(pieces[i], kept):
                pieces[i] = pieces[i][:-size] + MASK
            if size := _overlap(kept, pieces[i + 1]):
                pieces[i + 1] = MASK + pieces[i + 1][size:]
    return _CUT.join(pieces)


def _overlap(first: str, second: str) -> int:
    """Return how much of one text's end is the other's beginning, if that is enough to tell."""
    at = max(0, len(first) - len(second))
    while (at := first.find(second[:_SHORTEST_PIECE], at)) >= 0:
        if len(first) - at >= _SHORTEST_PIECE and second.startswith(first[at:]):
            return len(first) - at
        at += 1
    return 0


def _without_forms(text: str) -> str:
    for form, mark, hints in _FORMS:
        lowered = text.lower()
        if not any(hint in lowered for hint in hints):
            continue
        if len(text) < _LONG or form is PEM:
            text = form.sub(mark, text)
            continue
        text = "".join(
            form.sub(mark, line) if any(hint in line.lower() for hint in hints) else line
            for line in text.splitlines(keepends=True)
        )
    return text


def redacted_bytes(data: bytes) -> bytes:
    """Return the same of bytes; those that are no text stay what they are."""
    return redacted(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


def redacted_data(data: Any) -> Any:
    """Return JSON-like data with `***` for its secrets: in texts, and under keys that name one.

    Keys stay. What is no plain data becomes its text, as `json` is usually told to make it.
    """
    if isinstance(data, Mapping):
        return {
            key: MASK if names_secret(str(key)) and _is_literal(value) else redacted_data(value)
            for key, value in data.items()
        }
    if isinstance(data, list | tuple):
        return [redacted_data(item) for item in data]
    if data is None or isinstance(data, bool | int | float):
        return data
    return redacted(str(data))


def names_secret(key: str) -> bool:
    """Tell whether what has this name is a secret: `password`, `apiKey`, `clientSecret` and so on.

    `token` alone is not enough: a language model has too many of them.
    """
    return NAME.search(_HUMP.sub("_", key).replace("-", "_")) is not None


def in_clear_text(data: Any, at: str = "") -> Iterator[tuple[str, str]]:
    """Yield where, in a file that people write, a secret stands written out, and in what form.

    The first is a dotted key, the second says of what the value was taken for and never the value.
    What is taken from elsewhere (`${name}`) is none; `at` is where `data` is in the file.
    """
    if isinstance(data, Mapping):
        for key, value in data.items():
            here = f"{at}.{key}" if at else str(key)
            if _is_credential(str(key), value):
                yield here, f"a key named {key}"
            else:
                yield from in_clear_text(value, here)
    elif isinstance(data, list | tuple):
        found = [one for i, value in enumerate(data) for one in in_clear_text(value, f"{at}[{i}]")]
        yield from found
        # A command: its flags and what they get are neighbours.
        words = " ".join(str(one) for one in data if isinstance(one, str | int | float))
        if not found and (form := _form_of(words)):
            yield at, form
    elif isinstance(data, str) and (form := _form_of(data)):
        yield at, form


def _is_credential(key: str, value: Any) -> bool:
    """Tell whether a key's value is one; `secret` and `cookie` name where one lies, too."""
    texts = [one for one in (value if isinstance(value, list) else [value]) if _is_literal(one)]
    if SURE_NAME.search(_HUMP.sub("_", key).replace("-", "_")):
        return bool(texts)
    return names_secret(key) and any(_HAS_DIGIT.fullmatch(one) for one in texts)


def _form_of(text: str) -> str | None:
    """Return the form in which a text holds a credential; None: it holds none."""
    if any(kept in text for kept in _REGISTRY.kept if len(kept) >= _LONGER):
        return "the value of a secret that is in use"
    bare = MATCHER.sub("", text)
    for about, form in SURE_FORMS.items():
        if match := re.search(form, bare if "{name}" in about else text):
            return about.format(**match.groupdict())
    return None


@contextmanager
def private_files() -> Iterator[None]:
    """Have what is made in a block, by children too, be readable by its owner only.

    Whatever the umask is, which is the whole process's.
    """
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def copy_redacted(source: Path, to: Path) -> None:
    """Copy a file, or all files of a folder, redacted; folders are made."""
    for path in sorted(source.rglob("*")) if source.is_dir() else [source]:
        if path.is_file():
            place = to / path.relative_to(source) if source.is_dir() else to
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write_redacted(path, place)


def redact_files(folder: Path) -> None:
    """Redact the files of a folder that nobody writes to any more."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            partial = path.with_name(path.name + ".partial")
            if _write_redacted(path, partial):
                partial.replace(path)
            else:
                partial.unlink()


@contextmanager
def guarded_output() -> Iterator[None]:
    """Redact all that this process says through `sys.stdout` and `sys.stderr` in a block."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = guarded(before[0]), guarded(before[1])
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def guard_process() -> None:
    """Have this process, which is ours alone, say no secret from now on."""
    keep_environment()
    sys.stdout, sys.stderr = guarded(sys.stdout), guarded(sys.stderr)


def guarded(stream: TextIO) -> TextIO:
    """Return a stream that passes what is written on, redacted."""
    return stream if isinstance(stream, _Guarded) else _Guarded(stream)  # type: ignore[return-value]


class _Guarded:
    """A text stream as its users see it; whatever is no writing is the stream's own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(redacted(text))
        return len(text)

    def writelines(self, lines: Iterator[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _write_redacted(source: Path, to: Path) -> bool:
    """Write a redacted copy, some lines at a time; return whether it differs."""
    differs = False
    with source.open("rb") as file, to.open("wb") as out:
        while block := b"".join(file.readlines(_BLOCK_BYTES)):
            if b"PRIVATE KEY-----" in block:  # it must not be cut in two
                block += file.read()
            shown = redacted_bytes(block)
            differs = differs or shown != block
            out.write(shown)
    return differs


def _is_path(value: str) -> bool:
    try:
        return Path(value).expanduser().exists()
    except (OSError, ValueError, RuntimeError):
        return False


def _is_literal(value: Any) -> bool:
    return isinstance(value, str) and bool(value) and value != MASK and "${" not in value


def _disguises(value: str) -> Iterator[str]:
    """Yield a value as clients, servers and writers of files put it down."""
    raw = value.encode("utf-8", "surrogateescape")
    found = [value, quote(value), quote(value, safe=""), quote_plus(value), repr(value)[1:-1]]
    found += [json.dumps(value, ensure_ascii=known)[1:-1] for known in (True, False)]
    found += [html.escape(value)]
    found += [html.escape(value).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")]
    found += [text for encoded in _base64_of(raw) for text in (encoded, encoded.rstrip("="))]
    for text in found:
        if len(text) >= SHORTEST:
            yield text


def _base64_of(raw: bytes) -> Iterator[str]:
    """Yield the encoded value, and the part of it that stays whatever is encoded around it."""
    for before in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            encoded = encode(b"\0" * before + raw).decode("ascii")
            if not before:
                yield encoded
            first, last = (0, 2, 3)[before], (before + len(raw)) * 8 // 6
            yield encoded[first:last]
