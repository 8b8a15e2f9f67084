"""From a change in Entra to a run: what Graph announces, what is believed of it, and when it is synced."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from local.microsoft.subscriptions import Pause
from local.sample import TENANT_ID
from store.changes import Event, Fired
from store.errors import StoreUnavailable
from store.runs import Run
from store.subscriptions import SubscriptionStore
from store.tables import Tables
from sync import notifications
from sync.batches import consume, opened
from sync.messages import Message, Outcome
from sync.notifications import receive_directory, receive_lifecycle
from tests.engine.wired import Wired
from tests.engine.world import World

SOMEBODY = "aaaa0001-0000-4000-8000-000000000001"


@pytest.fixture
async def wired(world: World) -> AsyncIterator[Wired]:
    async with Wired(world) as wired:
        yield wired


@pytest.fixture
async def synced(wired: Wired) -> Wired:
    """As after the first minutes: users synced, Graph ready to announce changes."""
    await wired.sync_users()
    await wired.subscribe()
    return wired


@pytest.fixture
async def subscribed(wired: Wired) -> Wired:
    """The same without any extension."""
    await wired.pretend_synced()
    await wired.subscribe()
    return wired


async def items(wired: Wired, number: int = 1, first: int = 0, **changes: Any) -> list[dict[str, Any]]:
    """Notifications of so many different users, as Graph would send them."""
    record = (await wired.records())["users"]
    return [
        {
            "subscriptionId": record.id,
            "clientState": record.client_state,
            "tenantId": TENANT_ID,
            "changeType": "updated",
            "resource": f"Users/{one}",
            "resourceData": {"id": one},
            **changes,
        }
        for one in (f"aaaa{index:04d}-0000-4000-8000-000000000001" for index in range(first, first + number))
    ]


async def send(wired: Wired, values: list[dict[str, Any]], receive: Any = receive_directory) -> Any:
    body = msgspec.json.encode({"value": values})
    outcome = await receive(wired.connection, {}, body, wired.world.tell())
    wired.queue += outcome.messages
    return outcome


async def runs(wired: Wired) -> list[Run]:
    return [run async for run in wired.connection.runs.newest(50)]


# The whole way


async def test_a_change_in_entra_is_on_the_pbx_when_its_batch_is_old_enough(synced: Wired) -> None:
    world = synced.world
    link = next(link for link in await world.links() if link.email)
    world.change_user(link.object_id, jobTitle="Dispatcher")
    await synced.heard()
    assert [outcome.status for outcome in synced.outcomes[-1:]] == [202]
    assert await synced.minute() == []
    synced.passes(minutes=10)
    messages = await synced.minute()
    assert [message.task for message in messages] == ["run"]
    await synced.work(*messages)
    assert world.extensions()[link.number]["title"] == "Dispatcher"
    run = (await runs(synced))[0]
    assert (run.started_by, run.mode, run.status, run.counts["update.done"]) == (
        "changes",
        "incremental",
        "succeeded",
        1,
    )


async def test_the_tenth_change_is_not_kept_waiting(synced: Wired) -> None:
    world = synced.world
    links = [link for link in await world.links() if link.email][:10]
    for link in links:
        world.change_user(link.object_id, jobTitle="Dispatcher")
        await synced.heard()
    assert [message.task for message in synced.queue] == ["run"]
    await synced.work()
    assert {world.extensions()[link.number]["title"] for link in links} == {"Dispatcher"}


async def test_odd_casing_and_missing_members_change_nothing(synced: Wired) -> None:
    world, switches = synced.world, synced.world.microsoft.postman.switches
    switches.vary_casing, switches.unpromised_members, switches.item_ids = True, False, True
    links = [link for link in await world.links() if link.email][:3]
    for link in links:
        world.change_user(link.object_id, jobTitle="Dispatcher")
    await synced.heard()
    found = {event.object_id for event in (await synced.batch()).events().values()}
    assert found == {link.object_id for link in links}


async def test_notifications_that_come_several_times_count_once(synced: Wired) -> None:
    synced.world.microsoft.postman.switches.repeat = 20
    link = next(link for link in await synced.world.links() if link.email)
    synced.world.change_user(link.object_id, jobTitle="Dispatcher")
    await synced.heard()
    assert (await synced.batch()).distinct() == 1
    assert synced.queue == []


# Counting


@pytest.mark.parametrize("sizes", [[10], [9, 1], [1] * 10, [5, 5, 5], [3, 3, 3, 3], [100, 100]], ids=str)
async def test_however_they_come_ten_changes_ask_for_one_run(subscribed: Wired, sizes: list[int]) -> None:
    before = len(await runs(subscribed))
    first = 0
    for size in sizes:
        asked = len(subscribed.queue)
        await send(subscribed, await items(subscribed, size, first))
        first += size
        assert len(subscribed.queue) == (1 if first >= 10 else 0)
        assert asked <= len(subscribed.queue)
    assert len(await runs(subscribed)) == before + 1


async def test_a_process_that_just_started_counts_what_others_recorded(subscribed: Wired) -> None:
    await send(subscribed, await items(subscribed, 9))
    await subscribed.move_to(subscribed.url)
    await send(subscribed, await items(subscribed, 1, first=9))
    assert len(subscribed.queue) == 1


async def test_requests_at_the_same_moment_ask_for_one_run(subscribed: Wired) -> None:
    values = await items(subscribed, 40)
    await asyncio.gather(*(send(subscribed, values[start : start + 2]) for start in range(0, 40, 2)))
    assert len(subscribed.queue) == 1
    assert (await subscribed.batch()).distinct() == 40


async def test_without_a_delay_the_first_change_asks(subscribed: Wired) -> None:
    await subscribed.world.settings(lambda document: document["schedule"].update({"change_delay_minutes": 0}))
    subscribed.passes(minutes=1)
    await send(subscribed, await items(subscribed))
    await send(subscribed, await items(subscribed, 1, first=1))
    assert len(subscribed.queue) == 1


async def test_a_burst_costs_one_insert_a_request(subscribed: Wired) -> None:
    for start in range(0, 40, 10):  # the first of them asks for the run
        await send(subscribed, await items(subscribed, 10, start))
    traffic = subscribed.connection.tables.traffic
    values = await items(subscribed, 100, 40)
    before = traffic.requests
    await send(subscribed, values)
    assert traffic.requests == before + 1


# Proof


@pytest.mark.parametrize(
    "changes",
    [
        {"clientState": "forged"},
        {"clientState": None},
        {"clientState": ""},
        {"tenantId": "99999999-1111-4111-8111-111111111111"},
        {"tenantId": None},
        {"subscriptionId": "cccc0001-0000-4000-8000-000000000001"},
        {"subscriptionId": ""},
    ],
    ids=str,
)
async def test_forged_notifications_get_the_same_answer_and_are_dropped(
    subscribed: Wired, changes: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    values = await items(subscribed, 20, **changes)
    outcome = await send(subscribed, values)
    assert (outcome.status, outcome.text, subscribed.queue) == (202, "", [])
    assert (await subscribed.batch()).rows == ()
    assert "20 notifications" in caplog.text
    genuine = await items(subscribed)
    await send(subscribed, [*values, *genuine])
    assert (await subscribed.batch()).distinct() == 1


async def test_no_log_and_no_answer_shows_the_client_state(subscribed: Wired, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    record = (await subscribed.records())["users"]
    assert len(record.client_state) >= 43
    await send(subscribed, await items(subscribed, clientState=record.client_state[:-1] + "!"))
    await send(subscribed, await items(subscribed, 12))
    assert record.client_state not in caplog.text


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"value":[]}', b'{"value":{}}', b'{"value":[1,null]}', b"x" * 1_500_000], ids=len
)
async def test_whatever_is_sent_is_accepted_and_costs_storage_nothing(subscribed: Wired, body: bytes) -> None:
    traffic = subscribed.connection.tables.traffic
    before = traffic.requests
    for receive in (receive_directory, receive_lifecycle):
        assert await receive(subscribed.connection, {}, body, subscribed.world.tell()) == Outcome(202)
    assert traffic.requests == before


async def test_made_up_subscriptions_do_not_hammer_storage(subscribed: Wired) -> None:
    await send(subscribed, await items(subscribed))
    traffic = subscribed.connection.tables.traffic
    values = await items(subscribed)
    before = traffic.requests
    for number in range(500):
        await send(subscribed, [{**values[0], "subscriptionId": f"made-up-{number}"}])
    assert traffic.requests - before <= 3


async def test_a_subscription_that_another_process_made_is_believed_soon(subscribed: Wired) -> None:
    await send(subscribed, await items(subscribed))
    await subscribed.world.settings(lambda document: document["groups"].update({"enabled": True}))
    store = SubscriptionStore(subscribed.connection.tables, subscribed.connection.id)
    users = (await subscribed.records())["users"]
    await store.update("users", lambda record: msgspec.structs.replace(record, id="new-id"))
    subscribed.passes(seconds=3)
    outcome = await send(subscribed, await items(subscribed, 1, first=5))
    assert outcome.status == 202
    assert (await subscribed.batch()).distinct() == 2
    assert users.id != "new-id"


async def test_what_is_announced_before_graph_has_answered_is_believed(subscribed: Wired) -> None:
    store = SubscriptionStore(subscribed.connection.tables, subscribed.connection.id)
    values = await items(subscribed)
    await store.update("users", lambda record: msgspec.structs.replace(record, id="", state="asked"))
    await send(subscribed, values)
    assert (await subscribed.batch()).distinct() == 1


async def test_changes_are_not_collected_while_users_are_paused(subscribed: Wired) -> None:
    await subscribed.connection.health.update(lambda health: msgspec.structs.replace(health, paused=["users"]))
    await send(subscribed, await items(subscribed, 20))
    assert (await subscribed.batch()).rows == ()
    assert subscribed.queue == []


# Storage that does not answer


@pytest.mark.parametrize("failing", ["create", "query"])
async def test_a_notification_that_cannot_be_recorded_is_sent_again_by_graph(
    synced: Wired, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = next(link for link in await synced.world.links() if link.email)

    def broken(*_: object, **__: object) -> None:
        raise StoreUnavailable("the table changes cannot be reached (ServiceRequestError)")

    with monkeypatch.context() as patch:
        patch.setattr(Tables, failing, broken)
        synced.world.change_user(link.object_id, jobTitle="Dispatcher")
        await synced.heard()
        assert [outcome.status for outcome in synced.outcomes[-1:]] == [503]
    synced.world.microsoft.clock.offset += 11
    await synced.heard()
    assert synced.outcomes[-1].status == 202
    assert (await synced.batch()).distinct() == 1


async def test_storage_that_hangs_is_given_up_before_graph_stops_waiting(
    subscribed: Wired, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = await items(subscribed)
    hanging = asyncio.Event()

    async def hang(*_: object, **__: object) -> str:
        await hanging.wait()
        return ""

    monkeypatch.setattr(Tables, "create", hang)
    monkeypatch.setattr(notifications, "PATIENCE_SECONDS", 0.05)
    assert (await send(subscribed, values)).status == 503


async def test_a_fault_of_our_own_is_logged_and_the_notification_comes_again(
    subscribed: Wired, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    values = await items(subscribed)
    monkeypatch.setattr(Tables, "create", lambda *_: 1 / 0)
    assert (await send(subscribed, values)).status == 503
    assert "ZeroDivisionError" in caplog.text


# Lifecycle


async def lifecycle(wired: Wired, event: str) -> list[Message]:
    [value] = await items(wired, lifecycleEvent=event)
    outcome = await send(wired, [value, value], receive_lifecycle)
    assert outcome.status == 202
    return list(outcome.messages)


async def test_graph_that_wants_reauthorization_gets_a_renewal_at_once(subscribed: Wired) -> None:
    world = subscribed.world
    [item] = world.microsoft.subscriptions.live()
    end = item.expires
    pause = Pause(world.microsoft.clock.now(), keeps=True)
    world.microsoft.subscriptions.send_lifecycle(item, "reauthorizationRequired", pause, forced=False)
    await subscribed.heard()
    assert subscribed.queue == [Message(world.id, task="subscriptions")]
    subscribed.passes(hours=1)
    await subscribed.work()
    assert item.pause is None
    assert item.expires > end
    assert (await subscribed.records())["users"].state == "live"


async def test_a_removed_subscription_is_made_anew_and_the_gap_is_looked_at(subscribed: Wired) -> None:
    before = (await subscribed.records())["users"]
    subscribed.world.microsoft.subscriptions.remove(before.id)
    messages = await lifecycle(subscribed, "subscriptionRemoved")
    assert messages == [Message(subscribed.world.id, task="subscriptions")]
    await subscribed.work(*messages)
    after = (await subscribed.records())["users"]
    assert after.state == "live"
    assert after.id != before.id
    assert [event.object_id for event in (await subscribed.batch()).events().values()] == [""]


async def test_missed_changes_ask_for_a_run_at_once(subscribed: Wired) -> None:
    messages = await lifecycle(subscribed, "missed")
    assert [message.task for message in messages] == ["run"]
    assert (await runs(subscribed))[0].started_by == "changes"


async def test_unknown_and_forged_lifecycle_events_do_nothing(subscribed: Wired) -> None:
    assert await lifecycle(subscribed, "somethingNew") == []
    forged = await items(subscribed, lifecycleEvent="subscriptionRemoved", clientState="forged")
    assert (await send(subscribed, forged, receive_lifecycle)).messages == ()
    assert (await subscribed.records())["users"].state == "live"


async def test_a_late_lifecycle_event_does_not_touch_the_next_subscription(subscribed: Wired) -> None:
    [value] = await items(subscribed, lifecycleEvent="subscriptionRemoved")
    store = SubscriptionStore(subscribed.connection.tables, subscribed.connection.id)
    await send(subscribed, await items(subscribed))
    await store.update("users", lambda record: msgspec.structs.replace(record, id="the-next-one"))
    assert (await send(subscribed, [value], receive_lifecycle)).messages == ()
    assert (await subscribed.records())["users"].state == "live"


# What is due


async def test_a_batch_that_filled_unseen_is_found_by_the_minute(subscribed: Wired) -> None:
    for number in range(10):
        await subscribed.changes.add([Event("users", SOMEBODY, f"m{number}")], subscribed.world.tell())
    messages = await subscribed.minute()
    assert [message.task for message in messages] == ["run"]
    assert await subscribed.minute() == []


async def test_while_a_run_is_under_way_nothing_is_asked_for(subscribed: Wired) -> None:
    await send(subscribed, await items(subscribed))
    subscribed.passes(minutes=11)
    lease = await subscribed.connection.leases.acquire("run", "another")
    assert await subscribed.minute() == []
    await lease.release()  # type: ignore[union-attr]
    assert len(await subscribed.minute()) == 1


async def fired(wired: Wired, **changes: Any) -> Run:
    """A batch whose run was asked for and is now as ``changes`` say."""
    await send(wired, await items(wired, 10))
    run = (await runs(wired))[0]
    await wired.connection.runs.save(msgspec.structs.replace(run, **changes))
    return run


async def test_a_run_that_was_refused_is_asked_for_again(subscribed: Wired) -> None:
    run = await fired(subscribed, status="refused")
    [message] = await subscribed.minute()
    assert message.run != run.id
    mark = (await subscribed.batch()).fired
    assert mark is not None
    assert (mark.run, mark.times) == (message.run, 2)


async def test_a_run_that_is_on_its_way_is_waited_for(subscribed: Wired) -> None:
    await fired(subscribed, status="running")
    subscribed.passes(hours=1)
    assert await subscribed.minute() == []


async def test_a_run_that_failed_is_tried_again_after_a_pause(subscribed: Wired) -> None:
    await fired(subscribed, status="failed")
    assert await subscribed.minute() == []
    subscribed.passes(minutes=6)
    await subscribed.connection.health.update(
        lambda health: msgspec.structs.replace(health, retry_at=subscribed.world.now.isoformat())
    )
    assert await subscribed.minute() == []
    await subscribed.connection.health.update(lambda health: msgspec.structs.replace(health, retry_at=None))
    assert len(await subscribed.minute()) == 1


async def test_a_mark_without_a_run_is_taken_over_when_its_maker_is_surely_dead(subscribed: Wired) -> None:
    await subscribed.changes.add([Event("users", SOMEBODY, "m")], subscribed.world.tell())
    await subscribed.changes.mark_fired(Fired(subscribed.world.tell().isoformat()))
    assert await subscribed.minute() == []
    subscribed.passes(minutes=3)
    assert len(await subscribed.minute()) == 1


async def test_a_mark_that_nothing_is_left_of_is_cleared_without_a_run(subscribed: Wired) -> None:
    run = await fired(subscribed, status="refused")
    batch = await subscribed.batch()
    await subscribed.changes.remove(msgspec.structs.replace(batch, fired=None), [], subscribed.world.tell())
    assert await subscribed.minute() == []
    assert (await subscribed.batch()).fired is None
    assert (await runs(subscribed))[0].id == run.id


async def test_nobody_announces_anything_and_still_somebody_looks_once_an_hour(synced: Wired) -> None:
    synced.passes(minutes=55)
    assert await synced.minute() == []
    synced.passes(minutes=6)
    [message] = await synced.minute()
    await synced.work(message)
    run = (await runs(synced))[0]
    assert (run.id, run.started_by, run.mode, run.status) == (message.run, "poll", "incremental", "succeeded")


async def test_previews_and_runs_about_one_user_do_not_put_off_the_poll(synced: Wired) -> None:
    link = next(link for link in await synced.world.links() if link.email)
    synced.passes(minutes=61)
    await synced.world.run(preview=True)
    await synced.world.run(object_id=link.object_id)
    assert len(await synced.minute()) == 1


async def test_before_the_first_run_nothing_is_due(wired: Wired) -> None:
    await wired.world.secrets()
    await wired.world.enable()
    await wired.changes.add([Event("users", SOMEBODY, "m")], wired.world.tell())
    wired.passes(hours=3)
    assert [message for message in await wired.minute() if message.task == "run"] == []


# What is left of a batch

KINDS = ("users", "groups")


async def test_a_batch_ends_with_its_run_and_an_unseen_object_is_looked_at_once_more(subscribed: Wired) -> None:
    await send(subscribed, await items(subscribed, 10))
    batch = await opened(subscribed.connection)
    await send(subscribed, await items(subscribed, 1, first=50))
    seen = {event.object_id for event in batch.events().values()} - {"aaaa0003-0000-4000-8000-000000000001"}
    await consume(subscribed.connection, batch, seen, KINDS, subscribed.world.tell())
    left = await subscribed.batch()
    assert left.fired is None
    assert [(event.object_id[:8], event.looked) for event in left.events().values()] == [
        ("aaaa0050", False),
        ("aaaa0003", True),
    ]
    assert await subscribed.minute() == []
    subscribed.passes(minutes=11)
    assert len(await subscribed.minute()) == 1
    await consume(subscribed.connection, await opened(subscribed.connection), set(), KINDS, subscribed.world.tell())
    assert [event.object_id[:8] for event in (await subscribed.batch()).events().values()] == ["aaaa0050"]


async def test_an_empty_batch_costs_a_run_one_request(subscribed: Wired) -> None:
    traffic = subscribed.connection.tables.traffic
    before = traffic.requests
    await consume(subscribed.connection, await opened(subscribed.connection), set(), KINDS, subscribed.world.tell())
    assert traffic.requests == before + 1
