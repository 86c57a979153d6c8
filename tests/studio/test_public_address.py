"""SLIPWAY_PUBLIC_URL: what changes in the settings when a proxy stands in front."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ASK = """
import json
from studio.env import read_env
from studio import settings as s
print(json.dumps([s.SESSION_COOKIE_SECURE, s.CSRF_COOKIE_SECURE, s.ALLOWED_HOSTS[-1],
                  getattr(s, "CSRF_TRUSTED_ORIGINS", []), read_env().proxies]))
"""


def read(home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """The settings of a process of its own: they are read once."""
    environment = {"PATH": os.environ["PATH"], "SLIPWAY_HOME": str(home), **variables}
    command = [sys.executable, "-W", "ignore", "-c", ASK]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_without_one_nobody_is_believed_and_cookies_work_on_loopback(tmp_path: Path) -> None:
    assert json.loads(read(tmp_path).stdout) == [False, False, "[::1]", [], ""]


def test_with_https_cookies_are_secure_and_the_proxy_is_believed(tmp_path: Path) -> None:
    said = read(tmp_path, SLIPWAY_PUBLIC_URL="https://slipway.example.org", SLIPWAY_PROXY_ADDRESSES="10.0.0.7")
    expected = [True, True, "slipway.example.org", ["https://slipway.example.org"], "10.0.0.7"]
    assert json.loads(said.stdout) == expected


@pytest.mark.parametrize("url", ["slipway.example.org", "https://slipway.example.org/studio", "ftp://x"])
def test_what_is_no_address_stops_the_program(url: str, tmp_path: Path) -> None:
    said = read(tmp_path, SLIPWAY_PUBLIC_URL=url)
    assert said.returncode != 0
    assert "public_url" in said.stderr
