"""The account that an operator makes for Slipway in a cluster, as objects for `kubectl apply`. Pure.

It holds what preflight.py asks for and nothing else. What is asked for in one namespace is given in all of them: that
namespace may not be there yet.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

import yaml

from clusters.kube.kinds import Obj
from clusters.preflight import NEEDED, Right

ACCOUNT: Final = "slipway-studio"
NAMESPACE: Final = "kube-system"
FILE: Final = "slipway-account.yaml"
_RBAC: Final = "rbac.authorization.k8s.io"


def account_objects(rights: Iterable[Right] = NEEDED) -> list[Obj]:
    """A ServiceAccount, a ClusterRole of these rights, and what binds them."""
    subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": NAMESPACE}
    role = {"apiGroup": _RBAC, "kind": "ClusterRole", "name": ACCOUNT}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT, "namespace": NAMESPACE}},
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": ACCOUNT},
            "rules": _rules(rights),
        },
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": ACCOUNT},
            "roleRef": role,
            "subjects": [subject],
        },
    ]


def account_yaml() -> str:
    """The same as a file."""
    said = "# What Slipway needs in a cluster, and nothing else: kubectl apply -f " + FILE + "\n"
    return said + yaml.safe_dump_all(account_objects(), sort_keys=False)


def _rules(rights: Iterable[Right]) -> list[Obj]:
    """As few rules as say it: one for all resources of a group that the same verbs are for."""
    verbs: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for right in rights:
        resource = f"{right.resource}/{right.subresource}" if right.subresource else right.resource
        known = verbs[right.group, resource, right.name]
        if right.verb not in known:
            known.append(right.verb)
    resources: dict[tuple[str, str, tuple[str, ...]], list[str]] = defaultdict(list)
    for (group, resource, name), found in sorted(verbs.items()):
        resources[group, name, tuple(found)].append(resource)
    return [
        {
            "apiGroups": [group],
            "resources": named,
            **({"resourceNames": [name]} if name else {}),
            "verbs": list(found),
        }
        for (group, name, found), named in resources.items()
    ]
