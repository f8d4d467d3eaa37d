"""Spot prices: what EC2 said, as a dated list; over the wire against moto's server."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest
from botocore.stub import Stubber

from faultload.cli import invoke, main
from faultload.errors import ExitCode, MissingError, UsageError
from faultload.spec.prices import load_price_book, load_prices
from faultload.targets.spot_prices import SpotPrice, spot_history, spot_list

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SECRET = "wJalrXUtnFEMI/not/a/real/key"


@pytest.fixture(autouse=True)
def signed_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Made-up credentials, and none of this machine's."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)


def change(hours_ago: float, usd_per_h: float, zone: str = "us-east-1a") -> SpotPrice:
    """Return one change of g6.xlarge's price."""
    return SpotPrice("g6.xlarge", zone, NOW - timedelta(hours=hours_ago), usd_per_h)


def test_a_price_counts_for_as_long_as_it_held() -> None:
    """The change before the window says what held at its begin; zones weigh the same."""
    history = [change(30, 1.0), change(6, 3.0), change(24, 4.0, "us-east-1b")]
    (row,) = spot_list(history, "us-east-1", NOW, 1.0).instances

    assert row.usd_per_hour == pytest.approx(((18 * 1.0 + 6 * 3.0) / 24 + 4.0) / 2)


def test_a_list_says_when_and_from_where() -> None:
    """It is dated data like the others, for spot."""
    found = spot_list([change(5, 0.4)], "us-east-1", NOW, 7.0)

    assert (found.region, found.capacity_type, found.typical) == ("us-east-1", "spot", False)
    assert found.as_of.isoformat() == "2026-11-21"
    assert "mean over 7 days" in found.source


def test_nothing_asked_of_a_region_is_an_error_and_no_list() -> None:
    """An empty answer is no free machine."""
    with pytest.raises(UsageError, match=r"no spot price in us-east-1 .* last 7 days"):
        spot_list([], "us-east-1", NOW, 7.0)


def test_who_may_not_ask_is_told_so_without_a_secret() -> None:
    """One line with AWS's reason."""
    client = boto3.client("ec2", region_name="us-east-1")
    with Stubber(client) as stubbed:
        stubbed.add_client_error(
            "describe_spot_price_history", "UnauthorizedOperation", "You are not authorized"
        )
        with pytest.raises(MissingError, match="spot prices could not be asked for") as caught:
            spot_history(client, ["g6.xlarge"], NOW, 7.0)
    assert "not authorized" in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "environment", "says"),
    [
        (["--region", "us east 1"], {}, "'us east 1'"),
        (["--region", "us-east-1", "--endpoint-url", "notaurl"], {}, "notaurl"),
        (["--region", "us-east-1"], {"AWS_PROFILE": "nope"}, "nope"),
    ],
)
def test_a_client_that_cannot_be_made_is_one_line(
    words: list[str],
    environment: dict[str, str],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A region, URL or profile that is none is the user's to mend."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert invoke(["prices", "refresh", *words]) == ExitCode.USAGE
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_every_page_of_the_history_is_read() -> None:
    """EC2 answers a thousand rows at a time."""
    client = boto3.client("ec2", region_name="us-east-1")
    row = {
        "AvailabilityZone": "us-east-1a",
        "InstanceType": "g6.xlarge",
        "ProductDescription": "Linux/UNIX",
        "Timestamp": NOW - timedelta(hours=2),
        "SpotPrice": "0.352100",
    }
    with Stubber(client) as stubbed:
        for token in ("more", ""):
            answer = {"SpotPriceHistory": [row], "NextToken": token}
            stubbed.add_response("describe_spot_price_history", answer)
        found = spot_history(client, ["g6.xlarge"], NOW, 7.0)

    assert found == [SpotPrice("g6.xlarge", "us-east-1a", row["Timestamp"], 0.3521)] * 2


@pytest.fixture
def ec2() -> Iterator[str]:
    """EC2 as moto's server plays it, on a free port of loopback."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@pytest.mark.full
def test_refresh_writes_a_list_that_prices_spot_from_then_on(
    ec2: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole way: command line, signed request, dated file, price book; no secret anywhere."""
    for folder in ("experiments", "targets"):
        (tmp_path / folder).mkdir()
    words = ["prices", "refresh", "--region", "us-east-1", "--type", "g4dn.xlarge"]
    monkeypatch.setattr(
        sys, "argv", ["faultload", *words, "--endpoint-url", ec2, "--root", str(tmp_path)]
    )
    with pytest.raises(SystemExit) as ended:
        main()

    said = capsys.readouterr()
    assert ended.value.code == 0, said.err
    (path,) = (tmp_path / "prices").glob("us-east-1-spot-*.yaml")
    assert load_prices(path).capacity_type == "spot"
    quote = load_price_book(tmp_path / "prices").find("g4dn.xlarge", "us-east-1", "spot")
    assert quote is not None
    assert quote.usd_per_hour > 0
    assert SECRET not in said.out + said.err + path.read_text(encoding="utf-8")
