"""Self-signed certificates, and scripted servers that speak TLS with them."""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from wire import Script

WHOLE = dt.timedelta(days=1)


def make_certificate(folder: Path, host: str = "127.0.0.1", *, expired: bool = False) -> Path:
    """Make one PEM file with certificate and key, and beside it `ca.pem` with what vouches for it.

    A self-signed certificate is its own authority.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = dt.datetime.now(dt.UTC) - (2 * WHOLE if expired else WHOLE / 2)
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + WHOLE)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public = built.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "ca.pem").write_bytes(public)
    path = folder / "certificate.pem"
    path.write_bytes(public + secret)
    return path


def over_tls(certificate: Path, script: Script) -> Script:
    """Play a script behind a TLS handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def wrapped(connection: socket.socket) -> None:
        connection.settimeout(10.0)
        with context.wrap_socket(connection, server_side=True) as secure:
            script(secure)

    return wrapped
