"""Subscriptions to change notifications: one record a resource, written before Graph is asked for anything."""

from collections.abc import Callable
from typing import Literal

import msgspec

from store.errors import AlreadyExists, Changed, InvalidRecord
from store.tables import Row, Tables, long_text

TABLE = "subscriptions"
TRIES = 10

type Resource = Literal["users", "groups"]
type State = Literal["asked", "live", "renew", "gone"]


class Subscription(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What we know of one subscription.

    ``asked``: Graph was asked to make it and has not answered yet, or its answer got lost: it may or may not exist.
    ``live``: Graph confirmed it. ``renew``: Graph wants it renewed now. ``gone``: Graph removed it, or never made it.
    """

    resource: Resource
    state: State = "gone"
    id: str = ""
    """Graph's id; empty while it is not known."""
    client_state: str = ""
    """Comes back in every notification and proves that Graph sent it; a secret of 43 characters."""
    tenant_id: str = ""
    """Object id of the tenant; empty when it could not be told, and then not compared."""
    application: str = ""
    """Tenant and client id of the settings it was made with; other settings need another one."""
    notification_url: str = ""
    expires_at: str = ""
    """Its end; while ``asked``, the end that was asked for."""
    created_at: str = ""
    renewed_at: str = ""
    last_error: str = ""
    """Why it could not be made or renewed, for people."""
    failures: int = 0
    """Attempts that failed one after another."""
    next_try_at: str = ""
    """Nothing is tried before this; also keeps a second process from trying at the same time."""

    def __repr__(self) -> str:
        return f"Subscription(resource={self.resource!r}, state={self.state!r}, id={self.id!r})"

    __str__ = __repr__


class Kept(msgspec.Struct, frozen=True):
    """A record and the ETag it was read or written with, empty before the first write."""

    record: Subscription
    etag: str = ""


class SubscriptionStore:
    """The subscriptions of one connection."""

    def __init__(self, tables: Tables, connection: str) -> None:
        self._tables = tables
        self._connection = connection

    async def all(self) -> dict[str, Kept]:
        """The records by resource; one request."""
        return {row.key: _kept(row) async for row in self._tables.query(TABLE, self._connection)}

    async def save(self, record: Subscription, etag: str = "") -> Kept:
        """Create the record, or replace the one read with ``etag``; ``Changed`` when somebody else wrote first."""
        row = Row(self._connection, record.resource, long_text(msgspec.json.encode(record).decode()))
        try:
            tag = await self._tables.replace(TABLE, row, etag) if etag else await self._tables.create(TABLE, row)
        except AlreadyExists as error:
            raise Changed(f"the subscription of {record.resource} was recorded meanwhile") from error
        return Kept(record, tag)

    async def update(self, resource: str, change: Callable[[Subscription], Subscription | None]) -> Subscription | None:
        """Apply ``change`` to the newest record; it may be called again when somebody else wrote meanwhile. ``None``
        from it leaves the record alone. Answers what was saved, ``None`` when nothing was."""
        for _ in range(TRIES):
            row = await self._tables.get(TABLE, self._connection, resource)
            changed = None if row is None else change(_kept(row).record)
            if row is None or changed is None:
                return None
            try:
                return (await self.save(changed, row.etag)).record
            except Changed:
                continue
        raise Changed(f"the subscription of {resource} is being changed all the time; try again")

    async def remove(self, resource: str) -> None:
        """Forget a subscription; a missing record is no error."""
        await self._tables.delete(TABLE, self._connection, resource)


def _kept(row: Row) -> Kept:
    try:
        return Kept(msgspec.json.decode(row.text(), type=Subscription), row.etag)
    except msgspec.DecodeError as error:
        raise InvalidRecord(f"the subscription of {row.key} does not decode: {error}") from error
