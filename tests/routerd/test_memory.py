"""What the search for cycles may leave out: it is told to once, when the first table is in force."""

import gc
from collections.abc import Iterator

import pytest

from routerd.haproxy.process import HaproxyProcess
from routerd.memory import run_memory
from routerd.routes import EndpointRoute
from routerd.routing_table import build_table
from routerd.settings import Settings
from tests.routerd.conftest import endpoint
from tests.routerd.observed import observe, until
from tests.routerd.test_routing_table import address, endpoint_slice, online_endpoint


@pytest.fixture
def nothing_left_out() -> Iterator[None]:
    gc.unfreeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("nothing_left_out")
async def test_with_the_first_table_all_there_is_is_left_out(settings: Settings, haproxy: HaproxyProcess) -> None:
    async with observe(settings, haproxy, run_memory) as observed:
        assert gc.get_freeze_count() == 0
        await observed.serve(endpoint())
        await until(lambda: gc.get_freeze_count() > 10_000)


def test_a_table_that_nobody_needs_any_more_is_freed_without_a_search() -> None:
    def routes() -> int:
        kept = (each for each in gc.get_objects() if isinstance(each, EndpointRoute))
        return sum(each.name.startswith("passing-") for each in kept)

    gc.disable()
    try:
        slices = [endpoint_slice(address("10.0.0.2", "b-2", ready=True))]
        table = build_table(endpoints=[online_endpoint(f"passing-{number}") for number in range(20)], slices=slices)
        assert len(table.endpoints) == routes() == 20
        del table
        assert routes() == 0
    finally:
        gc.enable()
