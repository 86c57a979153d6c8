"""A request to try an endpoint with: the sample-request.json that lies beside the scoring script, if there is one."""

import json
import tarfile
from typing import Final

from deployments.models import Deployment, Endpoint

SAMPLE_FILE: Final = "sample-request.json"
LARGEST: Final = 64 * 1024  # bytes; a larger one is no example
GENERIC: Final = '{"data": []}'


def sample_body(endpoint: Endpoint) -> str:
    """The sample of the deployment with the most traffic; a bare shape when none brought one. One query."""
    deployments = list(endpoint.deployments.select_related("code").order_by("created_at"))
    for each in sorted(deployments, key=lambda one: -int(endpoint.traffic.get(one.name, 0))):
        if text := _read_sample(each):
            return text
    return GENERIC


def _read_sample(deployment: Deployment) -> str:
    code = deployment.code
    known = {each["path"]: each["size"] for each in code.files} if code else {}
    if code is None or not 0 < known.get(SAMPLE_FILE, 0) <= LARGEST:
        return ""
    try:
        with code.file.open("rb") as stored, tarfile.open(fileobj=stored, mode="r:gz") as archive:
            member = archive.extractfile(SAMPLE_FILE)
            return member.read(LARGEST).decode() if member else ""
    except (OSError, tarfile.TarError, KeyError, UnicodeDecodeError):
        return ""  # a page to try an endpoint must not fail for want of an example


def compact(body: str) -> str:
    """JSON on one line, for a command; anything else as it is."""
    try:
        return json.dumps(json.loads(body), separators=(", ", ": "), ensure_ascii=False)
    except ValueError:
        return body
