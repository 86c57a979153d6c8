"""What keeps others out: of the cluster's files, of its API, and pods out of everything that is not theirs."""

import asyncio
import json
import os
import shlex
import socket
import ssl
from pathlib import Path

import aiohttp
import pytest

from clusters.embedded.cluster import Cluster
from clusters.embedded.kubelet.isolation import NONE
from clusters.embedded.resources import NODES, PERSISTENT_VOLUME_CLAIMS, SECRETS
from tests.clusters.embedded.conftest import Starter, World, container, pod

WORD = "for nobody else"


# --- Files ------------------------------------------------------------------------------------------


async def test_every_file_of_the_cluster_is_for_its_owner_only(tmp_path: Path, start: Starter) -> None:
    data = tmp_path / "with space" / "data"
    data.mkdir(parents=True)
    data.chmod(0o755)  # as somebody else made it
    world = await start()
    world.cluster.registry.create(
        SECRETS, {"metadata": {"name": "s"}, "stringData": {"word": WORD}}, namespace="default"
    )
    await world.cluster.registry.committed()
    files = [path for home in (data, data / "tls") for path in home.iterdir() if path.is_file()]
    assert {"kubeconfig", "token", "lock", "port", "state.sqlite", "state.sqlite-wal"} <= {path.name for path in files}
    assert {path.name for path in files if path.stat().st_mode & 0o077} == set()
    assert data.stat().st_mode & 0o777 == 0o700


# --- Pods -------------------------------------------------------------------------------------------


async def printed(world: World, name: str, script: str, *, user: int) -> str:
    """What a pod prints that runs to its end."""
    main = container(["sh", "-c", script], securityContext={"runAsUser": user})
    world.run(pod(name, main, restartPolicy="Never"))
    await world.until(lambda: world.get(name).get("status", {}).get("phase") in {"Succeeded", "Failed"})
    return world.log(name)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of who runs the cluster, with something in it that anybody on the machine might read."""
    made = tmp_path / "home"
    made.mkdir()
    (made / "secret").write_text(WORD)
    monkeypatch.setenv("HOME", str(made))
    monkeypatch.setenv("SLIPWAY_HOME", str(made))
    monkeypatch.setenv("STUDIO_SECRET", WORD)
    return made


async def keeper(world: World) -> list[Path]:
    """A pod that has written into its claim and its emptyDir: where these files are on the machine."""
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    world.cluster.registry.create(
        PERSISTENT_VOLUME_CLAIMS, {"metadata": {"name": "kept"}, "spec": claim}, namespace="default"
    )
    mounts = [{"name": "claim", "mountPath": "/claim"}, {"name": "empty", "mountPath": "/empty"}]
    script = f"echo '{WORD}' | tee /claim/word > /empty/word; echo '{WORD}' > /tmp/word; echo there; exec sleep 1000"
    volumes = [{"name": "claim", "persistentVolumeClaim": {"claimName": "kept"}}, {"name": "empty", "emptyDir": {}}]
    world.run(pod("keeper", container(["sh", "-c", script], volumeMounts=mounts), volumes=volumes))
    await world.until(lambda: world.log("keeper") == "there")
    return sorted(path for path in world.cluster.data.rglob("word") if path.read_text().strip() == WORD)


@pytest.mark.parametrize("user", [0, 1000])
async def test_a_pod_reads_neither_the_home_nor_the_cluster_nor_another_pods_volumes(
    home: Path, start: Starter, user: int
) -> None:
    world = await start()
    if not world.cluster.kubelet.node.isolation.namespaces:
        pytest.skip("needs namespaces: without them nothing is hidden, and the node says so")
    kept = await keeper(world)
    assert len(kept) == 3  # claim, emptyDir and /tmp
    data = world.cluster.data
    wanted = [home / "secret", data / "token", data / "kubeconfig", data / "state.sqlite", data / "tls", *kept]
    for path in list(wanted):
        wanted += [Path(f"/proc/{pid}/root{path}") for pid in (1, os.getpid(), os.getppid())]
        wanted.append(Path(f"/.machine{path}"))
    lines = [f"cat {shlex.quote(str(path))} 2>/dev/null; ls {shlex.quote(str(path))} 2>/dev/null" for path in wanted]
    script = "\n".join([*lines, "env | grep STUDIO", "find / -xdev -name word -o -xdev -name state.sqlite", "echo end"])
    assert await printed(world, "prying", script, user=user) == "end"


async def test_a_pod_cannot_write_outside_its_volumes(home: Path, world: World) -> None:
    if not world.cluster.kubelet.node.isolation.namespaces:
        pytest.skip("needs namespaces")
    targets = ["/usr/x", "/bin/x", "/lib/x", "/sys/x", str(home / "x"), str(world.cluster.data / "x")]
    script = "\n".join(f"touch {shlex.quote(path)} 2>/dev/null && echo wrote {shlex.quote(path)}" for path in targets)
    script += "\nmount -t tmpfs none /usr 2>/dev/null && echo mounted\nmknod /tmp/sda b 8 0 2>/dev/null && echo made\n"
    assert await printed(world, "writing", script + "echo end", user=0) == "end"
    assert not (home / "x").exists()


async def test_a_node_without_namespaces_says_that_it_hides_nothing(start: Starter) -> None:
    world = await start(isolation=NONE)
    (node,) = world.cluster.registry.list(NODES)
    assert node["metadata"]["annotations"]["slipway.dev/isolation"] == "none"


# --- The API ----------------------------------------------------------------------------------------


def other_address() -> str:
    """One of this machine's addresses that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent
        except OSError:
            return ""
        return str(probe.getsockname()[0])


async def test_it_listens_on_loopback_unless_told_otherwise(world: World) -> None:
    assert world.cluster.url.startswith("https://127.0.0.1:")
    outside = other_address()
    if not outside or outside.startswith("127."):
        pytest.skip("the machine has no other address")
    with socket.socket() as caller:
        caller.settimeout(5)
        assert caller.connect_ex((outside, world.cluster.server.port)) != 0


async def test_where_it_listens_for_others_it_demands_tls_and_a_token(start: Starter) -> None:
    world = await start(host="0.0.0.0")
    cluster = world.cluster
    address = other_address() or "127.0.0.1"
    reader, writer = await _connect(address, cluster)
    writer.write(b"GET /api/v1/secrets HTTP/1.1\r\nHost: x\r\n\r\n")
    said = await reader.read()
    writer.close()
    assert b"200" not in said  # whoever does not speak TLS is not understood
    trust = ssl.create_default_context(cafile=str(cluster.identity.authority))
    trust.check_hostname = False
    token = (cluster.data / "token").read_text().strip()
    codes = {}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust, force_close=True)) as session:
        for who, given in {"nobody": None, "a stranger": "guessed", "the owner": token}.items():
            headers = {"Authorization": f"Bearer {given}"} if given else {}
            url = f"https://{address}:{cluster.server.port}/api/v1/secrets"
            async with session.get(url, headers=headers) as answer:
                codes[who] = answer.status
                assert json.loads(await answer.text())["kind"] in {"Status", "SecretList"}
    assert codes == {"nobody": 403, "a stranger": 401, "the owner": 200}


async def _connect(address: str, cluster: Cluster) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    async with asyncio.timeout(5):
        return await asyncio.open_connection(address, cluster.server.port)
