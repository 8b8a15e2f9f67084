"""What holds for days of grace, however users come, go and return."""

import datetime
from typing import Literal

import msgspec
from hypothesis import event, given, settings
from hypothesis import strategies as st

from graph.models import User
from sync.plan import Leaving, Operation, Plan
from sync.planner import is_stranger, plan_users
from tests.sync.strategies import IDS, World, apply, users, worlds

usual = settings(deadline=None, max_examples=60)
GRACE = (1, 2, 7)

type Fate = Literal["stays", "delete", "release"]


class Step(msgspec.Struct, frozen=True):
    """Some time passes, some users change, and a run looks at them, or at everybody."""

    hours: int
    changed: dict[str, User]
    is_full: bool


@st.composite
def steps(draw: st.DrawFn) -> Step:
    changed = draw(st.lists(st.sampled_from(IDS), unique=True, max_size=3))
    hours = draw(st.sampled_from([0, 1, 12, 24, 48, 200]))
    return Step(hours, {name: draw(users(name)) for name in changed}, draw(st.booleans()))


LAST = Step(0, {}, is_full=True)


def take(world: World, step: Step) -> tuple[World, Plan]:
    """The world as the step's run finds it, and the plan of that run."""
    people, now = {**world.users, **step.changed}, world.now + datetime.timedelta(hours=step.hours)
    found = msgspec.structs.replace(world, users=people, now=now)
    return found, plan_users(found.data(only=None if step.is_full else step.changed))


def fate(world: World, object_id: str) -> Fate:
    """What the rules make of a linked user, told apart from the planner's own code."""
    user, rules = world.users.get(object_id), world.rules
    if user is None or user.removed is not None:
        return "delete" if "deleted" in rules.delete_when else "release"
    if world.wants(user):
        return "stays"
    is_dropped = user.account_enabled is False and "disabled" in rules.delete_when
    return "delete" if is_dropped or rules.delete_out_of_scope else "release"


def is_own(world: World, object_id: str) -> bool:
    """Whether the extension that a link means is gone, or still the one that was written."""
    link = world.links[object_id]
    extension = world.extensions.get(link.pbx_id)
    return extension is None or not is_stranger(extension, link.number, link.written)


def looked_at(world: World, step: Step) -> list[str]:
    """The users with a link in force that the run of a step is about."""
    linked = {object_id for object_id, link in world.links.items() if not link.released}
    return sorted(linked if step.is_full else linked & set(step.changed))


def changes(plan: Plan) -> list[Operation]:
    """The operations that change the PBX or a link."""
    return [one for one in plan.operations if one.kind != "skip" or one.leaving is not None]


@usual
@given(worlds(GRACE), st.lists(steps(), min_size=1, max_size=6))
def test_an_extension_is_deleted_when_its_user_was_away_for_all_the_days_and_never_before(
    world: World, timeline: list[Step]
) -> None:
    away: dict[str, datetime.datetime] = {}
    for step in timeline:
        found, plan = take(world, step)
        world = apply(found, plan)
        for object_id in looked_at(found, step):
            was = found.links[object_id]
            if fate(found, object_id) != "delete" or not is_own(found, object_id):
                away.pop(object_id, None)
                assert world.links[object_id].leaving == Leaving()
                continue
            since = away.setdefault(object_id, found.now)
            if found.now >= since + datetime.timedelta(days=found.rules.delete_grace_days):
                event("deleted")
                del away[object_id]
                assert object_id not in world.links
                assert was.pbx_id not in world.extensions
            else:
                event("marked")
                assert datetime.datetime.fromisoformat(world.links[object_id].leaving.since) == since
                assert world.extensions.get(was.pbx_id) == found.extensions.get(was.pbx_id)


@usual
@given(worlds(GRACE), st.lists(steps(), max_size=4))
def test_a_second_run_at_the_same_moment_changes_nothing(world: World, timeline: list[Step]) -> None:
    for step in [*timeline, LAST]:
        world = apply(*take(world, step))
    again = world.plan()
    assert changes(again) == []
    assert again.leaving == sum(bool(link.leaving.since) for link in world.links.values())


@usual
@given(worlds(GRACE), st.lists(steps(), max_size=6))
def test_whoever_is_wanted_or_was_released_has_no_mark(world: World, timeline: list[Step]) -> None:
    for step in [*timeline, LAST]:
        world = apply(*take(world, step))
    for object_id, link in world.links.items():
        if link.released or fate(world, object_id) == "stays":
            assert link.leaving == Leaving()


@usual
@given(worlds(GRACE))
def test_once_the_days_are_over_just_those_are_deleted_who_would_have_been_at_once(world: World) -> None:
    at_once = msgspec.structs.replace(world, rules=msgspec.structs.replace(world.rules, delete_grace_days=0)).plan()
    marked = apply(world, world.plan())
    later = msgspec.structs.replace(marked, now=marked.now + datetime.timedelta(days=7)).plan()
    assert later.counts().get("delete") == at_once.counts().get("delete")
    assert {one.object_id for one in later.operations if one.kind == "delete"} == {
        one.object_id for one in at_once.operations if one.kind == "delete"
    }
