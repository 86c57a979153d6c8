"""Questions about who may do what, and tokens: kinds that are asked and never stored."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from aiohttp import web

from clusters.embedded import auth
from clusters.embedded.authorizer import Authorizer
from clusters.embedded.causes import Cause, invalid
from clusters.embedded.errors import BadRequest, Invalid
from clusters.embedded.lifecycle import rfc3339
from clusters.embedded.rbac import Attributes, User
from clusters.embedded.registry import Registry
from clusters.embedded.resources import (
    BINDINGS,
    LOCAL_SUBJECT_ACCESS_REVIEWS,
    PODS,
    SELF_SUBJECT_ACCESS_REVIEWS,
    SELF_SUBJECT_RULES_REVIEWS,
    SERVICE_ACCOUNTS,
    TOKEN_REVIEWS,
    Obj,
)
from clusters.embedded.server import answer, pods
from clusters.embedded.server.body import read_checked
from clusters.embedded.server.context import CONTEXT
from clusters.embedded.server.request import USER, Asked, body_kind

_SHORTEST_TOKEN: Final = 600
_HOUR: Final = 3600


async def review(request: web.Request, asked: Asked) -> web.StreamResponse:
    """Answer a review with its status filled in."""
    if asked.resource == BINDINGS:
        return await pods.not_here(request, asked)
    obj = await read_checked(request)
    spec, context = obj.get("spec") or {}, request.app[CONTEXT]
    if asked.resource == TOKEN_REVIEWS:
        status = _token_status(context.authenticator, spec)
    elif asked.resource == SELF_SUBJECT_RULES_REVIEWS:
        status = _rules(request[USER], spec, context.authorizer)
    elif asked.resource.kind == "SelfSubjectReview":
        status = {"userInfo": _user_info(request[USER])}
    else:
        _check_access_review(asked, obj)
        status = _access_status(request[USER], spec, asked, context.authorizer)
    head = {"apiVersion": asked.resource.api_version, "kind": asked.resource.kind}
    metadata = {"creationTimestamp": None}
    return answer.json(request, {**head, "metadata": metadata, "spec": spec, "status": status}, code=201)


def _check_access_review(asked: Asked, obj: Obj) -> None:
    """Raises BadRequest for another namespace than the path's, Invalid for all else. Its kind is not in the message."""
    metadata, spec = obj.get("metadata") or {}, obj.get("spec") or {}
    local = asked.resource == LOCAL_SUBJECT_ACCESS_REVIEWS
    if local and metadata.get("namespace", asked.namespace) != asked.namespace:
        raise BadRequest("the namespace of the provided object does not match the namespace sent on the request")
    causes = _wrong_attributes(spec.get("resourceAttributes"), spec.get("nonResourceAttributes"))
    if asked.resource != SELF_SUBJECT_ACCESS_REVIEWS and not (spec.get("user") or spec.get("groups")):
        causes.append(invalid("spec.user", "", "at least one of user or group must be specified"))
    if set(metadata) - ({"namespace"} if local else set()):
        causes.append(invalid("metadata", metadata, "must be empty" + (" except for namespace" if local else "")))
    if local:
        causes += _elsewhere(spec, namespace=str(asked.namespace))
    if causes:
        raise Invalid.of(replace(asked.resource, kind=""), "", causes)


def _wrong_attributes(wanted: Obj | None, path: Obj | None) -> list[Cause]:
    if wanted is None and path is None:
        told = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        return [invalid("spec.resourceAttributes", None, told)]
    if wanted is not None and path is not None:
        told = "cannot be specified in combination with resourceAttributes"
        return [invalid("spec.nonResourceAttributes", _path_value(path), told)]
    return []


def _elsewhere(spec: Obj, *, namespace: str) -> Iterator[Cause]:
    """What a review within a namespace may not ask about."""
    wanted, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if wanted is not None and wanted.get("namespace", "") != namespace:
        told = "must match metadata.namespace"
        yield invalid("spec.resourceAttributes.namespace", wanted.get("namespace", ""), told)
    if path is not None:
        yield invalid("spec.nonResourceAttributes", _path_value(path), "disallowed on this kind of request")


def _path_value(path: Obj) -> Obj:
    return {"Path": path.get("path", ""), "Verb": path.get("verb", "")}


def _access_status(user: User, spec: Obj, asked: Asked, authorizer: Authorizer) -> Obj:
    """Whether somebody may do something: the caller, or whom the review names."""
    wanted, path = spec.get("resourceAttributes") or {}, spec.get("nonResourceAttributes") or {}
    if asked.resource != SELF_SUBJECT_ACCESS_REVIEWS:
        user = User(spec.get("user", ""), groups=tuple(spec.get("groups") or ()))
    attributes = Attributes(
        (wanted or path).get("verb", ""),
        group=wanted.get("group", ""),
        resource=wanted.get("resource", ""),
        subresource=wanted.get("subresource", ""),
        namespace=wanted.get("namespace", ""),
        name=wanted.get("name", ""),
        path=path.get("path", ""),
    )
    allowed, reason = authorizer.decide(user, attributes)
    return {"allowed": allowed} | ({"reason": reason} if reason else {})


def _rules(user: User, spec: Obj, authorizer: Authorizer) -> Obj:
    namespace = spec.get("namespace")
    if not namespace:
        raise BadRequest("no namespace on request")
    rules = authorizer.rules_of(user, namespace=namespace)
    return {
        "resourceRules": [rule.to_object() for rule in rules if not rule.paths],
        "nonResourceRules": [rule.to_object() for rule in rules if rule.paths],
        "incomplete": False,
    }


def _token_status(authenticator: auth.Authenticator, spec: Obj) -> Obj:
    """Raises BadRequest."""
    if not spec.get("token"):
        raise BadRequest("token is required for TokenReview in authentication")
    audiences = tuple(spec.get("audiences") or (auth.AUDIENCE,))
    user = authenticator.user_of(spec.get("token", ""), audiences=audiences)
    if user is None:
        return {"user": {}, "error": "invalid bearer token"}
    return {"authenticated": True, "user": _user_info(user), "audiences": list(audiences)}


def _user_info(user: User) -> Obj:
    info: Obj = {"username": user.name, "groups": list(user.groups)}
    return info | ({"uid": user.uid} if user.uid else {})


async def token_request(request: web.Request, asked: Asked) -> web.StreamResponse:
    """serviceaccounts/token: a signed token, bound to the account and, if asked, to a pod."""
    context = request.app[CONTEXT]
    account = context.registry.get(SERVICE_ACCOUNTS, asked.namespace, str(asked.name))
    spec = (await read_checked(request)).get("spec") or {}
    seconds = spec.get("expirationSeconds") or _HOUR
    if not isinstance(seconds, int) or seconds < _SHORTEST_TOKEN:
        cause = invalid("spec.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
        raise Invalid.of(body_kind(asked), "", [cause])
    audiences = tuple(spec.get("audiences") or (auth.AUDIENCE,))
    pod = _bound_pod(context.registry, asked, spec.get("boundObjectRef"))
    token, end = context.authenticator.issue(account, seconds=seconds, audiences=audiences, pod=pod)
    answer_obj = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "metadata": {"name": asked.name, "namespace": asked.namespace, "creationTimestamp": None},
        "spec": {**spec, "audiences": list(audiences), "expirationSeconds": seconds},
        "status": {"token": token, "expirationTimestamp": rfc3339(end)},
    }
    return answer.json(request, answer_obj, code=201)


def _bound_pod(registry: Registry, asked: Asked, reference: Obj | None) -> Obj | None:
    if not reference:
        return None
    if reference.get("kind") != "Pod":
        raise BadRequest("a token can be bound to a Pod only on the embedded cluster")
    return registry.get(PODS, asked.namespace, reference.get("name", ""))
