"""What runs did: by day for the overview, and item by item."""

import datetime
import zoneinfo
from collections import Counter
from collections.abc import AsyncIterator, Mapping

import msgspec

from store.links import Kind
from store.runs import FEW_ROWS, Outcome, Run, RunItem
from sync.connection import Connection

MOST_RUNS = 2000
"""Two requests. With a poll every 60 minutes that is far more than a month of runs."""
PAGE = 100


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """What runs of one day changed on the PBX: users and groups together, previews left out."""

    date: str
    """``2026-03-02``."""
    created: int = 0
    associated: int = 0
    updated: int = 0
    deleted: int = 0
    released: int = 0
    failed: int = 0
    """Operations that failed. What is tried again and fails again counts again."""


class ItemsPage(msgspec.Struct, frozen=True):
    """Some items of a run."""

    items: list[RunItem]
    after: int | None
    """What the next page begins behind; ``None`` for the last one."""


async def changes_by_day(
    connection: Connection, now: datetime.datetime, *, days: int = 30, time_zone: str = "UTC"
) -> list[Day]:
    """The last ``days`` days, today's last, each with what its runs changed. A run counts on the day it was asked for.

    At most two storage requests: beyond 2,000 runs the earlier days are left out, as they are not known.
    """
    zone = zoneinfo.ZoneInfo(time_zone)
    today = now.astimezone(zone).date()
    first = today - datetime.timedelta(days=days - 1)
    since = datetime.datetime.combine(first, datetime.time(), zone)
    runs = [run async for run in connection.runs.since(since, MOST_RUNS)]
    if len(runs) == MOST_RUNS:
        first = _day(runs[-1], zone) + datetime.timedelta(days=1)
    totals: dict[datetime.date, Counter[str]] = {}
    for run in runs:
        if not run.preview:
            totals.setdefault(_day(run, zone), Counter()).update(_changed(run.counts))
    known = [first + datetime.timedelta(days=index) for index in range((today - first).days + 1)]
    return [Day(date=day.isoformat(), **totals.get(day, Counter())) for day in known]


async def items_page(
    connection: Connection,
    run_id: str,
    *,
    outcome: Outcome | None = None,
    kind: Kind | None = None,
    after: int = -1,
    top: int = PAGE,
) -> ItemsPage:
    """At most ``top`` items in their order, beginning behind item ``after``. A filter looks through all of them: a run
    of 10,000 users has 100 rows of items."""
    found: list[RunItem] = []
    async for item in items_of(connection, run_id, outcome=outcome, kind=kind, after=after):
        if len(found) == top:
            return ItemsPage(found, found[-1].number)
        found.append(item)
    return ItemsPage(found, None)


async def items_of(
    connection: Connection, run_id: str, *, outcome: Outcome | None = None, kind: Kind | None = None, after: int = -1
) -> AsyncIterator[RunItem]:
    """All items of a run, one after the other."""
    async for item in connection.runs.items(run_id, after=after, first_rows=FEW_ROWS):
        if outcome in {None, item.outcome} and kind in {None, item.kind}:
            yield item


def _day(run: Run, zone: zoneinfo.ZoneInfo) -> datetime.date:
    return datetime.datetime.fromisoformat(run.requested_at).astimezone(zone).date()


DONE = {
    "create.done": "created",
    "associate.done": "associated",
    "update.done": "updated",
    "delete.done": "deleted",
    "release.done": "released",
}


def _changed(counts: Mapping[str, int]) -> Counter[str]:
    total: Counter[str] = Counter()
    for name, number in counts.items():
        plain = name.removeprefix("groups.")
        if plain in DONE:
            total[DONE[plain]] += number
        elif plain.endswith(".failed"):
            total["failed"] += number
    return total
