"""Entra groups as extension groups, seen on the PBX after full runs."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from local.azurite import Azurite
from local.emulator import Fault
from local.pbx.directory import Extension
from local.pbx.groups import DEFAULT_NAME, GroupMember
from local.sample import sample_tenant
from local.tls import ServerCertificate
from store.runs import RunItem
from sync.status import read_status
from tests.engine.world import EVERYONE, World, empty_world

UPDATE = "*/extensiongroup/update"


@pytest.fixture
async def world(
    azurite: Azurite, certificate: ServerCertificate, signing_keys: list[dict[str, str]]
) -> AsyncIterator[World]:
    async with empty_world(azurite, certificate, signing_keys) as world:
        yield world


async def items(world: World, run: Any, **wanted: Any) -> list[RunItem]:
    """The items about groups that have these values."""
    found = [item for item in await world.items(run) if item.kind == "groups"]
    return [item for item in found if all(getattr(item, name) == value for name, value in wanted.items())]


async def only(world: World, run: Any) -> RunItem:
    [item] = await items(world, run)
    return item


async def codes(world: World) -> list[str]:
    return [reason.code for reason in (await read_status(world.connection, world.tell())).reasons]


# Scopes


async def test_every_group_becomes_an_extension_group_of_its_members_with_an_extension(world: World) -> None:
    ann, bob, cyd = world.people(3)
    world.change_user(cyd, accountEnabled=False)
    world.group("Sales", ann, bob)
    world.group("Mixed", bob, cyd, kind="microsoft365")
    world.group("List", cyd, kind="other")
    run = await world.first_sync()
    assert world.pbx_groups() == [("List", []), ("Mixed", ["1001"]), ("Sales", ["1000", "1001"])]
    assert (run.counts["groups.create.done"], run.counts["groups.read"]) == (3, 3)
    [item] = await items(world, run, name="Mixed")
    assert item.after == {"name": "Mixed", "members": "1001"}
    assert item.notes == ["1 of 2 members has no extension."]
    assert (await read_status(world.connection, world.tell())).counts == {"users": 2, "groups": 3}


async def test_a_second_run_writes_nothing_and_no_rule_of_the_pbx_was_broken(world: World) -> None:
    world.group("Sales", *world.people(3))
    world.group("Nobody")
    await world.first_sync()
    again = await world.sync()
    assert again.requests["pbx_writes"] == 0
    assert again.counts["groups.unchanged"] == 2
    assert world.pbx.violations.found == []


async def test_the_sample_tenant_syncs_with_a_reason_for_every_group_that_does_not(
    azurite: Azurite, certificate: ServerCertificate, signing_keys: list[dict[str, str]]
) -> None:
    async with empty_world(azurite, certificate, signing_keys, tenant=sample_tenant()) as world:
        run = await world.first_sync()
        done = await items(world, run, outcome="done")
        skipped = await items(world, run, outcome="skipped")
        assert run.counts["groups.read"] == len(done) + len(skipped)
        assert {item.name for item in skipped} == {"Sales"}
        assert all("has the name Sales already" in item.reason for item in skipped)
        numbers = {link.object_id: link.number for link in await world.links()}
        directory = world.microsoft.directory
        on_pbx = dict(world.pbx_groups())
        for item in done:
            group = directory.entities[item.object_id]
            hidden = group.properties.get("visibility") == "HiddenMembership"  # that needs Member.Read.Hidden
            members = [] if hidden else directory.transitive_members(group)
            assert on_pbx[item.after["name"]] == sorted(numbers[one.id] for one in members if one.id in numbers)
        assert (await world.sync()).requests["pbx_writes"] == 0


@pytest.mark.parametrize(
    ("types", "wanted"),
    [(["security"], ["Sales"]), (["microsoft365"], ["Team"]), (["security", "microsoft365"], ["Sales", "Team"])],
    ids=["security", "microsoft365", "both"],
)
async def test_a_scope_of_types_takes_groups_of_these_types_alone(
    world: World, types: list[str], wanted: list[str]
) -> None:
    world.group("Sales")
    world.group("Team", kind="microsoft365")
    world.group("List", kind="other")
    run = await world.first_sync(scope={"kind": "types", "group_types": types})
    assert [name for name, _ in world.pbx_groups()] == wanted
    assert run.counts["groups.out_of_scope"] == 3 - len(wanted)


async def test_chosen_groups_alone_are_synced_with_the_users_of_groups_nested_in_them(world: World) -> None:
    ann, bob, cyd = world.people(3)
    inner = world.group("Inner", ann)
    world.group("Other", cyd)
    await world.first_sync(scope={"kind": "groups", "group_ids": [world.group("Outer", inner, bob).upper()]})
    assert world.pbx_groups() == [("Outer", ["1000", "1001"])]


async def test_groups_in_a_circle_hold_the_same_users(world: World) -> None:
    ann, bob, cyd = world.people(3)
    first = world.group("First", ann)
    second = world.group("Second", first, bob)
    third = world.group("Third", second, cyd)
    world.join(first, third)
    await world.first_sync()
    assert world.pbx_groups() == [(name, ["1000", "1001", "1002"]) for name in ("First", "Second", "Third")]


# Out of the scope, and back


async def test_a_group_that_leaves_the_scope_stays_on_the_pbx_unless_the_rule_says_otherwise(world: World) -> None:
    people = world.people(2)
    sales, west = world.group("Sales", *people), world.group("West", *people)
    await world.first_sync(scope={"kind": "groups", "group_ids": [sales, west]})
    await world.enable_groups(scope={"kind": "groups", "group_ids": [sales]})
    run = await world.sync()
    assert run.counts["groups.release.done"] == 1
    assert "managed on the PBX from now on" in (await only(world, run)).reason
    assert [name for name, _ in world.pbx_groups()] == ["Sales", "West"]
    await world.enable_groups(scope={"kind": "groups", "group_ids": [west]}, delete_out_of_scope=True)
    back = await world.sync()
    assert (back.counts["groups.associate.done"], back.counts["groups.delete.done"]) == (1, 1)
    assert [name for name, _ in world.pbx_groups()] == ["West"]
    assert set(await world.group_links()) == {west}


@pytest.mark.parametrize("delete", [False, True], ids=["released", "deleted"])
async def test_a_group_deleted_in_entra_is_given_up_or_deleted_and_comes_back_when_it_is_restored(
    world: World, delete: bool
) -> None:
    team = world.group("Team", *world.people(2), kind="microsoft365")
    await world.first_sync(delete_out_of_scope=delete)
    before = world.pbx_groups()
    world.delete_group(team)
    run = await world.sync()
    # One that is the only one there was is an empty directory, which the guard does not believe.
    assert run.counts[f"groups.{'delete' if delete else 'release'}.held"] == 1
    world.group("Another")
    run = await world.sync()
    assert run.counts.get("groups.delete.held") == (1 if delete else None)
    assert before[0] in world.pbx_groups()
    world.restore_group(team)
    run = await world.sync()
    assert before[0] in world.pbx_groups()
    assert (await world.group_links())[team].state == "linked"


# Names


FIRMWARE = pytest.mark.parametrize("rename", ["accepted", "refused", "ignored"])


@FIRMWARE
async def test_a_renamed_group_is_renamed_on_the_pbx_whatever_the_firmware_makes_of_names(
    world: World, rename: str
) -> None:
    sales = world.group("Sales", *world.people(3))
    await world.first_sync()
    world.firmware(group_rename=rename)
    world.rename_group(sales, "Revenue")
    run = await world.sync()
    assert world.pbx_groups() == [("Revenue", ["1000", "1001", "1002"])]
    item = await only(world, run)
    assert (item.operation, item.outcome, item.before, item.after) == (
        "update", "done", {"name": "Sales"}, {"name": "Revenue"},
    )  # fmt: skip
    words = "Renamed by an update." if rename == "accepted" else "a new one was made with its members"
    assert words in item.notes[-1]
    link = (await world.group_links())[sales]
    assert (link.pbx_id, link.written) == (world.pbx_group("Revenue").id, {"name": "Revenue"})
    assert (await world.sync()).requests["pbx_writes"] == 0


@FIRMWARE
async def test_managers_of_a_group_keep_their_rights_when_members_or_the_name_change(world: World, rename: str) -> None:
    ann, bob, cyd = world.people(3)
    sales = world.group("Sales", ann, bob)
    await world.first_sync()
    boss, other = (world.extensions()[number]["id"] for number in ("1000", "1001"))
    world.edit_pbx_group("Sales", members=(GroupMember(boss, "manager"), GroupMember(other, "user")))
    world.firmware(group_rename=rename)
    world.rename_group(sales, "Revenue")
    world.join(sales, cyd)
    world.leave(sales, bob)
    await world.sync()
    rights = {member.ext_id: member.user_type for member in world.pbx_group("Revenue").members}
    assert rights == {boss: "manager", world.extensions()["1002"]["id"]: "user"}
    assert world.pbx_groups() == [("Revenue", ["1000", "1002"])]


async def test_without_room_for_a_second_group_a_renamed_one_keeps_its_name_but_gets_its_members(
    world: World,
) -> None:
    ann, bob = world.people(2)
    sales = world.group("Sales", ann)
    await world.first_sync()
    for number in range(61):
        world.add_pbx_group(f"By hand {number}")
    world.firmware(group_rename="refused")
    world.rename_group(sales, "Revenue")
    world.join(sales, bob)
    item = await only(world, await world.sync())
    assert (item.outcome, item.after) == ("done", {"members": "1000, 1001"})
    assert "It keeps its name" in item.notes[-1]
    assert ("Sales", ["1000", "1001"]) in world.pbx_groups()
    item = await only(world, await world.sync())
    assert (item.outcome, "It keeps its name" in item.reason) == ("skipped", True)
    world.remove_pbx_group("By hand 0")
    await world.sync()
    assert ("Revenue", ["1000", "1001"]) in world.pbx_groups()
    assert "Sales" not in dict(world.pbx_groups())


@pytest.mark.parametrize("errcode", [70091, 70084], ids=["in-use", "forbidden"])
async def test_an_old_group_that_cannot_be_deleted_after_a_rename_is_told_and_left(world: World, errcode: int) -> None:
    sales = world.group("Sales", *world.people(1))
    await world.first_sync()
    world.firmware(group_rename="refused")
    world.pbx.faults.append(Fault("errcode", path="*/extensiongroup/delete", options={"errcode": errcode}))
    world.rename_group(sales, "Revenue")
    item = await only(world, await world.sync())
    assert "the old one could not be deleted" in item.notes[-1]
    assert (await world.group_links())[sales].pbx_id == world.pbx_group("Revenue").id
    assert world.pbx_groups() == [("Revenue", ["1000"]), ("Sales", ["1000"])]


@pytest.mark.parametrize("request_lost", ["create", "delete"])
async def test_a_rename_whose_answers_are_lost_for_good_is_finished_by_the_next_run(
    world: World, request_lost: str
) -> None:
    sales = world.group("Sales", *world.people(2))
    await world.first_sync()
    world.firmware(group_rename="refused")
    world.rename_group(sales, "Revenue")
    kind = "commit_then_drop" if request_lost == "create" else "drop"
    lost = Fault(kind, path=f"*/extensiongroup/{request_lost}")
    world.pbx.faults += [lost, Fault("status", path="*/extensiongroup/list", skip=1, times=None, status=502)]
    if request_lost == "delete":
        world.pbx.faults.append(Fault("status", path="*/extensiongroup/query", skip=1, times=None, status=502))
    run = await world.sync()
    assert (lost.hits, run.status) == (1, "partial")
    world.pbx.faults.clear()
    assert (await world.sync()).status == "succeeded"
    assert world.pbx_groups() == [("Revenue", ["1000", "1001"])]
    assert (await world.group_links())[sales].pbx_id == world.pbx_group("Revenue").id


async def test_a_name_that_is_taken_on_the_pbx_is_told_or_taken_over_by_rule(world: World) -> None:
    world.group("Sales", *world.people(2))
    world.add_pbx_group("sales")
    run = await world.first_sync()
    assert "Switch on association by name" in (await only(world, run)).reason
    assert world.pbx_groups() == [("sales", [])]
    await world.enable_groups(associate_by_name=True)
    item = await only(world, await world.sync())
    assert (item.operation, item.outcome) == ("associate", "done")
    assert world.pbx_groups() == [("Sales", ["1000", "1001"])]
    [link] = (await world.group_links()).values()
    assert link.associated


async def test_a_group_of_everybody_or_the_built_in_one_is_never_taken_over(world: World) -> None:
    people = world.people(2)
    world.group(DEFAULT_NAME.upper(), *people)
    world.group("All of us", *people)
    world.add_pbx_group("All of us")
    world.edit_pbx_group("All of us", member_select="sel_all_ext")
    run = await world.first_sync(associate_by_name=True)
    assert all("never taken over" in item.reason for item in await items(world, run, outcome="skipped"))
    assert world.pbx_groups() == [("All of us", EVERYONE)]
    assert await world.group_links() == {}


async def test_of_two_groups_with_the_same_name_one_is_synced_and_the_other_told_which(world: World) -> None:
    ann, bob = world.people(2)
    one, other = sorted([world.group("Sales", ann), world.group("SALES", ann)])
    world.join(other, bob)
    run = await world.first_sync()
    assert len(world.pbx_groups()) == 1
    [item] = await items(world, run, outcome="skipped")
    assert (item.object_id, one in item.reason) == (other, True)
    world.rename_group(one, "West")
    await world.sync()
    name = world.microsoft.directory.entities[other].properties["displayName"]
    assert world.pbx_groups() == sorted([("West", ["1000"]), (name, ["1000", "1001"])])


@FIRMWARE
async def test_a_name_goes_from_one_group_to_another_in_one_run(world: World, rename: str) -> None:
    ann, bob = world.people(2)
    first, second = world.group("North", ann), world.group("South", bob)
    await world.first_sync()
    world.firmware(group_rename=rename)
    world.rename_group(first, "South")
    world.rename_group(second, "East")
    run = await world.sync()
    assert run.status == "succeeded"
    assert world.pbx_groups() == [("East", ["1001"]), ("South", ["1000"])]


# By hand


@pytest.mark.parametrize("rename", ["accepted", "refused"])
async def test_what_was_done_to_groups_by_hand_is_put_right_by_the_next_full_run(world: World, rename: str) -> None:
    people = world.people(3)
    for name in ("Deleted", "Emptied", "Everyone", "Enlarged", "Renamed"):
        world.group(name, *people[:2])
    await world.first_sync()
    before = world.pbx_groups()
    world.firmware(group_rename=rename)
    world.remove_pbx_group("Deleted")
    world.edit_pbx_group("Emptied", [])
    world.edit_pbx_group("Everyone", [], member_select="sel_all_ext")
    world.edit_pbx_group("Enlarged", ["1000", "1001", "1002"])
    world.edit_pbx_group("Renamed", name="Not ours")
    run = await world.sync()
    assert world.pbx_groups() == before
    by_hand = {item.name: item.reason for item in await items(world, run)}
    assert by_hand.pop("Deleted").startswith("Its extension group was deleted on the PBX")
    assert set(by_hand) == {"Emptied", "Everyone", "Enlarged", "Renamed"}
    assert all(reason == "Changed by hand on the PBX; put right." for reason in by_hand.values())
    assert (await world.sync()).requests["pbx_writes"] == 0


async def test_an_extension_that_somebody_put_into_a_group_is_shown_by_its_number(world: World) -> None:
    world.group("Sales", *world.people(1))
    await world.first_sync()
    world.pbx.machine.directory.add(Extension(number="7777"))
    world.edit_pbx_group("Sales", ["1000", "7777"])
    item = await only(world, await world.sync())
    assert (item.before, item.after) == ({"members": "1000, 7777"}, {"members": "1000"})


async def test_extension_groups_made_by_hand_are_never_touched(world: World) -> None:
    world.group("Sales", *world.people(2))
    world.add_pbx_group("By hand")
    await world.first_sync(delete_out_of_scope=True)
    world.edit_pbx_group("By hand", ["1000"])
    await world.sync()
    assert ("By hand", ["1000"]) in world.pbx_groups()


# Nobody, and nowhere


async def test_where_a_group_may_not_be_empty_it_is_made_when_its_first_member_gets_an_extension(
    world: World,
) -> None:
    [late] = world.people(1)
    world.change_user(late, accountEnabled=False)
    sales = world.group("Sales", late)
    world.firmware(group_empty_members="refused")
    run = await world.first_sync()
    item = await only(world, run)
    assert (item.outcome, item.errcode) == ("skipped", 40002)
    assert "as soon as a member has an extension" in item.reason
    world.change_user(late, accountEnabled=True)
    await world.sync(mode="incremental")
    assert world.pbx_groups() == [("Sales", ["1000"])]
    assert sales in await world.group_links()


@FIRMWARE
async def test_where_a_group_may_not_be_empty_the_last_members_stay_until_there_are_others(
    world: World, rename: str
) -> None:
    ann, bob = world.people(2)
    sales = world.group("Sales", ann)
    await world.first_sync()
    world.firmware(group_empty_members="refused", group_rename=rename)
    world.leave(sales, ann)
    item = await only(world, await world.sync())
    assert (item.outcome, "keeps its last members" in item.reason) == ("skipped", True)
    world.rename_group(sales, "Revenue")
    assert (await only(world, await world.sync())).outcome == "skipped"
    assert world.pbx_groups() == [("Sales", ["1000"])]
    world.join(sales, bob)
    await world.sync()
    assert world.pbx_groups() == [("Revenue", ["1001"])]


async def test_a_group_whose_extensions_are_gone_can_be_renamed_where_it_may_not_be_emptied(world: World) -> None:
    [ann] = world.people(1)
    sales = world.group("Sales", ann)
    await world.first_sync()
    world.firmware(group_empty_members="refused")
    world.delete_user(ann)
    world.person("Somebody")  # a directory of nobody would not be believed
    world.rename_group(sales, "Revenue")
    assert (await world.sync()).status == "succeeded"
    assert world.pbx_groups() == [("Revenue", [])]


async def test_the_sixty_third_group_is_the_last_and_the_next_in_order_follows_when_one_goes(world: World) -> None:
    world.add_pbx_group("By hand")
    ids = [world.group(f"Group {number:02}") for number in range(63)]
    run = await world.first_sync(delete_out_of_scope=True)
    assert run.counts["groups.create.done"] == 61
    skipped = await items(world, run, outcome="skipped")
    assert [item.name for item in skipped] == ["Group 61", "Group 62"]
    assert all("no room for another one" in item.reason for item in skipped)
    world.delete_group(ids[7])
    await world.sync()
    names = [name for name, _ in world.pbx_groups()]
    assert "Group 07" not in names
    assert "Group 61" in names
    assert "Group 62" not in names


async def test_a_limit_that_only_the_pbx_knows_is_told_for_every_group_beyond_it(world: World) -> None:
    for name in ("One", "Two", "Zero"):
        world.group(name)
    full = Fault("errcode", path="*/extensiongroup/create", skip=1, times=None, options={"errcode": 60002})
    world.pbx.faults.append(full)
    run = await world.first_sync()
    skipped = await items(world, run, outcome="skipped")
    assert len(skipped) == 2
    assert all(item.reason == "The PBX has no room for another extension group: it takes 63." for item in skipped)


@pytest.mark.parametrize("spelling", ["extension_group", "both"])
async def test_the_other_spelling_of_the_interface_works_as_well(world: World, spelling: str) -> None:
    world.firmware(extension_group_paths=spelling)
    sales = world.group("Sales", *world.people(2))
    await world.first_sync(delete_out_of_scope=True)
    world.rename_group(sales, "Revenue")
    await world.sync()
    assert world.pbx_groups() == [("Revenue", ["1000", "1001"])]


async def test_without_the_interface_users_go_on_and_the_reason_stays_until_the_firmware_has_it(world: World) -> None:
    world.firmware(extension_group_paths="none")
    [ann] = world.people(1)
    world.group("Sales", ann)
    run = await world.first_sync()
    assert (run.counts["create.done"], run.status) == (1, "succeeded")
    assert "Groups were left out: the firmware of this PBX has no API for extension groups" in run.message
    assert await codes(world) == ["groups_unavailable"]
    [told] = (await read_status(world.connection, world.tell())).reasons
    world.change_user(ann, jobTitle="Changed")
    assert (await world.sync(mode="incremental")).counts["update.done"] == 1
    assert (await read_status(world.connection, world.tell())).reasons == [told]
    world.firmware(extension_group_paths="extensiongroup")
    await world.sync()
    assert await codes(world) == []
    assert world.pbx_groups() == [("Sales", ["1000"])]


async def test_runs_that_are_not_about_groups_keep_the_reason_until_groups_are_switched_off(world: World) -> None:
    world.firmware(extension_group_paths="none")
    world.group("Sales", *world.people(1))
    await world.first_sync()
    [told] = (await read_status(world.connection, world.tell())).reasons
    await world.sync(preview=True)
    await world.run(what=("users",))
    assert (await read_status(world.connection, world.tell())).reasons == [told]

    def switch_off(document: dict[str, Any]) -> None:
        document["groups"]["enabled"] = False

    await world.settings(switch_off)
    await world.run(what=("users",))
    assert await codes(world) == []


async def test_a_preview_without_the_interface_plans_no_groups(world: World) -> None:
    world.firmware(extension_group_paths="none")
    world.group("Sales", *world.people(1))
    await world.secrets()
    await world.settings()
    run = await world.sync(preview=True)
    assert (run.status, run.counts["create.planned"]) == ("succeeded", 1)
    assert await items(world, run) == []


# Sizes


SIZES = {"Nobody": 0, "One": 1, "Almost": 999, "Thousand": 1000, "Everybody": 5000}


async def test_groups_of_any_size_are_written_whole_and_one_more_member_costs_one_write(
    azurite: Azurite, certificate: ServerCertificate, signing_keys: list[dict[str, str]]
) -> None:
    async with empty_world(azurite, certificate, signing_keys, capacity=6000) as world:
        people = await world.staff(5001)
        groups = {name: world.group(name, *people[:size]) for name, size in SIZES.items()}
        await world.first_sync()
        expected = {name: sorted(str(1000 + index) for index in range(size)) for name, size in SIZES.items()}
        assert dict(world.pbx_groups()) == expected
        world.join(groups["Everybody"], people[5000])
        world.pbx.requests.clear()
        world.microsoft.requests.clear()
        run = await world.sync(mode="incremental")
        assert run.counts["groups.update.done"] == 1
        assert (await only(world, run)).after == {"members": "+6000"}
        assert run.requests["pbx_writes"] == 1
        assert (world.writes(), world.group_writes()) == ([], ["update"])
        asked = [request for request in world.microsoft.requests if request.path.startswith("/v1.0/")]
        assert len(asked) == run.requests["graph"] <= 6
        assert len(dict(world.pbx_groups())["Everybody"]) == 5001
