"""Shared state of a gateway, such as the one PBX token of a deployment: a text with compare-and-swap.

What the text means is the gateway's affair.
"""

from store.errors import AlreadyExists, Changed
from store.tables import Row, Tables, long_text

TABLE = "tokens"


class TokenStore:
    """One shared text per connection and name."""

    def __init__(self, tables: Tables, connection: str, name: str) -> None:
        self._tables = tables
        self._connection = connection
        self._name = name

    async def read(self) -> tuple[str, str]:
        """The text and its ETag; two empty texts when nothing is stored."""
        row = await self._tables.get(TABLE, self._connection, self._name)
        return ("", "") if row is None else (row.text(), row.etag)

    async def swap(self, text: str, etag: str) -> str | None:
        """Store ``text`` if nobody wrote since ``etag`` was read. Answers the new ETag, ``None`` when somebody did."""
        row = Row(self._connection, self._name, long_text(text))
        try:
            return await self._tables.replace(TABLE, row, etag) if etag else await self._tables.create(TABLE, row)
        except (AlreadyExists, Changed):
            return None
