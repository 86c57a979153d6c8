"""The cluster's roles as they are now, asked by every request that comes over HTTP.

In-process controllers and the kubelet write to the registry directly and are not asked. The index is made
anew at the first question after a role or binding changed; aggregated ClusterRoles are kept complete.
"""

import asyncio
from collections.abc import Callable

from clusters.embedded import rbac, rbac_defaults
from clusters.embedded.errors import Forbidden, NotFound, about
from clusters.embedded.journal import Change
from clusters.embedded.rbac import Attributes, User
from clusters.embedded.registry import Admission, Registry
from clusters.embedded.resources import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    ROLE_BINDINGS,
    ROLES,
    Obj,
    Resource,
)

_ROLES = (ROLES, CLUSTER_ROLES)
_BINDINGS = (ROLE_BINDINGS, CLUSTER_ROLE_BINDINGS)


class Authorizer:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._index: rbac.Index | None = None
        self._aggregating = False
        self._ensure_defaults()
        registry.subscribe(self._changed, *_ROLES, *_BINDINGS)

    def decide(self, user: User, attributes: Attributes) -> tuple[bool, str]:
        """(allowed, reason)."""
        return rbac.decide(self._current(), user, attributes)

    def require(self, user: User, attributes: Attributes) -> None:
        """Raises Forbidden, in the words of a real API server."""
        if not self.decide(user, attributes)[0]:
            raise forbidden(user, attributes)

    def rules_of(self, user: User, *, namespace: str) -> list[rbac.Rule]:
        held = [grant.rule for grant in rbac.grants_of(self._current(), user, namespace=namespace)]
        return list(dict.fromkeys(held))

    def guard(self, user: User) -> Callable[[Admission], None]:
        """What a write of this user must pass once the object is known: no rights out of nothing."""

        def check(admission: Admission) -> None:
            if admission.resource in _ROLES:
                self._check_role(user, admission)
            elif admission.resource in _BINDINGS:
                self._check_binding(user, admission)

        return check

    def _check_role(self, user: User, admission: Admission) -> None:
        obj = admission.obj
        if _only_collected(admission.old, obj):
            return
        if self._may(user, "escalate", admission.resource, obj["metadata"]):
            return
        rules = rbac.rules_of(obj)
        if obj.get("aggregationRule"):  # it may come to hold anything
            rules += rbac.rules_of({"rules": rbac_defaults.CLUSTER_ROLES[0]["rules"]})
        self._refuse_escalation(user, rules, admission)

    def _check_binding(self, user: User, admission: Admission) -> None:
        obj = admission.obj
        if _only_collected(admission.old, obj):
            return
        reference, namespace = obj["roleRef"], obj["metadata"].get("namespace", "")
        resource = ROLES if reference.get("kind") == "Role" else CLUSTER_ROLES
        if self._may(user, "bind", resource, {"name": reference["name"], "namespace": namespace}):
            return
        role = self._registry.find(resource, namespace, reference["name"])
        if role is None:
            raise NotFound.of(resource, reference["name"])
        self._refuse_escalation(user, rbac.rules_of(role), admission)

    def _refuse_escalation(self, user: User, rules: list[rbac.Rule], admission: Admission) -> None:
        metadata = admission.obj["metadata"]
        lacking = rbac.missing(self.rules_of(user, namespace=metadata.get("namespace", "")), rules)
        if lacking:
            text = f'{admission.resource.qualified} "{metadata["name"]}" is forbidden: '
            details = about(admission.resource, metadata["name"])
            raise Forbidden(text + rbac.escalation(user, lacking), details=details)

    def _may(self, user: User, verb: str, resource: Resource, metadata: Obj) -> bool:
        asked = Attributes(
            verb,
            group=resource.group,
            resource=resource.plural,
            namespace=metadata.get("namespace", ""),
            name=metadata["name"],
        )
        return self.decide(user, asked)[0]

    # --- Keeping up -----------------------------------------------------------------------------

    def _current(self) -> rbac.Index:
        if self._index is None:
            bindings = [binding for kind in _BINDINGS for binding in self._registry.list(kind)]
            self._index = rbac.build_index(
                roles=self._registry.list(ROLES),
                cluster_roles=self._registry.list(CLUSTER_ROLES),
                bindings=bindings,
            )
        return self._index

    def _changed(self, change: Change) -> None:
        self._index = None
        if change.key == CLUSTER_ROLES.key and not self._aggregating:
            self._aggregating = True
            asyncio.get_running_loop().call_soon(self._aggregate)

    def _aggregate(self) -> None:
        self._aggregating = False
        roles = self._registry.list(CLUSTER_ROLES)
        for role in roles:
            if role.get("aggregationRule"):
                rules = rbac.aggregated(role, others=roles)
                if rules != (role.get("rules") or []):
                    self._registry.update(CLUSTER_ROLES, {**role, "rules": rules})

    def _ensure_defaults(self) -> None:
        """Roles are put back as they should be, as at a real cluster's start; bindings are only made."""
        for role in rbac_defaults.CLUSTER_ROLES:
            old = self._registry.find(CLUSTER_ROLES, None, role["metadata"]["name"])
            if old is None:
                self._registry.create(CLUSTER_ROLES, role)
            elif "aggregationRule" not in role and old.get("rules") != role["rules"]:
                self._registry.update(CLUSTER_ROLES, {**old, "rules": role["rules"]})
        for binding in rbac_defaults.CLUSTER_ROLE_BINDINGS:
            if self._registry.find(CLUSTER_ROLE_BINDINGS, None, binding["metadata"]["name"]) is None:
                self._registry.create(CLUSTER_ROLE_BINDINGS, binding)
        for _ in range(3):  # `edit` collects from `view`, and `admin` from `edit`
            self._aggregate()


def _only_collected(old: Obj | None, new: Obj) -> bool:
    """Whether a write changes nothing but what the garbage collector needs: that anyone may who may write."""
    if old is None:
        return False
    ignored = ("finalizers", "ownerReferences", "managedFields", "resourceVersion")
    before, after = (
        {**obj, "metadata": {k: v for k, v in obj["metadata"].items() if k not in ignored}} for obj in (old, new)
    )
    return before == after


def forbidden(user: User, asked: Attributes) -> Forbidden:
    """The 403 for a request."""
    words = rbac.refusal(user, asked)
    if not asked.resource:
        return Forbidden(f"forbidden: {words}", details={})
    qualified = f"{asked.resource}.{asked.group}" if asked.group else asked.resource
    name = f' "{asked.name}"' if asked.name else ""
    details = {"name": asked.name, "group": asked.group, "kind": asked.resource}
    return Forbidden(
        f"{qualified}{name} is forbidden: {words}", details={key: value for key, value in details.items() if value}
    )
