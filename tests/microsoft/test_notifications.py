"""What a change in the directory tells to whom, to the letter."""

import datetime
from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local import sample
from local.microsoft import MicrosoftEmulator
from local.microsoft.subscriptions import Subscription, Target
from local.sample import device_id, group_id, user_id
from tests.microsoft.subscriber import Subscriber, change, settle, subscribe, turn
from tests.microsoft.support import Client, small_tenant
from tests.microsoft.test_properties import actions, apply

ONE, FIRST = f"users/{user_id(1)}", f"groups/{group_id(1)}"


async def told(client: Client, subscriber: Subscriber) -> list[tuple[str, str]]:
    """The resource and the change type of everything that came since the last look."""
    await settle(client)
    found = [(item["resource"], item["changeType"]) for item in subscriber.items]
    subscriber.bodies.clear()
    return found


async def link(client: Client, group: str, **links: Any) -> None:
    answer = await client.control("POST", f"{group}/members", links)
    assert answer.status == 200, answer.text


# The shape of an item


async def test_a_notification_of_a_user_looks_so(client: Client, subscriber: Subscriber) -> None:
    made = await subscribe(client, subscriber)
    clock, year_1 = client.emulator.clock, datetime.datetime(1, 1, 1, tzinfo=datetime.UTC)
    client.emulator.subscriptions.find(made["id"]).expires = datetime.datetime(2199, 12, 1, 8, tzinfo=datetime.UTC)
    before = clock.now()
    await change(client, ONE, jobTitle="x")
    after = clock.now()
    await settle(client)
    (item,) = subscriber.items
    text, ticks = item["resourceData"].pop("eventTime"), item["resourceData"].pop("sequenceNumber")
    assert text.endswith("Z")
    assert before <= datetime.datetime.fromisoformat(text) <= after
    assert before <= year_1 + datetime.timedelta(microseconds=ticks / 10) <= after + datetime.timedelta(milliseconds=1)
    assert item == {
        "subscriptionId": made["id"],
        "subscriptionExpirationDateTime": "2199-12-01T08:00:00+00:00",
        "clientState": "secret of the test",
        "changeType": "updated",
        "tenantId": sample.TENANT_ID,
        "resource": f"Users/{user_id(1)}",
        "resourceData": {
            "@odata.type": "#Microsoft.Graph.User",
            "@odata.id": f"Users/{user_id(1)}",
            "id": user_id(1),
            "organizationId": sample.TENANT_ID,
        },
    }
    assert set(subscriber.bodies[0]) == {"value"}


async def test_a_changed_membership_names_the_members(client: Client, subscriber: Subscriber) -> None:
    await subscribe(client, subscriber, resource="groups", clientState=None)
    await link(client, FIRST, add=[user_id(3), user_id(4)], remove=[user_id(1), device_id(1)])
    await settle(client)
    (item,) = subscriber.items
    assert (item["resource"], item["clientState"]) == (f"Groups/{group_id(1)}", None)
    assert item["resourceData"]["@odata.type"] == "#Microsoft.Graph.Group"
    assert item["resourceData"]["members@delta"] == [
        {"id": user_id(1), "@removed": "deleted"},
        {"id": device_id(1), "@removed": "deleted"},
        {"id": user_id(3)},
        {"id": user_id(4)},
    ]


async def test_a_large_addition_comes_as_several_items(client: Client, subscriber: Subscriber) -> None:
    await subscribe(client, subscriber, resource="groups")
    directory = client.emulator.directory
    new = [
        directory.create("user", {"displayName": "x", "userPrincipalName": f"m{number}@contoso.example"}).id
        for number in range(45)
    ]
    await link(client, f"groups/{group_id(4)}", add=new)
    await settle(client)
    portions = [item["resourceData"]["members@delta"] for item in subscriber.items]
    assert [len(portion) for portion in portions] == [20, 20, 5]
    assert [member["id"] for portion in portions for member in portion] == new


async def test_hidden_members_stay_hidden_and_owners_are_not_named(client: Client, subscriber: Subscriber) -> None:
    await subscribe(client, subscriber, resource="groups")
    await link(client, f"groups/{group_id(3)}", add=[user_id(1)])
    await client.control("POST", f"{FIRST}/owners", {"add": [user_id(1)]})
    await settle(client)
    assert [item["resource"] for item in subscriber.items] == [f"Groups/{group_id(3)}", f"Groups/{group_id(1)}"]
    assert not any("members@delta" in item["resourceData"] for item in subscriber.items)


async def test_sequence_numbers_only_grow(client: Client, subscriber: Subscriber) -> None:
    await subscribe(client, subscriber)
    for number in range(1, 6):
        await change(client, f"users/{user_id(number)}", jobTitle="x")
    await settle(client)
    numbers = [item["resourceData"]["sequenceNumber"] for item in subscriber.items]
    assert numbers == sorted(set(numbers))


async def test_what_nobody_promises_can_be_left_out(client: Client, subscriber: Subscriber) -> None:
    await subscribe(client, subscriber, resource="groups")
    await turn(client, unpromised_members=False)
    await link(client, FIRST, add=[user_id(3)])
    await settle(client)
    assert set(subscriber.items[0]["resourceData"]) == {"@odata.type", "@odata.id", "id", "organizationId"}


async def test_ids_of_items_are_optional(client: Client, subscriber: Subscriber) -> None:
    await subscribe(client, subscriber)
    await turn(client, item_ids=True)
    await change(client, ONE, jobTitle="x")
    await change(client, ONE, jobTitle="y")
    await settle(client)
    assert len({item["id"] for item in subscriber.items}) == 2


async def test_the_letter_case_can_vary_but_not_that_of_ids(client: Client, subscriber: Subscriber) -> None:
    await subscribe(client, subscriber)
    await turn(client, vary_casing=True)
    for title in ("x", "y", "z"):
        await change(client, ONE, jobTitle=title)
    await settle(client)
    assert [item["resource"].partition("/") for item in subscriber.items] == [
        ("Users", "/", user_id(1)),
        ("users", "/", user_id(1)),
        ("USERS", "/", user_id(1)),
    ]
    assert [item["resourceData"]["@odata.type"] for item in subscriber.items] == [
        "#Microsoft.Graph.User",
        "#microsoft.graph.user",
        "#MICROSOFT.GRAPH.USER",
    ]


# Which changes


async def test_the_whole_life_of_a_user(client: Client, subscriber: Subscriber) -> None:
    await subscribe(client, subscriber)
    new = {"displayName": "New", "userPrincipalName": "new@contoso.example", "id": user_id(9)}
    await client.control("POST", "users", new)
    path, resource = f"users/{user_id(9)}", f"Users/{user_id(9)}"
    assert await told(client, subscriber) == [(resource, "updated")], "created"
    await change(client, path, accountEnabled=False)
    await change(client, path, accountEnabled=False)
    assert await told(client, subscriber) == [(resource, "updated")], "only a real change counts"
    await change(client, path, manager=user_id(1))
    assert await told(client, subscriber) == [(resource, "updated")]
    await client.control("DELETE", path)
    assert await told(client, subscriber) == [(resource, "updated")], "deleted, can be restored"
    await client.control("POST", f"{path}/restore")
    assert await told(client, subscriber) == [(resource, "updated")]
    await client.control("DELETE", path)
    await client.control("POST", f"{path}/purge")
    assert await told(client, subscriber) == [(resource, "updated"), (resource, "deleted")]


async def test_changes_made_through_graph_are_told_too(client: Client, subscriber: Subscriber) -> None:
    await subscribe(client, subscriber)
    client.token = client.emulator.token_for("User.ReadWrite.All")
    await client.send("POST", f"/v1.0/directory/deletedItems/{user_id(6)}/restore")
    await client.control("DELETE", f"users/{user_id(6)}")
    await client.send("DELETE", f"/v1.0/directory/deletedItems/{user_id(6)}")
    resource = f"Users/{user_id(6)}"
    assert await told(client, subscriber) == [(resource, "updated"), (resource, "updated"), (resource, "deleted")]


async def test_what_time_purges_is_told_without_anybody_asking(client: Client, subscriber: Subscriber) -> None:
    await subscribe(client, subscriber)
    watched = client.emulator.subscriptions.live()[0]
    watched.expires += datetime.timedelta(days=60)
    await client.control("POST", "clock", {"advance_seconds": 31 * 86_400})
    assert (f"Users/{user_id(6)}", "deleted") in await told(client, subscriber)


async def test_a_purged_user_leaves_its_groups(client: Client, subscriber: Subscriber) -> None:
    await subscribe(client, subscriber)
    await subscribe(client, subscriber, resource="groups")
    await client.control("DELETE", f"users/{user_id(2)}")
    assert await told(client, subscriber) == [(f"Users/{user_id(2)}", "updated")], "the membership stays"
    await client.control("POST", f"users/{user_id(2)}/purge")
    await settle(client)
    group, user = subscriber.items
    assert group["resource"] == f"Groups/{group_id(2)}"
    assert group["resourceData"]["members@delta"] == [{"id": user_id(2), "@removed": "deleted"}]
    assert (user["resource"], user["changeType"]) == (f"Users/{user_id(2)}", "deleted")


async def test_groups_go_at_once_or_in_two_steps(client: Client, subscriber: Subscriber) -> None:
    await subscribe(client, subscriber, resource="groups")
    await client.control("DELETE", f"groups/{group_id(4)}")
    assert await told(client, subscriber) == [(f"Groups/{group_id(4)}", "deleted")], "a security group"
    unified = f"groups/{group_id(2)}"
    await client.control("DELETE", unified)
    await client.control("POST", f"{unified}/restore")
    assert await told(client, subscriber) == [(f"Groups/{group_id(2)}", "updated")] * 2
    await client.control("DELETE", unified)
    await client.control("POST", f"users/{user_id(2)}/purge")
    assert await told(client, subscriber) == [(f"Groups/{group_id(2)}", "updated")], "a deleted group tells no more"


# Who is told


@pytest.mark.parametrize(
    ("resource", "change_type", "expected"),
    [
        ("users", "updated", ["Users/1", "Users/2"]),
        ("users", "deleted", ["Users/2"]),
        (f"users/{user_id(2)}", "updated,deleted", ["Users/2", "Users/2"]),
        ("groups", "updated", ["Groups/1", "Groups/2", "Groups/2"]),
        (f"groups/{group_id(1)}", "updated", ["Groups/1"]),
        (f"groups/{group_id(2)}/members", "updated", ["Groups/2"]),
        (f"groups/{group_id(1)}/members", "updated,deleted", []),
    ],
)
async def test_a_subscription_hears_only_of_what_it_asked_for(
    client: Client, subscriber: Subscriber, resource: str, change_type: str, expected: list[str]
) -> None:
    await subscribe(client, subscriber, resource=resource, changeType=change_type)
    await change(client, ONE, jobTitle="x")
    await change(client, FIRST, description="x")
    await change(client, f"groups/{group_id(2)}", description="x")
    await client.control("DELETE", f"users/{user_id(2)}")
    await client.control("POST", f"users/{user_id(2)}/purge")
    await settle(client)
    heard = [item["resource"].partition("/") for item in subscriber.items]
    assert [f"{kind}/{int(identifier[-4:])}" for kind, _, identifier in heard] == expected


async def test_other_objects_tell_nobody(client: Client, subscriber: Subscriber) -> None:
    await subscribe(client, subscriber)
    await client.control("POST", "groups", {"displayName": "New"})
    device = client.emulator.directory.entities[device_id(1)]
    client.emulator.directory.update(device, {"displayName": "LAPTOP-2"})
    assert await told(client, subscriber) == []


async def test_nothing_is_told_before_or_after_a_subscription(client: Client, subscriber: Subscriber) -> None:
    await change(client, ONE, jobTitle="before")
    made = await subscribe(client, subscriber)
    await client.control("POST", f"subscriptions/{made['id']}/expire")
    await change(client, ONE, jobTitle="after")
    assert await told(client, subscriber) == []


def watch_everything(emulator: MicrosoftEmulator) -> None:
    for kind in ("user", "group"):
        emulator.subscriptions.add(
            Subscription(
                id=kind,
                app_id=sample.CLIENT_ID,
                creator_id=sample.SERVICE_PRINCIPAL_ID,
                resource=f"{kind}s",
                target=Target(kind),
                change_type="updated,deleted",
                notification_url="https://hooks.contoso.example/",
                lifecycle_notification_url=None,
                expires=emulator.clock.now() + datetime.timedelta(days=1),
                client_state="state",
                tls_version="v1_2",
            )
        )


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(actions, max_size=30))
def test_every_logged_change_of_a_living_object_is_told_exactly_once(steps: list[tuple[str, int, Any]]) -> None:
    emulator = MicrosoftEmulator(small_tenant())
    watch_everything(emulator)
    for action, number, detail in steps:
        apply(emulator.directory, action, number, detail)
    told_ = [waiting.item for waiting in emulator.postman._waiting]
    purges = Counter(item["resourceData"]["id"] for item in told_ if item["changeType"] == "deleted")
    logged = [change_ for kind in ("user", "group") for change_ in emulator.directory.log[kind]]
    assert purges == Counter(change_.id for change_ in logged if change_.action == "purged")
    updates = Counter(item["resourceData"]["id"] for item in told_ if item["changeType"] == "updated")
    certain = Counter(change_.id for change_ in logged if change_.action not in ("purged", "linked"))
    possible = Counter(change_.id for change_ in logged if change_.action != "purged")
    assert certain <= updates <= possible, "links of a deleted group are not told"
    assert all(msgspec.json.encode(item) for item in told_)
