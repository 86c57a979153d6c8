"""Kubeconfigs that somebody else wrote, friendly and hostile."""

import base64
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from clusters.kube.client import Kube
from clusters.kube.connection import Connection, KubeconfigError, parse_kubeconfig, read_contexts


def encoded(pem: bytes) -> str:
    return base64.b64encode(pem).decode()


def make_pair() -> tuple[bytes, bytes]:
    """A certificate and its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "slipway")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM), private


def kubeconfig(cluster: dict[str, Any] | None = None, user: dict[str, Any] | None = None, **more: Any) -> str:
    """One with a token, with these fields added."""
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "clusters": [{"name": "c", "cluster": {"server": "https://10.4.0.10:6443"} | (cluster or {})}],
            "users": [{"name": "u", "user": {"token": "secret-token"} if user is None else user}],
            "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        }
        | more
    )


def refusal(text: str, **options: Any) -> KubeconfigError:
    with pytest.raises(KubeconfigError) as caught:
        parse_kubeconfig(text, **options)
    return caught.value


def test_a_token_is_taken() -> None:
    connection = parse_kubeconfig(kubeconfig())

    assert connection == Connection(server="https://10.4.0.10:6443", token="secret-token")
    assert "secret-token" not in repr(connection)


def test_a_client_certificate_is_taken_and_used() -> None:
    certificate, key = make_pair()
    user = {"client-certificate-data": encoded(certificate), "client-key-data": encoded(key)}

    connection = parse_kubeconfig(kubeconfig({"certificate-authority-data": encoded(certificate)}, user))

    assert connection.client_certificate == certificate.decode()
    Kube(connection).close()  # OpenSSL takes the pair


def test_a_connection_survives_being_stored() -> None:
    connection = parse_kubeconfig(kubeconfig())

    assert Connection.from_json(connection.to_json()) == connection


@pytest.mark.parametrize(
    ("user", "field"),
    [
        ({"exec": {"command": "touch", "args": ["PWNED"]}}, "users[u].user.exec"),
        ({"auth-provider": {"name": "gcp", "config": {"cmd-path": "touch"}}}, "users[u].user.auth-provider"),
        ({"tokenFile": "/etc/passwd"}, "users[u].user.tokenFile"),
        ({"token": "t", "tokenFile": "/etc/passwd"}, "users[u].user.tokenFile"),
        ({"client-certificate": "/etc/ssl/x.pem"}, "users[u].user.client-certificate"),
        ({"client-key": "/etc/ssl/x.key"}, "users[u].user.client-key"),
        ({"username": "admin"}, "users[u].user.username"),
        ({"token": "t", "as": "system:admin"}, "users[u].user.as"),
        ({"token": "t", "as-groups": ["system:masters"]}, "users[u].user.as-groups"),
        ({"token": "t", "surprise": "x"}, "users[u].user.surprise"),
        ({}, "users[u].user"),
        ({"token": "two\nlines"}, "users[u].user.token"),
    ],
)
def test_what_a_user_entry_may_not_hold_is_refused_by_name(user: dict[str, Any], field: str) -> None:
    found = refusal(kubeconfig(user=user))

    assert found.field == field
    assert len(found.text) > 10


@pytest.mark.parametrize(
    ("cluster", "field"),
    [
        ({"certificate-authority": "/etc/ssl/ca.pem"}, "clusters[c].cluster.certificate-authority"),
        ({"proxy-url": "http://evil.example"}, "clusters[c].cluster.proxy-url"),
        ({"insecure-skip-tls-verify": True}, "clusters[c].cluster.insecure-skip-tls-verify"),
        ({"server": "http://10.4.0.10"}, "clusters[c].cluster.server"),
        ({"server": "file:///etc/passwd"}, "clusters[c].cluster.server"),
        ({"server": "https://user:pass@10.4.0.10"}, "clusters[c].cluster.server"),
        ({"server": "https://10.4.0.10:port"}, "clusters[c].cluster.server"),
        ({"server": ["https://10.4.0.10"]}, "clusters[c].cluster.server"),
        ({"certificate-authority-data": "nonsense"}, "clusters[c].cluster.certificate-authority-data"),
        (
            {"certificate-authority-data": encoded(b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n")},
            "clusters[c].cluster.certificate-authority-data",
        ),
    ],
)
def test_what_a_cluster_entry_may_not_hold_is_refused_by_name(cluster: dict[str, Any], field: str) -> None:
    assert refusal(kubeconfig(cluster)).field == field


def test_a_command_is_never_run(tmp_path: Path) -> None:
    mark = tmp_path / "pwned"

    refusal(kubeconfig(user={"exec": {"apiVersion": "x", "command": "touch", "args": [str(mark)]}}))

    assert not mark.exists()


def test_a_file_is_never_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of the machine")

    assert "of the machine" not in str(refusal(kubeconfig(user={"tokenFile": str(secret)})))


def test_a_server_without_checked_certificate_takes_an_explicit_choice() -> None:
    text = kubeconfig({"insecure-skip-tls-verify": True})

    assert parse_kubeconfig(text, allow_insecure=True).insecure


def test_another_context_of_the_file_can_be_chosen_and_only_it_is_judged() -> None:
    config = yaml.safe_load(kubeconfig())
    config["users"].append({"name": "other", "user": {"exec": {"command": "touch"}}})
    config["contexts"].append({"name": "there", "context": {"cluster": "c", "user": "other"}})
    text = yaml.safe_dump(config)

    assert read_contexts(text).names == ("here", "there")
    assert parse_kubeconfig(text).token == "secret-token"
    assert refusal(text, context="there").field == "users[other].user.exec"
    assert "here, there" in refusal(text, context="nowhere").text


def test_a_bomb_of_aliases_is_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    began = time.monotonic()

    found = refusal("\n".join(lines) + "\n" + kubeconfig())

    assert "aliases" in found.text
    assert time.monotonic() - began < 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   \n",
        "hello",
        "[1, 2]",
        "clusters: none",
        "a: [b",
        "\x00",
        "{" * 20_000,
        "[" * 50_000,
        "x" * 300_000,
        "clusters: []\ncontexts: [{name: a, context: b}]\n",
        "clusters: [7, null, {name: [1]}]\ncontexts: [null, {name: a}]\nusers: 3\n",
        "clusters: !!python/object/apply:os.system ['touch pwned']\n",
    ],
)
def test_what_is_no_kubeconfig_gets_a_sentence(text: str) -> None:
    assert str(refusal(text)).endswith((".", "--raw", ": none."))


def test_a_key_of_another_certificate_is_noticed() -> None:
    certificate, _ = make_pair()
    _, other_key = make_pair()
    user = {"client-certificate-data": encoded(certificate), "client-key-data": encoded(other_key)}

    assert "does not belong" in refusal(kubeconfig(user=user)).text
