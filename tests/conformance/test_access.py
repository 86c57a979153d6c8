"""Who is asking, and what they may do: tokens, certificates, roles, reviews, and no rights out of nothing."""

import base64
import json
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.conformance.conftest import RBAC, AccountMaker, Cluster, bind, encoded
from tests.conformance.world import LOOK, WAIT, Caller, Obj, Place, config, names

READ_PODS = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}
AUTHORIZATION = "/apis/authorization.k8s.io/v1"
REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"


def who(caller: Caller) -> Obj:
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    found: Obj = caller.create(path, {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"})
    return dict(found["status"]["userInfo"])


def signing_request(user: str, group: str) -> tuple[bytes, Obj]:
    """A private key, and the spec of a CertificateSigningRequest for it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group), x509.NameAttribute(NameOID.COMMON_NAME, user)]
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject)).sign(key, hashes.SHA256())
    spec = {
        "request": encoded(request.public_bytes(serialization.Encoding.PEM)),
        "signerName": "kubernetes.io/kube-apiserver-client",
        "usages": ["client auth"],
        "expirationSeconds": 3600,
    }
    raw = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return raw, spec


# --- Who is asking ----------------------------------------------------------------------------------


def test_a_wrong_token_is_401(cluster: Cluster) -> None:
    found = cluster.caller(token="wrong").ask("GET", "/api/v1/namespaces")
    assert (found.code, found.body["reason"], found.message) == (401, "Unauthorized", "Unauthorized")


def test_nobody_may_read_objects(cluster: Cluster) -> None:
    """A cluster may know anonymous callers (then they are refused) or not (then they are nobody)."""
    found = cluster.caller().ask("GET", "/api/v1/namespaces/kube-system/secrets")
    assert found.code in (401, 403)
    if found.code == 403:
        assert 'User "system:anonymous" cannot list resource "secrets"' in found.message


def test_an_account_is_a_user_in_the_groups_of_accounts(account: AccountMaker, place: Place) -> None:
    me = who(account("bot"))
    assert me["username"] == f"system:serviceaccount:{place.name}:bot"
    assert set(me["groups"]) == {
        "system:serviceaccounts",
        f"system:serviceaccounts:{place.name}",
        "system:authenticated",
    }


def test_a_token_tells_whose_it_is_and_how_long_it_lasts(place: Place) -> None:
    account = place.caller.create(place.path("serviceaccounts"), {"metadata": {"name": "bot"}})
    asked = {"spec": {"expirationSeconds": 600, "audiences": ["model.example.org"]}}
    made = place.caller.create(place.path("serviceaccounts", "bot/token"), asked)
    assert made["kind"] == "TokenRequest"
    assert made["status"]["expirationTimestamp"].endswith("Z")
    body = made["status"]["token"].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    assert claims["sub"] == f"system:serviceaccount:{place.name}:bot"
    assert claims["aud"] == ["model.example.org"]
    assert 590 <= claims["exp"] - claims["iat"] <= 610
    assert claims["kubernetes.io"]["serviceaccount"] == {"name": "bot", "uid": account["metadata"]["uid"]}


def test_a_token_for_others_is_not_for_the_api(cluster: Cluster, place: Place) -> None:
    place.caller.create(place.path("serviceaccounts"), {"metadata": {"name": "bot"}})
    asked = {"spec": {"expirationSeconds": 600, "audiences": ["model.example.org"]}}
    token = place.caller.create(place.path("serviceaccounts", "bot/token"), asked)["status"]["token"]
    assert cluster.caller(token=token).ask("GET", "/api").code == 401
    review = {"spec": {"token": token, "audiences": ["model.example.org"]}}
    status = place.caller.create("/apis/authentication.k8s.io/v1/tokenreviews", review)["status"]
    assert status["authenticated"]
    assert status["user"]["username"] == f"system:serviceaccount:{place.name}:bot"
    other = {"spec": {"token": token, "audiences": ["another.example.org"]}}
    assert not place.caller.create("/apis/authentication.k8s.io/v1/tokenreviews", other)["status"].get("authenticated")


def test_a_token_for_less_than_ten_minutes_is_not_given(place: Place) -> None:
    place.caller.create(place.path("serviceaccounts"), {"metadata": {"name": "bot"}})
    found = place.caller.ask("POST", place.path("serviceaccounts", "bot/token"), {"spec": {"expirationSeconds": 60}})
    assert found.code == 422
    assert "spec.expirationSeconds: Invalid value: 60: may not specify a duration less than 10 minutes" in found.message


def test_a_token_ends_with_its_account(account: AccountMaker, place: Place) -> None:
    bot = account("bot", READ_PODS)
    assert bot.get(place.path("pods"))["items"] == []
    place.caller.delete(place.path("serviceaccounts", "bot"))
    place.caller.until_gone(place.path("serviceaccounts", "bot"))
    end = time.monotonic() + WAIT
    while bot.ask("GET", place.path("pods")).code != 401:  # an API server believes a token it has just checked
        assert time.monotonic() < end
        time.sleep(LOOK)


@pytest.mark.needs("create", "certificatesigningrequests.certificates.k8s.io")
@pytest.mark.needs("approve", "signers.certificates.k8s.io")
def test_a_signed_certificate_is_a_user_with_its_organizations_as_groups(
    cluster: Cluster, place: Place, tmp_path: Path
) -> None:
    user, group = f"jane-{place.name}", f"crew-{place.name}"
    key, spec = signing_request(user, group)
    made = cluster.admin.create(REQUESTS, {"metadata": {"name": user}, "spec": spec})
    assert made["spec"]["username"]
    approved = {"type": "Approved", "status": "True", "reason": "Test", "message": "the test wants it"}
    cluster.admin.update(f"{REQUESTS}/{user}/approval", {**made, "status": {"conditions": [approved]}})
    signed = cluster.admin.until(f"{REQUESTS}/{user}", lambda found: found["status"].get("certificate"))
    cluster.admin.delete(f"{REQUESTS}/{user}")
    (tmp_path / "crt").write_bytes(base64.b64decode(signed["status"]["certificate"]))
    (tmp_path / "key").write_bytes(key)
    jane = cluster.caller(certificate=(tmp_path / "crt", tmp_path / "key"))
    me = who(jane)
    assert me["username"] == user
    assert set(me["groups"]) == {group, "system:authenticated"}
    assert jane.ask("GET", place.path("pods")).code == 403
    body = {
        "metadata": {"name": "crew"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
    }
    cluster.admin.create(place.path("rbac.authorization.k8s.io/v1/rolebindings"), body)
    jane.until(place.path("pods"), bool)


# --- What they may do -------------------------------------------------------------------------------


def test_an_account_without_roles_may_nothing_and_is_told_what(account: AccountMaker, place: Place) -> None:
    bot, name = account("bot"), f"system:serviceaccount:{place.name}:bot"
    found = bot.ask("GET", place.path("pods"))
    assert (found.code, found.body["reason"], found.body["details"]) == (403, "Forbidden", {"kind": "pods"})
    assert found.message == (
        f'pods is forbidden: User "{name}" cannot list resource "pods" in API group "" in the namespace "{place.name}"'
    )
    found = bot.ask("DELETE", place.path("apps/v1/deployments", "web"))
    assert found.message == (
        f'deployments.apps "web" is forbidden: User "{name}" cannot delete resource "deployments" '
        f'in API group "apps" in the namespace "{place.name}"'
    )
    assert bot.ask("GET", "/api/v1/nodes").message == (
        f'nodes is forbidden: User "{name}" cannot list resource "nodes" in API group "" at the cluster scope'
    )
    found = bot.ask("GET", place.path("pods", "web/log"))
    assert found.message == (
        f'pods "web" is forbidden: User "{name}" cannot get resource "pods/log" '
        f'in API group "" in the namespace "{place.name}"'
    )
    found = bot.ask("GET", "/metrics")
    assert found.message == f'forbidden: User "{name}" cannot get path "/metrics"'
    found = bot.ask("GET", f"/api/v1/namespaces/{place.name}")
    assert found.message == (
        f'namespaces "{place.name}" is forbidden: User "{name}" cannot get resource "namespaces" '
        f'in API group "" in the namespace "{place.name}"'
    )


def test_a_stranger_cannot_tell_what_is_there_from_what_is_not(account: AccountMaker, place: Place) -> None:
    bot = account("bot")
    place.caller.create(place.path("configmaps"), config("one"))
    assert bot.ask("GET", place.path("configmaps", "one")).code == 403
    assert bot.ask("GET", place.path("configmaps", "two")).code == 403
    assert bot.ask("GET", "/apis/example.org/v1/ships").code == 403


def test_everyone_may_discover_and_ask_about_themselves(account: AccountMaker) -> None:
    bot = account("bot")
    for path in ("/version", "/api", "/apis", "/apis/apps/v1", "/openapi/v3"):
        assert bot.ask("GET", path).code == 200, path
    assert not bot.may("list", "pods")


def test_a_role_allows_its_verbs_in_its_namespace_and_no_more(
    cluster: Cluster, account: AccountMaker, place: Place
) -> None:
    bot = account("bot", READ_PODS)
    assert bot.ask("GET", place.path("pods")).code == 200
    assert bot.ask("GET", place.path("pods"), query={"watch": "true", "timeoutSeconds": 1}).code == 403
    assert bot.ask("POST", place.path("pods"), place.pod("p")).code == 403
    assert bot.ask("GET", "/api/v1/pods").code == 403
    assert bot.ask("GET", "/api/v1/namespaces/default/pods").code == 403


def test_names_narrow_a_role(account: AccountMaker, place: Place) -> None:
    rule = {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["mine"], "verbs": ["get", "list"]}
    bot = account("bot", rule)
    for name in ("mine", "other"):
        place.caller.create(place.path("configmaps"), config(name))
    assert bot.ask("GET", place.path("configmaps", "mine")).code == 200
    assert bot.ask("GET", place.path("configmaps", "other")).code == 403
    assert bot.ask("GET", place.path("configmaps")).code == 403
    only = bot.ask("GET", place.path("configmaps"), query={"fieldSelector": "metadata.name=mine"})
    assert names(only.body) == ["mine"]


def test_subresources_are_rights_of_their_own(account: AccountMaker, place: Place) -> None:
    rule = {"apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["get", "patch"]}
    bot = account("bot", rule)
    place.caller.create(place.path("apps/v1/deployments"), place.deployment("web", replicas=0))
    path = place.path("apps/v1/deployments", "web")
    assert bot.ask("GET", path).code == 403
    assert bot.patch(f"{path}/scale", {"spec": {"replicas": 0}})["kind"] == "Scale"
    assert bot.ask("PATCH", path, {"spec": {"replicas": 3}}, kind="application/merge-patch+json").code == 403


def test_making_by_apply_needs_the_right_to_create(account: AccountMaker, place: Place) -> None:
    rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "patch"]}
    bot, path = account("bot", rule), place.path("configmaps", "one")
    found = bot.try_apply(path, config("one", a="b"), manager="bot")
    assert found.code == 403
    assert 'cannot create resource "configmaps"' in found.message
    place.caller.create(place.path("configmaps"), config("one"))
    assert bot.apply(path, config("one", a="b"), manager="bot")["data"] == {"a": "b"}


def test_the_usual_roles_are_there_and_each_holds_the_one_below(
    cluster: Cluster, account: AccountMaker, place: Place
) -> None:
    allowed = {
        "view": {"get pods", "get deployments.apps"},
        "edit": {"get pods", "get deployments.apps", "get secrets", "create deployments.apps"},
        "admin": {
            "get pods",
            "get deployments.apps",
            "get secrets",
            "create deployments.apps",
            "create roles.rbac.authorization.k8s.io",
        },
    }
    for role, rights in allowed.items():
        bot = account(role)
        bind(cluster.admin, place, role, kind="ClusterRole", role=role)
        bot.until(place.path("pods"), bool)
        asked = {right: bot.may(*right.split(), namespace=place.name) for right in allowed["admin"]}
        assert {right for right, yes in asked.items() if yes} == rights
        assert not bot.may("get", "nodes")


def test_a_binding_to_a_role_that_is_not_there_gives_nothing(
    cluster: Cluster, account: AccountMaker, place: Place
) -> None:
    bot = account("bot")
    bind(cluster.admin, place, "bot", kind="Role", role="missing")
    assert bot.ask("GET", place.path("pods")).code == 403


def test_what_a_binding_refers_to_cannot_be_changed(cluster: Cluster, account: AccountMaker, place: Place) -> None:
    account("bot", READ_PODS)
    path = place.path("rbac.authorization.k8s.io/v1/rolebindings", "bot-bot")
    change = {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"}}
    found = cluster.admin.ask("PATCH", path, change, kind="application/merge-patch+json")
    assert found.code == 422
    assert "roleRef: Invalid value" in found.message
    assert "cannot change roleRef" in found.message


# --- Reviews ----------------------------------------------------------------------------------------


def test_an_access_review_says_yes_with_the_binding_or_no(account: AccountMaker, place: Place) -> None:
    bot = account("bot", READ_PODS)
    wanted = {"verb": "list", "resource": "pods", "namespace": place.name}
    path = f"{AUTHORIZATION}/selfsubjectaccessreviews"
    status = bot.create(path, {"spec": {"resourceAttributes": wanted}})["status"]
    assert status["allowed"]
    assert status["reason"] == (
        f'RBAC: allowed by RoleBinding "bot-bot/{place.name}" of Role "bot" to ServiceAccount "bot/{place.name}"'
    )
    status = bot.create(path, {"spec": {"resourceAttributes": {**wanted, "verb": "delete"}}})["status"]
    assert not status["allowed"]
    status = bot.create(path, {"spec": {"nonResourceAttributes": {"verb": "get", "path": "/version"}}})["status"]
    assert status["allowed"]


def test_an_access_review_about_somebody_else_is_a_right_of_its_own(account: AccountMaker, place: Place) -> None:
    bot, path = account("bot", READ_PODS), f"{AUTHORIZATION}/subjectaccessreviews"
    wanted = {"verb": "list", "resource": "pods", "namespace": place.name}
    spec = {"user": f"system:serviceaccount:{place.name}:bot", "resourceAttributes": wanted}
    assert place.caller.create(path, {"spec": spec})["status"]["allowed"]
    assert not place.caller.create(path, {"spec": {**spec, "user": "nobody"}})["status"]["allowed"]
    assert bot.ask("POST", path, {"spec": spec}).code == 403


def test_an_access_review_can_be_left_to_whoever_runs_a_namespace(account: AccountMaker, place: Place) -> None:
    path = place.path("authorization.k8s.io/v1/localsubjectaccessreviews")
    bot = account("bot", READ_PODS)
    local = {"apiGroups": ["authorization.k8s.io"], "resources": ["localsubjectaccessreviews"], "verbs": ["create"]}
    boss = account("boss", local)
    wanted = {"verb": "list", "resource": "pods", "namespace": place.name}
    spec = {"user": f"system:serviceaccount:{place.name}:bot", "resourceAttributes": wanted}
    boss.until_allowed("create", "localsubjectaccessreviews.authorization.k8s.io", namespace=place.name)
    assert boss.create(path, {"spec": spec})["status"]["allowed"]
    assert not boss.create(path, {"spec": {**spec, "user": "nobody"}})["status"]["allowed"]
    assert bot.ask("POST", path, {"spec": spec}).code == 403
    elsewhere = {**spec, "resourceAttributes": {**wanted, "namespace": "default"}}
    refused = boss.ask("POST", path, {"spec": elsewhere})
    assert (refused.code, refused.body["reason"]) == (422, "Invalid")
    assert refused.message == (  # without the kind, in every version
        '.authorization.k8s.io "" is invalid: spec.resourceAttributes.namespace: Invalid value: "default": '
        "must match metadata.namespace"
    )
    unlocal = {"user": "nobody", "nonResourceAttributes": {"verb": "get", "path": "/version"}}
    assert "disallowed on this kind of request" in boss.ask("POST", path, {"spec": unlocal}).message


def test_an_access_review_must_ask_one_thing_about_somebody(place: Place) -> None:
    path = f"{AUTHORIZATION}/subjectaccessreviews"
    found = place.caller.ask("POST", path, {"spec": {}})
    assert found.code == 422
    assert "spec.resourceAttributes: Invalid value: " in found.message
    assert "exactly one of nonResourceAttributes or resourceAttributes must be specified" in found.message
    assert "at least one of user or group must be specified" in found.message


def test_a_rules_review_lists_what_one_may_in_a_namespace(account: AccountMaker, place: Place) -> None:
    bot = account("bot", READ_PODS)
    status = bot.create(f"{AUTHORIZATION}/selfsubjectrulesreviews", {"spec": {"namespace": place.name}})["status"]
    assert READ_PODS in [
        {key: rule[key] for key in ("apiGroups", "resources", "verbs")} for rule in status["resourceRules"]
    ]
    paths = {path for rule in status["nonResourceRules"] for path in rule["nonResourceURLs"]}
    assert "/version" in paths


# --- No rights out of nothing -----------------------------------------------------------------------

ROLES_TOO = [
    READ_PODS,
    {
        "apiGroups": ["rbac.authorization.k8s.io"],
        "resources": ["roles", "rolebindings"],
        "verbs": ["create", "get", "update", "patch"],
    },
]


def test_nobody_writes_a_role_with_more_than_they_hold(account: AccountMaker, place: Place) -> None:
    bot, path = account("bot", *ROLES_TOO), place.path("rbac.authorization.k8s.io/v1/roles")
    assert bot.ask("POST", path, {"metadata": {"name": "same"}, "rules": [READ_PODS]}).code == 201
    more = {**READ_PODS, "verbs": ["get", "delete"]}
    for found in (
        bot.ask("POST", path, {"metadata": {"name": "more"}, "rules": [more]}),
        bot.ask("PATCH", f"{path}/same", {"rules": [more]}, kind="application/merge-patch+json"),
    ):
        assert (found.code, found.body["reason"]) == (403, "Forbidden")
        assert f'user "system:serviceaccount:{place.name}:bot" (groups=["system:serviceaccounts"' in found.message
        assert "is attempting to grant RBAC permissions not currently held:\n" in found.message
        assert found.message.endswith('{APIGroups:[""], Resources:["pods"], Verbs:["delete"]}')
    assert place.caller.get(f"{path}/same")["rules"] == [READ_PODS]
    assert place.caller.ask("GET", f"{path}/more").code == 404


def test_nobody_binds_a_role_with_more_than_they_hold(account: AccountMaker, place: Place) -> None:
    bot, path = account("bot", *ROLES_TOO), place.path("rbac.authorization.k8s.io/v1/rolebindings")
    subject = {"kind": "ServiceAccount", "name": "bot", "namespace": place.name}

    def binding(name: str, role: str) -> Obj:
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
        return {"metadata": {"name": name}, "subjects": [subject], "roleRef": reference}

    found = bot.ask("POST", path, binding("up", "admin"))
    assert found.code == 403
    assert 'rolebindings.rbac.authorization.k8s.io "up" is forbidden: user' in found.message
    assert bot.ask("POST", path, binding("gone", "slipway-no-such-role")).code == 404
    assert bot.ask("POST", path, binding("public", "system:public-info-viewer")).code == 201


def test_the_verbs_bind_and_escalate_are_the_way_to_hand_on_more(account: AccountMaker, place: Place) -> None:
    group = "rbac.authorization.k8s.io"
    binder = account(
        "binder",
        {"apiGroups": [group], "resources": ["rolebindings"], "verbs": ["create"]},
        {"apiGroups": [group], "resources": ["clusterroles"], "resourceNames": ["view"], "verbs": ["bind"]},
    )
    subject = {"kind": "ServiceAccount", "name": "binder", "namespace": place.name}
    reference = {"apiGroup": group, "kind": "ClusterRole", "name": "view"}
    body = {"metadata": {"name": "see"}, "subjects": [subject], "roleRef": reference}
    binder.create(place.path(f"{group}/v1/rolebindings"), body)
    binder.until(place.path("pods"), bool)
    other = {**body, "metadata": {"name": "more"}, "roleRef": {**reference, "name": "edit"}}
    assert binder.ask("POST", place.path(f"{group}/v1/rolebindings"), other).code == 403
    writer = account("writer", {"apiGroups": [group], "resources": ["roles"], "verbs": ["create", "escalate"]})
    anything = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
    writer.create(place.path(f"{group}/v1/roles"), {"metadata": {"name": "all"}, "rules": [anything]})


@pytest.mark.needs("create", "clusterroles.rbac.authorization.k8s.io")
def test_a_label_adds_rules_to_the_usual_roles(cluster: Cluster, place: Place) -> None:
    rule = {"apiGroups": [f"{place.name}.example.org"], "resources": ["boats"], "verbs": ["get"]}
    labels = {"rbac.authorization.k8s.io/aggregate-to-view": "true"}
    cluster.admin.create(f"{RBAC}/clusterroles", {"metadata": {"name": place.name, "labels": labels}, "rules": [rule]})
    try:
        for role in ("view", "edit", "admin"):
            cluster.admin.until(f"{RBAC}/clusterroles/{role}", lambda found: rule in found["rules"])
    finally:
        cluster.admin.delete(f"{RBAC}/clusterroles/{place.name}")
    cluster.admin.until(f"{RBAC}/clusterroles/admin", lambda found: rule not in found["rules"])


# --- Acting as somebody else ------------------------------------------------------------------------


@pytest.mark.needs("impersonate", "users")
@pytest.mark.needs("impersonate", "groups")
def test_an_administrator_may_act_as_another(cluster: Cluster, account: AccountMaker, place: Place) -> None:
    account("bot", READ_PODS)
    bot = {"Impersonate-User": f"system:serviceaccount:{place.name}:bot"}
    assert cluster.admin.ask("GET", place.path("pods"), headers=bot).code == 200
    assert cluster.admin.ask("GET", place.path("secrets"), headers=bot).code == 403
    jane = {"Impersonate-User": "jane", "Impersonate-Group": "system:masters"}
    assert cluster.admin.ask("GET", place.path("secrets"), headers=jane).code == 200


def test_nobody_else_may_act_as_another(account: AccountMaker, place: Place) -> None:
    """What it is called has changed: since 1.36 there are also rights to act as somebody for one verb only."""
    found = account("bot").ask("GET", place.path("pods"), headers={"Impersonate-User": "jane"})
    assert (found.code, found.body["reason"]) == (403, "Forbidden")
    assert f'User "system:serviceaccount:{place.name}:bot" cannot impersonate' in found.message
