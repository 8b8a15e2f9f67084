"""NCRONTAB expressions and time spans: when a timer is due next.

``{second} {minute} {hour} {day} {month} {day of week}``; with five fields the second is 0. Fields hold ``*``, numbers,
names (Jan, Mon), ranges, lists and steps; Sunday is 0. Day and day of week must both match (unlike Unix cron).
Public source: "Timer trigger for Azure Functions" on learn.microsoft.com. All times are UTC.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from local.host.config import time_span

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_HORIZON_DAYS = 366 * 9  # 29 February may be eight years away (1896-1904); anything later never comes


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    def parse(self, text: str) -> tuple[int, ...]:
        """The sorted values of one field. Raises ValueError naming it."""
        values: set[int] = set()
        for item in text.split(","):
            values |= self._item(item)
        return tuple(sorted(values))

    def _item(self, item: str) -> set[int]:
        span, slash, step_text = item.partition("/")
        step = self._digits(step_text, item) if slash else 1
        if step < 1:
            raise ValueError(f"{self.name} {item!r}: a step is 1 or more")
        if span == "*":
            first, last = self.low, self.high
        else:
            start, dash, end = span.partition("-")
            first = self._value(start, item)
            last = self._value(end, item) if dash else (self.high if slash else first)
        if first > last:
            raise ValueError(f"{self.name} {item!r}: the range runs backwards")
        return set(range(first, last + 1, step))

    def _value(self, text: str, item: str) -> int:
        name = text.lower()[:3]
        if self.names and name in self.names and text.isalpha():
            return self.names.index(name) + self.low
        value = self._digits(text, item)
        if not self.low <= value <= self.high:
            raise ValueError(f"{self.name} {item!r}: {value} is not in {self.low}-{self.high}")
        return value

    def _digits(self, text: str, item: str) -> int:
        if not (text.isascii() and text.isdigit()):
            raise ValueError(f"{self.name} {item!r}: {text!r} is no number")
        return int(text)


_FIELDS = (
    _Field("second", 0, 59),
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 6, _DAYS),
)


class Schedule(Protocol):
    """When a timer is due."""

    def next(self, after: datetime) -> datetime | None:
        """The first time later than ``after``; None when there is none."""
        ...

    @property
    def is_constant(self) -> bool:
        """Whether it is a time span: runs every so often from whenever it started."""
        ...


@dataclass(frozen=True, slots=True)
class Cron:
    """An NCRONTAB expression."""

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]

    @property
    def is_constant(self) -> bool:
        """See Schedule."""
        return False

    def next(self, after: datetime) -> datetime | None:
        """See Schedule."""
        start = after.replace(microsecond=0) + timedelta(seconds=1)
        day = start.replace(hour=0, minute=0, second=0)
        earliest = (start.hour, start.minute, start.second)
        for _ in range(_HORIZON_DAYS):
            if self._is_day(day) and (time := self._time(earliest)) is not None:
                return day.replace(hour=time[0], minute=time[1], second=time[2])
            try:
                day += timedelta(days=1)
            except OverflowError:
                return None
            earliest = (0, 0, 0)
        return None

    def _is_day(self, day: datetime) -> bool:
        return day.month in self.months and day.day in self.days and day.isoweekday() % 7 in self.weekdays

    def _time(self, earliest: tuple[int, int, int]) -> tuple[int, int, int] | None:
        """The first time of day at or after ``earliest``."""
        for hour in self.hours:
            if hour < earliest[0]:
                continue
            from_minute = earliest[1] if hour == earliest[0] else 0
            for minute in self.minutes:
                if minute < from_minute:
                    continue
                from_second = earliest[2] if (hour, minute) == earliest[:2] else 0
                second = next((one for one in self.seconds if one >= from_second), None)
                if second is not None:
                    return hour, minute, second
        return None


@dataclass(frozen=True, slots=True)
class Every:
    """A constant interval."""

    interval: timedelta

    @property
    def is_constant(self) -> bool:
        """See Schedule."""
        return True

    def next(self, after: datetime) -> datetime | None:
        """See Schedule."""
        return after + self.interval


def parse(text: str) -> Schedule:
    """A schedule from NCRONTAB (5 or 6 fields) or a TimeSpan. Raises ValueError saying what is wrong."""
    parts = text.split()
    if len(parts) == 1 and ":" in text:
        seconds = time_span(text)
        if seconds <= 0:
            raise ValueError(f"{text!r}: the interval must be positive")
        return Every(timedelta(seconds=seconds))
    if len(parts) == 5:
        parts.insert(0, "0")
    if len(parts) != 6:
        raise ValueError(f"{text!r} has {len(parts)} fields; NCRONTAB has six (five without the second)")
    return Cron(*(field.parse(part) for field, part in zip(_FIELDS, parts, strict=True)))
