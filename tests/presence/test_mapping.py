"""Which status an extension gets for what Teams shows."""

from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from presence.mapping import STATES, Current, Map, decide, effective_map, settled, state_of, target_of, wanted
from store.document import PresenceChoice, PresenceMap
from store.presence import Status, Teams, UserPresence

DEFAULTS = effective_map(PresenceMap(), {})
CHOICES: tuple[PresenceChoice, ...] = get_args(PresenceChoice)
STATUSES: tuple[Status, ...] = get_args(Status.__value__)
NOW = "2026-03-02T09:00:00.000+00:00"

OLD_AVAILABILITIES = (
    "Available", "AvailableIdle", "Away", "BeRightBack", "Busy", "BusyIdle", "DoNotDisturb", "Offline",
    "PresenceUnknown",
)  # fmt: skip
OLD_ACTIVITIES = (
    "Available", "Away", "BeRightBack", "Busy", "DoNotDisturb", "InACall", "InAConferenceCall", "Inactive",
    "InAMeeting", "Offline", "OffWork", "OutOfOffice", "PresenceUnknown", "Presenting", "UrgentInterruptionsOnly",
)  # fmt: skip
NEW_AVAILABILITIES = (
    "Available", "Away", "BeRightBack", "Busy", "DoNotDisturb", "Focusing", "InACall", "InAMeeting", "Offline",
    "Presenting", "PresenceUnknown",
)  # fmt: skip
NEW_ACTIVITIES = (
    "Available", "Away", "BeRightBack", "Busy", "DoNotDisturb", "Offline", "OutOfOffice", "PresenceUnknown",
)  # fmt: skip

names = st.sampled_from(STATES)
teams = st.builds(Teams, names, names)
maps = st.dictionaries(names, st.sampled_from(CHOICES)).map(lambda own: effective_map(PresenceMap(), own))
statuses = st.sampled_from(STATUSES)
currents = st.builds(Current, statuses, st.sampled_from(["", "", "On site"]))


def test_the_states_are_both_lists_of_graph() -> None:
    assert set(STATES) == {*OLD_AVAILABILITIES, *OLD_ACTIVITIES, *NEW_AVAILABILITIES, *NEW_ACTIVITIES}


@pytest.mark.parametrize(
    ("availability", "activity", "state"),
    [
        ("Available", "Available", "Available"),
        ("Busy", "InACall", "InACall"),
        ("InACall", "Busy", "InACall"),
        ("AvailableIdle", "Available", "AvailableIdle"),
        ("Available", "OutOfOffice", "OutOfOffice"),
        ("Offline", "OffWork", "OffWork"),
        ("DoNotDisturb", "Presenting", "Presenting"),
        ("DoNotDisturb", "InACall", "DoNotDisturb"),
        ("Busy", "Dancing", "Busy"),
        ("Dancing", "Busy", "Busy"),
        ("Dancing", "Juggling", None),
        ("", "", None),
        ("busy", "inacall", "InACall"),
    ],
)
def test_the_more_telling_of_both_fields_counts(availability: str, activity: str, state: str | None) -> None:
    assert state_of(Teams(availability, activity)) == state


@pytest.mark.parametrize(
    ("availability", "activity", "status"),
    [
        ("Available", "Available", "available"),
        ("Away", "Away", "away"),
        ("AvailableIdle", "Inactive", "away"),
        ("BeRightBack", "BeRightBack", "away"),
        ("Busy", "InAMeeting", "away"),
        ("Busy", "InACall", "away"),
        ("DoNotDisturb", "DoNotDisturb", "do_not_disturb"),
        ("DoNotDisturb", "Presenting", "do_not_disturb"),
        ("Offline", "Offline", None),
        ("PresenceUnknown", "PresenceUnknown", None),
        ("Offline", "OutOfOffice", "off_work"),
        ("Sleeping", "Sleeping", None),
    ],
)
def test_as_delivered_only_those_who_ask_for_quiet_get_it(availability: str, activity: str, status: str | None) -> None:
    assert target_of(Teams(availability, activity), DEFAULTS) == status


def test_a_user_changes_the_administrators_map_where_he_says_so() -> None:
    table = effective_map(PresenceMap(busy="lunch", away="lunch"), {"Busy": "do_not_disturb", "Offline": "off_work"})
    shown = [target_of(Teams(name, name), table) for name in ("Busy", "Away", "Offline", "Available")]
    assert shown == ["do_not_disturb", "lunch", "off_work", "available"]


@given(teams, maps, currents, statuses, st.booleans())
def test_nothing_is_written_that_is_shown_already(
    shown: Teams, table: Map, current: Current, last: str, respect: bool
) -> None:
    assert wanted(shown, table, current, last, respect).status != current.status


@given(teams, maps, statuses, statuses, st.booleans())
def test_a_custom_presence_is_never_overwritten(
    shown: Teams, table: Map, status: Status, last: str, respect: bool
) -> None:
    assert wanted(shown, table, Current(status, "On site"), last, respect).status is None


@given(teams, maps, currents, statuses)
def test_a_status_that_somebody_chose_is_not_overwritten(shown: Teams, table: Map, current: Current, last: str) -> None:
    verdict = wanted(shown, table, current, last, respect_manual=True)
    assert verdict.status is None or current.status == last


@given(teams, maps, statuses, statuses)
def test_it_is_overwritten_where_the_administrator_wants_that(
    shown: Teams, table: Map, status: Status, last: str
) -> None:
    verdict = wanted(shown, table, Current(status), last, respect_manual=False)
    assert (verdict.status or status) == (target_of(shown, table) or status)


def follow(row: UserPresence, name: str, status: str, *, respect: bool = True) -> tuple[UserPresence, str]:
    """Teams shows ``name`` while the extension shows ``status``; answers what it shows then."""
    row = msgspec.structs.replace(row, teams=Teams(name, name), is_pending=True)
    verdict = decide(row, DEFAULTS, Current(status), respect)
    return settled(row, verdict, DEFAULTS, Current(status), NOW), verdict.status or status


def test_a_chosen_status_stays_until_teams_asks_for_another_one_than_then() -> None:
    row, status = follow(UserPresence(object_id="a"), "Away", "available")
    assert status == "away"
    row, status = follow(row, "Available", "lunch")
    assert (status, row.outcome) == ("lunch", "manual")
    row, status = follow(row, "Available", "lunch")
    assert (status, row.outcome) == ("lunch", "manual"), "however often it is looked at"
    row, status = follow(row, "Busy", "lunch")
    assert (status, row.outcome) == ("away", "write")


def test_who_chooses_again_is_left_alone_again() -> None:
    row, _ = follow(UserPresence(object_id="a"), "Away", "lunch")
    row, status = follow(row, "Available", "business_trip")
    assert (status, row.outcome) == ("business_trip", "manual")


def test_who_chooses_what_teams_asks_for_follows_it_again() -> None:
    row, _ = follow(UserPresence(object_id="a"), "Away", "lunch")
    row, status = follow(row, "Away", "away")
    assert (status, row.outcome) == ("away", "same")
    assert follow(row, "Available", "away")[1] == "available"


def test_what_was_chosen_before_teams_was_followed_is_a_choice_too() -> None:
    assert follow(UserPresence(object_id="a"), "Away", "lunch")[1] == "lunch"
    assert follow(UserPresence(object_id="a"), "Away", "lunch", respect=False)[1] == "away"


@given(st.lists(st.tuples(st.sampled_from(["person", "teams"]), statuses, names), max_size=12))
def test_a_new_choice_is_not_overwritten_by_the_look_that_finds_it(steps: list[tuple[str, Status, str]]) -> None:
    row, status = UserPresence(object_id="a", teams=Teams("Available", "Available")), "available"
    for who, choice, name in steps:
        if who == "person":
            status = choice
            continue
        found, known = status, {row.written or "available", row.seen}
        row, status = follow(row, name, status)
        assert status == found or found in known
        assert follow(row, name, status)[1] == status, "looking again changes nothing"
