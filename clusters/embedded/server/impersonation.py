"""Acting as somebody else (`kubectl --as`): allowed for each part by the verb `impersonate`."""

from collections.abc import Iterator

from multidict import CIMultiDictProxy

from clusters.embedded.authorizer import Authorizer
from clusters.embedded.errors import ApiError, NotImplementedHere
from clusters.embedded.rbac import AUTHENTICATED, Attributes, User, account_of, account_user

_USER, _GROUP, _UID = "Impersonate-User", "Impersonate-Group", "Impersonate-Uid"


def acting_user(headers: CIMultiDictProxy[str], user: User, *, authorizer: Authorizer) -> User:
    """Whom the request is for: `user`, unless its headers name another. Raises Forbidden."""
    if not any(name.lower().startswith("impersonate-") for name in headers):
        return user
    name, groups = headers.get(_USER, ""), tuple(headers.getall(_GROUP, ()))
    if not name:
        raise ApiError("requested impersonation without impersonating a user")
    if any(header.lower().startswith("impersonate-extra-") for header in headers):
        raise NotImplementedHere("the embedded cluster does not impersonate extra fields")
    for attributes in _wanted(name, groups, headers.get(_UID, "")):
        authorizer.require(user, attributes)
    account = account_of(name)
    if account is not None and not groups:
        return account_user(*account)
    if name != "system:anonymous" and AUTHENTICATED not in groups:
        groups += (AUTHENTICATED,)
    return User(name, headers.get(_UID, ""), groups)


def _wanted(name: str, groups: tuple[str, ...], uid: str) -> Iterator[Attributes]:
    account = account_of(name)
    if account is None:
        yield Attributes("impersonate", resource="users", name=name)
    else:
        yield Attributes("impersonate", resource="serviceaccounts", namespace=account[0], name=account[1])
    for group in groups:
        yield Attributes("impersonate", resource="groups", name=group)
    if uid:
        yield Attributes("impersonate", group="authentication.k8s.io", resource="uids", name=uid)
