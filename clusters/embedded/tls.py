"""The cluster's own certificate authority and the API server's certificate.

Made once, kept in `DIR/tls` (all files with mode 0600); the server certificate is made anew when it does not
carry a name it needs, or ends within a month. The authority lasts ten years, so kubeconfigs stay good.
`sign_client` makes a user's certificate: the common name is the user, the organizations are the groups.
"""

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from clusters.embedded.private_files import write_private

NAMES: Final = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
_TEN_YEARS: Final = timedelta(days=3650)
_YEAR: Final = timedelta(days=365)
_RENEW_BEFORE: Final = timedelta(days=30)


@dataclass(frozen=True)
class Identity:
    authority: Path  # PEM of the CA certificate, for clients
    certificate: Path
    key: Path


def ensure(directory: Path, *, addresses: tuple[str, ...], now: datetime, names: tuple[str, ...] = NAMES) -> Identity:
    """Files a server can use under these IP addresses and names; made where missing or outdated."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    identity = Identity(directory / "ca.crt", directory / "server.crt", directory / "server.key")
    authority_key = directory / "ca.key"
    if not (identity.authority.exists() and authority_key.exists()):
        _make_authority(identity.authority, authority_key, now=now)
        identity.certificate.unlink(missing_ok=True)
    if not _good(identity, addresses=addresses, names=names, now=now):
        _make_server(identity, authority_key, addresses=addresses, names=names, now=now)
    return identity


def _good(identity: Identity, *, addresses: tuple[str, ...], names: tuple[str, ...], now: datetime) -> bool:
    if not (identity.certificate.exists() and identity.key.exists()):
        return False
    certificate = x509.load_pem_x509_certificate(identity.certificate.read_bytes())
    held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    known = {str(address) for address in held.get_values_for_type(x509.IPAddress)}
    known |= set(held.get_values_for_type(x509.DNSName))
    return known >= {*addresses, *names} and certificate.not_valid_after_utc > now + _RENEW_BEFORE


def _make_authority(path: Path, key_path: Path, *, now: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("slipway-embedded-ca")
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        _builder(name, name, key.public_key(), now=now, lasts=_TEN_YEARS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )
    write_private(key_path, key_pem(key))
    write_private(path, certificate.public_bytes(serialization.Encoding.PEM))


def _make_server(
    identity: Identity,
    authority_key: Path,
    *,
    addresses: tuple[str, ...],
    names: tuple[str, ...],
    now: datetime,
) -> None:
    authority, signer = _authority(identity.authority, authority_key)
    key = ec.generate_private_key(ec.SECP256R1())
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    alternatives += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
    certificate = (
        _leaf(_name("kube-apiserver"), authority, key.public_key(), usage=ExtendedKeyUsageOID.SERVER_AUTH, now=now)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .sign(signer, hashes.SHA256())
    )
    write_private(identity.key, key_pem(key))
    write_private(identity.certificate, certificate.public_bytes(serialization.Encoding.PEM))


def sign_client(
    identity: Identity,
    *,
    public_key: PublicKey,
    user: str,
    groups: tuple[str, ...] = (),
    now: datetime,
    lasts: timedelta = _YEAR,
) -> bytes:
    """A user's certificate as PEM."""
    authority, signer = _authority(identity.authority, identity.authority.with_suffix(".key"))
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    subject = x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, user)])
    leaf = _leaf(subject, authority, public_key, usage=ExtendedKeyUsageOID.CLIENT_AUTH, now=now, lasts=lasts)
    return leaf.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _authority(path: Path, key_path: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    signer = serialization.load_pem_private_key(key_path.read_bytes(), None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{key_path} does not hold an elliptic-curve key")
    return x509.load_pem_x509_certificate(path.read_bytes()), signer


def _leaf(
    subject: x509.Name,
    authority: x509.Certificate,
    key: PublicKey,
    *,
    usage: x509.ObjectIdentifier,
    now: datetime,
    lasts: timedelta = _YEAR,
) -> x509.CertificateBuilder:
    identifier = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    issuer_key = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
    return (
        _builder(subject, authority.subject, key, now=now, lasts=lasts)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(issuer_key, critical=False)
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: PublicKey,
    *,
    now: datetime,
    lasts: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + lasts)
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
