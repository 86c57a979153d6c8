"""Which HAProxy the router runs: the wheel's, whose OpenSSL is out of support, or one that an operator names."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from routerd.haproxy.process import bundled_openssl, require_supported
from routerd.settings import Settings, SettingsError


def test_the_wheels_openssl_is_named_and_an_operators_binary_is_trusted(tmp_path: Path) -> None:
    settings = Settings(run_dir=tmp_path)

    require_supported(settings)
    assert str(bundled_openssl(settings)).startswith("OpenSSL 3.0.")
    assert bundled_openssl(replace(settings, haproxy=Path("/usr/sbin/haproxy"))) is None


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ("#!/bin/sh\necho HAProxy version 2.6.12-1 2026/10/17", "is version 2.6: routerd needs 2.8 or newer, with Lua"),
        ("#!/bin/sh\necho nginx", "does not tell its version: name a HAProxy"),
        ("", "cannot be run: "),
    ],
    ids=["too old", "another program", "no program"],
)
def test_a_binary_that_will_not_do_is_named_before_anything_is_started(
    tmp_path: Path, script: str, complaint: str
) -> None:
    binary = tmp_path / "haproxy"
    if script:
        binary.write_text(script)
        binary.chmod(0o700)

    with pytest.raises(SettingsError, match=complaint):
        require_supported(Settings(run_dir=tmp_path, haproxy=binary))


@pytest.mark.parametrize(
    ("option", "value", "complaint"),
    [
        ("--haproxy", "/bin/true", "routerd: --haproxy /bin/true does not tell its version: name a HAProxy"),
        ("--slots", "many", "routerd: --slots is 'many': write WAIT_MS:COUNT,... as in 500:64"),
    ],
)
def test_the_program_says_so_in_one_sentence(tmp_path: Path, option: str, value: str, complaint: str) -> None:
    command = [sys.executable, "-m", "routerd", "--run-dir", str(tmp_path / "run"), option, value]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)

    assert (done.returncode, done.stderr) == (2, complaint + "\n")
    assert not (tmp_path / "run").exists()
