"""What HAProxy has is read back a share at a time: all of it in the end, and none of it holds up a change for long."""

from dataclasses import dataclass, replace

import pytest

from routerd.haproxy.maps import HaproxyFiles
from routerd.haproxy.process import HaproxyProcess
from routerd.haproxy.runtime import Runtime
from routerd.read_back import ROUND_SECONDS, SLOTS_AT_A_TIME, ReadBack
from routerd.settings import Settings

SLOTS = 2 * SLOTS_AT_A_TIME + 10


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


class CountingRuntime(Runtime):
    """The real one, which also says how many commands it ran at a time."""

    most = 0

    async def execute(self, *commands: str) -> list[str]:
        self.most = max(self.most, len(commands))
        return await super().execute(*commands)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return replace(settings, slots={500: SLOTS})


async def test_what_nobody_touched_is_read_in_shares_until_all_of_it_was(
    settings: Settings, haproxy: HaproxyProcess
) -> None:
    clock, runtime = Clock(), CountingRuntime(settings.admin_socket)
    look = ReadBack(settings, files=HaproxyFiles(settings), runtime=runtime, clock=clock)
    before = await look.read_all()
    last = max(before.backends)
    assert len(before.backends) == SLOTS

    await runtime.change(f"add server {last}/other 127.0.0.1:1 maxconn 1")
    assert await look.read_due(before) is before  # it is not time yet
    clock.now += 1_000
    shares = [await look.read_due(before) for _ in range(3)]
    assert [share is before for share in shares] == [True, True, False]
    assert shares[-1].servers.keys() == {(last, "other")}
    assert shares[-1].backends == before.backends
    assert runtime.most == SLOTS_AT_A_TIME


async def test_maps_are_read_at_the_start_of_each_round(settings: Settings, haproxy: HaproxyProcess) -> None:
    clock, runtime = Clock(), Runtime(settings.admin_socket)
    files = HaproxyFiles(settings)
    look = ReadBack(settings, files=files, runtime=runtime, clock=clock)
    before = await look.read_all()
    await runtime.change(f"add map {files.map_path('endpoints')} credit none|q500-0001|")
    clock.now += 1_000
    found = await look.read_due(before)
    assert found.maps["endpoints"] == {"credit": "none|q500-0001|"}
    assert await look.read_due(found) is found
    assert await look.read_due(found) is found

    await runtime.change(f"clear map {files.map_path('endpoints')}")
    clock.now += ROUND_SECONDS / 2
    assert await look.read_due(found) is found  # the next round has not begun
    clock.now += 1_000
    assert (await look.read_due(found)).maps["endpoints"] == {}
