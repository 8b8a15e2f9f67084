"""A text of any size beside the links of one kind, packed, with compare-and-swap: the list that is made of them.

Table Storage sorts and searches by its keys only, so a list that is sorted by anything else has to be kept whole. What
the text means is not decided here; it is forgotten with the links.
"""

import base64
import binascii
import zlib
from itertools import batched

from store.errors import AlreadyExists, Changed, InvalidRecord
from store.links import LISTS, Kind
from store.tables import Row, Tables, Write, long_text

CHARACTERS = 450_000
"""Of a row: 900 KB of its 1 MiB at two bytes a character."""
HEAD = "0000"


class ListStore:
    """The list of one connection and kind."""

    def __init__(self, tables: Tables, connection: str, kind: Kind) -> None:
        self._tables = tables
        self._partition = f"{connection}-{kind}"

    async def load(self) -> tuple[bytes | None, str]:
        """The text and its ETag; ``None`` when there is none, or none that can be read: then it is to be made anew."""
        rows = {row.key: row async for row in self._tables.query(LISTS, self._partition)}
        if HEAD not in rows:
            return None, ""
        keys = [_key(index) for index in range(int(rows[HEAD].values["parts"]))]
        packed = "".join(rows[key].text() for key in keys if key in rows)
        try:
            return zlib.decompress(base64.b64decode(packed)), rows[HEAD].etag
        except (binascii.Error, zlib.error):
            return None, rows[HEAD].etag  # a mixture: somebody is saving it at this moment, or broke off

    async def save(self, text: bytes, etag: str) -> bool:
        """Replace what was loaded with ``etag``; ``False`` when somebody else saved or cleared it since."""
        packed = base64.b64encode(zlib.compress(text, 1)).decode()
        parts = ["".join(some) for some in batched(packed, CHARACTERS, strict=False)]
        first, *further = [
            Row(self._partition, _key(index), {"parts": len(parts), **long_text(part)})
            for index, part in enumerate(parts)
        ]
        head = Write("replace", first, etag) if etag else Write("create", first)
        try:
            await self._tables.write(LISTS, [head, *(Write("upsert", row) for row in further)])
        except (AlreadyExists, Changed, InvalidRecord):  # the last one: there is nothing to replace
            return False
        return True


def _key(index: int) -> str:
    return f"{index:04d}"
