"""What records and stores keep as JSON: strict, and what is wrong with a file is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from faultload.errors import SpecError

T = TypeVar("T")


class Stored(BaseModel):
    """Frozen, without keys that nobody knows or numbers that JSON does not have."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def parsed(parse: Callable[[bytes], T], data: bytes, where: Path | str) -> T:
    """Return what a file holds.

    Args:
        parse: of pydantic: `model_validate_json`, or an adapter's `validate_json`.
        data: of the file.
        where: it is, for the error.

    Raises:
        SpecError: the first thing that is wrong in it.
    """
    try:
        return parse(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise SpecError(where, ".".join(map(str, first["loc"])), str(first["msg"])) from None
