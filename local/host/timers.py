"""Fires timer triggers when the host's clock says so.

A timer does not overlap itself: its next time is computed when it has ended. After a jump of the clock it fires once,
however many times were jumped over. ``isPastDue`` is true only for the run at start that makes up for a missed one.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from local.host.clock import Clock
from local.host.functions import Entry, TimerTrigger
from local.host.timer_store import TimerStatus, TimerStore
from local.host.wire import Data, Kind

log = logging.getLogger("local.host")

_MONITORED_FROM = timedelta(minutes=1)  # more frequent timers keep no status, as Microsoft documents for useMonitor

_NEVER = datetime.min.replace(tzinfo=UTC)  # .NET's default value, which the payload shows before the first run

type Invoke = Callable[[Entry, Data], Awaitable[bool]]


@dataclass(slots=True)
class _Timer:
    entry: Entry
    trigger: TimerTrigger
    is_monitored: bool
    next: datetime | None
    last: datetime | None = None


class Timers:
    """All timers of one app; ``invoke`` runs a function and says whether it succeeded."""

    def __init__(self, clock: Clock, store: TimerStore, invoke: Invoke) -> None:
        self._clock = clock
        self._store = store
        self._invoke = invoke
        self._timers: dict[str, _Timer] = {}
        self._runs: set[asyncio.Task[None]] = set()
        self._loop: asyncio.Task[None] | None = None

    async def start(self, entries: Sequence[Entry]) -> None:
        """Schedule the timers, fire what is past due or wants to run at start, and begin waiting."""
        for entry in entries:
            if isinstance(entry.trigger, TimerTrigger):
                await self._add(entry, entry.trigger)
        if self._timers:
            self._loop = asyncio.create_task(self._wait_and_fire())

    async def stop(self, patience: float) -> None:
        """Fire no more; give running functions ``patience`` seconds."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.wait([self._loop])
        if self._runs:
            await asyncio.wait(self._runs, timeout=patience)
        for run in self._runs:
            run.cancel()
        await self._store.close()

    def next_times(self) -> dict[str, datetime | None]:
        """When each timer is due; None while it runs or when it never is again."""
        return {name: timer.next for name, timer in self._timers.items()}

    def fire_due(self) -> dict[str, asyncio.Task[None]]:
        """Start every timer that is due, by name; a task ends with its function."""
        now = self._clock.now()
        due = [one for one in self._timers.values() if one.next is not None and one.next <= now]
        return {timer.entry.name: self._fire(timer, is_past_due=False) for timer in due}

    def payload(self, entry: Entry, *, is_past_due: bool = False) -> Data:
        """What the function receives: schedule, status and whether it is late."""
        timer = self._timers.get(entry.name)
        status: dict[str, Any] | None = None
        if timer is not None and timer.is_monitored:
            last = timer.last or _NEVER
            status = {"Last": last, "Next": timer.next, "LastUpdated": last}
        document = {"Schedule": {"AdjustForDST": True}, "ScheduleStatus": status, "IsPastDue": is_past_due}
        return Data(Kind.JSON, msgspec.json.encode(document).decode())

    async def _add(self, entry: Entry, trigger: TimerTrigger) -> None:
        now = self._clock.now()
        upcoming = trigger.schedule.next(now)
        timer = _Timer(entry, trigger, self._is_monitored(trigger, upcoming), upcoming)
        self._timers[entry.name] = timer
        is_past_due = timer.is_monitored and await self._recall(timer, now)
        if is_past_due or trigger.run_on_startup:
            if is_past_due:
                log.info("timer %r is past due: it runs now", entry.name)
            self._fire(timer, is_past_due=is_past_due)

    def _is_monitored(self, trigger: TimerTrigger, upcoming: datetime | None) -> bool:
        after = trigger.schedule.next(upcoming) if upcoming is not None else None
        return trigger.use_monitor and upcoming is not None and (after is None or after - upcoming >= _MONITORED_FROM)

    async def _recall(self, timer: _Timer, now: datetime) -> bool:
        """Whether a run was missed. A timer seen for the first time, or with a new schedule, missed nothing."""
        status = await self._store.read(timer.entry.name)
        if status is None or status.schedule != timer.trigger.text:
            await self._remember(timer)
            return False
        timer.last = status.last
        if status.next is not None and timer.trigger.schedule.is_constant and status.next > now:
            timer.next = status.next
        return status.next is not None and status.next <= now

    def _fire(self, timer: _Timer, *, is_past_due: bool) -> asyncio.Task[None]:
        data = self.payload(timer.entry, is_past_due=is_past_due)
        timer.next = None
        task = asyncio.create_task(self._run(timer, data))
        self._runs.add(task)
        task.add_done_callback(self._runs.discard)
        return task

    async def _run(self, timer: _Timer, data: Data) -> None:
        timer.last = self._clock.now()
        await self._invoke(timer.entry, data)
        timer.next = timer.trigger.schedule.next(self._clock.now())
        self._clock.wake()
        if timer.is_monitored:
            await self._remember(timer)

    async def _remember(self, timer: _Timer) -> None:
        await self._store.write(timer.entry.name, TimerStatus(timer.last, timer.next, timer.trigger.text))

    async def _wait_and_fire(self) -> None:
        while True:
            times = [one.next for one in self._timers.values() if one.next is not None]
            await self._clock.wait(min(times, default=None))
            self.fire_due()
