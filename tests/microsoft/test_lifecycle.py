"""Lifecycle notifications, and what becomes of notifications while a subscription waits for authorization."""

from typing import Any

import pytest

from local import sample
from local.sample import user_id
from tests.microsoft.subscriber import Subscriber, advance, ahead, change, deliveries, settle, subscribe
from tests.microsoft.support import Answer, Client

ONE = f"users/{user_id(1)}"


async def lifecycle(client: Client, subscription: dict[str, Any], **order: Any) -> Answer:
    asked = {"event": "reauthorizationRequired", **order}
    answer = await client.control("POST", f"subscriptions/{subscription['id']}/lifecycle", asked)
    await settle(client)
    return answer


async def reauthorize(client: Client, subscription: dict[str, Any]) -> None:
    answer = await client.send("POST", f"/v1.0/subscriptions/{subscription['id']}/reauthorize")
    assert answer.status == 204


async def renew(client: Client, subscription: dict[str, Any]) -> None:
    path = f"/v1.0/subscriptions/{subscription['id']}"
    answer = await client.send("PATCH", path, json={"expirationDateTime": ahead(client, days=2)})
    assert answer.status == 200


async def count(client: Client, subscriber: Subscriber) -> int:
    """How many notifications have come."""
    await settle(client)
    return sum("resource" in item for item in subscriber.items)


async def test_an_event_goes_to_the_lifecycle_url_and_carries_no_resource(
    client: Client, subscriber: Subscriber
) -> None:
    made = await subscribe(client, subscriber)
    assert (await lifecycle(client, made)).status == 202
    (request,) = subscriber.received
    assert (request.path, request.headers["Content-Type"]) == ("/lifecycle", "application/json")
    assert subscriber.bodies == [
        {
            "value": [
                {
                    "subscriptionId": made["id"],
                    "subscriptionExpirationDateTime": made["expirationDateTime"],
                    "tenantId": sample.TENANT_ID,
                    "clientState": "secret of the test",
                    "lifecycleEvent": "reauthorizationRequired",
                }
            ]
        }
    ]
    (delivery,) = await deliveries(client, "kind=lifecycle")
    assert (delivery["state"], delivery["url"]) == ("delivered", subscriber.lifecycle_url)


async def test_an_event_is_repeated_until_it_is_accepted(client: Client, subscriber: Subscriber) -> None:
    made = await subscribe(client, subscriber)
    subscriber.statuses = [500]
    await lifecycle(client, made)
    await advance(client, 10)
    await settle(client)
    assert len(subscriber.bodies) == 2


@pytest.mark.parametrize("event", ["missed", "subscriptionRemoved"])
async def test_users_and_groups_send_other_events_only_by_force(
    client: Client, subscriber: Subscriber, event: str
) -> None:
    made = await subscribe(client, subscriber)
    refused = await lifecycle(client, made, event=event)
    assert (refused.status, event in refused.json["error"]) == (400, True)
    assert subscriber.bodies == []
    assert (await lifecycle(client, made, event=event, force=True)).status == 202
    assert subscriber.items[0]["lifecycleEvent"] == event
    assert (await client.control("GET", "subscriptions")).json[0]["pause"] is None


async def test_without_a_lifecycle_url_there_are_no_events(client: Client, subscriber: Subscriber) -> None:
    made = await subscribe(client, subscriber, lifecycleNotificationUrl=None)
    answer = await lifecycle(client, made)
    assert (answer.status, "lifecycleNotificationUrl" in answer.json["error"]) == (400, True)


@pytest.mark.parametrize("answer", [reauthorize, renew])
async def test_an_answered_event_pauses_nothing(client: Client, subscriber: Subscriber, answer: Any) -> None:
    made = await subscribe(client, subscriber)
    await lifecycle(client, made, pause_after_seconds=600)
    await answer(client, made)
    await advance(client, 700)
    await change(client, ONE, jobTitle="x")
    assert await count(client, subscriber) == 1


async def test_an_undone_one_pauses_once_its_time_is_over(client: Client, subscriber: Subscriber) -> None:
    made = await subscribe(client, subscriber)
    await lifecycle(client, made, pause_after_seconds=600)
    await change(client, ONE, jobTitle="in time")
    assert await count(client, subscriber) == 1
    await advance(client, 600)
    await change(client, ONE, jobTitle="too late")
    assert await count(client, subscriber) == 1


@pytest.mark.parametrize("answer", [reauthorize, renew])
async def test_what_happened_meanwhile_comes_when_only_the_token_had_expired(
    client: Client, subscriber: Subscriber, answer: Any
) -> None:
    made = await subscribe(client, subscriber)
    await lifecycle(client, made, pause_after_seconds=0)
    await change(client, ONE, jobTitle="x")
    await change(client, ONE, jobTitle="y")
    assert await count(client, subscriber) == 0
    await answer(client, made)
    assert await count(client, subscriber) == 2
    await answer(client, made)
    assert await count(client, subscriber) == 2, "once"


async def test_after_four_hours_it_is_lost(client: Client, subscriber: Subscriber) -> None:
    made = await subscribe(client, subscriber)
    await lifecycle(client, made, pause_after_seconds=0)
    await change(client, ONE, jobTitle="old")
    await advance(client, 2 * 3600)
    await change(client, f"users/{user_id(2)}", jobTitle="young")
    await advance(client, 2 * 3600 + 60)
    await reauthorize(client, made)
    assert await count(client, subscriber) == 1
    assert subscriber.items[-1]["resourceData"]["id"] == user_id(2)
    (lost,) = await deliveries(client, "state=dropped")
    assert lost["reason"] == "The subscription was not reauthorized in time."


async def test_what_happens_without_the_permission_is_lost(client: Client, subscriber: Subscriber) -> None:
    made = await subscribe(client, subscriber)
    await lifecycle(client, made, pause_after_seconds=0, cause="permission")
    await change(client, ONE, jobTitle="lost")
    await reauthorize(client, made)
    assert await count(client, subscriber) == 0
    await change(client, ONE, jobTitle="told")
    assert await count(client, subscriber) == 1


async def test_a_pause_is_part_of_the_content(client: Client, subscriber: Subscriber) -> None:
    made = await subscribe(client, subscriber)
    await lifecycle(client, made, pause_after_seconds=0)
    await change(client, ONE, jobTitle="x")
    saved = (await client.control("GET", "state")).json
    assert (await client.control("PUT", "state", saved)).status == 204
    assert (await client.control("GET", "state")).json == saved
    client.token = client.emulator.token_for(*sample.ROLES)
    await reauthorize(client, made)
    assert await count(client, subscriber) == 1
