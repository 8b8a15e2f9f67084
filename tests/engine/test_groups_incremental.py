"""Groups in incremental runs: what changed is written, nothing else is, and Graph is asked for the changes alone."""

from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest

from local.azurite import Azurite
from local.emulator import Fault
from local.tls import ServerCertificate
from store.runs import Run
from sync.service import decide
from sync.status import read_status
from tests.engine.world import World, empty_world

GROUPS_DELTA = "/v1.0/groups/delta"


@pytest.fixture
async def world(
    azurite: Azurite, certificate: ServerCertificate, signing_keys: list[dict[str, str]]
) -> AsyncIterator[World]:
    async with empty_world(azurite, certificate, signing_keys) as world:
        yield world


class Office(NamedTuple):
    """Five people; the first two in Sales, the third in Inner, which is in Outer; the fifth in no group."""

    world: World
    people: list[str]
    sales: str
    inner: str
    outer: str


@pytest.fixture
async def office(world: World) -> Office:
    people = world.people(5)
    sales, inner = world.group("Sales", *people[:2]), world.group("Inner", people[2])
    outer = world.group("Outer", inner, people[3])
    await world.first_sync(delete_out_of_scope=True)
    assert world.pbx_groups() == [("Inner", ["1002"]), ("Outer", ["1002", "1003"]), ("Sales", ["1000", "1001"])]
    return Office(world, people, sales, inner, outer)


async def changes(world: World, **options: str) -> Run:
    """An incremental run that reads no more than the changes, and after which the next finds nothing to do."""
    world.pbx.requests.clear()
    world.microsoft.requests.clear()
    run = await world.sync(mode="incremental", **options)
    asked = [request for request in world.microsoft.requests if request.path == GROUPS_DELTA]
    assert [bool(request.query.get("$deltatoken")) for request in asked] == [True]
    again = await world.sync(mode="incremental")
    assert (again.status, again.items, again.requests["pbx_writes"]) == ("succeeded", 0, 0)
    return run


async def test_nothing_changed_asks_for_two_rounds_and_reads_no_extension_group(office: Office) -> None:
    run = await changes(office.world)
    assert run.requests["graph"] == 2
    assert not [request for request in office.world.pbx.requests if "extensiongroup" in request.path]


async def test_a_new_member_is_written_to_the_group_and_to_no_other(office: Office) -> None:
    world = office.world
    world.join(office.sales, office.people[4])
    run = await changes(world)
    assert (run.requests["graph"], run.requests["pbx_writes"]) == (2, 1)
    assert (world.writes(), world.group_writes()) == ([], ["update"])
    assert ("Sales", ["1000", "1001", "1004"]) in world.pbx_groups()


async def test_a_member_who_left_and_one_who_left_and_came_back(office: Office) -> None:
    world = office.world
    world.leave(office.sales, *office.people[:2])
    world.join(office.sales, office.people[1])
    await changes(world)
    assert ("Sales", ["1001"]) in world.pbx_groups()
    world.join(office.sales, office.people[0])
    await changes(world)
    assert ("Sales", ["1000", "1001"]) in world.pbx_groups()


async def test_a_member_of_a_nested_group_is_one_of_every_group_around_it(office: Office) -> None:
    world = office.world
    world.join(office.inner, office.people[4])
    run = await changes(world)
    assert run.requests["pbx_writes"] == 2
    assert dict(world.pbx_groups())["Inner"] == ["1002", "1004"]
    assert dict(world.pbx_groups())["Outer"] == ["1002", "1003", "1004"]


async def test_a_nested_group_that_is_taken_out_takes_its_members_along(office: Office) -> None:
    world = office.world
    world.leave(office.outer, office.inner)
    run = await changes(world)
    assert run.requests["pbx_writes"] == 1
    assert dict(world.pbx_groups())["Outer"] == ["1003"]


async def test_a_nested_group_deleted_in_entra_takes_its_members_along(office: Office) -> None:
    world = office.world
    world.delete_group(office.inner)
    await changes(world)
    assert world.pbx_groups() == [("Outer", ["1003"]), ("Sales", ["1000", "1001"])]


async def test_a_new_user_in_a_group_gets_extension_and_membership_in_the_same_run(office: Office) -> None:
    world = office.world
    world.join(office.sales, world.person("Newcomer"))
    run = await changes(world)
    assert (run.counts["create.done"], run.counts["groups.update.done"], run.requests["pbx_writes"]) == (1, 1, 2)
    assert dict(world.pbx_groups())["Sales"] == ["1000", "1001", "1005"]


async def test_a_member_who_only_now_gets_an_extension_joins_all_groups_of_his(office: Office) -> None:
    world, late = office.world, office.people[2]
    world.change_user(late, accountEnabled=False)
    await changes(world)
    assert dict(world.pbx_groups())["Outer"] == ["1003"]
    world.change_user(late, accountEnabled=True)
    run = await changes(world)
    assert (run.counts["create.done"], run.counts["groups.update.done"]) == (1, 2)
    groups = dict(world.pbx_groups())
    assert groups["Inner"] == ["1002"]
    assert groups["Outer"] == ["1002", "1003"]


async def test_a_deleted_user_s_extension_leaves_its_groups_and_a_restored_one_s_comes_back(office: Office) -> None:
    world, gone = office.world, office.people[0]
    world.delete_user(gone)
    run = await changes(world)
    assert run.counts["delete.done"] == 1
    assert dict(world.pbx_groups())["Sales"] == ["1001"]
    world.restore_user(gone)
    await changes(world)
    assert dict(world.pbx_groups())["Sales"] == ["1000", "1001"]


async def test_a_released_user_s_extension_stays_and_leaves_its_groups(office: Office) -> None:
    world, gone = office.world, office.people[0]
    await world.enable_groups(users={"delete_when": []})
    await world.sync()
    world.delete_user(gone)
    run = await changes(world)
    assert (run.counts["release.done"], run.counts["groups.update.done"]) == (1, 1)
    assert "1000" in world.extensions()
    assert dict(world.pbx_groups())["Sales"] == ["1001"]


async def test_a_renamed_a_new_and_a_deleted_group_are_written_and_nothing_else(office: Office) -> None:
    world = office.world
    world.rename_group(office.sales, "Revenue")
    world.group("Young", office.people[4])
    world.delete_group(office.outer)
    run = await changes(world)
    assert sorted(world.group_writes()) == ["create", "delete", "update"]
    assert (run.requests["graph"], run.requests["pbx_writes"]) == (2, 3)
    assert world.pbx_groups() == [("Inner", ["1002"]), ("Revenue", ["1000", "1001"]), ("Young", ["1004"])]


async def test_a_group_that_failed_is_tried_again_by_the_next_run_though_nothing_changed(office: Office) -> None:
    world = office.world
    world.join(office.sales, office.people[4])
    world.pbx.faults.append(Fault("errcode", path="*/extensiongroup/update", options={"errcode": 70084}))
    run = await world.sync(mode="incremental")
    assert (run.status, run.counts["groups.update.failed"]) == ("partial", 1)
    await changes(world)
    assert dict(world.pbx_groups())["Sales"] == ["1000", "1001", "1004"]


@pytest.mark.parametrize("kind", ["commit_then_drop", "drop"])
@pytest.mark.parametrize("path", ["create", "update", "delete"])
async def test_a_lost_answer_is_looked_into_and_nothing_is_done_twice(office: Office, path: str, kind: str) -> None:
    world = office.world
    world.join(office.sales, office.people[4])
    world.group("Young", office.people[4])
    world.delete_group(office.outer)
    lost = Fault(kind, path=f"*/extensiongroup/{path}")
    world.pbx.faults.append(lost)
    await world.sync(mode="incremental")
    assert lost.hits == 1
    await changes(world)
    assert world.pbx_groups() == [("Inner", ["1002"]), ("Sales", ["1000", "1001", "1004"]), ("Young", ["1004"])]
    assert len(await world.group_links()) == 3


async def test_a_lost_delta_link_or_mirror_is_read_anew_and_ends_the_same(office: Office) -> None:
    world = office.world
    world.join(office.sales, office.people[4])
    world.microsoft.faults.append(Fault("reset", path=GROUPS_DELTA, options={"answer": "410"}))
    assert (await world.sync(mode="incremental")).requests["pbx_writes"] == 1
    world.leave(office.sales, office.people[4])
    world.delete_group(office.inner)
    await world.connection.groups.write(remove=[office.sales, office.inner, office.outer])
    run = await world.sync(mode="incremental")
    assert run.status == "succeeded"
    assert world.pbx_groups() == [("Outer", ["1003"]), ("Sales", ["1000", "1001"])]


async def test_a_groups_read_that_breaks_off_changes_nothing_and_loses_nothing(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graph.client._exponential", lambda _: 0.0)
    world = office.world
    world.microsoft.graph.delta.switches.page_size = 1
    world.join(office.sales, office.people[4])
    world.delete_group(office.outer)
    before = world.pbx_groups()
    world.microsoft.faults.append(Fault("status", path=f"{GROUPS_DELTA}*", skip=1, times=None, status=503))
    run = await world.sync(mode="incremental")
    assert (run.status, world.pbx_groups()) == ("failed", before)
    world.microsoft.faults.clear()
    await world.sync(mode="incremental")
    assert world.pbx_groups() == [("Inner", ["1002"]), ("Sales", ["1000", "1001", "1004"])]


# Users without groups, and groups without users


async def test_runs_about_users_leave_the_groups_to_the_next_run_that_is_about_them(office: Office) -> None:
    world, gone = office.world, office.people[0]
    newcomer = world.person("Newcomer")
    world.join(office.sales, newcomer)
    world.delete_user(gone)
    world.rename_group(office.inner, "Core")
    before = [name for name, _ in world.pbx_groups()]
    for mode in ("incremental", "full"):
        run = await world.run(mode=mode)
        assert "groups.read" not in run.counts
    assert [name for name, _ in world.pbx_groups()] == before
    assert dict(world.pbx_groups())["Sales"] == ["1001"]
    run = await changes(world)
    assert run.counts["groups.update.done"] == 2
    groups = dict(world.pbx_groups())
    assert (groups["Core"], groups["Sales"]) == (["1002"], ["1001", "1005"])


async def test_a_user_who_got_an_extension_while_groups_were_left_out_is_not_forgotten(office: Office) -> None:
    world, late = office.world, office.people[2]
    world.change_user(late, accountEnabled=False)
    await changes(world)
    world.change_user(late, accountEnabled=True)
    assert (await world.run(mode="incremental")).counts["create.done"] == 1
    assert dict(world.pbx_groups())["Inner"] == []
    assert (await changes(world)).counts["groups.update.done"] == 2
    assert dict(world.pbx_groups())["Outer"] == ["1002", "1003"]


async def test_a_deletion_that_waits_to_be_tried_again_survives_a_full_run_about_users_of_the_scope(
    world: World,
) -> None:
    everybody = world.group("Everybody", *world.people(2))
    old = world.group("Old")
    await world.first_sync(users={"scope": {"kind": "groups", "group_ids": [everybody]}}, delete_out_of_scope=True)
    world.delete_group(old)
    world.pbx.faults.append(Fault("errcode", path="*/extensiongroup/delete", options={"errcode": 70091}))
    assert (await world.sync(mode="incremental")).counts["groups.delete.failed"] == 1
    await world.run()
    assert (await world.sync(mode="incremental")).counts["groups.delete.done"] == 1
    assert world.pbx_groups() == [("Everybody", ["1000", "1001"])]


# The guard


async def many(world: World, number: int) -> list[str]:
    """So many groups, synced, and then deleted in Entra; one stays."""
    world.group("Stays", *world.people(1))
    ids = [world.group(f"Group {index:02}") for index in range(number)]
    await world.first_sync(delete_out_of_scope=True)
    for object_id in ids:
        world.delete_group(object_id)
    return ids


@pytest.mark.parametrize("mode", ["full", "incremental"])
async def test_more_deletions_than_the_guard_allows_are_held_until_they_are_approved(world: World, mode: str) -> None:
    await many(world, 25)
    world.rename_group(next(iter(one for one in world.microsoft.directory.order["group"])), "Renamed")
    run = await world.sync(mode=mode)
    assert (run.counts["groups.delete.held"], run.counts["groups.update.done"]) == (25, 1)
    status = await read_status(world.connection, world.tell())
    assert [reason.code for reason in status.reasons] == ["group_deletions_held"]
    assert "25 deletions of extension groups wait for a decision" in status.reasons[0].message
    assert len(world.pbx_groups()) == 26
    again = await world.sync(mode="incremental")
    assert again.counts["groups.delete.held"] == 25
    _, [message] = await decide(world.connection, run.id, "approved", world.tell())
    done = await world.execute(message)
    assert (done.what, done.counts["groups.delete.done"]) == (["groups"], 25)
    assert world.pbx_groups() == [("Renamed", ["1000"])]
    assert (await read_status(world.connection, world.tell())).reasons == []


async def test_rejected_deletions_of_groups_stay_undone_and_are_not_asked_about_again(world: World) -> None:
    await many(world, 25)
    run = await world.sync()
    decided, messages = await decide(world.connection, run.id, "rejected", world.tell())
    assert (decided.decision, messages) == ("rejected", [])
    for mode in ("full", "incremental"):
        assert (await world.sync(mode=mode)).counts["groups.delete.held"] == 25
        assert (await read_status(world.connection, world.tell())).reasons == []
    assert len(world.pbx_groups()) == 26


async def test_many_small_runs_delete_no_more_groups_than_one_large_one(world: World) -> None:
    world.group("Stays")
    ids = [world.group(f"Group {index:02}") for index in range(40)]
    await world.first_sync(delete_out_of_scope=True)
    for start in range(0, 40, 8):
        for object_id in ids[start : start + 8]:
            world.delete_group(object_id)
        await world.sync(mode="incremental")
    assert len(world.pbx_groups()) == 41 - 16


async def test_a_tenant_without_any_group_deletes_and_releases_none(world: World) -> None:
    world.people(1)
    for index in range(3):
        world.group(f"Group {index}")
    await world.first_sync()
    for _, group in list(world.microsoft.directory.live("group")):
        world.microsoft.directory.delete(group)
    run = await world.sync()
    assert run.counts["groups.release.held"] == 3
    status = await read_status(world.connection, world.tell())
    assert "no group at all while 3 extension groups are linked" in status.reasons[0].message
    assert {link.state for link in (await world.group_links()).values()} == {"linked"}


async def test_nobody_counts_on_the_name_or_the_place_of_a_held_group(world: World) -> None:
    await many(world, 25)
    world.group("Group 07")
    run = await world.sync()
    assert run.counts["groups.delete.held"] == 25
    [item] = [item for item in await world.items(run) if item.operation == "skip"]
    assert "has the name Group 07 already" in item.reason
