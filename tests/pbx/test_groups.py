"""Extension groups: the spelling of their paths, what is read of them, and what every answer to a write means."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.pbx.groups import Group
from pbx.errors import (
    Conflict,
    FeatureMissing,
    LimitReached,
    NotFound,
    OutcomeUnknown,
    PbxError,
    Refused,
    ServerFault,
    StillReferenced,
)
from pbx.groups import ExtensionGroup, ExtensionGroups, GroupMember, GroupRow
from tests.pbx.support import Office

DEFAULT = GroupRow(1, "Default_All_Extensions", everyone=True, total=3)
SUPPORT = GroupRow(2, "Support", everyone=False, total=2)


def groups(office: Office) -> ExtensionGroups:
    return ExtensionGroups(office.client())


def kept(office: Office, number: int = 2) -> Group:
    """The group as the PBX has it."""
    return office.emulator.machine.group(number)


def members(office: Office, number: int = 2) -> list[tuple[int, str]]:
    return [(member.ext_id, member.user_type) for member in kept(office, number).members]


def group_paths(office: Office) -> list[str]:
    return [path for path in office.sent() if "group" in path]


# The spelling


@pytest.mark.parametrize(
    ("switch", "asked"),
    [
        ("extensiongroup", ["extensiongroup/list"]),
        ("extension_group", ["extensiongroup/list", "extension_group/list"]),
        ("both", ["extensiongroup/list"]),
    ],
)
async def test_the_first_list_finds_the_spelling_and_it_is_remembered(
    office: Office, switch: str, asked: list[str]
) -> None:
    office.firmware(extension_group_paths=switch)
    found = groups(office)
    assert await found.all() == [DEFAULT, SUPPORT]
    assert group_paths(office) == asked
    spelling = asked[-1].partition("/")[0]
    await found.all()
    await found.details([2])
    await found.update(2, members=[])
    await found.delete(2)
    await found.create("Sales", [])
    operations = ["list", "query", "update", "delete", "create"]
    assert group_paths(office)[len(asked) :] == [f"{spelling}/{operation}" for operation in operations]


async def test_whatever_comes_first_asks_for_the_spelling_once(office: Office) -> None:
    office.firmware(extension_group_paths="extension_group")
    found = groups(office)
    await found.create("Sales", [1])
    await found.update(2, members=[])
    assert group_paths(office) == [
        "extensiongroup/list", "extension_group/list", "extension_group/create", "extension_group/update",
    ]  # fmt: skip


async def test_firmware_without_groups_is_told_in_words_and_nothing_is_written(office: Office) -> None:
    office.firmware(extension_group_paths="none")
    found = groups(office)
    for call in (found.all(), found.details([2]), found.create("Sales", [1]), found.update(2, name="x")):
        with pytest.raises(FeatureMissing, match=r"no API for extension groups.*update it.*switch") as caught:
            await call
        assert caught.value.errcode == 10001
    assert set(group_paths(office)) == {"extensiongroup/list", "extension_group/list"}


@pytest.mark.parametrize("errcode", [10005, 10009])
async def test_another_reason_to_offer_no_groups_is_no_matter_of_spelling(office: Office, errcode: int) -> None:
    office.errcode(errcode, "extensiongroup/list")
    found = groups(office)
    with pytest.raises(FeatureMissing, match=f"errcode {errcode}"):
        await found.all()
    assert group_paths(office) == ["extensiongroup/list"]
    assert await found.all() == [DEFAULT, SUPPORT]


# Reading


async def test_details_have_the_members_and_leave_out_what_is_gone(office: Office) -> None:
    support = ExtensionGroup(2, "Support", everyone=False, members=(GroupMember(1, "manager"), GroupMember(2, "user")))
    default = ExtensionGroup(1, "Default_All_Extensions", everyone=True, members=())
    assert await groups(office).details([2, 99, 1, 2]) == [support, default]
    assert await groups(office).details([98, 99]) == []


async def test_nothing_is_asked_for_no_ids(office: Office) -> None:
    assert await groups(office).details([]) == []
    assert office.sent() == []


async def test_details_come_in_batches_however_few_ids_the_pbx_takes(office: Office) -> None:
    for number in range(3, 64):
        office.emulator.machine.groups.add(Group(id=number, name=f"Group {number}"))
    found = groups(office)
    ids = [row.id for row in await found.all()]
    assert [group.id for group in await found.details(ids)] == ids
    assert office.sent("extensiongroup/query") == ["extensiongroup/query"] * 2
    office.firmware(max_query_ids=30)
    assert [group.id for group in await found.details(ids)] == ids


async def test_one_missing_id_that_fails_its_batch_does_not_hide_the_others(office: Office) -> None:
    office.fault("errcode", "extensiongroup/query", times=None, query={"ids": "*99*"}, options={"errcode": 60001})
    assert [group.id for group in await groups(office).details([99, 2, 1])] == [2, 1]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"id": "7", "name": "A", "total_extensions": "4"}, GroupRow(7, "A", everyone=False, total=4)),
        ({"id": 7, "name": "A", "more": [1]}, GroupRow(7, "A", everyone=False, total=None)),
        (
            {"id": 7, "name": "A", "member_select": "sel_all_ext", "total_extensions": None},
            GroupRow(7, "A", everyone=True, total=None),
        ),
    ],
    ids=["numbers as texts", "more members", "nulls"],
)
async def test_a_row_may_differ_in_ways_that_do_no_harm(
    office: Office, row: dict[str, Any], expected: GroupRow
) -> None:
    office.fault("status", "extensiongroup/list", status=200, body={"errcode": 0, "data": [row]}, times=None)
    assert await groups(office).all() == [expected]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ([{"ext_id": "5", "user_type": "custom", "caller_id_name": "X"}], (GroupMember(5, "custom"),)),
        ([{"ext_id": 5}, {"ext_id": 6, "user_type": None}], (GroupMember(5), GroupMember(6))),
        (None, ()),
    ],
    ids=["numbers as texts", "no rights", "null"],
)
async def test_members_may_differ_in_ways_that_do_no_harm(
    office: Office, sent: Any, expected: tuple[GroupMember, ...]
) -> None:
    data = [{"id": "2", "member_select": "sel_specific", "members": sent}]
    office.fault("status", "extensiongroup/query", status=200, body={"errcode": 0, "data": data}, times=None)
    assert await groups(office).details([2]) == [ExtensionGroup(2, "", everyone=False, members=expected)]


async def test_members_of_an_unknown_shape_are_no_empty_group(office: Office) -> None:
    data = [{"id": 2, "members": [{"extension": 5}]}]
    office.fault("status", "extensiongroup/query", status=200, body={"errcode": 0, "data": data}, times=None)
    with pytest.raises(ServerFault, match="unknown shape"):
        await groups(office).details([2])


# Writing


async def test_a_group_is_created_changed_and_deleted(office: Office) -> None:
    pbx = office.client()
    found = ExtensionGroups(pbx)
    made = await found.create("Sales", [7, 1, 7])
    assert (kept(office, made).name, members(office, made)) == ("Sales", [(7, "user"), (1, "user")])
    await found.update(made, name="Sellers")
    assert (kept(office, made).name, len(members(office, made))) == ("Sellers", 2)
    await found.update(made, name="Sales", members=[GroupMember(2, "manager"), GroupMember(2, "manager")])
    assert (kept(office, made).name, members(office, made)) == ("Sales", [(2, "manager")])
    await found.delete(made)
    assert office.emulator.machine.groups.get(made) is None
    assert (pbx.writes, pbx.requests) == (4, len(office.sent()))


async def test_a_change_of_members_keeps_the_rights_of_those_who_stay(office: Office) -> None:
    found = groups(office)
    (support,) = await found.details([2])
    await found.update(2, members=support.membership([7, 1]))
    assert members(office) == [(7, "user"), (1, "manager")]


async def test_a_group_of_everyone_becomes_one_of_its_members(office: Office) -> None:
    everyone = office.emulator.machine.groups.add(Group(name="All", member_select="sel_all_ext"))
    await groups(office).update(everyone.id, members=[GroupMember(7)])
    assert members(office, everyone.id) == [(7, "user")]


@given(
    st.lists(st.tuples(st.integers(1, 20), st.sampled_from([None, "manager", "user"])), unique_by=lambda pair: pair[0]),
    st.lists(st.integers(1, 20)),
)
def test_a_membership_is_who_was_named_once_each_with_the_rights_they_had(
    present: list[tuple[int, str | None]], wanted: list[int]
) -> None:
    group = ExtensionGroup(1, "A", everyone=False, members=tuple(GroupMember(*pair) for pair in present))
    membership = group.membership(wanted)
    assert [member.ext_id for member in membership] == list(dict.fromkeys(wanted))
    assert all(member.user_type == dict(present).get(member.ext_id) for member in membership)


async def test_firmware_that_answers_no_id_is_asked_for_it_by_the_whole_name(office: Office) -> None:
    office.firmware(group_create_returns_id=False)
    office.emulator.machine.groups.add(Group(name="Sales north"))
    made = await groups(office).create("Sales", [1])
    assert kept(office, made).name == "Sales"


@pytest.mark.parametrize("errcode", [70082, 10001, 70004])
async def test_a_create_whose_id_cannot_be_read_may_have_happened(office: Office, errcode: int) -> None:
    office.firmware(group_create_returns_id=False)
    found = groups(office)
    await found.all()
    office.errcode(errcode, "extensiongroup/list", times=None)
    with pytest.raises(OutcomeUnknown, match="'Sales', its id"):
        await found.create("Sales", [1])
    assert kept(office, 3).name == "Sales"


async def test_a_create_that_is_confirmed_and_not_listed_may_have_happened(office: Office) -> None:
    office.fault("status", "extensiongroup/create", status=200, body={"errcode": 0})
    with pytest.raises(OutcomeUnknown, match="does not list it"):
        await groups(office).create("Sales", [1])


async def test_a_name_in_use_is_a_conflict(office: Office) -> None:
    found = groups(office)
    await found.create("Sales", [])
    for call in (found.create("support", [1]), found.update(3, name="Support")):
        with pytest.raises(Conflict, match="name"):
            await call


async def test_a_pbx_full_of_groups_is_a_limit_in_words(office: Office) -> None:
    for number in range(3, 64):
        office.emulator.machine.groups.add(Group(name=f"Group {number}"))
    with pytest.raises(LimitReached, match=r"63 extension groups.*60002") as caught:
        await groups(office).create("One more", [1])
    assert caught.value.errcode == 60002
    assert "63" in caught.value.action


async def test_what_is_gone_is_not_found_by_an_update_and_no_matter_to_a_delete(office: Office) -> None:
    with pytest.raises(NotFound):
        await groups(office).update(99, name="x")
    await groups(office).delete(99)


async def test_an_extension_that_is_gone_fails_the_write_by_name(office: Office) -> None:
    for call in (groups(office).create("Sales", [99]), groups(office).update(2, members=[GroupMember(99)])):
        with pytest.raises(Refused, match=r"members\[0\]\.ext_id"):
            await call
    assert members(office) == [(1, "manager"), (2, "user")]


@pytest.mark.parametrize(
    ("group", "errcode", "kind"),
    [
        (Group(id=1, name="Default_All_Extensions", member_select="sel_all_ext"), 70084, Refused),
        (Group(id=2, name="Support", owned_by_builtin_sync=True), 70084, Refused),
        (Group(id=2, name="Support", used_elsewhere=True), 70091, StillReferenced),
    ],
    ids=["built in", "of the built-in sync", "in use"],
)
async def test_a_group_that_has_to_stay_says_so(
    office: Office, group: Group, errcode: int, kind: type[PbxError]
) -> None:
    office.emulator.machine.groups.replace(group)
    with pytest.raises(kind, match=f"errcode {errcode}"):
        await groups(office).delete(group.id)
    assert kept(office, group.id) == group


async def test_a_rename_may_be_refused_or_come_to_nothing(office: Office) -> None:
    office.firmware(group_rename="refused")
    with pytest.raises(Refused, match="name"):
        await groups(office).update(2, name="Helpers")
    office.firmware(group_rename="ignored")
    await groups(office).update(2, name="Helpers")
    assert kept(office).name == "Support"


async def test_a_membership_of_nobody_may_be_refused(office: Office) -> None:
    await groups(office).update(2, members=[])
    assert members(office) == []
    office.firmware(group_empty_members="refused")
    with pytest.raises(Refused, match="members"):
        await groups(office).create("Sales", [])


async def test_a_write_can_be_forbidden_at_the_last_moment(office: Office) -> None:
    pbx = office.client()
    found = ExtensionGroups(pbx)

    def stop() -> None:
        raise RuntimeError("the lease is lost")

    pbx.before_write = stop
    for call in (found.create("Sales", [1]), found.update(2, name="x"), found.delete(2)):
        with pytest.raises(RuntimeError, match="lease"):
            await call
    assert (pbx.writes, group_paths(office)) == (0, ["extensiongroup/list"])


async def test_a_created_group_whose_answer_is_lost_is_found_by_its_name(office: Office) -> None:
    office.fault("commit_then_drop", "extensiongroup/create")
    found = groups(office)
    with pytest.raises(OutcomeUnknown):
        await found.create("Sales", [1])
    assert [row.name for row in await found.all()] == ["Default_All_Extensions", "Support", "Sales"]
