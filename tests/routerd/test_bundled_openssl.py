"""The wheel's OpenSSL is out of support, and the router says so."""

from dataclasses import replace
from pathlib import Path

from routerd.haproxy.process import bundled_openssl
from routerd.settings import Settings


def test_the_wheels_openssl_is_named_and_an_operators_binary_is_trusted(tmp_path: Path) -> None:
    settings = Settings(run_dir=tmp_path)

    assert str(bundled_openssl(settings)).startswith("OpenSSL 3.0.")
    assert bundled_openssl(replace(settings, haproxy=Path("/usr/sbin/haproxy"))) is None
