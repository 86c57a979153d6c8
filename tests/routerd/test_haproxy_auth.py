"""Who may call: keys that end, and tokens of the issuers an endpoint trusts."""

import time
from pathlib import Path
from typing import Any

import pytest

from routerd.contract import key_hash
from routerd.haproxy.process import HaproxyProcess
from routerd.haproxy.reload import reload_haproxy
from routerd.routes import EndpointRoute
from tests.routerd.conftest import KEY, ModelServer, Router, StartModel, deployment, endpoint, eventually
from tests.routerd.test_haproxy_requests import assert_problem
from tests.routerd.tokens import Signer, encoded, trusting


def key_endpoint(model: ModelServer, **expiry: int) -> EndpointRoute:
    """`credit` with keys of these names, which are their own secrets, and end then; 0: never."""
    keys = tuple((name, key_hash(name)) for name in expiry)
    ends = tuple((name, end) for name, end in expiry.items() if end)
    return endpoint(deployment("blue", model, concurrency=5), keys=keys, key_expiry=ends)


def token_endpoint(model: ModelServer, *signers: Signer, **changes: Any) -> EndpointRoute:
    """`credit`, for callers with a token of these."""
    route = deployment("blue", model, concurrency=5)
    return endpoint(route, auth_mode="token", keys=(), issuers=trusting(*signers), **changes)


async def test_a_key_ends_by_itself_and_the_others_stay(router: Router, start_model: StartModel) -> None:
    blue = await start_model("blue-1")
    await router.serve(key_endpoint(blue, forever=0, today=int(time.time()) + 3600, soon=int(time.time()) + 3))
    assert [(await router.call(key=key)).status for key in ("forever", "today", "soon")] == [200, 200, 200]

    async def ended() -> bool:
        return (await router.call(key="soon")).status == 401

    await eventually(ended)
    refused = await router.call(key="soon")

    assert_problem(refused, code="key_expired")
    assert refused.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert [(await router.call(key=key)).status for key in ("forever", "today")] == [200, 200]


async def test_a_key_that_has_ended_is_refused_also_after_a_restart_from_disk(
    router: Router, start_model: StartModel
) -> None:
    blue = await start_model("blue-1")
    await router.serve(key_endpoint(blue, past=int(time.time()) - 5, forever=0))
    await reload_haproxy(router.settings)

    assert_problem(await router.call(key="past"), code="key_expired")
    assert (await router.call(key="forever")).status == 200
    assert len(blue.seen) == 1


@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
async def test_a_token_of_a_trusted_issuer_opens_and_never_reaches_the_model(
    router: Router, start_model: StartModel, algorithm: str
) -> None:
    blue, studio = await start_model("blue-1"), Signer("k1", algorithm)
    await router.serve(token_endpoint(blue, studio))

    for claims in ({}, {"aud": ["other", "credit"]}, {"nbf": int(time.time())}, {"nbf": int(time.time()) + 5}):
        assert (await router.call(key=studio.sign(**claims))).status == 200

    assert len(blue.seen) == 4
    assert all("authorization" not in seen.headers for seen in blue.seen)


async def test_each_claim_that_is_wrong_is_refused_with_its_reason(router: Router, start_model: StartModel) -> None:
    blue, studio = await start_model("blue-1"), Signer("k1")
    await router.serve(token_endpoint(blue, studio))
    now = int(time.time())
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("token_expired", {"exp": now - 1}),
        ("token_not_yet", {"nbf": now + 300}),
        ("token_invalid", {"exp": None}),
        ("token_invalid", {"exp": "tomorrow"}),
        ("token_invalid", {"iss": "https://evil.example.com"}),
        ("token_invalid", {"iss": None}),
        ("token_invalid", {"iss": ["https://studio.example.com"]}),
        ("token_invalid", {"aud": "credit2"}),
        ("token_invalid", {"aud": None}),
        ("token_invalid", {"aud": []}),
        ("token_invalid", {"aud": ["a", "credit2"]}),
        ("token_invalid", {"aud": ['a"credit"']}),
    ]

    for code, claims in wrong:
        assert_problem(await router.call(key=studio.sign(**claims)), code=code)

    assert blue.seen == []


async def test_a_token_that_is_not_signed_by_a_trusted_key_is_refused(router: Router, start_model: StartModel) -> None:
    blue, studio, stranger = await start_model("blue-1"), Signer("k1"), Signer("k1")
    await router.serve(token_endpoint(blue, studio))
    good = studio.sign()
    head, claims, signature = good.split(".")
    none = encoded(b'{"alg":"none","kid":"k1"}')
    forged = [
        stranger.sign(),
        studio.sign(header={"kid": "k2"}),
        studio.sign(header={"kid": None}),
        studio.sign(header={"kid": "../k1"}),
        f"{none}.{claims}.",
        f"{none}.{claims}.{signature}",
        f"{head}.{claims}.",
        f"{head}.{claims}.{signature[:-4]}AAAA",
        f"{head}.{encoded(b'{}')}.{signature}",
        f"{head}.{claims}",
        "..",
        "x" * 3000,
    ]

    for token in forged:
        assert_problem(await router.call(key=token), code="token_invalid")
    assert_problem(await router.call(key=None), code="unauthorized")
    assert_problem(await router.call(key=KEY), code="token_invalid")

    assert blue.seen == []
    assert (await router.call(key=good)).status == 200


async def test_a_public_key_used_as_a_secret_signs_nothing(router: Router, start_model: StartModel) -> None:
    import hashlib
    import hmac

    blue, studio = await start_model("blue-1"), Signer("k1", "RS256")
    await router.serve(token_endpoint(blue, studio))
    text = studio.sign(header={"alg": "HS256"}).rpartition(".")[0]
    path = next(Path(router.settings.run_dir, "token-keys").glob("*.pem"))

    for secret in (studio.pem.encode(), str(path).encode()):
        signature = encoded(hmac.new(secret, text.encode(), hashlib.sha256).digest())
        assert_problem(await router.call(key=f"{text}.{signature}"), code="token_invalid")

    assert blue.seen == []


async def test_a_token_for_one_endpoint_does_not_open_another(router: Router, start_model: StartModel) -> None:
    blue, red = await start_model("blue-1"), await start_model("red-1")
    studio = Signer("k1")
    other = endpoint(
        deployment("red", red),
        name="fraud",
        auth_mode="token",
        keys=(),
        issuers=trusting(studio, audience="fraud"),
    )
    await router.serve(token_endpoint(blue, studio), other)

    assert_problem(await router.call(name="fraud", key=studio.sign(aud="credit")), code="token_invalid")
    assert (await router.call(name="fraud", key=studio.sign(aud="fraud"))).status == 200
    assert_problem(await router.call(key=studio.sign(aud="fraud")), code="token_invalid")


async def test_the_next_key_is_published_and_the_old_one_withdrawn_without_a_restart(
    router: Router, haproxy: HaproxyProcess, start_model: StartModel
) -> None:
    blue, old, new = await start_model("blue-1"), Signer("k1"), Signer("k2", "RS256")
    await router.serve(token_endpoint(blue, old))
    worker = await router.runtime.process_ids()
    assert_problem(await router.call(key=new.sign()), code="token_invalid")

    await router.serve(token_endpoint(blue, old, new, key_revision=2, generation=2))
    await in_force(router, revision=2)
    assert [(await router.call(key=signer.sign())).status for signer in (old, new)] == [200, 200]
    await router.serve(token_endpoint(blue, new, key_revision=3, generation=3))
    await in_force(router, revision=3)

    assert_problem(await router.call(key=old.sign()), code="token_invalid")
    assert (await router.call(key=new.sign())).status == 200
    assert (await router.runtime.process_ids())[0] == worker[0]
    assert len(list(Path(router.settings.run_dir, "token-keys").glob("*.pem"))) == 1


async def in_force(router: Router, *, revision: int) -> None:
    """Wait until HAProxy has the keys of a revision."""
    await router.wait_for(lambda: router.reconciler.in_force()["team-a/credit"].key_revision == revision)


async def test_tokens_are_known_after_a_restart_from_disk(router: Router, start_model: StartModel) -> None:
    blue, studio, partner = await start_model("blue-1"), Signer("k1"), Signer("p/1", "RS256", "https://partner.example")
    await router.serve(token_endpoint(blue, studio, partner))
    await reload_haproxy(router.settings)

    assert [(await router.call(key=signer.sign())).status for signer in (studio, partner)] == [200, 200]
    stolen = Signer("k1")
    assert_problem(await router.call(key=stolen.sign()), code="token_invalid")


async def test_the_two_issuers_of_an_endpoint_cannot_speak_for_each_other(
    router: Router, start_model: StartModel
) -> None:
    blue, studio, partner = await start_model("blue-1"), Signer("k1"), Signer("p1", issuer="https://partner.example")
    await router.serve(token_endpoint(blue, studio, partner))

    assert_problem(await router.call(key=partner.sign(iss=studio.issuer)), code="token_invalid")
    assert (await router.call(key=partner.sign())).status == 200
