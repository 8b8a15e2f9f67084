"""What holds for every tenant, every PBX and every set of rules."""

from collections import Counter

import msgspec
from hypothesis import event, given, settings
from hypothesis import strategies as st

from sync.plan import Linked, Operation, Plan
from sync.planner import is_stranger, plan_users
from tests.sync.strategies import IDS, World, apply, shuffled, users, worlds

usual = settings(deadline=None, max_examples=60)


def effects(plan: Plan) -> list[Operation]:
    """The operations that change something."""
    return [operation for operation in plan.operations if operation.kind != "skip"]


def is_standing(world: World, link: Linked) -> bool:
    extension = world.extensions.get(link.pbx_id)
    return extension is not None and extension.number == link.number


@usual
@given(worlds(), st.integers())
def test_the_order_in_which_things_are_read_never_matters(world: World, seed: int) -> None:
    assert shuffled(world, seed).plan() == world.plan()


@usual
@given(worlds())
def test_a_second_run_finds_nothing_to_do_but_the_same_skips(world: World) -> None:
    after = apply(world, world.plan())
    again = after.plan()
    assert effects(again) == []
    assert apply(after, again).plan() == again


@usual
@given(worlds())
def test_whoever_was_skipped_stays_skipped_until_something_changes(world: World) -> None:
    first = world.plan()
    second = apply(world, first).plan()
    skipped = {operation.object_id for operation in first.operations if operation.kind == "skip"}
    assert skipped <= {operation.object_id for operation in second.operations}


@usual
@given(worlds())
def test_extensions_that_are_not_linked_stay_as_they_are(world: World) -> None:
    plan = world.plan()
    after = apply(world, plan)
    touched = {operation.pbx_id for operation in effects(plan)}
    linked = {link.pbx_id for link in world.links.values()}
    associated = {operation.pbx_id for operation in plan.operations if operation.kind == "associate"}
    assert touched <= linked | associated | {None}
    for pbx_id, extension in world.extensions.items():
        if pbx_id not in linked | associated:
            assert after.extensions[pbx_id] == extension


@usual
@given(worlds())
def test_an_extension_is_associated_only_by_its_address_or_because_it_was_linked_before(world: World) -> None:
    for operation in world.plan().operations:
        if operation.kind == "associate":
            assert operation.pbx_id is not None
            former = world.links.get(operation.object_id)
            was_linked = former is not None and former.released and former.pbx_id == operation.pbx_id
            email = world.extensions[operation.pbx_id].email
            by_email = world.rules.associate_by_email and email.casefold() == operation.fields["email_addr"].casefold()
            assert was_linked or by_email


@usual
@given(worlds())
def test_no_number_address_or_place_is_ever_given_twice_while_a_plan_is_carried_out(world: World) -> None:
    after = apply(world, world.plan())  # raises where the PBX would refuse
    numbers = Counter(extension.number for extension in after.extensions.values())
    emails = Counter(extension.email.casefold() for extension in after.extensions.values() if extension.email)
    assert max([*numbers.values(), *emails.values(), 0]) <= 1
    assert world.capacity is None or len(after.extensions) <= max(world.capacity, len(world.extensions))


@usual
@given(worlds())
def test_nothing_is_deleted_unless_a_rule_says_so_and_only_what_the_link_means(world: World) -> None:
    for operation in world.plan().operations:
        if operation.kind != "delete":
            continue
        link, user = world.links[operation.object_id], world.users.get(operation.object_id)
        assert not link.released
        assert (operation.pbx_id, operation.number) == (link.pbx_id, link.number)
        extension = world.extensions.get(link.pbx_id)
        address = link.written.get("email_addr", "")
        assert extension is None or extension.number == link.number or extension.email.casefold() == address.casefold()
        is_gone = user is None or user.removed is not None
        is_disabled = user is not None and user.account_enabled is False
        assert (
            (is_gone and "deleted" in world.rules.delete_when)
            or (is_disabled and "disabled" in world.rules.delete_when)
            or (user is not None and not world.wants(user) and world.rules.delete_out_of_scope)
        )


@usual
@given(worlds())
def test_every_wanted_user_ends_linked_or_has_one_reason_why_not(world: World) -> None:
    plan = world.plan()
    after = apply(world, plan)
    skips = Counter(operation.object_id for operation in plan.operations if operation.kind == "skip")
    assert max(Counter(operation.object_id for operation in plan.operations).values(), default=0) <= 1
    assert all(operation.reason for operation in plan.operations)
    for user in world.users.values():
        link = after.links.get(user.id)
        is_linked = link is not None and not link.released and link.pbx_id in after.extensions
        if user.removed is None and world.wants(user):
            event("linked" if is_linked else "skipped")
            assert is_linked or skips[user.id] == 1
        elif link is not None:
            assert link.released


@usual
@given(worlds())
def test_no_two_users_share_an_extension(world: World) -> None:
    after = apply(world, world.plan())
    # Who had one that is gone, and cannot have another, keeps his link: its id may be of somebody else's by now.
    standing = Counter(
        link.pbx_id
        for link in after.links.values()
        if not link.released
        and (extension := after.extensions.get(link.pbx_id)) is not None
        and not is_stranger(extension, link.number, link.written)
    )
    assert max(standing.values(), default=0) <= 1


@usual
@given(worlds())
def test_the_synced_fields_of_everybody_linked_are_those_of_entra_afterwards(world: World) -> None:
    plan = world.plan()
    after = apply(world, plan)
    excused = {operation.object_id for operation in plan.operations if operation.kind == "skip"}
    for operation in effects(plan):
        if operation.kind in {"create", "associate", "update"}:
            link = after.links[operation.object_id]
            fields = after.extensions[link.pbx_id].fields
            assert fields == operation.fields == link.written
            user = world.users[operation.object_id]
            assert operation.object_id not in excused
            assert fields is not None
            assert fields["title"] == (user.job_title or "")


@usual
@given(worlds(), st.data())
def test_an_incremental_round_plans_what_a_full_one_plans_for_those_who_changed(
    world: World, data: st.DataObject
) -> None:
    settled = apply(world, world.plan())
    changed = data.draw(st.lists(st.sampled_from(IDS), unique=True, max_size=4))
    people = {**settled.users, **{name: data.draw(users(name)) for name in changed}}
    now = msgspec.structs.replace(settled, users=people)
    full = now.plan()
    if any(operation.object_id not in changed for operation in effects(full)):
        return  # what changed makes way for others, which an incremental run leaves to the next full one
    incremental = plan_users(now.data(only=changed))
    event(f"{min(len(effects(incremental)), 3)} effects")
    assert effects(incremental) == effects(full)
    assert apply(now, incremental) == apply(now, full)


@usual
@given(worlds(), st.data())
def test_an_incremental_round_without_the_list_of_extensions_updates_the_same(
    world: World, data: st.DataObject
) -> None:
    settled = apply(world, world.plan())
    linked = [n for n, link in settled.links.items() if not link.released and is_standing(settled, link)]
    changed = sorted(set(linked) & set(IDS))
    people = {**settled.users, **{name: data.draw(users(name)) for name in changed}}
    now = msgspec.structs.replace(settled, users=people)
    own = {name: settled.links[name] for name in changed}
    blind = msgspec.structs.replace(now.data(only=changed), inventory=None, links=own)
    seeing = msgspec.structs.replace(now.data(only=changed), links=own)
    outside = {ext.email.casefold() for ext in now.extensions.values()} - {
        link.written.get("email_addr", "").casefold() for link in own.values()
    }
    if any((people[name].mail or "").casefold() in outside - {""} for name in changed):
        return  # an address that only the list shows to be taken: the PBX refuses it, and a full run explains it
    assert plan_users(blind).operations == plan_users(seeing).operations
