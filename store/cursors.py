"""Cursors: where the next incremental read begins."""

from collections.abc import Callable

import msgspec

from store.errors import Changed
from store.tables import Row, Tables, long_text

TABLE = "cursors"
TRIES = 10


class Cursor(msgspec.Struct, frozen=True, kw_only=True):
    """A Graph delta link. It is good for 7 days and only for the properties it was made with."""

    link: str
    selected: str
    """The ``$select`` of the read; another one needs a full read, because delta tracks only what was selected."""
    scope: str
    """A fingerprint of the rules that decide about scope and numbers; other rules need a full run."""
    made_at: str
    retry: list[str] = []
    """Object ids that failed or were held, and have to be looked at again."""


class CursorStore:
    """The cursors of one connection, by name (``users``, ``groups``)."""

    def __init__(self, tables: Tables, connection: str) -> None:
        self._tables = tables
        self._connection = connection

    async def load(self, name: str) -> Cursor | None:
        """The cursor; ``None`` when there is none or it does not decode, which both mean: read everything."""
        row = await self._tables.get(TABLE, self._connection, name)
        return None if row is None else _cursor(row)

    async def save(self, name: str, cursor: Cursor) -> None:
        await self._tables.upsert(TABLE, self._row(name, cursor))

    async def update(self, name: str, change: Callable[[Cursor], Cursor]) -> Cursor | None:
        """Apply ``change`` to the newest cursor; it may be called again when somebody else wrote meanwhile. ``None``
        when there is no cursor: the next run reads everything anyway."""
        for _ in range(TRIES):
            row = await self._tables.get(TABLE, self._connection, name)
            cursor = None if row is None else _cursor(row)
            if row is None or cursor is None:
                return None
            changed = change(cursor)
            try:
                await self._tables.replace(TABLE, self._row(name, changed), row.etag)
            except Changed:
                continue
            return changed
        raise Changed(f"the cursor of {name} is being changed all the time; try again")

    async def clear(self, name: str) -> None:
        await self._tables.delete(TABLE, self._connection, name)

    def _row(self, name: str, cursor: Cursor) -> Row:
        return Row(self._connection, name, long_text(msgspec.json.encode(cursor).decode()))


def _cursor(row: Row) -> Cursor | None:
    try:
        return msgspec.json.decode(row.text(), type=Cursor)
    except msgspec.DecodeError:
        return None
