"""Every rule of the group planner, one at a time."""

from typing import Any

import pytest

from store.document import Groups, GroupScope
from store.groups import DirectoryGroup
from sync.group_plan import GroupsInput, PbxGroup, plan_groups
from sync.plan import Linked, Operation, Plan

EXTENSIONS = {f"user-{number}": str(number) for number in range(1000, 1300)}


def numbers(*some: int) -> frozenset[str]:
    return frozenset(map(str, some))


def group(object_id: str, *members: int, **properties: Any) -> tuple[DirectoryGroup, frozenset[str]]:
    """A group, and all the users in it."""
    usual = {"name": object_id.title(), "kind": "security"}
    users = frozenset(f"user-{number}" for number in members)
    return DirectoryGroup(id=object_id, **{**usual, **properties}), users


def on_pbx(pbx_id: int, name: str, *members: int, **more: Any) -> PbxGroup:
    return PbxGroup(pbx_id, name, **{"members": numbers(*members), **more})


def link(object_id: str, pbx_id: int, **changes: Any) -> Linked:
    usual = {"written": {"name": object_id.title()}, "name": object_id.title()}
    return Linked(object_id=object_id, pbx_id=pbx_id, number="", **{**usual, **changes})


def plan(
    *groups: tuple[DirectoryGroup, frozenset[str]],
    links: tuple[Linked, ...] = (),
    pbx: tuple[PbxGroup, ...] = (),
    complete: bool = True,
    removed: set[str] | None = None,
    changed: set[str] | None = None,
    limit: int = 63,
    held: set[str] | None = None,
    **rules: Any,
) -> Plan:
    return plan_groups(
        GroupsInput(
            groups={one.id: one for one, _ in groups},
            members={one.id: users for one, users in groups},
            complete=complete,
            removed=frozenset(removed or ()),
            changed=frozenset(changed or ()),
            links={one.object_id: one for one in links},
            extensions=EXTENSIONS,
            rules=Groups(enabled=True, **rules),
            inventory={one.pbx_id: one for one in pbx},
            limit=limit,
            held=frozenset(held or ()),
        )
    )


def only(made: Plan) -> Operation:
    assert len(made.operations) == 1, made.operations
    return made.operations[0]


def shape(made: Plan) -> list[tuple[str, str, int | None]]:
    return [(operation.kind, operation.object_id, operation.pbx_id) for operation in made.operations]


def renames(made: Plan) -> list[tuple[str, str]]:
    return [(operation.object_id, operation.after["name"]) for operation in made.operations if operation.after]


DEFAULT = PbxGroup(1, "Default_All_Extensions", everyone=True)
SALES = group("sales", 1000, 1001)
SALES_ON_PBX, SALES_LINK = on_pbx(7, "Sales", 1000, 1001), link("sales", 7)


# New groups


def test_a_new_group_is_created_with_its_members() -> None:
    operation = only(plan(SALES, pbx=(DEFAULT,)))
    assert operation == Operation(
        kind="create",
        object_id="sales",
        name="Sales",
        reason="New group.",
        after={"name": "Sales", "members": "1000, 1001"},
        fields={"name": "Sales"},
        members=("user-1000", "user-1001"),
    )


def test_members_without_an_extension_are_counted_and_nothing_fails() -> None:
    one, users = group("sales", 1000, 1001)
    assert only(plan((one, users | {"a", "b"}))).notes == ("2 of 4 members have no extension.",)
    operation = only(plan((one, users | {"a"})))
    assert operation.notes == ("1 of 3 members has no extension.",)
    assert operation.members == ("user-1000", "user-1001")


def test_a_group_of_nobody_is_an_extension_group_of_nobody() -> None:
    operation = only(plan(group("sales")))
    assert (operation.kind, operation.members, operation.after) == ("create", (), {"name": "Sales", "members": ""})


def test_a_name_is_cleaned_and_cut_with_a_note() -> None:
    assert only(plan(group("x", name=" Sales\t\u200bEast "))).fields == {"name": "Sales East"}
    operation = only(plan(group("x", name="n" * 70)))
    assert operation.fields == {"name": "n" * 63}
    assert operation.notes == ("The name was shortened to 63 characters.",)
    assert operation.name == "n" * 70


@pytest.mark.parametrize("name", ["", " \u200b\n"])
def test_a_group_without_a_name_is_skipped_and_left_alone(name: str) -> None:
    assert only(plan(group("x", 1000, name=name))).reason == "The group has no name."
    made = plan(group("sales", name=name), links=(SALES_LINK,), pbx=(SALES_ON_PBX,))
    assert shape(made) == [("skip", "sales", 7)]


def test_a_group_that_is_planned_without_its_members_is_an_error_and_not_empty() -> None:
    data = GroupsInput(
        groups={"sales": SALES[0]}, members={}, complete=True, links={}, extensions={}, rules=Groups(), inventory={}
    )
    with pytest.raises(ValueError, match="without its members"):
        plan_groups(data)


# Scope


@pytest.mark.parametrize(
    ("scope", "wanted"),
    [
        (GroupScope(), {"a", "b", "c"}),
        (GroupScope(kind="types", group_types=["security"]), {"a"}),
        (GroupScope(kind="types", group_types=["microsoft365"]), {"b"}),
        (GroupScope(kind="types", group_types=["security", "microsoft365"]), {"a", "b"}),
        (GroupScope(kind="groups", group_ids=["C", "a", "gone"]), {"a", "c"}),
    ],
)
def test_the_scope_decides_which_groups_become_extension_groups(scope: GroupScope, wanted: set[str]) -> None:
    groups = (group("a", kind="security"), group("b", kind="microsoft365"), group("c", kind="other"))
    made = plan(*groups, scope=scope)
    assert {operation.object_id for operation in made.operations} == wanted
    assert (made.out_of_scope, made.read) == (3 - len(wanted), 3)


def test_a_group_out_of_the_scope_needs_no_members() -> None:
    data = GroupsInput(
        groups={"sales": SALES[0]},
        members={},
        complete=True,
        links={},
        extensions={},
        rules=Groups(scope=GroupScope(kind="groups", group_ids=["x"])),
        inventory={},
    )
    assert plan_groups(data).out_of_scope == 1


# Groups that leave

LEAVING = GroupScope(kind="types", group_types=["microsoft365"])


@pytest.mark.parametrize(("delete", "kind"), [(True, "delete"), (False, "release")])
def test_a_group_that_leaves_the_scope_is_deleted_or_released_by_the_rule(delete: bool, kind: str) -> None:
    made = plan(SALES, links=(SALES_LINK,), pbx=(SALES_ON_PBX,), scope=LEAVING, delete_out_of_scope=delete)
    assert shape(made) == [(kind, "sales", 7)]
    assert only(made).reason.startswith("The group is no longer in the scope.")
    assert only(made).before == ({"name": "Sales", "members": "1000, 1001"} if delete else {})


@pytest.mark.parametrize(("delete", "kind"), [(True, "delete"), (False, "release")])
@pytest.mark.parametrize("round_", [{"complete": True}, {"complete": False, "removed": {"sales"}}])
def test_a_group_deleted_in_entra_is_treated_as_one_that_left_the_scope(
    delete: bool, kind: str, round_: dict[str, Any]
) -> None:
    made = plan(links=(SALES_LINK,), pbx=(SALES_ON_PBX,), delete_out_of_scope=delete, **round_)
    assert shape(made) == [(kind, "sales", 7)]
    kept = "" if delete else " The extension group stays and is managed on the PBX from now on."
    assert only(made).reason == f"The group was deleted in Entra.{kept}"


def test_what_an_incremental_round_does_not_name_stays_as_it_is() -> None:
    other = link("other", 8)
    made = plan(SALES, links=(SALES_LINK, other), pbx=(SALES_ON_PBX, on_pbx(8, "By Hand", 1)), complete=False)
    assert (made.operations, made.unchanged) == ((), 1)


def test_an_extension_group_of_a_group_that_is_not_looked_at_is_never_taken_over() -> None:
    new, renamed = group("new", name="By Hand"), on_pbx(8, "By Hand", 5)
    made = plan(new, links=(link("other", 8),), pbx=(renamed,), complete=False, associate_by_name=True)
    assert only(made).reason == "The group Other (other) has the name By Hand already; a name is given once."


def test_a_group_that_is_deleted_on_the_pbx_as_well_is_deleted_without_its_members() -> None:
    operation = only(plan(links=(SALES_LINK,), delete_out_of_scope=True))
    assert (operation.kind, operation.before) == ("delete", {"name": "Sales"})


def test_a_deleted_group_leaves_its_name_and_its_place_to_another_of_the_same_run() -> None:
    made = plan(
        group("new", 1002, name="sales"), links=(SALES_LINK,), pbx=(SALES_ON_PBX,), limit=1, delete_out_of_scope=True
    )
    assert shape(made) == [("delete", "sales", 7), ("create", "new", None)]


def test_nothing_counts_on_a_removal_that_waits_for_an_administrator() -> None:
    rules: dict[str, Any] = {"delete_out_of_scope": True, "associate_by_name": True}
    namesake, another = group("new", name="Sales"), group("zoo")
    made = plan(namesake, another, links=(SALES_LINK,), pbx=(SALES_ON_PBX,), limit=1, held={"sales"}, **rules)
    assert shape(made) == [("delete", "sales", 7), ("skip", "new", None), ("skip", "zoo", None)]


def test_released_links_are_not_removed_again() -> None:
    made = plan(links=(link("sales", 7, released=True),), pbx=(SALES_ON_PBX,), delete_out_of_scope=True)
    assert made.operations == ()


# Groups that are linked


def test_a_group_as_it_should_be_is_counted_as_unchanged() -> None:
    made = plan(SALES, links=(SALES_LINK,), pbx=(DEFAULT, SALES_ON_PBX))
    assert (made.operations, made.unchanged) == ((), 1)


def test_changed_members_are_shown_before_and_after() -> None:
    made = plan(group("sales", 1000, 1002), links=(SALES_LINK,), pbx=(SALES_ON_PBX,), changed={"sales"})
    operation = only(made)
    assert (operation.kind, operation.reason) == ("update", "Changed in Entra.")
    assert (operation.before, operation.after) == ({"members": "1000, 1001"}, {"members": "1000, 1002"})
    assert (operation.fields, operation.members) == ({"name": "Sales"}, ("user-1000", "user-1002"))


def test_a_renamed_group_renames_its_extension_group() -> None:
    operation = only(plan(group("sales", 1000, 1001, name="Sales East"), links=(SALES_LINK,), pbx=(SALES_ON_PBX,)))
    assert (operation.kind, operation.reason) == ("update", "Changed in Entra.")
    assert (operation.before, operation.after) == ({"name": "Sales"}, {"name": "Sales East"})
    assert operation.fields == {"name": "Sales East"}
    assert operation.members == ("user-1000", "user-1001")


@pytest.mark.parametrize(
    "found",
    [
        on_pbx(7, "Sales", 1000),
        on_pbx(7, "Sales", 1000, 1001, 99),
        on_pbx(7, "SALES", 1000, 1001),
        on_pbx(7, "Vendite", 1000),
        on_pbx(7, "Vendite"),
        on_pbx(7, "Sales", 1000, 1001, everyone=True),
        PbxGroup(7, "Sales", everyone=True),
    ],
)
def test_what_was_changed_by_hand_is_put_right(found: PbxGroup) -> None:
    operation = only(plan(SALES, links=(SALES_LINK,), pbx=(found,)))
    assert (operation.kind, operation.pbx_id) == ("update", 7)
    assert operation.reason == "Changed by hand on the PBX; put right."
    assert operation.after.get("name", found.name) == "Sales"
    assert operation.after.get("members", "1000, 1001") == "1000, 1001"
    if found.everyone:
        assert operation.before == {"members": "everyone"}


def test_in_an_incremental_round_a_difference_comes_from_entra_unless_the_pbx_shows_otherwise() -> None:
    round_: dict[str, Any] = {"links": (SALES_LINK,), "complete": False}
    assert only(plan(SALES, pbx=(on_pbx(7, "Sales", 1000),), **round_)).reason == "Changed in Entra."
    assert only(plan(SALES, pbx=(on_pbx(7, "Vendite", 1000),), **round_)).reason.startswith("Changed by hand")


def test_members_that_were_not_read_are_written_again() -> None:
    operation = only(plan(SALES, links=(SALES_LINK,), pbx=(PbxGroup(7, "Sales"),)))
    assert (operation.kind, operation.before, operation.after) == ("update", {}, {"members": "1000, 1001"})


def test_a_name_that_the_pbx_has_already_is_noted_in_the_link() -> None:
    old = link("sales", 7, written={"name": "Old"})
    operation = only(plan(SALES, links=(old,), pbx=(SALES_ON_PBX,)))
    assert (operation.kind, operation.after, operation.fields) == ("update", {}, {"name": "Sales"})
    assert operation.reason == "The PBX has these values already; noted."


def test_an_extension_group_deleted_by_hand_is_created_again() -> None:
    operation = only(plan(SALES, links=(SALES_LINK,), pbx=(DEFAULT,)))
    assert (operation.kind, operation.pbx_id) == ("create", None)
    assert operation.reason == "Its extension group was deleted on the PBX; it is created again."


# Members in words


def test_of_large_groups_only_the_difference_is_shown() -> None:
    found = on_pbx(7, "Sales", *range(1000, 1030), 998, 9999)
    operation = only(plan(group("sales", *range(1001, 1032)), links=(SALES_LINK,), pbx=(found,)))
    assert operation.before == {}
    assert operation.after == {"members": "+1030, +1031, -998, -1000, -9999"}


def test_at_most_a_hundred_numbers_are_listed() -> None:
    everybody = group("sales", *range(1000, 1250))
    created = only(plan(everybody)).after["members"]
    assert created.startswith("1000, 1001, ")
    assert created.endswith(", 1099 ... and 150 more")
    changed = only(plan(everybody, links=(SALES_LINK,), pbx=(on_pbx(7, "Sales", 5, 17),))).after["members"]
    assert changed.startswith("+1000, +1001, ")
    assert changed.endswith(", +1099 ... and 152 more")


def test_thousands_that_are_not_listed_are_written_with_a_separator() -> None:
    found = on_pbx(7, "Sales", *range(2000, 7000))
    after = only(plan(SALES, links=(SALES_LINK,), pbx=(found,))).after["members"]
    assert after.endswith(" ... and 4,902 more")
    deleted = only(plan(links=(SALES_LINK,), pbx=(found,), delete_out_of_scope=True)).before["members"]
    assert deleted.endswith(", 2099 ... and 4,900 more")


# Names


def test_a_name_that_is_there_already_is_skipped_or_taken_over_by_the_rule() -> None:
    found = on_pbx(9, "SALES", 1000)
    skipped = only(plan(SALES, pbx=(DEFAULT, found)))
    assert skipped.kind == "skip"
    assert skipped.reason == (
        "The PBX has an extension group Sales already. Switch on association by name to take it over."
    )
    operation = only(plan(SALES, pbx=(DEFAULT, found), associate_by_name=True))
    assert (operation.kind, operation.pbx_id, operation.fields) == ("associate", 9, {"name": "Sales"})
    assert operation.before == {"name": "SALES", "members": "1000"}
    assert operation.after == {"name": "Sales", "members": "1000, 1001"}
    assert operation.members == ("user-1000", "user-1001")


def test_an_extension_group_that_is_right_already_is_associated_without_a_change() -> None:
    operation = only(plan(SALES, pbx=(SALES_ON_PBX,), associate_by_name=True))
    assert (operation.kind, operation.before, operation.after) == ("associate", {}, {})


@pytest.mark.parametrize("found", [DEFAULT, PbxGroup(1, "Default_All_Extensions", members=numbers(1000))])
def test_the_group_of_all_extensions_is_never_taken_over(found: PbxGroup) -> None:
    named = group("x", name="default_all_extensions")
    released = link("x", 1, written={"name": "Default_All_Extensions"}, released=True)
    for links in ((), (released,), (link("x", 1, written={"name": "Default_All_Extensions"}),)):
        operation = only(plan(named, pbx=(found,), links=links, associate_by_name=True))
        assert operation.kind == "skip"
        assert operation.reason.endswith("of all extensions, which is never taken over.")


def test_a_group_of_everybody_made_by_hand_is_never_taken_over() -> None:
    found = PbxGroup(9, "Sales", everyone=True, members=numbers(1000))
    for links in ((), (link("sales", 9, released=True),)):
        assert only(plan(SALES, pbx=(found,), links=links, associate_by_name=True)).kind == "skip"


def test_of_two_groups_with_the_same_name_the_first_by_id_gets_it() -> None:
    made = plan(group("b", name="sales"), group("a", name="Sales"), group("c", name="SALES"))
    assert shape(made) == [("create", "a", None), ("skip", "b", None), ("skip", "c", None)]
    assert made.operations[1].reason == "The group Sales (a) has the name sales already; a name is given once."


def test_who_has_a_name_keeps_it() -> None:
    made = plan(group("a", name="Sales"), SALES, links=(SALES_LINK,), pbx=(SALES_ON_PBX,))
    assert shape(made) == [("skip", "a", None)]
    assert made.unchanged == 1


def test_names_that_are_the_same_after_cutting_are_the_same() -> None:
    made = plan(group("a", name="n" * 63 + "1"), group("b", name="n" * 63 + "2"))
    assert shape(made) == [("create", "a", None), ("skip", "b", None)]


def test_a_name_that_moves_is_freed_before_it_is_given() -> None:
    made = plan(
        group("a", name="Two"),
        group("b", name="Three"),
        group("c", name="Four"),
        links=tuple(link(who, number, written={"name": name}) for who, number, name in
                    (("a", 1, "One"), ("b", 2, "Two"), ("c", 3, "Three"))),
        pbx=(on_pbx(1, "One"), on_pbx(2, "Two"), on_pbx(3, "Three")),
    )  # fmt: skip
    assert renames(made) == [("c", "Four"), ("b", "Three"), ("a", "Two")]


def test_a_name_that_is_freed_by_a_rename_is_given_to_a_new_group() -> None:
    made = plan(
        group("sales", 1000, 1001, name="West"), group("new", name="Sales"), links=(SALES_LINK,), pbx=(SALES_ON_PBX,)
    )
    assert renames(made) == [("sales", "West"), ("new", "Sales")]


def test_names_that_wait_for_each_other_in_a_circle_stay_with_a_note() -> None:
    circle = (group("a", name="Two"), group("b", 1000, name="One"))
    links = (link("a", 1, written={"name": "One"}), link("b", 2, written={"name": "Two"}))
    made = plan(*circle, links=links, pbx=(on_pbx(1, "One"), on_pbx(2, "Two")))
    assert shape(made) == [("update", "b", 2), ("skip", "a", 1)]
    update, skip = made.operations
    assert (update.after, update.fields) == ({"members": "1000"}, {"name": "Two"})
    assert update.notes == ("It keeps the name Two: the group Two (a) has the name One.",)
    assert skip.reason == "It keeps the name One: the group One (b) has the name Two."


def test_a_rename_onto_a_name_that_is_not_linked_waits_with_the_reason() -> None:
    found = (on_pbx(7, "Sales", 1000, 1001), on_pbx(8, "West", 1))
    operation = only(plan(group("sales", 1000, 1001, name="West"), links=(SALES_LINK,), pbx=found))
    assert (operation.kind, operation.pbx_id) == ("skip", 7)
    assert operation.reason == "It keeps the name Sales: an extension group that is not linked has the name West."


def test_an_extension_group_that_got_its_name_in_other_letters_is_renamed_in_place() -> None:
    made = plan(group("sales", 1000, 1001, name="SALES"), links=(SALES_LINK,), pbx=(SALES_ON_PBX,))
    assert only(made).after == {"name": "SALES"}


def test_of_two_that_differ_in_letters_only_the_exact_one_is_associated() -> None:
    found = (on_pbx(8, "sales"), on_pbx(9, "Sales"))
    operation = only(plan(SALES, pbx=found, associate_by_name=True))
    assert (operation.kind, operation.pbx_id) == ("associate", 9)
    assert operation.after == {"members": "1000, 1001"}


# Room


def test_what_does_not_fit_is_skipped_in_the_order_of_the_names() -> None:
    made = plan(group("z", name="b"), group("y", name="A"), group("x", name="C"), pbx=(DEFAULT,), limit=3)
    assert shape(made) == [("create", "y", None), ("create", "z", None), ("skip", "x", None)]
    assert made.operations[2].reason == "The PBX takes 3 extension groups, and has no room for another one."


def test_sixty_three_extension_groups_fit_those_made_by_hand_included() -> None:
    by_hand = tuple(on_pbx(number, f"By hand {number}") for number in range(2, 12))
    made = plan(*(group(f"g{number:03}") for number in range(60)), pbx=(DEFAULT, *by_hand))
    assert made.counts() == {"create": 52, "skip": 8}


def test_linked_groups_keep_their_place_and_get_it_back_first() -> None:
    made = plan(group("a"), SALES, group("z"), links=(SALES_LINK, link("z", 8)), pbx=(SALES_ON_PBX,), limit=2)
    assert shape(made) == [("create", "z", None), ("skip", "a", None)]


# Groups that come back


def test_a_group_that_is_back_finds_its_extension_group_again() -> None:
    released = link("sales", 7, released=True)
    operation = only(plan(SALES, links=(released,), pbx=(on_pbx(7, "Sales", 1000),)))
    assert (operation.kind, operation.pbx_id) == ("associate", 7)
    assert operation.reason == "The group is back; its extension group is linked again."
    assert operation.after == {"members": "1000, 1001"}


@pytest.mark.parametrize("pbx", [(), (on_pbx(7, "Other", 1000),)])
def test_a_group_that_is_back_is_new_when_its_extension_group_is_gone_or_renamed(pbx: tuple[PbxGroup, ...]) -> None:
    operation = only(plan(SALES, links=(link("sales", 7, released=True),), pbx=pbx))
    assert (operation.kind, operation.reason) == ("create", "New group.")


def test_an_extension_group_that_another_group_has_now_is_not_given_back() -> None:
    other = group("other", 1000, 1001, name="Sales")
    links = (link("sales", 7, released=True), link("other", 7, written={"name": "Sales"}))
    made = plan(SALES, other, links=links, pbx=(SALES_ON_PBX,))
    assert shape(made) == [("skip", "sales", None)]
    assert made.unchanged == 1


# Ids that mean another extension group


def test_an_extension_group_under_another_name_without_our_members_is_left_alone() -> None:
    operation = only(plan(SALES, links=(SALES_LINK,), pbx=(on_pbx(7, "Doors", 5, 6),)))
    assert operation.kind == "skip"
    assert operation.reason == (
        "The id of its extension group belongs to Doors on the PBX, which may be another one and is left alone."
        " Give it the name of this group to link it again, or delete it."
    )


@pytest.mark.parametrize(
    "found",
    [
        PbxGroup(7, "Doors"),
        PbxGroup(7, "Doors", everyone=True, members=numbers(1000)),
        PbxGroup(7, "Default_All_Extensions", members=numbers(1000)),
    ],
)
def test_an_extension_group_of_which_too_little_is_known_is_left_alone(found: PbxGroup) -> None:
    assert only(plan(SALES, links=(SALES_LINK,), pbx=(found,))).kind == "skip"


def test_where_another_extension_group_has_our_name_ours_is_not_the_one_with_the_id() -> None:
    found = (on_pbx(7, "Doors", 1000), on_pbx(3, "Sales", 1000))
    assert shape(plan(SALES, links=(SALES_LINK,), pbx=found)) == [("skip", "sales", None)]
    assert shape(plan(SALES, links=(SALES_LINK,), pbx=found, associate_by_name=True)) == [("associate", "sales", 3)]


@pytest.mark.parametrize("found", [on_pbx(7, "Doors", 5, 6), on_pbx(7, "Doors"), DEFAULT])
def test_a_stranger_is_never_deleted(found: PbxGroup) -> None:
    old = link("sales", found.pbx_id)
    operation = only(plan(links=(old,), pbx=(found,), delete_out_of_scope=True))
    assert operation.kind == "release"
    assert operation.reason == (
        f"The group was deleted in Entra. Its id on the PBX belongs to the extension group {found.name} now."
    )


def test_an_extension_group_renamed_by_hand_is_deleted_when_it_has_our_members() -> None:
    found = (on_pbx(7, "Vendite", 1000),)
    made = plan(SALES, links=(SALES_LINK,), pbx=found, scope=LEAVING, delete_out_of_scope=True)
    assert shape(made) == [("delete", "sales", 7)]


def test_a_doubtful_claim_takes_no_extension_group_away_from_who_has_its_name() -> None:
    doors = group("doors", 1000)
    links = (link("sales", 7), link("a", 7, written={"name": "Old"}), link("doors", 7))
    made = plan(SALES, doors, group("a", 1000), links=links, pbx=(on_pbx(7, "Doors", 1000),))
    assert made.unchanged == 1
    assert shape(made) == [("skip", "a", None), ("skip", "sales", None)]
