"""What runs did, by day and item by item."""

import datetime

import pytest

from store.runs import Run, RunItem, run_id
from sync.history import Day, changes_by_day, items_of, items_page
from tests.engine.world import World

NOON = datetime.datetime(2026, 3, 10, 12, 0, tzinfo=datetime.UTC)


async def ran(world: World, at: datetime.datetime, *, preview: bool = False, **counts: int) -> Run:
    """A run with these counts, their names with ``_`` for ``.``"""
    run = Run(
        id=run_id(at, f"{world.tell().microsecond:06}"),
        what=["users"],
        mode="full",
        preview=preview,
        status="succeeded",
        started_by="schedule",
        requested_at=at.isoformat(),
        counts={name.replace("_", "."): number for name, number in counts.items()},
    )
    await world.connection.runs.create(run)
    return run


def hours_before(number: float) -> datetime.datetime:
    return NOON - datetime.timedelta(hours=number)


async def test_each_day_counts_what_its_runs_changed(world: World) -> None:
    await ran(world, hours_before(1), create_done=2, update_done=1, create_failed=3, read=50, unchanged=40)
    await ran(world, hours_before(2), groups_create_done=1, groups_delete_failed=1, release_done=1)
    await ran(world, hours_before(3), preview=True, create_planned=9, create_failed=9)
    await ran(world, hours_before(30), delete_done=4, associate_done=5)
    assert await changes_by_day(world.connection, NOON, days=3) == [
        Day(date="2026-03-08"),
        Day(date="2026-03-09", deleted=4, associated=5),
        Day(date="2026-03-10", created=3, updated=1, released=1, failed=4),
    ]


@pytest.mark.parametrize(
    ("zone", "expected"), [("UTC", [0, 1]), ("Europe/Amsterdam", [0, 1]), ("Pacific/Auckland", [1, 0])]
)
async def test_days_are_those_of_the_administrator(world: World, zone: str, expected: list[int]) -> None:
    await ran(world, hours_before(11.5), create_done=1)
    days = await changes_by_day(world.connection, NOON, days=2, time_zone=zone)
    assert [day.created for day in days] == expected


async def test_what_is_older_than_the_first_day_is_not_even_read(world: World) -> None:
    await ran(world, hours_before(12.01), create_done=1)
    edge = await ran(world, hours_before(12), create_done=1)
    assert [run.id async for run in world.connection.runs.since(hours_before(12), 10)] == [edge.id]
    assert [day.created for day in await changes_by_day(world.connection, NOON, days=1)] == [1]


async def test_beyond_the_most_runs_the_days_that_are_not_known_are_left_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.history.MOST_RUNS", 3)
    for hours in (1, 2, 26, 27):
        await ran(world, hours_before(hours), create_done=1)
    assert [(day.date, day.created) for day in await changes_by_day(world.connection, NOON)] == [("2026-03-10", 2)]


async def test_a_month_costs_one_request(world: World) -> None:
    for hours in range(20):
        await ran(world, hours_before(hours), update_done=1)
    before = world.connection.tables.traffic.requests
    assert sum(day.updated for day in await changes_by_day(world.connection, NOON)) == 20
    assert world.connection.tables.traffic.requests - before == 1


async def recorded(world: World) -> Run:
    """A run with 250 items, every fifth of which is skipped, and ten of groups."""
    run = await ran(world, NOON)
    items = [
        RunItem(operation="create", outcome="done" if index % 5 else "skipped", object_id=f"{index:04}")
        for index in range(250)
    ]
    items += [RunItem(kind="groups", operation="create", outcome="done", object_id=f"g{index}") for index in range(10)]
    await world.connection.runs.add_items(run.id, 0, items)
    return run


@pytest.mark.parametrize(
    ("outcome", "kind", "number"),
    [(None, None, 260), ("skipped", None, 50), ("done", "groups", 10), ("held", None, 0), (None, "users", 250)],
)
async def test_pages_hold_every_item_once_and_the_last_one_says_so(
    world: World, outcome: str | None, kind: str | None, number: int
) -> None:
    run = await recorded(world)
    wanted = [item async for item in items_of(world.connection, run.id, outcome=outcome, kind=kind)]  # type: ignore[arg-type]
    found: list[RunItem] = []
    after: int | None = -1
    while after is not None:
        page = await items_page(world.connection, run.id, outcome=outcome, kind=kind, after=after, top=50)  # type: ignore[arg-type]
        assert 0 < len(page.items) <= 50 or not wanted
        found, after = found + page.items, page.after
    assert found == wanted
    assert len(found) == number
