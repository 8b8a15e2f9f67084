"""From what was heard to the PBX: once, the newest, in order, at its pace."""

import asyncio
import datetime
from typing import Any

import msgspec
import pytest

from local.emulator import Fault
from pbx.client import Pbx
from pbx.errors import Busy, PbxError, Unreachable, from_errcode
from pbx.presence import Shown, search_presence, write_presence
from presence import listing, mapping, push, writing
from presence.messages import Update
from presence.poll import carry_out, look_again, poll
from presence.push import push_pending, submit
from presence.room import Faulted, memory_of
from store.document import PresenceChoice, Settings
from store.errors import LeaseLost, StoreUnavailable
from store.leases import Lease
from store.presence import Preference, PresenceStore, UserPresence
from tests.presence.desk import Desk


async def test_the_extension_follows_teams(desk: Desk) -> None:
    [noor] = await desk.staff(1)
    await desk.hear(noor, "Busy")
    assert await submit(desk.room, [noor])
    assert desk.shown()["1000"] == "away"
    row = await desk.record(noor)
    assert (row.is_pending, row.written, row.outcome) == (False, "away", "write")
    assert (row.delay_ms or 0) > 0
    assert row.written_at > row.heard_at


async def test_what_is_shown_already_is_not_written(desk: Desk) -> None:
    [noor] = await desk.staff(1)
    await desk.hear(noor, "Available")
    assert await submit(desk.room, [noor])
    await desk.hear(noor, "AvailableIdle")
    assert await submit(desk.room, [noor])
    assert desk.written() == []
    assert (await desk.record(noor)).outcome == "same"


async def test_nothing_is_asked_of_the_pbx_when_nothing_is_pending(desk: Desk) -> None:
    [noor] = await desk.staff(1)
    assert await submit(desk.room, [noor])
    assert not await push_pending(desk.room)
    assert desk.world.pbx.requests == []


async def test_of_a_user_only_the_newest_state_is_written(desk: Desk) -> None:
    [noor] = await desk.staff(1)
    for name in ("Busy", "DoNotDisturb", "Available", "OutOfOffice"):
        await desk.hear(noor, name)
    await submit(desk.room, [noor])
    assert [status for _, status in desk.written()] == ["off_work"]


async def test_who_is_not_followed_is_not_touched(desk: Desk) -> None:
    ids = await desk.staff(2)
    await desk.hear(ids[0], "Busy")
    await desk.room.store.change(
        ids[:1], lambda _key, row: None if row is None else msgspec.structs.replace(row, is_followed=False)
    )
    assert await submit(desk.room, ids)
    assert not await push_pending(desk.room)
    assert desk.written() == []


async def test_a_status_chosen_on_the_phone_stays_until_teams_asks_for_another(desk: Desk) -> None:
    [noor] = await desk.staff(1)
    desk.choose("1000", "lunch")
    for name, expected in (("Away", "lunch"), ("BeRightBack", "lunch"), ("DoNotDisturb", "do_not_disturb")):
        await desk.hear(noor, name)
        await submit(desk.room, [noor])
        assert desk.shown()["1000"] == expected


async def test_it_is_overwritten_when_the_rules_say_so(desk: Desk) -> None:
    await desk.rules(respect_manual=False)
    [noor] = await desk.staff(1)
    desk.choose("1000", "lunch")
    await desk.hear(noor, "Away")
    await submit(desk.room, [noor])
    assert desk.shown()["1000"] == "away"


async def test_a_custom_presence_is_never_overwritten(desk: Desk) -> None:
    await desk.rules(respect_manual=False)
    [noor] = await desk.staff(1)
    desk.choose("1000", "available", custom="On site")
    await desk.hear(noor, "Away")
    assert await submit(desk.room, [noor])
    assert desk.written() == []
    assert (await desk.record(noor)).outcome == "custom"


async def test_an_extension_that_has_another_number_now_is_left_alone(desk: Desk) -> None:
    [noor] = await desk.staff(1)
    desk.world.edit_extension("1000", number="2000")
    await desk.hear(noor, "Away")
    assert await submit(desk.room, [noor])
    assert desk.written() == []
    assert (await desk.record(noor)).outcome == "gone"


async def test_one_that_the_pbx_refuses_does_not_stop_the_others(desk: Desk) -> None:
    ids = await desk.staff(3)
    for one in ids:
        await desk.hear(one, "Away")
    desk.world.pbx.faults.append(
        Fault(kind="errcode", path="/openapi/v1.0/extension/update", times=1, options={"errcode": 40002})
    )
    assert await submit(desk.room, ids)
    rows = [await desk.record(one) for one in ids]
    assert sorted(row.outcome for row in rows) == ["failed", "write", "write"]
    assert sorted(desk.shown().values()) == ["available", "away", "away"]


async def test_the_newest_users_come_first(desk: Desk) -> None:
    await desk.rules(writes=1)
    ids = await desk.staff(5)
    for one in ids:
        await desk.hear(one, "Away")
    await push_pending(desk.room)
    numbers = [extension_id for extension_id, _ in desk.written()]
    assert numbers == sorted(numbers, reverse=True)


async def test_writes_keep_the_pace_from_one_process_to_the_next(desk: Desk) -> None:
    await desk.rules(writes=4)
    ids = await desk.staff(3)
    rooms = [desk.room, desk.process(), desk.process()]
    started = desk.world.now
    for one, room in zip(ids, rooms, strict=True):
        await desk.hear(one, "Away")
        assert await submit(room, [one])
    assert len(desk.written()) == 3
    assert (desk.world.now - started).total_seconds() >= 2 * 0.25


async def test_a_run_of_the_sync_leaves_presence_half_of_the_pace_and_does_not_wait(desk: Desk) -> None:
    await desk.rules(writes=4)
    ids = await desk.staff(2)
    run = await desk.room.leases.acquire("run", "a run")
    assert isinstance(run, Lease)
    for one in ids:
        await desk.hear(one, "Away")
    assert await submit(desk.room, ids)
    assert max(desk.slept) == pytest.approx(0.5, abs=0.1)
    run.check()
    await run.release()


async def test_what_another_process_is_writing_is_left_for_a_message(desk: Desk) -> None:
    [noor] = await desk.staff(1)
    await desk.hear(noor, "Away")
    held = await desk.room.leases.acquire("presence", "another process")
    assert isinstance(held, Lease)
    assert not await submit(desk.room, [noor])
    assert desk.written() == []
    await held.release()
    assert not await push_pending(desk.process())
    assert desk.shown()["1000"] == "away"


async def test_a_message_waits_for_the_process_that_is_writing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    [noor] = await desk.staff(1)
    await desk.hear(noor, "Away")
    monkeypatch.setattr(push, "PENDING_SECONDS", 3.0)
    held = await desk.room.leases.acquire("presence", "another process")
    assert isinstance(held, Lease)
    assert await push_pending(desk.room), "another message has to go on"
    assert sum(desk.slept) >= 2
    await held.release()


async def test_what_changes_during_the_write_is_written_after_it(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    [noor] = await desk.staff(1)
    await desk.hear(noor, "Away")

    async def meanwhile(pbx: Pbx, extension_id: int, status: str) -> None:
        monkeypatch.setattr(writing, "write_presence", write_presence)
        await desk.hear(noor, "DoNotDisturb")
        await write_presence(pbx, extension_id, status)

    monkeypatch.setattr(writing, "write_presence", meanwhile)
    await submit(desk.room, [noor])
    assert (desk.shown()["1000"], (await desk.record(noor)).is_pending) == ("away", True)
    assert not await push_pending(desk.room)
    assert desk.shown()["1000"] == "do_not_disturb"


async def test_who_changes_while_he_is_written_is_in_one_pair_of_hands(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await desk.staff(12)
    for one in ids:
        await desk.hear(one, "Away")
    again: list[asyncio.Future[bool]] = []

    async def meanwhile(pbx: Pbx, extension_id: int, status: str) -> None:
        if len(again) < 12:
            user = next(row for row in (await desk.room.store.all()).values() if row.pbx_id == extension_id)
            await desk.hear(user.object_id, "DoNotDisturb")
            again.append(submit(desk.room, [user.object_id]))
        await write_presence(pbx, extension_id, status)

    monkeypatch.setattr(writing, "write_presence", meanwhile)
    await submit(desk.room, ids)
    await asyncio.gather(*again)
    assert set(desk.shown().values()) == {"do_not_disturb"}
    orders: dict[int, list[str]] = {}
    for extension_id, status in desk.written():
        orders.setdefault(extension_id, []).append(status)
    assert all(statuses == ["away", "do_not_disturb"] for statuses in orders.values())


async def test_who_has_nothing_to_be_written_is_done_while_others_are_written(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    [noor, imre] = await desk.staff(2)
    await desk.hear(noor, "Away")
    go_on = asyncio.Event()

    async def slow(pbx: Pbx, extension_id: int, status: str) -> None:
        await go_on.wait()
        await write_presence(pbx, extension_id, status)

    await desk.rules(writes=24)
    monkeypatch.setattr(writing, "write_presence", slow)
    written = submit(desk.room, [noor])
    async with asyncio.timeout(5):
        assert await submit(desk.room, [imre])
    assert not written.done()
    await desk.hear(imre, "Away")
    again = submit(desk.room, [imre])  # and can be written again
    go_on.set()
    assert await written
    assert await again
    assert set(desk.shown().values()) == {"away"}


async def test_whose_map_changes_while_he_is_written_is_looked_at_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    [noor] = await desk.staff(1)
    await desk.hear(noor, "Away")

    async def meanwhile(pbx: Pbx, extension_id: int, status: str) -> None:
        monkeypatch.setattr(writing, "write_presence", write_presence)
        own: dict[str, PresenceChoice] = {"Away": "lunch"}
        await desk.room.store.change(
            [noor], lambda _, row: None if row is None else msgspec.structs.replace(row, preference=Preference(map=own))
        )
        await write_presence(pbx, extension_id, status)

    monkeypatch.setattr(writing, "write_presence", meanwhile)
    await submit(desk.room, [noor])
    assert (desk.shown()["1000"], (await desk.record(noor)).is_pending) == ("away", True)
    assert not await push_pending(desk.room)
    assert desk.shown()["1000"] == "lunch"


async def test_a_write_that_could_not_be_recorded_is_not_taken_for_somebodys_choice(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    [noor] = await desk.staff(1)
    await desk.hear(noor, "Busy")

    async def away(*_: object) -> None:
        raise StoreUnavailable("storage is away")

    monkeypatch.setattr(writing, "_store", away)
    assert not await submit(desk.room, [noor])
    monkeypatch.undo()
    assert (desk.shown()["1000"], (await desk.record(noor)).written) == ("away", "")
    process = desk.process()
    await desk.hear(noor, "DoNotDisturb")
    assert await submit(process, [noor])
    assert desk.shown()["1000"] == "do_not_disturb"
    assert (await desk.record(noor)).earlier == []


async def test_many_at_once_in_several_processes_end_in_the_newest(desk: Desk) -> None:
    ids = await desk.staff(12)
    rooms = [desk.room, desk.process(), desk.process()]
    names = ("Busy", "Available", "DoNotDisturb", "OutOfOffice")

    async def process(index: int) -> None:
        for turn in range(len(names)):
            for one in ids[index::3]:
                await desk.hear(one, names[(turn + index) % len(names)])
            await submit(rooms[index], ids[index::3])

    await asyncio.gather(*(process(index) for index in range(3)))
    assert not await push_pending(desk.room)
    expected = [{"OutOfOffice": "off_work", "Busy": "away", "Available": "available"}[names[(3 + i) % 4]]
                for i in (0, 1, 2)]  # fmt: skip
    assert [desk.shown()[str(1000 + number)] for number in range(12)] == [expected[number % 3] for number in range(12)]


async def test_a_pbx_that_does_not_answer_is_told_once_and_made_up_for(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    [noor] = await desk.staff(1)
    await desk.hear(noor, "Away")
    fault = Fault(kind="errcode", path="/openapi/v1.0/*", options={"errcode": 70087})
    desk.world.pbx.faults.append(fault)
    assert not await submit(desk.room, [noor])
    assert not await push_pending(desk.room)
    assert (await desk.record(noor)).is_pending
    assert sum("cannot be written" in message for message in caplog.messages) == 1
    assert [reason.code for reason in (await desk.room.health.load()).reasons] == ["presence_unwritten"]
    desk.world.pbx.faults.remove(fault)
    desk.later(hours=1)
    await desk.world.secrets(pbx="local-bridge-secret")
    assert not await push_pending(desk.process())
    assert desk.shown()["1000"] == "away"
    assert (await desk.room.health.load()).reasons == []


async def test_several_are_written_side_by_side_where_the_pbx_takes_so_many(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.rules(writes=24)
    ids = await desk.staff(12)
    for one in ids:
        await desk.hear(one, "Busy")
    under_way: set[int] = set()
    most = 0

    async def watched(pbx: Pbx, extension_id: int, status: str) -> None:
        nonlocal most
        under_way.add(extension_id)
        most = max(most, len(under_way))
        await write_presence(pbx, extension_id, status)
        under_way.remove(extension_id)

    monkeypatch.setattr(writing, "write_presence", watched)
    assert await submit(desk.room, ids)
    assert most >= 2
    assert set(desk.shown().values()) == {"away"}


async def test_a_fault_in_the_middle_keeps_what_was_confirmed_and_sends_no_more(desk: Desk) -> None:
    ids = await desk.staff(40)
    for one in ids:
        await desk.hear(one, "Busy")
    desk.world.pbx.faults.append(
        desk.fault("errcode", "/openapi/v1.0/extension/update", times=None, options={"errcode": 70087}, skip=10)
    )
    assert not await submit(desk.room, ids)
    rows = await desk.room.store.all()
    shown = desk.shown()
    assert 10 <= sum(status == "away" for status in shown.values()) < 40
    for row in rows.values():
        assert row.is_pending == (shown[row.number] != "away"), "what is recorded is what the PBX confirmed"


async def busy(*_: object) -> None:
    raise PbxError("it is busy")


async def test_what_a_fault_that_passes_leaves_is_gone_on_with_by_the_next_poll_of_any_process(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    [noor] = await desk.staff(1)
    await poll(desk.room)
    await desk.hear(noor, "Away")
    monkeypatch.setattr(listing, "search_presence", busy)
    assert not await submit(desk.room, [noor])
    assert not await push_pending(desk.room)
    assert (await desk.record(noor)).is_pending
    monkeypatch.undo()
    another = desk.process()
    [message] = await poll(another)
    assert message == Update(another.id)
    assert await poll(another) == [], "one message goes on with it"
    assert await carry_out(another, message) == []
    assert desk.shown()["1000"] == "away"


async def test_a_fault_is_raised_for_the_queue_to_ask_again_where_it_cannot_be_noted(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    [noor] = await desk.staff(1)
    desk.teams(noor, "Away")
    await desk.hear(noor, "Away")

    async def away(*_: object) -> None:
        raise StoreUnavailable("storage is away")

    monkeypatch.setattr(listing, "search_presence", busy)
    monkeypatch.setattr(PresenceStore, "set_clock", away)
    with pytest.raises(PbxError, match="busy"):
        await push_pending(desk.room)
    monkeypatch.undo()
    assert Update(desk.room.id) in await poll(desk.room), "this process remembers"
    assert not await push_pending(desk.room)
    assert desk.shown()["1000"] == "away"


async def test_who_comes_while_the_last_outcome_is_stored_is_stored_under_the_same_lease(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    [noor, imre] = await desk.staff(2)
    await desk.hear(noor, "Away")
    await desk.hear(imre, "Away")
    memory, store, second = memory_of(desk.room), writing._store, list[asyncio.Future[bool]]()
    fences: list[int] = []

    async def slow(*args: Any) -> None:
        if not second:
            second.append(submit(desk.room, [imre]))
        await asyncio.sleep(0.1)
        fences.append(memory.fence if memory.is_writing else 0)
        await store(*args)

    monkeypatch.setattr(writing, "_store", slow)
    assert await submit(desk.room, [noor])
    assert await second[0]
    assert fences == [1, 1]
    assert set(desk.shown().values()) == {"away"}


async def test_what_was_written_to_another_extension_is_not_noted_of_the_present_one(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    [noor] = await desk.staff(1)
    await desk.hear(noor, "Away")

    async def meanwhile(pbx: Pbx, extension_id: int, status: str) -> None:
        await desk.room.store.change(
            [noor], lambda _, row: None if row is None else msgspec.structs.replace(row, pbx_id=4711)
        )
        await write_presence(pbx, extension_id, status)

    monkeypatch.setattr(writing, "write_presence", meanwhile)
    await submit(desk.room, [noor])
    row = await desk.record(noor)
    assert (row.pbx_id, row.is_pending, row.written) == (4711, True, "")


async def test_one_that_meets_a_fault_of_ours_does_not_stop_the_others(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ids = await desk.staff(3)
    for one in ids:
        await desk.hear(one, "Away")
    decide = mapping.decide

    def odd(row: UserPresence, *args: Any) -> Any:
        if row.object_id == ids[1]:
            raise ZeroDivisionError
        return decide(row, *args)

    monkeypatch.setattr(writing, "decide", odd)
    assert await submit(desk.room, ids)
    assert list(desk.shown().values()) == ["away", "available", "away"]
    assert [(await desk.record(one)).is_pending for one in ids] == [False, True, False]
    assert sum("could not be written" in message for message in caplog.messages) == 1


async def test_a_storage_that_fails_in_the_middle_is_told_to_who_waits(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await desk.staff(3)
    for one in ids:
        await desk.hear(one, "Away")

    async def fail(*_: object) -> None:
        raise StoreUnavailable("storage is away")

    monkeypatch.setattr(writing, "_store", fail)
    assert not await submit(desk.room, ids)
    monkeypatch.undo()
    assert not await push_pending(desk.room)
    assert set(desk.shown().values()) == {"away"}


async def test_nothing_is_written_while_presence_is_off(desk: Desk) -> None:
    [noor] = await desk.staff(1)
    await desk.hear(noor, "Away")
    await desk.rules(enabled=False)
    assert await submit(desk.room, [noor])
    assert not await push_pending(desk.room)
    assert desk.world.pbx.requests == []


async def test_nothing_of_the_pbx_or_its_secret_is_kept_for_long(desk: Desk) -> None:
    [noor] = await desk.staff(1)
    await desk.hear(noor, "Away")
    await submit(desk.room, [noor])
    memory = memory_of(desk.room)
    assert memory.drain is not None
    await memory.drain
    rules = await memory_of(desk.room).rules(desk.room, desk.world.tell())
    first = await memory_of(desk.room).pbx(desk.room, rules, desk.world.tell())
    assert await memory_of(desk.room).pbx(desk.room, rules, desk.world.tell()) is first
    desk.later(minutes=5)
    assert await memory_of(desk.room).pbx(desk.room, rules, desk.world.tell()) is not first


@pytest.mark.parametrize("kind", ["commit_then_drop", "drop"])
async def test_a_write_without_an_answer_is_not_taken_for_somebodys_choice(desk: Desk, kind: str) -> None:
    [noor] = await desk.staff(1)
    await desk.hear(noor, "Busy")
    desk.world.pbx.faults.append(desk.fault(kind, "/openapi/v1.0/extension/update"))
    assert not await submit(desk.room, [noor])
    row = await desk.record(noor)
    assert (row.is_pending, row.sent) == (True, "away")
    await desk.hear(noor, "DoNotDisturb")
    assert await submit(desk.room, [noor])
    assert desk.shown()["1000"] == "do_not_disturb"
    assert (await desk.record(noor)).sent == ""


# What the PBX does not take


@pytest.mark.parametrize("errcode", [-2, 2], ids=["internal error", "still working"])
async def test_one_that_the_pbx_fails_at_keeps_nobody_else_waiting(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, errcode: int
) -> None:
    ids = await desk.staff(4)
    bad = (await desk.record(ids[2])).pbx_id
    inner, tries = write_presence, []

    async def fails(pbx: Pbx, extension_id: int, status: str) -> None:
        if extension_id != bad:
            return await inner(pbx, extension_id, status)
        tries.append(desk.world.now)
        raise from_errcode(errcode, "FAILED")

    monkeypatch.setattr(writing, "write_presence", fails)
    await poll(desk.room)
    for one in ids:
        await desk.hear(one, "Away")
    assert not await push_pending(desk.room)
    assert list(desk.shown().values()) == ["away", "away", "available", "away"]
    assert (await desk.record(ids[2])).is_pending
    for one in ids:
        desk.teams(one, "Away")
    for one in (ids[0], ids[2]):
        desk.teams(one, "DoNotDisturb")
        await desk.hear(one, "DoNotDisturb")
    assert not await push_pending(desk.room)
    assert desk.written()[-1][1] == "do_not_disturb"
    for _ in range(60):
        desk.later(seconds=10)
        await desk.poll()
    assert len(tries) < 12, "it is tried less and less often"
    monkeypatch.undo()
    desk.later(minutes=10)
    await desk.poll()
    assert desk.shown()["1002"] == "do_not_disturb"
    assert memory_of(desk.room).trouble.users == {}


async def test_who_failed_last_comes_after_the_others(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    await desk.rules(writes=1)
    ids = await desk.staff(4)
    memory_of(desk.room).trouble.users[ids[3]] = Faulted(1, desk.world.now)
    memory_of(desk.room).trouble.users[ids[1]] = Faulted(9, desk.world.now - datetime.timedelta(minutes=1))
    for one in ids:
        await desk.hear(one, "Away")
    assert not await push_pending(desk.room)
    order = [(await desk.record(one)).pbx_id for one in (ids[2], ids[1], ids[0], ids[3])]
    assert [pbx_id for pbx_id, _ in desk.written()] == order


async def test_a_write_that_was_done_without_an_answer_is_no_fault_any_more(desk: Desk) -> None:
    [noor] = await desk.staff(1)
    await desk.poll()
    desk.teams(noor, "Away")
    await desk.hear(noor, "Away")
    desk.world.pbx.faults.append(desk.fault("commit_then_drop", "/openapi/v1.0/extension/update"))
    assert not await submit(desk.room, [noor])
    assert noor in memory_of(desk.room).trouble.users
    desk.later(seconds=10)
    await desk.poll()
    assert (await desk.record(noor)).is_pending is False
    assert memory_of(desk.room).trouble.users == {}


async def test_a_limit_of_the_pbx_is_that_users_fault_alone(desk: Desk) -> None:
    ids = await desk.staff(2)
    for one in ids:
        await desk.hear(one, "Away")
    desk.world.pbx.faults.append(desk.fault("errcode", "/openapi/v1.0/extension/update", options={"errcode": 60002}))
    assert await submit(desk.room, ids)
    rows = [await desk.record(one) for one in ids]
    assert sorted(row.outcome for row in rows) == ["failed", "write"]


async def test_a_feature_that_is_off_is_told_and_left_to_the_administrator(desk: Desk) -> None:
    [noor] = await desk.staff(1)
    await poll(desk.room)
    desk.teams(noor, "Away")
    await desk.hear(noor, "Away")
    fault = desk.fault("errcode", "/openapi/v1.0/extension/update", options={"errcode": 10005}, times=None)
    desk.world.pbx.faults.append(fault)
    assert not await submit(desk.room, [noor])
    [reason] = (await desk.room.health.load()).reasons
    assert (reason.code, "permission" in reason.message) == ("presence_unwritten", True)
    desk.later(seconds=10)
    assert await desk.poll() == []
    desk.world.pbx.faults.remove(fault)
    desk.later(minutes=10)
    await desk.poll()
    assert desk.shown()["1000"] == "away"
    assert (await desk.room.health.load()).reasons == []


async def test_a_pbx_that_is_away_for_long_is_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    [noor] = await desk.staff(1)
    await desk.hear(noor, "Away")

    async def unreachable(*_: Any) -> None:
        raise Unreachable("no connection")

    monkeypatch.setattr(listing, "search_presence", unreachable)
    assert not await submit(desk.room, [noor])
    desk.later(minutes=9)
    assert not await submit(desk.room, [noor])
    assert (await desk.room.health.load()).reasons == []
    desk.later(minutes=2)
    assert not await submit(desk.room, [noor])
    assert [reason.code for reason in (await desk.room.health.load()).reasons] == ["presence_unwritten"]
    monkeypatch.undo()
    assert await submit(desk.room, [noor])
    assert (await desk.room.health.load()).reasons == []


async def test_a_pbx_at_a_heavy_task_is_left_alone_for_a_minute(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    [noor] = await desk.staff(1)
    await desk.poll()
    desk.teams(noor, "Away")
    await desk.hear(noor, "Away")

    async def at_work(*_: Any) -> None:
        raise Busy("a backup", 70082)

    monkeypatch.setattr(listing, "search_presence", at_work)
    assert not await submit(desk.room, [noor])
    monkeypatch.undo()
    desk.later(seconds=50)
    await desk.poll()
    assert desk.shown()["1000"] == "available"
    desk.later(seconds=10)
    await desk.poll()
    assert desk.shown()["1000"] == "away"


async def test_a_repeated_write_is_not_sent_when_somebody_else_may_be_writing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    [noor] = await desk.staff(1)
    await desk.hear(noor, "Away")
    desk.world.pbx.faults.append(desk.fault("errcode", "/openapi/v1.0/extension/update", options={"errcode": 70082}))
    checked = 0

    def check(_: Lease) -> None:
        nonlocal checked
        checked += 1
        if checked > 2:  # for its turn, and before it was sent for the first time
            raise LeaseLost("another process took over")

    monkeypatch.setattr(Lease, "check", check)
    assert not await submit(desk.room, [noor])
    assert len(desk.written()) == 1
    assert desk.shown()["1000"] == "available"


@pytest.mark.parametrize("knows", [True, False], ids=["in full", "never"])
async def test_a_status_that_a_list_does_not_say_is_nobodys_choice(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, knows: bool
) -> None:
    [noor] = await desk.staff(1)
    inner, queried = search_presence, Pbx.queried

    async def wordless(*args: Any) -> dict[int, Shown]:
        return {key: msgspec.structs.replace(one, presence_status=None) for key, one in (await inner(*args)).items()}

    async def silent(self: Pbx, *args: Any) -> Any:
        return [msgspec.structs.replace(one, presence_status=None) for one in await queried(self, *args)]

    monkeypatch.setattr(listing, "search_presence", wordless)
    if not knows:
        monkeypatch.setattr(Pbx, "queried", silent)
    for name, status in (("Busy", "away"), ("Available", "available"), ("DoNotDisturb", "do_not_disturb")):
        await desk.hear(noor, name)
        assert await submit(desk.room, [noor])
        assert desk.shown()["1000"] == status
    desk.choose("1000", "lunch")
    await desk.hear(noor, "Busy")
    assert await submit(desk.room, [noor])
    assert desk.shown()["1000"] == ("lunch" if knows else "away")


# Several processes


async def test_other_rules_count_for_a_process_that_knows_the_old_ones(desk: Desk) -> None:
    [noor] = await desk.staff(1)
    other = desk.process()
    await desk.poll()
    desk.teams(noor, "DoNotDisturb")
    desk.later(seconds=30)
    await desk.poll()
    assert desk.shown()["1000"] == "do_not_disturb"
    await memory_of(other).rules(other, other.now())
    old = memory_of(other)._rules
    await desk.rules(default_map={"DoNotDisturb": "available"})
    memory_of(other)._rules = old
    [message] = await look_again(desk.room) or [Update(desk.room.id)]
    assert await carry_out(other, message) == []
    assert desk.shown()["1000"] == "available"


async def test_rules_that_change_while_a_process_writes_are_noticed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "LOOK_SECONDS", 0.01)
    await desk.rules(writes=5)
    ids = await desk.staff(40)
    other, noticed = desk.process(), asyncio.Event()
    for one in ids:
        await desk.hear(one, "DoNotDisturb")
    inner = write_presence

    async def slowly(pbx: Pbx, extension_id: int, status: str) -> None:
        if len(desk.written()) == 10:
            base = await desk.room.settings.load()
            document = msgspec.to_builtins(base.settings)
            document["presence"]["default_map"]["DoNotDisturb"] = "away"
            await desk.room.settings.save(msgspec.convert(document, Settings), base)
            await desk.room.store.new_edition()
            await asyncio.sleep(0.3)
            noticed.set()
        await inner(pbx, extension_id, status)

    monkeypatch.setattr(writing, "write_presence", slowly)
    assert not await push_pending(other)
    assert noticed.is_set()
    assert [status for _, status in desk.written()[-10:]] == ["away"] * 10


async def test_whom_another_process_was_told_of_does_not_wait_for_a_backlog(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "LOOK_SECONDS", 0.01)
    await desk.rules(writes=2)
    *ids, late = await desk.staff(61)
    await desk.poll()
    for one in ids:
        await desk.hear(one, "Away")
    writer, other = desk.room, desk.process()
    draining = asyncio.create_task(push_pending(writer))
    inner, told = write_presence, []

    async def slowly(pbx: Pbx, extension_id: int, status: str) -> None:
        await inner(pbx, extension_id, status)
        await asyncio.sleep(0.02)
        if len(desk.written()) == 5:
            await desk.hear(late, "DoNotDisturb")
            told.append(await submit(other, [late]))

    monkeypatch.setattr(writing, "write_presence", slowly)
    await draining
    assert told == [False], "the other process cannot write it itself"
    place = [status for _, status in desk.written()].index("do_not_disturb")
    assert place < 30
