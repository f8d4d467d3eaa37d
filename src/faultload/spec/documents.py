"""YAML text into plain data: strict about what YAML lets pass, and bounded in time and memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

import yaml
from yaml.constructor import ConstructorError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from faultload.errors import SpecError, nearest

_BYTES_MAX = 256 * 1024
"""Sixty times the longest file there is; a second or two of reading."""
_NODES_MAX = 20_000
"""Values, with every alias written out: what a few lines of anchors can multiply."""
_DEPTH_MAX = 40
"""Mappings and lists inside each other; nothing that we read needs ten."""

_STRANGE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
"""What YAML can escape and no file, header or terminal should get: controls, half surrogates."""
_ODD = frozenset(f"tag:yaml.org,2002:{name}" for name in "binary omap pairs set".split())
_MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses what it would let pass, and never fails with another error."""

    def construct_object(self, node: Node, deep: bool = False) -> Any:  # noqa: FBT001, FBT002
        try:
            return super().construct_object(node, deep)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            tag = node.tag.rpartition(":")[2]
            _refuse(node, f"{str(node.value)[:40]!r} cannot be read as {tag}")

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == _MERGE:
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                _refuse(key_node, f"key {key!r} is given twice")
            if isinstance(key, str):
                seen.add(key)
        return super().construct_mapping(node, deep=deep)


def is_there(path: Path) -> bool:
    """Tell whether a path leads somewhere; one that is too long, or a loop, does not."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def read_text(path: Path) -> str:
    """Return the text of a file that is to be YAML.

    Raises:
        SpecError: it is missing, no file, unreadable, not UTF-8 or too long.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe or a device might never end
            found = "a folder" if path.is_dir() else "something else"
            raise SpecError(path, "", f"cannot be read: expected a file, found {found}")
        size = path.stat().st_size
        if size > _BYTES_MAX:
            problem = f"expected at most {_BYTES_MAX} bytes, found {size}; is it the right file?"
            raise SpecError(path, "", problem)
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        near = nearest(path.name, (p.name for p in path.parent.glob("*.y*ml")))
        raise SpecError(path, "", f"no such file{near or '; check the path'}") from None
    except UnicodeDecodeError as error:
        problem = f"cannot be read: expected UTF-8 text, found other bytes at byte {error.start}"
        raise SpecError(path, "", problem) from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        why = getattr(error, "strerror", None) or error
        problem = f"cannot be read: {why}; expected a file that we may read"
        raise SpecError(path, "", problem) from None


def read_yaml(path: Path, text: str) -> list[Any]:
    """Return every document of a YAML text that is not empty.

    Args:
        path: named in the error.
        text: what is in the file.

    Raises:
        SpecError: it is not YAML, or more than anybody would write.
    """
    try:
        return deepcopy(_read(text))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        if "undefined alias" in problem:  # it may be a password that begins with a star
            problem = "found an undefined alias; quote a text that begins with *"
        raise SpecError(path, where, f"not valid YAML: {problem}") from None
    except RecursionError:
        raise SpecError(path, "", "not valid YAML: nested too deeply") from None


@lru_cache(maxsize=128)  # a series of experiments reads the same SLOs, scenarios and target again
def _read(text: str) -> list[Any]:
    return [document for document in _documents(text) if document is not None]


def _documents(text: str) -> Iterator[Any]:
    loader = _Loader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            if node is not None:
                _measure(node, {}, [])
                yield loader.construct_document(node)
    finally:
        loader.dispose()


def _measure(node: Node, known: dict[int, int], above: list[Node]) -> int:
    """Return how many nodes there are, with every alias written out.

    Args:
        node: where to begin.
        known: id of a node → its number; filled.
        above: the nodes that it is in.
    """
    if id(node) in known:
        return known[id(node)]
    if node in above:
        _refuse(node, "an anchor contains itself; write out what is meant")
    if len(above) > _DEPTH_MAX:
        _refuse(node, f"expected at most {_DEPTH_MAX} levels of nesting, found more")
    if node.tag in _ODD:
        _refuse(node, f"expected plain values, found a {node.tag.rpartition(':')[2]}")
    if isinstance(node, ScalarNode) and (strange := _STRANGE.search(node.value)):
        _refuse(node, f"expected printable text, found the character {strange[0]!r}")
    inside: list[Node] = []
    if isinstance(node, SequenceNode):
        inside = node.value
    elif isinstance(node, MappingNode):
        inside = [one for pair in node.value for one in pair]
    above.append(node)
    count = 1 + sum(_measure(one, known, above) for one in inside)
    above.pop()
    if count > _NODES_MAX:
        _refuse(node, f"expected at most {_NODES_MAX} values, found more, with anchors written out")
    known[id(node)] = count
    return count


def _refuse(node: Node, problem: str) -> NoReturn:
    raise ConstructorError(None, None, problem, node.start_mark)
