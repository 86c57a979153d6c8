"""Which isolation this machine permits: found out once, at start, by running /bin/true in each kind.

Kernel versions, sysctls, AppArmor and seccomp all have a say; only trying tells.
"""

import asyncio
import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from clusters.embedded.kubelet.node import Isolation
from clusters.embedded.kubelet.process import ContainerProcess, StartError
from clusters.embedded.kubelet.recipe import prepare_attempt

log = logging.getLogger(__name__)

NONE = Isolation(namespaces=False)
# Pods of before would not find their files again under a weaker kind, so a busy machine gets time.
_PATIENCE_SECONDS: Final = 60.0


async def detect_isolation(data: Path) -> Isolation:
    """The strongest kind that works here."""
    root = os.geteuid() == 0
    kinds = [Isolation(namespaces=True, change_user=True, own_pids=True)] if root else []
    kinds.append(Isolation(namespaces=True, user_namespace=True, own_pids=True))
    kinds.append(Isolation(namespaces=True, user_namespace=not root, change_user=root))
    for kind in kinds:
        if await _works(kind, data=data):
            return kind
    return NONE


async def _works(kind: Isolation, *, data: Path) -> bool:
    attempt = Path(tempfile.mkdtemp(prefix="isolation-", dir=data))
    try:
        prepare_attempt(attempt)
        hosts = attempt / "hosts"
        hosts.mkdir()
        root = {
            "directory": str(attempt / "root"),
            "hosts": str(hosts),
            "hostname": "probe",
            "own_proc": kind.own_pids,
            "readonly": False,
            "masks": [],
            "binds": [],
        }
        spec = {
            "argv": ["/bin/true"],
            "env": {},
            "cwd": "/",
            "user": 1000,
            "group": 1000,
            "supplementary_groups": [],
            "change_user": kind.change_user,
            "no_new_privileges": True,
            "namespaces": True,
            "user_namespace": kind.user_namespace,
            "own_pids": kind.own_pids,
            "cgroups": [],
            "root": root,
        }
        process = await ContainerProcess.spawn(attempt, spec=spec)
        return (await asyncio.wait_for(process.wait(), _PATIENCE_SECONDS)).exit_code == 0
    except (StartError, OSError) as error:
        log.info("Isolation by %s does not work here: %s", kind, error)
        return False
    finally:
        shutil.rmtree(attempt, ignore_errors=True)
