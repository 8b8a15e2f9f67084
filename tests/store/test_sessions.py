"""Sessions, the authorization account and used states, where several processes write at once."""

import asyncio
import datetime

import msgspec
import pytest

from store.errors import InvalidRecord
from store.sessions import SWEPT, AccountRecord, AttemptStore, SessionRecord, SessionStore, UsedStates, session_id
from store.tables import Row, Tables

NOW = datetime.datetime(2026, 3, 2, 9, 0, tzinfo=datetime.UTC)
ACCOUNT = AccountRecord(
    tenant_id="t",
    object_id="o",
    name="Noor",
    user_principal_name="n@x",
    signed_in_at=NOW.isoformat(),
    token_version="1",
)


def session(session_id: str, ends: datetime.datetime = NOW) -> SessionRecord:
    return SessionRecord(
        id=session_id,
        name="Noor",
        account="t:o",
        role="admin",
        basis="account",
        csrf="c",
        started_at=NOW.isoformat(),
        ends_at=ends.isoformat(),
    )


async def test_a_session_and_the_account_come_in_one_read(tables: Tables, connection: str) -> None:
    store = SessionStore(tables, connection)
    assert await store.load("a") == (None, None)
    await store.add(session("a"))
    assert await store.load("a") == (session("a"), None)
    await store.save_account(ACCOUNT)
    before = tables.traffic.requests
    assert await store.load("a") == (session("a"), ACCOUNT)
    assert tables.traffic.requests == before + 1
    assert await store.load("b") == (None, ACCOUNT)


async def test_ending_all_sessions_keeps_the_account(tables: Tables, connection: str) -> None:
    store = SessionStore(tables, connection)
    await store.save_account(ACCOUNT)
    for name in "abc":
        await store.add(session(name))
    await store.end("a")
    await store.end("a")
    assert (await store.load("a"))[0] is None
    await store.end_all()
    assert [await store.load(name) for name in "bc"] == [(None, ACCOUNT)] * 2


async def test_only_sessions_whose_time_is_over_are_swept(tables: Tables, connection: str) -> None:
    store = SessionStore(tables, connection)
    over, live = (session_id(NOW + datetime.timedelta(milliseconds=after)) for after in (0, 1))
    await store.save_account(ACCOUNT)
    await store.save_account(ACCOUNT, "b2")
    await store.add(session(over, NOW))
    await store.add(session(live, NOW + datetime.timedelta(milliseconds=1)))
    await store.sweep(NOW)
    assert await store.load(over) == (None, ACCOUNT)
    assert (await store.load(live))[0] is not None
    assert await store.further_accounts() == [ACCOUNT]


async def test_a_sweep_does_not_read_those_who_are_signed_in(tables: Tables, connection: str) -> None:
    store = SessionStore(tables, connection)
    for number in range(50):
        await store.add(session(session_id(NOW + datetime.timedelta(hours=number - 29))))
    before = tables.traffic.requests
    await store.sweep(NOW)
    assert tables.traffic.requests == before + 1 + SWEPT, "one read, and as many deletions as one who signs in makes"
    await store.sweep(NOW)
    await store.sweep(NOW)
    rows = [row async for row in tables.query("sessions", connection)]
    assert len(rows) == 20


def test_the_id_of_a_session_is_a_secret_of_its_own() -> None:
    assert len({session_id(NOW) for _ in range(100)}) == 100
    assert session_id(NOW) < session_id(NOW + datetime.timedelta(milliseconds=1))


async def test_of_two_who_change_the_account_one_wins(tables: Tables, connection: str) -> None:
    store = SessionStore(tables, connection)
    await store.save_account(ACCOUNT)
    _, etag = await store.account()
    changed = [msgspec.structs.replace(ACCOUNT, token_version=version) for version in "23"]
    won = await asyncio.gather(*(store.replace_account(record, etag) for record in changed))
    assert sorted(won) == [False, True]
    found, _ = await store.account()
    assert found == changed[won.index(True)]


async def test_a_forgotten_account_cannot_be_changed_back(tables: Tables, connection: str) -> None:
    store = SessionStore(tables, connection)
    await store.save_account(ACCOUNT)
    _, etag = await store.account()
    await store.forget_account()
    assert not await store.replace_account(ACCOUNT, etag)
    assert await store.account() == (None, "")


async def test_accounts_stand_beside_each_other_and_beside_sessions(tables: Tables, connection: str) -> None:
    store = SessionStore(tables, connection)
    further = {key: msgspec.structs.replace(ACCOUNT, object_id=key) for key in ("a1", "b2")}
    await store.save_account(ACCOUNT)
    await store.add(session("a1"))
    for key, record in further.items():
        await store.save_account(record, key.upper())
    assert await store.further_accounts() == list(further.values())
    found, etag = await store.account("A1")
    assert found == further["a1"]
    changed = msgspec.structs.replace(further["a1"], token_version="2")
    assert await store.replace_account(changed, etag, "a1")
    await store.end_all()
    await store.forget_account("b2")
    assert await store.further_accounts() == [changed]
    assert (await store.account())[0] == ACCOUNT


async def test_a_state_is_used_once(tables: Tables, connection: str) -> None:
    used = UsedStates(tables, connection)
    outcomes = await asyncio.gather(*(used.use("state", NOW) for _ in range(5)))
    assert sorted(outcomes) == [False] * 4 + [True]
    assert await used.use("another", NOW)


async def test_used_states_stay_as_long_as_they_could_come_back(tables: Tables, connection: str) -> None:
    used = UsedStates(tables, connection)
    await used.use("state", NOW)
    await used.sweep(NOW)
    assert not await used.use("state", NOW)
    await used.sweep(NOW + datetime.timedelta(milliseconds=1))
    assert await used.use("state", NOW)


async def test_attempts_are_those_of_a_while(tables: Tables, connection: str) -> None:
    store = AttemptStore(tables, connection)
    keys = [await store.add("192.0.2.1", NOW + datetime.timedelta(minutes=minute)) for minute in range(3)]
    assert [item.key for item in await store.since(NOW)] == keys
    await store.remove(keys[1])
    await store.sweep(NOW + datetime.timedelta(minutes=1))
    assert [item.key for item in await store.since(NOW)] == keys[2:]


async def test_a_record_that_does_not_decode_is_named(tables: Tables, connection: str) -> None:
    await tables.upsert("sessions", Row(connection, "account", {"data": "{"}))
    with pytest.raises(InvalidRecord, match="account"):
        await SessionStore(tables, connection).account()
