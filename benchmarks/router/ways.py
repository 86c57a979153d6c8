"""What the ways of a request cost, each by a plain one with a key: TLS, a token, a hop to the router that queues it.

All run at once and are asked in turn. The hop's cost is that of both routers' HAProxys, on the one core they share.
"""

import base64
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from benchmarks.router import objects
from benchmarks.router.processes import Subject, free_port, router
from benchmarks.router.throughput import Run
from benchmarks.soak_router.authority import Authority
from routerd import contract
from routerd.peers import rank

ROUTERS: Final = {"r1": "127.123.1.1", "r2": "127.123.1.2"}
_ISSUER: Final = "https://studio.example.com"
_SECONDS: Final = 3600  # a token is valid


@contextmanager
def subjects(folder: Path, *, address: str) -> Iterator[list[Subject]]:
    """`key`, `tls`, `token`, `owner` and `hop`; `address` is that of the model servers."""
    auth, token = token_auth(audience="tokens")
    authority = Authority(number=1)
    secret = {"kind": "Secret", "metadata": {"name": contract.TLS_SECRET}, "data": authority.issue()}
    items = [
        *objects.one_endpoint("keys", address=address),
        *objects.one_endpoint("tokens", address=address, auth=auth),
        secret,
    ]
    with ExitStack() as stack:
        tls_port = free_port()
        alone = stack.enter_context(
            router(
                _made(folder, "ways"),
                objects=objects.write(folder / "ways.json", items=items),
                slots="60000:8",
                options=["--tls-port", str(tls_port)],
            )
        )
        key = alone.subject(endpoint="keys")
        tls = replace(key, name="tls", url=key.url.replace("http:", "https:").replace(f":{alone.port}", f":{tls_port}"))
        by_token = replace(alone.subject(endpoint="tokens"), name="token", credential=token)
        yield [replace(key, name="key"), tls, by_token, *_two(stack, folder, address=address)]


def _two(stack: ExitStack, folder: Path, *, address: str) -> list[Subject]:
    """The router that queues the requests, and the one that passes them on to it."""
    slice_ = {
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": contract.SYSTEM_NAMESPACE,
            "name": "routers",
            "labels": {"kubernetes.io/service-name": contract.ROUTER_SERVICE},
        },
        "ports": [{"port": 1}],
        "endpoints": [{"addresses": [where], "targetRef": {"name": name}} for name, where in ROUTERS.items()],
    }
    path = objects.write(folder / "two.json", items=[*objects.one_endpoint("hop", address=address), slice_])
    ports, peer_port = (free_port(), free_port()), str(free_port())
    found = {}
    for name, where in ROUTERS.items():
        options = ["--peer-port", peer_port, "--pod-name", name]
        found[name] = stack.enter_context(
            router(_made(folder, name), objects=path, slots="60000:8", bind=where, ports=ports, options=options)
        )
    first, second = rank((objects.NAMESPACE, "hop", "blue"), names=tuple(sorted(found)))
    owner, other = (found[name].subject(endpoint="hop") for name in (first, second))
    return [replace(owner, name="owner"), replace(other, name="hop", pids=(*owner.pids, *other.pids))]


def token_auth(*, audience: str) -> tuple[dict[str, Any], str]:
    """`spec.auth` of an endpoint that asks for ES256 tokens, and a token for it."""
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    issuer = {"issuer": _ISSUER, "audience": audience, "keys": [{"kid": "k1", "algorithm": "ES256", "publicKey": pem}]}
    head = {"alg": "ES256", "typ": "JWT", "kid": "k1"}
    claims = {"iss": _ISSUER, "aud": audience, "exp": int(time.time()) + _SECONDS, "sub": "benchmark"}
    text = ".".join(_encoded(json.dumps(part).encode()) for part in (head, claims))
    r, s = decode_dss_signature(private.sign(text.encode(), ec.ECDSA(SHA256())))
    signature = _encoded(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
    return {"mode": "token", "keyRevision": 1, "issuers": [issuer]}, f"{text}.{signature}"


def _encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).decode().rstrip("=")


def _made(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


def costs(runs: Mapping[str, Sequence[Run]]) -> dict[str, float]:
    """CPU per request of each way by that of the plain one: the median over neighbouring runs."""

    def ratio(way: str, plain: str) -> float:
        pairs = zip(runs[way], runs[plain], strict=True)
        return round(median(ours.cpu_us / theirs.cpu_us for ours, theirs in pairs), 2)

    return {
        "tls_over_plain_cpu": ratio("tls", "key"),
        "token_over_key_cpu": ratio("token", "key"),
        "hop_over_owner_cpu": ratio("hop", "owner"),
    }
