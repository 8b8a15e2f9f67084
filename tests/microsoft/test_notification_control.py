"""The control API of notifications: what it shows, what it refuses, what it sends, and that nothing is left behind."""

import asyncio
from typing import Any

import aiohttp
import pytest

from local import sample
from local.microsoft import MicrosoftEmulator
from local.sample import user_id
from local.tls import ServerCertificate
from tests.microsoft.subscriber import Subscriber, ahead, change, deliveries, post, settle, subscribe, turn
from tests.microsoft.support import Client, small_tenant

ONE = f"users/{user_id(1)}"


async def test_subscriptions_show_whole(client: Client, subscriber: Subscriber) -> None:
    made = await subscribe(client, subscriber)
    (shown,) = (await client.control("GET", "subscriptions")).json
    assert (shown["id"], shown["client_state"], shown["app_id"]) == (
        made["id"],
        "secret of the test",
        sample.CLIENT_ID,
    )
    assert shown["target"] == {"kind": "user", "id": None, "members": False, "ids": []}


async def test_one_can_vanish_without_a_word_or_expire(client: Client, subscriber: Subscriber) -> None:
    removed, expired = await subscribe(client, subscriber), await subscribe(client, subscriber, resource="groups")
    assert (await client.control("DELETE", f"subscriptions/{removed['id']}")).status == 204
    assert (await client.control("POST", f"subscriptions/{expired['id']}/expire")).status == 204
    await settle(client)
    assert subscriber.bodies == []
    for gone in (removed, expired):
        path = f"/v1.0/subscriptions/{gone['id']}"
        answer = await client.send("PATCH", path, json={"expirationDateTime": ahead(client, days=1)})
        assert (answer.status, answer.code) == (404, "ResourceNotFound")
        assert (await client.control("DELETE", f"subscriptions/{gone['id']}")).status == 404


@pytest.mark.parametrize(
    ("method", "path", "body", "words"),
    [
        ("PUT", "notifications", {"window_seconds": -1}, "negative"),
        ("PUT", "notifications", {"drop_next": -1}, "negative"),
        ("PUT", "notifications", {"repeat": -1}, "negative"),
        ("PUT", "notifications", {"most_items": 0}, "start at 1"),
        ("PUT", "notifications", {"list_page_size": 0}, "start at 1"),
        ("PUT", "notifications", {"posts_per_minute": 0}, "start at 1"),
        ("PUT", "notifications", {"first_retry_seconds": 0}, "start at 1"),
        ("PUT", "notifications", {"unknown": 1}, "unknown"),
        ("PUT", "notifications", {"hold": "yes"}, "hold"),
        ("POST", "notifications/settle", {"within": 1}, "within"),
        ("POST", "notifications/send", {"url": "http://localhost/x"}, "body"),
        ("POST", "notifications/send", {"url": "http://hooks.contoso.example/", "body": {}}, "https"),
        ("POST", "notifications/send", {"url": "https://localhost/", "body": {}, "more": 1}, "more"),
        ("GET", "notifications/deliveries?since=x", None, "x"),
    ],
)
async def test_wrong_input_is_named_and_changes_nothing(
    client: Client, method: str, path: str, body: Any, words: str
) -> None:
    before = client.emulator.state()
    answer = await client.control(method, path, body)
    assert answer.status == 400, answer.text
    assert words in answer.json["error"]
    assert client.emulator.state() == before


@pytest.mark.parametrize(
    "order", [{}, {"event": "renamed"}, {"event": "missed", "forced": True}, {"event": "missed", "cause": "weather"}]
)
async def test_wrong_lifecycle_orders_are_refused(
    client: Client, subscriber: Subscriber, order: dict[str, Any]
) -> None:
    made = await subscribe(client, subscriber)
    assert (await client.control("POST", f"subscriptions/{made['id']}/lifecycle", order)).status == 400
    assert (await client.control("POST", f"subscriptions/{user_id(9)}/lifecycle", {"event": "missed"})).status == 404


async def test_deliveries_are_found_by_number_kind_state_and_url(client: Client, subscriber: Subscriber) -> None:
    await subscribe(client, subscriber)
    subscriber.statuses = [503]
    await change(client, ONE, jobTitle="x")
    await settle(client)
    everything = await deliveries(client, "")
    assert [(one["number"], one["kind"], one["state"]) for one in everything] == [
        (1, "handshake", "delivered"),
        (2, "handshake", "delivered"),
        (3, "notification", "retrying"),
    ]
    assert await deliveries(client, "since=2") == everything[2:]
    assert await deliveries(client, "state=retrying") == everything[2:]
    assert await deliveries(client, "url=*/lifecycle?validationToken=*") == everything[1:2]
    assert (await client.control("DELETE", "notifications/deliveries")).status == 204
    assert await deliveries(client, "") == []


@pytest.mark.parametrize(
    ("body", "received"), [({"value": [{"clientState": "forged"}]}, None), ("no json at all", "no json at all")]
)
async def test_anything_can_be_posted_by_hand_and_once(
    client: Client, subscriber: Subscriber, body: Any, received: Any
) -> None:
    subscriber.statuses = [500]
    order = {"url": subscriber.url + "?code=1", "body": body}
    answer = await client.control("POST", "notifications/send", order)
    assert answer.json == {"status": 500, "problem": None}
    assert subscriber.bodies == [received or body]
    (delivery,) = await deliveries(client, "kind=by_hand")
    assert (delivery["state"], delivery["body"]) == ("discarded", body)
    await client.control("POST", "clock", {"advance_seconds": 3600})
    await settle(client)
    assert len(subscriber.bodies) == 1


async def test_a_post_by_hand_says_why_it_did_not_arrive(client: Client) -> None:
    order = {"url": "http://localhost:1/", "body": {}, "content_type": "text/plain"}
    answer = (await client.control("POST", "notifications/send", order)).json
    assert answer["status"] is None
    assert "cannot be reached" in answer["problem"]


async def test_reset_forgets_subscriptions_deliveries_and_switches(client: Client, subscriber: Subscriber) -> None:
    await subscribe(client, subscriber)
    subscriber.statuses = [503]
    await change(client, ONE, jobTitle="x")
    await settle(client)
    await turn(client, repeat=3)
    await client.control("POST", "reset")
    assert (await client.control("GET", "subscriptions")).json == []
    assert await deliveries(client, "") == []
    assert (await client.control("GET", "notifications")).json["repeat"] == 0
    await client.control("POST", "clock", {"advance_seconds": 10})
    await change(client, ONE, jobTitle="y")
    await settle(client)
    assert len(subscriber.bodies) == 1, "neither the retry nor anything new"


async def test_reset_ends_a_post_that_is_under_way(client: Client, subscriber: Subscriber) -> None:
    await subscribe(client, subscriber)
    subscriber.hangs = True
    await change(client, ONE, jobTitle="x")
    await subscriber.until(1)
    await client.control("POST", "reset")
    await settle(client)
    assert await deliveries(client, "") == []


@pytest.mark.parametrize("what", ["delivery", "retry", "handshake"])
async def test_an_emulator_that_stops_leaves_nothing_behind(
    certificate: ServerCertificate, signing_keys: list[dict[str, str]], subscriber: Subscriber, what: str
) -> None:
    emulator = MicrosoftEmulator(small_tenant())
    emulator.keys.load(signing_keys)
    await emulator.start(certificate)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as session:
        client = Client(session, emulator)
        await subscribe(client, subscriber)
        subscriber.hangs = what == "delivery"
        subscriber.handshake_hangs = what == "handshake"
        subscriber.statuses = [503]
        asked = None
        if what == "handshake":
            asked = asyncio.create_task(post(client, subscriber, resource="groups"))
        else:
            await change(client, ONE, jobTitle="x")
        await subscriber.until(1)
        await emulator.stop()
        if asked is not None:
            assert (await asked).code == "ValidationError"
    assert [task for task in asyncio.all_tasks() if "Postman" in repr(task)] == []
    assert emulator.postman._under_way == set()


async def test_an_emulator_that_never_started_stops_quietly() -> None:
    emulator = MicrosoftEmulator(small_tenant())
    await emulator.stop()
