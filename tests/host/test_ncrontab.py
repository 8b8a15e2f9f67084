"""NCRONTAB against a scan of every second."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local.host.ncrontab import Cron, parse

START = datetime(2026, 1, 1, tzinfo=UTC)
moments = st.integers(0, 3 * 366 * 86400).map(lambda seconds: START + timedelta(seconds=seconds))


def field(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    ranges = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    steps = st.tuples(st.one_of(st.just("*"), number.map(str), ranges), st.integers(1, 30)).map(
        lambda pair: f"{pair[0]}/{pair[1]}"
    )
    one = st.one_of(st.just("*"), number.map(str), ranges, steps)
    return st.lists(one, min_size=1, max_size=3).map(",".join)


def is_match(cron: Cron, moment: datetime) -> bool:
    return (
        moment.second in cron.seconds
        and moment.minute in cron.minutes
        and moment.hour in cron.hours
        and moment.day in cron.days
        and moment.month in cron.months
        and moment.isoweekday() % 7 in cron.weekdays
    )


def scan(cron: Cron, after: datetime, step: timedelta, count: int) -> datetime | None:
    moment = after.replace(microsecond=0)
    if step > timedelta(seconds=1):
        moment = moment.replace(second=0)
    for _ in range(count):
        moment += step
        if is_match(cron, moment):
            return moment
    return None


@settings(max_examples=60, deadline=None)
@given(field(0, 59), field(0, 59), moments)
def test_the_next_second_is_the_first_that_a_scan_finds(seconds: str, minutes: str, after: datetime) -> None:
    cron = parse(f"{seconds} {minutes} * * * *")
    assert isinstance(cron, Cron)
    assert cron.next(after) == scan(cron, after, timedelta(seconds=1), 3600)


@settings(max_examples=40, deadline=None)
@given(st.tuples(field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 6)).map(" ".join), moments)
def test_the_next_day_is_the_first_that_a_scan_finds(text: str, after: datetime) -> None:
    cron = parse(text)
    assert isinstance(cron, Cron)
    found = cron.next(after)
    # A scan of years by the minute would take too long: the day by days, then its minutes.
    expected = scan(cron, after, timedelta(minutes=1), 1440)
    if expected is None:
        noon = after.replace(hour=0, minute=0, second=0, microsecond=0)
        days = (noon + timedelta(days=number) for number in range(1, 366 * 9))
        first = next((one for one in days if _is_day(cron, one)), None)
        expected = first and scan(cron, first - timedelta(minutes=1), timedelta(minutes=1), 1441)
    if found is not None and found - after > timedelta(days=366 * 8):
        return
    assert found == expected


def _is_day(cron: Cron, day: datetime) -> bool:
    return day.day in cron.days and day.month in cron.months and day.isoweekday() % 7 in cron.weekdays


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("*/10 * * * * *", "2026-01-01T00:00:10"),
        ("0 */5 * * * *", "2026-01-01T00:05:00"),
        ("*/5 * * * *", "2026-01-01T00:05:00"),
        ("0 30 9 * Jan Mon", "2026-01-05T09:30:00"),
        ("0 0 0 29 2 *", "2028-02-29T00:00:00"),
        ("0 0 9 * * Mon-Fri", "2026-01-01T09:00:00"),
        ("0 0 0 1 January *", "2027-01-01T00:00:00"),
        ("5,8,10 * * * * *", "2026-01-01T00:00:05"),
        ("00:00:30", "2026-01-01T00:00:30"),
        ("1.00:00:00", "2026-01-02T00:00:00"),
    ],
)
def test_examples(text: str, expected: str) -> None:
    assert parse(text).next(START) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


def test_a_day_that_never_comes_has_no_next_time() -> None:
    assert parse("0 0 0 30 2 *").next(START) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("* * *", "3 fields"),
        ("60 * * * * *", "second"),
        ("0 0 24 * * *", "hour"),
        ("0 0 0 0 * *", "day"),
        ("0 0 0 * 13 *", "month"),
        ("0 0 0 * * 7", "day of week"),
        ("0 5-1 * * * *", "backwards"),
        ("0 */0 * * * *", "step"),
        ("0 x * * * *", "no number"),
        ("00:00:00", "positive"),
    ],
)
def test_a_mistake_is_named(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse(text)
