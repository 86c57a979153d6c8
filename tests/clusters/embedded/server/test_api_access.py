"""Who gets in: tokens, reviews, what stays open."""

import ssl
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from clusters.embedded import tls

ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
BINDINGS = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings"


def view_for(account: str) -> dict[str, Any]:
    subject = {"kind": "ServiceAccount", "name": account, "namespace": "default"}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
    return {"metadata": {"name": "look"}, "subjects": [subject], "roleRef": role}


@pytest.fixture
async def account(cluster: Any) -> str:
    """A token of the ServiceAccount `bot`."""
    await cluster.post(ACCOUNTS, {"metadata": {"name": "bot"}})
    made = await cluster.post(f"{ACCOUNTS}/bot/token", {"spec": {"expirationSeconds": 600}})
    assert made["status"]["expirationTimestamp"]
    return str(made["status"]["token"])


@pytest.mark.parametrize("header", ["", "Bearer ", "Basic YTpi"])
async def test_who_shows_nothing_is_anonymous_and_may_nothing(cluster: Any, header: str) -> None:
    status, answer = await cluster.ask("GET", "/api/v1/pods", Authorization=header)
    assert (status, answer["kind"], answer["reason"]) == (403, "Status", "Forbidden")
    assert answer["message"].startswith('pods is forbidden: User "system:anonymous" cannot list resource "pods"')


@pytest.mark.parametrize("header", ["Bearer wrong", "Bearer a.b.c", "Bearer é"])
async def test_who_shows_a_wrong_token_is_answered_with_401(cluster: Any, header: str) -> None:
    status, answer = await cluster.ask("GET", "/api/v1/pods", Authorization=header)
    assert (status, answer["kind"], answer["reason"]) == (401, "Status", "Unauthorized")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/livez", "/version"])
async def test_health_is_open(cluster: Any, path: str) -> None:
    async with cluster.session.get(cluster.url + path) as response:
        assert response.status == 200


async def test_an_account_token_works_and_says_who_it_is(cluster: Any, account: str) -> None:
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    status, found = await cluster.ask("POST", path, review, Authorization=f"Bearer {account}")
    assert status == 201
    assert found["status"]["userInfo"]["username"] == "system:serviceaccount:default:bot"


async def test_an_account_token_dies_with_its_account(cluster: Any, account: str) -> None:
    await cluster.ask("DELETE", f"{ACCOUNTS}/bot")
    await cluster.post(ACCOUNTS, {"metadata": {"name": "bot"}})
    status, _ = await cluster.ask("GET", "/api/v1/pods", Authorization=f"Bearer {account}")
    assert status == 401


async def test_a_token_ends_at_its_hour(cluster: Any, account: str) -> None:
    real = cluster.registry.clock
    authenticator = cluster.authenticator
    assert authenticator.authenticate(f"Bearer {account}") is not None
    authenticator._clock = lambda: real() + timedelta(seconds=601)
    assert authenticator.authenticate(f"Bearer {account}") is None


async def test_a_changed_token_is_refused(cluster: Any, account: str) -> None:
    head, body, signature = account.split(".")
    forged = f"{head}.{body[:-2]}{'AA' if body[-2:] != 'AA' else 'BB'}.{signature}"
    status, _ = await cluster.ask("GET", "/api/v1/pods", Authorization=f"Bearer {forged}")
    assert status == 401


async def test_a_token_review_tells_the_owner_of_a_token(cluster: Any, account: str) -> None:
    path = "/apis/authentication.k8s.io/v1/tokenreviews"
    good = await cluster.post(path, {"spec": {"token": account}})
    assert good["status"]["user"]["username"] == "system:serviceaccount:default:bot"
    bad = await cluster.post(path, {"spec": {"token": "nonsense"}})
    assert bad["status"] == {"user": {}, "error": "invalid bearer token"}


async def test_an_access_review_tells_an_account_what_it_may(cluster: Any, account: str) -> None:
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    wanted = {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "default"}}}
    assert (await cluster.post(path, wanted))["status"] == {"allowed": True}
    _, found = await cluster.ask("POST", path, wanted, Authorization=f"Bearer {account}")
    assert found["status"] == {"allowed": False}
    await cluster.post(BINDINGS, view_for("bot"))
    _, found = await cluster.ask("POST", path, wanted, Authorization=f"Bearer {account}")
    assert found["status"]["allowed"] is True
    why = 'RBAC: allowed by RoleBinding "look/default" of ClusterRole "view" to ServiceAccount "bot/default"'
    assert found["status"]["reason"] == why


async def test_a_right_taken_away_is_gone_with_the_answer(cluster: Any, account: str) -> None:
    await cluster.post(BINDINGS, view_for("bot"))
    mine = {"Authorization": f"Bearer {account}"}
    assert (await cluster.ask("GET", "/api/v1/namespaces/default/pods", **mine))[0] == 200
    await cluster.ask("DELETE", f"{BINDINGS}/look")
    status, answer = await cluster.ask("GET", "/api/v1/namespaces/default/pods", **mine)
    assert status == 403
    assert answer["message"] == (
        'pods is forbidden: User "system:serviceaccount:default:bot" cannot list resource "pods" '
        'in API group "" in the namespace "default"'
    )
    assert answer["details"] == {"kind": "pods"}


async def test_a_custom_kind_joins_a_default_role_by_a_label(cluster: Any) -> None:
    roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
    rule = {"apiGroups": ["example.org"], "resources": ["boats"], "verbs": ["get"]}
    labels = {"rbac.authorization.k8s.io/aggregate-to-view": "true"}
    await cluster.post(roles, {"metadata": {"name": "boats", "labels": labels}, "rules": [rule]})
    for name in ("view", "edit", "admin"):
        assert rule in (await cluster.get(f"{roles}/{name}"))["rules"]
    await cluster.ask("DELETE", f"{roles}/boats")
    assert rule not in (await cluster.get(f"{roles}/admin"))["rules"]


async def test_a_certificate_of_the_clusters_authority_proves_a_user(cluster: Any) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    signed = tls.sign_client(
        cluster.identity, public_key=private.public_key(), user="jane", groups=("team",), now=datetime.now(UTC)
    )
    file = cluster.directory / "jane.pem"
    file.write_bytes(signed + tls.key_pem(private))
    context = ssl.create_default_context(cafile=str(cluster.identity.authority))
    context.load_cert_chain(file)
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    path = f"{cluster.url}/apis/authentication.k8s.io/v1/selfsubjectreviews"
    async with cluster.session.post(path, json=review, ssl=context) as answer:
        found = await answer.json()
    assert found["status"]["userInfo"] == {"username": "jane", "groups": ["team", "system:authenticated"]}


async def test_the_servers_own_certificate_is_no_users(cluster: Any) -> None:
    context = ssl.create_default_context(cafile=str(cluster.identity.authority))
    context.load_cert_chain(cluster.identity.certificate, cluster.identity.key)
    with pytest.raises(aiohttp.ClientError):
        await cluster.session.get(f"{cluster.url}/version", ssl=context)


async def test_keys_and_tokens_are_readable_by_their_owner_only(cluster: Any) -> None:
    for name in ("token", "tls/server.key", "tls/ca.key", "tls/service-account.key"):
        assert (cluster.directory / name).stat().st_mode & 0o077 == 0
