"""What is believed of a notification, how fast it is on the PBX, and what happens to all the rest."""

import asyncio
import logging
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from local.azurite import Azurite
from local.microsoft.presence_forgeries import TOKEN_FLAWS, Flaw, forged_item
from local.microsoft.presence_sealing import seal
from local.sample import CLIENT_ID
from pbx.presence import search_presence
from presence import intake, listing, push, recorder
from presence.hearing import stamp
from presence.intake import LARGEST_BODY, receive
from presence.messages import Answer, Update
from presence.poll import carry_out
from presence.report import figures
from presence.room import memory_of
from store.document import Settings
from store.errors import StoreUnavailable
from store.presence import PresenceStore, PresenceSubscription
from tests.presence.desk import CERTIFICATE, Desk
from tests.test_layout import ROOT

ACCEPTED = Answer(202)
PATIENCE = 30.0


@pytest.fixture
async def noor(desk: Desk) -> str:
    """Somebody who is followed."""
    [one] = await desk.staff(1)
    return one


@pytest.fixture
async def record(desk: Desk, noor: str) -> PresenceSubscription:
    """A subscription that this process knows the private key of."""
    made = await desk.subscribe([noor])
    await desk.load_keys(made)
    return made


async def _away(*_: Any) -> None:
    raise StoreUnavailable("it is away")


async def _slowly_away(*_: Any) -> None:
    await asyncio.sleep(0.05)
    raise StoreUnavailable("it is away")


async def _notes(desk: Desk) -> set[str]:
    """The processes that may not have recorded something."""
    return set((await desk.room.store.clock()).clock.doubts)


async def until(look: Callable[[], Awaitable[set[str]]], wanted: set[str]) -> None:
    """Wait until something that goes on behind an answer is done."""
    async with asyncio.timeout(PATIENCE):
        while await look() != wanted:  # noqa: ASYNC110 - what it waits for is in storage
            await asyncio.sleep(0.01)


# What is believed


@pytest.mark.parametrize("shape", ["v1", "v2"])
async def test_a_presence_is_on_the_pbx_before_graph_has_its_answer(
    desk: Desk, record: PresenceSubscription, noor: str, shape: Any
) -> None:
    answer = await desk.post([desk.rich(record, noor, "Busy", "5")], [desk.token(shape)])
    assert answer == ACCEPTED
    assert desk.shown()["1000"] == "away"
    row = await desk.record(noor)
    assert (row.source, row.sequence) == ("notification", "5")


async def test_of_several_about_one_user_the_newest_counts_in_any_order(
    desk: Desk, record: PresenceSubscription, noor: str
) -> None:
    items = [desk.rich(record, noor, name, number) for name, number in (("Busy", "10"), ("DoNotDisturb", "9"))]
    await desk.post(items, [desk.token()])
    await desk.post([desk.rich(record, noor, "OutOfOffice", "8")], [desk.token()])
    assert desk.written() == [((await desk.record(noor)).pbx_id, "away")]


async def test_a_repeated_notification_writes_nothing(desk: Desk, record: PresenceSubscription, noor: str) -> None:
    item, token = desk.rich(record, noor, "Busy", "5"), desk.token()
    for _ in range(3):
        assert await desk.post([item], [token]) == ACCEPTED
    assert len(desk.written()) == 1


async def test_a_basic_notification_has_graph_asked(desk: Desk, record: PresenceSubscription, noor: str) -> None:
    answer = await desk.post([desk.basic(record, noor), desk.basic(record, noor.upper())])
    assert answer.updates == (Update(desk.room.id, look=(noor,)),)
    assert desk.written() == []


async def test_an_id_may_be_a_whole_path(desk: Desk, record: PresenceSubscription, noor: str) -> None:
    item = desk.basic(record, noor) | {"resourceData": {"id": f"/communications/presences/{noor}"}}
    assert (await desk.post([item])).updates == (Update(desk.room.id, look=(noor,)),)


async def test_a_process_without_the_key_has_graph_asked_and_loads_it_behind_the_answer(desk: Desk, noor: str) -> None:
    record = await desk.subscribe([noor])
    answer = await desk.post([desk.rich(record, noor, "Busy")], [desk.token()])
    assert answer.updates == (Update(desk.room.id, look=(noor,)),)
    await memory_of(desk.room).trust.close()
    assert await desk.post([desk.rich(record, noor, "Busy")], [desk.token()]) == ACCEPTED
    assert desk.shown()["1000"] == "away"


async def test_what_is_encrypted_for_the_earlier_certificate_is_read_too(desk: Desk, noor: str) -> None:
    earlier = await desk.subscribe([noor])
    await desk.load_keys(earlier)
    item = desk.rich(earlier, noor, "Busy")
    await desk.room.store.remove_subscription(earlier.account)
    await desk.subscribe([noor], certificate_id="a-newer-one", earlier_certificate_id=earlier.certificate_id)
    assert (await desk.post([item], [desk.token()])).updates == ()
    assert desk.shown()["1000"] == "away"


async def test_keys_of_entra_that_cannot_be_read_now_have_graph_asked(
    desk: Desk, record: PresenceSubscription, noor: str
) -> None:
    desk.world.microsoft.faults.append(desk.fault("status", "/common/discovery/v2.0/keys", status=500, times=None))
    answer = await desk.post([desk.rich(record, noor, "Busy")], [desk.token()])
    assert answer.updates == (Update(desk.room.id, look=(noor,)),)
    assert desk.written() == []


async def test_somebody_who_is_not_followed_is_not_recorded(desk: Desk, record: PresenceSubscription) -> None:
    stranger = "bbbb0001-0000-4000-8000-000000000001"
    assert await desk.post([desk.rich(record, stranger, "Busy")], [desk.token()]) == ACCEPTED
    assert stranger not in await desk.room.store.all()


async def test_nothing_is_taken_while_presence_is_off(desk: Desk, record: PresenceSubscription, noor: str) -> None:
    await desk.rules(enabled=False)
    assert await desk.post([desk.rich(record, noor, "Busy")], [desk.token()]) == ACCEPTED
    assert (await desk.record(noor)).heard_at == ""


# Forgeries


@pytest.mark.parametrize("flaw", sorted(TOKEN_FLAWS))
async def test_a_forged_token_makes_the_whole_request_worthless(
    desk: Desk, record: PresenceSubscription, noor: str, flaw: Flaw
) -> None:
    tokens = [] if flaw == "missing" else [desk.token(), desk.token(flaw=flaw)]
    items = [desk.rich(record, noor, "DoNotDisturb", "9"), desk.basic(record, noor)]
    assert await desk.post(items, tokens) == ACCEPTED
    assert (await desk.record(noor)).heard_at == ""


@pytest.mark.parametrize(
    "flaw", ["wrong_client_state", "foreign_item", "altered_content", "truncated_content", "unknown_certificate"]
)
async def test_a_forged_notification_changes_nothing(
    desk: Desk, record: PresenceSubscription, noor: str, flaw: Flaw
) -> None:
    await desk.post([desk.rich(record, noor, "Busy", "5")], [desk.token()])
    forged = forged_item(desk.rich(record, noor, "OutOfOffice", "6"), CERTIFICATE, flaw)
    assert await desk.post([forged], [desk.token()]) == ACCEPTED
    assert [status for _, status in desk.written()] == ["away"]
    assert (await desk.record(noor)).sequence == "5"


async def test_a_notification_about_somebody_else_inside_is_dropped(
    desk: Desk, record: PresenceSubscription, noor: str
) -> None:
    item = desk.rich(record, noor, "Busy")
    other = "bbbb0001-0000-4000-8000-000000000001"
    moved = {**item, "resource": f"communications/presences/{other}", "resourceData": {"id": other}}
    assert await desk.post([moved], [desk.token()]) == ACCEPTED
    assert (await desk.record(noor)).heard_at == ""


@pytest.mark.parametrize("changes", [{"subscriptionId": "another"}, {"clientState": None}, {"tenantId": None}])
async def test_a_basic_notification_of_no_subscription_of_ours_is_dropped(
    desk: Desk, record: PresenceSubscription, noor: str, changes: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        assert await desk.post([desk.basic(record, noor) | changes]) == ACCEPTED
    assert len([message for message in caplog.messages if "were not believed" in message]) == 1
    desk.later(seconds=61)
    await desk.poll()
    assert (await figures(desk.room)).refused == 3


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[" * 100_000,
        b'{"value": 3}',
        b'{"value": [3, {"subscriptionId": 4}]}',
        b'{"value": [{"subscriptionId": "\\ud800"}]}',
        b'{"value": [{"subscriptionId": "a-subscription", "encryptedContent": {"data": "x"}}]}',
        b'{"value": []}',
        b"\xff\xfe",
    ],
)
async def test_rubbish_is_accepted_and_forgotten(desk: Desk, record: PresenceSubscription, body: bytes) -> None:
    assert await receive(desk.room, {}, body) == ACCEPTED


async def test_a_body_that_is_too_large_is_not_even_parsed(
    desk: Desk, record: PresenceSubscription, noor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []
    monkeypatch.setattr(intake, "parse", asked.append)
    assert await receive(desk.room, {}, b" " * (LARGEST_BODY + 1)) == ACCEPTED
    assert asked == []


async def test_made_up_subscriptions_do_not_make_us_read_each_time(desk: Desk, record: PresenceSubscription) -> None:
    await desk.post([desk.basic(record, "x") | {"subscriptionId": "made up"}])
    before = desk.room.tables.traffic.by_table["subscriptions"]
    forged = [desk.basic(record, "x") | {"subscriptionId": f"made up {index}"} for index in range(20)]
    await asyncio.gather(*(desk.post([one]) for one in forged))
    assert desk.room.tables.traffic.by_table["subscriptions"] - before <= 2


async def test_a_subscription_that_is_a_moment_old_is_believed(desk: Desk, noor: str) -> None:
    """Another process made it, right after this one had looked."""
    await desk.post([{"subscriptionId": "made up", "clientState": "x"}])
    record = await desk.subscribe([noor])
    await desk.load_keys(record)
    await desk.post([desk.rich(record, noor, "Busy")], [desk.token()])
    assert desk.shown()["1000"] == "away"


async def test_requests_at_once_read_the_subscriptions_once_and_lose_nothing(desk: Desk) -> None:
    ids = await desk.staff(5)
    record = await desk.subscribe(ids)
    answers = await asyncio.gather(*(desk.post([desk.basic(record, one)]) for one in ids))
    assert [answer.updates[0].look for answer in answers] == [(one,) for one in ids]
    assert desk.room.tables.traffic.by_table["subscriptions"] <= 2 + 1


# The handshake and the life of subscriptions


async def test_a_token_that_was_good_is_not_good_for_ever(desk: Desk, record: PresenceSubscription, noor: str) -> None:
    token = desk.token()
    await desk.post([desk.rich(record, noor, "Busy", "1")], [token])
    desk.later(seconds=30)
    await desk.post([desk.rich(record, noor, "Available", "2")], [token])
    assert desk.shown()["1000"] == "available"
    desk.later(hours=2)
    await desk.post([desk.rich(record, noor, "Busy", "3")], [token])
    assert desk.shown()["1000"] == "available", "it has expired"


async def test_the_handshake_repeats_the_token_as_plain_text(desk: Desk) -> None:
    answer = await receive(desk.room, {"validationToken": "Validation: Testing reachability"}, b"")
    assert (answer.status, answer.text) == (200, "Validation: Testing reachability")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("token", ["<script>", "x" * 3000, "a\nb"])
async def test_what_could_be_a_page_is_not_repeated(desk: Desk, token: str) -> None:
    assert (await receive(desk.room, {"validationToken": token}, b"")).status == 400


@pytest.mark.parametrize(("event", "state"), [("reauthorizationRequired", "renew"), ("subscriptionRemoved", "gone")])
async def test_what_graph_says_about_the_subscription_is_noted_once(
    desk: Desk, record: PresenceSubscription, event: str, state: str
) -> None:
    item = {
        "subscriptionId": record.id,
        "clientState": record.client_state,
        "tenantId": record.tenant_id,
        "lifecycleEvent": event,
    }
    assert (await desk.post([item])).updates == (Update(desk.room.id, subscriptions=True),)
    assert (await desk.post([item])).updates == ()
    [kept] = (await desk.room.store.subscriptions()).values()
    assert kept.record.state == state


# In time


async def test_what_takes_longer_than_graph_waits_goes_on_behind_the_answer(
    desk: Desk, record: PresenceSubscription, noor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = asyncio.Event()
    inner = search_presence

    async def slow(*args: Any) -> Any:
        await go_on.wait()
        return await inner(*args)

    monkeypatch.setattr(listing, "search_presence", slow)
    monkeypatch.setattr(intake, "ANSWER_SECONDS", 0.05)
    answer = await desk.post([desk.rich(record, noor, "Busy", "1")], [desk.token()])
    assert answer.updates == (Update(desk.room.id),)
    second = await desk.post([desk.rich(record, noor, "DoNotDisturb", "2")], [desk.token()])
    assert second.updates == (), "one message does for both"
    go_on.set()
    await push.submit(desk.room, [noor])
    assert desk.shown()["1000"] == "do_not_disturb"


@pytest.mark.parametrize("works", [True, False], ids=["recorded", "not recorded"])
async def test_graph_is_asked_only_about_what_was_not_recorded_behind_the_answer(
    desk: Desk, record: PresenceSubscription, noor: str, monkeypatch: pytest.MonkeyPatch, works: bool
) -> None:
    go_on, change = asyncio.Event(), PresenceStore.change

    async def slow(self: PresenceStore, *args: Any) -> Any:
        await go_on.wait()
        if not works:
            monkeypatch.setattr(PresenceStore, "change", change)
            raise StoreUnavailable("it is away")
        return await change(self, *args)

    other, memory = desk.process(), memory_of(desk.room)
    await desk.poll(other)
    desk.later(minutes=1)
    monkeypatch.setattr(PresenceStore, "change", slow)
    monkeypatch.setattr(intake, "RECORD_SECONDS", 0.05)
    desk.teams(noor, "Busy")
    asked = len(desk.asked())
    assert await desk.post([desk.rich(record, noor, "Busy")], [desk.token()]) == ACCEPTED
    await until(lambda: _notes(desk), {memory.process})
    go_on.set()
    assert memory.heard.noting is not None
    await memory.heard.noting
    assert await _notes(desk) == (set() if works else {memory.process})
    desk.later(seconds=14)
    await desk.poll(other)
    assert len(desk.asked()) == asked, "whoever is at it gets some time"
    desk.later(seconds=2)
    await desk.poll(other)
    assert len(desk.asked()) == asked + (not works)
    await push.submit(desk.room, [noor])
    assert (desk.shown()["1000"], await _notes(desk)) == ("away", set())


async def test_while_a_late_request_is_open_its_note_stays(
    desk: Desk, record: PresenceSubscription, noor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, turns = PresenceStore.change, [asyncio.Event(), asyncio.Event()]
    asked = iter(turns)

    async def slow(self: PresenceStore, *args: Any) -> Any:
        await next(asked).wait()
        return await change(self, *args)

    monkeypatch.setattr(PresenceStore, "change", slow)
    monkeypatch.setattr(intake, "RECORD_SECONDS", 0.05)
    heard = memory_of(desk.room).heard
    for name, number in (("Busy", "1"), ("DoNotDisturb", "2")):
        assert await desk.post([desk.rich(record, noor, name, number)], [desk.token()]) == ACCEPTED
    turns[0].set()
    await asyncio.wait([next(iter(heard.late))])
    await until(lambda: _notes(desk), {memory_of(desk.room).process})
    monkeypatch.setattr(PresenceStore, "change", change)
    turns[1].set()
    assert heard.noting is not None
    await heard.noting
    assert await _notes(desk) == set()
    await push.submit(desk.room, [noor])
    assert desk.shown()["1000"] == "do_not_disturb"


async def test_a_note_that_cannot_be_made_is_for_the_poll_of_this_process(
    desk: Desk, record: PresenceSubscription, noor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.poll()
    desk.teams(noor, "Busy")
    with monkeypatch.context() as away:
        for name in ("change", "clock"):
            away.setattr(PresenceStore, name, _slowly_away)
        away.setattr(intake, "RECORD_SECONDS", 0.01)
        assert await desk.post([desk.rich(record, noor, "Busy")], [desk.token()]) == ACCEPTED
        noting = memory_of(desk.room).heard.noting
        assert noting is not None
        await noting
    await desk.poll()
    assert desk.shown()["1000"] == "away"


async def test_a_note_that_others_are_always_faster_than_is_for_the_poll_of_this_process(
    desk: Desk, record: PresenceSubscription, noor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.poll()
    desk.teams(noor, "Busy")

    async def overtaken(*_: Any) -> bool:
        return False

    with monkeypatch.context() as busy:
        busy.setattr(PresenceStore, "set_clock", overtaken)
        busy.setattr(PresenceStore, "change", _slowly_away)
        busy.setattr(intake, "RECORD_SECONDS", 0.01)
        assert await desk.post([desk.rich(record, noor, "Busy")], [desk.token()]) == ACCEPTED
        noting = memory_of(desk.room).heard.noting
        assert noting is not None
        await noting
    await desk.poll()
    assert desk.shown()["1000"] == "away"


async def test_while_requests_are_always_late_everybody_is_asked_about_once_a_minute(
    desk: Desk, record: PresenceSubscription
) -> None:
    await desk.poll()
    store, asked = desk.room.store, len(desk.asked())
    for _ in range(12):
        desk.later(seconds=10)
        kept = await store.clock()
        doubts = kept.clock.doubts or {"a-process": stamp(desk.world.now)}
        await store.set_clock(msgspec.structs.replace(kept.clock, doubts=doubts), kept.etag)
        await desk.poll()
    assert len(desk.asked()) - asked == 2


async def test_who_makes_us_hold_too_much_is_answered_and_graph_is_asked(
    desk: Desk, record: PresenceSubscription, noor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, change = asyncio.Event(), PresenceStore.change

    async def slow(self: PresenceStore, *args: Any) -> Any:
        await go_on.wait()
        return await change(self, *args)

    await desk.poll()
    desk.later(minutes=1)
    monkeypatch.setattr(PresenceStore, "change", slow)
    monkeypatch.setattr(intake, "RECORD_SECONDS", 0.05)
    assert await desk.post([desk.rich(record, noor, "Busy", "1")], [desk.token()]) == ACCEPTED
    monkeypatch.setattr(intake, "LATE_BYTES", 3_000)
    heard = memory_of(desk.room).heard
    desk.teams(noor, "DoNotDisturb")
    assert await desk.post([desk.rich(record, noor, "DoNotDisturb", "2")], [desk.token()]) == ACCEPTED
    assert len(heard.late) == 1
    go_on.set()
    assert heard.noting is not None
    await heard.noting
    desk.later(seconds=16)
    await desk.poll()
    assert desk.shown()["1000"] == "do_not_disturb"


async def test_what_fails_at_once_is_asked_about(
    desk: Desk, record: PresenceSubscription, noor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(recorder, "record", fails)
    desk.teams(noor, "Busy")
    [message] = (await desk.post([desk.rich(record, noor, "Busy")], [desk.token()])).updates
    assert message == Update(desk.room.id, look=(noor,))
    assert await carry_out(desk.room, message) == []
    assert desk.shown()["1000"] == "away"


async def test_a_pbx_that_fails_leaves_it_to_a_message(desk: Desk, record: PresenceSubscription, noor: str) -> None:
    desk.world.pbx.faults.append(
        desk.fault("errcode", "/openapi/v1.0/extension/update", options={"errcode": 70087}, times=None)
    )
    answer = await desk.post([desk.rich(record, noor, "Busy")], [desk.token()])
    assert answer.updates == (Update(desk.room.id),)
    assert (await desk.record(noor)).is_pending


async def test_what_is_recorded_although_storage_did_not_say_so_is_written(
    desk: Desk, record: PresenceSubscription, noor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    change = PresenceStore.change

    async def unanswered(self: PresenceStore, *args: Any) -> Any:
        await change(self, *args)
        monkeypatch.undo()
        raise StoreUnavailable("no answer came")

    monkeypatch.setattr(PresenceStore, "change", unanswered)
    desk.teams(noor, "Busy")
    [message] = (await desk.post([desk.rich(record, noor, "Busy")], [desk.token()])).updates
    assert (desk.shown()["1000"], (await desk.record(noor)).is_pending) == ("available", True)
    assert await carry_out(desk.room, message) == []
    assert desk.shown()["1000"] == "away"


async def test_what_was_left_pending_is_written_when_it_is_announced_again(
    desk: Desk, record: PresenceSubscription, noor: str
) -> None:
    await desk.hear(noor, "Busy", "1")
    await desk.post([desk.rich(record, noor, "Busy", "1")], [desk.token()])
    assert desk.shown()["1000"] == "away"


async def test_storage_that_fails_has_graph_asked_about_what_was_proven(
    desk: Desk, record: PresenceSubscription, noor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: Any) -> None:
        raise StoreUnavailable("it is away")

    monkeypatch.setattr(PresenceStore, "change", fails)
    answer = await desk.post([desk.rich(record, noor, "Busy")], [desk.token()])
    assert answer == Answer(202, updates=(Update(desk.room.id, look=(noor,)),))


@pytest.mark.parametrize("method", ["subscriptions", "clock"], ids=["subscriptions", "rules"])
async def test_storage_that_fails_before_anything_is_proven_has_graph_asked_and_is_told_once(
    desk: Desk,
    record: PresenceSubscription,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    method: str,
) -> None:
    [noor] = record.users
    await desk.post([desk.rich(record, noor, "Available")], [desk.token()])
    desk.later(minutes=1)
    item, token = desk.rich(record, noor, "Busy"), desk.token()
    forged = item | {"clientState": "made up"}
    with monkeypatch.context() as away:
        if method == "subscriptions":
            away.setattr(PresenceStore, "subscriptions", _away)
        else:
            away.setattr(type(desk.room.settings), "load", _away)
        caplog.clear()
        assert await desk.post([forged], [token]) == ACCEPTED
        answers = [await desk.post([item], [token]) for _ in range(3)]
        assert answers == [Answer(202, updates=(Update(desk.room.id, look=(noor,)),))] * 3
        assert sum("cannot be recorded" in text for text in caplog.messages) == 1
    caplog.set_level(logging.INFO, "presence")
    assert await desk.post([item], [token]) == ACCEPTED
    assert sum("recorded again" in text for text in caplog.messages) == 1
    assert desk.shown()["1000"] == "away"


async def test_requests_that_wait_for_storage_fail_together(
    desk: Desk, record: PresenceSubscription, noor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = 0

    async def fails(*_: Any) -> None:
        nonlocal reads
        reads += 1
        await asyncio.sleep(0.01)
        raise StoreUnavailable("it is away")

    desk.later(minutes=1)
    monkeypatch.setattr(PresenceStore, "subscriptions", fails)
    token = desk.token()
    await asyncio.gather(*(desk.post([desk.rich(record, noor, "Busy")], [token]) for _ in range(10)))
    assert reads < 4


async def test_a_state_without_a_number_that_is_sent_again_is_not_the_newest(
    desk: Desk, record: PresenceSubscription, noor: str
) -> None:
    busy, token = desk.rich(record, noor, "DoNotDisturb"), desk.token()
    for item in (busy, desk.rich(record, noor, "Available"), busy):
        assert await desk.post([item], [token]) == ACCEPTED
    assert desk.shown()["1000"] == "available"
    assert await desk.post([desk.rich(record, noor, "DoNotDisturb")], [token]) == ACCEPTED
    assert desk.shown()["1000"] == "do_not_disturb"


async def test_only_so_many_states_without_a_number_are_remembered(
    desk: Desk, record: PresenceSubscription, noor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "REPEATS", 3)
    token = desk.token()
    for name in ("Busy", "Available") * 3:
        await desk.post([desk.rich(record, noor, name)], [token])
    assert len(memory_of(desk.room).heard.unnumbered) == 3


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        ({"availability": "Busy", "activity": None}, "away"),
        ({"availability": "Busy", "activity": "Busy", "sequenceNumber": 77}, "away"),
        ({"availability": "Busy", "activity": "Busy", "sequenceNumber": None}, "away"),
        ({"availability": None, "activity": "Busy"}, ""),
        ({"activity": "Busy"}, ""),
        ({"availability": 3, "activity": "Busy"}, ""),
    ],
    ids=["no activity", "number", "no number", "null", "missing", "not a text"],
)
async def test_what_graph_leaves_empty_is_no_forgery(
    desk: Desk, record: PresenceSubscription, noor: str, content: dict[str, Any], shown: str
) -> None:
    sealed = seal({"id": noor, **content}, CERTIFICATE, record.certificate_id)
    item = desk.basic(record, noor) | {"encryptedContent": sealed, "resource": None}
    answer = await desk.post([item], [desk.token()])
    assert answer.updates == (() if shown else (Update(desk.room.id, look=(noor,)),))
    assert desk.shown()["1000"] == (shown or "available")
    assert memory_of(desk.room).refused == 0


async def test_an_application_written_in_capitals_is_the_same(
    desk: Desk, record: PresenceSubscription, noor: str
) -> None:
    base = await desk.room.settings.load()
    document = msgspec.to_builtins(base.settings)
    document["microsoft"]["client_id"] = CLIENT_ID.upper()
    await desk.room.settings.save(msgspec.convert(document, Settings), base)
    memory_of(desk.room).forget_rules()
    assert await desk.post([desk.rich(record, noor, "Busy")], [desk.token()]) == ACCEPTED
    assert desk.shown()["1000"] == "away"


async def test_a_body_of_many_empty_items_is_dropped_as_a_whole(desk: Desk, record: PresenceSubscription) -> None:
    body = b'{"value": [' + b"{}," * (intake.MOST_ITEMS + 1) + b"{}]}"
    assert intake.parse(body) == ([], [], 1)
    assert await receive(desk.room, {}, body) == ACCEPTED


async def test_secrets_and_contents_are_in_no_log(
    desk: Desk, record: PresenceSubscription, noor: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "presence")
    forged = forged_item(desk.rich(record, noor, "OutOfOffice"), CERTIFICATE, "altered_content")
    token = desk.token()
    await desk.post([forged, desk.basic(record, noor)], [token])
    assert caplog.messages
    assert not any(record.client_state in message or token in message for message in caplog.messages)
    assert record.client_state not in repr(record)


async def test_650_users_in_one_request_are_recorded_together(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = await desk.staff(650)
    record = await desk.subscribe(ids)
    await desk.load_keys(record)
    monkeypatch.setattr(intake, "ANSWER_SECONDS", 0.0)
    body_items = [desk.rich(record, one, "Busy", "1") for one in ids]
    started = time.monotonic()
    answer = await desk.post(body_items, [desk.token()])
    logging.getLogger("tests").info("650 users recorded in %.2f s", time.monotonic() - started)
    assert answer.updates == (Update(desk.room.id),)
    assert {row.teams.availability for row in (await desk.room.store.all()).values()} == {"Busy"}
    await push.submit(desk.room, ids[:1])


RECEIVE = """
import asyncio, datetime, sys
import msgspec
from pbx.presence import search_presence
from presence.intake import receive
from presence.room import Room
from store.environment import read_environment
from store.health import HealthStore
from store.links import LinkStore
from store.presence import PresenceSubscription
from store.secrets import SecretStore
from store.settings import SettingsStore
from store.tables import open_tables

async def main():
    environment = read_environment()
    tables = open_tables(environment)
    settings = SettingsStore(tables, "intake-layout", environment)
    base = await settings.load()
    document = msgspec.to_builtins(base.settings)
    document["presence"]["enabled"] = True
    document["microsoft"] |= {"tenant_id": "t", "client_id": "c"}
    document["pbx"] |= {"fqdn": "p", "client_id": "c"}
    await settings.save(msgspec.convert(document, type(base.settings)), base)
    room = Room(id="intake-layout", environment=environment, tables=tables,
                secrets=SecretStore(environment, "intake-layout"), settings=settings,
                health=HealthStore(tables, "intake-layout"), links=LinkStore(tables, "intake-layout", "users"),
                open_graph=None, open_pbx=None, subscribers=None, delegated_token=None,
                now=lambda: datetime.datetime.now(datetime.UTC))
    record = PresenceSubscription(account="a", state="live", id="one", client_state="s" * 43, tenant_id="t")
    await room.store.save_subscription(record)
    one = "aaaa0001-0000-4000-8000-000000000001"
    items = [{"subscriptionId": "one", "clientState": "s" * 43, "tenantId": "t", "resourceData": {"id": one}}]
    answer = await receive(room, {}, msgspec.json.encode({"value": items}))
    await room.store.clear()
    await tables.close()
    print(answer.status, len(answer.updates), [name for name in HEAVY if name in sys.modules])

asyncio.run(main())
"""


async def test_taking_a_notification_imports_nothing_heavy(azurite: Azurite) -> None:
    heavy = ("msgraph", "azure.identity", "jinja2", "starlette", "msal", "cryptography", "jwt", "azure.keyvault")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", RECEIVE.replace("HEAVY", repr(heavy)), cwd=ROOT,
        env={**os.environ, "AzureWebJobsStorage": azurite.connection_string},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    output, errors = await process.communicate()
    assert output.decode().strip() == "202 1 []", errors.decode()
