"""Which slot serves which deployment."""

import pytest

from routerd.slots import NoFreeSlotError, SlotTable, slot_wait_ms, wait_class

BLUE, GREEN = ("team-a", "credit", "blue"), ("team-a", "credit", "green")


@pytest.mark.parametrize(("wait", "expected"), [(0, 100), (100, 100), (101, 500), (60_000, 60_000), (99_999, 60_000)])
def test_a_wait_gets_the_next_class_up(wait: int, expected: int) -> None:
    assert wait_class(wait, classes=(60_000, 100, 500)) == expected


def test_a_slot_is_found_by_its_owner_and_the_owner_by_its_slot() -> None:
    table, slot = SlotTable(sizes={500: 2}).assign(BLUE, wait_ms=300)

    assert slot == "q500-0001"
    assert slot_wait_ms(slot) == 500
    assert table.lookup(slot) == BLUE
    assert table.find(BLUE) == slot
    assert table.find(GREEN) is None


def test_no_slot_is_given_twice() -> None:
    table = SlotTable(sizes={500: 2})
    table, first = table.assign(BLUE, wait_ms=500)
    table, second = table.assign(GREEN, wait_ms=500)

    assert first != second
    with pytest.raises(NoFreeSlotError) as full:
        table.assign(("team-a", "credit", "red"), wait_ms=500)
    assert full.value.wait_ms == 500


def test_a_released_slot_rests_until_time_is_over_and_haproxy_calls_it_empty() -> None:
    table, slot = SlotTable(sizes={500: 1}).assign(BLUE, wait_ms=500)
    table = table.release(slot, now=100.0)

    assert table.lookup(slot) is None
    for unrested in (
        table,
        table.wake(now=150.0, rest_seconds=60, empty=[slot]),
        table.wake(now=200.0, rest_seconds=60, empty=[]),
    ):
        with pytest.raises(NoFreeSlotError):
            unrested.assign(GREEN, wait_ms=500)
    assert table.wake(now=160.0, rest_seconds=60, empty=[slot]).assign(GREEN, wait_ms=500)[1] == slot


def test_growing_doubles_one_class_and_keeps_the_owners() -> None:
    table, slot = SlotTable(sizes={500: 10, 100: 1}).assign(BLUE, wait_ms=500)

    grown = table.grow(wait_ms=500)

    assert grown.sizes == {500: 20, 100: 1}
    assert grown.find(BLUE) == slot
    assert len(grown.names()) == 21


def test_the_table_survives_the_disk() -> None:
    table, slot = SlotTable(sizes={500: 2, 100: 1}).assign(BLUE, wait_ms=500)
    table = table.assign(GREEN, wait_ms=10)[0].release(slot, now=12.5)

    assert SlotTable.from_json(table.to_json()) == table


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"sizes": 1, "owners": {}, "resting": {}}'])
def test_anything_else_on_disk_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        SlotTable.from_json(text)
