"""Cursors: where the next incremental read begins."""

import msgspec

from store.tables import Row, Tables, long_text

TABLE = "cursors"


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
        if row is None:
            return None
        try:
            return msgspec.json.decode(row.text(), type=Cursor)
        except msgspec.DecodeError:
            return None

    async def save(self, name: str, cursor: Cursor) -> None:
        columns = long_text(msgspec.json.encode(cursor).decode())
        await self._tables.upsert(TABLE, Row(self._connection, name, columns))

    async def clear(self, name: str) -> None:
        await self._tables.delete(TABLE, self._connection, name)
