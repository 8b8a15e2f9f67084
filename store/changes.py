"""Changes that were announced and are not synced yet: the open batch of a connection, and events of the PBX.

A row holds everything that one request announced: a row for each event would cost more than all the rest of receiving.
"""

import contextlib
import datetime
import secrets
from collections.abc import Iterable, Sequence
from itertools import batched

import msgspec

from store.errors import AlreadyExists, Changed, InvalidRecord
from store.tables import Row, Tables, Write, long_text

TABLE = "changes"
FIRED = "0-fired"
"""Sorts before every row of events, so that reading the head of a batch tells whether a run was asked for."""
REMOVED_AT_ONCE = 100


class Event(msgspec.Struct, frozen=True, array_like=True):
    """One announced change. Two events with the same ``mark`` are the same announcement, sent twice."""

    kind: str
    """``users`` or ``groups``."""
    object_id: str
    """Empty when something changed and nobody said what."""
    mark: str
    looked: bool = False
    """A run looked already and did not see the object change: Graph's reads may lag behind its announcements."""


class Fired(msgspec.Struct, frozen=True):
    """A run was asked for to sync the batch."""

    at: str
    run: str = ""
    """Its id; empty until it is recorded, which takes a moment."""
    times: int = 1
    """How often one was asked for since the batch was last consumed."""
    etag: str = ""


class Announced(msgspec.Struct, frozen=True):
    """A row: the events of one request."""

    key: str
    at: str
    events: tuple[Event, ...]


class Batch(msgspec.Struct, frozen=True):
    """What is announced and not synced, as far as it was read."""

    rows: tuple[Announced, ...] = ()
    fired: Fired | None = None

    @property
    def opened_at(self) -> str:
        """When its first event came; empty for an empty batch."""
        return min((row.at for row in self.rows), default="")

    def distinct(self) -> int:
        """How many different events nobody looked at yet."""
        return len({event.mark for row in self.rows for event in row.events if not event.looked})

    def events(self) -> dict[str, Event]:
        """The different events by mark; one that was looked at counts as that."""
        found: dict[str, Event] = {}
        for event in (event for row in self.rows for event in row.events):
            if event.mark not in found or event.looked:
                found[event.mark] = event
        return found


class ChangeStore:
    """The open batch of one connection."""

    def __init__(self, tables: Tables, connection: str) -> None:
        self._tables = tables
        self._partition = f"{connection}-directory"

    async def add(self, events: Sequence[Event], now: datetime.datetime) -> None:
        """Record the events of one request: one insert."""
        await self._tables.create(TABLE, self._row(events, now))

    async def batch(self, top: int = 0) -> Batch:
        """The open batch, oldest events first; with ``top``, at most so many rows of it, the mark of a run among them.
        One request for each 1,000 rows."""
        fired: Fired | None = None
        rows: list[Announced] = []
        async for row in self._tables.query(TABLE, self._partition, top=top):
            if row.key == FIRED:
                fired = msgspec.structs.replace(_decoded(row, Fired), etag=row.etag)
            else:
                rows.append(Announced(row.key, str(row.values["at"]), _decoded(row, tuple[Event, ...])))
        return Batch(tuple(rows), fired)

    async def mark_fired(self, fired: Fired) -> bool:
        """Note that a run is asked for. With ``fired.etag`` that mark is replaced. ``False``: somebody else did it."""
        row = self._mark(fired)
        try:
            if fired.etag:
                await self._tables.replace(TABLE, row, fired.etag)
            else:
                await self._tables.create(TABLE, row)
        except (AlreadyExists, Changed):
            return False
        return True

    async def name_run(self, fired: Fired) -> None:
        """Add the run's id to a mark of ours."""
        await self._tables.upsert(TABLE, self._mark(fired))

    async def remove(self, batch: Batch, keep: Sequence[Event], now: datetime.datetime) -> None:
        """Take the rows of a batch away, and its mark if it is still the same one; ``keep`` stays, as a row of its own.

        What was added since the batch was read is not touched.
        """
        if keep:  # first: an interruption leaves an event twice rather than not at all
            for part in batched(keep, 5_000, strict=False):
                await self.add(part, now)
        for keys in batched([row.key for row in batch.rows], REMOVED_AT_ONCE, strict=False):
            await self._remove(keys)
        if batch.fired is not None:
            mark = Write("delete", self._mark(batch.fired), batch.fired.etag)
            with contextlib.suppress(Changed, InvalidRecord):  # another run was asked for meanwhile
                await self._tables.write(TABLE, [mark])

    async def _remove(self, keys: Iterable[str]) -> None:
        found = list(keys)
        try:
            await self._tables.write(TABLE, [Write("delete", Row(self._partition, key, {})) for key in found])
        except InvalidRecord:
            # One is gone already, which fails all of them: the library repeats a transaction whose answer got lost.
            for key in found:
                await self._tables.delete(TABLE, self._partition, key)

    def _mark(self, fired: Fired) -> Row:
        data = msgspec.json.encode(msgspec.structs.replace(fired, etag=""))
        return Row(self._partition, FIRED, long_text(data.decode()))

    def _row(self, events: Sequence[Event], now: datetime.datetime) -> Row:
        columns = long_text(msgspec.json.encode(events).decode())
        key = f"1-{int(now.timestamp() * 1000):014d}-{secrets.token_hex(4)}"
        return Row(self._partition, key, {"at": now.isoformat(timespec="milliseconds"), **columns})


class PbxEvent(msgspec.Struct, frozen=True):
    """The PBX said that an extension was created, changed or deleted."""

    number: str
    at: str
    etag: str = ""


class PbxEventStore:
    """Extensions of one connection that the PBX reported and nobody looked at yet: one row a number, however often it
    is reported."""

    def __init__(self, tables: Tables, connection: str) -> None:
        self._tables = tables
        self._partition = f"{connection}-pbx"

    async def add(self, number: str, now: datetime.datetime) -> None:
        """Note an extension; a note that is there is renewed, so that whoever is looking at it looks again."""
        at = now.isoformat(timespec="milliseconds")
        await self._tables.upsert(TABLE, Row(self._partition, f"x-{number}", {"number": number, "at": at}))

    async def some(self, top: int) -> list[PbxEvent]:
        """At most ``top`` of them."""
        rows = self._tables.query(TABLE, self._partition, top=top)
        return [PbxEvent(str(row.values["number"]), str(row.values["at"]), row.etag) async for row in rows]

    async def remove(self, events: Iterable[PbxEvent]) -> None:
        """Forget them, except those that were reported again since they were read."""
        for part in batched(events, REMOVED_AT_ONCE, strict=False):
            try:
                await self._tables.write(TABLE, [self._delete(event) for event in part])
            except (Changed, InvalidRecord):
                # One was reported again or is gone, which fails all of them: one by one then.
                for event in part:
                    with contextlib.suppress(Changed, InvalidRecord):
                        await self._tables.write(TABLE, [self._delete(event)])

    def _delete(self, event: PbxEvent) -> Write:
        return Write("delete", Row(self._partition, f"x-{event.number}", {}), event.etag)


def _decoded[T](row: Row, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(row.text(), type=kind)
    except msgspec.DecodeError as error:
        raise InvalidRecord(f"the changes {row.key} do not decode: {error}") from error
