"""What a node costs an hour: dated data with its source. A missing price is missing, never 0."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Literal

from pydantic import Field

from faultload.errors import SpecError, UsageError, nearest
from faultload.spec.reading import Spec, parse, read_document, read_documents

_SHIPPED = Path(__file__).with_name("prices_data")
_HOME = "us-east-1"
_ZONE = re.compile(r"([a-z]{2}(?:-[a-z]+)+-\d+)[a-z]")

CapacityType = Literal["on-demand", "spot"]


class InstancePrice(Spec):
    """One instance type."""

    instance_type: str
    gpu: str = ""
    gpus: int | None = Field(default=None, ge=1)
    """None: not said; whoever needs it looks at the node."""
    gpu_memory_gib: int | None = Field(default=None, gt=0)
    """Of each GPU."""
    usd_per_hour: float = Field(gt=0)


class Prices(Spec):
    """A price list: one region, one way to pay, one date, one source."""

    region: str
    as_of: date
    """Prices later than this are not known here."""
    source: str
    url: str = ""
    """Where the source can be read; "": it cannot."""
    capacity_type: CapacityType = "on-demand"
    typical: bool = False
    """A value to plan with, such as the median over zones; what was paid may differ."""
    instances: list[InstancePrice] = Field(min_length=1)

    def of(self, instance_type: str) -> InstancePrice:
        """Return one price.

        Raises:
            UsageError: the list has none for this type.
        """
        for price in self.instances:
            if price.instance_type == instance_type:
                return price
        near = nearest(instance_type, (price.instance_type for price in self.instances))
        raise UsageError(f"no price for {instance_type!r} in {self.region}{near}")


@dataclass(frozen=True)
class Quote:
    """One price with where it comes from.

    Attributes:
        instance_type, region, capacity_type: of what.
        usd_per_hour: the price.
        as_of: when it held.
        source: who said so.
        typical: as `Prices.typical`.
    """

    instance_type: str
    region: str
    capacity_type: str
    usd_per_hour: float
    as_of: str
    source: str
    typical: bool


@dataclass(frozen=True)
class PriceBook:
    """Every price list there is.

    Attributes:
        lists: newest first.
    """

    lists: tuple[Prices, ...]

    def find(self, instance_type: str, region: str, capacity_type: str) -> Quote | None:
        """Return the newest price of a type in a region; None: there is none."""
        for one in self.lists:
            if (one.region, one.capacity_type) == (region, capacity_type):
                for row in one.instances:
                    if row.instance_type == instance_type:
                        usd, when = row.usd_per_hour, one.as_of.isoformat()
                        kind = (instance_type, region, capacity_type)
                        return Quote(*kind, usd, when, one.source, one.typical)
        return None

    def gpus(self, instance_type: str) -> int | None:
        """Return how many GPUs a type has; None: no list says."""
        rows = (row for one in self.lists for row in one.instances)
        found = (row.gpus for row in rows if row.instance_type == instance_type and row.gpus)
        return next(found, None)

    def plain(self) -> list[dict[str, object]]:
        """Return the lists as plain data, one document each; dates stay dates."""
        return [one.model_dump(exclude_defaults=True) for one in self.lists]


def prices_beside(target: Path) -> Path:
    """Return the folder of a project's own price lists: `prices/` beside `targets/`."""
    return target.parent.parent / "prices"


def region_of(zone: str) -> str:
    """Return the region of an AWS availability zone; "" for a zone that is named otherwise."""
    found = _ZONE.fullmatch(zone)
    return found[1] if found else ""


def load_prices(path: Path | None = None) -> Prices:
    """Read a price list; None: the one for us-east-1, on demand, that faultload ships.

    Raises:
        SpecError: the file is missing or not a price list.
    """
    path = path or _SHIPPED / f"{_HOME}.yaml"
    return parse(Prices, read_document(path), path)


def load_price_book(folder: Path | None = None, today: date | None = None) -> PriceBook:
    """Read the lists that faultload ships and those of a folder, which win on the same date.

    Args:
        folder: `prices/` of a project; None or not there: only those that are shipped.
        today: None: by this machine's clock. Lists of the project may not be later.

    Raises:
        SpecError: a file is not a price list.
    """
    own = sorted(folder.glob("*.yaml")) if folder is not None and folder.is_dir() else []
    today = today or datetime.now(UTC).date()
    lists = [_checked(one, path, today) for path in own for one in _lists(path)]
    lists += [one for path in sorted(_SHIPPED.glob("*.yaml")) for one in _lists(path)]
    return PriceBook(tuple(sorted(lists, key=lambda one: one.as_of, reverse=True)))


def read_price_book(path: Path) -> PriceBook | None:
    """Read a book as a record keeps it; None: the record is from before there was one.

    Raises:
        SpecError: the file is not a price book.
    """
    return PriceBook(tuple(_lists(path))) if path.exists() else None


def _checked(one: Prices, path: Path, today: date) -> Prices:
    """Return a list that people wrote; a record keeps what was accepted in its day."""
    if not one.source.strip():
        raise SpecError(path, "source", "expected who says these prices, found nothing")
    if one.as_of > today + timedelta(days=1):  # it is tomorrow somewhere
        problem = f"expected a day that has come, as the newest list counts; found {one.as_of}"
        raise SpecError(path, "as_of", problem)
    names = [row.instance_type for row in one.instances]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SpecError(path, "instances", f"expected each type once, found {twice} twice")
    return one


def _lists(path: Path) -> list[Prices]:
    return [parse(Prices, document, path) for document in read_documents(path)]
