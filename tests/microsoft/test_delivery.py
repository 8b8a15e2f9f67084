"""How notifications travel: gathered, timed, repeated, penalised. All by the emulator's clock: nothing waits."""

import datetime
from typing import Any

import pytest

from local.sample import group_id, user_id
from tests.microsoft.subscriber import Subscriber, advance, change, deliveries, settle, subscribe, turn
from tests.microsoft.support import Client

ONE = f"users/{user_id(1)}"


async def touch(client: Client, *numbers: int) -> None:
    """Change users so that each makes one notification."""
    for number in numbers or (1,):
        count = len(client.emulator.directory.log["user"])
        await change(client, f"users/{user_id(number)}", jobTitle=f"title {count}")


async def only(client: Client) -> dict[str, Any]:
    (delivery,) = await deliveries(client)
    return delivery


# Gathering


async def test_what_happens_together_travels_together(client: Client, subscriber: Subscriber) -> None:
    await subscribe(client, subscriber)
    await turn(client, window_seconds=60)
    await touch(client, 1, 2, 3)
    await settle(client)
    assert subscriber.bodies == []
    await advance(client, 60)
    await settle(client)
    (body,) = subscriber.bodies
    assert [item["resourceData"]["id"] for item in body["value"]] == [user_id(1), user_id(2), user_id(3)]


async def test_enough_of_them_do_not_wait(client: Client, subscriber: Subscriber) -> None:
    await subscribe(client, subscriber)
    await turn(client, window_seconds=60, most_items=2)
    await touch(client, 1, 2, 3, 4, 5)
    await settle(client)
    assert [len(body["value"]) for body in subscriber.bodies] == [2, 2]
    await advance(client, 60)
    await settle(client)
    assert [len(body["value"]) for body in subscriber.bodies] == [2, 2, 1]


async def test_one_post_may_serve_several_subscriptions_and_never_several_urls(
    client: Client, subscriber: Subscriber
) -> None:
    first = await subscribe(client, subscriber)
    second = await subscribe(client, subscriber, resource="groups")
    third = await subscribe(client, subscriber, changeType="updated", notificationUrl=subscriber.url + "?third")
    await turn(client, hold=True)
    await touch(client)
    await change(client, f"groups/{group_id(1)}", description="x")
    await turn(client, hold=False)
    await settle(client)
    found = {delivery["url"]: delivery["subscription_ids"] for delivery in await deliveries(client)}
    assert found == {subscriber.url: [first["id"], second["id"]], subscriber.url + "?third": [third["id"]]}


async def test_a_delivery_is_a_plain_json_post(client: Client, subscriber: Subscriber) -> None:
    await subscribe(client, subscriber)
    await touch(client)
    await settle(client)
    (request,) = subscriber.received
    assert (request.method, request.headers["Content-Type"]) == ("POST", "application/json")
    assert "Authorization" not in request.headers


# Accepted or not


@pytest.mark.parametrize("status", [200, 202, 204])
async def test_any_2xx_is_a_delivery(client: Client, subscriber: Subscriber, status: int) -> None:
    await subscribe(client, subscriber)
    subscriber.statuses = [status]
    await touch(client)
    await settle(client)
    delivery = await only(client)
    assert (delivery["state"], delivery["attempts"][0]["status"]) == ("delivered", status)
    assert delivery["body"] == subscriber.bodies[0]


@pytest.mark.parametrize("status", [302, 400, 401, 404, 410, 429, 500, 503])
async def test_anything_else_is_repeated(client: Client, subscriber: Subscriber, status: int) -> None:
    await subscribe(client, subscriber)
    await turn(client, first_retry_seconds=1000)
    subscriber.statuses = [status]
    await touch(client)
    await settle(client)
    assert (await only(client))["state"] == "retrying"
    await advance(client, 900)
    await settle(client)
    assert len(subscriber.bodies) == 1
    await advance(client, 100)
    await settle(client)
    assert subscriber.bodies[0] == subscriber.bodies[1]
    delivery = await only(client)
    assert (delivery["state"], [one["status"] for one in delivery["attempts"]]) == ("delivered", [status, 202])


async def test_the_pauses_double_until_four_hours_are_over(client: Client, subscriber: Subscriber) -> None:
    await subscribe(client, subscriber)
    subscriber.statuses = [503] * 50
    await touch(client)
    await settle(client)
    pauses, now = [], client.emulator.clock.time
    while (delivery := await only(client))["state"] == "retrying":
        last = delivery["attempts"][-1]
        ended = datetime.datetime.fromisoformat(last["at"]).timestamp() + last["seconds"]
        pauses.append(round(delivery["due"] - ended))
        await advance(client, delivery["due"] - now())
        await settle(client)
    assert pauses == [10 * 2**number for number in range(10)]
    assert (delivery["state"], delivery["reason"]) == ("discarded", "It was not accepted within 4 hours.")
    assert sum(pauses) < 4 * 3600 < sum(pauses) + 2 * pauses[-1]
    await advance(client, 86_400)
    await settle(client)
    assert len(subscriber.bodies) == 11


async def test_a_retry_whose_hours_have_passed_is_not_sent(client: Client, subscriber: Subscriber) -> None:
    await subscribe(client, subscriber)
    subscriber.statuses = [503]
    await touch(client)
    await settle(client)
    await advance(client, 4 * 3600 + 1)
    await settle(client)
    assert (await only(client))["state"] == "discarded"
    assert len(subscriber.bodies) == 1


async def test_an_endpoint_that_is_down_is_tried_again(client: Client, subscriber: Subscriber) -> None:
    made = await subscribe(client, subscriber)
    await subscriber.stop()
    await touch(client)
    await settle(client)
    (attempt,) = (await only(client))["attempts"]
    assert attempt["status"] is None
    assert "cannot be reached" in attempt["problem"]
    assert (await only(client))["subscription_ids"] == [made["id"]]
    assert (await only(client))["state"] == "retrying"


async def test_the_first_answer_has_three_seconds_and_later_ones_ten(client: Client, subscriber: Subscriber) -> None:
    await subscribe(client, subscriber)
    await turn(client, penalties=False)
    subscriber.hangs = True
    await touch(client)
    await subscriber.until(1)
    await advance(client, 1)
    assert (await only(client))["state"] == "sending"
    await advance(client, 2)
    await settle(client)
    assert (await only(client))["attempts"][0]["problem"] == "There was no answer within 3 s."
    await advance(client, 10)
    await subscriber.until(2)
    await advance(client, 5)
    assert (await only(client))["state"] == "sending"
    await advance(client, 5)
    await settle(client)
    assert (await only(client))["attempts"][1]["problem"] == "There was no answer within 10 s."
    await advance(client, 20)
    await subscriber.until(3)
    await advance(client, 5)
    subscriber.release.set()
    await settle(client)
    assert (await only(client))["state"] == "delivered", "five seconds are in time for a retry"


async def test_what_belongs_to_a_deleted_subscription_is_not_repeated(client: Client, subscriber: Subscriber) -> None:
    kept = await subscribe(client, subscriber)
    ended = await subscribe(client, subscriber, changeType="updated")
    subscriber.statuses = [503]
    await touch(client)
    await settle(client)
    await client.send("DELETE", f"/v1.0/subscriptions/{ended['id']}")
    await advance(client, 10)
    await settle(client)
    assert len(subscriber.bodies[0]["value"]) == 2
    assert [item["subscriptionId"] for item in subscriber.bodies[1]["value"]] == [kept["id"]]


async def test_a_delivery_ends_with_its_last_subscription(client: Client, subscriber: Subscriber) -> None:
    made = await subscribe(client, subscriber)
    await turn(client, window_seconds=60)
    await touch(client)
    await client.send("DELETE", f"/v1.0/subscriptions/{made['id']}")
    await advance(client, 60)
    await settle(client)
    assert subscriber.bodies == []
    assert (await only(client))["reason"] == "No subscription of it exists any more."


# Slow endpoints


async def late(client: Client, subscriber: Subscriber, seconds: float) -> None:
    """One notification that is answered only after so many seconds."""
    subscriber.release.clear()
    subscriber.hangs = True
    count = len(subscriber.received)
    await touch(client)
    await subscriber.until(count + 1)
    await advance(client, seconds)
    subscriber.hangs = False
    subscriber.release.set()
    await settle(client)


async def state(client: Client) -> dict[str, Any]:
    (found,) = (await client.control("GET", "notifications/endpoints")).json
    assert isinstance(found, dict)
    return found


async def test_more_than_a_tenth_of_late_answers_delay_new_notifications(
    client: Client, subscriber: Subscriber
) -> None:
    await subscribe(client, subscriber)
    for _ in range(9):
        await touch(client)
        await settle(client)
    await late(client, subscriber, 3)
    assert (await state(client)) == {"url": subscriber.url, "answers": 10, "slow": False, "dropped": False}
    await advance(client, 10)
    await settle(client)
    await late(client, subscriber, 3)
    assert (await state(client))["slow"] is True, "two of twelve"
    await advance(client, 10)
    await settle(client)
    count = len(subscriber.bodies)
    await touch(client, 2)
    await settle(client)
    await advance(client, 500)
    await settle(client)
    assert len(subscriber.bodies) == count
    await advance(client, 100)
    await settle(client)
    assert subscriber.items[-1]["resourceData"]["id"] == user_id(2)
    assert (await state(client))["slow"] is False, "ten minutes without a late answer"


async def test_the_query_makes_no_other_endpoint_but_the_path_does(client: Client, subscriber: Subscriber) -> None:
    await subscribe(client, subscriber, notificationUrl=subscriber.url + "?code=1")
    await late(client, subscriber, 3)
    await subscribe(client, subscriber, changeType="updated", notificationUrl=subscriber.url + "?code=2")
    await subscribe(client, subscriber, changeType="deleted, updated", resource="groups")
    await subscribe(client, subscriber, resource=ONE, notificationUrl=subscriber.origin + "/other")
    subscriber.bodies.clear()
    await touch(client)
    await settle(client)
    assert [item["resource"] for item in subscriber.items] == [f"Users/{user_id(1)}"], "only the other path"


async def test_answers_slower_than_ten_seconds_lose_notifications(client: Client, subscriber: Subscriber) -> None:
    await subscribe(client, subscriber)
    await late(client, subscriber, 3)
    assert (await state(client))["dropped"] is False, "nobody waited for ten seconds"
    subscriber.hangs = True
    subscriber.release.clear()
    await advance(client, 10)
    await subscriber.until(2)
    await advance(client, 10)
    await settle(client)
    assert (await state(client))["dropped"] is True
    await touch(client, 2)
    (lost,) = await deliveries(client, "state=dropped")
    assert (lost["attempts"], lost["reason"]) == ([], "The endpoint answered too slowly too often.")
    subscriber.hangs = False
    subscriber.release.set()
    await advance(client, 600)
    await settle(client)
    await touch(client, 3)
    await settle(client)
    assert subscriber.items[-1]["resourceData"]["id"] == user_id(3)
    assert user_id(2) not in [item["resourceData"]["id"] for item in subscriber.items]


async def test_without_penalties_a_slow_endpoint_is_served_at_once(client: Client, subscriber: Subscriber) -> None:
    await subscribe(client, subscriber)
    await turn(client, penalties=False)
    await late(client, subscriber, 3)
    await touch(client, 2)
    await settle(client)
    assert subscriber.items[-1]["resourceData"]["id"] == user_id(2)


# Switches


async def test_the_next_ones_can_be_lost(client: Client, subscriber: Subscriber) -> None:
    await subscribe(client, subscriber)
    await turn(client, drop_next=2)
    await touch(client, 1, 2, 3)
    await settle(client)
    assert [item["resourceData"]["id"] for item in subscriber.items] == [user_id(3)]
    assert len(await deliveries(client, "state=dropped")) == 2
    assert (await client.control("GET", "notifications")).json["drop_next"] == 0


async def test_each_can_come_several_times(client: Client, subscriber: Subscriber) -> None:
    await subscribe(client, subscriber)
    await turn(client, repeat=2)
    await touch(client)
    await settle(client)
    first, second, third = subscriber.items
    assert first == second == third


async def test_they_can_be_held_and_come_in_reverse(client: Client, subscriber: Subscriber) -> None:
    await subscribe(client, subscriber)
    await turn(client, hold=True, reorder=True, most_items=2)
    await touch(client, 1, 2, 3)
    await settle(client)
    await advance(client, 3600)
    await settle(client)
    assert subscriber.bodies == []
    await turn(client, hold=False)
    await settle(client)
    assert sorted(item["resourceData"]["id"] for item in subscriber.items) == [user_id(1), user_id(2), user_id(3)]
    assert [delivery["body"]["value"][0]["resourceData"]["id"] for delivery in await deliveries(client)] == [
        user_id(3),
        user_id(1),
    ]


async def test_posts_can_be_rationed(client: Client, subscriber: Subscriber) -> None:
    await subscribe(client, subscriber)
    await turn(client, posts_per_minute=2, most_items=1)
    await touch(client, 1, 2, 3)
    counts = []
    for _ in range(3):
        await settle(client)
        counts.append(len(subscriber.bodies))
        await advance(client, 30)
    assert counts == [1, 2, 3]


async def test_a_clock_that_moves_makes_due_what_waits(client: Client, subscriber: Subscriber) -> None:
    await subscribe(client, subscriber)
    await turn(client, window_seconds=600)
    await touch(client)
    client.emulator.clock.offset += 600
    await subscriber.until(1)
