"""A run of users and groups that is killed at any point, and executed again: the end is as if nothing had happened."""

from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest

from local.azurite import Azurite
from local.emulator import Fault
from local.pbx.groups import GroupMember
from local.tls import ServerCertificate
from pbx.groups import ExtensionGroups
from store.links import Kind
from store.runs import Run
from sync.service import request_run
from tests.engine.doom import Doom, doomed, is_killed
from tests.engine.test_interruptions import put_back, store_content
from tests.engine.world import World, empty_world

BOTH: tuple[Kind, ...] = ("users", "groups")
DELETE = "*/extensiongroup/delete"


@pytest.fixture
def doom(monkeypatch: pytest.MonkeyPatch) -> Doom:
    return doomed(monkeypatch)


@pytest.fixture
async def world(
    azurite: Azurite, certificate: ServerCertificate, signing_keys: list[dict[str, str]]
) -> AsyncIterator[World]:
    async with empty_world(azurite, certificate, signing_keys) as world:
        yield world


class Moment(NamedTuple):
    """Everything at one moment, to be brought back."""

    microsoft: Any
    pbx: Any
    content: list[tuple[str, str, list[Any]]]


async def prepare(world: World) -> Moment:
    """Synced groups of a PBX that cannot rename any, with which then everything happens that a run can meet."""
    people = world.people(6)
    renamed = world.group("Renamed", *people[:2])
    grown = world.group("Grown", *people[:1])
    gone, released = world.group("Gone", people[3]), world.group("Around", grown, people[4])
    await world.first_sync(delete_out_of_scope=True)
    world.firmware(group_rename="refused")
    boss, other = (world.extensions()[number]["id"] for number in ("1000", "1001"))
    world.edit_pbx_group("Renamed", members=(GroupMember(boss, "manager"), GroupMember(other, "user")))
    newcomer = world.person("Newcomer")
    world.join(grown, newcomer, people[2])
    world.group("New", newcomer, people[5])
    world.rename_group(renamed, "Renamed since")
    world.delete_group(gone)
    world.delete_user(people[4])
    world.change_user(people[5], jobTitle="Changed")
    world.remove_pbx_group("Around")
    assert released in await world.group_links()
    return await moment(world)


async def moment(world: World) -> Moment:
    return Moment(world.microsoft.state(), world.pbx.state(), await store_content(world))


async def back_to(world: World, moment: Moment) -> None:
    world.microsoft.load(moment.microsoft)
    world.pbx.load(moment.pbx)
    world.pbx.requests.clear()
    await put_back(world, moment.content)


async def outcome(world: World) -> Any:
    """The end state, without what has to differ: times, run ids, the PBX's own ids."""
    numbers = {extension.id: extension.number for extension in world.pbx.machine.directory}
    rights = sorted(
        (group.name, sorted((numbers[member.ext_id], member.user_type) for member in group.members))
        for group in world.pbx.machine.groups
    )
    names = {group.id: group.name for group in world.pbx.machine.groups}
    links = sorted(
        (link.object_id, link.state, names.get(link.pbx_id or 0), tuple(link.written.items()))
        for link in (await world.group_links()).values()
    )
    users = sorted((link.object_id, link.state, numbers.get(link.pbx_id or 0)) for link in await world.links())
    return rights, links, users


@pytest.mark.parametrize("mode", ["full", "incremental"])
async def test_killed_at_any_request_and_executed_again_the_groups_are_the_same(
    world: World, doom: Doom, mode: Any
) -> None:
    start = await prepare(world)
    doom.passed = 0
    expected_run = await world.sync(mode=mode)
    requests = doom.passed
    assert expected_run.status == "succeeded"
    done = {"create.done", "delete.done", "groups.create.done", "groups.update.done", "groups.delete.done"}
    assert done <= set(expected_run.counts)
    assert "Renamed since" in dict(world.pbx_groups())
    expected = await outcome(world)
    assert (await world.sync()).requests["pbx_writes"] == 0
    for number in range(requests):
        doom.left = None
        await back_to(world, start)
        run, message = await request_run(world.connection, world.tell(), started_by="api", mode=mode, what=BOTH)
        # Before and after the fact by turns, and the other way round in the other mode: each twice would take too long.
        doom.left, doom.after_the_fact = number, (number % 2 == 0) == (mode == "full")
        # A run may take a request less than the one that was counted, so the last one or two may come too late.
        assert await is_killed(world, message) or number >= requests - 2, number
        doom.left = None
        again = await world.execute(message, run.id)
        assert again.status == "succeeded", (number, again)
        assert await outcome(world) == expected, number
    assert (await world.sync()).requests["pbx_writes"] == 0


# A rename by replacement that broke off, and what Entra and people did before it went on


class Broken(NamedTuple):
    """Sales was to become Revenue: both are there, the run between them was killed."""

    world: World
    people: list[str]
    sales: str


@pytest.fixture
async def broken(world: World, doom: Doom, monkeypatch: pytest.MonkeyPatch) -> Broken:
    """Killed right before the old group is deleted."""
    people = world.people(3)
    sales = world.group("Sales", *people[:2])
    world.group("Other")
    await world.first_sync(delete_out_of_scope=True)
    world.firmware(group_rename="refused")
    world.rename_group(sales, "Revenue")
    delete = ExtensionGroups.delete

    async def last_deed(groups: ExtensionGroups, group_id: int) -> None:
        doom.left = 0
        await delete(groups, group_id)

    _, message = await request_run(world.connection, world.tell(), started_by="api", what=BOTH)
    with monkeypatch.context() as patched:
        patched.setattr(ExtensionGroups, "delete", last_deed)
        assert await is_killed(world, message)
    doom.left = None
    assert [name for name, _ in world.pbx_groups()] == ["Other", "Revenue", "Sales"]
    return Broken(world, people, sales)


async def goes_on(broken: Broken) -> Run:
    run = await broken.world.sync()
    assert run.status == "succeeded", run
    assert (await broken.world.sync()).requests["pbx_writes"] == 0
    return run


async def test_a_broken_rename_is_finished_and_says_so(broken: Broken) -> None:
    world = broken.world
    run = await goes_on(broken)
    assert world.pbx_groups() == [("Other", []), ("Revenue", ["1000", "1001"])]
    [item] = [item for item in await world.items(run) if item.object_id == broken.sales]
    assert (item.operation, item.before, item.after) == ("update", {"name": "Sales"}, {"name": "Revenue"})
    assert item.reason == "Renamed by a run that was interrupted; finished by this one."
    assert (await world.group_links())[broken.sales].pbx_id == world.pbx_group("Revenue").id


async def test_members_who_changed_meanwhile_are_in_the_finished_group(broken: Broken) -> None:
    broken.world.join(broken.sales, broken.people[2])
    broken.world.leave(broken.sales, broken.people[0])
    await goes_on(broken)
    assert broken.world.pbx_groups() == [("Other", []), ("Revenue", ["1001", "1002"])]


@pytest.mark.parametrize("name", ["Sales", "Profit"])
async def test_a_group_renamed_again_meanwhile_gets_that_name_and_is_there_once(broken: Broken, name: str) -> None:
    broken.world.rename_group(broken.sales, name)
    await goes_on(broken)
    assert broken.world.pbx_groups() == sorted([("Other", []), (name, ["1000", "1001"])])


async def test_a_group_deleted_in_entra_meanwhile_is_deleted_with_its_successor(broken: Broken) -> None:
    broken.world.delete_group(broken.sales)
    await goes_on(broken)
    assert broken.world.pbx_groups() == [("Other", [])]


async def test_a_group_that_left_the_scope_meanwhile_is_released_under_its_new_name(broken: Broken) -> None:
    other = next(one for one in await broken.world.group_links() if one != broken.sales)
    await broken.world.enable_groups(scope={"kind": "groups", "group_ids": [other]}, delete_out_of_scope=False)
    await goes_on(broken)
    assert broken.world.pbx_groups() == [("Other", []), ("Revenue", ["1000", "1001"])]
    assert (await broken.world.group_links())[broken.sales].state == "released"


async def test_a_successor_deleted_by_hand_meanwhile_is_made_again(broken: Broken) -> None:
    broken.world.remove_pbx_group("Revenue")
    await goes_on(broken)
    assert broken.world.pbx_groups() == [("Other", []), ("Revenue", ["1000", "1001"])]


async def test_an_old_group_renamed_by_hand_meanwhile_is_left_alone(broken: Broken) -> None:
    broken.world.edit_pbx_group("Sales", name="By hand")
    await goes_on(broken)
    assert [name for name, _ in broken.world.pbx_groups()] == ["By hand", "Other", "Revenue"]


async def test_an_old_group_that_is_in_use_stays_and_is_told(broken: Broken) -> None:
    world = broken.world
    world.edit_pbx_group("Sales", used_elsewhere=True)
    run = await goes_on(broken)
    [item] = [item for item in await world.items(run) if item.object_id == broken.sales]
    assert "the old one could not be deleted" in item.notes[-1]
    assert (await world.group_links())[broken.sales].pbx_id == world.pbx_group("Revenue").id


async def test_a_preview_of_a_broken_rename_changes_nothing(broken: Broken) -> None:
    before = broken.world.pbx_groups()
    preview = await broken.world.sync(preview=True)
    assert preview.status == "succeeded"
    assert broken.world.pbx_groups() == before
    await goes_on(broken)
    assert broken.world.pbx_groups() == [("Other", []), ("Revenue", ["1000", "1001"])]


async def test_a_broken_rename_that_cannot_be_finished_yet_waits_for_the_run_after(broken: Broken) -> None:
    world = broken.world
    world.pbx.faults.append(Fault("errcode", path=DELETE, options={"errcode": 70004}))
    assert (await world.sync()).status == "failed"
    await goes_on(broken)
    assert world.pbx_groups() == [("Other", []), ("Revenue", ["1000", "1001"])]
