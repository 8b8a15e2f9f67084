"""Announced changes, reported extensions, and the records of subscriptions."""

import asyncio
import datetime

import msgspec
import pytest

from store.changes import TABLE, Batch, ChangeStore, Event, Fired, PbxEventStore
from store.cursors import Cursor, CursorStore
from store.errors import Changed, InvalidRecord, StoreUnavailable
from store.subscriptions import Subscription, SubscriptionStore
from store.tables import Row, Tables, long_text

NOW = datetime.datetime(2026, 3, 2, 9, tzinfo=datetime.UTC)
MARK = Fired(NOW.isoformat(), "run-1")


def event(number: int, **more: bool) -> Event:
    return Event("users", f"object-{number}", f"mark-{number}", **more)


def later(seconds: float) -> datetime.datetime:
    return NOW + datetime.timedelta(seconds=seconds)


# The batch


@pytest.fixture
def changes(tables: Tables, connection: str) -> ChangeStore:
    return ChangeStore(tables, connection)


async def test_all_events_of_a_request_are_one_row_and_one_write(changes: ChangeStore, tables: Tables) -> None:
    await changes.add([event(0)], NOW)
    before = tables.traffic.requests
    await changes.add([event(number) for number in range(1, 1001)], later(1))
    assert tables.traffic.requests == before + 1
    batch = await changes.batch()
    assert tables.traffic.requests == before + 2
    assert [len(row.events) for row in batch.rows] == [1, 1000]
    assert (batch.distinct(), batch.opened_at) == (1001, NOW.isoformat(timespec="milliseconds"))


async def test_the_same_announcement_twice_counts_once(changes: ChangeStore) -> None:
    await changes.add([event(1), event(2)], NOW)
    await changes.add([event(2), event(3)], later(1))
    assert (await changes.batch()).distinct() == 3


async def test_an_event_that_was_looked_at_does_not_fill_the_batch(changes: ChangeStore) -> None:
    await changes.add([event(1, looked=True), event(2)], NOW)
    batch = await changes.batch()
    assert batch.distinct() == 1
    assert {mark: found.looked for mark, found in batch.events().items()} == {"mark-1": True, "mark-2": False}


async def test_the_head_of_a_batch_shows_the_mark_and_the_oldest_events(changes: ChangeStore) -> None:
    for number in range(5):
        await changes.add([event(number)], later(number))
    assert await changes.mark_fired(MARK)
    head = await changes.batch(top=2)
    assert head.fired is not None
    assert head.fired.run == "run-1"
    assert [row.events[0].mark for row in head.rows] == ["mark-0"]


async def test_of_many_who_mark_the_batch_at_once_one_does(changes: ChangeStore) -> None:
    outcomes = await asyncio.gather(*(changes.mark_fired(Fired(NOW.isoformat(), f"run-{n}")) for n in range(5)))
    assert sorted(outcomes) == [False, False, False, False, True]


async def test_a_mark_is_replaced_once(changes: ChangeStore) -> None:
    await changes.mark_fired(MARK)
    stale = (await changes.batch()).fired
    assert stale is not None
    again = msgspec.structs.replace(stale, run="run-2", times=2)
    assert await changes.mark_fired(again)
    assert not await changes.mark_fired(again)
    found = (await changes.batch()).fired
    assert found is not None
    assert (found.run, found.times) == ("run-2", 2)


async def test_removing_a_batch_leaves_what_came_after_it_was_read(changes: ChangeStore) -> None:
    for number in range(150):
        await changes.add([event(number)], later(number))
    await changes.mark_fired(MARK)
    batch = await changes.batch()
    await changes.add([event(7)], later(200))
    await changes.remove(batch, [event(3, looked=True)], later(300))
    left = await changes.batch()
    assert left.fired is None
    assert [(row.at, row.events) for row in left.rows] == [
        (later(200).isoformat(timespec="milliseconds"), (event(7),)),
        (later(300).isoformat(timespec="milliseconds"), (event(3, looked=True),)),
    ]


async def test_a_mark_that_was_set_after_the_batch_was_read_stays(changes: ChangeStore) -> None:
    await changes.mark_fired(MARK)
    batch = await changes.batch()
    assert batch.fired is not None
    await changes.mark_fired(msgspec.structs.replace(batch.fired, run="run-2"))
    await changes.remove(batch, [], NOW)
    left = (await changes.batch()).fired
    assert left is not None
    assert left.run == "run-2"


async def test_a_batch_that_was_removed_in_part_is_removed_to_its_end(changes: ChangeStore, tables: Tables) -> None:
    for number in range(3):
        await changes.add([event(number)], later(number))
    batch = await changes.batch()
    await changes.remove(Batch(batch.rows[1:2]), [], NOW)
    await changes.remove(batch, [], NOW)
    assert await changes.batch() == Batch()


async def test_a_batch_that_does_not_decode_is_named(changes: ChangeStore, tables: Tables, connection: str) -> None:
    await tables.create(TABLE, Row(f"{connection}-directory", "1-0", {"at": "", **long_text("{")}))
    with pytest.raises(InvalidRecord, match="1-0"):
        await changes.batch()


async def test_connections_do_not_see_each_other(changes: ChangeStore, tables: Tables, connection: str) -> None:
    await changes.add([event(1)], NOW)
    assert await ChangeStore(tables, f"{connection}x").batch() == Batch()


async def test_storage_that_does_not_answer_is_told(dead_tables: Tables, connection: str) -> None:
    with pytest.raises(StoreUnavailable):
        await ChangeStore(dead_tables, connection).add([event(1)], NOW)


# Extensions that the PBX reported


@pytest.fixture
def reported(tables: Tables, connection: str) -> PbxEventStore:
    return PbxEventStore(tables, connection)


async def test_an_extension_is_noted_once_however_often_it_is_reported(reported: PbxEventStore) -> None:
    for number in ("1001", "1002", "1001"):
        await reported.add(number, NOW)
    assert [one.number for one in await reported.some(10)] == ["1001", "1002"]
    assert [one.number for one in await reported.some(1)] == ["1001"]


async def test_an_extension_that_is_reported_again_meanwhile_stays_noted(reported: PbxEventStore) -> None:
    for number in ("1001", "1002", "1003"):
        await reported.add(number, NOW)
    read = await reported.some(10)
    await reported.add("1002", later(1))
    await reported.remove(read)
    assert [one.number for one in await reported.some(10)] == ["1002"]
    await reported.remove(read)
    assert [one.number for one in await reported.some(10)] == ["1002"]


# Subscriptions


@pytest.fixture
def subscriptions(tables: Tables, connection: str) -> SubscriptionStore:
    return SubscriptionStore(tables, connection)


USERS = Subscription(resource="users", state="asked", client_state="s" * 43, expires_at="2026-03-05T09:00:00Z")


async def test_all_records_are_read_with_one_request(subscriptions: SubscriptionStore, tables: Tables) -> None:
    kept = await subscriptions.save(USERS)
    await subscriptions.save(msgspec.structs.replace(USERS, resource="groups"))
    before = tables.traffic.requests
    found = await subscriptions.all()
    assert tables.traffic.requests == before + 1
    assert set(found) == {"users", "groups"}
    assert found["users"] == kept


async def test_of_two_who_begin_at_once_one_does(subscriptions: SubscriptionStore) -> None:
    outcomes = await asyncio.gather(subscriptions.save(USERS), subscriptions.save(USERS), return_exceptions=True)
    assert sum(isinstance(outcome, Changed) for outcome in outcomes) == 1


async def test_a_record_that_changed_is_not_overwritten(subscriptions: SubscriptionStore) -> None:
    kept = await subscriptions.save(USERS)
    await subscriptions.save(msgspec.structs.replace(USERS, state="live"), kept.etag)
    with pytest.raises(Changed):
        await subscriptions.save(msgspec.structs.replace(USERS, state="gone"), kept.etag)


async def test_an_update_sees_the_newest_record_and_may_decline(subscriptions: SubscriptionStore) -> None:
    assert await subscriptions.update("users", lambda record: record) is None
    await subscriptions.save(USERS)
    bumps = [
        subscriptions.update("users", lambda record: msgspec.structs.replace(record, failures=record.failures + 1))
        for _ in range(4)
    ]
    await asyncio.gather(*bumps)
    assert (await subscriptions.all())["users"].record.failures == 4
    assert await subscriptions.update("users", lambda _: None) is None


async def test_a_removed_record_is_gone_and_may_be_removed_again(subscriptions: SubscriptionStore) -> None:
    await subscriptions.save(USERS)
    await subscriptions.remove("users")
    await subscriptions.remove("users")
    assert await subscriptions.all() == {}


def test_the_client_state_is_in_no_text() -> None:
    assert "sss" not in f"{USERS} {USERS!r}"


# The cursor


async def test_a_cursor_is_changed_by_many_and_loses_nothing(tables: Tables, connection: str) -> None:
    cursors = CursorStore(tables, connection)
    assert await cursors.update("users", lambda cursor: cursor) is None
    await cursors.save("users", Cursor(link="l", selected="id", scope="s", made_at="t"))

    async def add(name: str) -> None:
        await cursors.update("users", lambda cursor: msgspec.structs.replace(cursor, retry=[*cursor.retry, name]))

    await asyncio.gather(*(add(name) for name in "abcd"))
    found = await cursors.load("users")
    assert found is not None
    assert sorted(found.retry) == ["a", "b", "c", "d"]
