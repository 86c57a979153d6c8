"""What `spec.auth` of an OnlineEndpoint means, and what of it is refused."""

from typing import Any

import pytest

from routerd.auth_spec import Auth, read_auth
from routerd.routes import Problem, TokenIssuer
from tests.routerd.tokens import Signer

DIGEST = "a" * 64
STUDIO = Signer("k1")
PARTNER = Signer("k2", "RS256")


def read(**auth: Any) -> tuple[Auth, list[str]]:
    problems: list[Problem] = []
    found = read_auth(auth, endpoint="credit", problems=problems)
    return found, [problem.message for problem in problems]


def token_key(signer: Signer, **changes: Any) -> dict[str, Any]:
    return {"kid": signer.kid, "algorithm": signer.algorithm, "publicKey": signer.pem} | changes


def test_a_key_may_have_an_end() -> None:
    keys = [
        {"name": "primary", "sha256": DIGEST},
        {"name": "ci", "sha256": DIGEST, "expires": "2026-01-01T01:00:00+01:00"},
        {"name": "app", "sha256": DIGEST, "expires": "2026-01-01T00:00:01Z"},
    ]

    found, problems = read(mode="key", keyRevision=3, keys=keys)

    assert found.keys == (("primary", DIGEST), ("ci", DIGEST), ("app", DIGEST))
    assert found.key_expiry == (("ci", 1_767_225_600), ("app", 1_767_225_601))
    assert (found.revision, problems) == (3, [])


@pytest.mark.parametrize("expires", ["tomorrow", "2026-01-01T00:00:00", "", 5, ["2026-01-01T00:00:00Z"]])
def test_a_key_whose_end_cannot_be_read_opens_nothing(expires: Any) -> None:
    found, problems = read(mode="key", keys=[{"name": "ci", "sha256": DIGEST, "expires": expires}])

    assert found.keys == ()
    assert "ci expires" in problems[0]


def test_issuers_have_keys_and_an_audience_which_is_the_endpoint_unless_they_say_another() -> None:
    issuers = [
        {"issuer": "https://studio.example.com", "keys": [token_key(STUDIO)]},
        {"issuer": "https://partner.example.com/x", "audience": "urn:scores", "keys": [token_key(PARTNER)]},
    ]

    found, problems = read(mode="token", issuers=issuers)

    assert found.issuers == (
        TokenIssuer("https://studio.example.com", "credit", (STUDIO.key,)),
        TokenIssuer("https://partner.example.com/x", "urn:scores", (PARTNER.key,)),
    )
    assert (found.keys, problems) == ((), [])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"publicKey": "no key"}, "publicKey is no public key"),
        ({"publicKey": None}, "publicKey is no public key"),
        ({"algorithm": "RS256"}, "is not one for RS256"),
        ({"algorithm": "HS256"}, "only ES256 and RS256"),
        ({"kid": "k 1"}, "is not usable"),
        ({"kid": "k|1"}, "is not usable"),
        ({"kid": ""}, "is not usable"),
    ],
)
def test_a_token_key_that_is_not_what_it_says_is_left_out_and_told(changes: dict[str, Any], told: str) -> None:
    found, problems = read(mode="token", issuers=[{"issuer": "i", "keys": [token_key(STUDIO, **changes)]}])

    assert [issuer.keys for issuer in found.issuers] == [()]
    assert told in problems[0]


@pytest.mark.parametrize("issuer", ["", "a b", "a|b", "a;b", "a\nb", "é", "x" * 300])
def test_an_issuer_that_could_end_a_record_is_left_out(issuer: str) -> None:
    found, problems = read(mode="token", issuers=[{"issuer": issuer, "keys": [token_key(STUDIO)]}])

    assert found.issuers == ()
    assert len(problems) == 1


def test_two_keys_of_one_name_are_refused_because_a_token_could_not_tell_which() -> None:
    issuers = [{"issuer": name, "keys": [token_key(STUDIO)]} for name in ("a", "b")]

    found, problems = read(mode="token", issuers=issuers)

    assert [len(issuer.keys) for issuer in found.issuers] == [1, 0]
    assert "there twice" in problems[0]


@pytest.mark.parametrize("auth", [{}, {"mode": "aad_token"}, {"mode": None}, {"mode": ["none"]}])
def test_a_mode_that_is_not_known_routes_nothing(auth: dict[str, Any]) -> None:
    found, problems = read(**auth)

    assert not found.usable
    assert problems
