"""When a run is due, in zones whose clocks jump."""

import datetime
import itertools
import zoneinfo
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.document import Day, Schedule
from sync.schedule import DAYS, next_due

ZONES = (
    "UTC",
    "Europe/Amsterdam",
    "America/New_York",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "America/Havana",
    "Asia/Beirut",
    "Asia/Kathmandu",
    "Pacific/Kiritimati",
)


def utc(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC)


def due(zone: str, at: str, after: str, *, days: list[Day] | None = None) -> str:
    kind = "weekly" if days else "daily"
    found = next_due(Schedule(kind=kind, days=days or [], at=at, time_zone=zone), utc(after))  # type: ignore[arg-type]
    assert found.tzinfo is datetime.UTC
    return found.strftime("%Y-%m-%dT%H:%M")


@pytest.mark.parametrize(
    ("zone", "at", "after", "expected"),
    [
        ("UTC", "00:30", "2026-03-02T00:00", "2026-03-02T00:30"),
        ("UTC", "00:30", "2026-03-02T00:30", "2026-03-03T00:30"),
        ("Europe/Amsterdam", "00:30", "2026-07-01T12:00", "2026-07-01T22:30"),
        ("Europe/Amsterdam", "02:30", "2026-03-28T12:00", "2026-03-29T01:00"),
        ("Europe/Amsterdam", "03:00", "2026-03-28T12:00", "2026-03-29T01:00"),
        ("Europe/Amsterdam", "02:30", "2026-10-24T12:00", "2026-10-25T00:30"),
        ("Europe/Amsterdam", "02:30", "2026-10-25T00:30", "2026-10-26T01:30"),
        ("America/New_York", "02:15", "2026-03-07T12:00", "2026-03-08T07:00"),
        ("America/New_York", "01:30", "2026-10-31T12:00", "2026-11-01T05:30"),
        ("Australia/Lord_Howe", "02:15", "2026-10-03T00:00", "2026-10-03T15:30"),
        ("Australia/Lord_Howe", "01:45", "2026-04-04T00:00", "2026-04-04T14:45"),
        ("Africa/Casablanca", "02:30", "2026-03-21T12:00", "2026-03-22T02:00"),
        ("Africa/Casablanca", "02:30", "2026-02-14T12:00", "2026-02-15T01:30"),
        ("America/Havana", "00:30", "2026-03-07T12:00", "2026-03-08T05:00"),
    ],
)
def test_the_next_run_is_at_the_wall_clocks_time_across_every_jump(
    zone: str, at: str, after: str, expected: str
) -> None:
    assert due(zone, at, after) == expected


def test_a_weekly_run_waits_for_its_days() -> None:
    assert due("Europe/Amsterdam", "08:00", "2026-03-02T12:00", days=["mon", "fri"]) == "2026-03-06T07:00"
    assert due("Europe/Amsterdam", "08:00", "2026-03-06T07:00", days=["mon", "fri"]) == "2026-03-09T07:00"


def test_the_day_is_that_of_the_local_calendar() -> None:
    assert due("Pacific/Kiritimati", "00:30", "2026-03-01T09:00", days=["mon"]) == "2026-03-01T10:30"


def test_a_run_on_the_day_of_the_jump_is_not_lost_when_the_hour_is_skipped() -> None:
    assert due("Europe/Amsterdam", "02:30", "2026-03-24T12:00", days=["sun"]) == "2026-03-29T01:00"


def test_a_weekly_schedule_without_days_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="names no day"):
        next_due(Schedule(kind="weekly", days=[]), utc("2026-03-02T12:00"))


def series(schedule: Schedule, start: datetime.datetime) -> Iterator[datetime.datetime]:
    moment = start
    while True:
        moment = next_due(schedule, moment)
        yield moment


clock = st.builds("{:02}:{:02}".format, st.sampled_from([0, 1, 2, 3, 12, 23]), st.sampled_from([0, 15, 30, 45, 59]))
starts = st.datetimes(datetime.datetime(2024, 1, 1), datetime.datetime(2029, 1, 1))  # noqa: DTZ001 - made UTC below


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(ZONES), clock, starts)
def test_every_local_day_is_served_exactly_once(zone: str, at: str, start: datetime.datetime) -> None:
    begin = start.replace(tzinfo=datetime.UTC)
    served = list(itertools.islice(series(Schedule(at=at, time_zone=zone), begin), 40))
    days = [moment.astimezone(zoneinfo.ZoneInfo(zone)).date() for moment in served]
    assert all(later > earlier for earlier, later in itertools.pairwise([begin, *served]))
    assert all(later - earlier == datetime.timedelta(days=1) for earlier, later in itertools.pairwise(days))


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(ZONES), clock, starts, st.sets(st.sampled_from(DAYS), min_size=1))
def test_chosen_weekdays_are_served_exactly_once_and_no_others(
    zone: str, at: str, start: datetime.datetime, days: set[Day]
) -> None:
    schedule = Schedule(kind="weekly", days=sorted(days), at=at, time_zone=zone)
    begin = start.replace(tzinfo=datetime.UTC)
    served = itertools.islice(series(schedule, begin), 3 * len(days))
    local = [moment.astimezone(zoneinfo.ZoneInfo(zone)) for moment in served]
    assert Counter(DAYS[moment.weekday()] for moment in local) == dict.fromkeys(days, 3)
    assert (local[-1].date() - local[0].date()).days <= 21


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(ZONES), clock, starts)
def test_nothing_earlier_would_have_been_due(zone: str, at: str, start: datetime.datetime) -> None:
    begin = start.replace(tzinfo=datetime.UTC)
    schedule = Schedule(at=at, time_zone=zone)
    found = next_due(schedule, begin)
    between = begin + (found - begin) / 2
    assert next_due(schedule, between) == found
