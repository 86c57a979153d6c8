"""Settings: read once, typed, loud."""

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from routerd.settings import Settings, SettingsError, parse_slots, read_settings


def test_every_option_is_also_an_environment_variable_and_the_command_line_wins() -> None:
    environ = {
        "ROUTERD_RUN_DIR": "/run/routerd",
        "ROUTERD_LOG_SAMPLE": "10",
        "ROUTERD_BIND": "10.0.0.1",
        "ROUTERD_LEADER_ELECTION": "false",
    }

    settings = read_settings(["--log-sample", "5"], environ=environ)

    assert settings.run_dir == Path("/run/routerd")
    assert (settings.log_sample, settings.bind, settings.leader_election) == (5, "10.0.0.1", False)


def test_a_pod_tells_its_address_and_name_and_finds_its_cluster() -> None:
    environ = {"POD_IP": "10.1.2.3", "POD_NAME": "routerd-0", "KUBERNETES_SERVICE_HOST": "10.0.0.1"}

    settings = read_settings(["--run-dir", "/r"], environ=environ)

    assert (settings.bind, settings.pod_name, settings.in_cluster) == ("10.1.2.3", "routerd-0", True)


def test_a_kubeconfig_wins_over_the_pods_own_account() -> None:
    settings = read_settings(["--run-dir", "/r", "--kubeconfig", "/k"], environ={"KUBERNETES_SERVICE_HOST": "h"})

    assert not settings.in_cluster


@pytest.mark.parametrize(
    ("arguments", "environ", "words"),
    [
        ([], {}, "--run-dir"),
        (["--run-dir", "/r"], {"ROUTERD_LOG_SAMPEL": "1"}, "ROUTERD_LOG_SAMPEL"),
        (["--run-dir", "/r"], {"ROUTERD_NAMESPACES_FROM": "secret x"}, "ROUTERD_NAMESPACES_FROM"),
        (["--run-dir", "/r", "--kubeconfig", "k", "--objects", "o"], {}, "--objects"),
    ],
)
def test_what_is_missing_unknown_or_contradictory_stops_the_program(
    arguments: list[str], environ: dict[str, str], words: str
) -> None:
    with pytest.raises(SettingsError, match=words):
        read_settings(arguments, environ=environ)


@pytest.mark.parametrize("arguments", [["--log-sample", "0"], ["--slots", "500"], ["--inference-port", "x"]])
def test_values_that_make_no_sense_stop_the_program(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises((SystemExit, SettingsError)):
        read_settings(["--run-dir", "/r", *arguments], environ={})


@pytest.mark.parametrize(
    "url",
    ["collector:4318", "grpc://collector:4317", "http://", "http://collector:x", "http://c/?token=1", "http://u:p@c"],
)
def test_an_address_of_a_collector_that_makes_no_sense_stops_the_program(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        read_settings(["--run-dir", "/r"], environ={"ROUTERD_OTLP_ENDPOINT": url})

    told = capsys.readouterr().err
    assert "--otlp-endpoint" in told
    assert "u:p" not in told


def test_no_collector_is_the_default_and_one_is_named_by_its_root() -> None:
    named = read_settings(["--run-dir", "/r"], environ={"ROUTERD_OTLP_ENDPOINT": "https://collector:4318/"})

    assert named.otlp_endpoint == "https://collector:4318"
    for environ in ({}, {"ROUTERD_OTLP_ENDPOINT": ""}):
        assert read_settings(["--run-dir", "/r"], environ=environ).otlp_endpoint == ""


def test_slots_are_counted_per_wait_class() -> None:
    assert parse_slots("500:64,1000:8") == {500: 64, 1000: 8}
    for text in ("", "500", "500:x", "0:4", "500:0"):
        with pytest.raises(SettingsError):
            parse_slots(text)


def test_the_admin_token_is_read_anew_from_its_file_and_is_never_shown(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    settings = Settings(run_dir=tmp_path, admin_token_file=token)

    assert settings.read_admin_token() == "first"
    token.write_text("second")
    assert settings.read_admin_token() == "second"
    assert "hidden" not in repr(Settings(run_dir=tmp_path, admin_token="hidden"))


def test_connections_leave_room_for_the_descriptors_of_servers() -> None:
    settings = Settings(run_dir=Path("/r"), max_connections=10**9)

    assert 100 <= settings.usable_connections(slots=1000) <= settings.usable_connections(slots=1)


def test_help_explains_every_setting() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "routerd", "--help"], capture_output=True, text=True, check=True
    ).stdout

    explained = dict(re.findall(r"^  --([a-z-]+)[^\n]*?(?:  +|\n +)(\S[^\n]*)", told, re.MULTILINE))
    called = {"namespaces": "namespace", "allowed_hosts": "allow-host", "objects": "config"}
    options = {called.get(f.name, f.name.replace("_", "-")) for f in fields(Settings)}
    assert options - explained.keys() == set()
    assert [option for option in options if len(explained[option]) < 10] == []
