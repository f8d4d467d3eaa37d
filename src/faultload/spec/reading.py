"""YAML files into frozen models, with errors that say where and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from faultload.errors import SpecError, nearest
from faultload.spec.clear_text import refuse_clear_text

ModelT = TypeVar("ModelT", bound=BaseModel)


class Spec(BaseModel):
    """Base of every file model: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class _UniqueKeyLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice: YAML would silently keep the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is given twice", key_node.start_mark
                )
            if isinstance(key, str):
                seen.add(key)
        return super().construct_mapping(node, deep=deep)


def read_documents(path: Path) -> list[dict[str, Any]]:
    """Return every YAML document of a file; each must be a mapping.

    Raises:
        SpecError: the file is missing, unreadable, not YAML, empty, or holds something else, or
            a credential.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = nearest(path.name, (p.name for p in path.parent.glob("*.y*ml")))
        raise SpecError(path, "", f"no such file{near}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(path, "", f"cannot be read: {error}") from None
    try:
        documents = [d for d in yaml.load_all(text, Loader=_UniqueKeyLoader) if d is not None]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        if "alias" in problem:  # it may be a password that begins with a star
            problem = "found an undefined alias; quote a text that begins with *"
        raise SpecError(path, where, f"not valid YAML: {problem}") from None
    except RecursionError:
        raise SpecError(path, "", "not valid YAML: nested too deeply") from None
    if not documents:
        raise SpecError(path, "", "expected a YAML mapping, found an empty file")
    for document in documents:
        if not isinstance(document, dict):
            found = type(document).__name__
            raise SpecError(path, "", f"expected a YAML mapping, found a {found}")
        refuse_clear_text(path, document)
    return documents


def read_document(path: Path) -> dict[str, Any]:
    """Return the only YAML document of a file.

    Raises:
        SpecError: as `read_documents`, or there are several documents.
    """
    documents = read_documents(path)
    if len(documents) != 1:
        raise SpecError(path, "", f"expected one YAML document, found {len(documents)}")
    return documents[0]


def parse(model: type[ModelT], data: Any, file: Path, key: str = "") -> ModelT:
    """Return `data` as a `model`.

    Args:
        model: the model to build.
        data: what YAML gave.
        file: named in the error.
        key: dotted path of `data` inside the file, "" for its root.

    Raises:
        SpecError: the first thing wrong, and how many more there are.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        # A misspelt key is missing under its right name, too: its own error says more.
        first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
        path = ".".join(str(part) for part in first["loc"])
        at = f"{key}.{path}" if key and path else key or path
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise SpecError(file, at, _explain(model, first) + more) from None


def _explain(model: type[BaseModel], error: Any) -> str:
    if error["type"] == "extra_forbidden":
        name = str(error["loc"][-1])
        known = _known_keys(model, error["loc"][:-1])
        return f"unknown key {name!r}{nearest(name, known)} (known: {', '.join(sorted(known))})"
    if error["type"] == "missing":
        return "this key is required and missing"
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "value_error":
        return message
    return f"{message}, found {error['input']!r}"


def _known_keys(model: type[BaseModel], loc: tuple[int | str, ...]) -> set[str]:
    """Follow a validation error's path through nested models to the keys allowed there."""
    current: list[type[BaseModel]] = [model]
    for part in loc:
        following: list[type[BaseModel]] = []
        for candidate in current:
            field = next(
                (f for n, f in candidate.model_fields.items() if part in (n, f.alias)), None
            )
            if field is not None:
                following += _models_in(field.annotation)
            elif isinstance(part, int) or not following:
                following.append(candidate)  # a list index or a union tag stays where it is
        current = following or current
    return {f.alias or n for m in current for n, f in m.model_fields.items()}


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for arg in get_args(annotation) for model in _models_in(arg)]
