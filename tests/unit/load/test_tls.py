"""TLS endpoints: the same answers, and a status of its own for a certificate not to be trusted."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
from tls_servers import make_certificate, over_tls
from wire import GOOD, ROLE, answer_forever, read_request, stream, token, wait_for_close


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for 127.0.0.1: one PEM file with the key, which also is its own authority."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


def secure_url(server: Any) -> str:
    """Return the server's https URL."""
    return str(server.url).replace("http:", "https:")


def test_a_stream_over_tls_is_a_stream_and_its_connection_is_kept(
    serve: Any, asker: Any, certificate: Path
) -> None:
    """Same row as without TLS; the second request goes out on the first one's connection."""
    server = serve(over_tls(certificate, answer_forever))
    one = asker(secure_url(server), ca=certificate)
    rows = [one.ask(), one.ask()]
    assert [(row["status"], row["output_tokens"]) for row in rows] == [("ok", 2)] * 2
    assert [row["connection_reused"] for row in rows] == [False, True]
    assert server.connections == 1


def test_tokens_that_share_a_packet_with_many_records_all_arrive(
    serve: Any, asker: Any, certificate: Path
) -> None:
    """Nothing stays behind in the TLS layer, however many records came at once."""
    words = [token(f"tok{index:04d}-3fa9 ") for index in range(2000)]
    raw = stream(ROLE, *words, token("", "stop"))

    def script(connection: socket.socket) -> None:
        read_request(connection)
        for at in range(0, len(raw), 700):
            connection.sendall(raw[at : at + 700])
        wait_for_close(connection)

    row = asker(secure_url(serve(over_tls(certificate, script))), ca=certificate).ask()
    assert (row["status"], row["output_tokens"]) == ("ok", 2000)


def test_a_certificate_nobody_vouches_for_is_its_own_status(
    serve: Any, asker: Any, certificate: Path
) -> None:
    """With the system's authorities a self-signed certificate is refused, and nothing is sent."""
    seen: list[bytes] = []

    def script(connection: socket.socket) -> None:
        seen.append(read_request(connection))

    row = asker(secure_url(serve(over_tls(certificate, script)))).ask()
    assert (row["status"], row["http_status"]) == ("certificate_error", 0)
    assert "self-signed" in row["error"]
    assert not any(seen)


def test_authorities_are_taken_from_the_environment(
    serve: Any, asker: Any, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SSL_CERT_FILE is honoured, as by every OpenSSL program."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    one = asker(secure_url(serve(over_tls(certificate, answer_forever))))
    assert one.ask()["status"] == "ok"


@pytest.mark.parametrize(
    ("fields", "words"),
    [({"host": "127.0.0.2"}, "mismatch"), ({"expired": True}, "expired")],
)
def test_a_certificate_for_another_place_or_time_is_refused(
    serve: Any, asker: Any, tmp_path: Path, fields: Any, words: str
) -> None:
    """The name and the dates are checked, and the row says which was wrong."""
    certificate = make_certificate(tmp_path, **fields)
    row = asker(secure_url(serve(over_tls(certificate, answer_forever))), ca=certificate).ask()
    assert row["status"] == "certificate_error"
    assert words in row["error"]


def test_an_endpoint_without_tls_is_no_certificate_error(
    serve: Any, asker: Any, certificate: Path
) -> None:
    """Plain HTTP on an https URL: no TLS was agreed on."""

    def script(connection: socket.socket) -> None:
        connection.recv(1)
        connection.sendall(GOOD)

    row = asker(secure_url(serve(script)), ca=certificate).ask()
    assert row["status"] == "tls_error"
    assert "wrong version" in row["error"]


def test_an_end_that_tls_announces_is_an_end_though_the_connection_stays_open(
    serve: Any, asker: Any, certificate: Path
) -> None:
    """A proxy's close notice behind the last record, with nothing else closed, is a cut stream."""
    half = stream(ROLE, token("tok0000-3fa9 "), end=b"")

    def script(connection: socket.socket) -> None:
        assert isinstance(connection, ssl.SSLSocket)
        read_request(connection)
        connection.sendall(half)
        connection.unwrap()  # waits for the client's own notice, which its close takes the place of

    one = asker(secure_url(serve(over_tls(certificate, script))), ca=certificate)
    row = one.ask()
    assert (row["status"], row["output_tokens"]) == ("cut", 1)
    assert row["end_s"] - row["last_token_s"] < one.client.timeouts.gap_s
