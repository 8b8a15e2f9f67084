"""Presence: a record for each user that follows Teams, and when the poll last did what.

A notification reads the records of the users in it and writes those that change, each on condition that nobody else
wrote it meanwhile.
"""

import asyncio
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import batched
from typing import Literal

import msgspec

from store.document import PresenceChoice
from store.errors import AlreadyExists, Changed, InvalidRecord
from store.shelf import Shelf
from store.subscriptions import State
from store.tables import Row, Tables, Write, long_text

TABLE = "presence"
SUBSCRIPTIONS = "subscriptions"
"""The table of all subscriptions; those to presence are in a partition of their own."""
CLOCK = "clock"
EDITION = "edition"
TRIES = 10
TOGETHER = 3
"""So often a transaction that somebody else was faster with is tried again as a whole; then record by record."""
ONE_PASS = 100
"""For so many users all records are read, which are usually some thousand."""
AT_ONCE = 8
"""Requests for single records under way."""
TRANSACTION = 100

type Status = Literal["available", "away", "business_trip", "do_not_disturb", "lunch", "off_work"]
"""What an extension may be told to show."""
type Source = Literal["notification", "poll"]


class Teams(msgspec.Struct, frozen=True):
    """What Teams shows, in Graph's words; empty before anything was heard."""

    availability: str = ""
    activity: str = ""


type Chooser = Literal["", "administrator", "person"]


class Preference(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was decided about one user, by himself or by an administrator. The later decision counts."""

    follows: bool | None = None
    """``None``: nothing, and the rules count."""
    map: dict[str, PresenceChoice] = {}
    """By the names of ``store.document.PresenceMap``; what is missing is as the rules have it."""
    set_by: Chooser = ""
    set_at: str = ""
    """RFC 3339, UTC."""

    @property
    def is_default(self) -> bool:
        """Nothing is decided, whoever decided that."""
        return self.follows is None and not self.map


class UserPresence(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One user."""

    object_id: str
    pbx_id: int | None = None
    number: str = ""
    name: str = ""
    """For people who read lists, like the next one."""
    user_principal_name: str = ""
    in_scope: bool = False
    """The rules are about the user, whatever was decided about him."""
    is_followed: bool = False
    """The rules and the preference together; otherwise only the preference is kept."""
    preference: Preference = Preference()
    teams: Teams = Teams()
    sequence: str = ""
    """Graph's sequence number of the newest state it gave one for."""
    heard_at: str = ""
    """When ``teams`` was announced, or asked for (RFC 3339, UTC, milliseconds)."""
    source: Source = "poll"
    changes: int = 0
    """How often it changed: those who change most are announced rather than polled."""
    is_pending: bool = False
    """Something was heard that the PBX may not show yet."""
    written: str = ""
    """What the extension was last known to show because of Teams."""
    sent: str = ""
    """What was written without an answer: the extension may show it because of us."""
    earlier: list[Teams] = []
    """What Teams showed while something was pending, before ``teams``: it may have been written although that is not
    recorded."""
    written_at: str = ""
    is_recheck: bool = False
    """It is pending although Teams shows nothing new: rules or decisions changed, or a write failed."""
    delay_ms: int | None = 0
    """From hearing to writing, the last time; ``None`` when that was no change in Teams."""
    seen: str = ""
    """What the extension showed when it was last looked at."""
    left: str = ""
    """What Teams asked for when somebody's own choice was left alone; empty: there is none."""
    outcome: str = ""
    """Of the last look: write, same, leave, custom, manual, gone, failed."""
    error: str = ""
    """Why it failed, for people."""


class Clock(msgspec.Struct, frozen=True, omit_defaults=True):
    """When the poll last did what (RFC 3339, UTC); empty: never."""

    polled_at: str = ""
    swept_at: str = ""
    """All users were polled, and whom the rules are about was found out."""
    rules: str = ""
    """A digest of the rules of that sweep: other rules ask for another one at once."""
    last_error: str = ""
    """Why Graph cannot be asked at the moment, for people; empty when it can."""
    failing_since: str = ""
    is_sweep_failing: bool = False
    """It was in a sweep that Graph could not be asked: other polls ask about fewer users, and not about groups."""
    ask_after: str = ""
    """Before this Graph wants not to be asked; empty when it does not say so."""
    refused: int = 0
    """Notifications that were not believed, since presence was switched on."""
    left_at: str = ""
    """When the next poll may go on with users whom a process gave up writing; empty: there are none."""
    doubts: dict[str, str] = {}
    """Since when a process, by an id of its own, may not have recorded what it was told."""


class PresenceSubscription(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What we know of the subscription that one authorization account has. The states are those of
    ``store.subscriptions.Subscription``."""

    account: str
    """Whose it is, among the accounts of the connection; each may have one subscription for each application."""
    mark: str = ""
    """Who is behind the account, and since when: another sign-in is worth another try."""
    state: State = "gone"
    id: str = ""
    client_state: str = ""
    """Comes back in every notification and proves that Graph sent it; a secret of 43 characters."""
    tenant_id: str = ""
    application: str = ""
    """Tenant and client id of the settings it was made with; other settings need another one."""
    notification_url: str = ""
    users: list[str] = []
    """Object ids of those whose changes it announces; at most 650."""
    strangers: list[str] = []
    """Object ids of those who were left out when it was made, because Graph does not know them."""
    certificate_id: str = ""
    """The version of the certificate's secret; empty when the notifications come without the presence itself."""
    earlier_certificate_id: str = ""
    """Notifications that are under way may still be encrypted for it."""
    expires_at: str = ""
    since: str = ""
    """When it was made: what happened before was not announced."""
    made_at: str = ""
    """When it was made or renewed."""
    last_error: str = ""
    """Why it could not be made or renewed, for people."""
    failures: int = 0
    """Attempts that failed one after another."""
    next_try_at: str = ""
    """Nothing is tried before this; also keeps a second process from trying at the same time."""

    def __repr__(self) -> str:
        return f"PresenceSubscription(account={self.account!r}, state={self.state!r}, id={self.id!r})"

    __str__ = __repr__

    def covers(self, now: str) -> bool:
        """Whether its users are announced at ``now`` (RFC 3339, UTC)."""
        return self.state in {"live", "renew"} and self.expires_at > now


class Announcer(msgspec.Struct, frozen=True, kw_only=True):
    """The subscription of one account, as it is shown."""

    account: str
    """``authorization``, or the object id of a further account."""
    state: State
    users: int
    """Whose changes it announces."""
    expires_at: str
    rich: bool
    """Whether the presence comes with the notification; otherwise it is read after it."""
    last_error: str


class Delay(msgspec.Struct, frozen=True):
    """From hearing of a change to the PBX having confirmed it, in milliseconds; ``None`` without a change."""

    p50: int | None = None
    p95: int | None = None
    changes: int = 0
    """Users whose extension was written in the last hour; of each the last change counts."""


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """How presence does, as ``GET /api/status`` and the console show it."""

    enabled: bool
    users: int = 0
    """Who is followed."""
    covered: int = 0
    """Of those, whose changes Graph announces."""
    polled: int = 0
    """Of those, who is asked about instead."""
    pending: int = 0
    """Of those, whose extension is still to be written."""
    last_notification: str | None = None
    """The last one that said something new (RFC 3339, UTC)."""
    last_poll: str | None = None
    delay_ms: Delay = Delay()
    lost: int = 0
    """Users whose present state was found by asking, although it should have been announced minutes ago."""
    refused: int = 0
    """Notifications that were not believed, since presence was switched on."""
    accounts: list[Announcer] = []
    last_error: str = ""
    """Why Graph cannot be asked about presence; empty when it can."""


class KeptSubscription(msgspec.Struct, frozen=True):
    """A record and the ETag it was read or written with, empty before the first write."""

    record: PresenceSubscription
    etag: str = ""


class KeptClock(msgspec.Struct, frozen=True):
    """A clock and the ETag it was read with, empty before the first write."""

    clock: Clock
    etag: str = ""


type Change = Callable[[str, UserPresence | None], UserPresence | None]
"""Makes the new record of an object id from the present one; ``None`` leaves it as it is."""


class KeptUser(msgspec.Struct, frozen=True):
    """A record and the ETag it was read or written with."""

    user: UserPresence
    etag: str


class PresenceStore:
    """The presence of one connection. With a shelf, what a process knows is not read again before it is changed."""

    def __init__(self, tables: Tables, connection: str, shelf: Shelf[KeptUser] | None = None) -> None:
        self._tables = tables
        self._partition = f"{connection}-users"
        self._clocks = f"{connection}-clock"
        self._subscriptions = f"{connection}-presence"
        self._shelf: Shelf[KeptUser] = Shelf(0) if shelf is None else shelf

    async def some(self, object_ids: Iterable[str], *, shelved: bool = False) -> dict[str, UserPresence]:
        """The records of these users, as far as they exist; one request for each, or for each 1,000 of all when they
        are many. ``shelved``: those that are on the shelf as they are there."""
        keys = _keys(object_ids)
        known = self._shelved(keys) if shelved else {}
        read = await self._read([key for key in keys if key not in known])
        return {key: kept.user for key, kept in (known | read).items()}

    async def all(self) -> dict[str, UserPresence]:
        """Every record by object id; one request for each 1,000."""
        return {key: kept.user for key, kept in (await self._all()).items()}

    async def pending(self) -> list[UserPresence]:
        """Users about whom something was heard that the PBX may not show, newest first. It goes through all records."""
        moment = self._shelf.moment()
        rows = self._tables.having(TABLE, self._partition, "pending", ["yes"])
        found = {row.key: KeptUser(_user(row), row.etag) async for row in rows}
        self._shelf.put(found, moment)
        return sorted((kept.user for kept in found.values()), key=lambda one: one.heard_at, reverse=True)

    async def change(self, object_ids: Iterable[str], change: Change) -> list[UserPresence]:
        """Apply ``change`` to the records of these users, and write those that it makes anew: a transaction for each
        100. It may be called again for a user whose record was written meanwhile. Answers what was written."""
        saved: list[UserPresence] = []
        waiting = _keys(object_ids)
        known = self._shelved(waiting)
        for turn in range(TRIES):
            kept = known | await self._read([key for key in waiting if key not in known])
            changed = {key: _changed(key, kept.get(key), change) for key in waiting}
            made = {key: user for key, user in changed.items() if user is not None}
            lost = await self._write(made, kept, one_by_one=turn >= TOGETHER)
            saved += [user for key, user in made.items() if key not in lost]
            # What the shelf has may be old: that there is nothing to change is believed of storage only.
            waiting = [*lost, *(key for key in known if key not in made)]
            known = {}
            if not waiting:
                return saved
        raise Changed("the presence of users is being changed all the time; try again")

    async def remove(self, object_ids: Iterable[str]) -> None:
        """Forget users; a missing record is no error."""
        for key in _keys(object_ids):
            await self._tables.delete(TABLE, self._partition, key)
            self._shelf.take([key])

    async def edition(self) -> str:
        """Changes with every decision about users; one request."""
        row = await self._tables.get(TABLE, self._clocks, EDITION)
        return "" if row is None else row.text()

    async def new_edition(self) -> None:
        """Tell all processes that something was decided about users."""
        await self._tables.upsert(TABLE, Row(self._clocks, EDITION, long_text(secrets.token_hex(8))))

    async def clear(self) -> None:
        """Forget everything."""
        await self._tables.clear(TABLE, self._partition)
        await self._tables.clear(TABLE, self._clocks)
        await self._tables.clear(SUBSCRIPTIONS, self._subscriptions)

    async def clock(self) -> KeptClock:
        row = await self._tables.get(TABLE, self._clocks, CLOCK)
        if row is None:
            return KeptClock(Clock())
        return KeptClock(_decoded(row, Clock), row.etag)

    async def set_clock(self, clock: Clock, etag: str) -> bool:
        """Replace the clock read with ``etag``; ``False`` when somebody else did."""
        row = Row(self._clocks, CLOCK, long_text(msgspec.json.encode(clock).decode()))
        try:
            if etag:
                await self._tables.replace(TABLE, row, etag)
            else:
                await self._tables.create(TABLE, row)
        except (AlreadyExists, Changed):
            return False
        return True

    async def forget_clock(self) -> None:
        """Have presence begin anew, as when it is switched on for the first time."""
        await self._tables.delete(TABLE, self._clocks, CLOCK)

    async def subscriptions(self) -> dict[str, KeptSubscription]:
        """The subscriptions by account; one request."""
        rows = self._tables.query(SUBSCRIPTIONS, self._subscriptions)
        return {row.key: KeptSubscription(_decoded(row, PresenceSubscription), row.etag) async for row in rows}

    async def save_subscription(self, record: PresenceSubscription, etag: str = "") -> KeptSubscription:
        """Create the record, or replace the one read with ``etag``; ``Changed`` when somebody else wrote first."""
        row = Row(self._subscriptions, record.account, long_text(msgspec.json.encode(record).decode()))
        try:
            if etag:
                return KeptSubscription(record, await self._tables.replace(SUBSCRIPTIONS, row, etag))
            return KeptSubscription(record, await self._tables.create(SUBSCRIPTIONS, row))
        except AlreadyExists as error:
            raise Changed("the subscription was recorded meanwhile") from error

    async def remove_subscription(self, account: str) -> None:
        """Forget a subscription; a missing record is no error."""
        await self._tables.delete(SUBSCRIPTIONS, self._subscriptions, account)

    async def _all(self) -> dict[str, KeptUser]:
        moment = self._shelf.moment()
        rows = self._tables.query(TABLE, self._partition)
        found = {row.key: KeptUser(_user(row), row.etag) async for row in rows}
        self._shelf.put_all(found, moment)
        return found

    def _shelved(self, keys: Iterable[str]) -> dict[str, KeptUser]:
        return {key: kept for key in keys if (kept := self._shelf.get(key)) is not None}

    async def _read(self, keys: Sequence[str]) -> dict[str, KeptUser]:
        """The records with these keys. One by one: the service looks through all records for several keys at once
        (https://learn.microsoft.com/azure/storage/tables/table-storage-design-for-query)."""
        if len(keys) >= ONE_PASS:
            wanted = set(keys)
            return {key: kept for key, kept in (await self._all()).items() if key in wanted}
        places = asyncio.Semaphore(AT_ONCE)

        async def read(key: str) -> Row | None:
            async with places:
                return await self._tables.get(TABLE, self._partition, key)

        moment = self._shelf.moment()
        rows = await asyncio.gather(*map(read, keys))
        found = {row.key: KeptUser(_user(row), row.etag) for row in rows if row is not None}
        self._shelf.put(found, moment, missing=(key for key in keys if key not in found))
        return found

    async def _write(
        self, made: Mapping[str, UserPresence], before: Mapping[str, KeptUser], *, one_by_one: bool
    ) -> list[str]:
        """Write them; answers the keys of those that somebody else was faster with, or may have been: one of a
        transaction fails all of it."""
        lost: list[str] = []
        for batch in batched(made, 1 if one_by_one else TRANSACTION, strict=False):
            if not await self._transaction({key: made[key] for key in batch}, before):
                lost += batch
        return lost

    async def _transaction(self, made: Mapping[str, UserPresence], before: Mapping[str, KeptUser]) -> bool:
        try:
            writes = [self._write_of(user, before.get(key)) for key, user in made.items()]
            etags = await self._tables.write(TABLE, writes)
        except (AlreadyExists, Changed, InvalidRecord) as error:
            self._shelf.take(made)
            if isinstance(error, InvalidRecord) and not _is_gone(error):
                raise
            return False
        kept = (KeptUser(user, etag) for user, etag in zip(made.values(), etags, strict=True))
        self._shelf.put(dict(zip(made, kept, strict=True)), self._shelf.moment())
        return True

    def _write_of(self, user: UserPresence, before: KeptUser | None) -> Write:
        columns = long_text(msgspec.json.encode(user).decode())
        row = Row(self._partition, user.object_id.lower(), {"pending": "yes" if user.is_pending else "no", **columns})
        return Write("create", row) if before is None else Write("replace", row, before.etag)


def _changed(key: str, kept: KeptUser | None, change: Change) -> UserPresence | None:
    before = None if kept is None else kept.user
    after = change(key, before)
    return None if after == before else after


def _keys(object_ids: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(object_id.lower() for object_id in object_ids))


def _is_gone(error: InvalidRecord) -> bool:
    """Whether a conditional write found no record any more: of a transaction that is a plain 404."""
    return getattr(error.__cause__, "status_code", None) == 404


def _user(row: Row) -> UserPresence:
    return _decoded(row, UserPresence)


def _decoded[T](row: Row, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(row.text(), type=kind)
    except msgspec.DecodeError as error:
        raise InvalidRecord(f"the presence {row.key} does not decode: {error}") from error
