"""Writes presence to the PBX: of each user only the newest state, the newest users first, at the PBX's pace."""

import asyncio
import contextlib
import datetime
import functools
import logging
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from pbx.client import Pbx
from pbx.errors import ItemError, LimitReached, NotFound, OutcomeUnknown, PbxError, ServerFault
from pbx.pacing import concurrent_writes
from pbx.presence import Shown, read_in_full, write_presence
from presence.hearing import stamp
from presence.mapping import Current, decide, effective_map, settled
from presence.room import Faulted, Memory, Room, Rules
from store.document import Settings
from store.errors import StoreError
from store.leases import RUN, Lease
from store.presence import Status, UserPresence

log = logging.getLogger("presence")

SHARE = 0.5
"""Of the pace, while a run goes on. The run keeps its own: it does not wait for presence."""
HOLD = datetime.timedelta(seconds=10)
"""So long one process writes; then another one may."""
LOOK_SECONDS = 0.5
"""So often it is looked whether a run goes on, and whether something was decided about users."""
MANY = 100
"""If so many wait, their records are read together, and written so."""
MOMENT_SECONDS = 0.25
FAULTS = 3
"""After so many writes without an answer one after another it is the PBX, and not a single extension."""
ASKED = datetime.timedelta(seconds=2)
"""So often it is looked for whom other processes leave to this one."""

GONE = "The extension does not exist on the PBX any more."

type Outcome = tuple[UserPresence, UserPresence]
"""A user as he was when he was looked at, and as he is after it."""


class Writer:
    """Writes those who wait, as long as one process may. ``works`` is called when the PBX has confirmed something, and
    ``tell`` for users who are done, when it is stored.

    A user is in one pair of hands at a time, from his turn until his outcome is stored: who changes meanwhile waits.
    """

    def __init__(
        self,
        room: Room,
        memory: Memory,
        rules: Rules,
        lease: Lease,
        *,
        works: Callable[[], Awaitable[None]],
        tell: Callable[[Sequence[str]], None],
    ) -> None:
        self._room = room
        self._memory = memory
        self._rules = rules
        self._pace = _Pace(room, lease, rules.settings)
        self._works = works
        self._tell = tell
        self._until = room.now() + HOLD
        self._in_hand: set[str] = set()
        self._active: set[asyncio.Task[None]] = set()
        self._outcomes: list[Outcome] = []
        self._idle: list[str] = []
        """Users about whom there was nothing to do."""
        self._settling: asyncio.Task[None] | None = None
        self._has_read = False
        self._fault: Exception | None = None
        self._faults = 0
        """Writes that failed since one was confirmed."""
        self._asked_at = room.now()
        self.aside: set[str] = set()
        """Users whose extension does not take a write now, who stay pending."""

    async def write(self) -> None:
        """Go on until nobody waits or the time is up. After a fault that is not of one user nothing more is sent; it
        is raised when all that was sent is answered and recorded."""
        await self._look()
        pbx = await self._memory.pbx(self._room, self._rules, self._room.now())
        self._memory.is_writing = True
        pbx.before_write = self._pace.check
        try:
            await self._write_all(pbx)
        finally:
            pbx.before_write = lambda: None
            self._memory.is_writing = False
        if self._fault is not None:
            raise self._fault

    async def _write_all(self, pbx: Pbx) -> None:
        looking = asyncio.create_task(self._keep_looking())
        try:
            while self._memory.waiting and self._fault is None and self._room.now() < self._until:
                self._memory.pump = functools.partial(self._pump, pbx)
                self._memory.pump()
                # Who comes while outcomes are stored begins at once: it is over when nothing of either is left.
                while under_way := [*self._active, *self._storing()]:
                    await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._memory.pump = None
            looking.cancel()
            await asyncio.wait([looking, *self._active, *self._storing()])

    def _storing(self) -> list[asyncio.Task[None]]:
        return [] if self._settling is None or self._settling.done() else [self._settling]

    async def _look(self) -> None:
        """Whether a run goes on, and whether the rules and the shelf still count, which for many users is filled at
        once."""
        holder, edition = await asyncio.gather(self._room.leases.holder(RUN), self._room.store.edition())
        self._pace.share = SHARE if holder is not None else 1.0
        if edition != self._memory.edition:
            self._memory.forget_rules()
            self._rules = await self._memory.rules(self._room, self._room.now())
            if not self._rules.are_on:
                self._until = self._room.now()
            self._memory.shelf.clear()
            self._memory.edition = edition
            self._has_read = False
        if not (self._has_read or self._memory.shelf) and len(self._memory.waiting) >= MANY:
            self._has_read = True
            await self._room.store.all()

    async def _take_over(self) -> None:
        """Write whom other processes were told of while this one had the lease: newer ones come first here, too."""
        now = self._room.now()
        if self._asked_at <= now < self._asked_at + ASKED:
            return
        self._asked_at = now
        left_at = (await self._room.store.clock()).clock.left_at
        if not left_at or left_at > stamp(now) or left_at == self._memory.left_seen:
            return
        self._memory.left_seen = left_at
        for row in await self._room.store.pending():
            if row.is_followed and row.object_id.lower() not in self._in_hand | self.aside:
                self._memory.wait(now, row.object_id.lower(), row.heard_at)
        self._go_on()

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self._look()
                await self._take_over()
            except Exception as error:  # noqa: BLE001 - raised when the others are done
                self._fault = self._fault or error

    def _pump(self, pbx: Pbx) -> None:
        """Begin with as many as there are hands free; called whenever somebody comes or is done."""
        while len(self._active) < _hands(pbx) and (object_id := self._next()) is not None:
            task = asyncio.create_task(self._turn(pbx, object_id))
            self._active.add(task)
            task.add_done_callback(functools.partial(self._ended, pbx))

    def _ended(self, pbx: Pbx, task: asyncio.Task[None]) -> None:
        self._active.discard(task)
        self._pump(pbx)

    async def _turn(self, pbx: Pbx, object_id: str) -> None:
        try:
            user = await self._user(object_id)
            if user is not None:
                self._done(user, await self._followed(pbx, user))
                return
        except _Unanswered as error:
            self._set_aside(object_id, error.fault)
            return
        except (OutcomeUnknown, ServerFault) as error:
            self._set_aside(object_id, error)
        except (StoreError, PbxError) as error:
            self._give_up(object_id, error)
            return
        except Exception:
            log.exception("Presence of a user could not be written")  # which must not keep all the others from it
        self._idle.append(object_id)
        self._settle_soon()

    def _set_aside(self, object_id: str, error: PbxError) -> None:
        """Go on with others: one extension that the PBX fails at keeps nobody else from being written."""
        self._faults += 1
        users = self._memory.trouble.users
        times = users[object_id].times + 1 if object_id in users else 1
        users[object_id] = Faulted(times, self._room.now())
        self.aside.add(object_id)
        if self._faults >= FAULTS:
            self._give_up(object_id, error)
        elif times == 1:
            log.warning("Presence of a user cannot be written now, others go on: %s", error)

    def _give_up(self, object_id: str, error: Exception) -> None:
        self._fault = self._fault or error
        self._memory.waiting.add(object_id, "")  # he is told with all the others

    def _next(self) -> str | None:
        """Whose turn it is: the newest who is in nobody's hands."""
        if self._fault is not None or self._room.now() >= self._until:
            return None
        found = self._memory.waiting.take_newest(self._in_hand)
        if found is not None:
            self._in_hand.add(found)
            self.aside.discard(found)
        return found

    async def _followed(self, pbx: Pbx, user: UserPresence) -> UserPresence:
        """The user after his extension was looked at, and written where that is right."""
        found = await self._shown(pbx, user)
        if found is None:
            return _unable(user, "gone", GONE)
        if not found.status:
            found = await read_in_full(pbx, found)
        presence = self._rules.settings.presence
        table = effective_map(presence.default_map, user.preference.map)
        current = Current(found.status, found.custom_presence_status or "")
        verdict = decide(user, table, current, presence.respect_manual)
        if verdict.status is None:
            self._memory.trouble.users.pop(user.object_id.lower(), None)
        failed = None if verdict.status is None else await self._write(pbx, user, found, verdict.status)
        now = self._room.now()
        after = failed or settled(user, verdict, table, current, stamp(now))
        if verdict.status is not None and failed is None:
            after = msgspec.structs.replace(after, delay_ms=None if user.is_recheck else _delay(user, now))
        return after

    async def _user(self, object_id: str) -> UserPresence | None:
        """A user whose extension has to be looked at. That there is nothing to do is believed of storage only."""
        for shelved in (True, False):
            user = (await self._room.store.some([object_id], shelved=shelved)).get(object_id)
            if user is not None and user.is_pending and user.is_followed:
                return user
        return None

    async def _shown(self, pbx: Pbx, user: UserPresence) -> Shown | None:
        if user.pbx_id is None:
            return None
        waiting = len(self._memory.waiting) + len(self._in_hand)
        return await self._memory.listing.shown(pbx, user.pbx_id, user.number, waiting, self._room.now)

    async def _write(self, pbx: Pbx, user: UserPresence, found: Shown, status: Status) -> UserPresence | None:
        """The user when he could not be written; ``None`` when the PBX confirmed it."""
        await self._pace.turn()
        try:
            await write_presence(pbx, found.id, status)
        except (ItemError, LimitReached) as error:
            self._answered(user)
            if isinstance(error, NotFound):
                return _unable(user, "gone", GONE)
            return _unable(user, "failed", f"The PBX refuses it: {error}.")
        except (OutcomeUnknown, ServerFault) as error:
            # What it shows now is nobody's choice either: the next write may get lost, too.
            self._done(user, msgspec.structs.replace(user, written=found.status or user.written, sent=status))
            self._memory.listing.note(found, "", self._room.now())
            raise _Unanswered(error) from error
        self._answered(user)
        self._memory.listing.note(found, status, self._room.now())
        return None

    def _answered(self, user: UserPresence) -> None:
        self._faults = 0
        self._memory.trouble.users.pop(user.object_id.lower(), None)

    def _done(self, user: UserPresence, after: UserPresence) -> None:
        self._outcomes.append((user, after))
        self._settle_soon()

    def _settle_soon(self) -> None:
        if not self._storing():
            self._settling = asyncio.create_task(self._settle_all())

    async def _settle_all(self) -> None:
        """Store outcomes, those together that came while others were stored, and while many wait those of a moment."""
        while self._outcomes or self._idle:
            if len(self._memory.waiting) >= MANY:
                await asyncio.sleep(MOMENT_SECONDS)
            try:
                await self._settle()
            except Exception as error:  # noqa: BLE001 - raised when the others are done
                self._fault = self._fault or error

    async def _settle(self) -> None:
        """Who showed something else meanwhile stays pending, and waits again by himself."""
        outcomes, self._outcomes = self._outcomes, []
        idle, self._idle = self._idle, []
        ids = [*idle, *(before.object_id.lower() for before, _ in outcomes)]
        try:
            await _store(self._room, outcomes)
            if any(not after.is_pending for _, after in outcomes):
                await self._works()
        except Exception:
            for object_id in ids:
                self._memory.waiting.add(object_id, "")  # they are told with all the others
            raise
        finally:
            self._in_hand.difference_update(ids)
        # Told before somebody's next turn begins: who waits again is not done.
        self._tell([one for one in ids if one not in self._memory.waiting and one not in self.aside])
        self._go_on()

    def _go_on(self) -> None:
        if self._memory.pump is not None:
            self._memory.pump()


class _Unanswered(Exception):
    """A write got no answer, or an internal error; it is noted already."""

    def __init__(self, fault: PbxError) -> None:
        super().__init__(str(fault))
        self.fault = fault


def _hands(pbx: Pbx) -> int:
    """Users who are looked at or written side by side: while one is looked at another may be written."""
    return pbx.concurrency if pbx.concurrency == 1 else pbx.concurrency * 3 // 2


def _unable(user: UserPresence, outcome: str, error: str) -> UserPresence:
    return msgspec.structs.replace(user, is_pending=False, outcome=outcome, error=error)


def _delay(user: UserPresence, now: datetime.datetime) -> int:
    return max(0, round((now - datetime.datetime.fromisoformat(user.heard_at)).total_seconds() * 1000))


async def _store(room: Room, outcomes: Sequence[Outcome]) -> None:
    """Record what was done. Who showed or decided something else meanwhile stays pending."""
    known = {before.object_id.lower(): (before, after) for before, after in outcomes}

    def change(key: str, row: UserPresence | None) -> UserPresence | None:
        before, after = known[key]
        if row is None or row.pbx_id != before.pbx_id:  # it was about another extension
            return None
        return msgspec.structs.replace(
            row,
            is_pending=after.is_pending or (row.teams, row.preference) != (before.teams, before.preference),
            written=after.written,
            sent=after.sent,
            earlier=row.earlier if after.earlier else [],
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

    def __init__(self, room: Room, lease: Lease, settings: Settings) -> None:
        self._room = room
        self._lease = lease
        self.share = 1.0
        """The part of the PBX's pace that is ours."""
        self._per_second = settings.pbx.max_writes_per_second
        # Clocks differ, and one may have been set back: more than what is under way at once cannot be ahead of us.
        most = room.now().timestamp() + concurrent_writes(self._per_second) / self._per_second
        self._next = min(_moment(lease.note), most)

    async def turn(self) -> None:
        """Wait for the next slot; ``LeaseLost`` when somebody else may be writing by now."""
        interval = 1 / (self._per_second * self.share)
        now = self._room.now().timestamp()
        slot = max(self._next, now)
        self._next = slot + interval
        self._lease.keep_note(str(self._next))
        if slot > now:
            await self._room.sleep(slot - now)
        self._lease.check()

    def check(self) -> None:
        """``LeaseLost`` when somebody else may be writing by now: a write may be repeated for long."""
        self._lease.check()


def _moment(note: str) -> float:
    with contextlib.suppress(ValueError):
        return float(note)
    return 0.0
