"""Days of grace: an extension that is to be deleted stays, marked, until they have passed."""

import datetime
from typing import Any

import msgspec
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from graph.models import Removed, User
from store.document import Guard, Users, UserScope
from sync.explain import explain_user
from sync.guard import check, forewarn
from sync.plan import Extension, Held, Inventory, Leaving, Linked, Operation, Plan
from sync.planner import BACK, UsersInput, plan_users
from tests.sync.strategies import NOW, World, apply

DAY = datetime.timedelta(days=1)
FIELDS = {"first_name": "Ann", "last_name": "", "email_addr": "ann@x.example", "mobile_number": "", "title": ""}
ANN = Extension(7, "1000", "ann@x.example", FIELDS)
LINK = Linked(object_id="ann", pbx_id=7, number="1000", name="Ann", user_principal_name="ann@x.example", written=FIELDS)
DISABLED = "The account is disabled in Entra."
MARKED = msgspec.structs.replace(LINK, leaving=Leaving("2026-03-02T09:00:00+00:00", DISABLED))
FORECAST = "The first full run after 2026-04-01 09:00 UTC deletes the extension, unless the user returns."
GUESTS = UserScope(kind="types", user_types=["Guest"])


def user(object_id: str = "ann", **properties: Any) -> User:
    usual = {"given_name": object_id.title(), "user_principal_name": f"{object_id}@x.example", "account_enabled": True}
    return User(id=object_id, **{"mail": f"{object_id}@x.example", **usual, **properties})


def data(
    *users: User,
    link: Linked = LINK,
    pbx: tuple[Extension, ...] | None = (ANN,),
    now: datetime.datetime | None = NOW,
    complete: bool = True,
    free: int | None = None,
    decided: frozenset[str] = frozenset(),
    held: frozenset[str] = frozenset(),
    **rules: Any,
) -> UsersInput:
    return UsersInput(
        users={item.id: item for item in users},
        complete=complete,
        links={link.object_id: link},
        rules=Users(**{"enabled": True, "delete_grace_days": 30, **rules}),
        inventory=None if pbx is None else Inventory({item.pbx_id: item for item in pbx}, free),
        now=now,
        decided=decided,
        held=held,
    )


def plan(*users: User, **options: Any) -> Plan:
    return plan_users(data(*users, **options))


def only(made: Plan) -> Operation:
    assert len(made.operations) == 1, made.operations
    return made.operations[0]


OFF = user(account_enabled=False)


# Marking


@pytest.mark.parametrize(
    ("gone", "rules", "reason"),
    [
        ((OFF,), {}, DISABLED),
        ((user(removed=Removed()),), {}, "The user was deleted in Entra."),
        ((), {}, "The user was deleted in Entra."),
        ((user(),), {"scope": GUESTS, "delete_out_of_scope": True}, "The user is no longer in the scope."),
    ],
    ids=["disabled", "removed", "missing", "out of scope"],
)
def test_who_leaves_is_marked_with_the_moment_and_the_reason(
    gone: tuple[User, ...], rules: dict[str, Any], reason: str
) -> None:
    made = plan(*gone, **rules)
    operation = only(made)
    assert (operation.kind, operation.number, operation.pbx_id) == ("skip", "1000", 7)
    assert operation.leaving == Leaving("2026-03-02T09:00:00+00:00", reason)
    assert operation.reason == f"{reason} {FORECAST}"
    assert made.leaving == 1


def test_a_mark_is_set_once() -> None:
    assert plan(OFF, link=MARKED, now=NOW + 29 * DAY) == Plan(leaving=1, read=1)


def test_an_incremental_round_marks_as_well_and_needs_no_list_of_extensions() -> None:
    operation = only(plan(OFF, pbx=None, complete=False))
    assert operation.leaving == Leaving("2026-03-02T09:00:00+00:00", DISABLED)


def test_another_reason_is_noted_and_the_days_go_on() -> None:
    operation = only(plan(link=MARKED, now=NOW + 10 * DAY))
    assert operation.leaving == Leaving(MARKED.leaving.since, "The user was deleted in Entra.")
    assert FORECAST in operation.reason


def test_nothing_is_written_to_a_marked_extension_whatever_changes_on_either_side() -> None:
    edited = Extension(7, "1000", "ann@x.example", {**FIELDS, "title": "Changed by hand"})
    changed = user(account_enabled=False, given_name="Anna", user_principal_name="anna@x.example")
    assert plan(changed, link=MARKED, pbx=(edited,)) == Plan(leaving=1, read=1)


def test_the_number_and_the_address_of_a_marked_extension_stay_taken() -> None:
    heir, new = user("heir", mail="ann@x.example"), user("new")
    made = plan(OFF, heir, new, link=MARKED)
    created = {operation.object_id: (operation.kind, operation.number) for operation in made.operations}
    assert created == {"heir": ("skip", ""), "new": ("create", "1001")}
    assert "extension 1000 already, which belongs to" in next(
        operation.reason for operation in made.operations if operation.object_id == "heir"
    )


def test_the_number_stays_taken_even_if_the_extension_is_gone_from_the_pbx() -> None:
    made = plan(OFF, user("new"), link=MARKED, pbx=())
    assert (only(made).object_id, only(made).number) == ("new", "1001")


def test_a_marked_extension_keeps_its_place_of_the_licence() -> None:
    assert only(plan(OFF, user("new"), link=MARKED, free=0)).kind == "skip"


def test_a_release_is_never_delayed() -> None:
    for link in (LINK, MARKED):
        assert only(plan(user(), link=link, scope=GUESTS)).kind == "release"
        assert only(plan(link=link, delete_when=["disabled"])).kind == "release"


def test_an_id_that_belongs_to_a_stranger_is_released_at_once() -> None:
    stranger = Extension(7, "2000", "other@x.example", {**FIELDS, "first_name": "Other"})
    assert only(plan(OFF, pbx=(stranger,))).kind == "release"


def test_days_of_grace_without_a_moment_are_an_error_and_no_deletion() -> None:
    with pytest.raises(ValueError, match="moment of the run"):
        plan(OFF, now=None)


# The end of the days


@pytest.mark.parametrize(
    ("later", "kinds"),
    [(30 * DAY - datetime.timedelta(seconds=1), []), (30 * DAY, ["delete"]), (99 * DAY, ["delete"])],
)
def test_the_extension_is_deleted_when_the_days_have_passed_and_not_before(
    later: datetime.timedelta, kinds: list[str]
) -> None:
    made = plan(OFF, link=MARKED, now=NOW + later)
    assert [operation.kind for operation in made.operations] == kinds
    assert made.leaving == 1 - len(kinds)


def test_the_deletion_says_for_how_long_the_extension_was_marked() -> None:
    operation = only(plan(OFF, link=MARKED, now=NOW + 30 * DAY))
    assert operation.reason == f"{DISABLED} Its 30 days of grace, from 2026-03-02 on, are over."
    assert operation.before == FIELDS


@pytest.mark.parametrize(("days", "kinds"), [(0, ["delete"]), (10, ["delete"]), (11, []), (60, [])])
def test_the_days_count_from_the_mark_as_the_rule_is_now(days: int, kinds: list[str]) -> None:
    made = plan(OFF, link=MARKED, now=NOW + 10 * DAY, delete_grace_days=days)
    assert [operation.kind for operation in made.operations] == kinds


def test_without_days_of_grace_there_is_no_mark() -> None:
    operation = only(plan(OFF, delete_grace_days=0, now=None))
    assert (operation.kind, operation.reason) == ("delete", DISABLED)


def test_a_deletion_that_is_held_goes_on_being_held_when_days_of_grace_are_given() -> None:
    operation = only(plan(OFF, decided=frozenset({"ann"})))
    assert (operation.kind, operation.reason) == ("delete", DISABLED)


def test_the_address_of_a_held_deletion_stays_taken_when_its_days_have_passed() -> None:
    heir = user("heir", mail="ann@x.example")
    made = plan(OFF, heir, link=MARKED, now=NOW + 30 * DAY, held=frozenset({"ann"}))
    assert [operation.kind for operation in made.operations] == ["delete", "skip"]


# Coming back


def test_who_returns_loses_the_mark_and_nothing_else() -> None:
    operation = only(plan(user(), link=MARKED))
    assert (operation.kind, operation.after, operation.fields) == ("update", {}, FIELDS)
    assert operation.reason == "The user is wanted again: the mark for deletion is removed."


def test_who_returns_on_the_last_day_and_after_it_stays() -> None:
    for later in (30 * DAY, 90 * DAY):
        assert only(plan(user(), link=MARKED, now=NOW + later)).kind == "update"


def test_who_returns_changed_is_synced_at_once() -> None:
    operation = only(plan(user(job_title="Boss"), link=MARKED))
    assert (operation.kind, operation.after, operation.reason) == ("update", {"title": "Boss"}, "Changed in Entra.")
    assert "the mark for deletion is removed" in operation.notes[-1]


def test_who_returns_to_an_extension_that_is_gone_loses_the_mark_even_if_there_is_no_room() -> None:
    operation = only(plan(user(), link=MARKED, pbx=(), free=0))
    assert (operation.kind, operation.leaving) == ("skip", Leaving())
    assert only(plan(user(), link=MARKED, pbx=())).kind == "create"


def test_who_returns_in_an_incremental_round_loses_the_mark() -> None:
    assert only(plan(user(), link=MARKED, pbx=None, complete=False)).kind == "update"


def test_the_mark_goes_when_the_rules_do_not_ask_for_the_deletion_any_more() -> None:
    operation = only(plan(OFF, link=MARKED, delete_when=["deleted"]))
    assert (operation.kind, operation.reason) == ("update", BACK)


# What is told


def test_the_guard_lets_marks_pass_and_says_when_they_are_many() -> None:
    marks = tuple(
        Operation(kind="skip", object_id=f"{n}", reason=DISABLED, leaving=Leaving(MARKED.leaving.since, DISABLED))
        for n in range(21)
    )
    guard = Guard()
    assert check(Plan(operations=marks), 1000, guard) == Held()
    assert forewarn(Plan(operations=marks), 1000, guard).startswith("21 extensions were marked")
    assert forewarn(Plan(operations=marks[1:]), 1000, guard) == ""
    unmarked = tuple(msgspec.structs.replace(mark, leaving=Leaving()) for mark in marks)
    assert forewarn(Plan(operations=unmarked), 1000, guard) == ""


def test_the_explanation_of_a_marked_user_says_when_the_extension_goes() -> None:
    given = data(OFF, link=MARKED)
    step = explain_user(given, plan_users(given), Held(), "ann")[-1]
    assert (step.answer, step.detail) == ("nothing yet", f"{DISABLED} {FORECAST}")


# Timelines

PEOPLE = ("ann", "bob", "cy")
STATES = ("here", "off", "gone", "outside")


class Step(msgspec.Struct, frozen=True):
    """A run, so many hours after the one before."""

    hours: int
    states: tuple[str, str, str]
    days: int
    is_full: bool


steps = st.builds(
    Step,
    hours=st.sampled_from([1, 23, 24, 25, 48, 72]),
    states=st.tuples(*[st.sampled_from(["here", *STATES])] * 3),
    days=st.sampled_from([0, 1, 2, 3]),
    is_full=st.booleans(),
)


class Expected(msgspec.Struct):
    """What becomes of one user, as plainly as it can be said."""

    has_extension: bool = False
    since: datetime.datetime | None = None

    def see(self, state: str, now: datetime.datetime, days: int) -> None:
        if state == "here":
            self.has_extension, self.since = True, None
        elif self.has_extension:
            self.since = self.since or now
            if not days or now - self.since >= days * DAY:
                self.has_extension, self.since = False, None


def in_state(name: str, state: str) -> User:
    if state == "gone":
        return User(id=name, removed=Removed())
    kind = "Guest" if state == "outside" else "Member"
    return user(name, mail=None, user_type=kind, account_enabled=state != "off")


def stepped(world: World, step: Step, seen: tuple[str, ...]) -> tuple[World, Plan]:
    """The world after a run about those ``seen``."""
    rules = msgspec.structs.replace(world.rules, delete_grace_days=step.days)
    people = {name: in_state(name, state) for name, state in zip(PEOPLE, step.states, strict=True)}
    now = msgspec.structs.replace(world, users=people, rules=rules, now=world.now + step.hours * DAY / 24)
    made = plan_users(now.data(only=None if step.is_full else seen))
    return apply(now, made), made


@settings(deadline=None, max_examples=150)
@given(st.lists(steps, min_size=1, max_size=12))
def test_over_any_time_who_has_an_extension_and_who_is_marked_is_as_the_rules_say(timeline: list[Step]) -> None:
    rules = Users(enabled=True, scope=UserScope(kind="types", user_types=["Member"]), delete_out_of_scope=True)
    world = World(users={}, links={}, extensions={}, capacity=None, rules=rules, members=None)
    expected = {name: Expected() for name in PEOPLE}
    before = ("gone",) * 3
    for step in timeline:
        changed = tuple(name for name, old, new in zip(PEOPLE, before, step.states, strict=True) if old != new)
        seen, before = (PEOPLE if step.is_full else changed), step.states
        world, made = stepped(world, step, seen)
        for name, state in zip(PEOPLE, step.states, strict=True):
            if name in seen:
                expected[name].see(state, world.now, step.days)
        found = {name: Expected(True, _since(link)) for name, link in world.links.items()}
        assert found == {name: one for name, one in expected.items() if one.has_extension}
        assert {link.pbx_id for link in world.links.values()} == world.extensions.keys()
        again = plan_users(world.data(only=None if step.is_full else seen))
        assert all(one.kind == "skip" and one.leaving is None for one in again.operations)
        event(f"{made.counts().get('delete', 0)} deleted, {made.leaving} leaving")


def _since(link: Linked) -> datetime.datetime | None:
    return datetime.datetime.fromisoformat(link.leaving.since) if link.leaving.since else None
