"""Rounds of ``groups/delta`` applied to what is known, and nested groups."""

import random
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.models import Group, Member, Removed
from store.groups import DirectoryGroup
from sync.membership import Merged, Tree, merge


def user(user_id: str) -> Member:
    return Member(user_id, "#microsoft.graph.user")


def nested(group_id: str) -> Member:
    return Member(group_id, "#microsoft.graph.group")


def gone(member: Member) -> Member:
    return msgspec.structs.replace(member, removed=Removed("deleted"))


def known(*groups: DirectoryGroup) -> dict[str, DirectoryGroup]:
    return {group.id: group for group in groups}


def group(group_id: str, users: Iterable[str] = (), groups: Iterable[str] = (), **more: Any) -> DirectoryGroup:
    return DirectoryGroup(id=group_id, users=frozenset(users), groups=frozenset(groups), **more)


def first(*entries: Group) -> Merged:
    return merge({}, entries, complete=True)


def later(before: DirectoryGroup, *entries: Group) -> DirectoryGroup:
    return merge(known(before), entries, complete=False).groups[before.id]


SALES = group("sales", {"ann", "bob"}, {"west"}, name="Sales", kind="security")


# One round


def test_an_initial_round_gives_names_kinds_and_members() -> None:
    merged = first(
        Group(id="a", display_name="A", group_types=["Unified", "DynamicMembership"], security_enabled=True),
        Group(id="b", display_name="B", group_types=[], security_enabled=True, members=[user("ann"), nested("a")]),
        Group(id="c", display_name="C", group_types=[], security_enabled=False),
        Group(id="d"),
    )
    assert merged.groups == known(
        group("a", name="A", kind="microsoft365"),
        group("b", {"ann"}, {"a"}, name="B", kind="security"),
        group("c", name="C", kind="other"),
        group("d"),
    )
    assert merged.changed == merged.named == {"a", "b", "c", "d"}
    assert merged.removed == frozenset()


def test_a_large_group_comes_in_slices() -> None:
    merged = first(
        Group(id="a", display_name="A", security_enabled=True, members=[user("ann")]),
        Group(id="b", display_name="B"),
        Group(id="a", members=[user("bob")]),
        Group(id="a", display_name="A", security_enabled=True, members=[nested("b")]),
    )
    assert merged.groups["a"] == group("a", {"ann", "bob"}, {"b"}, name="A", kind="security")


def test_the_last_entry_wins_for_properties_and_the_last_link_for_a_member() -> None:
    back_and_forth = [user("ann"), gone(user("ann")), user("bob"), gone(user("bob")), user("bob")]
    made = later(
        SALES, Group(id="sales", display_name="X"), Group(id="sales", display_name="Y", members=back_and_forth)
    )
    assert made.name == "Y"
    assert made.users == {"bob"}


def test_what_an_entry_leaves_out_stays() -> None:
    assert later(SALES, Group(id="sales", members=[user("cyd")])) == msgspec.structs.replace(
        SALES, users=frozenset({"ann", "bob", "cyd"})
    )
    assert later(SALES, Group(id="sales", display_name="X")) == msgspec.structs.replace(SALES, name="X")
    unified = msgspec.structs.replace(SALES, kind="microsoft365")
    assert later(unified, Group(id="sales", security_enabled=False)).kind == "microsoft365"
    assert later(SALES, Group(id="sales", group_types=[])).kind == "security"
    assert later(SALES, Group(id="sales", security_enabled=False)).kind == "other"


@pytest.mark.parametrize("kind", ["#microsoft.graph.user", "#microsoft.graph.group", ""])
def test_a_removed_member_is_gone_whatever_it_was(kind: str) -> None:
    assert later(SALES, Group(id="sales", members=[Member("ann", kind, Removed())])).users == {"bob"}
    assert later(SALES, Group(id="sales", members=[Member("west", kind, Removed())])).groups == frozenset()


def test_only_users_and_groups_are_members() -> None:
    kinds = ["device", "orgContact", "servicePrincipal", "User", "Group"]
    members = [*(Member(kind, f"#microsoft.graph.{kind}") for kind in kinds), Member("untold")]
    made = first(Group(id="a", members=members)).groups["a"]
    assert made.users == {"User", "untold"}
    assert made.groups == {"Group"}


def test_a_removed_group_is_gone_known_or_not() -> None:
    merged = merge(known(SALES), [Group(id="sales", removed=Removed()), Group(id="x", removed=Removed())], False)
    assert merged == Merged({}, changed=frozenset(), removed=frozenset({"sales", "x"}), named=frozenset())


def test_a_group_that_is_removed_and_restored_in_one_round_keeps_its_members() -> None:
    merged = merge(known(SALES), [Group(id="sales", removed=Removed()), Group(id="sales", display_name="X")], False)
    assert merged.groups["sales"] == msgspec.structs.replace(SALES, name="X")
    assert merged.removed == frozenset()


def test_an_initial_round_replaces_what_was_known() -> None:
    merged = merge(
        known(SALES, group("old", name="Old"), group("same", {"ann"}, name="Same")),
        [Group(id="sales", display_name="Sales", members=[user("cyd")]),
         Group(id="same", display_name="Same", members=[user("ann")])],
        complete=True,
    )  # fmt: skip
    assert merged.groups == known(group("sales", {"cyd"}, name="Sales"), group("same", {"ann"}, name="Same"))
    assert merged.changed == {"sales"}
    assert merged.removed == {"old"}
    assert merged.named == {"sales", "same"}


def test_a_later_round_leaves_alone_what_it_does_not_name() -> None:
    merged = merge(known(SALES, group("other")), [Group(id="new")], complete=False)
    assert merged.groups == known(SALES, group("other"), group("new"))
    assert merged.changed == {"new"}
    assert merged.removed == frozenset()


def test_a_round_that_is_read_again_names_groups_that_did_not_change() -> None:
    merged = merge(known(SALES), [Group(id="sales", display_name="Sales", members=[user("ann")])], complete=False)
    assert merged.changed == frozenset()
    assert merged.named == {"sales"}


GROUP_IDS = st.sampled_from(["a", "b", "c"])
TYPES = st.sampled_from(["", "#microsoft.graph.user", "#microsoft.graph.group", "#microsoft.graph.device"])
MEMBERS = st.builds(Member, st.sampled_from(["a", "b", "u", "v", "w"]), TYPES, st.sampled_from([None, Removed()]))
ENTRIES = st.lists(
    st.builds(
        Group,
        id=GROUP_IDS,
        display_name=st.sampled_from([None, "A", "B"]),
        group_types=st.sampled_from([None, [], ["Unified"]]),
        security_enabled=st.sampled_from([None, True, False]),
        removed=st.sampled_from([None, None, Removed()]),
        members=st.lists(MEMBERS, max_size=4),
    ),
    max_size=8,
)
KNOWN = st.dictionaries(
    GROUP_IDS,
    st.builds(
        group,
        st.just(""),
        st.frozensets(st.sampled_from(["u", "v"])),
        st.frozensets(st.sampled_from(["a", "b"])),
        name=st.sampled_from(["A", "C"]),
        kind=st.sampled_from(["security", "microsoft365", "other"]),
    ),
).map(lambda made: {key: msgspec.structs.replace(one, id=key) for key, one in made.items()})


def sliced(entries: list[Group], chance: random.Random) -> list[Group]:
    """The same round as Graph may send it as well: members in slices, and entries, or the whole of it, repeated."""
    made: list[Group] = []
    for entry in entries:
        cut = chance.randint(0, len(entry.members))
        for part in (entry.members[:cut], entry.members[cut:]):
            made += [msgspec.structs.replace(entry, members=part)] * chance.choice([1, 1, 2])
    return made * chance.choice([1, 1, 2])


@given(KNOWN, ENTRIES, st.booleans(), st.randoms(use_true_random=False))
def test_slices_and_repetitions_of_a_round_make_no_difference(
    before: dict[str, DirectoryGroup], entries: list[Group], complete: bool, chance: random.Random
) -> None:
    assert merge(before, sliced(entries, chance), complete) == merge(before, entries, complete)


@given(KNOWN, ENTRIES, st.booleans())
def test_a_round_applied_twice_is_a_round_applied_once(
    before: dict[str, DirectoryGroup], entries: list[Group], complete: bool
) -> None:
    once = merge(before, entries, complete)
    again = merge(once.groups, entries, complete)
    assert (again.groups, again.changed, again.named) == (once.groups, frozenset(), once.named)


def lasting(entries: list[Group]) -> list[Group]:
    """The same entries, except that no Microsoft 365 group turns into another kind: Entra settles that when a group is
    made (https://learn.microsoft.com/graph/api/resources/group: groupTypes)."""
    made: list[Group] = []
    for entry in entries:
        unified = any(one.id == entry.id and one.group_types for one in made)
        made.append(msgspec.structs.replace(entry, group_types=None) if unified else entry)
    return made


@given(KNOWN, ENTRIES.map(lasting), st.integers(0, 8))
def test_two_rounds_are_one_round(before: dict[str, DirectoryGroup], entries: list[Group], cut: int) -> None:
    whole = merge(before, entries, complete=False)
    one = merge(before, entries[:cut], complete=False)
    two = merge(one.groups, entries[cut:], complete=False)
    if not one.removed & two.named:  # a group that was away between the rounds starts anew
        assert two.groups == whole.groups


@given(KNOWN, ENTRIES, st.booleans())
def test_every_group_is_either_there_or_removed(
    before: dict[str, DirectoryGroup], entries: list[Group], complete: bool
) -> None:
    merged = merge(before, entries, complete)
    assert merged.groups.keys() | merged.removed == before.keys() | {entry.id for entry in entries}
    assert not merged.groups.keys() & merged.removed
    for group_id, made in merged.groups.items():
        assert made.id == group_id
        assert (group_id in merged.changed) == (before.get(group_id) != made)


# Nested groups


def test_the_users_of_nested_groups_are_users_of_the_group() -> None:
    tree = Tree(known(group("a", {"ann"}, {"b", "c"}), group("b", {"bob"}, {"c"}), group("c", {"cyd"})))
    assert tree.users("a") == {"ann", "bob", "cyd"}
    assert tree.users("b") == {"bob", "cyd"}
    assert tree.users("c") == {"cyd"}


def test_groups_that_contain_each_other_have_the_same_users() -> None:
    circle = known(group("a", {"ann"}, {"b"}), group("b", {"bob"}, {"c"}), group("c", {"cyd"}, {"a", "d", "c"}))
    tree = Tree(circle | known(group("d", {"dee"}), group("e", {"eve"}, {"b"})))
    assert tree.users("d") == {"dee"}
    assert tree.users("b") == tree.users("a") == tree.users("c") == {"ann", "bob", "cyd", "dee"}
    assert tree.users("e") == {"ann", "bob", "cyd", "dee", "eve"}


def test_groups_that_are_not_there_have_nobody_and_do_no_harm() -> None:
    tree = Tree(known(group("a", {"ann"}, {"gone"}), group("b", (), {"gone"})))
    assert tree.users("a") == {"ann"}
    assert tree.users("b") == tree.users("gone") == frozenset()
    assert tree.within(["a", "gone"]) == {"a"}
    assert tree.ancestors(["gone"]) == {"a", "b"}


def test_ancestors_are_all_that_contain_a_group_directly_or_not() -> None:
    tree = Tree(known(group("a", (), {"b"}), group("b", (), {"c"}), group("c", (), {"b"}), group("d"), group("e")))
    assert tree.ancestors(["c"]) == {"a", "b", "c"}
    assert tree.ancestors(["a", "d"]) == {"a", "d"}
    assert tree.ancestors([]) == frozenset()
    assert tree.within(["b", "e"]) == {"b", "c", "e"}


def test_nesting_may_be_deeper_than_any_recursion() -> None:
    depth = 20_000
    chain = known(*(group(str(at), {f"u{at}"} if at % 5000 == 0 else (), {str(at + 1)}) for at in range(depth)))
    tree = Tree(chain)
    assert tree.users("0") == {"u0", "u5000", "u10000", "u15000"}
    assert tree.users("15001") == frozenset()
    assert len(tree.ancestors([str(depth - 1)])) == depth


def test_a_large_tenant_shares_what_its_groups_have_in_common() -> None:
    everybody = frozenset(f"user-{number}" for number in range(5000))
    groups = known(*(group(str(at), everybody, {str(at + 1), str((at * 7) % 1000)}) for at in range(1000)))
    tree = Tree(groups)
    assert all(tree.users(group_id) is tree.users("0") for group_id in groups)
    assert tree.users("0") == everybody


FORESTS = st.dictionaries(
    st.sampled_from("abcdefgh"),
    st.tuples(
        st.frozensets(st.integers(0, 9).map(str), max_size=3), st.frozensets(st.sampled_from("abcdefghi"), max_size=3)
    ),
).map(lambda made: known(*(group(key, users, groups) for key, (users, groups) in made.items())))


def fixpoint(groups: dict[str, DirectoryGroup]) -> dict[str, set[str]]:
    """The users of all groups, told naively: repeat until nothing is added."""
    users = {group_id: set(one.users) for group_id, one in groups.items()}
    for _ in groups:
        for group_id, one in groups.items():
            users[group_id].update(*(users.get(inner, ()) for inner in one.groups))
    return users


@given(FORESTS, st.permutations("abcdefghi"))
def test_users_are_those_that_a_naive_search_finds_in_any_order_of_asking(
    groups: dict[str, DirectoryGroup], order: list[str]
) -> None:
    tree, expected = Tree(groups), fixpoint(groups)
    for group_id in order:
        assert tree.users(group_id) == expected.get(group_id, set())


@given(FORESTS, st.frozensets(st.sampled_from("abcdefghi")))
def test_ancestors_and_what_is_within_are_two_sides_of_the_same(
    groups: dict[str, DirectoryGroup], ids: frozenset[str]
) -> None:
    tree = Tree(groups)
    assert tree.ancestors(ids & groups.keys()) == {group_id for group_id in groups if tree.within([group_id]) & ids}
    assert tree.within(ids) >= ids & groups.keys()


@given(FORESTS, FORESTS)
def test_whose_users_changed_is_among_the_ancestors_of_what_changed(
    before: dict[str, DirectoryGroup], after: dict[str, DirectoryGroup]
) -> None:
    named = {group_id for group_id, one in after.items() if before.get(group_id) != one}
    affected = Tree(after).ancestors(named | (before.keys() - after.keys()))
    old, new = Tree(before), Tree(after)
    assert {group_id for group_id in after if old.users(group_id) != new.users(group_id)} <= affected
