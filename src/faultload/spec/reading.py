"""YAML files into frozen models, with errors that say where and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from faultload.errors import SpecError
from faultload.spec.clear_text import refuse_clear_text
from faultload.spec.documents import read_text, read_yaml
from faultload.spec.wording import explain, is_unknown_key, key_of, kind_of

ModelT = TypeVar("ModelT", bound=BaseModel)


class Spec(BaseModel):
    """Base of every file model: frozen, unknown keys are errors, and no type is guessed.

    `"8"` is not 8, yes is not 1, and no number is infinite.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, strict=True, allow_inf_nan=False
    )


def read_documents(path: Path) -> list[dict[str, Any]]:
    """Return every YAML document of a file; each must be a mapping.

    Raises:
        SpecError: the file is missing, unreadable, not YAML, empty, or holds something else, or
            a credential.
    """
    documents = read_yaml(path, read_text(path))
    if not documents:
        raise SpecError(path, "", "expected a YAML mapping, found an empty file")
    for document in documents:
        if not isinstance(document, dict):
            raise SpecError(path, "", f"expected a YAML mapping, found {kind_of(document)}")
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
        first = next((e for e in errors if is_unknown_key(dict(e))), errors[0])
        at = join(key, key_of(dict(first), data))
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        known = _known_keys(model, first["loc"][:-1])
        raise SpecError(file, at, explain(dict(first), known) + more) from None


def join(key: str, path: str) -> str:
    """Return the path of what is at `path` of what is at `key`; "" is the whole."""
    return f"{key}.{path}" if key and path and path[0] != "[" else f"{key}{path}"


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
