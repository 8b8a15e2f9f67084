"""What is asked of Graph, how often, about whom; and that nothing is lost for good."""

import asyncio
from typing import Any

import msgspec
import pytest

from local.emulator import Fault
from local.pbx.directory import Extension
from presence.messages import Update
from presence.poll import SWEEP, carry_out, look_again, poll
from presence.preferences import set_preferences
from presence.report import figures
from presence.room import memory_of
from store.errors import StoreUnavailable
from store.presence import Preference, PresenceStore, UserPresence
from tests.presence.desk import Desk


async def prefer(desk: Desk, object_id: str, **preference: Any) -> None:
    def change(key: str, row: UserPresence | None) -> UserPresence:
        return msgspec.structs.replace(row or UserPresence(object_id=key), preference=Preference(**preference))

    await desk.room.store.change([object_id], change)


async def followed(desk: Desk) -> set[str]:
    return {key for key, row in (await desk.room.store.all()).items() if row.is_followed}


async def test_the_first_poll_finds_out_who_is_followed_and_writes_what_they_show(desk: Desk) -> None:
    ids = await desk.world.staff(3)
    for one, name in zip(ids, ("Busy", "Available", "DoNotDisturb"), strict=True):
        desk.teams(one, name)
    await desk.poll()
    assert list(desk.shown().values()) == ["away", "available", "do_not_disturb"]
    assert await followed(desk) == set(ids)


async def test_polls_come_as_often_as_the_rules_say(desk: Desk) -> None:
    await desk.rules(poll_seconds=30)
    await desk.world.staff(1)
    for _ in range(12):
        await desk.poll()
        desk.later(seconds=10)
    assert len(desk.asked()) == 4


async def test_one_of_two_processes_polls(desk: Desk) -> None:
    await desk.world.staff(1)
    await asyncio.gather(poll(desk.room), poll(desk.process()), poll(desk.process()))
    assert len(desk.asked()) == 1


async def test_while_presence_is_off_a_poll_costs_one_read(desk: Desk) -> None:
    await desk.rules(enabled=False)
    before = desk.room.tables.traffic.requests
    assert await poll(desk.room) == []
    assert desk.room.tables.traffic.requests - before == 1


async def test_while_the_integration_is_disabled_nothing_is_asked(desk: Desk) -> None:
    await desk.staff(1)
    await desk.room.health.update(lambda health: msgspec.structs.replace(health, disabled=True))
    assert await poll(desk.room) == []
    assert desk.asked() == []


async def test_a_change_that_was_not_announced_is_found(desk: Desk) -> None:
    [noor] = await desk.world.staff(1)
    desk.teams(noor, "Available")
    await desk.poll()
    desk.teams(noor, "Busy")
    desk.later(seconds=30)
    assert await poll(desk.room) == [], "it is written at once"
    assert desk.shown()["1000"] == "away"
    assert (await desk.record(noor)).source == "poll"


async def test_who_is_announced_is_asked_about_only_in_a_sweep(desk: Desk) -> None:
    ids = await desk.world.staff(3)
    await desk.poll()
    await desk.subscribe(ids[:2])
    desk.later(seconds=30)
    await desk.poll()
    assert desk.asked()[1] == [ids[2].lower()]
    desk.later(seconds=SWEEP.total_seconds())
    await desk.poll()
    assert set(desk.asked()[2]) == set(ids)


async def test_a_subscription_that_ran_out_announces_nobody(desk: Desk) -> None:
    [noor] = await desk.world.staff(1)
    await desk.poll()
    await desk.subscribe([noor], expires_at="2026-03-02T09:00:00.000+00:00")
    desk.later(seconds=30)
    await desk.poll()
    assert desk.asked()[1] == [noor]


async def test_a_lost_write_is_made_up_for_by_the_next_sweep(desk: Desk) -> None:
    [noor] = await desk.world.staff(1)
    desk.teams(noor, "Busy")
    refuse = Fault(kind="errcode", path="/openapi/v1.0/extension/update", options={"errcode": 40002})
    desk.world.pbx.faults.append(refuse)
    await desk.poll()
    assert (await desk.record(noor)).outcome == "failed"
    desk.later(seconds=SWEEP.total_seconds())
    await desk.poll()
    assert desk.shown()["1000"] == "away"


async def test_a_new_map_is_written_by_the_next_sweep(desk: Desk) -> None:
    [noor] = await desk.world.staff(1)
    desk.teams(noor, "Busy")
    await desk.poll()
    await desk.rules(default_map={"Busy": "lunch"})
    desk.later(seconds=SWEEP.total_seconds())
    await desk.poll()
    assert desk.shown()["1000"] == "lunch"


async def test_a_sweep_without_changes_writes_nothing(desk: Desk) -> None:
    ids = await desk.world.staff(3)
    for one in ids:
        desk.teams(one, "Busy")
    await desk.poll()
    before, writes = await desk.room.store.all(), desk.written()
    desk.later(seconds=SWEEP.total_seconds())
    assert await poll(desk.room) == []
    assert (await desk.room.store.all(), desk.written()) == (before, writes)


async def test_a_choice_on_the_phone_outlives_sweeps(desk: Desk) -> None:
    [noor] = await desk.world.staff(1)
    desk.choose("1000", "lunch")
    desk.teams(noor, "Busy")
    for _ in range(3):
        await desk.poll()
        desk.later(seconds=SWEEP.total_seconds())
    assert desk.shown()["1000"] == "lunch"
    await desk.rules(respect_manual=False)
    await desk.poll()
    assert desk.shown()["1000"] == "away"


# Who is followed


async def test_who_declined_is_not_followed_and_not_forgotten(desk: Desk) -> None:
    ids = await desk.world.staff(2)
    await prefer(desk, ids[0], follows=False)
    await desk.poll()
    assert await followed(desk) == {ids[1]}
    assert (await desk.record(ids[0])).preference.follows is False


async def test_by_opt_in_only_those_who_asked_are_followed(desk: Desk) -> None:
    await desk.rules(users="opt_in")
    ids = await desk.world.staff(2)
    await prefer(desk, ids[0], follows=True, map={"Busy": "lunch"})
    desk.teams(ids[0], "Busy")
    await desk.poll()
    assert await followed(desk) == {ids[0]}
    assert desk.shown() == {"1000": "lunch", "1001": "available"}


async def test_by_groups_the_members_of_nested_groups_are_followed(desk: Desk) -> None:
    ids = await desk.world.staff(3)
    inner = desk.world.group("Inner", ids[0])
    outer = desk.world.group("Outer", ids[1], inner)
    await desk.rules(users="groups", group_ids=[outer, "99999999-9999-4999-8999-999999999999"])
    await desk.poll()
    assert await followed(desk) == set(ids[:2])


async def test_who_has_no_extension_any_more_is_forgotten_but_for_a_preference(desk: Desk) -> None:
    ids = await desk.world.staff(2)
    await desk.poll()
    await prefer(desk, ids[0], map={"Busy": "lunch"})
    await desk.world.connection.links("users").write(remove=ids)
    desk.later(seconds=SWEEP.total_seconds())
    await desk.poll()
    rows = await desk.room.store.all()
    assert set(rows) == {ids[0]}
    assert (rows[ids[0]].pbx_id, rows[ids[0]].is_followed) == (None, False)


async def test_of_another_extension_nothing_is_known(desk: Desk) -> None:
    [noor] = await desk.world.staff(1)
    desk.teams(noor, "Busy")
    await desk.poll()
    [link] = await desk.world.links()
    desk.world.remove_extension("1000")
    made = desk.world.pbx.machine.directory.add(msgspec.convert({"number": "2000"}, Extension))
    await desk.world.connection.links("users").write(
        save=[msgspec.structs.replace(link, pbx_id=made.id, number="2000")]
    )
    desk.later(seconds=SWEEP.total_seconds())
    await desk.poll()
    assert desk.shown() == {"2000": "away"}


# What a notification asks for, and what goes wrong


async def test_a_message_has_graph_asked_about_users_and_writes_them(desk: Desk) -> None:
    ids = await desk.staff(3)
    for one in ids:
        desk.teams(one, "Busy")
    stranger = "bbbb0001-0000-4000-8000-000000000001"
    assert await carry_out(desk.room, Update(desk.room.id, look=(ids[1], stranger))) == []
    assert desk.asked() == [[ids[1]]]
    assert desk.shown() == {"1000": "available", "1001": "away", "1002": "available"}


async def test_one_id_that_graph_does_not_know_does_not_hide_the_others(desk: Desk) -> None:
    ids = await desk.world.staff(9)
    for one in ids:
        desk.teams(one, "Busy")
    desk.world.delete_user(ids[4])
    desk.world.microsoft.presences.switches.unknown_ids = "refused"
    await desk.poll()
    assert list(desk.shown().values()) == ["away"] * 4 + ["available"] + ["away"] * 4


async def test_users_are_asked_about_650_at_a_time(desk: Desk) -> None:
    await desk.world.staff(700)
    await poll(desk.room)
    assert [len(ids) for ids in desk.asked()] == [650, 50]


async def test_what_a_poll_recorded_without_knowing_it_is_written_by_the_next(desk: Desk) -> None:
    [noor] = await desk.world.staff(1)
    for _ in range(2):
        await desk.poll()
        desk.later(seconds=30)
    await desk.hear(noor, "Busy")
    desk.teams(noor, "Busy")
    await desk.poll()
    assert desk.shown()["1000"] == "away"


async def test_a_poll_that_storage_fails_in_the_middle_is_gone_on_with(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    [noor] = await desk.world.staff(1)
    desk.teams(noor, "Busy")

    async def fails(*_: object) -> bool:
        raise StoreUnavailable("it is away")

    monkeypatch.setattr("presence.poll.is_due", fails)
    monkeypatch.setattr("presence.poll.PUSH_SECONDS", 0.0)
    with pytest.raises(StoreUnavailable):
        await poll(desk.room)
    monkeypatch.undo()
    desk.later(seconds=10)
    assert Update(desk.room.id) in await desk.poll(), "long before anything would be due"
    assert desk.shown()["1000"] == "away"
    desk.later(seconds=10)
    assert await desk.poll() == []


async def test_graph_that_fails_is_told_once_and_asked_again(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    [noor] = await desk.world.staff(1)
    desk.teams(noor, "Busy")
    fault = Fault(
        kind="status",
        path="/v1.0/communications/*",
        status=403,
        times=None,
        body={"error": {"code": "Forbidden", "message": "no"}},
    )
    desk.world.microsoft.faults.append(fault)
    for _ in range(3):
        assert await desk.poll() == [Update(desk.room.id)], "who is pending is written all the same"
        desk.later(seconds=50)
        assert await desk.poll() == [], "a sweep that failed is not tried again at once"
        desk.later(seconds=10)
    assert len([text for text in caplog.messages if "cannot be read from Microsoft Graph" in text]) == 1
    assert (await desk.room.store.clock()).clock.last_error
    [reason] = (await desk.room.health.load()).reasons
    assert (reason.code, "Presence.Read.All" in reason.message) == ("presence_unread", True)
    desk.world.microsoft.faults.remove(fault)
    await desk.poll()
    assert desk.shown()["1000"] == "away"
    assert (await desk.room.store.clock()).clock.last_error == ""
    assert (await desk.room.health.load()).reasons == []


async def test_a_graph_that_is_away_for_a_while_needs_nobody(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    await desk.world.staff(1)
    fault = Fault(kind="status", path="/v1.0/communications/*", status=503, times=None, body={})
    desk.world.microsoft.faults.append(fault)
    await desk.poll()
    desk.later(minutes=9)
    await desk.poll()
    assert (await desk.room.health.load()).reasons == []
    assert len([text for text in caplog.messages if "cannot be read" in text]) == 1
    desk.later(minutes=2)
    await desk.poll()
    assert [reason.code for reason in (await desk.room.health.load()).reasons] == ["presence_unread"]


async def test_while_nobody_changes_no_records_are_read(desk: Desk) -> None:
    ids = await desk.world.staff(30)
    await desk.poll()
    desk.later(seconds=30)
    await desk.poll()
    before = desk.room.tables.traffic.by_table["presence"]
    for _ in range(3):
        desk.later(seconds=30)
        await desk.poll()
    assert desk.room.tables.traffic.by_table["presence"] - before == 6, "the clock is read and written"
    desk.teams(ids[7], "Busy")
    desk.later(seconds=30)
    await desk.poll()
    assert desk.shown()["1007"] == "away"
    assert len(desk.asked()) == 6


async def test_a_sweep_in_which_nobody_changed_reads_the_records_once(desk: Desk) -> None:
    await desk.world.staff(30)
    await desk.poll()
    desk.later(minutes=11)
    before = desk.room.tables.traffic.by_table["presence"]
    await desk.poll()
    assert desk.room.tables.traffic.by_table["presence"] - before == 3, "once, beside the clock"


async def test_where_choices_do_not_count_a_sweep_puts_them_right(desk: Desk) -> None:
    await desk.rules(respect_manual=False)
    noor, _ = await desk.world.staff(2)
    desk.teams(noor, "Busy")
    await desk.poll()
    desk.choose("1000", "lunch")
    desk.choose("1001", "away", custom="On site")
    desk.later(minutes=11)
    await desk.poll()
    assert desk.shown() == {"1000": "away", "1001": "away"}
    writes = len(desk.written())
    desk.later(minutes=11)
    await desk.poll()
    assert len(desk.written()) == writes, "a custom presence is never overwritten"


# Other rules


async def test_other_rules_count_at_once(desk: Desk) -> None:
    [noor] = await desk.world.staff(1)
    desk.teams(noor, "Busy")
    await desk.poll()
    assert desk.shown()["1000"] == "away"
    await desk.rules(default_map={"Busy": "lunch"})
    for update in await look_again(desk.room):
        await carry_out(desk.room, update)
    assert desk.shown()["1000"] == "lunch"
    await desk.rules(users="opt_in")
    await look_again(desk.room)
    assert await followed(desk) == set()


async def test_who_gets_an_extension_is_followed_at_once(desk: Desk) -> None:
    _, finn = await desk.world.staff(2)
    [link] = [link for link in await desk.world.links() if link.object_id == finn]
    await desk.room.links.write(remove=[finn])
    await desk.poll()
    assert finn not in await followed(desk)
    await desk.room.links.write(save=[link])
    desk.teams(finn, "Busy")
    await look_again(desk.room)
    assert desk.shown()["1001"] == "away"


async def test_switched_on_it_begins_at_once(desk: Desk) -> None:
    await desk.rules(enabled=False)
    [noor] = await desk.world.staff(1)
    desk.teams(noor, "Busy")
    assert await look_again(desk.room) == []
    assert desk.shown()["1000"] == "available"
    await desk.rules()
    await look_again(desk.room)
    assert desk.shown()["1000"] == "away"


async def test_messages_at_once_have_graph_asked_together(desk: Desk) -> None:
    ids = await desk.world.staff(12)
    await desk.poll()
    for one in ids:
        desk.teams(one, "Busy")
    before = len(desk.asked())
    await asyncio.gather(*(carry_out(desk.room, Update(desk.room.id, look=(one,))) for one in ids))
    assert len(desk.asked()) - before <= 2
    assert set(desk.shown().values()) == {"away"}


# What is in the way


def forbidden(path: str) -> Fault:
    body = {"error": {"code": "Forbidden", "message": "no"}}
    return Fault(kind="status", path=path, status=403, times=None, body=body)


async def test_what_only_sweeps_meet_is_told_until_one_goes_well(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "presence")
    [noor] = await desk.world.staff(1)
    await desk.poll()
    await desk.subscribe([noor])
    fault = forbidden("/v1.0/communications/*")
    desk.world.microsoft.faults.append(fault)
    for _ in range(30):
        desk.later(seconds=60)
        await desk.poll()
    [reason] = (await desk.room.health.load()).reasons
    assert reason.code == "presence_unread"
    assert sum("Attention needed" in text for text in caplog.messages) == 1
    assert not any("read from Microsoft Graph again" in text for text in caplog.messages)
    desk.world.microsoft.faults.remove(fault)
    desk.later(seconds=60)
    await desk.poll()
    assert (await desk.room.health.load()).reasons == []
    assert sum("read from Microsoft Graph again" in text for text in caplog.messages) == 1


async def test_groups_that_cannot_be_read_are_named(desk: Desk) -> None:
    await desk.world.staff(1)
    group = desk.world.group("Sales")
    await desk.rules(users="groups", group_ids=[group])
    desk.world.microsoft.faults.append(forbidden("/v1.0/groups/*"))
    await desk.poll()
    [reason] = (await desk.room.health.load()).reasons
    assert "members of groups" in reason.message
    assert "Group.Read.All" in reason.action
    assert "Presence.Read.All" not in reason.message + reason.action


async def test_graph_is_left_alone_as_long_as_it_asks_for(desk: Desk) -> None:
    await desk.world.staff(1)
    await desk.poll()
    fault = Fault(kind="status", path="/v1.0/communications/*", status=429, times=None, headers={"Retry-After": "120"})
    desk.world.microsoft.faults.append(fault)
    desk.later(seconds=30)
    await desk.poll()
    asked = len(desk.asked())
    for _ in range(11):
        desk.later(seconds=10)
        await desk.poll()
    assert len(desk.asked()) == asked
    desk.later(seconds=10)
    await desk.poll()
    assert len(desk.asked()) > asked


async def test_subscriptions_are_kept_while_graph_does_not_answer_questions(desk: Desk) -> None:
    desk.account = (await desk.world.staff(1))[0]
    await desk.poll()
    desk.move_to("https://bridge.contoso.example")
    desk.world.microsoft.faults.append(forbidden("/v1.0/communications/*"))
    desk.later(seconds=30)
    assert Update(desk.room.id, subscriptions=True) in await poll(desk.room)


async def test_a_sweep_that_was_asked_for_is_not_lost_to_somebody_elses_note(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    [noor] = await desk.world.staff(1)
    await desk.poll()
    desk.teams(noor, "Busy")
    set_clock = PresenceStore.set_clock

    async def overtaken(self: PresenceStore, *args: Any) -> bool:
        monkeypatch.undo()
        kept = await self.clock()
        await set_clock(self, msgspec.structs.replace(kept.clock, refused=1), kept.etag)
        return await set_clock(self, *args)

    monkeypatch.setattr(PresenceStore, "set_clock", overtaken)
    await look_again(desk.room)
    assert desk.shown()["1000"] == "away"


async def test_a_clock_that_was_wrong_does_not_keep_us_from_asking(desk: Desk) -> None:
    [noor] = await desk.world.staff(1)
    desk.later(hours=5)
    await desk.poll()
    desk.later(hours=-5)
    desk.teams(noor, "Busy")
    await desk.poll()
    assert desk.shown()["1000"] == "away"


async def test_a_process_that_knows_presence_as_off_does_what_a_message_says(desk: Desk) -> None:
    [noor] = await desk.world.staff(1)
    other = desk.process()
    await desk.rules(enabled=False)
    assert await carry_out(other, Update(other.id)) == []
    old = memory_of(other)._rules
    await desk.rules()
    memory_of(other)._rules = old
    await poll(desk.room)
    desk.teams(noor, "Busy")
    assert await carry_out(other, Update(other.id, look=(noor,))) == []
    assert desk.shown()["1000"] == "away"


async def test_other_rules_do_not_count_as_a_delay(desk: Desk) -> None:
    [noor] = await desk.world.staff(1)
    desk.teams(noor, "Busy")
    await desk.poll()
    assert ((await desk.record(noor)).delay_ms or 0) > 0
    desk.later(hours=5)
    await desk.rules(default_map={"Busy": "lunch"})
    await look_again(desk.room)
    assert desk.shown()["1000"] == "lunch"
    row = await desk.record(noor)
    assert row.delay_ms is None
    assert (await figures(desk.room)).delay_ms.p95 is None
    desk.later(hours=5)
    decided = await set_preferences(desk.room, [noor], own_map={"Busy": "away"}, by="person")
    for update in decided.updates:
        await carry_out(desk.room, update)
    assert (desk.shown()["1000"], (await desk.record(noor)).delay_ms) == ("away", None)
    desk.later(minutes=1)
    desk.teams(noor, "DoNotDisturb")
    await desk.poll()
    assert 0 < ((await desk.record(noor)).delay_ms or 0) < 60_000
