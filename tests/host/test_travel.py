"""The app's clock, which moves with the clock of its timers."""

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from local.host import config as host_config
from local.host.core import create
from local.host.process import HostProcess
from local.host.timer_store import MemoryTimerStore
from tests.host.support import APP, KEYS, MASTER, Records, document, send

DAY = 86_400.0
SLACK = 60.0
"""Seconds that a test may take; what it moves the clock by is far more."""


class App:
    """The fixture app of a running host, asked for its time."""

    def __init__(self, host: HostProcess) -> None:
        self._host = host
        self._key = {"x-functions-key": host.master_key}

    async def get(self, path: str) -> Any:
        async with aiohttp.request("GET", f"{self._host.url}{path}") as answer:
            return await answer.json() if answer.status == 200 else None

    async def advance(self, seconds: float) -> Any:
        body = {"advance_seconds": seconds}
        url = f"{self._host.url}/admin/host/clock"
        async with aiohttp.request("POST", url, json=body, headers=self._key) as answer:
            return await answer.json()

    async def ahead(self) -> float:
        """Days by which the app is ahead of the machine."""
        told = float((await self.get("/now"))["time"])
        return round((told - time.time()) / DAY, 1)


@pytest_asyncio.fixture
async def host(settings: dict[str, str]) -> AsyncIterator[HostProcess]:
    async with HostProcess(APP, settings) as host:
        yield host


async def test_the_app_tells_the_time_that_its_timers_have(host: HostProcess, records: Records) -> None:
    app = App(host)
    before = await app.get("/now")
    assert abs(before["time"] - time.time()) < SLACK
    assert "tick" in (await app.advance(40 * DAY))["fired"]
    assert abs(records("ticked_at")[0]["time"] - time.time() - 40 * DAY) < SLACK, "it moved before the timer fired"
    after = await app.get("/now")
    assert abs(datetime.fromisoformat(after["date"]).timestamp() - after["time"]) < SLACK
    assert after["monotonic"] - before["monotonic"] < SLACK, "time-outs do not notice"
    await app.advance(2 * DAY)
    assert await app.ahead() == 42


async def test_an_app_that_died_comes_back_in_the_same_time_and_a_new_host_at_the_machines(host: HostProcess) -> None:
    app = App(host)
    await app.advance(3 * DAY)
    await app.get("/dies")
    assert await app.ahead() == 3
    await host.stop()
    await host.launch()
    assert await app.ahead() == 0


async def test_a_host_may_start_ahead(settings: dict[str, str]) -> None:
    host = HostProcess(APP, settings)
    await host.launch(ahead=5 * DAY)
    try:
        assert await App(host).ahead() == 5
        assert (await App(host).advance(DAY))["offset_seconds"] == 6 * DAY
    finally:
        await host.stop()


async def test_without_the_library_nothing_moves_and_the_answer_says_what_to_install(
    settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local.host.travel.find_spec", lambda _: None)
    host = create(host_config.load(APP, settings), keys=KEYS, timer_store=MemoryTimerStore())
    await host.start()
    try:
        answer = await send(host, "/admin/host/clock", "POST", MASTER, b'{"advance_seconds": 86400}')
        assert answer.status == 501
        assert "time-machine is not installed" in document(answer)["error"]
        assert abs((host.clock.now() - datetime.now(UTC)).total_seconds()) < SLACK
    finally:
        await host.stop()
