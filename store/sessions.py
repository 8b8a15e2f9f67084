"""Who is signed in: people's sessions, the accounts of a connection, and what keeps sign-ins from being repeated."""

import datetime
import secrets
from collections.abc import AsyncIterator, Callable
from typing import Literal

import msgspec

from store.errors import AlreadyExists, Changed, InvalidRecord
from store.secrets import SecretStore, presence_token
from store.tables import Row, Tables, Value, long_text

TABLE = "sessions"
ACCOUNT = "account"
AUTHORIZATION = "authorization"
"""What the authorization account of a connection goes by. Further accounts go by their object ids."""
SESSIONS = ("s-", "s.")
"""Between these two lie the keys of all sessions."""
FURTHER = ("p-", "p.")
"""And between these those of all further accounts."""
MILLISECOND = datetime.timedelta(milliseconds=1)
SWEPT = 20
"""So many old records somebody who signs in takes away at most: who leaves a mass of them makes nobody else wait."""

type Role = Literal["admin", "reader", "person"]
"""Each may do what the one behind it may; a person sees pages about himself and nothing of the console."""
type Basis = Literal["role", "account", "setup-key", "tenant"]


class SessionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A session. Without the key that seals the cookies nobody can use it, so it may lie in storage."""

    id: str
    """As ``session_id`` makes it."""
    name: str
    account: str
    """``{tenant id}:{object id}``, or ``setup-key``."""
    role: Role
    basis: Basis
    """What the role rests on: an app role in Entra, being the authorization account, the setup key, or belonging to the
    tenant, which is enough for a person."""
    csrf: str
    started_at: str
    ends_at: str


class AccountRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The authorization account, or a further one. Its refresh token is in the Key Vault, as the version that is named
    here."""

    tenant_id: str
    object_id: str
    name: str
    user_principal_name: str
    signed_in_at: str
    state: Literal["valid", "needs_sign_in"] = "valid"
    reason: str = ""
    scopes: list[str] = []
    token_version: str

    @property
    def key(self) -> str:
        """Who it is, whatever the name."""
        return f"{self.tenant_id}:{self.object_id}"


class SessionStore:
    """The sessions and the accounts of one connection. Of the accounts, ``further`` is the object id of a further one;
    empty, it stands for the authorization account."""

    def __init__(self, tables: Tables, connection: str) -> None:
        self._tables = tables
        self._connection = connection

    async def add(self, session: SessionRecord) -> None:
        await self._tables.create(TABLE, Row(self._connection, f"s-{session.id}", _columns(session)))

    async def load(self, session_id: str) -> tuple[SessionRecord | None, AccountRecord | None]:
        """A session, and the account that its role may rest on: one request."""
        session: SessionRecord | None = None
        account: AccountRecord | None = None
        async for row in self._tables.keys(TABLE, self._connection, (ACCOUNT, f"s-{session_id}")):
            if row.key == ACCOUNT:
                account = _decoded(row, AccountRecord)
            else:
                session = _decoded(row, SessionRecord)
        return session, account

    async def end(self, session_id: str) -> None:
        """End a session; one that is not there is no error."""
        await self._tables.delete(TABLE, self._connection, f"s-{session_id}")

    async def end_all(self, stays: Callable[[SessionRecord], bool] | None = None) -> None:
        """End all sessions but those that ``stays`` names."""
        async for row in self._sessions():
            if stays is None or not stays(_decoded(row, SessionRecord)):
                await self._tables.delete(TABLE, row.partition, row.key)

    async def sweep(self, now: datetime.datetime) -> None:
        """Forget some of the sessions whose time is over: they come first."""
        low, high = SESSIONS[0], f"{SESSIONS[0]}{_stamp(now + MILLISECOND)}"
        async for row in self._tables.query(TABLE, self._connection, low=low, high=high, top=SWEPT):
            await self._tables.delete(TABLE, row.partition, row.key)

    def _sessions(self) -> AsyncIterator[Row]:
        low, high = SESSIONS
        return self._tables.query(TABLE, self._connection, low=low, high=high)

    async def account(self, further: str = "") -> tuple[AccountRecord | None, str]:
        """An account and its ETag."""
        row = await self._tables.get(TABLE, self._connection, _account_key(further))
        return (None, "") if row is None else (_decoded(row, AccountRecord), row.etag)

    async def further_accounts(self) -> list[AccountRecord]:
        """The further accounts by object id."""
        low, high = FURTHER
        rows = self._tables.query(TABLE, self._connection, low=low, high=high)
        return [_decoded(row, AccountRecord) async for row in rows]

    async def save_account(self, account: AccountRecord, further: str = "") -> None:
        """Put an account in the place of whichever is there."""
        await self._tables.upsert(TABLE, self._account_row(account, further))

    async def replace_account(self, account: AccountRecord, etag: str, further: str = "") -> bool:
        """Replace the account that was read with ``etag``; ``False`` when somebody else changed it since."""
        try:
            await self._tables.replace(TABLE, self._account_row(account, further), etag)
        except Changed:
            return False
        return True

    async def forget_account(self, further: str = "") -> None:
        await self._tables.delete(TABLE, self._connection, _account_key(further))

    def _account_row(self, account: AccountRecord, further: str) -> Row:
        return Row(self._connection, _account_key(further), _columns(account))


async def forget_accounts(sessions: SessionStore, secrets: SecretStore) -> None:
    """Forget the authorization account and all further ones, with their tokens. What was interrupted can be repeated:
    a record goes after the token that it leads to."""
    for one in await sessions.further_accounts():
        await secrets.delete(presence_token(one.object_id))
        await sessions.forget_account(one.object_id)
    await secrets.delete("authorization-refresh-token")
    await sessions.forget_account()


class UsedStates:
    """The states of sign-ins that came back already, so that none is answered twice, whichever process it meets."""

    def __init__(self, tables: Tables, connection: str) -> None:
        self._tables = tables
        self._partition = f"{connection}-states"

    async def use(self, state: str, until: datetime.datetime) -> bool:
        """``False`` when it was used before. ``until`` is when it would be refused for its age alone."""
        try:
            await self._tables.create(TABLE, Row(self._partition, f"{_stamp(until)}-{state}", {}))
        except AlreadyExists:
            return False
        return True

    async def sweep(self, now: datetime.datetime) -> None:
        """Forget some of those that are too old to be used anyway."""
        async for row in self._tables.query(TABLE, self._partition, high=_stamp(now), top=SWEPT):
            await self._tables.delete(TABLE, row.partition, row.key)


class Attempt(msgspec.Struct, frozen=True):
    """Somebody gave a setup key, from an address."""

    key: str
    address: str
    at: datetime.datetime


class AttemptStore:
    """Attempts to sign in with the setup key: those that failed, and those under way."""

    def __init__(self, tables: Tables, connection: str) -> None:
        self._tables = tables
        self._partition = f"{connection}-attempts"

    async def add(self, address: str, now: datetime.datetime) -> str:
        """Record an attempt before its key is looked at; answers its key in the table."""
        key = f"{_stamp(now)}-{secrets.token_hex(4)}"
        values = {"address": address, "at": now.isoformat(timespec="milliseconds")}
        await self._tables.create(TABLE, Row(self._partition, key, values))
        return key

    async def since(self, begin: datetime.datetime) -> list[Attempt]:
        """The attempts from ``begin`` on, oldest first."""
        rows = self._tables.query(TABLE, self._partition, low=_stamp(begin))
        return [
            Attempt(row.key, str(row.values["address"]), datetime.datetime.fromisoformat(str(row.values["at"])))
            async for row in rows
        ]

    async def remove(self, key: str) -> None:
        await self._tables.delete(TABLE, self._partition, key)

    async def sweep(self, begin: datetime.datetime) -> None:
        """Forget some of the attempts before ``begin``."""
        async for row in self._tables.query(TABLE, self._partition, high=_stamp(begin), top=SWEPT):
            await self._tables.delete(TABLE, row.partition, row.key)


def session_id(ends: datetime.datetime) -> str:
    """A new id that nobody can guess, of a session that ends then; those that end earlier sort before it."""
    return f"{_stamp(ends)}-{secrets.token_hex(16)}"


def _account_key(further: str) -> str:
    return f"p-{further.lower()}" if further else ACCOUNT


def _stamp(moment: datetime.datetime) -> str:
    return f"{int(moment.timestamp() * 1000):014d}"


def _columns(record: SessionRecord | AccountRecord) -> dict[str, Value]:
    return long_text(msgspec.json.encode(record).decode())


def _decoded[T](row: Row, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(row.text(), type=kind)
    except msgspec.DecodeError as error:
        raise InvalidRecord(f"the record {row.key} of the sessions does not decode: {error}") from error
