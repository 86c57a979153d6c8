"""One whole cluster in one event loop: opened, served, closed (what it has: docs/embedded.md).

    lock DIR -> addresses -> store, registry -> certificates, tokens -> isolation -> kubelet looks at what is left
    -> API server -> controllers, scheduler, relay -> kubelet starts pods -> kubeconfig written: ready

Closing goes the other way; the containers end gracefully and in parallel, all objects stay. After a kill -9 the
containers go on, and the next start takes them over.
"""

import contextlib
import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TextIO

from aiohttp import web

from clusters.embedded import auth, services, tls
from clusters.embedded.addresses import Block, claim_block, is_claimed, may_listen
from clusters.embedded.controllers.admission import admission_functions
from clusters.embedded.controllers.deployments import DeploymentController
from clusters.embedded.controllers.endpoint_slices import EndpointSliceController
from clusters.embedded.controllers.garbage import GarbageCollector
from clusters.embedded.controllers.jobs import JobController
from clusters.embedded.controllers.loop import Controller, Runner, Runners
from clusters.embedded.controllers.namespaces import NamespaceController
from clusters.embedded.controllers.nodes import NodeController
from clusters.embedded.controllers.quotas import QuotaController
from clusters.embedded.controllers.replica_sets import ReplicaSetController
from clusters.embedded.controllers.volumes import LocalVolumeController, claimed_directory, ensure_storage_class
from clusters.embedded.data import alias_without_spaces, lock_data
from clusters.embedded.faults import Faults
from clusters.embedded.images import ImageStore
from clusters.embedded.kubeconfig import write_kubeconfig
from clusters.embedded.kubelet.cgroups import find_memory_cgroup, remove_cgroups, sweep_cgroups
from clusters.embedded.kubelet.environment import ConfigError
from clusters.embedded.kubelet.isolation import detect_isolation
from clusters.embedded.kubelet.kubelets import Kubelets
from clusters.embedded.kubelet.node import BackOff, Isolation, Node, Plan, machine_resources
from clusters.embedded.notices import notices
from clusters.embedded.private_files import write_private
from clusters.embedded.registry import Registry
from clusters.embedded.relay import Relay
from clusters.embedded.resources import SERVICE_ACCOUNTS, Obj
from clusters.embedded.scheduler import Scheduler
from clusters.embedded.server import Server, build_app, serve
from clusters.embedded.store import Store

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    data: Path
    host: str = "127.0.0.1"
    port: int = 0
    images: Mapping[str, str] = field(default_factory=dict)  # reference -> FILE | DIRECTORY | self
    cpus: int | None = None
    memory: int | None = None  # bytes
    isolation: Isolation | None = None  # None: the strongest that works
    back_off: BackOff = field(default_factory=BackOff)
    nodes: tuple[Plan, ...] = (Plan(),)
    fake_kubelet: bool = False  # pods are said to run, and do not
    faults: bool = False  # serve /faults
    node_grace: float = 40.0  # seconds without a sign of life after which a node is not ready


class Cluster:
    """``await Cluster.open(options)``, then ``await cluster.close()``."""

    def __init__(self, options: Options, *, lock: TextIO, block: Block) -> None:
        self.options = options
        self.data = options.data
        self.block = block
        self._lock = lock
        self.registry = Registry(Store(self.data / "state.sqlite"))
        self.identity: tls.Identity
        self.kubelet: Kubelets
        self.server: Server
        self.faults = Faults()
        self._relay = Relay(self.registry)
        self._runners: Runners
        self._cgroup: Path | None = None
        self._closed = False
        self._alias: Path | None = None

    @classmethod
    async def open(cls, options: Options) -> "Cluster":
        """Raises ClusterError, AddressesExhaustedError, OSError (port taken)."""
        options.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        options.data.chmod(0o700)  # it holds every Secret: also where somebody else made it
        lock = lock_data(options.data)
        block = None
        try:
            block = claim_block(options.data)
            cluster = cls(options, lock=lock, block=block)
            await cluster._start()
        except BaseException:
            if block is not None:
                block.close()
            lock.close()
            raise
        return cluster

    @property
    def url(self) -> str:
        return f"https://{self.options.host}:{self.server.port}"

    @property
    def kubeconfig(self) -> Path:
        return self.data / "kubeconfig"

    async def _start(self) -> None:
        authenticator, token = self._make_identity()
        isolation = self.options.isolation or await detect_isolation(self.data)
        sweep_cgroups(is_claimed=is_claimed)
        self._cgroup = find_memory_cgroup(self.block.number)
        log.info("Isolation mode=%s memory_limits=%s", isolation.word, self._cgroup is not None)
        self.registry.admission += admission_functions(self.registry, block=self.block)
        services.move_services(self.registry, block=self.block)
        ensure_storage_class(self.registry)
        self.kubelet = Kubelets(
            self._make_nodes(isolation, authenticator=authenticator), fake=self.options.fake_kubelet
        )
        await self.kubelet.recall()
        Runner(EndpointSliceController(self.registry), self.registry).look_at_all()
        app = build_app(self.registry, authenticator=authenticator, pod_access=self.kubelet)
        app.middlewares.append(notices)
        if self.options.faults:
            self.faults.install(app, power=self.kubelet)
        self.server = await self._serve(app)
        services.publish_api(self.registry, block=self.block, where=(self.options.host, self.server.port))
        self._runners = Runners(self._controllers(), self.registry)
        self._runners.start()
        self.kubelet.start()
        await self.registry.committed()
        write_kubeconfig(self.kubeconfig, url=self.url, token=token, authority=self._ca_certificate())

    def _make_identity(self) -> tuple[auth.Authenticator, str]:
        addresses = tuple(dict.fromkeys(("127.0.0.1", self.options.host, self.block.kubernetes_ip)))
        self.identity = tls.ensure(self.data / "tls", addresses=addresses, now=datetime.now(UTC))
        token = auth.read_or_make_token(self.data / "token")
        key = auth.read_or_make_key(self.data / "tls" / "accounts.key")
        authenticator = auth.Authenticator(
            admin_token=token, key=key, find=self.registry.find, clock=self.registry.clock
        )
        return authenticator, token

    def _make_nodes(self, isolation: Isolation, *, authenticator: auth.Authenticator) -> list[Node]:
        data = self.data.resolve()
        if not isolation.namespaces and (alias := alias_without_spaces(data)) is not None:
            self._alias, data = alias.parent, alias
        images = ImageStore(data / "images", given=self.options.images)
        images.directory.mkdir(exist_ok=True)
        first = Node(
            registry=self.registry,
            plan=self.options.nodes[0],
            address=self.block.node_address(0),
            data=data,
            block=self.block,
            images=images,
            isolation=isolation,
            allocatable=machine_resources(cpus=self.options.cpus, memory=self.options.memory),
            token=partial(_issue_token, self.registry, authenticator),
            ca_certificate=self._ca_certificate,
            claimed=partial(_claimed_directory, self.registry, data),
            api_address=self._api_address,
            back_off=self.options.back_off,
            memory_cgroup=self._cgroup,
            pull_seconds=self.faults.image_pull_seconds,
            heartbeat=min(10.0, self.options.node_grace / 4),
        )
        return [
            replace(
                first,
                plan=plan,
                address=self.block.node_address(index),
                allocatable={**first.allocatable, **plan.resources},
            )
            for index, plan in enumerate(self.options.nodes)
        ]

    def _ca_certificate(self) -> str:
        return self.identity.authority.read_text()

    def _api_address(self) -> tuple[str, int]:
        """What pods are told: the ClusterIP where port 443 may be used, else the API server itself."""
        if may_listen(self.block.kubernetes_ip, 443):
            return self.block.kubernetes_ip, 443
        return "127.0.0.1", self.server.port

    def _controllers(self) -> list[Controller]:
        return [
            DeploymentController(self.registry),
            ReplicaSetController(self.registry),
            JobController(self.registry, back_off=self.options.back_off.base),
            QuotaController(self.registry),
            Scheduler(self.registry),
            NodeController(self.registry, grace=self.options.node_grace),
            EndpointSliceController(self.registry, late=self.faults.endpoint_slice_seconds),
            self._relay,
            GarbageCollector(self.registry),
            NamespaceController(self.registry, ca_certificate=self._ca_certificate),
            LocalVolumeController(self.registry, data=self.data.resolve()),
        ]

    async def _serve(self, app: web.Application) -> Server:
        """On the port asked for; with 0 on the one it had last time, if that is free."""
        remembered = self.data / "port"
        ports = [self.options.port]
        if not self.options.port:
            with contextlib.suppress(OSError, ValueError):
                ports.insert(0, int(remembered.read_text()))
        for port in ports:
            try:
                server = await serve(app, identity=self.identity, host=self.options.host, port=port)
            except OSError:
                if port == ports[-1]:
                    raise
                continue
            write_private(remembered, f"{server.port}\n")
            return server
        raise AssertionError("unreachable")

    async def close(self) -> None:
        """End gracefully: containers in parallel, then everything else. Objects stay as they are."""
        if self._closed:
            return
        self._closed = True
        await self._runners.stop()
        self._relay.close()
        await self.kubelet.shut_down()
        await self.server.close()
        self.registry.close()
        if self._alias is not None:
            shutil.rmtree(self._alias, ignore_errors=True)
        if self._cgroup is not None:
            remove_cgroups(self._cgroup)
        self.block.close()
        self._lock.close()


def _issue_token(registry: Registry, authenticator: auth.Authenticator, pod: Obj, audience: str, seconds: int) -> str:
    """A pod's ServiceAccount token. Raises ConfigError."""
    namespace, name = pod["metadata"]["namespace"], pod["spec"].get("serviceAccountName", "default")
    account = registry.find(SERVICE_ACCOUNTS, namespace, name)
    if account is None:
        raise ConfigError(f'serviceaccount "{name}" not found')
    audiences = (audience,) if audience else (auth.AUDIENCE,)
    return authenticator.issue(account, seconds=seconds, audiences=audiences, pod=pod)[0]


def _claimed_directory(registry: Registry, data: Path, namespace: str, claim: str) -> Path | None:
    return claimed_directory(registry, data, namespace=namespace, claim=claim)


def ready_line(cluster: Cluster, *, seconds: float) -> str:
    """The one line on stdout by which whoever started the cluster knows that it serves."""
    facts = {
        "ready": True,
        "server": cluster.url,
        "kubeconfig": str(cluster.kubeconfig),
        "seconds": round(seconds, 3),
    }
    return json.dumps(facts)
