"""``python -m clusters.embedded``: run a cluster, or end what a dead one left behind."""

import argparse
import asyncio
import logging
import signal
import sys
import time
from pathlib import Path

import uvloop

from clusters.embedded.addresses import AddressesExhaustedError
from clusters.embedded.cluster import Cluster, Options, ready_line
from clusters.embedded.data import ClusterError, end_all
from clusters.embedded.images import SELF
from clusters.embedded.kubelet.isolation import NONE
from clusters.embedded.kubelet.node import Plan, plans_for
from clusters.embedded.warm import warm


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m clusters.embedded", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="directory for everything the cluster keeps")
    parser.add_argument(
        "--wait", action="store_true", help="read more options from standard input, one a line; none of them: exit"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address of the API server")
    parser.add_argument("--port", type=int, default=0, help="port of the API server; 0 takes a free one")
    parser.add_argument(
        "--image", action="append", default=[], metavar="REF=SOURCE", help="a JSON record, a directory, or self"
    )
    parser.add_argument("--cpus", type=int, help="cores of the node instead of the machine's")
    parser.add_argument("--memory", type=int, help="bytes of memory of the node instead of the machine's")
    parser.add_argument("--nodes", type=int, default=1, help="how many nodes the machine plays")
    parser.add_argument(
        "--node",
        action="append",
        default=[],
        metavar="NAME[,label:K=V][,taint:K=V:EFFECT][,RESOURCE=N]",
        help="one node with its labels, taints and resources, such as gpu-1,taint:gpu=yes:NoSchedule,nvidia.com/gpu=2",
    )
    parser.add_argument(
        "--node-grace", type=float, default=40.0, help="seconds after which a node that is silent is not ready"
    )
    parser.add_argument("--fake-kubelet", action="store_true", help="pods are said to run, and do not")
    parser.add_argument("--faults", action="store_true", help="serve /faults, by which tests make things go wrong")
    parser.add_argument("--no-isolation", action="store_true", help="run containers without namespaces of their own")
    parser.add_argument("--end", action="store_true", help="end containers left behind by a dead cluster, and exit")
    return parser


def _images(values: list[str]) -> dict[str, str]:
    images = {}
    for value in values:
        ref, separator, source = value.partition("=")
        if not (ref and separator and source):
            raise ClusterError(f"--image {value}: write REFERENCE=FILE, REFERENCE=DIRECTORY or REFERENCE=self")
        images[ref] = source
    return images


async def _warm() -> None:
    root = Path(__file__).resolve().parents[2]
    packages = [name for name in ("clusters.embedded", "routerd") if (root / name.replace(".", "/")).is_dir()]
    try:
        await warm(root, packages=tuple(packages))
    except OSError as error:
        logging.getLogger(__name__).warning("Bytecode was not written: %s", error)


async def _run(options: Options, *, began: float) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    cluster = await Cluster.open(options)
    try:
        print(ready_line(cluster, seconds=time.monotonic() - began), flush=True)
        warming = asyncio.create_task(_warm()) if SELF in options.images.values() else None
        await stop.wait()
        if warming is not None:
            warming.cancel()
            await asyncio.wait([warming])
    finally:
        await cluster.close()


def main() -> int:
    given = _arguments().parse_args()
    if given.wait:
        more = sys.stdin.read().splitlines()
        if not more:
            return 0
        given = _arguments().parse_args([*sys.argv[1:], *more])
    began = time.monotonic()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    data = given.data.resolve()
    try:
        if given.end:
            uvloop.run(end_all(data))
            return 0
        options = Options(
            data=data,
            host=given.host,
            port=given.port,
            images=_images(given.image),
            cpus=given.cpus,
            memory=given.memory,
            isolation=NONE if given.no_isolation else None,
            nodes=plans_for(given.nodes, described=[Plan.parse(text) for text in given.node]),
            fake_kubelet=given.fake_kubelet,
            faults=given.faults,
            node_grace=given.node_grace,
        )
        uvloop.run(_run(options, began=began))
    except (ClusterError, AddressesExhaustedError, OSError, ValueError) as error:
        print(f"The cluster cannot run: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
