"""What a node costs an hour: dated data with its source. A missing price is missing, never 0."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from pydantic import Field

from faultload.errors import UsageError, nearest
from faultload.spec.reading import Spec, parse, read_document

_SHIPPED = Path(__file__).with_name("prices.yaml")


class InstancePrice(Spec):
    """One instance type, on demand."""

    instance_type: str
    gpu: str
    gpus: int = Field(ge=1)
    gpu_memory_gib: int = Field(gt=0)
    """Of each GPU."""
    usd_per_hour: float = Field(gt=0)


class Prices(Spec):
    """A price list."""

    region: str
    as_of: date
    """Prices later than this are not known here."""
    source: str
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


def load_prices(path: Path | None = None) -> Prices:
    """Read a price list; None: the one that faultload ships.

    Raises:
        SpecError: the file is missing or not a price list.
    """
    path = path or _SHIPPED
    return parse(Prices, read_document(path), path)
