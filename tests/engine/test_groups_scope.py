"""Users chosen by groups, in incremental runs: who enters or leaves such a group is no change of the user's own."""

from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest
from tenacity import wait_none

from local.azurite import Azurite
from local.emulator import Fault
from local.tls import ServerCertificate
from store.runs import Run
from sync.status import read_status
from tests.engine.world import World, empty_world


@pytest.fixture
async def world(
    azurite: Azurite, certificate: ServerCertificate, signing_keys: list[dict[str, str]]
) -> AsyncIterator[World]:
    async with empty_world(azurite, certificate, signing_keys) as world:
        yield world


class Office(NamedTuple):
    """Six people, of whom the first two are in the group of the scope and the third in one nested in it."""

    world: World
    people: list[str]
    staff: str
    inner: str


@pytest.fixture
async def office(world: World) -> Office:
    people = world.people(6)
    inner = world.group("Inner", people[2])
    staff = world.group("Staff", *people[:2], inner)
    await by_group(world, staff)
    assert list(world.extensions()) == ["1000", "1001", "1002"]
    return Office(world, people, staff, inner)


async def by_group(world: World, *group_ids: str, **rules: Any) -> None:
    """Users in these groups, on; the groups themselves not synced."""
    await world.secrets()
    await world.settings(lambda document: document["guard"].update(max_deletion_percent=100))
    scope = {"kind": "groups", "group_ids": list(group_ids)}
    [message] = await world.enable(**({"scope": scope, "delete_out_of_scope": True} | rules))
    assert (await world.execute(message)).status == "succeeded"


async def changes(world: World) -> Run:
    """An incremental run, after which the next finds nothing to do."""
    run = await world.run(mode="incremental")
    again = await world.run(mode="incremental")
    assert (again.status, again.items, again.requests["pbx_writes"]) == ("succeeded", 0, 0)
    return run


def single_reads(world: World) -> list[str]:
    """The users who were read one by one."""
    paths = [request.path for request in world.microsoft.requests]
    return [path.rsplit("/", 1)[1] for path in paths if path.startswith("/v1.0/users/") and "delta" not in path]


async def test_who_enters_the_group_gets_an_extension_and_who_leaves_it_loses_his(office: Office) -> None:
    world, people = office.world, office.people
    world.join(office.staff, people[3])
    world.leave(office.staff, people[0])
    world.microsoft.requests.clear()
    run = await changes(world)
    assert (run.counts["create.done"], run.counts["delete.done"], run.requests["graph"]) == (1, 1, 4)
    assert sorted(single_reads(world)) == sorted([people[0], people[3]])
    assert list(world.extensions()) == ["1001", "1002", "1003"]


async def test_who_is_in_the_scope_by_another_way_still_keeps_his_extension(office: Office) -> None:
    world, people = office.world, office.people
    world.join(office.inner, people[0])
    world.leave(office.staff, people[0])
    run = await changes(world)
    assert run.items == 0
    assert "1000" in world.extensions()


async def test_a_nested_group_brings_its_members_and_takes_them_along(office: Office) -> None:
    world, people = office.world, office.people
    world.join(office.inner, world.group("Innermost", people[3], people[4]))
    assert (await changes(world)).counts["create.done"] == 2
    world.leave(office.staff, office.inner)
    assert (await changes(world)).counts["delete.done"] == 3
    assert list(world.extensions()) == ["1000", "1001"]


async def test_a_nested_group_deleted_in_entra_takes_its_members_along(office: Office) -> None:
    world = office.world
    world.delete_group(office.inner)
    assert (await changes(world)).counts["delete.done"] == 1
    assert list(world.extensions()) == ["1000", "1001"]


async def test_circles_of_groups_are_followed_as_well(office: Office) -> None:
    world, people = office.world, office.people
    world.join(office.inner, office.staff)
    assert (await changes(world)).items == 0
    world.join(office.inner, people[3])
    assert (await changes(world)).counts["create.done"] == 1


async def test_a_change_of_somebody_outside_the_scope_is_nothing_to_do(office: Office) -> None:
    world, people = office.world, office.people
    world.group("Elsewhere", people[4])
    world.change_user(people[5], jobTitle="Changed")
    run = await changes(world)
    assert (run.items, run.counts["out_of_scope"]) == (0, 1)


async def test_more_people_than_are_read_one_by_one_are_read_in_one_go(office: Office) -> None:
    world = office.world
    newcomers = [world.person(f"Newcomer {index:03}") for index in range(201)]
    await world.run(mode="incremental")
    world.join(office.staff, *newcomers)
    world.microsoft.requests.clear()
    run = await changes(world)
    assert run.counts["create.done"] == 201
    assert single_reads(world) == []


@pytest.mark.parametrize("mode", ["full", "incremental"])
async def test_a_group_of_the_scope_that_is_suddenly_empty_is_held_by_the_guard(office: Office, mode: str) -> None:
    world, people = office.world, office.people
    world.leave(office.staff, *people[:2], office.inner)
    run = await world.run(mode=mode)
    assert run.counts["delete.held"] == 3
    assert list(world.extensions()) == ["1000", "1001", "1002"]
    assert (await world.run(mode="incremental")).counts["delete.held"] == 3
    world.join(office.staff, *people[:2], office.inner)
    await world.run(mode="incremental")
    assert (await world.run(mode="incremental")).items == 0
    assert list(world.extensions()) == ["1000", "1001", "1002"]


@pytest.mark.parametrize("mode", ["full", "incremental"])
async def test_a_group_of_the_scope_that_is_deleted_stops_the_run_and_changes_nothing(
    office: Office, mode: str
) -> None:
    world = office.world
    before, users = world.extensions(), await world.connection.cursors.load("users")
    world.delete_group(office.staff)
    for _ in range(2):
        run = await world.run(mode=mode)
        assert run.fault is not None
        assert (run.status, run.fault.code) == ("failed", "scope_group_missing")
    assert world.extensions() == before
    assert await world.connection.cursors.load("users") == users
    status = await read_status(world.connection, world.tell())
    assert [reason.code for reason in status.reasons] == ["scope_group_missing"]


async def test_a_lost_cursor_of_groups_loses_nobody(office: Office) -> None:
    world, people = office.world, office.people
    world.join(office.staff, people[3])
    world.leave(office.staff, people[0])
    await world.connection.cursors.clear("groups")
    await changes(world)
    assert list(world.extensions()) == ["1001", "1002", "1003"]


async def test_a_lost_mirror_loses_nobody(office: Office) -> None:
    world, people = office.world, office.people
    world.join(office.staff, people[3])
    world.leave(office.staff, people[0])
    await world.connection.groups.write(remove=[office.staff, office.inner])
    await changes(world)
    assert list(world.extensions()) == ["1001", "1002", "1003"]


async def test_a_user_who_fails_is_tried_again_though_neither_he_nor_the_group_changed(office: Office) -> None:
    world, people = office.world, office.people
    world.join(office.staff, people[3])
    world.pbx.faults.append(Fault("errcode", path="*/extension/create", options={"errcode": 40002}))
    assert (await world.run(mode="incremental")).counts["create.failed"] == 1
    assert (await changes(world)).counts["create.done"] == 1


# Together with groups that are synced


@pytest.fixture
async def both(world: World) -> Office:
    """As ``office``, and groups are synced as well."""
    people = world.people(6)
    inner = world.group("Inner", people[2])
    staff = world.group("Staff", *people[:2], inner)
    await world.first_sync(users={"scope": {"kind": "groups", "group_ids": [staff]}, "delete_out_of_scope": True})
    return Office(world, people, staff, inner)


async def test_extension_and_membership_come_and_go_in_the_same_run(both: Office) -> None:
    world, people = both.world, both.people
    elsewhere = world.group("Elsewhere", people[0], people[3])
    await world.sync(mode="incremental")
    assert dict(world.pbx_groups())["Elsewhere"] == ["1000"]
    world.join(both.inner, people[3])
    world.leave(both.staff, people[0])
    run = await world.sync(mode="incremental")
    assert (run.counts["create.done"], run.counts["delete.done"]) == (1, 1)
    assert world.pbx_groups() == [
        ("Elsewhere", ["1003"]), ("Inner", ["1002", "1003"]), ("Staff", ["1001", "1002", "1003"]),
    ]  # fmt: skip
    assert (await world.sync(mode="incremental")).items == 0
    assert elsewhere in await world.group_links()


@pytest.mark.parametrize("mode", ["full", "incremental"])
async def test_a_run_about_groups_alone_does_not_make_forgotten_who_entered_or_left_the_scope(
    both: Office, mode: str
) -> None:
    world, people = both.world, both.people
    world.join(both.inner, people[3])
    world.leave(both.staff, people[0])
    run = await world.run(what=("groups",), mode=mode)
    assert run.status == "succeeded"
    assert list(world.extensions()) == ["1000", "1001", "1002"]
    await world.sync(mode="incremental")
    assert list(world.extensions()) == ["1001", "1002", "1003"]
    assert world.pbx_groups() == [("Inner", ["1002", "1003"]), ("Staff", ["1001", "1002", "1003"])]
    assert (await world.sync(mode="incremental")).items == 0


async def test_a_run_about_users_alone_leaves_what_it_read_to_the_groups(both: Office) -> None:
    world, people = both.world, both.people
    world.join(both.inner, people[3])
    world.rename_group(both.staff, "Everybody")
    for _ in range(2):
        await world.run(mode="incremental")
    assert list(world.extensions()) == ["1000", "1001", "1002", "1003"]
    assert [name for name, _ in world.pbx_groups()] == ["Inner", "Staff"]
    await world.sync(mode="incremental")
    assert world.pbx_groups() == [
        ("Everybody", ["1000", "1001", "1002", "1003"]), ("Inner", ["1002", "1003"]),
    ]  # fmt: skip


async def test_a_pbx_that_fails_between_users_and_groups_loses_nobody(
    both: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pbx.client.wait_random_exponential", lambda **_: wait_none())
    world, people = both.world, both.people
    world.join(both.inner, people[3])
    world.leave(both.staff, people[0])
    world.pbx.faults.append(Fault("status", path="*/extensiongroup/list", status=502, times=None))
    run = await world.sync(mode="incremental")
    assert (run.status, run.counts["create.done"]) == ("failed", 1)
    world.pbx.faults.clear()
    run = await world.sync(mode="incremental")
    assert run.status == "succeeded"
    assert world.pbx_groups() == [("Inner", ["1002", "1003"]), ("Staff", ["1001", "1002", "1003"])]
    assert (await world.sync(mode="incremental")).items == 0
