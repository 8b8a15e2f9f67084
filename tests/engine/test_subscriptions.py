"""How the bridge comes to be told about changes, and what it does when Graph will not."""

import asyncio
import datetime
import logging
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from graph.client import Graph
from local.emulator import Fault
from store.subscriptions import SubscriptionStore
from store.tables import Tables
from sync.subscriptions import CLAIM, LIFETIME, overview, remove_all
from tests.engine.wired import Wired
from tests.engine.world import World

PATH = "/v1.0/subscriptions*"


@pytest.fixture
async def wired(world: World) -> AsyncIterator[Wired]:
    world.now = datetime.datetime.now(datetime.UTC)  # Graph ends subscriptions by its own clock
    async with Wired(world) as wired:
        await wired.pretend_synced()
        yield wired


def live(wired: Wired) -> list[Any]:
    return wired.world.microsoft.subscriptions.live()


def calls(wired: Wired) -> list[str]:
    """What was asked of Graph about subscriptions, as methods."""
    return [request.method for request in wired.world.microsoft.requests if "/v1.0/subscriptions" in request.path]


def plant(wired: Wired, **fault: Any) -> None:
    wired.world.microsoft.faults.append(Fault(**{"path": PATH, "method": "POST", **fault}))


async def groups_too(wired: Wired) -> None:
    await wired.world.settings(lambda document: document["groups"].update({"enabled": True}))


async def error(wired: Wired, resource: str = "users") -> str:
    return next(view.last_error for view in await overview(wired.connection) if view.resource == resource)


async def test_what_is_synced_is_subscribed_and_shown(wired: Wired) -> None:
    await groups_too(wired)
    assert [message.task for message in await wired.minute()] == ["subscriptions"]
    await wired.work(*await wired.minute())
    assert sorted(item.resource for item in live(wired)) == ["groups", "users"]
    assert {item.notification_url for item in live(wired)} == {f"{wired.url}/notifications/directory"}
    assert {item.lifecycle_notification_url for item in live(wired)} == {f"{wired.url}/notifications/lifecycle"}
    views = await overview(wired.connection)
    assert [(view.resource, view.state, view.last_error) for view in views] == [
        ("users", "live", ""),
        ("groups", "live", ""),
    ]
    assert await wired.minute() == []


async def test_a_subscription_is_the_only_thing_that_is_ever_written_to_graph(wired: Wired) -> None:
    await wired.subscribe()
    writes = {
        (request.method, request.path)
        for request in wired.world.microsoft.requests
        if request.method != "GET" and request.path.startswith("/v1.0/")
    }
    assert writes == {("POST", "/v1.0/subscriptions")}


async def test_each_subscription_has_a_state_of_its_own_that_nobody_is_shown(
    wired: Wired, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await groups_too(wired)
    await wired.ensure()
    states = [record.client_state for record in (await wired.records()).values()]
    assert len(set(states)) == 2
    assert all(len(state) == 43 for state in states)
    shown = caplog.text + repr(await overview(wired.connection)) + repr(await wired.records())
    assert not any(state in shown for state in states)


async def test_as_long_as_all_is_well_the_minute_costs_one_request_and_graph_none(wired: Wired) -> None:
    await wired.subscribe()
    wired.world.microsoft.requests.clear()
    before = wired.connection.tables.traffic.by_table["subscriptions"]
    assert await wired.minute() == []
    await wired.ensure()
    assert wired.connection.tables.traffic.by_table["subscriptions"] == before + 2
    assert wired.world.microsoft.requests == []


async def test_it_is_renewed_at_half_of_its_life(wired: Wired) -> None:
    first = await wired.subscribe()
    wired.passes(hours=35.9)
    await wired.ensure()
    assert calls(wired) == ["POST"]
    wired.passes(hours=0.2)
    await wired.work(*[message for message in await wired.minute() if message.task == "subscriptions"])
    assert calls(wired) == ["POST", "PATCH"]
    second = (await wired.records())["users"]
    assert (second.id, second.client_state) == (first.id, first.client_state)
    end = datetime.datetime.fromisoformat(second.expires_at)
    assert abs(end - wired.world.now - LIFETIME) < datetime.timedelta(seconds=2)


async def test_what_vanished_is_made_anew_and_the_gap_is_looked_at(wired: Wired) -> None:
    first = await wired.subscribe()
    wired.world.microsoft.subscriptions.expire(first.id)
    wired.passes(hours=40)
    await wired.ensure()
    second = (await wired.records())["users"]
    assert second.state == "live"
    assert second.id != first.id
    assert second.client_state != first.client_state
    assert [item.id for item in live(wired)] == [second.id]
    assert (await wired.batch()).distinct() == 1


async def test_what_is_not_wanted_any_more_is_ended(wired: Wired) -> None:
    await groups_too(wired)
    await wired.ensure()
    await wired.world.settings(lambda document: document["groups"].update({"enabled": False}))
    await wired.ensure()
    assert [item.resource for item in live(wired)] == ["users"]
    assert set(await wired.records()) == {"users"}


@pytest.mark.parametrize("url", ["", "http://bridge.example"])
async def test_a_bridge_that_cannot_be_called_has_no_subscription(wired: Wired, url: str) -> None:
    await wired.subscribe()
    await wired.move_to(url)
    await wired.ensure()
    assert live(wired) == []
    assert await overview(wired.connection) == []
    assert await wired.minute() == []


async def test_a_new_address_gets_a_subscription_of_its_own(wired: Wired) -> None:
    await wired.subscribe()
    await wired.move_to(wired.url.replace("127.0.0.1", "localhost"))
    await wired.ensure()
    [item] = live(wired)
    assert item.notification_url.startswith("http://localhost:")
    assert (await wired.records())["users"].id == item.id


async def test_disconnecting_ends_everything(wired: Wired) -> None:
    await groups_too(wired)
    await wired.ensure()
    assert await remove_all(wired.connection, (await wired.connection.settings.load()).settings) == []
    assert (live(wired), await wired.records()) == ([], {})


async def test_disconnecting_from_a_graph_that_is_down_says_what_stays_behind(
    wired: Wired, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graph.client._exponential", lambda _: 0.0)
    await wired.subscribe()
    plant(wired, kind="status", method="DELETE", times=None)
    [trouble] = await remove_all(wired.connection, (await wired.connection.settings.load()).settings)
    assert "were not ended" in trouble
    assert await wired.records() == {}


# Answers that got lost


async def test_a_subscription_whose_answer_got_lost_is_found_again_and_its_state_still_fits(wired: Wired) -> None:
    plant(wired, kind="commit_then_drop")
    await wired.ensure()
    [item] = live(wired)
    assert (await wired.records())["users"].state == "asked"
    assert "cannot be reached" in await error(wired)
    wired.passes(minutes=3)
    await wired.ensure()
    record = (await wired.records())["users"]
    assert (record.state, record.id, record.client_state) == ("live", item.id, item.client_state)
    assert calls(wired) == ["POST", "GET"]


async def test_a_subscription_that_was_never_made_is_made_by_the_next_try(wired: Wired) -> None:
    plant(wired, kind="drop")
    await wired.ensure()
    assert live(wired) == []
    wired.passes(minutes=3)
    await wired.ensure()
    [item] = live(wired)
    assert (await wired.records())["users"].id == item.id


async def test_a_process_that_was_killed_while_it_asked_leaves_no_orphan(
    wired: Wired, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = SubscriptionStore.update

    async def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(SubscriptionStore, "update", killed)
    with pytest.raises(KeyboardInterrupt):
        await wired.ensure()
    monkeypatch.setattr(SubscriptionStore, "update", original)
    [item] = live(wired)
    wired.passes(seconds=CLAIM.total_seconds() + 1)
    await wired.ensure()
    assert (await wired.records())["users"].id == item.id


async def test_while_one_process_asks_no_other_does(wired: Wired) -> None:
    await asyncio.gather(*(wired.ensure() for _ in range(4)))
    assert len(live(wired)) == 1
    assert calls(wired).count("POST") == 1
    assert (await wired.records())["users"].id == live(wired)[0].id


# Subscriptions that nobody remembers


async def test_one_from_an_earlier_life_is_replaced_because_its_state_is_lost(wired: Wired) -> None:
    old = await wired.subscribe()
    await SubscriptionStore(wired.connection.tables, wired.connection.id).remove("users")
    await wired.ensure()
    record = (await wired.records())["users"]
    assert record.state == "live"
    assert [item.id for item in live(wired)] == [record.id]
    assert record.id != old.id


async def test_one_of_another_deployment_is_left_alone_and_named(wired: Wired) -> None:
    await wired.subscribe()
    [item] = live(wired)
    item.notification_url = "https://other.example/notifications/directory?code=secret"
    await SubscriptionStore(wired.connection.tables, wired.connection.id).remove("users")
    await wired.ensure()
    assert live(wired) == [item]
    words = await error(wired)
    assert "other.example" in words
    assert "app registration of its own" in words
    assert "secret" not in words


# What goes wrong


async def failing(wired: Wired) -> tuple[str, str, datetime.timedelta]:
    """The state, the words and the pause after a try."""
    await wired.ensure()
    record = (await wired.records())["users"]
    pause = datetime.datetime.fromisoformat(record.next_try_at) - wired.world.now
    return record.state, record.last_error, pause


async def test_a_handshake_that_fails_is_told_and_tried_again_more_and_more_seldom(
    wired: Wired, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("sync.notifications.LONGEST_TOKEN", 3)
    pauses = []
    for _ in range(5):
        state, words, pause = await failing(wired)
        assert (state, "PUBLIC_BASE_URL" in words) == ("gone", True)
        pauses.append(round(pause.total_seconds() / 60))
        assert "subscriptions" not in {message.task for message in await wired.minute()}
        await wired.ensure()
        wired.passes(seconds=pause.total_seconds() + 1)
    assert pauses == [1, 5, 15, 60, 60]
    assert calls(wired).count("POST") == 5
    assert caplog.text.count("are not announced") == 1
    monkeypatch.undo()
    caplog.set_level(logging.INFO)
    await wired.ensure()
    assert (await wired.records())["users"].state == "live"
    assert "announced again" in caplog.text
    assert await error(wired) == ""


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"status": 403, "body": {"error": {"code": "Authorization_RequestDenied", "message": "x"}}}, "Group.Read.All"),
        ({"status": 403, "body": {"error": {"code": "Forbidden", "message": "Limit of 100 reached"}}}, "no more"),
        ({"status": 400, "body": {"error": {"code": "InvalidRequest", "message": "Bad resource."}}}, "Bad resource"),
    ],
)
async def test_a_refusal_is_told_in_plain_words(wired: Wired, answer: dict[str, Any], words: str) -> None:
    plant(wired, kind="status", times=None, **answer)
    state, text, _ = await failing(wired)
    assert state == "gone"
    assert words in text


async def test_graph_may_ask_for_a_longer_pause(wired: Wired) -> None:
    body = {"error": {"code": "TooManyRequests", "message": "x"}}
    plant(wired, kind="status", status=429, headers={"Retry-After": "1800"}, body=body)
    _, _, pause = await failing(wired)
    assert pause > datetime.timedelta(minutes=29)


async def test_a_missing_secret_is_told_by_name(world: World) -> None:
    async with Wired(world) as wired:
        await wired.world.enable()
        _, words, _ = await failing(wired)
    assert "client secret of the Entra application" in words


async def test_a_rejected_secret_is_told_and_stops_nothing_else(wired: Wired) -> None:
    await wired.world.secrets(entra="wrong")
    await groups_too(wired)
    await wired.ensure()
    for resource in ("users", "groups"):
        assert "AADSTS7000215" in await error(wired, resource)


async def test_a_renewal_that_fails_leaves_the_subscription_at_work(
    wired: Wired, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graph.client._exponential", lambda _: 0.0)
    first = await wired.subscribe()
    wired.passes(hours=40)
    plant(wired, kind="status", method="PATCH", times=None)
    state, words, _ = await failing(wired)
    assert (state, "503" in words) == ("live", True)
    assert [item.id for item in live(wired)] == [first.id]


async def test_a_fault_of_our_own_is_logged_with_its_trace_and_told(
    wired: Wired, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Graph, "tenant_id", lambda _: 1 / 0)
    await wired.ensure()
    assert "ZeroDivisionError" in await error(wired)
    assert "Traceback" in caplog.text


async def test_another_application_in_the_settings_gets_a_subscription_of_its_own(wired: Wired) -> None:
    store = SubscriptionStore(wired.connection.tables, wired.connection.id)
    first = await wired.subscribe()
    await store.update("users", lambda record: msgspec.structs.replace(record, application="another|one"))
    [item] = live(wired)
    item.app_id = "another"
    await wired.ensure()
    record = (await wired.records())["users"]
    assert record.state == "live"
    assert record.id != first.id
    assert "DELETE" not in calls(wired)


async def test_storage_is_asked_once_when_there_is_nothing_to_disconnect(wired: Wired) -> None:
    tables: Tables = wired.connection.tables
    settings = (await wired.connection.settings.load()).settings
    before = tables.traffic.requests
    assert await remove_all(wired.connection, settings) == []
    assert tables.traffic.requests == before + 1
