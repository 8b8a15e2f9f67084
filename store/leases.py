"""At most one run per connection: a lease with renewal and a fence.

Who holds the lease is judged by the storage service's own clock (the row's last write against the answer's ``Date``),
so machines with skewed clocks agree.
"""

import asyncio
import contextlib
import datetime
import time
from collections.abc import AsyncIterator
from typing import Self

import msgspec

from store.errors import AlreadyExists, AskedToStop, Changed, LeaseLost, StoreUnavailable
from store.tables import Row, Tables, long_text

TABLE = "leases"
RUN = "run"
"""The lease under which a run of the directory sync writes to the PBX."""
PRESENCE = "presence"
"""The lease under which presence is written to it; while both are held each has half of the pace."""
STOP = "stop"
"""The column by which a holder is told to end."""
DURATION = datetime.timedelta(seconds=30)
ACQUIRE_TRIES = 5
RENEW_AFTER_SECONDS = 7.0
"""Renewed well before a third of the time has passed, so that one failed renewal is no loss."""
STALE_AFTER_SECONDS = 22.0
"""Without a confirmed renewal for so long the holder stops writing, before anybody else may take over."""


class Holder(msgspec.Struct, frozen=True):
    """Who holds the lease now."""

    owner: str
    fence: int


class Lease:
    """A lease that is held: ``kept`` renews it in the background, ``check`` comes before every write to the PBX.

    ``note`` is a text that outlives its holder: whoever holds the lease next finds what the last one was doing.
    """

    def __init__(self, tables: Tables, row: Row, etag: str) -> None:
        self._lost = False
        self._is_told = False
        self._tables = tables
        self._row = row
        self._etag = etag
        self._confirmed = time.monotonic()
        self._renewing = asyncio.Lock()

    @property
    def fence(self) -> int:
        """Grows with every change of holder."""
        return int(self._row.values["fence"])

    @property
    def note(self) -> str:
        """What was noted last, perhaps by an earlier holder."""
        return self._row.text("note")

    async def write_note(self, note: str) -> None:
        """Note a text of up to about half a million characters; ``LeaseLost`` when somebody else took the lease.

        It is a conditional write, so it also proves that the lease is still ours.
        """
        async with self._renewing:
            self.keep_note(note)
            await self._renew()

    def keep_note(self, note: str) -> None:
        """Change the note without writing it: the next renewal or the release does."""
        values = {name: value for name, value in self._row.values.items() if not name.startswith("note")}
        self._row = Row(self._row.partition, self._row.key, {**values, **long_text(note, "note")})

    @contextlib.asynccontextmanager
    async def kept(self) -> AsyncIterator[Self]:
        """Hold the lease for a block: renewed in the background, released at the end."""
        keeper = asyncio.create_task(self._keep())
        try:
            yield self
        finally:
            keeper.cancel()
            await asyncio.wait([keeper])
            await self.release()

    async def _keep(self) -> None:
        while not self._lost:
            await asyncio.sleep(RENEW_AFTER_SECONDS / 2)
            # Storage that fails for a moment is asked again; ``check`` notices when it took too long.
            with contextlib.suppress(StoreUnavailable, LeaseLost, Changed):
                await self.renew()

    async def renew(self) -> None:
        """Keep the lease, if a renewal is due; ``LeaseLost`` when somebody else took it."""
        async with self._renewing:
            if time.monotonic() - self._confirmed >= RENEW_AFTER_SECONDS:
                await self._renew()

    async def _renew(self) -> None:
        started = time.monotonic()
        try:
            self._etag = await self._tables.replace(TABLE, self._row, self._etag)
        except Changed as error:
            self._etag = await self._etag_if_ours(error)
            if self._is_told:  # what was told is in the row that this write was to replace
                self._etag = await self._tables.replace(TABLE, self._row, self._etag)
        self._confirmed = started

    async def _etag_if_ours(self, error: Changed) -> str:
        """The ETag of our own row: the library repeats a write whose answer got lost, and then trips over itself."""
        row = await self._tables.get(TABLE, self._row.partition, self._row.key)
        if row is None or (row.values["owner"], row.values["fence"]) != (self._row.values["owner"], self.fence):
            self._lost = True
            raise LeaseLost("another run took over this connection") from error
        self._is_told = self._is_told or STOP in row.values
        return row.etag

    def check(self) -> None:
        """``LeaseLost`` when the last confirmed renewal is too long ago to be sure of the lease; ``AskedToStop`` when
        the holder was told to end, at the latest one renewal after that."""
        if self._lost:
            raise LeaseLost("another run took over this connection")
        if time.monotonic() - self._confirmed > STALE_AFTER_SECONDS:
            raise LeaseLost("the lease could not be renewed in time")
        if self._is_told:
            raise AskedToStop("the run was told to stop")

    async def release(self) -> None:
        """Give the lease back; one that was taken over already is no error."""
        free = Row(self._row.partition, self._row.key, {**self._row.values, "owner": ""})
        async with self._renewing:
            try:
                await self._tables.replace(TABLE, free, self._etag)
            except Changed as error:
                # A renewal that was broken off may have been carried out: then the row is still ours.
                with contextlib.suppress(LeaseLost, Changed):
                    await self._tables.replace(TABLE, free, await self._etag_if_ours(error))


class LeaseStore:
    """The leases of one connection, by name."""

    def __init__(self, tables: Tables, connection: str) -> None:
        self._tables = tables
        self._connection = connection

    async def acquire(self, name: str, owner: str) -> Lease | Holder:
        """Take the lease ``name`` for ``owner`` (a run id), or say who holds it. An owner may take its own lease again
        only when it ran out: a second execution of the same run must wait like any other."""
        for _ in range(ACQUIRE_TRIES):
            outcome = await self._acquire(name, owner)
            if isinstance(outcome, Lease) or outcome.owner:
                return outcome
            # It was given back between our read and our write.
        return outcome

    async def _acquire(self, name: str, owner: str) -> Lease | Holder:
        row, now = await self._tables.get_timed(TABLE, self._connection, name)
        if row is None:
            return await self._first(name, owner)
        holder = Holder(str(row.values["owner"]), int(row.values["fence"]))
        if holder.owner and row.written_at is not None and now - row.written_at < DURATION:
            return holder
        values = {column: value for column, value in row.values.items() if column != STOP}
        taken = Row(self._connection, name, {**values, "owner": owner, "fence": holder.fence + 1})
        try:
            etag = await self._tables.replace(TABLE, taken, row.etag)
        except Changed:
            return await self._other(name)
        return Lease(self._tables, taken, etag)

    async def holder(self, name: str) -> Holder | None:
        """Who holds the lease, ``None`` when it is free."""
        row, now = await self._tables.get_timed(TABLE, self._connection, name)
        if row is None or not row.values["owner"] or (row.written_at and now - row.written_at >= DURATION):
            return None
        return Holder(str(row.values["owner"]), int(row.values["fence"]))

    async def tell_to_stop(self, name: str) -> None:
        """Have whoever holds the lease end its work without another write; nothing happens when it is free.

        The holder learns it by its next conditional write, within ``RENEW_AFTER_SECONDS`` and a half.
        """
        for _ in range(ACQUIRE_TRIES):
            row, _ = await self._tables.get_timed(TABLE, self._connection, name)
            if row is None or not row.values["owner"]:
                return
            told = Row(self._connection, name, {**row.values, STOP: True})
            with contextlib.suppress(Changed):
                await self._tables.replace(TABLE, told, row.etag)
                return
        raise Changed("the lease is being renewed all the time; try again")

    async def note(self, name: str) -> str:
        """What the holder, or the last one, noted; empty when nobody ever did."""
        row = await self._tables.get(TABLE, self._connection, name)
        return "" if row is None else row.text("note")

    async def _first(self, name: str, owner: str) -> Lease | Holder:
        row = Row(self._connection, name, {"owner": owner, "fence": 1})
        try:
            etag = await self._tables.create(TABLE, row)
        except AlreadyExists:
            return await self._other(name)
        return Lease(self._tables, row, etag)

    async def _other(self, name: str) -> Holder:
        row = await self._tables.get(TABLE, self._connection, name)
        if row is None:
            return Holder("", 0)
        return Holder(str(row.values["owner"]), int(row.values["fence"]))
