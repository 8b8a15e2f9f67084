"""A scripted day of the company: presences change at a steady rate, for trying things out and for load."""

import asyncio
import contextlib

import msgspec

from local.emulator import Clock
from local.microsoft.presence import Presences
from local.microsoft.presence_values import company_day

FASTEST = 1000.0


class Day(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``users`` are ids; ``None`` stands for everybody whose presence is known. The same seed makes the same day."""

    changes_per_second: float
    seconds: float
    """By the emulator's clock: moving it makes changes due."""
    users: list[str] | None = None
    seed: int = 1

    @property
    def changes(self) -> int:
        return max(1, round(self.changes_per_second * self.seconds))

    def check(self) -> None:
        """``ValueError`` for a number that makes no sense."""
        if not 0 < self.changes_per_second <= FASTEST or self.seconds <= 0:
            raise ValueError(f"changes_per_second goes up to {FASTEST:g}, and both it and seconds are above 0")


class Progress(msgspec.Struct, frozen=True):
    running: bool
    planned: int
    made: int


class CompanyDay:
    """At most one day at a time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._planned = 0
        self._made = 0
        self._task: asyncio.Task[None] | None = None

    def start(self, day: Day, presences: Presences) -> None:
        """Begin it, in the place of another one. ``ValueError`` when there is nobody whose presence could change."""
        day.check()
        users = list(presences.content.users) if day.users is None else day.users
        if not users:
            raise ValueError("there is nobody whose presence could change")
        self.stop()
        self._planned, self._made = day.changes, 0
        self._task = asyncio.create_task(self._run(day, users, presences))

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    @property
    def progress(self) -> Progress:
        running = self._task is not None and not self._task.done()
        return Progress(running, self._planned, self._made)

    async def _run(self, day: Day, users: list[str], presences: Presences) -> None:
        steps = company_day(users, presences.switches.vocabulary, day.seed)
        began = self._clock.time()
        for number in range(day.changes):
            await self._until(began + number / day.changes_per_second)
            user_id, words = next((user, words) for user, words in steps if presences.of(user).words != words)
            presences.change(user_id, {"availability": words[0], "activity": words[1]})
            self._made += 1

    async def _until(self, moment: float) -> None:
        """Also lets everything else go on when the moment is over already."""
        with contextlib.suppress(TimeoutError):
            async with self._clock.timeout(max(0.0, moment - self._clock.time())):
                await asyncio.Event().wait()
