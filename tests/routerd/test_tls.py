"""TLS for callers: the certificates of Secrets, swapped while requests run."""

import asyncio
import base64
import ssl
import time
import warnings
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from routerd.admin.metrics import render
from routerd.board import board_of
from routerd.control import CertificateState
from routerd.daemon import Daemon
from routerd.haproxy.reload import reload_haproxy
from routerd.settings import Settings
from routerd.status import StatusWriter
from routerd.tls import certificate_condition
from tests.ports import free_port
from tests.routerd.conftest import KEY, Router, StartModel, deployment, endpoint, eventually
from tests.routerd.peers import run_router
from tests.routerd.test_colleagues import Written

PATH = "/api/v1/endpoint/credit/score"


class Authority:
    """A certificate authority of a test."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"authority {id(self)}")])
        self.pem = self._sign(self.name, key=self.key, hosts=(), days=100, authority=True)

    def issue(self, *hosts: str, days: float = 90) -> tuple[str, str]:
        """(certificate, key) for these hosts."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])])
        key_text = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return self._sign(name, key=key, hosts=hosts, days=days), key_text.decode()

    def _sign(
        self,
        name: x509.Name,
        *,
        key: ec.EllipticCurvePrivateKey,
        hosts: tuple[str, ...],
        days: float,
        authority: bool = False,
    ) -> str:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(self.name, name, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(days=10)).not_valid_after(now + timedelta(days=days))
        builder = builder.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        if hosts:
            names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()

    def trusting(self) -> ssl.SSLContext:
        """What a caller that trusts this authority uses."""
        return ssl.create_default_context(cadata=self.pem)


def secret(name: str, certificate: str, key: str, **more: str) -> dict[str, object]:
    data = {"tls.crt": certificate, "tls.key": key, **{name.replace("_", "."): text for name, text in more.items()}}
    encoded = {name: base64.b64encode(text.encode()).decode() for name, text in data.items()}
    return {"kind": "Secret", "metadata": {"name": name}, "type": "kubernetes.io/tls", "data": encoded}


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
def tls(settings: Settings) -> Settings:
    return replace(settings, tls_port=free_port(), tls_secrets=("slipway-tls", "example-com"))


Running = tuple[Router, Daemon]


@pytest.fixture
async def running(tls: Settings, start_model: StartModel) -> AsyncIterator[Running]:
    """A router with TLS and an endpoint, without any certificate yet."""
    async with run_router(tls) as found:
        await found[0].serve(endpoint(deployment("blue", await start_model("blue-1", delay=0.002), concurrency=8)))
        yield found


def offer(daemon: Daemon, *items: dict[str, object]) -> None:
    daemon.keeper.offer({str(item["metadata"]["name"]): item for item in items})  # type: ignore[index]


async def until_served(daemon: Daemon, *names: str) -> None:
    """Wait until HAProxy has what these Secrets hold."""
    await eventually(lambda: {s.secret for s in daemon.certificates() if s.not_after and not s.problem} == set(names))


async def call(
    router: Router, *, trust: ssl.SSLContext, host: str = "score.example.org", key: str = KEY
) -> tuple[int, str]:
    """One request by TLS to `host`, which leads to the router."""
    url = f"https://{router.settings.bind}:{router.settings.tls_port}{PATH}"
    headers = {"authorization": f"Bearer {key}"}
    connector = aiohttp.TCPConnector(force_close=True)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.post(url, data=b"{}", headers=headers, ssl=trust, server_hostname=host) as answer,
    ):
        return answer.status, await answer.text()


async def test_a_certificate_of_a_secret_is_shown_to_callers_and_replaced_without_losing_a_request(
    running: Running, authority: Authority
) -> None:
    router, daemon = running
    renewed = Authority()
    offer(daemon, secret("slipway-tls", *authority.issue("score.example.org")))
    await until_served(daemon, "slipway-tls")
    worker, _ = await router.runtime.process_ids()
    both = authority.trusting()
    both.load_verify_locations(cadata=renewed.pem)
    answers = []
    stop = asyncio.Event()

    async def caller() -> None:
        while not stop.is_set():
            answers.append(await call(router, trust=both))

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(caller())
        await eventually(lambda: len(answers) > 20)
        offer(daemon, secret("slipway-tls", *renewed.issue("score.example.org")))

        async def swapped() -> bool:
            try:
                return (await call(router, trust=renewed.trusting()))[0] == 200
            except aiohttp.ClientConnectorCertificateError:
                return False

        await eventually(swapped)
        stop.set()

    assert set(answers) == {(200, "blue-1")}
    assert (await router.runtime.process_ids())[0] == worker  # no reload


async def test_a_router_is_not_ready_before_callers_by_tls_are_shown_what_the_secrets_hold(
    running: Running, authority: Authority
) -> None:
    router, daemon = running

    assert router.reconciler.settled()
    assert not daemon.ready()  # the table is in force, but a caller would be shown the placeholder
    offer(daemon, secret("slipway-tls", *authority.issue("score.example.org")))
    await eventually(daemon.ready)
    assert (await call(router, trust=authority.trusting()))[0] == 200  # a second Secret, that is absent, is no reason


async def test_each_host_gets_its_own_certificate_and_any_other_the_default(
    running: Running, authority: Authority
) -> None:
    router, daemon = running
    other = Authority()
    offer(
        daemon,
        secret("slipway-tls", *authority.issue("score.example.org")),
        secret("example-com", *other.issue("models.example.com")),
    )
    await until_served(daemon, "slipway-tls", "example-com")

    assert (await call(router, trust=authority.trusting(), host="score.example.org"))[0] == 200
    assert (await call(router, trust=other.trusting(), host="models.example.com"))[0] == 200
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        await call(router, trust=other.trusting(), host="elsewhere.example.net")


@pytest.mark.parametrize(
    ("version", "accepted"),
    [(ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, True), (ssl.TLSVersion.TLSv1_1, False)],
)
async def test_tls_1_2_and_1_3_are_spoken_and_nothing_older(
    running: Running, authority: Authority, version: ssl.TLSVersion, accepted: bool
) -> None:
    router, daemon = running
    offer(daemon, secret("slipway-tls", *authority.issue("score.example.org")))
    await until_served(daemon, "slipway-tls")
    trust = authority.trusting()
    trust.set_ciphers("DEFAULT@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore"):  # Python itself warns of 1.1
        trust.minimum_version = trust.maximum_version = version

    if accepted:
        assert (await call(router, trust=trust))[0] == 200
    else:
        with pytest.raises(aiohttp.ClientConnectorError):
            await call(router, trust=trust)


async def test_a_certificate_that_cannot_be_used_changes_nothing_and_is_named(
    running: Running, authority: Authority
) -> None:
    router, daemon = running
    certificate, key = authority.issue("score.example.org")
    _, another_key = authority.issue("score.example.org")
    offer(daemon, secret("slipway-tls", certificate, key))
    await until_served(daemon, "slipway-tls")

    offer(daemon, secret("slipway-tls", certificate, another_key))
    await eventually(lambda: daemon.certificates()[0].problem)
    condition = certificate_condition(daemon.certificates()[:1], now=time.time())

    assert (await call(router, trust=authority.trusting()))[0] == 200
    assert condition is not None
    assert (condition.status, condition.reason) == (False, "CertificateInvalid")
    offer(daemon)
    await eventually(lambda: daemon.certificates()[0].problem == "it is not there")
    assert (await call(router, trust=authority.trusting()))[0] == 200


async def test_certificates_outlive_a_reload_and_a_restart_without_python(
    running: Running, authority: Authority
) -> None:
    router, daemon = running
    offer(daemon, secret("slipway-tls", *authority.issue("score.example.org")))
    await until_served(daemon, "slipway-tls")

    await reload_haproxy(router.settings)
    assert (await call(router, trust=authority.trusting()))[0] == 200
    path = router.settings.run_dir / "tls" / "slipway-tls.pem"
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0


async def test_the_metrics_say_until_when_a_certificate_is_valid(running: Running, authority: Authority) -> None:
    _, daemon = running
    offer(daemon, secret("slipway-tls", *authority.issue("score.example.org", days=40)))
    await until_served(daemon, "slipway-tls")

    page = render(daemon, board=board_of(daemon))

    line = next(line for line in page.splitlines() if line.startswith("routerd_certificate_not_after_seconds{"))
    assert abs(float(line.split()[-1]) - time.time() - 40 * 86400) < 300
    assert 'routerd_certificate_usable{secret="slipway-tls"} 1' in page
    assert 'routerd_certificate_usable{secret="example-com"} 0' in page


async def test_every_endpoint_says_that_the_certificate_ends_soon(running: Running, authority: Authority) -> None:
    _, daemon = running
    offer(
        daemon,
        secret("slipway-tls", *authority.issue("score.example.org", days=29)),
        secret("example-com", *authority.issue("models.example.com", days=80)),
    )
    await until_served(daemon, "slipway-tls", "example-com")
    board, written = board_of(daemon), Written()
    board.leading = True

    await StatusWriter(daemon, kube=written, board=board).turn(now=time.time())  # type: ignore[arg-type]

    conditions = {condition["type"]: condition for condition in written.status["conditions"]}
    assert conditions["Ready"]["status"] == "True"
    assert conditions["CertificateValid"]["reason"] == "CertificateExpiresSoon"
    assert "slipway-tls" in str(conditions["CertificateValid"]["message"])


@pytest.mark.parametrize(
    ("days", "problem", "reason"),
    [
        (31.0, None, "CertificateTrusted"),
        (29.0, None, "CertificateExpiresSoon"),
        (-1.0, None, "CertificateExpired"),
        (31.0, "wrong key", "CertificateInvalid"),
        (None, "it is not there", "CertificateMissing"),
    ],
)
def test_the_condition_names_what_is_wrong_thirty_days_ahead(
    days: float | None, problem: str | None, reason: str
) -> None:
    fine = CertificateState(secret="fine", not_after=1000 * 86400.0)
    judged = CertificateState(
        secret="slipway-tls", not_after=days * 86400 if days is not None else None, problem=problem
    )

    condition = certificate_condition([fine, judged], now=0.0)

    assert condition is not None
    assert (condition.status, condition.reason) == (reason == "CertificateTrusted", reason)
    if not condition.status:
        assert "slipway-tls" in condition.message
    assert certificate_condition([], now=0.0) is None


@pytest.mark.parametrize("plain", ["redirect", "refuse"])
async def test_plain_http_is_redirected_or_refused_but_for_the_probe(
    tls: Settings, start_model: StartModel, plain: str
) -> None:
    async with run_router(replace(tls, plain_http=plain)) as (router, _):
        blue = await start_model("blue-1")
        await router.serve(endpoint(deployment("blue", blue)))
        base = f"http://{router.settings.bind}:{router.settings.inference_port}"
        headers = {"authorization": f"Bearer {KEY}", "host": "score.example.org:8080"}
        request = router.session.post(f"{base}{PATH}?a=b", data=b"{}", headers=headers, allow_redirects=False)
        async with request as answer:
            if plain == "redirect":
                assert answer.status == 308
                assert answer.headers["location"] == f"https://score.example.org{PATH}?a=b"
            else:
                assert answer.status == 403
                assert answer.headers["x-slipway-reason"] == "tls_required"
        async with router.session.get(f"{base}/-/healthz") as probe:
            assert probe.status == 200
        assert blue.seen == []


async def test_callers_show_a_certificate_of_their_own_where_that_is_asked_for(
    tls: Settings, start_model: StartModel, authority: Authority, tmp_path: Path
) -> None:
    callers, strangers = Authority(), Authority()
    async with run_router(replace(tls, tls_client_auth="require", tls_secrets=("slipway-tls",))) as (router, daemon):
        await router.serve(endpoint(deployment("blue", await start_model("blue-1"))))
        offer(daemon, secret("slipway-tls", *authority.issue("score.example.org"), ca_crt=callers.pem))
        await until_served(daemon, "slipway-tls")

        assert (await call(router, trust=with_identity(authority, callers, folder=tmp_path)))[0] == 200
        for trust in (authority.trusting(), with_identity(authority, strangers, folder=tmp_path)):
            with pytest.raises((aiohttp.ClientError, ssl.SSLError)):
                await call(router, trust=trust)


def with_identity(trusted: Authority, issuer: Authority, *, folder: Path) -> ssl.SSLContext:
    """A caller that trusts one authority and shows a certificate of another."""
    path = folder / "caller.pem"
    path.write_text("".join(issuer.issue("caller")))
    context = trusted.trusting()
    context.load_cert_chain(path)
    return context
