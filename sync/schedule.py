"""When the next scheduled run is due, right across daylight-saving changes. Pure."""

import datetime
import zoneinfo

from store.document import Schedule

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def next_due(schedule: Schedule, after: datetime.datetime) -> datetime.datetime:
    """The first scheduled time later than ``after`` (both with a time zone; the answer is in UTC).

    A local time that the clocks skip in spring is served at the moment they jump; one that happens twice in autumn is
    served the first time. ``ValueError`` when a weekly schedule names no day.
    """
    if schedule.kind == "weekly" and not schedule.days:
        raise ValueError("a weekly schedule that names no day is never due")
    zone = zoneinfo.ZoneInfo(schedule.time_zone)
    hour, minute = map(int, schedule.at.split(":"))
    day = after.astimezone(zone).date() - datetime.timedelta(days=1)
    while True:
        if schedule.kind == "daily" or DAYS[day.weekday()] in schedule.days:
            due = _instant(datetime.datetime.combine(day, datetime.time(hour, minute)), zone)
            if due > after:
                return due
        day += datetime.timedelta(days=1)


def _instant(local: datetime.datetime, zone: zoneinfo.ZoneInfo) -> datetime.datetime:
    instant = local.replace(tzinfo=zone, fold=0).astimezone(datetime.UTC)
    if instant.astimezone(zone).replace(tzinfo=None) == local:
        return instant
    # In the gap: fold=0 reads the time by the offset before the jump, so it lies behind the jump by the part of the gap
    # that had passed. The jump itself is where the two readings' offsets meet.
    early = local.replace(tzinfo=zone, fold=1).astimezone(datetime.UTC)
    return _jump(early, instant, zone)


def _jump(low: datetime.datetime, high: datetime.datetime, zone: zoneinfo.ZoneInfo) -> datetime.datetime:
    """The first instant of the new offset between ``low`` and ``high``, to the minute."""
    before = low.astimezone(zone).utcoffset()
    minute = datetime.timedelta(minutes=1)
    while low < high and low.astimezone(zone).utcoffset() == before:
        low += minute
    return low
