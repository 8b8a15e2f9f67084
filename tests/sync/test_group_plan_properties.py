"""What holds for every tenant, every PBX and every set of rules about groups."""

from collections import Counter

import msgspec
from hypothesis import event, given, settings
from hypothesis import strategies as st

from sync.group_plan import PbxGroup, plan_groups
from sync.plan import Linked, Operation, Plan
from tests.sync.group_worlds import IDS, USER_SETS, World, apply, groups, new_worlds, pbx_name, shuffled, worlds

BUILT_IN = "default_all_extensions"
usual = settings(deadline=None, max_examples=60)


def effects(plan: Plan) -> list[Operation]:
    """The operations that change something."""
    return [operation for operation in plan.operations if operation.kind != "skip"]


def named(world: World, name: str, *, besides: int | None = None) -> list[PbxGroup]:
    """The extension groups with a name."""
    same = [found for found in world.pbx.values() if found.name.casefold() == name.casefold()]
    return [found for found in same if found.pbx_id != besides]


def active(world: World) -> dict[str, Linked]:
    return {object_id: link for object_id, link in world.links.items() if not link.released}


@usual
@given(worlds(), st.integers())
def test_the_order_in_which_things_are_read_never_matters(world: World, seed: int) -> None:
    assert shuffled(world, seed).plan() == world.plan()


@usual
@given(worlds())
def test_a_second_run_finds_nothing_to_do_but_the_same_skips(world: World) -> None:
    first = world.plan()
    after = apply(world, first)
    again = after.plan()
    assert effects(again) == []
    skipped = {operation.object_id for operation in first.operations if operation.kind == "skip"}
    assert skipped <= {operation.object_id for operation in again.operations}
    assert apply(after, again).plan() == again


@usual
@given(worlds())
def test_no_name_or_place_is_ever_given_twice_while_a_plan_is_carried_out(world: World) -> None:
    after = apply(world, world.plan())  # raises where the PBX would refuse
    assert max(Counter(found.name.casefold() for found in after.pbx.values()).values()) == 1
    assert len(after.pbx) <= max(world.limit, len(world.pbx))


@usual
@given(worlds(), st.data())
def test_nothing_counts_on_removals_that_wait_for_an_administrator(world: World, data: st.DataObject) -> None:
    removals = sorted(op.object_id for op in world.plan().operations if op.kind in {"delete", "release"})
    held = data.draw(st.sets(st.sampled_from(removals))) if removals else set()
    plan = plan_groups(world.data(held=held))
    after = apply(world, plan, besides=held)
    event(f"{len(held)} held")
    for object_id in held:
        link = world.links[object_id]
        assert after.links[object_id] == link
        assert after.pbx.get(link.pbx_id) == world.pbx.get(link.pbx_id) or is_doubtful(world, link)


def is_doubtful(world: World, link: Linked) -> bool:
    """Whether the extension group with the id of a link has another name than the one that was written."""
    return world.pbx[link.pbx_id].name.casefold() != link.written.get("name", "").casefold()


@usual
@given(worlds())
def test_extension_groups_that_are_not_linked_stay_as_they_are(world: World) -> None:
    plan = world.plan()
    after = apply(world, plan)
    linked = {link.pbx_id for link in active(world).values()}
    associated = {operation.pbx_id for operation in plan.operations if operation.kind == "associate"}
    for pbx_id, found in world.pbx.items():
        if pbx_id not in linked | associated:
            assert after.pbx[pbx_id] == found
    assert after.pbx[1] == world.pbx[1]


@usual
@given(worlds())
def test_an_extension_group_is_associated_only_by_its_name_or_because_it_was_linked_before(world: World) -> None:
    for operation in world.plan().operations:
        if operation.kind == "associate":
            assert operation.pbx_id is not None
            found, former = world.pbx[operation.pbx_id], world.links.get(operation.object_id)
            assert not found.everyone
            was_linked = former is not None and former.released and former.pbx_id == operation.pbx_id
            is_unchanged = former is not None and former.written.get("name", "").casefold() == found.name.casefold()
            wanted = pbx_name(world.groups[operation.object_id])
            by_name = world.rules.associate_by_name and found.name.casefold() == wanted.casefold()
            assert (was_linked and is_unchanged) or by_name


@usual
@given(worlds())
def test_nothing_is_deleted_unless_the_rule_says_so_and_it_is_ours(world: World) -> None:
    for operation in world.plan().operations:
        if operation.kind != "delete":
            continue
        link, group = active(world)[operation.object_id], world.groups.get(operation.object_id)
        assert world.rules.delete_out_of_scope
        assert operation.pbx_id == link.pbx_id
        assert group is None or not world.wants(group)
        found = world.pbx.get(link.pbx_id)
        if found is not None:
            names = {link.written.get("name", "").casefold(), pbx_name(group).casefold() if group else ""}
            ours = world.numbers(group.id) if group else frozenset()
            assert found.name.casefold() in names or (found.members or frozenset()) & ours


@usual
@given(worlds())
def test_an_extension_group_is_overwritten_only_when_it_is_ours(world: World) -> None:
    for operation in world.plan().operations:
        if operation.kind == "update":
            assert operation.pbx_id is not None
            link, found = active(world)[operation.object_id], world.pbx[operation.pbx_id]
            wanted = pbx_name(world.groups[operation.object_id]).casefold()
            assert link.pbx_id == operation.pbx_id
            is_named = found.name.casefold() in {link.written.get("name", "").casefold(), wanted}
            has_our_members = not found.members or found.members & world.numbers(operation.object_id)
            assert is_named or (not found.everyone and has_our_members)


@usual
@given(worlds())
def test_every_group_ends_as_the_rules_say_or_has_one_good_reason_why_not(world: World) -> None:
    plan = world.plan()
    after = apply(world, plan)
    assert max(Counter(operation.object_id for operation in plan.operations).values(), default=0) <= 1
    assert all(operation.reason for operation in plan.operations)
    for group in world.groups.values():
        link = active(after).get(group.id)
        skip = next((one for one in plan.operations if one.object_id == group.id and one.kind == "skip"), None)
        if not world.wants(group):
            event("not wanted")
            assert link is None
            assert skip is None
        elif skip is not None:
            event("skipped")
            assert is_justified(world, after, group.id)
        else:
            event("synced")
            assert link is not None
            found = after.pbx[link.pbx_id]
            assert found.members == world.numbers(group.id)
            assert not found.everyone
            assert found.name == pbx_name(group) or named(after, pbx_name(group), besides=found.pbx_id)


def is_stranger(world: World, object_id: str) -> bool:
    """Whether the id of a link means an extension group under another name than it had or will have, or that of all."""
    link, group = world.links.get(object_id), world.groups[object_id]
    found = None if link is None or link.released else world.pbx.get(link.pbx_id)
    names = {pbx_name(group).casefold(), link.written.get("name", "").casefold() if link else ""} - {BUILT_IN}
    return found is not None and found.name.casefold() not in names


def is_justified(world: World, after: World, object_id: str) -> bool:
    """Whether a wanted group may be skipped: no name, a name that another has, no room, or a stranger in its place."""
    name, link = pbx_name(world.groups[object_id]), active(after).get(object_id)
    pbx_id = None if link is None else link.pbx_id
    return (
        not name
        or bool(named(after, name, besides=pbx_id))
        or len(after.pbx) >= world.limit
        or is_stranger(world, object_id)
    )


@usual
@given(worlds())
def test_what_leaves_is_gone_or_stays_untouched(world: World) -> None:
    after = apply(world, world.plan())
    for object_id, link in active(world).items():
        group = world.groups.get(object_id)
        if group is not None and world.wants(group):
            continue
        assert object_id not in active(after)
        taken = {other.pbx_id for other in active(after).values()}
        found = world.pbx.get(link.pbx_id)
        if found is None or link.pbx_id in taken:
            continue
        is_ours = not found.everyone and found.name == link.written.get("name")
        if world.rules.delete_out_of_scope and is_ours:
            assert link.pbx_id not in after.pbx
        if not world.rules.delete_out_of_scope:
            assert after.pbx[link.pbx_id] == found


@usual
@given(new_worlds())
def test_a_first_run_gives_names_and_places_in_the_order_of_the_names(world: World) -> None:
    expected = {pbx_id: (found.name, found.members) for pbx_id, found in world.pbx.items()}
    added: list[tuple[str, frozenset[str] | None]] = []
    for group in sorted(world.groups.values(), key=lambda one: (pbx_name(one).casefold(), one.id)):
        name, numbers = pbx_name(group), world.numbers(group.id)
        same = [key for key, (other, _) in expected.items() if other.casefold() == name.casefold()]
        is_taken = name.casefold() in {other.casefold() for other, _ in added}
        if not world.wants(group) or not name or is_taken:
            continue
        if same:
            if world.rules.associate_by_name and not world.pbx[same[0]].everyone:
                added.append((name, numbers))
                del expected[same[0]]
        elif len(expected) + len(added) < world.limit:
            added.append((name, numbers))
    after = apply(world, world.plan())
    found = Counter((one.name, one.members) for one in after.pbx.values())
    assert found == Counter([*expected.values(), *added])


@usual
@given(worlds(), st.data())
def test_an_incremental_round_plans_what_a_full_one_plans_for_what_changed(world: World, data: st.DataObject) -> None:
    settled = apply(world, world.plan())
    touched = data.draw(st.lists(st.sampled_from(IDS), unique=True, max_size=4))
    gone = set(data.draw(st.lists(st.sampled_from(touched), unique=True))) if touched else set()
    changed = {name: data.draw(groups(name)) for name in touched if name not in gone}
    kept = {name: group for name, group in settled.groups.items() if name not in touched}
    now = msgspec.structs.replace(
        settled,
        groups={**kept, **changed},
        members={**settled.members, **{name: data.draw(USER_SETS) for name in changed}},
    )
    full = now.plan()
    if any(operation.object_id not in touched for operation in effects(full)):
        return  # what changed makes way for others, which an incremental run leaves to the next full one
    if any(link.pbx_id in now.pbx and is_doubtful(now, link) for link in active(now).values()):
        return  # only a full run looks closer at what has the id of a link and another name
    incremental = plan_groups(now.data(only=touched))
    event(f"{min(len(effects(incremental)), 3)} effects")
    assert [anonymous(one) for one in effects(incremental)] == [anonymous(one) for one in effects(full)]
    assert apply(now, incremental) == apply(now, full)


def anonymous(operation: Operation) -> Operation:
    """Without the reason: whether Entra or a hand changed something is told apart by the kind of the round."""
    return msgspec.structs.replace(operation, reason="")


@usual
@given(worlds())
def test_a_round_about_nothing_plans_nothing(world: World) -> None:
    assert plan_groups(world.data(only=())) == Plan()
