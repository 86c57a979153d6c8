"""When each key was used last."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from routerd.contract import key_hash
from routerd.control import InForce
from routerd.haproxy.process import HaproxyProcess
from routerd.key_use import describe_key_use, merge_key_use, parse_key_use, read_key_use, run_key_use
from routerd.routes import RoutingTable
from routerd.settings import Settings
from routerd.status import build_status, stamp, without_load
from tests.routerd.conftest import Router, StartModel, deployment, endpoint
from tests.routerd.observed import observe, until

SHOWN = """# table: keys_used, type: string, size:102400, used:2
0x55d0c8: key=primary#1a2b3c4d:credit use=0 exp=3599000 shard=0 gpc0=0
0x55d0d8: key=ci.build_1#0badcafe:fraud use=2 exp=600000 shard=0 gpc0=0
0x55d0e8: key=q500-0002|90|q500-0001|ci.build_1#0badcafe:fraud use=2 exp=900000 shard=0 gpc0=0
0x55d0f8: key=q500-0001|||ci.build_1#0badcafe:fraud use=2 exp=300000 shard=0 gpc0=0
"""


def fingerprint(key: str) -> str:
    return key_hash(key)[:8]


def test_the_time_of_the_last_use_follows_from_what_is_left_of_its_entries() -> None:
    assert parse_key_use(SHOWN, now=10_000.0) == {
        ("credit", "primary", "1a2b3c4d"): 9_999.0,
        ("fraud", "ci.build_1", "0badcafe"): 7_300.0,
    }
    assert parse_key_use("", now=1.0) == {}


def test_the_later_time_stays_and_keys_that_are_gone_are_forgotten() -> None:
    route = endpoint(deployment("blue"), keys=(("primary", key_hash("a")), ("ci", key_hash("b"))))
    primary, ci = ("credit", "primary", fingerprint("a")), ("credit", "ci", fingerprint("b"))
    made_anew = ("credit", "primary", fingerprint("before"))
    table = RoutingTable(endpoints=(route,))

    latest = merge_key_use({primary: 50.0, made_anew: 90.0, ci: 20.0}, {primary: 40.0, ci: 30.0}, table=table)

    assert latest == {primary: 50.0, ci: 30.0}
    assert describe_key_use(route, used={primary: 1_767_225_659.0}) == [
        {"name": "ci", "fingerprint": fingerprint("b")},
        {"name": "primary", "fingerprint": fingerprint("a"), "lastUsed": "2026-01-01T00:00:00Z"},
    ]


def test_the_status_keeps_a_later_use_it_knew_of_the_same_key_only() -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)

    def keys_after(now: Mapping[str, str], before: Mapping[str, str]) -> list[dict[str, str]]:
        in_force = InForce(generation=1, key_revision=1)
        status = build_status(
            endpoint(deployment("blue")), in_force=in_force, seen={}, routers={}, address=None, keys=[dict(now)]
        )
        assert "keys" not in without_load(status)
        found: list[dict[str, str]] = stamp(status, before={"keys": [dict(before)]}, at=noon)["keys"]
        return found

    key = {"name": "primary", "fingerprint": "1a2b3c4d"}
    early, late = key | {"lastUsed": "2026-01-01T10:00:00Z"}, key | {"lastUsed": "2026-01-01T11:00:00Z"}
    assert keys_after(early, late) == [late]
    assert keys_after(late, early) == [late]
    assert keys_after(key, late) == [late]
    assert keys_after(key, late | {"fingerprint": "another"}) == [key]


async def test_haproxy_knows_of_every_use_however_few_requests_are_logged(
    settings: Settings, haproxy: HaproxyProcess, start_model: StartModel
) -> None:
    blue = await start_model("blue-1")
    keys = tuple((name, key_hash(name)) for name in ("used", "unused", "ending"))
    ends = (("ending", int(time.time()) + 3600),)
    async with observe(replace(settings, log_sample=1_000_000), haproxy, run_key_use) as observed:
        callers: Router = observed.callers
        await observed.serve(endpoint(deployment("blue", blue), keys=keys, key_expiry=ends))
        for key in ("used", "ending", "wrong"):
            await callers.call(key=key)
        used = await read_key_use(callers.runtime, now=time.time())
        assert used.keys() == {("credit", name, fingerprint(name)) for name in ("used", "ending")}
        assert all(abs(at - time.time()) < 60 for at in used.values())


async def test_the_control_process_reads_it_by_itself(
    settings: Settings, haproxy: HaproxyProcess, start_model: StartModel
) -> None:
    blue = await start_model("blue-1")
    async with observe(settings, haproxy) as observed:
        await observed.serve(endpoint(deployment("blue", blue)))
        await observed.callers.call()
        reading = asyncio.create_task(run_key_use(observed.daemon))
        found = await until(lambda: observed.board.keys_used)
        reading.cancel()

    assert list(found) == [("credit", "primary", fingerprint("primary-key-of-alice"))]
