"""Price lists: dated, with their source, and the newest counts."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
import yaml

from faultload.errors import SpecError
from faultload.spec.prices import (
    load_price_book,
    prices_beside,
    read_price_book,
    region_of,
)

OWN = (
    "region: {region}\nas_of: {as_of}\nsource: our contract\ncapacity_type: {paid}\n"
    "instances:\n  - {{instance_type: g6.xlarge, usd_per_hour: {usd}}}\n"
)


def write(folder: Path, name: str, **words: object) -> None:
    """Write a list of one type."""
    about = {"region": "us-east-1", "as_of": "2026-11-01", "paid": "on-demand", "usd": 0.5}
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.yaml").write_text(OWN.format(**{**about, **words}), encoding="utf-8")


def test_every_shipped_list_is_dated_and_sourced() -> None:
    """A price without either is a rumour."""
    book = load_price_book()

    assert book.lists
    for one in book.lists:
        assert one.source
        assert one.url.startswith("https://")
        assert one.as_of.year >= 2025
        names = [row.instance_type for row in one.instances]
        assert len(names) == len(set(names))


def test_the_newest_list_counts(tmp_path: Path) -> None:
    """A project's own list wins where it is newer or as new, and only for its own kind."""
    folder = tmp_path / "prices"
    write(folder, "old", as_of="2020-01-01", usd=9.0)
    shipped = load_price_book(folder).find("g6.xlarge", "us-east-1", "on-demand")
    assert shipped is not None
    assert shipped.usd_per_hour == pytest.approx(0.8048)

    write(folder, "new")
    quote = load_price_book(folder).find("g6.xlarge", "us-east-1", "on-demand")
    assert quote is not None
    assert (quote.usd_per_hour, quote.source) == (0.5, "our contract")


def test_a_price_that_nobody_lists_is_none(tmp_path: Path) -> None:
    """Neither another region's price nor another way to pay stands in for it."""
    write(tmp_path / "prices", "new", region="eu-west-9")
    book = load_price_book(tmp_path / "prices")

    assert book.find("g6.xlarge", "eu-west-9", "on-demand") is not None
    assert book.find("g6.xlarge", "eu-west-9", "spot") is None
    assert book.find("g6.xlarge", "", "on-demand") is None
    assert book.find("g9.xlarge", "us-east-1", "on-demand") is None
    assert (book.gpus("g6.12xlarge"), book.gpus("m7i.large")) == (4, None)


def test_a_bad_list_of_the_project_names_the_file(tmp_path: Path) -> None:
    """A mistake there is not hidden by what is shipped."""
    write(tmp_path / "prices", "new", paid="borrowed")

    with pytest.raises(SpecError, match=r"new\.yaml: capacity_type"):
        load_price_book(tmp_path / "prices")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("source: our contract", "source: ' '", "source: expected who says these prices"),
        ("2026-11-01", "2026-12-03", "as_of: expected a day that has come"),
        ("2026-11-01", "2099-01-01", "as_of: expected a day that has come"),
        (
            "instances:\n",
            "instances:\n  - {instance_type: g6.xlarge, usd_per_hour: 9}\n",
            "instances: expected each type once, found g6.xlarge twice",
        ),
    ],
)
def test_a_list_that_would_always_win_or_says_two_things_is_refused(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    """The newest counts, so a day to come would hide every later price; a source is asked for."""
    write(tmp_path / "prices", "new")
    path = tmp_path / "prices/new.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")

    with pytest.raises(SpecError, match=says):
        load_price_book(tmp_path / "prices", date(2026, 12, 1))


def test_a_record_keeps_the_book_as_it_was(tmp_path: Path) -> None:
    """Judged again after the next list, an old run costs what it cost."""
    path, book = tmp_path / "prices.yaml", load_price_book()
    path.write_text(yaml.safe_dump_all(book.plain(), sort_keys=False), encoding="utf-8")

    assert read_price_book(path) == book
    assert read_price_book(tmp_path / "none.yaml") is None


def test_lists_of_a_project_are_beside_its_targets() -> None:
    """`prices/` is found as the other folders are."""
    assert prices_beside(Path("/p/targets/local.yaml")) == Path("/p/prices")


@pytest.mark.parametrize(
    ("zone", "region"),
    [
        ("us-east-1a", "us-east-1"),
        ("us-gov-west-1b", "us-gov-west-1"),
        ("local-a", ""),
        ("use1-az2", ""),
        ("", ""),
    ],
)
def test_a_zone_says_its_region(zone: str, region: str) -> None:
    """AWS's names only: another cloud's zone has no price in these lists."""
    assert region_of(zone) == region
