"""The time that rules the timers. It can be moved forward; queues and time-outs do not see that."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


def system_now() -> datetime:
    """The machine's time in UTC."""
    return datetime.now(UTC)


class Clock:
    """A clock that runs at normal speed and can be moved forward; ``source`` replaces the machine's time in tests."""

    def __init__(self, source: Callable[[], datetime] = system_now) -> None:
        self._source = source
        self._offset = timedelta()
        self._moved = asyncio.Event()

    @property
    def offset(self) -> timedelta:
        """How far ahead of its source the clock is."""
        return self._offset

    def now(self) -> datetime:
        """The time, in UTC."""
        return self._source() + self._offset

    def offset_after(self, by: timedelta) -> timedelta:
        """The offset that a move would lead to. Raises ValueError for a move back: timers already fired."""
        if by < timedelta():
            raise ValueError("the clock only moves forward")
        return self._offset + by

    def advance(self, by: timedelta) -> None:
        """Move forward and wake everyone who waits. Raises ValueError for a move back."""
        self._offset = self.offset_after(by)
        self.wake()

    def until(self, moment: datetime) -> timedelta:
        """How far away a point in time is. Raises ValueError for one without a time zone."""
        if moment.tzinfo is None:
            raise ValueError("the time needs a time zone, such as 2026-05-01T12:00:00Z")
        return moment - self.now()

    def wake(self) -> None:
        """End every ``wait``, to look at the time again; a test whose source jumps calls it."""
        self._moved.set()
        self._moved = asyncio.Event()

    async def wait(self, until: datetime | None) -> None:
        """Return at that time (None: never) or when the clock is moved, whichever is first."""
        moved = self._moved
        seconds = None if until is None else (until - self.now()).total_seconds()
        if seconds is not None and seconds <= 0:
            return
        # A long sleep would miss a suspended machine or a changed system time by as much.
        seconds = None if seconds is None else min(seconds, 60.0)
        try:
            await asyncio.wait_for(moved.wait(), seconds)
        except TimeoutError:
            return
