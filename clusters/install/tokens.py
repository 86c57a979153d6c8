"""The tokens of an installation that is there already, read back from its Secrets."""

import base64

from clusters.install.manifests import SIGNING_KEY, UPLOAD_TOKEN, Secrets
from clusters.install.progress import ours
from clusters.kube.client import Kube
from clusters.kube.kinds import SECRETS, Obj
from routerd import contract


def read_tokens(kube: Kube, *, studio: str) -> Secrets | None:
    """The tokens this studio gave out before; None where it did not, or not all of them."""
    admin = kube.find(SECRETS, contract.ADMIN_SECRET, contract.SYSTEM_NAMESPACE)
    artifacts = kube.find(SECRETS, contract.ARTIFACTS, contract.SYSTEM_NAMESPACE)
    if not (admin and artifacts and ours(admin, studio=studio) and ours(artifacts, studio=studio)):
        return None
    found = Secrets(
        admin_token=_value(admin, "token"),
        upload_token=_value(artifacts, UPLOAD_TOKEN),
        signing_key=_value(artifacts, SIGNING_KEY),
    )
    return found if found.admin_token and found.upload_token and found.signing_key else None


def _value(secret: Obj, key: str) -> str:
    return base64.b64decode((secret.get("data") or {}).get(key) or "").decode()
