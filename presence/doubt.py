"""Notes in storage that a process was told something that may not be recorded yet.

Graph gets its answer before that is certain. Should the process end, or storage refuse it, the note stays, and the next
poll of whatever process asks Graph about everybody.
"""

import asyncio
import datetime
from collections.abc import Callable, Mapping

import msgspec

from presence.hearing import stamp
from presence.room import Memory, Room, memory_of
from store.errors import Changed, StoreError
from store.presence import Clock

PATIENCE = datetime.timedelta(seconds=15)
"""A note that is older is nobody's concern any more."""
LOOK_SECONDS = 5.0
"""So often it is made sure that the note is still there, while requests are worked on behind their answers."""
TRIES = 5

type Doubts = Mapping[str, str]


def doubt(room: Room) -> None:
    """Note it, behind whatever is being done, until the requests that are worked on behind their answers have ended."""
    memory = memory_of(room)
    if memory.heard.noting is None or memory.heard.noting.done():
        memory.heard.noting = asyncio.create_task(_keep_noted(room, memory))


def split(clock: Clock, now: datetime.datetime) -> tuple[bool, Clock]:
    """Whether a note was left behind, and the clock without such notes. Pure."""
    young = {
        process: since
        for process, since in clock.doubts.items()
        if now - PATIENCE < datetime.datetime.fromisoformat(since) <= now + PATIENCE
    }
    return young != clock.doubts, msgspec.structs.replace(clock, doubts=young)


async def _keep_noted(room: Room, memory: Memory) -> None:
    heard, process = memory.heard, memory.process

    def with_ours(doubts: Doubts) -> Doubts:
        return doubts if process in doubts else {**doubts, process: stamp(room.now())}

    try:
        while heard.late:
            await _change(room, with_ours)
            if heard.late:  # they may have ended while it was noted
                await asyncio.wait(list(heard.late), timeout=LOOK_SECONDS)
            if not heard.late and not heard.is_lost:
                await _change(room, lambda doubts: {key: since for key, since in doubts.items() if key != process})
        heard.is_lost = False
    except StoreError:
        memory.is_unswept = True  # this process' own poll knows it, if no other can


async def _change(room: Room, change: Callable[[Doubts], Doubts]) -> None:
    for _ in range(TRIES):
        kept = await room.store.clock()
        doubts = dict(change(kept.clock.doubts))
        if doubts == kept.clock.doubts:
            return
        if await room.store.set_clock(msgspec.structs.replace(kept.clock, doubts=doubts), kept.etag):
            return
    raise Changed("others change the clock of presence all the time")
