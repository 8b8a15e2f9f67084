"""Writes to the PBX what was heard: of each user only the newest state, the newest users first, at the PBX's pace.

One process writes at a time, under a lease whose note carries the pace from one to the next. So no write overtakes a
later one, and what several processes are told is written once.
"""

import asyncio
import contextlib
import datetime
import logging
import secrets
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

import msgspec

from pbx.client import PAGE_SIZE, Pbx
from pbx.errors import ItemError, NotFound, OutcomeUnknown, PbxError, ServerFault, Stop
from pbx.pacing import concurrent_writes
from pbx.presence import FEW, Shown, list_presence, search_presence, write_presence
from presence.attention import UNWRITTEN, tell_reason, tell_recovery
from presence.hearing import stamp
from presence.mapping import Current, decide, effective_map, settled
from presence.room import Memory, Room, Rules, memory_of
from store.document import Presence, Settings
from store.errors import SecretMissing, StoreError
from store.leases import Holder, Lease
from store.presence import Status, UserPresence

log = logging.getLogger("presence")

LEASE = "presence"
RUN_LEASE = "run"
"""What a run of the directory sync holds while it writes."""
SHARE = 0.5
"""Of the pace, while a run goes on. The run keeps its own: it does not wait for presence."""
ROUND_SECONDS = 0.5
"""So long the writes of one round take; then what is the newest is looked at again."""
HOLD = datetime.timedelta(seconds=10)
"""So long one process writes; then another one may."""
PENDING_SECONDS = 240.0
"""So long a message of the queue is worked on; what is left is for another one."""
FIRST = 100
MOST = 500
"""Users looked at in the first round, and at most: later ones look at half as many again as were written in time."""
LISTED = datetime.timedelta(seconds=5)
"""So long a list of all extensions counts for rounds of many users: in a burst it would be read all the time."""
SETTLED_AT_ONCE = 100
"""Users whose outcome is stored together, while others are written."""
LEASE_PAUSE = 1.0
"""Seconds until the lease is tried again that another process has."""

GONE = "The extension does not exist on the PBX any more."

type Outcome = tuple[UserPresence, UserPresence]
"""A user as he was when he was looked at, and as he is after it."""
type Left = list[str]
"""Users whose turn did not come."""


def submit(room: Room, object_ids: Iterable[str], *, is_old: bool = False) -> asyncio.Future[bool]:
    """Have these users, the newest last, written out by this process, behind what it is doing. The answer says whether
    that was done; otherwise they stay pending, and a message has to be queued. ``is_old``: after all who wait."""
    memory = memory_of(room)
    wanted = dict.fromkeys(object_ids)
    done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    if not wanted:
        done.set_result(True)
        return done
    memory.waiters.append((set(wanted), done))
    if is_old:
        _put_behind(memory, wanted)
    else:
        for object_id in wanted:
            memory.waiting.pop(object_id, None)  # so that it is the newest again
            memory.waiting[object_id] = None
    if memory.drain is None or memory.drain.done():
        memory.drain = asyncio.create_task(_drain(room, memory))
    return done


async def push_pending(room: Room) -> bool:
    """Write out whatever is pending, from whatever process. ``True`` when the time was up before all was done. Raises
    what keeps it from working and passes by itself, so that the queue sends the message again."""
    memory = memory_of(room)
    deadline = room.now() + datetime.timedelta(seconds=PENDING_SECONDS)
    while room.now() < deadline:
        if not (await memory.rules(room, room.now())).are_on:
            return False
        pending = [row.object_id for row in await room.store.pending() if row.is_followed]
        if not pending:
            return False
        done = submit(room, reversed(pending), is_old=True)
        await asyncio.wait([done], timeout=PENDING_SECONDS)
        if done.done() and not done.result():
            if isinstance(memory.fault, Stop | SecretMissing):
                return False  # an administrator is needed; the next poll tries again
            if memory.fault is not None:
                raise memory.fault
            await room.sleep(LEASE_PAUSE)  # another process is at it
    return True


async def _drain(room: Room, memory: Memory) -> None:
    """Write out who waits, until nobody does or something is in the way of them all."""
    while memory.waiting:
        memory.fault, is_ours = None, False
        try:
            rules = await memory.rules(room, room.now())
            is_ours = await _write_out(room, memory, rules) if rules.are_on else _let_go(memory, is_done=True)
        except (StoreError, PbxError) as error:
            memory.fault = error
            await _failed(room, memory, error)
        except Exception as error:
            memory.fault = error
            log.exception("Presence could not be written to the PBX")
        if not is_ours:
            _let_go(memory, is_done=False)


def _let_go(memory: Memory, *, is_done: bool) -> bool:
    """Nobody waits any more."""
    ids = list(memory.waiting)
    memory.waiting.clear()
    _tell(memory, ids, is_done=is_done)
    return is_done


async def _write_out(room: Room, memory: Memory, rules: Rules) -> bool:
    """Write the newest, round by round, for a while. ``False`` when another process is at it."""
    held = await room.leases.acquire(LEASE, secrets.token_hex(8))
    if isinstance(held, Holder):
        return False
    until, size = room.now() + HOLD, FIRST
    if held.fence != memory.fence + 1:  # another process wrote since, and knows better
        memory.shelf.clear()
    memory.fence = held.fence
    async with held.kept():
        while memory.waiting and room.now() < until:
            ids = list(islice(reversed(memory.waiting), size))
            for object_id in ids:
                del memory.waiting[object_id]
            try:
                left = await _round(room, memory, rules, held, ids)
            except BaseException:
                _returned(memory, ids, ids)
                raise
            size = min(MOST, max(FIRST, (len(ids) - len(left)) * 3 // 2))
            await _recovered(room, memory, rules)
            _tell(memory, _returned(memory, ids, left), is_done=True)
    return True


def _put_behind(memory: Memory, object_ids: Iterable[str]) -> dict[str, None]:
    """Have these wait as well, behind all who wait already; answers who did not yet."""
    others = {object_id: None for object_id in object_ids if object_id not in memory.waiting}
    memory.waiting = others | memory.waiting
    return others


def _returned(memory: Memory, ids: Sequence[str], left: Left) -> list[str]:
    """Have those wait on whose turn did not come; answers who is done."""
    waiting = _put_behind(memory, reversed(left))
    return [object_id for object_id in ids if object_id not in waiting]


def _tell(memory: Memory, ids: Sequence[str], *, is_done: bool) -> None:
    """Answer those who wait for these users: when all of theirs are done, or one is not. Who was submitted again while
    he was written is not done."""
    over = set(ids).difference(memory.waiting)
    still: list[tuple[set[str], asyncio.Future[bool]]] = []
    for wanted, done in memory.waiters:
        left = wanted - over
        if left and (is_done or left == wanted):
            still.append((left, done))
        elif not done.done():
            done.set_result(is_done)
    memory.waiters[:] = still


async def _round(room: Room, memory: Memory, rules: Rules, lease: Lease, object_ids: Sequence[str]) -> Left:
    edition = await room.store.edition()
    if edition != memory.edition:
        memory.shelf.clear()
        memory.edition = edition
    rows = await room.store.some(object_ids, shelved=True)
    users = [rows[key] for key in object_ids if key in rows and rows[key].is_pending and rows[key].is_followed]
    if not users:
        return []
    try:
        pbx = await memory.pbx(room, rules, room.now())
        shown = await _shown(room, memory, pbx, users)
        pace = _Pace(room, lease, rules.settings, is_shared=await room.leases.holder(RUN_LEASE) is not None)
        writer = _Writer(room, rules.settings.presence, pbx, pace, shown)
        return await writer.follow_all(users)
    except Stop:
        await memory.close_pbx()
        raise


async def _shown(room: Room, memory: Memory, pbx: Pbx, users: Sequence[UserPresence]) -> dict[int, Shown]:
    """What the extensions of these users show. Of many the list is kept for a moment; what is written is noted there,
    and what somebody chooses meanwhile is as if he had chosen it before."""
    wanted = {user.pbx_id: user.number for user in users if user.pbx_id is not None}
    if len(wanted) <= max(FEW, memory.pages):
        return await search_presence(pbx, wanted)
    now = room.now()
    if memory.listed is None or not memory.listed[0] <= now < memory.listed[0] + LISTED:
        memory.listed = now, await list_presence(pbx)
        memory.pages = len(memory.listed[1]) // PAGE_SIZE
    every = memory.listed[1]
    return {key: every[key] for key, number in wanted.items() if key in every and every[key].number == number}


class _Writer:
    """Looks at users and writes what is to be written, in one round."""

    def __init__(self, room: Room, presence: Presence, pbx: Pbx, pace: "_Pace", shown: Mapping[int, Shown]) -> None:
        self._room = room
        self._presence = presence
        self._pbx = pbx
        self._pace = pace
        self._shown = shown
        self._listed = memory_of(room).listed
        self._until = room.now() + datetime.timedelta(seconds=ROUND_SECONDS)
        self._outcomes: list[Outcome] = []
        self._settling: list[asyncio.Task[None]] = []
        self._fault: Exception | None = None

    async def follow_all(self, users: Sequence[UserPresence]) -> Left:
        """Write these users in their order, a few side by side, until the round's time is up. After a fault that is
        not of one user nothing more is sent; it is raised when all that was sent is answered and recorded."""
        turns = iter(users)
        left: list[UserPresence] = []

        async def work() -> None:
            for user in turns:
                if self._fault is not None:
                    return
                try:
                    if not await self._follow(user):
                        left.append(user)
                        return
                except Exception as error:  # noqa: BLE001 - raised below, when the others are done
                    self._fault = self._fault or error

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._pbx.concurrency, len(users))):
                group.create_task(work())
        self._settle()
        await asyncio.gather(*self._settling)
        if self._fault is not None:
            raise self._fault
        return [user.object_id for user in (*left, *turns)]

    async def _follow(self, user: UserPresence) -> bool:
        """Do it for one; ``False`` when there is a write and no time for it."""
        found = self._shown.get(user.pbx_id or 0)
        if found is None:
            self._done(user, _unable(user, "gone", GONE))
            return True
        table = effective_map(self._presence.default_map, user.preference.map)
        current = Current(found.status, found.custom_presence_status or "")
        verdict = decide(user, table, current, self._presence.respect_manual)
        if verdict.status is None:
            self._done(user, settled(user, verdict, table, current, stamp(self._room.now())))
            return True
        if self._room.now() >= self._until:
            return False
        failed = await self._write(user, found, verdict.status)
        if failed is None:
            now = self._room.now()
            after = settled(user, verdict, table, current, stamp(now))
            self._done(user, msgspec.structs.replace(after, delay_ms=_delay(user, now)))
        else:
            self._done(user, failed)
        return True

    async def _write(self, user: UserPresence, found: Shown, status: Status) -> UserPresence | None:
        """The user when he could not be written; ``None`` when the PBX confirmed it."""
        await self._pace.turn()
        try:
            await write_presence(self._pbx, found.id, status)
        except NotFound:
            return _unable(user, "gone", GONE)
        except ItemError as error:
            return _unable(user, "failed", f"The PBX refuses it: {error}.")
        except (OutcomeUnknown, ServerFault):
            # What it shows now is nobody's choice either: the next write may get lost, too.
            self._done(user, msgspec.structs.replace(user, written=found.status, sent=status))
            memory_of(self._room).listed = None  # what this extension shows is not known any more
            raise
        if self._listed is not None and found.id in self._listed[1]:
            self._listed[1][found.id] = msgspec.structs.replace(found, presence_status=status)
        return None

    def _done(self, user: UserPresence, after: UserPresence) -> None:
        self._outcomes.append((user, after))
        if len(self._outcomes) >= SETTLED_AT_ONCE:
            self._settle()

    def _settle(self) -> None:
        outcomes, self._outcomes = self._outcomes, []
        if outcomes:
            self._settling.append(asyncio.create_task(_settle(self._room, outcomes)))


def _unable(user: UserPresence, outcome: str, error: str) -> UserPresence:
    return msgspec.structs.replace(user, is_pending=False, outcome=outcome, error=error)


def _delay(user: UserPresence, now: datetime.datetime) -> int:
    return max(0, round((now - datetime.datetime.fromisoformat(user.heard_at)).total_seconds() * 1000))


async def _settle(room: Room, outcomes: Sequence[Outcome]) -> None:
    """Record what was done. Who showed something else meanwhile stays pending."""
    known = {before.object_id.lower(): (before, after) for before, after in outcomes}

    def change(key: str, row: UserPresence | None) -> UserPresence | None:
        before, after = known[key]
        if row is None:
            return None
        return msgspec.structs.replace(
            row,
            is_pending=after.is_pending or row.teams != before.teams,
            written=after.written,
            sent=after.sent,
            written_at=after.written_at,
            delay_ms=after.delay_ms,
            seen=after.seen,
            left=after.left,
            outcome=after.outcome,
            error=after.error,
        )

    if known:
        await room.store.change(known, change)


class _Pace:
    """Lets writes through evenly. When the next one may go is noted on the lease, for whoever holds it then."""

    def __init__(self, room: Room, lease: Lease, settings: Settings, *, is_shared: bool) -> None:
        self._room = room
        self._lease = lease
        self._interval = 1 / (settings.pbx.max_writes_per_second * (SHARE if is_shared else 1))
        self._next = _moment(lease.note)
        self._ahead = concurrent_writes(settings.pbx.max_writes_per_second)
        """So many may wait for their slots at once."""

    async def turn(self) -> None:
        """Wait for the next slot; ``LeaseLost`` when somebody else may be writing by now."""
        now = self._room.now().timestamp()
        most = now + self._interval * self._ahead  # clocks differ, and one may have been set back
        slot = min(max(self._next, now), most)
        self._next = slot + self._interval
        self._lease.keep_note(str(self._next))
        if slot > now:
            await self._room.sleep(slot - now)
        self._lease.check()


def _moment(note: str) -> float:
    with contextlib.suppress(ValueError):
        return float(note)
    return 0.0


async def _recovered(room: Room, memory: Memory, rules: Rules) -> None:
    if memory.is_failing:
        memory.is_failing = False
        log.info("Presence is written to the PBX again")
    if any(reason.code == UNWRITTEN for reason in rules.health.reasons):
        await tell_recovery(room, UNWRITTEN)
        memory.forget_rules()


async def _failed(room: Room, memory: Memory, error: StoreError | PbxError) -> None:
    """Tell it once, until it works again."""
    is_first, memory.is_failing = not memory.is_failing, True
    if isinstance(error, Stop | SecretMissing):
        action = getattr(error, "action", "") or "Store the secret on the page Connect."
        with contextlib.suppress(StoreError):
            await tell_reason(room, UNWRITTEN, f"Presence cannot be written to the PBX: {error}.", action)
            memory.forget_rules()
    elif is_first:
        log.warning("Presence cannot be written to the PBX: %s", error)
