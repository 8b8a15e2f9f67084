"""A mirror of the tenant's groups and of who is in them directly: ``groups/delta`` tells only what changed."""

from collections.abc import Iterable
from itertools import batched
from typing import Literal

import msgspec

from store.errors import InvalidRecord
from store.links import KEYS_A_QUERY
from store.tables import Row, Tables, Value, Write, long_text

TABLE = "groups"

IDS_A_ROW = 10_000
"""An id takes 39 characters of a row, so that many fit into the 1 MiB of an entity."""
ONE_PASS = 20 * KEYS_A_QUERY
"""From so many groups on it takes fewer requests to read the whole mirror than to ask for them."""
PART = "~"
"""Between the id of a group and the rest of the key of its further rows; never part of an id."""
HEAD_COLUMNS = ("data", "data_parts", *(f"data_{index}" for index in range(1, 32)))

type GroupKind = Literal["security", "microsoft365", "other"]


class DirectoryGroup(msgspec.Struct, frozen=True, kw_only=True):
    """A group of the tenant with its direct members."""

    id: str
    name: str = ""
    kind: GroupKind = "other"
    """``microsoft365`` has ``Unified`` among its types; ``security`` is security-enabled, with a mailbox or without;
    ``other`` are distribution lists."""
    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    """Nested groups."""


class Skeleton(msgspec.Struct, frozen=True):
    """A group without its users."""

    name: str
    kind: GroupKind
    groups: frozenset[str]


class _Head(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the first row of a group says beside its first users."""

    id: str
    name: str
    kind: GroupKind
    groups: list[str] = []
    parts: int = 0
    """Further rows of users."""
    generation: int = 0
    """Which further rows count: a write adds new ones, then says so here, then removes the old ones. Whoever reads, or
    dies in between, finds the users of before or of after and never a mixture."""

    def part_keys(self) -> list[str]:
        return [f"{self.id.lower()}{PART}{self.generation}-{index}" for index in range(self.parts)]


class GroupStore:
    """The mirror of one connection. One row holds the name, the kind, the nested groups and up to 10,000 users; larger
    groups have further rows. One writer at a time."""

    def __init__(self, tables: Tables, connection: str) -> None:
        self._tables = tables
        self._partition = connection

    async def skeleton(self) -> dict[str, Skeleton]:
        """Every group without its users, by id; one request for each 1,000."""
        heads, _ = await self._scan()
        return {head.id: Skeleton(head.name, head.kind, frozenset(head.groups)) for head in heads.values()}

    async def users(self, ids: Iterable[str]) -> dict[str, frozenset[str]]:
        """The direct users of these groups, by id, as far as the mirror has them; a request for each 14 groups and one
        for each of more than 10,000 users."""
        keys = {group_id.lower(): group_id for group_id in ids}
        found: dict[str, frozenset[str]] = {}
        for row in await self._first_rows(sorted(keys)):
            head = _head(row)
            users = [*_ids(row), *await self._further(head)]
            found[keys[row.key]] = frozenset(users)
        return found

    async def write(self, save: Iterable[DirectoryGroup] = (), remove: Iterable[str] = ()) -> None:
        """Save and remove groups, in transactions; an id is in one of both at most. One that is to be removed and is
        not there is no error. ``InvalidRecord`` for a group with more than 10,000 nested ones."""
        heads, part_keys = await self._scan()
        parts: list[Row] = []
        firsts: list[Row] = []
        for group in save:
            key = group.id.lower()
            first, *further = self._rows(group, heads.get(key))
            heads[key] = _head(first)
            firsts.append(first)
            parts += further
        gone = [key for group_id in remove if heads.pop(key := group_id.lower(), None) is not None]
        needed = {key for head in heads.values() for key in head.part_keys()}
        unneeded = [Row(self._partition, key, {}) for key in (*gone, *sorted(part_keys - needed))]
        # The order counts: see ``_Head.generation``.
        writes = [Write("upsert", row) for row in (*parts, *firsts)] + [Write("delete", row) for row in unneeded]
        await self._tables.write(TABLE, writes)

    async def _scan(self) -> tuple[dict[str, _Head], set[str]]:
        """The first rows by their key, and the keys of all further rows."""
        heads: dict[str, _Head] = {}
        part_keys: set[str] = set()
        async for row in self._tables.query(TABLE, self._partition, select=HEAD_COLUMNS):
            if PART in row.key:
                part_keys.add(row.key)
            else:
                heads[row.key] = _head(row)
        return heads, part_keys

    async def _first_rows(self, keys: list[str]) -> list[Row]:
        if len(keys) >= ONE_PASS:
            wanted = set(keys)
            return [row async for row in self._tables.query(TABLE, self._partition) if row.key in wanted]
        rows: list[Row] = []
        for some in batched(keys, KEYS_A_QUERY, strict=False):
            rows += [row async for row in self._tables.keys(TABLE, self._partition, some)]
        return rows

    async def _further(self, head: _Head) -> list[str]:
        """The users of a group's further rows; ``InvalidRecord`` when one is missing."""
        if not head.parts:
            return []
        start = f"{head.id.lower()}{PART}{head.generation}-"
        rows = {row.key: row async for row in self._tables.query(TABLE, self._partition, low=start, high=f"{start}~")}
        if missing := [key for key in head.part_keys() if key not in rows]:
            raise InvalidRecord(f"the group {head.name!r} lacks {len(missing)} of its further rows: {missing[0]}")
        return [user for key in head.part_keys() for user in _ids(rows[key])]

    def _rows(self, group: DirectoryGroup, before: _Head | None) -> list[Row]:
        """All rows of a group, the first one first."""
        if len(group.groups) > IDS_A_ROW:
            raise InvalidRecord(f"the group {group.name!r} has {len(group.groups)} nested groups; {IDS_A_ROW} fit")
        users = sorted(group.users)
        room = IDS_A_ROW - len(group.groups)
        further = list(batched(users[room:], IDS_A_ROW, strict=False))
        head = _Head(
            id=group.id,
            name=group.name,
            kind=group.kind,
            groups=sorted(group.groups),
            parts=len(further),
            generation=0 if before is None else before.generation + 1,
        )
        columns = long_text(msgspec.json.encode(head).decode()) | _users(users[:room])
        first = Row(self._partition, group.id.lower(), columns)
        return [
            first,
            *(Row(self._partition, key, _users(some)) for key, some in zip(head.part_keys(), further, strict=True)),
        ]


def _users(ids: Iterable[str]) -> dict[str, Value]:
    return long_text(msgspec.json.encode(list(ids)).decode(), "users")


def _ids(row: Row) -> list[str]:
    try:
        return msgspec.json.decode(row.text("users"), type=list[str])
    except msgspec.DecodeError as error:
        raise InvalidRecord(f"the users of the group {row.key} do not decode: {error}") from error


def _head(row: Row) -> _Head:
    try:
        return msgspec.json.decode(row.text(), type=_Head)
    except msgspec.DecodeError as error:
        raise InvalidRecord(f"the record of the group {row.key} does not decode: {error}") from error
