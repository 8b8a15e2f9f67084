"""Counts notifications that are not believed, and says so once in a while. What was in them is not said: anybody may
have written it."""

import asyncio
import datetime
import logging

import msgspec

from presence.room import Memory, Room, memory_of
from store.errors import StoreError

log = logging.getLogger("presence")

REPORT = datetime.timedelta(minutes=1)
FORGED = "no subscription of ours"


def refuse(memory: Memory, number: int, why: str = FORGED) -> None:
    """Count notifications; ``why`` names the check that failed last."""
    memory.refused += number
    if number:
        memory.refusal = why


def report_soon(room: Room) -> None:
    """Have the count told and stored behind whatever is being done, at most once a minute: whoever forges many
    notifications makes us write little."""
    memory, now = memory_of(room), room.now()
    is_early = memory.reported_at is not None and memory.reported_at <= now < memory.reported_at + REPORT
    if memory.refused and not is_early and (memory.counting is None or memory.counting.done()):
        memory.reported_at = now
        log.warning("%d notifications of presence were not believed (%s)", memory.refused, memory.refusal)
        memory.counting = asyncio.create_task(_count(room, memory))


async def count(room: Room) -> None:
    """Store what this process counted."""
    memory = memory_of(room)
    if not memory.refused:
        return
    number, memory.refused = memory.refused, 0
    kept = await room.store.clock()
    clock = msgspec.structs.replace(kept.clock, refused=kept.clock.refused + number)
    if not await room.store.set_clock(clock, kept.etag):
        memory.refused += number  # the poll was faster: the next time then


async def counted(room: Room) -> None:
    """Wait until what is being stored is stored."""
    counting = memory_of(room).counting
    if counting is not None:
        await asyncio.wait([counting])


async def _count(room: Room, memory: Memory) -> None:
    try:
        if (await memory.rules(room, room.now())).are_on:
            await count(room)
    except StoreError as error:
        log.warning("Refused notifications could not be counted: %s", error)
