"""The presence of users in storage: batches, lost races, and what is pending."""

import asyncio
import uuid
from collections.abc import Iterable

import msgspec
import pytest

from store.errors import Changed, InvalidRecord
from store.presence import Clock, Preference, PresenceStore, Teams, UserPresence
from store.shelf import Shelf
from store.tables import Row, Tables, Write


@pytest.fixture
def store(tables: Tables, connection: str) -> PresenceStore:
    return PresenceStore(tables, connection)


def shows(name: str, *, is_pending: bool = True, heard_at: str = "") -> "Shows":
    return Shows(name, is_pending, heard_at)


class Shows:
    """A change that has a user show something, and counts how often it is asked."""

    def __init__(self, name: str, is_pending: bool, heard_at: str) -> None:
        self.name, self.is_pending, self.heard_at = name, is_pending, heard_at
        self.asked = 0

    def __call__(self, key: str, before: UserPresence | None) -> UserPresence:
        self.asked += 1
        row = before or UserPresence(object_id=key)
        teams = Teams(self.name, self.name)
        return msgspec.structs.replace(row, teams=teams, is_pending=self.is_pending, heard_at=self.heard_at)


async def test_a_record_comes_back_as_it_was_written(store: PresenceStore) -> None:
    full = UserPresence(
        object_id="a",
        pbx_id=7,
        number="1000",
        is_followed=True,
        preference=Preference(follows=True, map={"Busy": "lunch"}),
        teams=Teams("Busy", "InACall"),
        sequence="8",
        heard_at="2026-03-02T09:00:00.000+00:00",
        source="notification",
        changes=3,
        written="away",
        left="available",
    )
    await store.change(["A"], lambda _key, _before: full)
    assert await store.some(["a", "b"]) == {"a": full}
    assert await store.all() == {"a": full}


async def test_many_users_are_read_and_written_in_a_few_requests(store: PresenceStore, tables: Tables) -> None:
    ids = [f"user-{number:03}" for number in range(250)]
    await store.change(ids, shows("Away"))
    before = tables.traffic.requests
    saved = await store.change(ids, shows("Busy"))
    assert len(saved) == 250
    assert tables.traffic.requests - before <= 1 + 3
    assert {user.teams.activity for user in (await store.some(ids)).values()} == {"Busy"}


async def test_only_changed_records_are_written(store: PresenceStore, tables: Tables) -> None:
    await store.change(["a", "b"], shows("Away"))
    before = tables.traffic.requests
    saved = await store.change(["a", "b"], shows("Away"))
    assert (saved, tables.traffic.requests - before) == ([], 2), "each is read"


async def test_changes_at_the_same_time_all_count(store: PresenceStore) -> None:
    ids = [f"user-{number}" for number in range(20)]

    def count(key: str, before: UserPresence | None) -> UserPresence:
        row = before or UserPresence(object_id=key)
        return msgspec.structs.replace(row, changes=row.changes + 1)

    await asyncio.gather(*(store.change(ids[index : index + 12], count) for index in range(0, 9, 2)))
    counts = {key: user.changes for key, user in (await store.all()).items()}
    assert sum(counts.values()) == 5 * 12
    assert counts["user-8"] == 5


async def test_a_record_that_is_always_being_written_is_given_up(store: PresenceStore, tables: Tables) -> None:
    await store.change(["a"], shows("Away"))
    rivals = iter(range(100))
    inner = tables.write

    async def raced(table: str, writes: Iterable[Write]) -> list[str]:
        tables.write = inner  # type: ignore[method-assign]
        await store.change(["a"], shows(f"Rival {next(rivals)}"))
        tables.write = raced  # type: ignore[method-assign]
        return await inner(table, writes)

    tables.write = raced  # type: ignore[method-assign]
    with pytest.raises(Changed, match="all the time"):
        await store.change(["a"], shows("Busy"))


async def test_a_record_that_is_removed_meanwhile_is_made_anew(tables: Tables) -> None:
    connection = uuid.uuid4().hex
    one, other = PresenceStore(tables, connection, Shelf()), PresenceStore(tables, connection)
    await one.change(["a"], shows("Away"))
    await other.remove(["a"])
    [saved] = await one.change(["a"], shows("Busy"))
    assert saved == (await other.some(["a"]))["a"]
    assert saved.teams.activity == "Busy"


# The shelf


async def test_what_is_on_the_shelf_is_not_read_before_it_is_changed(tables: Tables) -> None:
    store = PresenceStore(tables, uuid.uuid4().hex, Shelf())
    ids = [f"user-{number}" for number in range(30)]
    await store.change(ids, shows("Away"))
    before = tables.traffic.requests
    assert len(await store.change(ids, shows("Busy"))) == 30
    assert tables.traffic.requests - before == 1
    assert len(await store.some(ids, shelved=True)) == 30
    assert tables.traffic.requests - before == 1


async def test_what_somebody_else_changed_is_found_out_when_it_is_written(tables: Tables) -> None:
    connection = uuid.uuid4().hex
    one, other = PresenceStore(tables, connection, Shelf()), PresenceStore(tables, connection, Shelf())

    def count(key: str, before: UserPresence | None) -> UserPresence:
        row = before or UserPresence(object_id=key)
        return msgspec.structs.replace(row, changes=row.changes + 1)

    for store in (one, other, one, one, other):
        await store.change(["a", "b"], count)
    assert {user.changes for user in (await one.all()).values()} == {5}


async def test_that_nothing_is_to_change_is_believed_of_storage_only(tables: Tables) -> None:
    connection = uuid.uuid4().hex
    one, other = PresenceStore(tables, connection, Shelf()), PresenceStore(tables, connection, Shelf())
    await one.change(["a"], shows("Away"))
    await other.change(["a"], shows("Busy"))
    [saved] = await one.change(["a"], shows("Away"))
    assert saved.teams.activity == "Away"
    assert (await other.some(["a"]))["a"] == saved


async def test_every_decision_makes_another_edition(store: PresenceStore) -> None:
    editions = {await store.edition()}
    for _ in range(3):
        await store.new_edition()
        editions.add(await store.edition())
    assert len(editions) == 4


async def test_what_is_pending_is_found_newest_first(store: PresenceStore) -> None:
    await store.change(["a"], shows("Away", heard_at="2026-03-02T09:00:01"))
    await store.change(["b"], shows("Away", heard_at="2026-03-02T09:00:02"))
    await store.change(["c"], shows("Away", is_pending=False))
    assert [user.object_id for user in await store.pending()] == ["b", "a"]


async def test_one_of_two_gets_the_clock(store: PresenceStore) -> None:
    first = await store.clock()
    assert first.clock == Clock()
    assert await store.set_clock(Clock(polled_at="1"), first.etag)
    assert not await store.set_clock(Clock(polled_at="2"), first.etag)
    second = await store.clock()
    assert await store.set_clock(Clock(polled_at="3"), second.etag)
    assert not await store.set_clock(Clock(polled_at="4"), second.etag)
    assert (await store.clock()).clock.polled_at == "3"


async def test_removed_users_are_forgotten_and_missing_ones_are_no_error(store: PresenceStore) -> None:
    await store.change(["a", "b"], shows("Away"))
    await store.remove(["a", "missing"])
    assert set(await store.all()) == {"b"}
    await store.clear()
    assert await store.all() == {}


async def test_a_broken_record_is_named(store: PresenceStore, tables: Tables, connection: str) -> None:
    await tables.upsert("presence", Row(f"{connection}-users", "a", {"data": "{"}))
    with pytest.raises(InvalidRecord, match="presence a"):
        await store.some(["a"])
