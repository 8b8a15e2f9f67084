"""What extensions show, for whoever writes many of them."""

import asyncio
import datetime
from typing import Any

import pytest

from pbx.client import Pbx
from pbx.presence import Shown, list_presence, search_presence
from presence import listing
from presence.listing import LISTED, RENEWED, Listing
from presence.room import memory_of
from tests.engine.world import START
from tests.presence.desk import Desk

MANY = 100


class Clock:
    now = START

    def __call__(self) -> datetime.datetime:
        return self.now


@pytest.fixture
async def pbx(desk: Desk) -> Pbx:
    await desk.staff(2)
    return await memory_of(desk.room).pbx(desk.room, await memory_of(desk.room).rules(desk.room, START), START)


async def extension(pbx: Pbx, number: str) -> Shown:
    return next(row for row in (await list_presence(pbx)).values() if row.number == number)


def lists(desk: Desk) -> int:
    return sum(request.path.endswith("/extension/list") for request in desk.world.pbx.requests)


async def test_for_a_few_each_is_searched_for_and_for_many_a_list_is_kept_for_a_moment(desk: Desk, pbx: Pbx) -> None:
    one, clock, kept = await extension(pbx, "1000"), Clock(), Listing()
    before = lists(desk)
    assert await kept.shown(pbx, one.id, "1000", 1, clock) == one
    assert lists(desk) == before
    for _ in range(3):
        assert await kept.shown(pbx, one.id, "1000", MANY, clock) == one
    assert lists(desk) == before + 1
    clock.now += LISTED
    desk.choose("1000", "lunch")
    found = await kept.shown(pbx, one.id, "1000", MANY, clock)
    assert found is not None
    assert found.status == "lunch"


async def test_an_extension_with_another_number_is_somebody_elses(pbx: Pbx) -> None:
    one = await extension(pbx, "1000")
    for waiting in (1, MANY):
        assert await Listing().shown(pbx, one.id, "2000", waiting, Clock()) is None


async def test_what_is_confirmed_while_the_list_is_read_is_newer_than_the_list(
    pbx: Pbx, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, clock, kept = await extension(pbx, "1000"), Clock(), Listing()
    read, go_on = asyncio.Event(), asyncio.Event()

    async def slow(pbx: Pbx) -> Any:
        found = await list_presence(pbx)
        read.set()
        await go_on.wait()
        return found

    monkeypatch.setattr(listing, "list_presence", slow)
    reading = asyncio.create_task(kept.shown(pbx, one.id, "1000", MANY, clock))
    await read.wait()
    kept.note(one, "away", clock.now)
    go_on.set()
    found = await reading
    assert found is not None
    assert found.status == "away"


async def test_what_was_perhaps_written_is_looked_at_again(
    desk: Desk, pbx: Pbx, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, clock, kept = await extension(pbx, "1000"), Clock(), Listing()
    await kept.shown(pbx, one.id, "1000", MANY, clock)
    kept.note(one, "", clock.now)
    desk.choose("1000", "away")
    searched: list[object] = []

    async def counted(*args: Any) -> Any:
        searched.append(args)
        return await search_presence(*args)

    monkeypatch.setattr(listing, "search_presence", counted)
    found = await kept.shown(pbx, one.id, "1000", MANY, clock)
    assert found is not None
    assert (found.status, len(searched)) == ("away", 1)


async def test_while_one_reads_the_list_anew_the_others_go_on_with_it(
    desk: Desk, pbx: Pbx, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, clock, kept = await extension(pbx, "1000"), Clock(), Listing()
    await kept.shown(pbx, one.id, "1000", MANY, clock)
    kept.note(one, "away", clock.now)
    clock.now += RENEWED
    read, go_on = asyncio.Event(), asyncio.Event()

    async def slow(pbx: Pbx) -> Any:
        read.set()
        await go_on.wait()
        return await list_presence(pbx)

    monkeypatch.setattr(listing, "list_presence", slow)
    reading = asyncio.create_task(kept.shown(pbx, one.id, "1000", MANY, clock))
    await read.wait()
    desk.choose("1000", "lunch")
    meanwhile = await kept.shown(pbx, one.id, "1000", MANY, clock)
    go_on.set()
    found = await reading
    assert meanwhile is not None
    assert found is not None
    assert (meanwhile.status, found.status) == ("away", "lunch")


async def test_notes_are_kept_no_longer_than_the_list(pbx: Pbx) -> None:
    one, clock, kept = await extension(pbx, "1000"), Clock(), Listing()
    kept.note(one, "lunch", clock.now)
    found = await kept.shown(pbx, one.id, "1000", MANY, clock)
    assert found is not None
    assert found.status == "available"
    kept.note(one, "lunch", clock.now)
    clock.now += LISTED
    kept.note(one, "away", clock.now)
    assert (await kept.shown(pbx, one.id, "1000", MANY, clock)) == one


async def test_a_list_of_another_pbx_does_not_count(desk: Desk, pbx: Pbx) -> None:
    one, clock, kept = await extension(pbx, "1000"), Clock(), Listing()
    await kept.shown(pbx, one.id, "1000", MANY, clock)
    desk.choose("1000", "lunch")
    rules = await memory_of(desk.room).rules(desk.room, START)
    other = await desk.room.open_pbx(rules.settings, rules.health)
    found = await kept.shown(other, one.id, "1000", MANY, clock)
    await other.close()
    assert found is not None
    assert found.status == "lunch"
