"""How the tests are shared out among the workers of one run (`make test`): what stays together, what begins first."""

import importlib
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

# Files whose tests share something dear: one whole Slipway, one cluster.
SHARING = {
    "tests/browser/test_main_job.py": "whole",
    "tests/flows/test_main_job.py": "whole",
    "tests/flows/test_survival.py": "whole",
}
SHARING_FOLDERS = ("tests/conformance", "tests/deployments/rollout")
# What takes longest begins first, so that no worker is left with it at the end.
LONGEST = (
    *SHARING,
    "tests/deployments/rollout",
    "tests/conformance",
    "tests/clusters/tasks",
    "tests/flows",
    "tests/browser",
    "tests/clusters/embedded",
    "tests/studio/test_server.py",
    "tests/studio/up",
    "tests/routerd",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In a run of several workers, order the files by how long they take."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: next((n for n, path in enumerate(LONGEST) if item.nodeid.startswith(path)), 99))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests of one file stay together in one worker, and so do files that share something dear.

    (The groups that xdist has for this are silently ignored by xdist 3.8 with pytest 9.2.)
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            folder = file.rpartition("/")[0]
            return SHARING.get(file, folder if folder in SHARING_FOLDERS else file)

    return ByFile(config, log)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Import a share of the files before all of them are collected.

    The first to import a file rewrites its assertions and keeps the bytecode. In a clean clone all workers would
    otherwise rewrite every file at the same time.
    """
    given = getattr(session.config, "workerinput", None)
    if given is None or sys.dont_write_bytecode:
        return
    number, workers = int(given["workerid"].removeprefix("gw")), given["workercount"]
    files = sorted(Path(__file__).parent.rglob("test_*.py"))
    for file in files[number::workers]:
        name = ".".join(file.relative_to(session.config.rootpath).with_suffix("").parts)
        with suppress(Exception, pytest.skip.Exception, pytest.fail.Exception):  # it is collected later, and told then
            importlib.import_module(name)
