"""Links, cursors, runs, health and the shared token text."""

import asyncio
import datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from store import health
from store.cursors import Cursor, CursorStore
from store.errors import Changed, InvalidRecord
from store.health import Health, HealthStore, Reason
from store.links import Link, LinkStore
from store.runs import Run, RunItem, RunStore, run_id
from store.tables import Row, Tables, long_text
from store.tokens import TokenStore

NOW = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)


def object_id(number: int) -> str:
    return f"{number:08x}-aaaa-4aaa-8aaa-aaaaaaaaaaaa"


def link(number: int, **more: Any) -> Link:
    return Link(object_id=object_id(number), pbx_id=number, number=str(1000 + number), **more)


def run(number: int = 0, **more: Any) -> Run:
    moment = NOW + datetime.timedelta(seconds=number)
    return Run(
        id=run_id(moment, "abcd"),
        what=["users"],
        mode="full",
        started_by="api",
        requested_at=moment.isoformat(),
        **more,
    )


# Links


@pytest.fixture
def links(tables: Tables, connection: str) -> LinkStore:
    return LinkStore(tables, connection, "users")


async def test_a_link_is_found_by_its_object_id_in_any_case(links: LinkStore) -> None:
    saved = link(10, written={"first_name": "Zoë"}, state="intent")
    await links.write([saved])
    assert await links.get(object_id(10)) == saved
    assert await links.get(object_id(10).upper()) == saved
    assert await links.get(object_id(11)) is None


async def test_links_are_saved_and_removed_in_one_go(links: LinkStore) -> None:
    await links.write([link(1), link(2), link(3)])
    await links.write([link(4), link(2, name="changed")], remove=[object_id(1), object_id(3).upper()])
    assert [(one.number, one.name) async for one in links.all()] == [("1002", "changed"), ("1004", "")]


async def test_removing_a_link_that_is_not_there_fails_its_transaction(links: LinkStore) -> None:
    with pytest.raises(InvalidRecord):
        await links.write([link(1)], remove=[object_id(2)])
    assert [one async for one in links.all()] == []


async def test_links_are_found_by_their_numbers(links: LinkStore, tables: Tables) -> None:
    await links.write([link(number) for number in range(40)])
    before = tables.traffic.by_table["links"]
    found = await links.numbered(f"{number}" for number in range(1035, 1050))
    assert sorted(one.number for one in found) == ["1035", "1036", "1037", "1038", "1039"]
    assert tables.traffic.by_table["links"] - before == 2
    assert await links.numbered([]) == []


async def test_some_links_cost_a_request_for_each_fourteen(links: LinkStore, tables: Tables) -> None:
    await links.write([link(number) for number in range(40)])
    before = tables.traffic.by_table["links"]
    wanted = [object_id(number).upper() for number in range(5, 45)]
    assert [one.pbx_id for one in await links.some([*wanted, *wanted])] == list(range(5, 40))
    assert tables.traffic.by_table["links"] - before <= 3 * 2
    assert await links.some([]) == []


async def test_links_go_on_behind_an_object_id(links: LinkStore) -> None:
    await links.write([link(number) for number in range(5)])
    assert [one.pbx_id async for one in links.after(object_id(2).upper())] == [3, 4]
    assert [one.pbx_id async for one in links.after("")] == [0, 1, 2, 3, 4]


async def test_links_of_other_kinds_and_connections_are_apart(tables: Tables, connection: str) -> None:
    await LinkStore(tables, connection, "users").write([link(1)])
    assert [one async for one in LinkStore(tables, connection, "groups").all()] == []
    assert [one async for one in LinkStore(tables, f"{connection}2", "users").all()] == []


async def test_a_link_that_does_not_decode_is_named(links: LinkStore, tables: Tables, connection: str) -> None:
    await tables.upsert("links", Row(f"{connection}-users", object_id(1), long_text("{")))
    with pytest.raises(InvalidRecord, match=object_id(1)):
        await links.get(object_id(1))


# Cursors


async def test_a_cursor_is_kept_until_it_is_cleared(tables: Tables, connection: str) -> None:
    cursors = CursorStore(tables, connection)
    cursor = Cursor(link="https://g/v1.0/users/delta?$deltatoken=x", selected="id", scope="s", made_at="t", retry=["a"])
    assert await cursors.load("users") is None
    await cursors.save("users", cursor)
    assert await cursors.load("users") == cursor
    assert await cursors.load("groups") is None
    await cursors.clear("users")
    await cursors.clear("users")
    assert await cursors.load("users") is None


async def test_a_cursor_of_another_version_means_reading_everything(tables: Tables, connection: str) -> None:
    await tables.upsert("cursors", Row(connection, "users", long_text('{"link": 1}')))
    assert await CursorStore(tables, connection).load("users") is None


async def test_a_cursor_takes_thousands_of_objects_to_look_at_again(tables: Tables, connection: str) -> None:
    cursor = Cursor(link="l" * 4000, selected="", scope="", made_at="", retry=[object_id(n) for n in range(10_000)])
    cursors = CursorStore(tables, connection)
    await cursors.save("users", cursor)
    assert await cursors.load("users") == cursor


# Runs


@pytest.fixture
def runs(tables: Tables, connection: str) -> RunStore:
    return RunStore(tables, connection)


async def test_runs_come_newest_first_in_pages(runs: RunStore) -> None:
    made = [run(number) for number in range(5)]
    for one in made:
        await runs.create(one)
    first = [one async for one in runs.newest(2)]
    assert first == [made[4], made[3]]
    assert [one async for one in runs.newest(2, after=first[-1].id)] == [made[2], made[1]]


async def test_a_run_is_saved_over_and_over(runs: RunStore) -> None:
    await runs.create(run())
    await runs.save(run(status="succeeded", counts={"create.done": 3}))
    assert await runs.get(run().id) == run(status="succeeded", counts={"create.done": 3})
    assert len([one async for one in runs.newest(10)]) == 1


@pytest.mark.parametrize("unknown", ["missing", "", "a/b", "x" * 2000, "\ud800", "%27 or 1 eq 1"])
async def test_an_id_that_names_no_run_finds_none(runs: RunStore, unknown: str) -> None:
    assert await runs.get(unknown) is None


async def test_items_keep_their_order_and_are_not_repeated(runs: RunStore, connection: str) -> None:
    items = [RunItem(operation="create", outcome="done", object_id=object_id(n)) for n in range(130)]
    assert await runs.add_items(connection, 0, items[:120]) == 120
    assert await runs.add_items(connection, 110, items[110:]) == 130
    stored = [item async for item in runs.items(connection)]
    assert [item.number for item in stored] == list(range(130))
    assert [item.object_id for item in stored] == [item.object_id for item in items]
    assert [item.number async for item in runs.items(connection, after=126)] == [127, 128, 129]


@pytest.mark.parametrize("first_rows", [1, 2, 3, 9, 12, 13, 1000])
async def test_items_are_the_same_in_however_many_requests_they_are_read(
    runs: RunStore, tables: Tables, connection: str, first_rows: int
) -> None:
    for number in range(12):
        await runs.add_items(connection, number, [RunItem(operation="create", outcome="done", object_id=f"{number}")])
    before = tables.traffic.by_table["runitems"]
    assert (await anext(runs.items(connection, first_rows=first_rows))).number == 0
    assert tables.traffic.by_table["runitems"] - before == 1
    for after in (-1, 5, 11):
        found = [item.number async for item in runs.items(connection, after=after, first_rows=first_rows)]
        assert found == list(range(after + 1, 12))


@pytest.mark.parametrize("kind", ["run", "item"])
async def test_a_record_of_a_run_that_does_not_decode_is_an_invalid_record(
    runs: RunStore, tables: Tables, connection: str, kind: str
) -> None:
    await tables.upsert({"run": "runs", "item": "runitems"}[kind], Row(connection, "00000001", long_text("{")))
    found = runs.newest(1) if kind == "run" else runs.items(connection)
    with pytest.raises(InvalidRecord, match="00000001"):
        await anext(found)


@given(st.integers(0, 10**11), st.integers(1, 10**9))
def test_a_later_run_has_a_smaller_id(milliseconds: int, apart: int) -> None:
    earlier = NOW + datetime.timedelta(milliseconds=milliseconds)
    later = earlier + datetime.timedelta(milliseconds=apart)
    assert run_id(later, "zz") < run_id(earlier, "aa")
    assert len(run_id(later, "")) == len(run_id(earlier, ""))


# Health


async def test_twenty_changes_of_the_health_at_once_are_all_kept(
    tables: Tables, connection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "TRIES", 100)
    stores = [HealthStore(tables, connection) for _ in range(20)]
    await asyncio.gather(
        *(store.update(lambda old: msgspec.structs.replace(old, failures=old.failures + 1)) for store in stores)
    )
    assert (await stores[0].load()).failures == 20


async def test_health_that_does_not_change_is_not_written(tables: Tables, connection: str) -> None:
    store = HealthStore(tables, connection)
    assert await store.load() == Health()
    reason = Reason(code="c", message="m")
    await store.update(lambda old: msgspec.structs.replace(old, reasons=[reason]))
    before = await tables.get("settings", connection, "health")
    assert (await store.update(lambda old: old)).reasons == [reason]
    assert await tables.get("settings", connection, "health") == before


async def test_health_that_always_changes_meanwhile_gives_up(
    tables: Tables, connection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, rival = HealthStore(tables, connection), HealthStore(tables, connection)
    await rival.update(lambda old: msgspec.structs.replace(old, failures=1))
    tries = 0

    def late(old: Health) -> Health:
        nonlocal tries
        tries += 1
        return msgspec.structs.replace(old, last_run=f"{tries}")

    async def replace(*_: object) -> str:
        raise Changed("always")

    monkeypatch.setattr(Tables, "replace", replace)
    with pytest.raises(Changed, match="all the time"):
        await store.update(late)
    assert tries == health.TRIES


# The shared text of a gateway


async def test_a_shared_text_is_swapped_only_by_who_read_the_latest(tables: Tables, connection: str) -> None:
    one, two = TokenStore(tables, connection, "pbx"), TokenStore(tables, connection, "pbx")
    assert await one.read() == ("", "")
    etag = await one.swap("first", "")
    assert etag
    assert await two.swap("rival", "") is None
    assert await two.read() == ("first", etag)
    assert await two.swap("second", etag)
    assert await one.swap("late", etag) is None
    assert (await one.read())[0] == "second"


async def test_of_twenty_swaps_at_once_one_succeeds(tables: Tables, connection: str) -> None:
    store = TokenStore(tables, connection, "pbx")
    etags = await asyncio.gather(*(store.swap(f"{index}", "") for index in range(20)))
    assert len([etag for etag in etags if etag]) == 1
