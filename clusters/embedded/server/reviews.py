"""Questions about who may do what, and tokens: kinds that are asked and never stored."""

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
    Resource,
)
from clusters.embedded.server import answer, pods
from clusters.embedded.server.body import read_object
from clusters.embedded.server.context import CONTEXT
from clusters.embedded.server.request import USER, Asked

_TOKEN_REQUESTS: Final = Resource("authentication.k8s.io", "v1", "tokenrequests", "TokenRequest")
_SHORTEST_TOKEN: Final = 600
_HOUR: Final = 3600


async def review(request: web.Request, asked: Asked) -> web.StreamResponse:
    """Answer a review with its status filled in."""
    if asked.resource == BINDINGS:
        return await pods.not_here(request, asked)
    obj = await read_object(request)
    spec, context = obj.get("spec") or {}, request.app[CONTEXT]
    if asked.resource == TOKEN_REVIEWS:
        status = _token_status(context.authenticator, spec)
    elif asked.resource == SELF_SUBJECT_RULES_REVIEWS:
        status = _rules(request[USER], spec, context.authorizer)
    elif asked.resource.kind == "SelfSubjectReview":
        status = {"userInfo": _user_info(request[USER])}
    else:
        status = _access_status(request[USER], spec, asked, context.authorizer)
    head = {"apiVersion": asked.resource.api_version, "kind": asked.resource.kind}
    metadata = {"creationTimestamp": None}
    return answer.json(request, {**head, "metadata": metadata, "spec": spec, "status": status}, code=201)


def _access_status(user: User, spec: Obj, asked: Asked, authorizer: Authorizer) -> Obj:
    """Whether somebody may do something: the caller, or whom the review names. Raises Invalid."""
    wanted, path = spec.get("resourceAttributes") or {}, spec.get("nonResourceAttributes") or {}
    causes = _wrong_attributes(wanted, path, asked)
    if asked.resource != SELF_SUBJECT_ACCESS_REVIEWS:
        user = User(spec.get("user", ""), groups=tuple(spec.get("groups") or ()))
        if not (user.name or user.groups):
            causes.append(invalid("spec.user", user.name, "at least one of user or group must be specified"))
    if causes:
        raise Invalid.of(asked.resource, "", causes)
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


def _wrong_attributes(wanted: Obj, path: Obj, asked: Asked) -> list[Cause]:
    if not (wanted or path):
        told = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        return [invalid("spec.resourceAttributes", None, told)]
    if wanted and path:
        told = "cannot be specified in combination with resourceAttributes"
        return [invalid("spec.nonResourceAttributes", path, told)]
    if asked.resource != LOCAL_SUBJECT_ACCESS_REVIEWS:
        return []
    if path:
        return [invalid("spec.nonResourceAttributes", path, "disallowed on this kind of request")]
    given = wanted.get("namespace", "")
    if given != asked.namespace:
        return [invalid("spec.resourceAttributes.namespace", given, "must match metadata.namespace")]
    return []


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
    audiences = tuple(spec.get("audiences") or (auth.AUDIENCE,))
    user = authenticator.user_of(spec.get("token", ""), audiences=audiences)
    if user is None:
        return {"authenticated": False, "error": "the token is not valid"}
    return {"authenticated": True, "user": _user_info(user), "audiences": list(audiences)}


def _user_info(user: User) -> Obj:
    info: Obj = {"username": user.name, "groups": list(user.groups)}
    return info | ({"uid": user.uid} if user.uid else {})


async def token_request(request: web.Request, asked: Asked) -> web.StreamResponse:
    """serviceaccounts/token: a signed token, bound to the account and, if asked, to a pod."""
    context = request.app[CONTEXT]
    account = context.registry.get(SERVICE_ACCOUNTS, asked.namespace, str(asked.name))
    spec = (await read_object(request)).get("spec") or {}
    seconds = spec.get("expirationSeconds") or _HOUR
    if not isinstance(seconds, int) or seconds < _SHORTEST_TOKEN:
        cause = invalid("spec.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
        raise Invalid.of(_TOKEN_REQUESTS, "", [cause])
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
