"""The cluster's own authority and the server's certificate."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from clusters.embedded import tls

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def names(path: Path) -> set[str]:
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = {str(address) for address in held.get_values_for_type(x509.IPAddress)}
    return addresses | set(held.get_values_for_type(x509.DNSName))


def test_what_was_made_is_kept(tmp_path: Path) -> None:
    first = tls.ensure(tmp_path, addresses=("127.0.0.1",), now=NOON)
    before = first.certificate.read_bytes(), first.authority.read_bytes()
    again = tls.ensure(tmp_path, addresses=("127.0.0.1",), now=NOON + timedelta(days=30))
    assert (again.certificate.read_bytes(), again.authority.read_bytes()) == before
    assert {"127.0.0.1", "localhost", "kubernetes.default.svc"} <= names(again.certificate)


def test_a_new_address_or_an_end_in_sight_renews_the_certificate_but_not_the_authority(tmp_path: Path) -> None:
    first = tls.ensure(tmp_path, addresses=("127.0.0.1",), now=NOON)
    certificate, authority = first.certificate.read_bytes(), first.authority.read_bytes()
    moved = tls.ensure(tmp_path, addresses=("127.0.0.1", "127.16.128.1"), now=NOON)
    assert moved.certificate.read_bytes() != certificate
    assert "127.16.128.1" in names(moved.certificate)
    later = tls.ensure(tmp_path, addresses=("127.0.0.1",), now=NOON + timedelta(days=350))
    found = x509.load_pem_x509_certificate(later.certificate.read_bytes())
    assert found.not_valid_after_utc > NOON + timedelta(days=600)
    assert later.authority.read_bytes() == authority
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(later.certificate, later.key)
