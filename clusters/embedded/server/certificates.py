"""certificates.k8s.io: how somebody gets a client certificate of this cluster.

    create (says who asks) -> approval (needs the right to approve for this signer) -> signed in the same moment

One signer is known, kubernetes.io/kube-apiserver-client; requests to others are kept and never signed.
"""

import base64
from datetime import timedelta
from typing import Final

from aiohttp import web
from cryptography import x509
from cryptography.x509.oid import NameOID

from clusters.embedded import tls
from clusters.embedded.causes import invalid
from clusters.embedded.errors import BadRequest, Invalid
from clusters.embedded.lifecycle import rfc3339
from clusters.embedded.rbac import Attributes
from clusters.embedded.resources import CERTIFICATE_SIGNING_REQUESTS, Obj, copied_object
from clusters.embedded.server import answer
from clusters.embedded.server.body import read_object
from clusters.embedded.server.context import CONTEXT
from clusters.embedded.server.options import dry_run, field_manager
from clusters.embedded.server.request import USER, Asked

SIGNER: Final = "kubernetes.io/kube-apiserver-client"
_LONGEST: Final = 365 * 24 * 3600


async def create(request: web.Request, asked: Asked) -> web.StreamResponse:
    registry, user = request.app[CONTEXT].registry, request[USER]
    obj = await read_object(request)
    spec = obj.setdefault("spec", {}) | {"username": user.name, "groups": list(user.groups)}
    try:
        _read(spec)
    except ValueError as error:
        cause = invalid("spec.request", "", f"unable to parse csr: {error}")
        name = (obj.get("metadata") or {}).get("name", "")
        raise Invalid.of(asked.resource, name, [cause]) from error
    made = registry.create(
        asked.resource, {**obj, "spec": spec}, manager=field_manager(request), dry_run=dry_run(request)
    )
    await registry.committed()
    return answer.one(request, asked.resource, made, code=201)


async def approve(request: web.Request, asked: Asked) -> web.StreamResponse:
    """Take the conditions of the body; an approved request is signed."""
    context = request.app[CONTEXT]
    new = copied_object(context.registry.get(asked.resource, None, str(asked.name)))
    signer = new["spec"].get("signerName", "")
    wanted = Attributes("approve", group=asked.resource.group, resource="signers", name=signer)
    context.authorizer.require(request[USER], wanted)
    now = context.registry.clock()
    conditions = ((await read_object(request)).get("status") or {}).get("conditions") or []
    status: Obj = {**(new.get("status") or {}), "conditions": conditions}
    for condition in conditions:
        condition.setdefault("lastUpdateTime", rfc3339(now))
        condition.setdefault("lastTransitionTime", rfc3339(now))
    approved = any(each.get("type") == "Approved" and each.get("status") == "True" for each in conditions)
    if approved and signer == SIGNER and not status.get("certificate"):
        subject, key = _read(new["spec"])
        if context.identity is None:
            raise BadRequest("the API server is not ready")
        signed = tls.sign_client(
            context.identity,
            public_key=key,
            user=_first(subject, NameOID.COMMON_NAME),
            groups=tuple(str(part.value) for part in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)),
            now=now,
            lasts=timedelta(seconds=min(new["spec"].get("expirationSeconds") or _LONGEST, _LONGEST)),
        )
        status["certificate"] = base64.b64encode(signed).decode()
    signed_or_not = {**new, "status": status}
    made = context.registry.update(asked.resource, signed_or_not, subresource="status", dry_run=dry_run(request))
    await context.registry.committed()
    return answer.one(request, CERTIFICATE_SIGNING_REQUESTS, made)


def _read(spec: Obj) -> tuple[x509.Name, tls.PublicKey]:
    """Whom a request names, and the key. Raises ValueError."""
    request = x509.load_pem_x509_csr(base64.b64decode(str(spec.get("request", ""))))
    key = request.public_key()
    if not isinstance(key, tls.PublicKey):
        raise ValueError("the key must be an elliptic-curve or an RSA key")
    if not request.is_signature_valid:
        raise ValueError("it is not signed with its own key")
    return request.subject, key


def _first(subject: x509.Name, oid: x509.ObjectIdentifier) -> str:
    return next((str(part.value) for part in subject.get_attributes_for_oid(oid)), "")
