"""Every rule of the planner, one at a time."""

from typing import Any

import pytest

from graph.models import Removed, User
from store.document import Numbering, Users, UserScope
from sync.plan import Extension, Inventory, Linked, Operation, Plan
from sync.planner import UsersInput, needs_inventory, plan_users

FIELDS = {"first_name": "", "last_name": "", "email_addr": "", "mobile_number": "", "title": ""}


def user(object_id: str = "ann", **properties: Any) -> User:
    usual = {"given_name": object_id.title(), "user_principal_name": f"{object_id}@x.example", "account_enabled": True}
    return User(id=object_id, **{**usual, **properties})


def fields(**changes: str) -> dict[str, str]:
    return {**FIELDS, **changes}


def extension(pbx_id: int, number: str, **changes: str) -> Extension:
    made = fields(**changes)
    return Extension(pbx_id, number, made["email_addr"], made)


def link(object_id: str, of: Extension, **changes: Any) -> Linked:
    usual = {
        "pbx_id": of.pbx_id,
        "number": of.number,
        "written": of.fields,
        "name": object_id.title(),
        "user_principal_name": f"{object_id}@x.example",
    }
    return Linked(object_id=object_id, **{**usual, **changes})


def plan(
    *users: User,
    links: tuple[Linked, ...] = (),
    pbx: tuple[Extension, ...] | None = (),
    free: int | None = None,
    members: frozenset[str] | None = None,
    complete: bool = True,
    interrupted: dict[str, str] | None = None,
    **rules: Any,
) -> Plan:
    return plan_users(
        UsersInput(
            users={item.id: item for item in users},
            complete=complete,
            links={item.object_id: item for item in links},
            rules=Users(enabled=True, **rules),
            members=members,
            inventory=None if pbx is None else Inventory({item.pbx_id: item for item in pbx}, free),
            interrupted=interrupted or {},
        )
    )


def only(made: Plan) -> Operation:
    assert len(made.operations) == 1, made.operations
    return made.operations[0]


def shape(made: Plan) -> list[tuple[str, str, str]]:
    return [(operation.kind, operation.object_id, operation.number) for operation in made.operations]


ANN = extension(7, "1000", first_name="Ann", email_addr="ann@x.example")
BOB = extension(8, "1001", first_name="Bob", email_addr="bob@x.example")
ANN_USER = user("ann", mail="ann@x.example")
BOB_USER = user("bob", mail="bob@x.example")
ANN_LINK, BOB_LINK = link("ann", ANN), link("bob", BOB)
BY_PROPERTY = Numbering(kind="property", property="businessPhones")


# Scope


@pytest.mark.parametrize(
    ("types", "wanted"),
    [
        (["Member"], {"member", "old-member"}),
        (["Guest"], {"guest", "old-guest"}),
        (["Member", "Guest"], {"member", "guest", "old-member", "old-guest"}),
    ],
)
def test_a_scope_by_type_takes_old_objects_for_what_their_name_says(types: list[Any], wanted: set[str]) -> None:
    people = (
        user("member", user_type="Member"),
        user("guest", user_type="Guest"),
        user("old-member", user_type=None),
        user("old-guest", user_type=None, user_principal_name="jo_fabrikam.example#EXT#@x.example"),
    )
    made = plan(*people, scope=UserScope(kind="types", user_types=types))
    assert {operation.object_id for operation in made.operations} == wanted
    assert made.out_of_scope == 4 - len(wanted)


def test_a_scope_by_groups_takes_the_members_and_nobody_else() -> None:
    scope = UserScope(kind="groups", group_ids=["g"])
    made = plan(ANN_USER, BOB_USER, scope=scope, members=frozenset({"bob"}))
    assert shape(made) == [("create", "bob", "1000")]
    assert made.out_of_scope == 1


def test_a_scope_by_groups_without_its_members_is_an_error_and_no_empty_scope() -> None:
    with pytest.raises(ValueError, match="members of the groups"):
        plan(ANN_USER, links=(ANN_LINK,), pbx=(ANN,), scope=UserScope(kind="groups", group_ids=["g"]))


@pytest.mark.parametrize(("delete", "kind"), [(True, "delete"), (False, "release")])
def test_who_leaves_the_scope_is_deleted_or_released_by_the_rule(delete: bool, kind: str) -> None:
    scope = UserScope(kind="groups", group_ids=["g"])
    made = plan(ANN_USER, links=(ANN_LINK,), pbx=(ANN,), scope=scope, members=frozenset(), delete_out_of_scope=delete)
    operation = only(made)
    assert (operation.kind, operation.pbx_id, operation.number) == (kind, 7, "1000")
    assert operation.reason.startswith("The user is no longer in the scope.")
    assert operation.before == (ANN.fields if delete else {})


# Disabled and deleted accounts


@pytest.mark.parametrize(("when", "kinds"), [(["disabled"], ["delete"]), (["deleted"], []), ([], [])])
def test_a_disabled_account_loses_its_extension_only_by_the_rule(when: list[Any], kinds: list[str]) -> None:
    made = plan(
        user("ann", mail="ann@x.example", account_enabled=False), links=(ANN_LINK,), pbx=(ANN,), delete_when=when
    )
    assert [operation.kind for operation in made.operations] == kinds
    assert made.unchanged == 1 - len(kinds)


def test_a_disabled_account_without_extension_is_skipped_with_the_reason() -> None:
    assert only(plan(user(account_enabled=False))).reason == "The account is disabled in Entra."


def test_a_disabled_account_gets_an_extension_when_the_rule_is_off() -> None:
    assert only(plan(user(account_enabled=False), delete_when=["deleted"])).kind == "create"


def test_an_account_whose_state_is_not_known_counts_as_enabled() -> None:
    assert only(plan(user(account_enabled=None))).kind == "create"


def test_a_disabled_account_out_of_scope_is_deleted_for_being_disabled() -> None:
    scope = UserScope(kind="types", user_types=["Guest"])
    made = plan(user(account_enabled=False), links=(ANN_LINK,), pbx=(ANN,), scope=scope)
    assert only(made).kind == "delete"


@pytest.mark.parametrize(("when", "kind"), [(["deleted"], "delete"), (["disabled"], "release"), ([], "release")])
@pytest.mark.parametrize("complete", [True, False])
def test_a_deleted_user_is_deleted_or_released_by_the_rule(when: list[Any], kind: str, complete: bool) -> None:
    gone = user("ann", removed=Removed())
    made = plan(gone, links=(ANN_LINK,), pbx=(ANN,), delete_when=when, complete=complete)
    assert only(made).kind == kind
    assert only(made).reason.startswith("The user was deleted in Entra.")


def test_a_user_missing_from_a_complete_read_is_gone() -> None:
    assert only(plan(BOB_USER, links=(ANN_LINK, BOB_LINK), pbx=(ANN, BOB))).kind == "delete"


def test_a_user_missing_from_an_incremental_round_is_only_unchanged() -> None:
    assert plan(BOB_USER, links=(ANN_LINK, BOB_LINK), pbx=(ANN, BOB), complete=False).operations == ()


def test_a_deleted_user_who_never_had_an_extension_is_no_matter() -> None:
    assert plan(user(removed=Removed())) == Plan()


# Addresses


def test_with_association_an_extension_with_the_address_is_taken_over_and_overwritten() -> None:
    found = extension(9, "2000", first_name="Annie", title="Temp", email_addr="Ann@X.example")
    operation = only(plan(ANN_USER, pbx=(found,), associate_by_email=True))
    assert (operation.kind, operation.pbx_id, operation.number) == ("associate", 9, "2000")
    assert operation.before == {"first_name": "Annie", "title": "Temp", "email_addr": "Ann@X.example"}
    assert operation.after == {"first_name": "Ann", "title": "", "email_addr": "ann@x.example"}


def test_without_association_who_has_an_extensions_address_is_skipped() -> None:
    operation = only(plan(ANN_USER, pbx=(ANN,)))
    assert (operation.kind, operation.number) == ("skip", "1000")
    assert "Switch on association by e-mail" in operation.reason


def test_an_address_of_an_extension_linked_to_another_is_not_given_twice() -> None:
    twin = user("twin", mail="ANN@x.example")
    operation = only(plan(ANN_USER, twin, links=(ANN_LINK,), pbx=(ANN,), associate_by_email=True))
    assert (operation.kind, operation.object_id) == ("skip", "twin")
    assert "extension 1000 already, which belongs to Ann" in operation.reason


def test_of_two_new_users_with_one_address_the_first_by_name_gets_it() -> None:
    made = plan(user("zoe", mail="info@x.example"), user("abe", mail="INFO@x.example"))
    assert shape(made) == [("create", "abe", "1000"), ("skip", "zoe", "")]
    assert "belongs to Abe" in made.operations[1].reason


def test_an_address_moves_from_one_user_to_another_in_the_order_the_pbx_takes() -> None:
    ann, bob = user("ann", mail="bob@x.example"), user("bob", mail="robert@x.example")
    made = plan(ann, bob, links=(ANN_LINK, BOB_LINK), pbx=(ANN, BOB))
    assert shape(made) == [("update", "bob", "1001"), ("update", "ann", "1000")]


def test_users_who_swap_addresses_keep_theirs_with_a_reason_that_stays() -> None:
    ann, bob = user("ann", mail="bob@x.example"), user("bob", mail="ann@x.example")
    made = plan(ann, bob, links=(ANN_LINK, BOB_LINK), pbx=(ANN, BOB))
    assert shape(made) == [("skip", "ann", "1000"), ("skip", "bob", "1001")]
    assert made.operations[0].reason == ("The e-mail address bob@x.example was left as it is: extension 1001 has it.")


def test_a_blocked_address_does_not_keep_the_other_fields_back() -> None:
    ann = user("ann", given_name="Anna", mail="desk@x.example")
    desk = extension(9, "2000", email_addr="desk@x.example")
    operation = only(plan(ann, links=(ANN_LINK,), pbx=(ANN, desk)))
    assert (operation.kind, operation.after) == ("update", {"first_name": "Anna"})
    assert "extension 2000 has it" in operation.notes[0]


def test_the_address_of_a_deleted_user_is_free_for_a_new_one_at_once() -> None:
    heir = user("heir", mail="ann@x.example")
    made = plan(heir, links=(ANN_LINK,), pbx=(ANN,))
    assert shape(made) == [("delete", "ann", "1000"), ("create", "heir", "1001")]
    assert made.operations[1].fields["email_addr"] == "ann@x.example"


def test_an_extension_released_in_this_plan_can_be_associated_in_it() -> None:
    heir = user("heir", mail="ann@x.example")
    made = plan(heir, links=(ANN_LINK,), pbx=(ANN,), delete_when=[], associate_by_email=True)
    assert shape(made) == [("release", "ann", "1000"), ("associate", "heir", "1000")]


def test_users_without_an_address_share_nothing() -> None:
    assert shape(plan(user("ann"), user("bob"))) == [("create", "ann", "1000"), ("create", "bob", "1001")]


def test_an_address_the_pbx_does_not_take_is_left_out_with_a_note() -> None:
    operation = only(plan(user("ann", mail="ann+pbx@x.example")))
    assert operation.fields["email_addr"] == ""
    assert "was left out" in operation.notes[0]


# Numbers


def test_numbers_go_upward_from_the_start_by_name_and_skip_what_is_taken() -> None:
    taken = extension(9, "1001", email_addr="desk@x.example")
    made = plan(user("b"), user("a"), user("c"), pbx=(taken,))
    assert shape(made) == [("create", "a", "1000"), ("create", "b", "1002"), ("create", "c", "1003")]


def test_the_number_of_a_link_is_kept_while_its_extension_may_come_back() -> None:
    made = plan(user("ann"), user("bob"), links=(link("bob", BOB, number="1000"),), pbx=())
    assert shape(made) == [("create", "bob", "1000"), ("create", "ann", "1001")]


def test_the_number_of_a_link_is_kept_also_while_its_user_is_not_looked_at() -> None:
    made = plan(user("ann"), links=(link("bob", BOB, number="1000"),), pbx=(), complete=False)
    assert shape(made) == [("create", "ann", "1001")]


def test_the_number_of_a_link_is_free_when_its_user_takes_over_another_extension() -> None:
    other = extension(9, "3000", email_addr="ann@x.example")
    wants = user("wim", business_phones=["1000"])
    made = plan(ANN_USER, wants, links=(ANN_LINK,), pbx=(other,), number=BY_PROPERTY, associate_by_email=True)
    assert shape(made) == [("associate", "ann", "3000"), ("create", "wim", "1000")]


def test_there_may_be_no_number_left() -> None:
    made = plan(user("ann"), user("bob"), number=Numbering(start=9_999_999))
    assert [operation.kind for operation in made.operations] == ["create", "skip"]
    assert made.operations[1].reason == "There is no free number from 9999999 upward."


@pytest.mark.parametrize(
    ("phones", "reason"),
    [
        ([], "is empty"),
        (["ask reception"], "there are no digits"),
        (["+31201234567"], "at most 7 digits"),
        (["1000"], "The number 1000 from businessPhones is taken already."),
    ],
)
def test_a_property_that_gives_no_number_is_reported_on_that_user(phones: list[str], reason: str) -> None:
    desk = extension(9, "1000", first_name="Desk")
    made = plan(
        user("ann", business_phones=phones), user("bob", business_phones=["2041"]), pbx=(desk,), number=BY_PROPERTY
    )
    skip = made.operations[-1]
    assert shape(made) == [("create", "bob", "2041"), ("skip", "ann", skip.number)]
    assert reason in skip.reason


def test_of_two_users_with_one_number_the_first_by_name_gets_it() -> None:
    made = plan(user("ann", business_phones=["2041"]), user("bob", business_phones=["ext. 2041"]), number=BY_PROPERTY)
    assert shape(made) == [("create", "ann", "2041"), ("skip", "bob", "2041")]


def test_a_number_that_becomes_free_by_a_deletion_can_be_had_by_name_but_is_not_handed_on() -> None:
    gone = plan(user("heir", business_phones=["1000"]), links=(ANN_LINK,), pbx=(ANN,), number=BY_PROPERTY)
    assert shape(gone) == [("delete", "ann", "1000"), ("create", "heir", "1000")]
    assert shape(plan(user("heir"), links=(ANN_LINK,), pbx=(ANN,)))[1] == ("create", "heir", "1001")


def test_a_linked_user_keeps_the_number_whatever_the_property_says_later() -> None:
    ann = user("ann", mail="ann@x.example", business_phones=["2041"])
    assert plan(ann, links=(ANN_LINK,), pbx=(ANN,), number=BY_PROPERTY) == Plan(unchanged=1, read=1)


# Room


def test_what_does_not_fit_the_licence_is_skipped_with_that_reason() -> None:
    made = plan(user("ann"), user("bob"), user("cy"), free=2)
    assert [operation.kind for operation in made.operations] == ["create", "create", "skip"]
    assert "no room" in made.operations[2].reason


def test_a_deletion_makes_room_also_of_an_extension_without_address() -> None:
    nameless = extension(7, "1000", first_name="Ann")
    made = plan(user("bob"), links=(link("ann", nameless),), pbx=(nameless,), free=0)
    assert [operation.kind for operation in made.operations] == ["delete", "create"]


def test_a_deletion_of_what_is_gone_already_makes_no_room() -> None:
    made = plan(user("bob"), links=(ANN_LINK,), pbx=(), free=0)
    assert [operation.kind for operation in made.operations] == ["delete", "skip"]


def test_an_association_needs_no_room() -> None:
    assert only(plan(ANN_USER, pbx=(ANN,), free=0, associate_by_email=True)).kind == "associate"


# Changes, drift, and extensions that are gone


def test_a_change_in_entra_is_written_with_before_and_after() -> None:
    operation = only(plan(user("ann", given_name="Anna", mail="ann@x.example"), links=(ANN_LINK,), pbx=(ANN,)))
    assert (operation.kind, operation.reason) == ("update", "Changed in Entra.")
    assert (operation.before, operation.after) == ({"first_name": "Ann"}, {"first_name": "Anna"})


def test_a_change_by_hand_on_the_pbx_is_put_right_and_named_so() -> None:
    edited = extension(7, "1000", first_name="Ann", email_addr="ann@x.example", title="Queen")
    operation = only(plan(ANN_USER, links=(ANN_LINK,), pbx=(edited,)))
    assert (operation.before, operation.after) == ({"title": "Queen"}, {"title": ""})
    assert operation.reason == "Changed by hand on the PBX; put right."


def test_what_the_pbx_has_already_is_noted_without_a_write() -> None:
    stale = link("ann", ANN, written=fields(first_name="Annie", email_addr="ann@x.example"))
    operation = only(plan(ANN_USER, links=(stale,), pbx=(ANN,)))
    assert (operation.kind, operation.before, operation.after) == ("update", {}, {})
    assert operation.fields == ANN.fields
    assert operation.reason == "The PBX has these values already; noted."


def test_what_the_pbx_has_already_is_noted_even_while_an_address_is_blocked() -> None:
    ann = user("ann", mail="bob@x.example")
    stale = link("ann", ANN, written=fields(first_name="Annie", email_addr="ann@x.example"))
    operation = only(plan(ann, BOB_USER, links=(stale, BOB_LINK), pbx=(ANN, BOB)))
    assert (operation.kind, operation.after, operation.fields) == ("update", {}, ANN.fields)
    assert "extension 1001 has it" in operation.notes[0]


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("changes", [{"display_name": "Ann the Second"}, {"user_principal_name": "queen@x.example"}])
def test_a_name_that_changed_is_noted_without_a_write(changes: dict[str, str], complete: bool) -> None:
    ann = user("ann", mail="ann@x.example", **changes)
    operation = only(plan(ann, links=(ANN_LINK,), pbx=(ANN,) if complete else None, complete=complete))
    assert (operation.kind, operation.before, operation.after) == ("update", {}, {})
    assert operation.reason == "The name in Entra changed; noted."
    assert {operation.name, operation.user_principal_name} > set(changes.values())


def test_a_name_that_changed_is_noted_even_while_an_address_is_blocked() -> None:
    ann = user("ann", mail="bob@x.example", display_name="Ann the Second")
    operation = only(plan(ann, BOB_USER, links=(ANN_LINK, BOB_LINK), pbx=(ANN, BOB)))
    assert (operation.kind, operation.name, operation.after) == ("update", "Ann the Second", {})
    assert "extension 1001 has it" in operation.notes[0]


def test_only_a_number_that_could_be_any_other_may_be_replaced_while_a_create_is_sent() -> None:
    assert only(plan(user("ann"))).any_number
    assert only(plan(user("ann"), interrupted={"ann": "1000"})).any_number
    assert not only(plan(ANN_USER, links=(ANN_LINK,), pbx=())).any_number
    told = user("ann", business_phones=["2041"])
    assert not only(plan(told, number=BY_PROPERTY)).any_number
    assert not only(plan(told, number=BY_PROPERTY, interrupted={"ann": "2041"})).any_number


def test_nothing_to_change_is_no_operation() -> None:
    assert plan(ANN_USER, links=(ANN_LINK,), pbx=(ANN,)) == Plan(unchanged=1, read=1)


def test_an_incremental_round_compares_with_what_was_last_written() -> None:
    ann = user("ann", given_name="Anna", mail="ann@x.example")
    made = plan(ann, links=(ANN_LINK,), pbx=None, complete=False)
    assert (only(made).kind, only(made).after) == ("update", {"first_name": "Anna"})


def test_addresses_that_move_within_an_incremental_round_are_ordered_without_the_list_of_extensions() -> None:
    ann, bob = user("ann", mail="bob@x.example"), user("bob", mail="robert@x.example")
    made = plan(ann, bob, links=(ANN_LINK, BOB_LINK), pbx=None, complete=False)
    assert [operation.object_id for operation in made.operations] == ["bob", "ann"]


def test_a_new_user_is_never_planned_without_the_list_of_extensions() -> None:
    with pytest.raises(ValueError, match="list of extensions"):
        plan(ANN_USER, pbx=None, complete=False)


def test_an_extension_deleted_by_hand_comes_back_with_its_number() -> None:
    operation = only(plan(ANN_USER, links=(ANN_LINK,), pbx=()))
    assert (operation.kind, operation.number, operation.pbx_id) == ("create", "1000", None)
    assert operation.reason == "Its extension was deleted on the PBX; it is created again with its number."


def test_an_extension_deleted_by_hand_does_not_come_back_over_another_ones_number() -> None:
    other = extension(9, "1000", first_name="Desk")
    operation = only(plan(ANN_USER, links=(ANN_LINK,), pbx=(other,)))
    assert operation.kind == "skip"
    assert "the number 1000 belongs to another one now" in operation.reason


def test_an_extension_made_anew_by_hand_is_linked_by_its_address_where_that_is_allowed() -> None:
    again = extension(9, "1000", first_name="Ann", email_addr="ann@x.example")
    operation = only(plan(ANN_USER, links=(ANN_LINK,), pbx=(again,), associate_by_email=True))
    assert (operation.kind, operation.pbx_id) == ("associate", 9)


def test_an_extension_that_comes_back_does_not_take_an_address_of_another() -> None:
    ann = user("ann", mail="bob@x.example")
    made = plan(ann, BOB_USER, links=(ANN_LINK, BOB_LINK), pbx=(BOB,))
    assert shape(made) == [("skip", "ann", "")]


def test_a_create_that_was_interrupted_is_repeated_with_its_number() -> None:
    made = plan(user("ann"), user("zoe"), interrupted={"zoe": "1000", "gone": "1001"})
    assert shape(made) == [("create", "zoe", "1000"), ("create", "ann", "1001")]
    assert made.operations[0].reason == "Its creation was interrupted and is repeated."


def test_a_number_of_an_interrupted_create_that_another_took_is_not_forced() -> None:
    desk = extension(9, "1000", first_name="Desk")
    assert shape(plan(user("zoe"), pbx=(desk,), interrupted={"zoe": "1000"})) == [("create", "zoe", "1001")]


STRANGER = extension(7, "2000", first_name="Stranger", email_addr="stranger@x.example")


def test_an_id_that_belongs_to_a_stranger_now_is_never_touched() -> None:
    assert shape(plan(ANN_USER, links=(ANN_LINK,), pbx=(STRANGER,))) == [("create", "ann", "1000")]
    for deleted in ([], ["deleted"]):
        operation = only(plan(links=(ANN_LINK,), pbx=(STRANGER,), delete_when=deleted))
        assert operation.kind == "release"
        assert "belongs to extension 2000 now" in operation.reason


def test_a_stranger_under_a_links_id_can_be_associated_with_its_own_user() -> None:
    own = user("sam", mail="stranger@x.example")
    made = plan(ANN_USER, own, links=(ANN_LINK,), pbx=(STRANGER,), associate_by_email=True)
    assert shape(made) == [("associate", "sam", "2000"), ("create", "ann", "1000")]


def test_an_extension_that_was_renumbered_by_hand_is_still_the_users() -> None:
    renumbered = extension(7, "2000", first_name="Anna", email_addr="ann@x.example")
    assert shape(plan(ANN_USER, links=(ANN_LINK,), pbx=(renumbered,))) == [("update", "ann", "2000")]


@pytest.mark.parametrize(
    "renamed",
    [{"display_name": "Ann of the Lists"}, {"user_principal_name": "ann@lists.example"}],
    ids=["display-name", "user-principal-name"],
)
def test_a_new_name_alone_is_noted_for_the_lists_without_a_write(renamed: dict[str, str]) -> None:
    operation = only(plan(user("ann", mail="ann@x.example", **renamed), links=(ANN_LINK,), pbx=(ANN,)))
    assert (operation.kind, operation.reason) == ("update", "The name in Entra changed; noted.")
    assert (operation.before, operation.after, operation.fields) == ({}, {}, ANN.fields)


# Coming back


def test_a_user_who_is_back_after_a_release_is_linked_again() -> None:
    released = link("ann", ANN, released=True)
    operation = only(plan(ANN_USER, links=(released,), pbx=(ANN,)))
    assert (operation.kind, operation.pbx_id, operation.after) == ("associate", 7, {})
    assert operation.reason == "The user is back; the extension it had is linked again."


def test_an_extension_given_to_somebody_else_since_is_not_taken_back() -> None:
    released = link("ann", ANN, released=True)
    reused = extension(7, "1000", first_name="Cy", email_addr="cy@x.example")
    assert shape(plan(ANN_USER, links=(released,), pbx=(reused,))) == [("create", "ann", "1001")]


def test_an_extension_linked_to_another_user_since_is_not_taken_back() -> None:
    heir = user("heir", mail="ann@x.example")
    taken = (link("ann", ANN, released=True), link("heir", ANN))
    made = plan(user("ann", mail="ann.b@x.example"), heir, links=taken, pbx=(ANN,))
    assert ("create", "ann", "1001") in shape(made)


def test_a_released_link_is_left_alone_when_its_user_is_gone_or_out_of_scope() -> None:
    released = link("ann", ANN, released=True)
    assert plan(links=(released,), pbx=(ANN,)) == Plan()
    scope = UserScope(kind="types", user_types=["Guest"])
    assert plan(ANN_USER, links=(released,), pbx=(ANN,), scope=scope).operations == ()


# The order of operations, and what an incremental run has to read


def test_what_frees_something_comes_first_and_skips_come_last() -> None:
    made = plan(
        user("new"),
        user("off", account_enabled=False),
        user("bob", given_name="Robert", mail="bob@x.example"),
        links=(ANN_LINK, BOB_LINK),
        pbx=(ANN, BOB),
    )
    assert [operation.kind for operation in made.operations] == ["delete", "update", "create", "skip"]
    assert made.counts() == {"delete": 1, "update": 1, "create": 1, "skip": 1}
    assert made.read == 3


@pytest.mark.parametrize(
    ("changed", "links", "needed"),
    [
        (user("ann"), {}, True),
        (user("ann"), {"ann": link("ann", ANN, released=True)}, True),
        (user("ann"), {"ann": ANN_LINK}, False),
        (user("ann", removed=Removed()), {}, False),
        (user("ann", account_enabled=False), {}, False),
        (user("ann", user_type="Guest"), {}, False),
    ],
)
def test_only_who_may_get_an_extension_takes_the_list_of_all(
    changed: User, links: dict[str, Linked], needed: bool
) -> None:
    rules = Users(scope=UserScope(kind="types", user_types=["Member"]))
    assert needs_inventory([changed], links, rules, None) == needed


def test_addresses_that_move_along_a_long_chain_are_planned_from_its_free_end() -> None:
    count = 3000
    pbx = tuple(extension(index, str(1000 + index), email_addr=f"u{index}@x.example") for index in range(count))
    links = tuple(link(f"{index:05}", item) for index, item in enumerate(pbx))
    people = [user(f"{index:05}", given_name="", mail=f"u{index + 1}@x.example") for index in range(count)]
    made = plan(*people, links=links, pbx=pbx)
    assert made.counts() == {"update": count}
    assert [operation.object_id for operation in made.operations] == [f"{n:05}" for n in reversed(range(count))]
