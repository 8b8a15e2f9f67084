"""Timers on a clock that the test moves."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from local.azurite import Azurite
from local.host import ncrontab
from local.host.clock import Clock
from local.host.functions import Entry, TimerTrigger
from local.host.timer_store import MemoryTimerStore, TableTimerStore, TimerStatus, TimerStore
from local.host.timers import Timers
from local.host.wire import Data
from tests.host.support import MASTER, HostFactory, Records, document, send, until

NOON = datetime(2026, 5, 1, 12, 0, 30, tzinfo=UTC)


class Recorder:
    """Stands for the app: notes what was invoked, and waits while ``gate`` is closed."""

    def __init__(self) -> None:
        self.payloads: list[tuple[str, dict[str, Any]]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, entry: Entry, data: Data) -> bool:
        self.payloads.append((entry.name, json.loads(data.value)))
        await self.gate.wait()
        return True

    @property
    def past_due(self) -> list[bool]:
        return [payload["IsPastDue"] for _, payload in self.payloads]


class Bench:
    """Timers of one schedule under a stopped clock."""

    def __init__(self) -> None:
        self.time = NOON
        self.clock = Clock(lambda: self.time)
        self.store = MemoryTimerStore()
        self.app = Recorder()
        self.timers: list[Timers] = []

    async def start(self, schedule: str, **options: bool) -> Timers:
        trigger = TimerTrigger(
            schedule,
            ncrontab.parse(schedule),
            options.get("run_on_startup", False),
            options.get("use_monitor", True),
        )
        timers = Timers(self.clock, self.store, self.app)
        self.timers.append(timers)
        await timers.start([Entry("tick", "id", "timer", trigger, ())])
        return timers

    async def advance(self, timers: Timers, **by: float) -> list[str]:
        self.clock.advance(timedelta(**by))
        fired = timers.fire_due()
        await asyncio.gather(*fired.values())
        return sorted(fired)


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    bench.app.gate.set()
    for timers in bench.timers:
        await timers.stop(1)


async def test_a_timer_fires_when_its_time_has_come_and_not_before(bench: Bench) -> None:
    timers = await bench.start("0 */5 * * * *")
    assert await bench.advance(timers, minutes=4) == []
    assert await bench.advance(timers, seconds=30) == ["tick"]
    assert bench.app.past_due == [False]
    assert timers.next_times() == {"tick": datetime(2026, 5, 1, 12, 10, tzinfo=UTC)}


async def test_a_jump_over_many_times_fires_once(bench: Bench) -> None:
    timers = await bench.start("0 * * * * *")
    assert await bench.advance(timers, hours=3) == ["tick"]
    assert len(bench.app.payloads) == 1


async def test_the_waiting_loop_fires_by_itself_after_a_move(bench: Bench) -> None:
    await bench.start("0 0 * * * *")
    bench.clock.advance(bench.clock.until(NOON + timedelta(hours=1)))
    await until(lambda: bench.app.payloads)


async def test_a_timer_fires_in_real_time() -> None:
    bench = Bench()
    bench.clock = Clock()
    timers = await bench.start("00:00:00.05")
    await until(lambda: len(bench.app.payloads) >= 2)
    await timers.stop(1)


async def test_a_timer_does_not_overlap_itself(bench: Bench) -> None:
    timers = await bench.start("0 * * * * *")
    bench.app.gate.clear()
    bench.clock.advance(timedelta(minutes=1))
    fired = timers.fire_due()
    await until(lambda: bench.app.payloads)
    bench.clock.advance(timedelta(minutes=5))
    assert timers.fire_due() == {}
    bench.app.gate.set()
    await asyncio.gather(*fired.values())
    assert len(bench.app.payloads) == 1


async def test_a_run_missed_while_the_host_was_down_is_made_up_for_at_start(bench: Bench) -> None:
    await (await bench.start("0 */5 * * * *")).stop(1)
    bench.time += timedelta(hours=1)
    timers = await bench.start("0 */5 * * * *")
    await until(lambda: bench.app.payloads)
    assert bench.app.past_due == [True]
    await timers.stop(1)
    await bench.start("0 */5 * * * *")
    assert len(bench.app.payloads) == 1, "it was made up for"


async def test_nothing_is_past_due_on_the_first_start_nor_after_a_new_schedule(bench: Bench) -> None:
    await (await bench.start("0 */5 * * * *")).stop(1)
    bench.time += timedelta(hours=1)
    await bench.start("0 */7 * * * *")
    assert bench.app.payloads == []


@pytest.mark.parametrize(("schedule", "use_monitor"), [("*/10 * * * * *", True), ("0 */5 * * * *", False)])
async def test_a_frequent_or_unmonitored_timer_keeps_no_memory(bench: Bench, schedule: str, use_monitor: bool) -> None:
    await bench.start(schedule, use_monitor=use_monitor)
    assert bench.store.statuses == {}


async def test_run_on_startup(bench: Bench) -> None:
    await bench.start("0 0 3 * * *", run_on_startup=True)
    await until(lambda: bench.app.payloads)
    assert bench.app.past_due == [False]


async def test_the_payload_tells_last_and_next(bench: Bench) -> None:
    timers = await bench.start("0 */5 * * * *")
    await bench.advance(timers, minutes=5)
    await bench.advance(timers, minutes=5)
    status = bench.app.payloads[1][1]["ScheduleStatus"]
    assert (status["Last"], status["Next"]) == ("2026-05-01T12:05:30Z", "2026-05-01T12:10:00Z")


@pytest.mark.parametrize("to", [NOON - timedelta(seconds=1), datetime(2027, 1, 1)])  # noqa: DTZ001 - that is the mistake
def test_the_clock_refuses_the_past_and_times_without_zone(to: datetime) -> None:
    clock = Clock(lambda: NOON)
    with pytest.raises(ValueError, match=r"forward|zone"):
        clock.advance(clock.until(to))


async def test_the_table_remembers_across_clients(azurite: Azurite, settings: dict[str, str]) -> None:
    status = TimerStatus(NOON, NOON + timedelta(minutes=5), "0 */5 * * * *")
    host_id = settings["AzureFunctionsWebHost__hostid"]
    stores: list[TimerStore] = [TableTimerStore(azurite.connection_string, host_id) for _ in range(2)]
    assert await stores[0].read("tick") is None
    await stores[0].write("tick", status)
    assert await stores[1].read("tick") == status
    for store in stores:
        await store.close()


async def test_without_storage_timers_only_lose_their_memory(no_storage: str, caplog: pytest.LogCaptureFixture) -> None:
    store = TableTimerStore(no_storage, "host")
    await store.write("tick", TimerStatus(None, None, ""))
    assert await store.read("tick") is None
    await store.close()
    assert caplog.text.count("cannot be used") == 1


async def test_the_admin_clock_makes_the_apps_timers_fire(make_host: HostFactory, records: Records) -> None:
    host = await make_host(clock=Clock(lambda: NOON))

    async def move(body: str) -> Any:
        return document(await send(host, "/admin/host/clock", "POST", MASTER, body.encode()))

    await until(lambda: records("at_start"))
    assert (await move('{"advance_seconds": 60}'))["fired"] == []
    assert (await move('{"now": "2026-05-01T13:00:00Z"}'))["fired"] == ["tick"]
    assert [one["past_due"] for one in records("tick")] == [False]
    shown = document(await send(host, "/admin/host/clock", headers=MASTER))
    assert (shown["now"], shown["next"]["tick"]) == ("2026-05-01T13:00:00Z", "2026-05-01T14:00:00Z")


@pytest.mark.parametrize(
    "body", ["", "{}", '{"advance_seconds": -1}', '{"now": "2020-01-01T00:00:00Z"}', '{"now": 5}', '{"forward": 5}']
)
async def test_a_wrong_move_of_the_clock_is_400(make_host: HostFactory, body: str) -> None:
    host = await make_host(clock=Clock(lambda: NOON))
    answer = await send(host, "/admin/host/clock", "POST", MASTER, body.encode())
    assert answer.status == 400
    assert host.clock.offset == timedelta()


async def test_a_restarted_host_makes_up_for_a_missed_run(
    azurite: Azurite, make_host: HostFactory, settings: dict[str, str], records: Records
) -> None:
    def memory() -> TimerStore:
        return TableTimerStore(azurite.connection_string, settings["AzureFunctionsWebHost__hostid"])

    await (await make_host(clock=Clock(lambda: NOON), timer_store=memory())).stop()
    assert records("tick") == []
    await make_host(clock=Clock(lambda: NOON + timedelta(hours=2)), timer_store=memory())
    await until(lambda: records("tick"))
    assert records("tick")[0]["past_due"] is True
