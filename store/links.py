"""Links: the records that join an Entra object to a PBX object, keyed by the Entra object id."""

from collections.abc import AsyncIterator, Iterable
from typing import Literal

import msgspec

from store.errors import InvalidRecord
from store.tables import Row, Tables, Write, long_text

TABLE = "links"
LISTS = "lists"
"""What ``store.listing`` keeps, by the same partitions."""

KEYS_A_QUERY = 14
"""Azure's filters take 15 comparisons at most; the partition is one of them."""

type Kind = Literal["users", "groups", "contacts"]


class Link(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One link.

    ``state`` is ``intent`` from before a create is sent until its outcome is known (such a link is noted on the lease,
    not stored here): the object may or may not be on the PBX. ``linked`` while the bridge manages the object.
    ``released`` after it was given up: nothing is written to it, but its object is remembered in case the user comes
    back.
    """

    object_id: str
    state: Literal["intent", "linked", "released"] = "linked"
    pbx_id: int | None = None
    """The PBX's own id of the object; ``None`` while the link is an intent."""
    number: str = ""
    name: str = ""
    """For people who read lists; never used to match."""
    email: str = ""
    user_principal_name: str = ""
    written: dict[str, str] = {}
    """The synced fields as the PBX last confirmed them."""
    unsure: bool = False
    """An update got no answer, or found nothing to update: the PBX is read before the next decision."""
    leaving_since: str = ""
    """When a run found that the object is to be deleted, and marked it (RFC 3339, UTC); empty: it is not."""
    leaving_reason: str = ""
    associated: bool = False
    """The extension existed before and was taken over."""
    changed_at: str = ""
    """When the bridge last changed the PBX object (RFC 3339, UTC)."""
    run_id: str = ""
    """The run that last changed it."""
    fence: int = 0
    """The lease under which the record was written."""


class LinkStore:
    """The links of one connection and kind."""

    def __init__(self, tables: Tables, connection: str, kind: Kind) -> None:
        self._tables = tables
        self._partition = f"{connection}-{kind}"

    async def get(self, object_id: str) -> Link | None:
        row = await self._tables.get(TABLE, self._partition, object_id.lower())
        return None if row is None else _link(row)

    async def some(self, object_ids: Iterable[str]) -> list[Link]:
        """The links among these object ids; one request for each 14 of them."""
        keys = sorted({object_id.lower() for object_id in object_ids})
        found: list[Link] = []
        for start in range(0, len(keys), KEYS_A_QUERY):
            rows = self._tables.keys(TABLE, self._partition, keys[start : start + KEYS_A_QUERY])
            found += [_link(row) async for row in rows]
        return found

    async def numbered(self, numbers: Iterable[str]) -> list[Link]:
        """The links whose extension has one of these numbers; one request for each 14 numbers and 1,000 links."""
        wanted = sorted(set(numbers))
        found: list[Link] = []
        for start in range(0, len(wanted), KEYS_A_QUERY):
            rows = self._tables.having(TABLE, self._partition, "number", wanted[start : start + KEYS_A_QUERY])
            found += [_link(row) async for row in rows]
        return found

    async def all(self) -> AsyncIterator[Link]:
        """Every link in the order of the object ids; one request for each 1,000."""
        async for row in self._tables.query(TABLE, self._partition):
            yield _link(row)

    async def first(self, top: int) -> AsyncIterator[Link]:
        """At most ``top`` links, at most 1,000, in one request."""
        async for row in self._tables.query(TABLE, self._partition, top=top):
            yield _link(row)

    async def after(self, object_id: str) -> AsyncIterator[Link]:
        """The links whose object id comes after ``object_id``, in order."""
        low = f"{object_id.lower()}-" if object_id else ""  # "-" sorts before every character of an id
        async for row in self._tables.query(TABLE, self._partition, low=low):
            yield _link(row)

    async def write(self, save: Iterable[Link] = (), remove: Iterable[str] = ()) -> None:
        """Save and remove links in transactions of 100. Only ids of records that exist may be removed: one that is
        missing fails its transaction."""
        writes = [Write("upsert", self._row(link)) for link in save]
        writes += [Write("delete", Row(self._partition, object_id.lower(), {})) for object_id in remove]
        await self._tables.write(TABLE, writes)

    async def clear(self) -> None:
        """Forget all links and the list made of them. What they joined stays as it is."""
        await self._tables.clear(TABLE, self._partition)
        await self._tables.clear(LISTS, self._partition)

    def _row(self, link: Link) -> Row:
        columns = long_text(msgspec.json.encode(link).decode())
        return Row(self._partition, link.object_id.lower(), {"number": link.number, "state": link.state, **columns})


def _link(row: Row) -> Link:
    try:
        return msgspec.json.decode(row.text(), type=Link)
    except msgspec.DecodeError as error:
        raise InvalidRecord(f"the link of {row.key} does not decode: {error}") from error
