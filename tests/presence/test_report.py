"""Figures for monitors and the table of users."""

from presence.poll import look_again
from presence.preferences import set_preferences
from presence.push import submit
from presence.report import Only, figures, one, table
from presence.room import memory_of
from store.presence import Delay, Figures, PresenceSubscription
from tests.presence.desk import Desk


async def test_while_presence_is_off_there_is_nothing_to_tell(desk: Desk) -> None:
    await desk.staff(2)
    await desk.rules(enabled=False)
    assert await figures(desk.room) == Figures(enabled=False)


async def test_who_is_announced_who_is_polled_and_how_long_it_took(desk: Desk) -> None:
    ids = await desk.staff(4)
    record = await desk.subscribe(ids[:3])
    await set_preferences(desk.room, [ids[0]], follows="off", by="person")
    desk.teams(ids[3], "Away")
    await desk.poll()
    desk.later(seconds=20)
    polled = desk.world.now
    await desk.load_keys(record)
    for index, user in enumerate(ids[1:3]):
        await desk.post([desk.rich(record, user, "Busy", str(5 + index))], [desk.token()])
    told = await figures(desk.room)
    assert (told.enabled, told.users, told.covered, told.polled, told.pending) == (True, 3, 2, 1, 0)
    assert told.last_notification == (await desk.record(ids[2])).heard_at
    assert told.last_poll is not None
    assert told.last_poll < told.last_notification
    assert told.delay_ms.changes == 3
    assert told.delay_ms.p50 is not None
    assert told.delay_ms.p95 is not None
    assert [(one.state, one.users, one.rich) for one in told.accounts] == [("live", 3, True)]
    desk.later(hours=1, seconds=5)
    later = await figures(desk.room)
    assert (later.delay_ms, later.covered, later.polled) == (Delay(), 0, 3)
    assert later.accounts[0].state == "gone", "it ended without being renewed"
    assert polled < desk.world.now


async def test_an_announcement_that_never_came_is_counted_and_makes_a_new_subscription(desk: Desk) -> None:
    ids = await desk.staff(12)
    record = await desk.subscribe(ids, since=desk.world.now.isoformat(timespec="milliseconds"))
    await desk.poll()
    desk.later(minutes=12)
    for user in ids[:2]:
        desk.teams(user, "Busy")
    await desk.poll()
    desk.later(minutes=12)
    assert (await figures(desk.room)).lost == 2
    await desk.poll()
    assert (await desk.subscription(record.account)) == record, "two are no sign yet"
    desk.teams(ids[2], "Busy")
    desk.later(minutes=12)
    await desk.poll()
    desk.later(minutes=12)
    await desk.poll()
    changed = await desk.subscription(record.account)
    assert changed is None or changed.state == "gone"


async def test_an_announcement_that_came_late_is_not_lost(desk: Desk) -> None:
    [noor] = await desk.staff(1)
    record = await desk.subscribe([noor], since=desk.world.now.isoformat(timespec="milliseconds"))
    await desk.load_keys(record)
    desk.later(minutes=12)
    desk.teams(noor, "Busy")
    await desk.poll()
    row = await desk.record(noor)
    desk.later(seconds=30)
    await desk.post([desk.rich(record, noor, "Busy", row.sequence)], [desk.token()])
    desk.later(minutes=12)
    assert (await figures(desk.room)).lost == 0


async def test_the_table_shows_what_teams_and_the_extensions_show_now(desk: Desk) -> None:
    ids = await desk.staff(3)
    await desk.subscribe(ids[:1])
    desk.teams(ids[0], "Busy")
    await desk.poll()
    desk.choose("1001", "lunch")
    listed = await table(desk.room)
    assert (listed.total, listed.trouble) == (3, "")
    lines = {line.user.number: line for line in listed.lines}
    assert [lines[number].source for number in ("1000", "1001", "1002")] == ["subscription", "poll", "poll"]
    assert {number: line.shown.status for number, line in lines.items() if line.shown} == desk.shown()
    assert lines["1000"].user.teams.availability == "Busy"
    alone = await one(desk.room, ids[1].upper())
    assert [line.user.object_id for line in alone.lines] == [ids[1]]
    assert (await one(desk.room, "nobody")).lines == []


async def test_the_table_is_searched_filtered_and_turned(desk: Desk) -> None:
    ids = await desk.staff(30)
    await set_preferences(desk.room, ids[:4], follows="off", by="administrator")
    await set_preferences(desk.room, ids[4:6], own_map={"Busy": "lunch"}, by="administrator")
    assert [line.user.number for line in (await table(desk.room, search=" 1007 ")).lines] == ["1007"]
    filters: tuple[Only, ...] = ("off", "followed", "own", "announced", "polled")
    assert [(await table(desk.room, only=only)).total for only in filters] == [4, 26, 6, 0, 26]
    first, second = await table(desk.room), await table(desk.room, skip=25)
    assert (len(first.lines), len(second.lines), first.total) == (25, 5, 30)
    assert not {line.user.object_id for line in first.lines} & {line.user.object_id for line in second.lines}


async def test_a_pbx_that_cannot_be_asked_leaves_the_rest_of_the_table(desk: Desk) -> None:
    await desk.staff(2)
    desk.world.pbx.faults.append(desk.fault("errcode", "/openapi/v1.0/*", times=None, options={"errcode": 70087}))
    listed = await table(desk.room)
    assert len(listed.lines) == 2
    assert all(line.shown is None for line in listed.lines)
    assert listed.trouble.startswith("The PBX cannot be asked now: ")


async def test_what_many_watch_is_asked_for_once(desk: Desk) -> None:
    await desk.staff(3)
    await table(desk.room)
    before = len(desk.world.pbx.requests)
    await table(desk.room)
    assert len(desk.world.pbx.requests) == before
    desk.later(seconds=9)
    await table(desk.room)
    assert len(desk.world.pbx.requests) > before


async def test_switched_off_it_forgets_what_it_counted(desk: Desk) -> None:
    [noor] = await desk.staff(1)
    await desk.subscribe([noor])
    await desk.post([desk.basic(await _record(desk), noor) | {"clientState": "forged"}])
    assert (await figures(desk.room)).refused == 1
    await desk.rules(enabled=False)
    assert await look_again(desk.room) == []
    assert await desk.room.store.subscriptions() == {}
    await desk.rules()
    memory_of(desk.room).refused = 0
    assert (await figures(desk.room)).refused == 0
    assert await submit(desk.room, [noor])


async def _record(desk: Desk) -> PresenceSubscription:
    [kept] = (await desk.room.store.subscriptions()).values()
    return kept.record
