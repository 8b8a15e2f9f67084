"""Whatever order, repetition and loss: the newest state counts in the end."""

import datetime

from hypothesis import given
from hypothesis import strategies as st

from presence.hearing import SETTLED, Said, hear, is_before, stamp
from store.presence import Teams, UserPresence

START = datetime.datetime(2026, 3, 2, 9, tzinfo=datetime.UTC)
NAMES = ("Available", "Away", "Busy", "DoNotDisturb", "Offline")
SOMEBODY = UserPresence(object_id="a")


def at(seconds: float) -> str:
    return stamp(START + datetime.timedelta(seconds=seconds))


def announced(name: str, sequence: int | str = "", second: float = 0) -> Said:
    return Said(object_id="a", teams=Teams(name, name), sequence=str(sequence), at=at(second))


def polled(name: str, sequence: int | str = "", second: float = 0) -> Said:
    return Said(object_id="a", teams=Teams(name, name), sequence=str(sequence), at=at(second), source="poll")


def heard(*said: Said) -> UserPresence:
    row = SOMEBODY
    for one in said:
        row = hear(row, one)
    return row


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[str], list[int]]:
    """The states of a user one after another, and which of them arrive: in any order, repeatedly, or not at all."""
    states = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=8))
    arrivals = draw(st.lists(st.integers(0, len(states) - 1), max_size=16))
    return states, arrivals


@given(deliveries())
def test_of_numbered_states_the_newest_that_arrived_counts(delivery: tuple[list[str], list[int]]) -> None:
    states, arrivals = delivery
    said = [announced(states[index], 95 + index, second) for second, index in enumerate(arrivals)]
    expected = states[max(arrivals)] if arrivals else ""
    assert heard(*said).teams.activity == expected


@given(deliveries(), st.booleans(), st.booleans())
def test_a_poll_ends_in_the_newest_state_whatever_was_lost(
    delivery: tuple[list[str], list[int]], numbered: bool, poll_numbered: bool
) -> None:
    states, arrivals = delivery
    said = [announced(states[i], 95 + i if numbered else "", second) for second, i in enumerate(arrivals)]
    last = 95 + len(states) - 1
    said.append(polled(states[-1], last if poll_numbered else "", len(arrivals) + 1))
    assert heard(*said).teams.activity == states[-1]


@given(deliveries())
def test_what_is_heard_again_changes_nothing(delivery: tuple[list[str], list[int]]) -> None:
    states, arrivals = delivery
    said = [announced(states[i], 95 + i, second) for second, i in enumerate(arrivals)]
    row = heard(*said)
    for one in said:
        assert hear(row, one) == row


def test_a_poll_that_was_asked_before_an_announcement_came_is_older_than_it() -> None:
    assert heard(announced("Busy", second=5), polled("Available", second=4)).teams.activity == "Busy"
    assert heard(announced("Busy", second=5), polled("Available", second=6)).teams.activity == "Available"


def test_a_read_counts_whatever_its_number_when_nothing_was_heard_for_long() -> None:
    later = SETTLED.total_seconds()
    assert heard(announced("Busy", 9), polled("Away", 8, later - 1)).teams.activity == "Busy"
    assert heard(announced("Busy", 9), polled("Away", 8, later)).teams.activity == "Away"
    assert heard(announced("Busy", 9), announced("Away", 8, later)).teams.activity == "Busy"


def test_a_newer_number_of_the_same_state_is_kept_and_nothing_is_to_do() -> None:
    row = heard(announced("Busy", 7), announced("Busy", 9))
    assert (row.sequence, row.changes) == ("9", 1)
    assert hear(row, announced("Away", 8)) is row


def test_numbers_of_different_lengths_sort_as_numbers() -> None:
    assert is_before("9", "10")
    assert is_before("10", "0011")
    assert not is_before("007", "7")
    assert not is_before("7", "007")
    assert is_before("9" * 5_000, "1" + "0" * 5_000)


def test_texts_sort_as_texts_also_where_one_has_only_digits() -> None:
    assert is_before("2026-a", "2026-b")
    assert is_before("0f3a", "1234")
    assert is_before("1234", "12a4")
