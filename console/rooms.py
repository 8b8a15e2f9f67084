"""Other rooms' views of a connection, put together where all of them are known."""

import datetime
from collections.abc import Callable, Sequence

from presence.room import Room, Subscriber, room_of
from sso.account import Account, access_token, further_accounts, read_account
from sso.place import Place
from store.sessions import AUTHORIZATION
from sync.connection import Connection


def place_of(connection: Connection) -> Place:
    """What signing in needs of a connection."""
    return Place(
        id=connection.id,
        environment=connection.environment,
        tables=connection.tables,
        secrets=connection.secrets,
        settings=connection.settings,
        health=connection.health,
    )


def presence_room(connection: Connection, now: Callable[[], datetime.datetime]) -> Room:
    """What presence needs of a connection."""

    async def subscribers() -> list[Subscriber]:
        return await subscribers_of(connection)

    async def token(account: str, scopes: Sequence[str], *, fresh: bool = False) -> str:
        return await delegated_token(connection, account, scopes, now(), fresh=fresh)

    return room_of(connection, now, subscribers, token)


async def delegated_token(
    connection: Connection, account: str, scopes: Sequence[str], now: datetime.datetime, *, fresh: bool = False
) -> str:
    """An access token for Graph in the name of an account, by the rules of ``sso.account.access_token``."""
    return await access_token(place_of(connection), scopes, now, account, fresh=fresh)


async def subscribers_of(connection: Connection) -> list[Subscriber]:
    """The accounts in whose name presence may be subscribed to."""
    place = place_of(connection)
    first = await read_account(place)
    found = [Subscriber(AUTHORIZATION) if first is None else _subscriber(first)]
    return [*found, *(_subscriber(one) for one in await further_accounts(place))]


def _subscriber(account: Account) -> Subscriber:
    return Subscriber(account.key, account.object_id, account.signed_in_at, account.tenant_id)
