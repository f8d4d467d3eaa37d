"""Certificates of a throw-away authority: no key outlives the folder it is written to."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

_VALID = dt.timedelta(days=1)
_SKEW = dt.timedelta(minutes=5)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as files."""

    certificate: Path
    key: Path


class Authority:
    """An authority that signs what one control plane needs.

    Args:
        home: where it writes `ca.crt` and, for each name issued, `<name>.crt` and `<name>.key`.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _subject("test control plane", "")
        self.ca_file = home / "ca.crt"
        signed = self._builder(self._name, self._key.public_key()).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        self._write(self.ca_file, signed)

    def serving(self, name: str) -> Pair:
        """Issue a certificate for a server on 127.0.0.1."""
        addresses = x509.SubjectAlternativeName(
            [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
        )
        return self._issue(name, _subject(name, ""), ExtendedKeyUsageOID.SERVER_AUTH, addresses)

    def client(self, name: str, user: str, group: str = "") -> Pair:
        """Issue a certificate that signs a user in; Kubernetes reads user as CN and group as O."""
        return self._issue(name, _subject(user, group), ExtendedKeyUsageOID.CLIENT_AUTH)

    def _issue(
        self,
        name: str,
        subject: x509.Name,
        usage: x509.ObjectIdentifier,
        addresses: x509.SubjectAlternativeName | None = None,
    ) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(subject, key.public_key()).add_extension(
            x509.ExtendedKeyUsage([usage]), critical=False
        )
        if addresses is not None:
            builder = builder.add_extension(addresses, critical=False)
        pair = Pair(self._home / f"{name}.crt", self._home / f"{name}.key")
        self._write(pair.certificate, builder)
        write_key(pair.key, key)
        return pair

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey
    ) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder(self._name, subject, key, x509.random_serial_number())
            .not_valid_before(now - _SKEW)
            .not_valid_after(now + _VALID)
        )

    def _write(self, path: Path, builder: x509.CertificateBuilder) -> None:
        signed = builder.sign(self._key, hashes.SHA256())
        path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))


def write_key(path: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    """Write a private key that only we may read."""
    text = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
        file.write(text)


def _subject(user: str, group: str) -> x509.Name:
    parts = [x509.NameAttribute(x509.NameOID.COMMON_NAME, user)]
    if group:
        parts.append(x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, group))
    return x509.Name(parts)
