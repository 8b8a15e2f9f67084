"""What it costs to ask Graph about everybody: a cycle of the poll in which nobody changed, and a sweep."""

import datetime
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from benchmarks.presence_place import Emulators, Place

POLL_SECONDS = 10
TURNS = 3


class Cycle(msgspec.Struct, frozen=True):
    """One look at everybody; the counts are of requests."""

    name: str
    graph: int
    storage: int
    pbx: int
    cpu_seconds: float
    """Of the process that polls."""
    seconds: float


class Polled(msgspec.Struct, frozen=True):
    """What one deployment measured."""

    cycles: list[Cycle]


async def measure(place: Place, users: int) -> Polled:
    """Poll in this process, whose environment is that of a deployment; its clock is moved from cycle to cycle."""
    from console.rooms import presence_room
    from presence.poll import carry_out, poll
    from presence.room import close
    from sync.service import Bridge

    bridge = Bridge()
    connection = bridge.connection(uuid.uuid4().hex[:12])
    clock = _Clock()
    async with Emulators(place) as emulators:
        staff = await emulators.staff(connection, users)
        await emulators.switch_on(connection, POLL_SECONDS)
        room = presence_room(connection, clock.now)
        bench = _Bench(emulators, connection)

        async def turn() -> None:
            updates = await poll(room)
            while updates:
                updates = [following for update in updates for following in await carry_out(room, update)]

        cycles = [await bench.cycle("first sweep", turn)]
        for _ in range(TURNS):
            clock.pass_seconds(POLL_SECONDS)
            cycles.append(await bench.cycle("idle cycle", turn))
        for one in staff[: users // 100]:
            await emulators.show(one, "Busy")
        clock.pass_seconds(POLL_SECONDS)
        cycles.append(await bench.cycle(f"{users // 100} users changed", turn))
        clock.pass_seconds(600)
        cycles.append(await bench.cycle("idle sweep", turn))
        await close(room)
    await bridge.close()
    return Polled(cycles)


class _Clock:
    """The machine's, moved forward from cycle to cycle."""

    def __init__(self) -> None:
        self._ahead = datetime.timedelta()

    def now(self) -> datetime.datetime:
        return datetime.datetime.now(datetime.UTC) + self._ahead

    def pass_seconds(self, seconds: float) -> None:
        self._ahead += datetime.timedelta(seconds=seconds)


class _Bench:
    """Counts what one cycle asks for."""

    def __init__(self, emulators: Emulators, connection: Any) -> None:
        self._emulators = emulators
        self._connection = connection

    async def cycle(self, name: str, turn: Callable[[], Awaitable[None]]) -> Cycle:
        graph, pbx, storage = await self._counts()
        cpu, began = time.process_time(), time.perf_counter()
        await turn()
        seconds, used = time.perf_counter() - began, time.process_time() - cpu
        after = await self._counts()
        return Cycle(name, after[0] - graph, after[2] - storage, after[1] - pbx, used, seconds)

    async def _counts(self) -> tuple[int, int, int]:
        """Requests to Graph, the PBX and storage so far."""
        graph = await self._emulators.microsoft("GET", "requests?path=/v1.0/*")
        pbx = await self._emulators.pbx("GET", "requests?path=/openapi/*")
        return len(graph), len(pbx), self._connection.tables.traffic.requests
