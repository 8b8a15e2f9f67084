"""When an endpoint counts as slow, and when its notifications are lost."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local.microsoft.endpoints import Endpoints
from local.microsoft.transport import Outcome

URL = "https://hooks.contoso.example/notifications"


def answered(seconds: float) -> Outcome:
    return Outcome(seconds, 202)


def filled(*seconds: float, now: float = 0.0) -> Endpoints:
    endpoints = Endpoints()
    for one in seconds:
        endpoints.note(URL, answered(one), 10, now)
    return endpoints


@pytest.mark.parametrize(
    ("late", "quick", "slow"), [(0, 5, False), (1, 9, False), (1, 8, True), (2, 18, False), (2, 17, True), (1, 0, True)]
)
def test_more_than_ten_per_cent_above_three_seconds_are_slow(late: int, quick: int, slow: bool) -> None:
    assert filled(*[3.1] * late, *[3.0] * quick).is_slow(URL, 0) is slow


@pytest.mark.parametrize(("late", "quick", "dropped"), [(3, 17, False), (3, 16, True), (1, 0, True), (0, 1, False)])
def test_more_than_fifteen_per_cent_above_ten_seconds_are_dropped(late: int, quick: int, dropped: bool) -> None:
    assert filled(*[10.0] * quick, *[10.1] * late).is_dropped(URL, 0) is dropped


def test_after_ten_minutes_all_is_forgiven() -> None:
    endpoints = filled(10.1, now=1000)
    assert (endpoints.is_slow(URL, 1599), endpoints.is_dropped(URL, 1599)) == (True, True)
    assert (endpoints.is_slow(URL, 1600), endpoints.is_dropped(URL, 1600)) == (False, False)


def test_an_endpoint_that_was_given_up_counts_as_long_as_it_was_waited_for() -> None:
    endpoints = Endpoints()
    endpoints.note(URL, Outcome(500, timed_out=True), 3, 0)
    assert (endpoints.is_slow(URL, 0), endpoints.is_dropped(URL, 0)) == (True, False)
    endpoints.note(URL, Outcome(10, timed_out=True), 10, 0)
    assert endpoints.is_dropped(URL, 0)


def test_an_endpoint_that_cannot_be_reached_gave_no_answer() -> None:
    endpoints = Endpoints()
    endpoints.note(URL, Outcome(20, problem="refused"), 10, 0)
    assert endpoints.states(0) == []


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 3000), st.floats(0, 20)), max_size=40), st.floats(0, 4000))
def test_the_share_is_that_of_the_last_ten_minutes(answers: list[tuple[float, float]], now: float) -> None:
    endpoints = Endpoints()
    answers.sort()
    past = [(at, seconds) for at, seconds in answers if at <= now]
    for at, seconds in past:
        endpoints.note(URL + "?x=1", answered(seconds), 10, at)
    recent = [seconds for at, seconds in past if at > now - 600]
    assert endpoints.is_slow(URL, now) is (sum(seconds > 3 for seconds in recent) > 0.10 * len(recent))
