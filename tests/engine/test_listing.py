"""The list of synced objects: as the links are and as the runs told, whoever looks at it, whenever."""

import datetime
from typing import Any

import pytest

from store.links import Link
from store.listing import ListStore
from store.runs import RunStore
from sync.lifecycle import disconnect, pause
from sync.listing import BadToken, Order, Page, Row, listed
from sync.service import Bridge, request_run
from tests.engine.doom import Killed, is_killed
from tests.engine.world import World


async def rows(world: World, **options: object) -> list[Row]:
    return (await listed(world.connection, "users", **options)).rows  # type: ignore[arg-type]


async def by_name(world: World) -> dict[str, Row]:
    return {row.name: row for row in await rows(world, top=1000)}


async def ready(world: World, *names: str, **rules: object) -> list[str]:
    """The first sync of these people alone; answers their object ids."""
    for _, entity in list(world.microsoft.directory.live("user")):
        world.microsoft.directory.delete(entity)
    ids = [world.person(name) for name in names]
    await world.secrets()
    [message] = await world.enable(**rules)
    run = await world.execute(message)
    assert run.status == "succeeded", run
    return ids


async def requests_of(world: World, **options: object) -> int:
    before = world.connection.tables.traffic.requests
    await rows(world, **options)
    return world.connection.tables.traffic.requests - before


# What is in it


async def test_the_sample_tenant_is_listed_as_it_is_linked_and_as_its_run_skipped_it(world: World) -> None:
    await world.secrets()
    [message] = await world.enable()
    run = await world.execute(message)
    found = {row.object_id: row for row in await rows(world, top=1000)}
    links = {link.object_id: link for link in await world.links()}
    skipped = {item.object_id: item for item in await world.items(run) if item.outcome == "skipped"}
    assert set(found) == set(links) | set(skipped)
    for object_id, link in links.items():
        row = found[object_id]
        assert (row.state, row.name, row.number, row.changed_at) == ("linked", link.name, link.number, link.changed_at)
    for object_id, item in skipped.items():
        row = found[object_id]
        assert (row.state, row.outcome, row.reason, row.number) == ("skipped", "skipped", item.reason, "")


async def test_what_an_incremental_run_did_is_listed_and_costs_it_nothing(world: World) -> None:
    ann, bob, _ = await ready(world, "Ann", "Bob", "Cem")
    await world.settings(lambda document: document["guard"].update(max_deletion_percent=100))
    await rows(world)
    world.change_user(ann, displayName="Anna", givenName="Anna")
    world.delete_user(bob)
    world.person("Dia")
    before = world.connection.tables.traffic.by_table.get("lists", 0)
    run = await world.run(mode="incremental")
    assert world.connection.tables.traffic.by_table.get("lists", 0) == before
    found = await by_name(world)
    assert set(found) == {"Anna", "Cem", "Dia"}
    assert {row.number for row in found.values()} == {link.number for link in await world.links()}
    assert found["Anna"].run_id == run.id


async def test_a_failure_and_its_end_are_told(world: World) -> None:
    await ready(world, "Ann")
    await rows(world)
    world.licence(13)
    world.person("Bob")
    await world.run(mode="incremental")
    bob = (await by_name(world))["Bob"]
    assert (bob.state, bob.number) == ("skipped", "")
    assert bob.reason
    world.licence(500)
    await world.run()
    bob = (await by_name(world))["Bob"]
    assert (bob.state, bob.outcome) == ("linked", "done")
    assert bob.number in world.extensions()


async def test_who_is_not_wanted_any_more_leaves_the_list_with_the_next_full_run(world: World) -> None:
    ids = await ready(world, "Ann", "Bob", number={"kind": "property", "property": "employeeId", "start": 1000})
    assert {row.state for row in await rows(world)} == {"skipped"}
    world.delete_user(ids[0])
    await world.run()
    assert set(await by_name(world)) == {"Bob"}


async def test_what_is_held_says_so_until_it_is_not(world: World) -> None:
    ids = await ready(world, "Ann", "Bob")
    await world.settings(lambda document: document["guard"].update(max_deletions=0))
    world.delete_user(ids[0])
    await world.run()
    ann = (await by_name(world))["Ann"]
    assert (ann.state, ann.outcome) == ("linked", "held")
    assert ann.reason
    world.restore_user(ids[0])
    await world.run()
    assert (await by_name(world))["Ann"].outcome == "done"


async def test_a_user_who_is_released_is_listed_as_released(world: World) -> None:
    await ready(world, "Ann", "Bob")
    await rows(world)

    await world.settings(lambda document: document["users"].update(scope={"kind": "types", "user_types": ["Guest"]}))
    run = await world.run()
    assert run.counts["release.done"] == 2
    assert {row.state for row in await rows(world)} == {"released"}


async def test_groups_have_a_list_of_their_own(world: World) -> None:
    ann = world.person("Ann")
    world.group("Quokkas", ann)
    await world.first_sync()
    page = await listed(world.connection, "groups", search="quok")
    assert [(row.name, row.state) for row in page.rows] == [("Quokkas", "linked")]
    assert "Quokkas" not in await by_name(world)


async def test_a_preview_changes_nothing_in_it(world: World) -> None:
    await ready(world, "Ann")
    before = await rows(world)
    world.person("Bob")
    await world.run(preview=True)
    assert await rows(world) == before


# Interruptions


async def test_a_run_that_was_killed_between_its_links_and_its_items_is_listed_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def die(*_: object) -> int:
        raise Killed

    await ready(world, "Ann")
    await rows(world)
    world.person("Bob")
    run, message = await request_run(world.connection, world.tell(), started_by="api", mode="incremental")
    monkeypatch.setattr("store.leases.DURATION", datetime.timedelta(seconds=-5))
    with monkeypatch.context() as patch:
        patch.setattr(RunStore, "add_items", die)
        assert await is_killed(world, message)
    assert {link.name for link in await world.links()} == {"Ann", "Bob"}
    assert set(await by_name(world)) == {"Ann"}
    assert (await listed(world.connection, "users")).in_progress
    done = await world.execute(message, run.id)
    assert done.executions == 2
    assert set(await by_name(world)) == {"Ann", "Bob"}


async def test_deletions_that_were_asked_for_empty_it(world: World) -> None:
    await ready(world, "Ann", "Bob")
    await rows(world)
    started = await pause(world.connection, "users", world.tell(), delete=True)
    await world.execute(started.messages[0])
    assert await rows(world) == []


async def test_nobody_s_name_survives_a_disconnection(world: World) -> None:
    await ready(world, "Ann", "Bob", number={"kind": "property", "property": "employeeId", "start": 1000})
    assert len(await rows(world)) == 2
    await disconnect(world.connection, [], world.tell())
    assert (await ListStore(world.connection.tables, world.connection.id, "users").load())[0] is None
    assert await rows(world) == []


# Costs, and several who look


async def test_a_screenful_costs_two_requests_and_two_more_after_a_run_that_did_something(world: World) -> None:
    await ready(world, "Ann", "Bob")
    assert await requests_of(world) == 2
    await world.run(mode="incremental")
    assert await requests_of(world) == 2
    world.person("Cem")
    await world.run(mode="incremental")
    assert await requests_of(world) == 4
    assert await requests_of(world) == 2


async def test_another_instance_sees_the_same_without_making_it_anew(world: World) -> None:
    await ready(world, "Ann", "Bob")
    here = await rows(world)
    await world.bridge.close()
    world.bridge = Bridge(world.environment, now=world.tell)
    assert await requests_of(world) == 2
    assert await rows(world) == here


async def test_a_list_that_is_lost_or_broken_is_made_anew(world: World) -> None:
    await ready(world, "Ann", "Bob")
    before = await rows(world)
    store = ListStore(world.connection.tables, world.connection.id, "users")
    for text in (b"no list", b'{"rows":[["too short"]]}'):
        _, etag = await store.load()
        assert await store.save(text, etag)
        assert await rows(world) == before
        assert await requests_of(world) == 2
    await world.connection.tables.clear("lists", f"{world.id}-users")
    assert await rows(world) == before


async def test_who_saves_second_does_not_overwrite_the_first(world: World) -> None:
    store = ListStore(world.connection.tables, world.connection.id, "users")
    assert await store.save(b"first", "")
    assert not await store.save(b"second", "")
    text, etag = await store.load()
    assert text == b"first"
    assert await store.save(b"third" * 500_000, etag)
    assert not await store.save(b"fourth", etag)
    assert (await store.load())[0] == b"third" * 500_000


# Pages


async def filled(world: World, number: int = 25) -> list[str]:
    """Links without extensions, enough for several pages."""
    links = [
        Link(
            object_id=f"{index:08}-0000-4000-8000-000000000000",
            name=f"{'éa'[index % 2]}{'Bc'[index % 3 == 0]} Person {index:02}",
            number=str(995 + index),
            user_principal_name=f"p{index}@contoso.example",
            state="released" if index % 5 == 0 else "linked",
            changed_at=f"2026-03-{1 + index % 7:02}T00:00:00+00:00",
        )
        for index in range(number)
    ]
    await world.connection.links("users").write(save=links)
    return [link.object_id for link in links]


@pytest.mark.parametrize("descending", [False, True], ids=["up", "down"])
@pytest.mark.parametrize("order", ["name", "number", "state", "changed"])
async def test_pages_hold_everybody_once_and_in_order(world: World, order: Order, descending: bool) -> None:
    ids = await filled(world)
    whole = (await listed(world.connection, "users", order=order, descending=descending, top=100)).rows
    found: list[Row] = []
    after: str | None = ""
    while after is not None:
        page = await listed(world.connection, "users", order=order, descending=descending, after=after, top=4)
        assert page.total == 25
        found, after = found + page.rows, page.after
    assert found == whole
    assert sorted(row.object_id for row in found) == ids
    keys: dict[Order, list[Any]] = {
        "name": [row.name.casefold() for row in found],
        "number": [int(row.number) for row in found],
        "state": [row.state for row in found],
        "changed": [row.changed_at for row in found],
    }
    assert keys[order] == sorted(keys[order], reverse=descending)


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("éB PERSON 04", {4}), ("person 0", set(range(10))), ("P7@", {7}), ("1000", {5}), ("  Person   12 ", {12}),
        ("erson", set()), ("", set(range(25))),
    ],
)  # fmt: skip
async def test_a_search_is_the_beginning_of_a_word_of_a_user_name_or_of_a_number(
    world: World, search: str, found: set[int]
) -> None:
    await filled(world)
    page = await listed(world.connection, "users", search=search, top=100)
    assert {int(row.object_id[:8]) for row in page.rows} == found
    assert page.total == len(found)


async def test_filters_count_what_fits_and_tell_how_much_of_each_state_there_is(world: World) -> None:
    await filled(world)
    page: Page = await listed(world.connection, "users", state="released", top=3)
    assert [row.state for row in page.rows] == ["released"] * 3
    assert (page.total, page.states) == (5, {"released": 5, "linked": 20})
    assert (await listed(world.connection, "users", outcome="failed")).total == 0
    assert not page.in_progress


@pytest.mark.parametrize("token", ["x", "bm8=", "WzFd", "WyJhIiwxXQ=="])
async def test_a_token_that_no_page_gave_is_refused(world: World, token: str) -> None:
    with pytest.raises(BadToken, match="first one"):
        await listed(world.connection, "users", after=token)


async def test_a_page_does_not_slip_when_somebody_before_it_goes(world: World) -> None:
    ids = await ready(world, "Ann", "Bob", "Cem", "Dia")
    first = await listed(world.connection, "users", top=2)
    world.delete_user(ids[0])
    await world.run(mode="incremental")
    second = await listed(world.connection, "users", top=2, after=first.after)
    assert [row.name for row in second.rows] == ["Cem", "Dia"]
