"""Records what notifications say: what several bring at the same time goes to storage together, the newest first, and
what is new goes on to the PBX. It is not broken off when Graph's patience ends."""

import asyncio
import bisect
from collections.abc import Sequence

from presence.hearing import Said, hear
from presence.push import submit
from presence.room import Memory, Room, Unrecorded, memory_of
from store.presence import TRANSACTION, UserPresence


def record(room: Room, said: Sequence[Said], turn: int) -> asyncio.Future[asyncio.Future[bool]]:
    """Record this, which is something. The answer comes when it is stored, and tells when and whether the PBX has it,
    as ``submit`` does; ``StoreError`` when it cannot be stored."""
    memory = memory_of(room)
    stored: asyncio.Future[asyncio.Future[bool]] = asyncio.get_running_loop().create_future()
    bisect.insort(memory.heard.unrecorded, Unrecorded(turn, said, stored), key=lambda one: one.rank)
    if memory.heard.task is None or memory.heard.task.done():
        memory.heard.task = asyncio.create_task(_record_all(room, memory))
    return stored


async def _record_all(room: Room, memory: Memory) -> None:
    while memory.heard.unrecorded:
        batch = _newest(memory)
        try:
            pending = await _record(room, [said for one in batch for said in one.said])
        except Exception as error:  # noqa: BLE001 - who waits for it is told
            _fail([one.stored for one in batch], error)
            continue
        for one in batch:
            users = [said.object_id for said in one.said if said.object_id in pending]
            written = submit(room, users, pending, dict.fromkeys(users, one.turn))
            if not one.stored.done():
                one.stored.set_result(written)


def _newest(memory: Memory) -> list[Unrecorded]:
    """What came last of what waits, the oldest of it first: as much as goes to storage in one transaction, as it is
    written to the PBX meanwhile."""
    begin, users = len(memory.heard.unrecorded), 0
    while begin and (not users or users + len(memory.heard.unrecorded[begin - 1].said) <= TRANSACTION):
        begin -= 1
        users += len(memory.heard.unrecorded[begin].said)
    batch = memory.heard.unrecorded[begin:]
    del memory.heard.unrecorded[begin:]
    return batch


async def _record(room: Room, said: Sequence[Said]) -> dict[str, str]:
    """Record what is new about users who are followed; answers whose extension may have to be written, and when that
    was heard of."""
    pending: dict[str, str] = {}
    by_user: dict[str, list[Said]] = {}
    for one in said:
        by_user.setdefault(one.object_id, []).append(one)

    def change(key: str, row: UserPresence | None) -> UserPresence | None:
        if row is None or not row.is_followed:
            return None
        for one in by_user[key]:
            row = hear(row, one)
        if row.is_pending:  # also what was recorded already, by a write that we were not told the end of
            pending[key] = row.heard_at
        return row

    await room.store.change(by_user, change)
    return pending


def _fail(waiting: Sequence[asyncio.Future[asyncio.Future[bool]]], error: Exception) -> None:
    for stored in waiting:
        if not stored.done():
            stored.set_exception(error)
