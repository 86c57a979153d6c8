"""A laptop without Kubernetes: the documented file routes, follows changes, and its mistakes are told."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import yaml

from tests.ports import free_port
from tests.routerd.conftest import ModelServer, StartModel, eventually

DOCUMENTED = re.search(r"```yaml\n(.*?)```", (Path(__file__).parents[2] / "docs" / "router.md").read_text(), re.DOTALL)


@dataclass
class Laptop:
    """One routerd on a file, as its documentation starts it."""

    file: Path
    port: int
    admin_port: int
    session: aiohttp.ClientSession

    def write(self, model: ModelServer, **spec: object) -> None:
        """The documented file, leading to this model."""
        assert DOCUMENTED is not None
        endpoint, members = yaml.safe_load_all(DOCUMENTED[1])
        endpoint["spec"] |= spec
        members["ports"], members["endpoints"] = [{"port": model.port}], [{"addresses": [model.address]}]
        self.file.write_text(yaml.safe_dump_all([endpoint, members]))

    async def call(self) -> str:
        with suppress(aiohttp.ClientError):
            url = f"http://127.0.0.1:{self.port}/api/v1/endpoint/credit/score"
            async with self.session.post(url, data=b"{}") as answer:
                return await answer.text() if answer.status == 200 else f"status {answer.status}"
        return "refused"

    async def until(self, expected: str) -> None:
        async def so() -> bool:
            return await self.call() == expected

        await eventually(so)

    async def conditions(self) -> list[tuple[str, str]]:
        """(reason, message) of the endpoint's conditions."""
        url = f"http://127.0.0.1:{self.admin_port}/v1/table"
        async with self.session.get(url, headers={"x-slipway-token": "t"}) as answer:
            found = (await answer.json())["endpoints"].get("here/credit", {"conditions": []})
        return [(condition["reason"], condition["message"]) for condition in found["conditions"]]


@pytest.fixture
async def laptop(tmp_path: Path) -> AsyncIterator[Laptop]:
    """A running routerd; its file is not there yet."""
    async with aiohttp.ClientSession() as session:
        found = Laptop(tmp_path / "endpoints.yaml", free_port(), free_port(), session)
        options = ["--run-dir", str(tmp_path / "run"), "--config", str(found.file), "--admin-token", "t"]
        options += ["--inference-port", str(found.port), "--admin-port", str(found.admin_port)]
        options += ["--slots", "500:4,5000:4", "--drain-seconds", "0"]
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", "routerd", *options)
        yield found
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 30) == 0


async def test_the_documented_file_routes_and_is_followed(laptop: Laptop, start_model: StartModel) -> None:
    one, two = await start_model("one"), await start_model("two")
    laptop.write(one)
    await laptop.until("one")

    laptop.write(two)
    await laptop.until("two")

    laptop.file.write_text("kind: Surprise\n")
    await asyncio.sleep(0.5)  # it has been looked at, and refused
    assert await laptop.call() == "two"


async def test_a_bad_spec_becomes_a_condition_and_the_router_goes_on(laptop: Laptop, start_model: StartModel) -> None:
    one = await start_model("one")
    laptop.write(one)
    await laptop.until("one")

    laptop.write(one, auth={"mode": "magic"})
    await laptop.until("status 404")  # who may call is not understood, so nobody may

    async def told() -> bool:
        return any(reason == "InvalidSpec" and "magic" in message for reason, message in await laptop.conditions())

    await eventually(told)
    laptop.write(one)
    await laptop.until("one")
