"""When the bridge syncs by itself: on schedule, after changes, and regularly in case a change was not announced."""

import datetime
import functools
import itertools
import zoneinfo
from collections.abc import Iterator

import msgspec
from starlette.responses import Response

from console.app import Pages
from console.rules import Sheet, checked, read_only, save, sent_sheet, stored_sheet
from console.visit import Visit
from store.document import Schedule
from sync.schedule import next_due

SECTIONS = ("schedule",)
TIMES = 3
DAYS = {
    "mon": "Monday", "tue": "Tuesday", "wed": "Wednesday", "thu": "Thursday", "fri": "Friday", "sat": "Saturday",
    "sun": "Sunday",
}  # fmt: skip

pages = Pages()


class Due(msgspec.Struct, frozen=True):
    """A time at which a run starts, in the zone of the schedule and in UTC."""

    local: datetime.datetime
    utc: datetime.datetime


@pages.get("/console/schedule")
async def schedule(visit: Visit) -> Response:
    """The schedule as a form, with the next times."""
    stored = await visit.connection.settings.load()
    return await _rendered(visit, stored_sheet(stored, SECTIONS), stored.settings.schedule)


@pages.post("/console/schedule")
async def change_schedule(visit: Visit) -> Response:
    """Save the schedule, or only show when it would start runs."""
    sheet = sent_sheet(visit.form, SECTIONS)
    if visit.text("act") != "times":
        done = await save(visit, sheet)
        if isinstance(done, Sheet):
            return await _rendered(visit, done, None)
        return visit.go("/console/schedule", done="saved")
    after, _, settings = await checked(visit, sheet)
    typed = None if settings is None else settings.schedule
    if visit.is_partial:
        return visit.render("part_schedule_times.html", times=_times(typed, visit.now), schedule=typed, is_typed=True)
    return await _rendered(visit, after, typed, is_typed=True)


async def _rendered(visit: Visit, sheet: Sheet, shown: Schedule | None, *, is_typed: bool = False) -> Response:
    return visit.render(
        "schedule.html",
        sheet.status,
        sheet=sheet,
        rules=sheet.sections,
        faults=sheet.faults,
        times=_times(shown, visit.now),
        schedule=shown,
        is_typed=is_typed,
        locked=read_only(await visit.connection.health.load()),
        days=DAYS,
        zones=_zones(),
    )


def _times(schedule: Schedule | None, now: datetime.datetime) -> list[Due]:
    """The next times; none for a schedule that is not right."""
    return [] if schedule is None else list(itertools.islice(_dues(schedule, now), TIMES))


def _dues(schedule: Schedule, now: datetime.datetime) -> Iterator[Due]:
    zone = zoneinfo.ZoneInfo(schedule.time_zone)
    while True:
        now = next_due(schedule, now)
        yield Due(now.astimezone(zone), now)


@functools.cache
def _zones() -> list[str]:
    return sorted(zoneinfo.available_timezones())  # walks a folder of 600 files
