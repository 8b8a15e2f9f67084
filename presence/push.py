"""Brings to the PBX what was heard: who waits in this process, and whoever is pending in storage.

One process writes at a time, under a lease whose note carries the pace from one to the next. So no write overtakes a
later one, and what several processes are told is written once.
"""

import asyncio
import contextlib
import datetime
import logging
import secrets
from collections.abc import Collection, Iterable, Mapping

import msgspec

from pbx.errors import Busy, FeatureMissing, PbxError, Stop
from presence.attention import UNWRITTEN, tell_reason
from presence.hearing import stamp
from presence.room import Memory, Room, Rules, memory_of
from presence.writing import Writer
from store.errors import SecretMissing, StoreError
from store.leases import PRESENCE, Holder

log = logging.getLogger("presence")

MENDED = (Stop, FeatureMissing, SecretMissing)
"""What an administrator has to mend."""
PENDING_SECONDS = 240.0
"""So long a message of the queue is worked on; what is left is for another one."""
TRIES = 5
LONGEST_PAUSE = 600.0
"""Seconds; so long at most an extension that does not take writes is left alone."""
BUSY_PAUSE = 60.0
"""Seconds for which nothing is tried again by itself while the PBX is at a heavy task."""
PATIENCE = datetime.timedelta(minutes=10)
"""A fault that passes by itself may last so long before an administrator is told."""
LEASE_PAUSE = 1.0
"""Seconds until the lease is tried again that another process has."""


def submit(
    room: Room,
    object_ids: Iterable[str],
    heard_at: Mapping[str, str] | None = None,
    turns: Mapping[str, int] | None = None,
) -> asyncio.Future[bool]:
    """Have these users, the newest last, written out by this process, behind what it is doing. The answer says whether
    that was done; otherwise they stay pending, and a message has to be queued. ``heard_at``: when what is to be written
    was heard, if not now; ``turns``: in which order within a millisecond."""
    memory = memory_of(room)
    wanted = dict.fromkeys(object_ids)
    done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    if not wanted:
        done.set_result(True)
        return done
    waiter = set(wanted), done
    for object_id in wanted:
        memory.waiters.setdefault(object_id, []).append(waiter)
    now = room.now()
    for object_id in wanted:
        moment = stamp(now) if heard_at is None else heard_at[object_id]
        memory.wait(now, object_id, moment, 0 if turns is None else turns[object_id])
    if memory.pump is not None:
        memory.pump()
    if memory.drain is None or memory.drain.done():
        memory.drain = asyncio.create_task(_drain(room, memory))
    return done


async def push_pending(room: Room) -> bool:
    """Write out whatever is pending, from whatever process. ``True`` when the time was up before all was done. What is
    in the way is left to the next poll; raised, so that the queue sends the message again, if that cannot be noted."""
    memory = memory_of(room)
    if memory.will_look:
        return False  # the message that is going to look does for this one too, and comes again if this process ends
    memory.will_look = True
    try:
        if memory.drain is not None:  # whom this process writes anyway is not searched for in storage
            await asyncio.wait([memory.drain], timeout=PENDING_SECONDS)
        is_on = (await memory.rules(room, room.now())).are_on
    finally:
        memory.will_look = False
    rows = await room.store.pending() if is_on else []
    pending = {row.object_id: row.heard_at for row in rows if row.is_followed}
    return bool(pending) and await _push(room, memory, pending)


async def _push(room: Room, memory: Memory, pending: Mapping[str, str]) -> bool:
    deadline = room.now() + datetime.timedelta(seconds=PENDING_SECONDS)
    while room.now() < deadline:
        done = submit(room, reversed(list(pending)), pending)
        await asyncio.wait([done], timeout=PENDING_SECONDS)
        if not done.done():
            return True
        if done.result():
            return False
        if memory.trouble.fault is not None and memory.is_left:
            raise memory.trouble.fault
        if memory.trouble.fault is not None or memory.trouble.is_aside:
            return False
        await room.sleep(LEASE_PAUSE)  # another process is at it
    return True


async def _drain(room: Room, memory: Memory) -> None:
    """Write out who waits, until nobody does or something is in the way of them all."""
    while memory.waiting:
        memory.trouble.fault, memory.trouble.is_aside, is_ours = None, False, False
        try:
            rules = await memory.rules(room, room.now())
            is_ours = await _write_out(room, memory, rules) if rules.are_on else _let_go(memory, is_done=True)
        except (StoreError, PbxError) as error:
            memory.trouble.fault = error
            await _failed(room, memory, error)
        except Exception as error:
            memory.trouble.fault = error
            log.exception("Presence could not be written to the PBX")
        if not is_ours:
            await _leave(room, memory, BUSY_PAUSE if isinstance(memory.trouble.fault, Busy) else 0.0)
            _let_go(memory, is_done=False)


def _let_go(memory: Memory, *, is_done: bool) -> bool:
    """Nobody waits any more."""
    _tell(memory, memory.waiting.clear(), is_done=is_done)
    return is_done


async def _leave(room: Room, memory: Memory, pause: float = 0.0) -> None:
    """Have the next poll after so many seconds go on: the requests that these users came with may be answered by now.
    What an administrator has to mend first is tried again by the next sweep, or when he did."""
    if isinstance(memory.trouble.fault, MENDED):
        return
    memory.is_left = True
    left_at = stamp(room.now() + datetime.timedelta(seconds=pause))
    with contextlib.suppress(StoreError):
        for _ in range(TRIES):
            kept = await room.store.clock()
            clock = msgspec.structs.replace(kept.clock, left_at=min(left_at, kept.clock.left_at or left_at))
            if clock == kept.clock or await room.store.set_clock(clock, kept.etag):
                memory.is_left = False
                return


async def _write_out(room: Room, memory: Memory, rules: Rules) -> bool:
    """Write the newest for a while. ``False`` when another process is at it."""
    held = await room.leases.acquire(PRESENCE, secrets.token_hex(8))
    if isinstance(held, Holder):
        return False
    if held.fence != memory.fence + 1:  # another process wrote since, and knows better
        memory.shelf.clear()
    memory.fence = held.fence
    async with held.kept():
        writer = Writer(
            room,
            memory,
            rules,
            held,
            works=lambda: _recovered(room, memory, rules),
            tell=lambda ids: _tell(memory, ids, is_done=True),
        )
        try:
            await writer.write()
        except Stop:
            await memory.close_pbx()
            raise
        finally:
            await _leave_aside(room, memory, writer.aside)
    return True


async def _leave_aside(room: Room, memory: Memory, aside: Collection[str]) -> None:
    """Have those whose extension did not take the write tried again, less and less often."""
    waiting = [object_id for object_id in aside if object_id not in memory.waiting]
    if waiting:
        memory.trouble.is_aside = True
        faulted = [memory.trouble.users[object_id] for object_id in waiting if object_id in memory.trouble.users]
        times = min((one.times for one in faulted), default=1)
        await _leave(room, memory, min(LONGEST_PAUSE, 10.0 * 2 ** (times - 1)))
        _tell(memory, waiting, is_done=False)


def _tell(memory: Memory, ids: Iterable[str], *, is_done: bool) -> None:
    """Answer those who wait for these users: when all of theirs are done, or one is not. Who was submitted again while
    he was written is not done."""
    for object_id in ids:
        if object_id in memory.waiting:
            continue
        for wanted, done in memory.waiters.pop(object_id, ()):
            wanted.discard(object_id)
            if not done.done() and not (is_done and wanted):
                done.set_result(is_done)


async def _recovered(room: Room, memory: Memory, rules: Rules) -> None:
    if memory.trouble.is_told:
        memory.trouble.is_told, memory.trouble.since = False, None
        log.info("Presence is written to the PBX again")
    if any(reason.code == UNWRITTEN for reason in rules.health.reasons):
        await room.health.drop_reasons(UNWRITTEN)
        memory.forget_rules()


async def _failed(room: Room, memory: Memory, error: StoreError | PbxError) -> None:
    """Tell it once, until it works again."""
    is_first, memory.trouble.is_told = not memory.trouble.is_told, True
    memory.trouble.since = memory.trouble.since or room.now()
    is_long = isinstance(error, PbxError) and room.now() - memory.trouble.since >= PATIENCE
    if is_long or isinstance(error, MENDED):
        action = getattr(error, "action", "") or "Store the secret on the page Connect."
        with contextlib.suppress(StoreError):
            await tell_reason(room, UNWRITTEN, f"Presence cannot be written to the PBX: {error}.", action)
            memory.forget_rules()
    elif is_first:
        log.warning("Presence cannot be written to the PBX: %s", error)
