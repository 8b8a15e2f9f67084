"""``/subscriptions``: one test for each rule of the resource, of its life and of its quotas."""

import asyncio
import datetime
from typing import Any

import pytest

from local import sample
from local.microsoft import subscription_calls
from local.sample import device_id, group_id, user_id
from tests.microsoft.subscriber import Subscriber, advance, ahead, body, post, subscribe, turn
from tests.microsoft.support import Client

OTHER_APP = "66666666-6666-4666-8666-666666666666"


async def patch(client: Client, identifier: str, **members: Any) -> Any:
    return await client.send("PATCH", f"/v1.0/subscriptions/{identifier}", json=members)


def minutes_left(client: Client, subscription: dict[str, Any]) -> float:
    ends = datetime.datetime.fromisoformat(subscription["expirationDateTime"])
    return (ends - client.emulator.clock.now()).total_seconds() / 60


async def use_other_app(client: Client, *roles: str) -> None:
    """From now on the client speaks for another app of the tenant."""
    await client.control("PUT", f"app?client_id={OTHER_APP}", {"roles": list(roles)})
    emulator = client.emulator
    client.token = emulator.tokens.for_app(emulator.authority.apps[OTHER_APP], "https://graph.microsoft.com")


# Creating


async def test_a_new_subscription_comes_back_whole(client: Client, subscriber: Subscriber) -> None:
    asked = body(client, subscriber, resource="/users", latestSupportedTlsVersion="v1_3")
    answer = await client.send("POST", "/v1.0/subscriptions", json=asked)
    assert answer.status == 201
    made = answer.json
    assert made.pop("id")
    assert made == {
        "@odata.context": f"{client.emulator.url}/v1.0/$metadata#subscriptions/$entity",
        "resource": "/users",
        "applicationId": sample.CLIENT_ID,
        "changeType": "updated,deleted",
        "clientState": "secret of the test",
        "notificationUrl": subscriber.url,
        "lifecycleNotificationUrl": subscriber.lifecycle_url,
        "notificationQueryOptions": None,
        "expirationDateTime": asked["expirationDateTime"],
        "creatorId": sample.SERVICE_PRINCIPAL_ID,
        "includeResourceData": None,
        "latestSupportedTlsVersion": "v1_3",
        "encryptionCertificate": None,
        "encryptionCertificateId": None,
        "notificationUrlAppId": None,
    }


async def test_only_the_required_members_are_required(client: Client, subscriber: Subscriber) -> None:
    made = await subscribe(client, subscriber, lifecycleNotificationUrl=None, clientState=None)
    assert (made["lifecycleNotificationUrl"], made["clientState"]) == (None, None)
    assert made["latestSupportedTlsVersion"] == "v1_2"
    for name in ("changeType", "resource", "notificationUrl", "expirationDateTime"):
        answer = await post(client, subscriber, **{name: None})
        assert (answer.status, answer.code) == (400, "InvalidRequest")
        assert name in answer.json["error"]["message"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"colour": "red"}, "colour"),
        ({"id": "x"}, "`id`"),
        ({"applicationId": sample.CLIENT_ID}, "applicationId"),
        ({"webPushVapidPublicKey": "x"}, "webPushVapidPublicKey"),
        ({"includeResourceData": True}, "no rich notifications"),
        ({"encryptionCertificate": "MIIC", "encryptionCertificateId": "1"}, "no rich notifications"),
        ({"notificationQueryOptions": "$select=id"}, "notificationQueryOptions"),
        ({"latestSupportedTlsVersion": "v1_4"}, "v1_4"),
        ({"clientState": "x" * 129}, "128 characters"),
        ({"clientState": 5}, "clientState"),
        ({"@odata.type": "#microsoft.graph.user"}, "@odata.type"),
        ({"changeType": "created"}, "'updated' covers new objects"),
        ({"changeType": "updated,created"}, "'updated' covers new objects"),
        ({"changeType": "changed"}, "'changed'"),
        ({"changeType": ""}, "''"),
        ({"changeType": "updated,"}, "''"),
        ({"changeType": "updated,updated"}, "twice"),
        ({"resource": "communications/presences/x"}, "is not supported"),
        ({"resource": f"users/{user_id(1)}/contacts"}, "is not supported"),
        ({"resource": f"users/{user_id(1)}/members"}, "is not supported"),
        ({"resource": "me/contacts"}, "is not supported"),
        ({"resource": "groups/members"}, "does not exist"),
        ({"resource": "users?$select=id"}, "is not supported"),
        ({"resource": "https://graph.microsoft.com/v1.0/users"}, "without the base URL"),
        ({"resource": ""}, "is not supported"),
        ({"notificationUrl": "http://hooks.contoso.example/x"}, "notificationUrl has to be an https URL"),
        ({"notificationUrl": "ftp://localhost/x"}, "https"),
        ({"notificationUrl": "/notifications"}, "absolute"),
        ({"notificationUrl": "https://"}, "absolute"),
        ({"notificationUrl": "https://localhost/x#part"}, "fragment"),
        ({"notificationUrl": "https://me@localhost/x"}, "user"),
        ({"notificationUrl": "https://localhost/a b"}, "blanks"),
        ({"notificationUrl": "https://localhost:port/"}, "not a URL"),
        ({"lifecycleNotificationUrl": "http://hooks.contoso.example/x"}, "lifecycleNotificationUrl has to be"),
        ({"expirationDateTime": "tomorrow"}, "expirationDateTime"),
        ({"expirationDateTime": "2099-01-01T00:00:00"}, "timezone"),
    ],
    ids=str,
)
async def test_wrong_members_are_named_and_create_nothing(
    client: Client, subscriber: Subscriber, changes: dict[str, Any], words: str
) -> None:
    answer = await post(client, subscriber, **changes)
    assert answer.status in (400, 404), answer.text
    assert (answer.status == 404) == ("does not exist" in words)
    assert words in answer.json["error"]["message"]
    assert subscriber.handshakes == []
    assert (await client.graph("subscriptions")).json["value"] == []


@pytest.mark.parametrize("body_", [b"", b"[]", b"{", b'{"resource": "\xff"}'])
async def test_a_body_that_is_no_object_is_refused(client: Client, body_: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await client.send("POST", "/v1.0/subscriptions", data=body_, headers=headers)
    assert (answer.status, answer.code) == (400, "InvalidRequest")


@pytest.mark.parametrize(
    "resource",
    [
        "users",
        "/users",
        "Users",
        f"users/{user_id(1)}",
        "groups",
        f"groups/{group_id(1)}",
        f"/groups/{group_id(1)}/members",
    ],
)
async def test_resources_that_can_be_watched(client: Client, subscriber: Subscriber, resource: str) -> None:
    assert (await subscribe(client, subscriber, resource=resource))["resource"] == resource


@pytest.mark.parametrize(
    "resource", [f"users/{user_id(9)}", f"users/{user_id(6)}", f"groups/{user_id(1)}", f"groups/{device_id(1)}/members"]
)
async def test_an_object_that_does_not_exist_is_not_found(
    client: Client, subscriber: Subscriber, resource: str
) -> None:
    answer = await post(client, subscriber, resource=resource)
    assert (answer.status, answer.code) == (404, "Request_ResourceNotFound")


async def test_a_state_may_have_128_characters(client: Client, subscriber: Subscriber) -> None:
    assert (await post(client, subscriber, clientState="x" * 128)).status == 201


async def test_plain_http_is_taken_on_loopback_and_only_with_the_switch(client: Client, subscriber: Subscriber) -> None:
    assert (await post(client, subscriber)).status == 201
    await turn(client, allow_http_loopback=False)
    answer = await post(client, subscriber, resource="groups")
    assert (answer.status, answer.code) == (400, "InvalidRequest")
    assert "https" in answer.json["error"]["message"]


# Lifetimes


@pytest.mark.parametrize("asked", [-60, 0, 1, 44.9])
async def test_a_life_below_45_minutes_is_raised(client: Client, subscriber: Subscriber, asked: float) -> None:
    made = await subscribe(client, subscriber, expirationDateTime=ahead(client, minutes=asked))
    assert 44.5 < minutes_left(client, made) <= 45


async def test_any_offset_and_precision_of_time_is_understood(client: Client, subscriber: Subscriber) -> None:
    wanted = client.emulator.clock.now() + datetime.timedelta(days=3)
    local_time = wanted.astimezone(datetime.timezone(datetime.timedelta(hours=2)))
    text = local_time.strftime("%Y-%m-%dT%H:%M:%S.1234567+02:00")
    made = await subscribe(client, subscriber, expirationDateTime=text)
    assert made["expirationDateTime"] == wanted.strftime("%Y-%m-%dT%H:%M:%S.123457Z")


@pytest.mark.parametrize("resource", ["users", "groups"])
async def test_a_life_ends_at_41760_minutes(client: Client, subscriber: Subscriber, resource: str) -> None:
    answer = await post(client, subscriber, resource=resource, expirationDateTime=ahead(client, minutes=41_761))
    assert (answer.status, answer.code) == (400, "ExtensionError")
    assert answer.json["error"]["message"] == "Subscription expiration can only be 41760 minutes in the future."
    made = await subscribe(client, subscriber, resource=resource, expirationDateTime=ahead(client, minutes=41_760))
    assert 41_759 < minutes_left(client, made) <= 41_760
    longer = await patch(client, made["id"], expirationDateTime=ahead(client, minutes=41_761))
    assert (longer.status, longer.code) == (400, "ExtensionError")


async def test_an_expired_subscription_is_gone(client: Client, subscriber: Subscriber) -> None:
    made = await subscribe(client, subscriber, expirationDateTime=ahead(client, minutes=50))
    await advance(client, 49 * 60)
    assert (await client.graph(f"subscriptions/{made['id']}")).status == 200
    await advance(client, 60)
    assert (await client.graph("subscriptions")).json["value"] == []
    answer = await patch(client, made["id"], expirationDateTime=ahead(client, days=1))
    assert (answer.status, answer.code) == (404, "ResourceNotFound")
    assert (await post(client, subscriber)).status == 201, "the combination is free again"


# Permissions


@pytest.mark.parametrize(
    ("resource", "enough", "too_little"),
    [
        (
            "users",
            ["User.Read.All", "User.ReadWrite.All", "Directory.Read.All"],
            ["User.ReadBasic.All", "Group.Read.All"],
        ),
        ("groups", ["Group.Read.All", "Directory.Read.All"], ["GroupMember.Read.All", "User.Read.All"]),
    ],
)
async def test_each_resource_needs_its_permission(
    client: Client, subscriber: Subscriber, resource: str, enough: list[str], too_little: list[str]
) -> None:
    for role in too_little:
        client.token = client.emulator.token_for(role)
        answer = await post(client, subscriber, resource=resource)
        assert (answer.status, answer.code) == (403, "Authorization_RequestDenied"), role
    for role in enough:
        client.token = client.emulator.token_for(role)
        made = await subscribe(client, subscriber, resource=resource)
        assert (await client.send("DELETE", f"/v1.0/subscriptions/{made['id']}")).status == 204


async def test_without_the_permission_nothing_is_renewed(client: Client, subscriber: Subscriber) -> None:
    made = await subscribe(client, subscriber)
    client.token = client.emulator.token_for("Group.Read.All")
    assert (await patch(client, made["id"], expirationDateTime=ahead(client, days=3))).status == 403
    assert (await client.send("POST", f"/v1.0/subscriptions/{made['id']}/reauthorize")).status == 403


async def test_an_app_sees_its_own_subscriptions_only(client: Client, subscriber: Subscriber) -> None:
    made = await subscribe(client, subscriber)
    path = f"/v1.0/subscriptions/{made['id']}"
    await use_other_app(client, "User.Read.All")
    assert (await client.graph("subscriptions")).json["value"] == []
    assert (await client.send("GET", path)).code == "ResourceNotFound"
    assert (await client.send("DELETE", path)).status == 404
    assert (await client.send("POST", path + "/reauthorize")).status == 404
    assert (await patch(client, made["id"], expirationDateTime=ahead(client, days=3))).status == 404
    assert (await post(client, subscriber)).status == 201, "its combinations are its own"


# Reading and ending


async def test_a_list_shows_no_state_and_comes_in_pages(client: Client, subscriber: Subscriber) -> None:
    made = [await subscribe(client, subscriber, resource=f"users/{user_id(number)}") for number in range(1, 6)]
    await turn(client, list_page_size=2)
    pages, link = [], "subscriptions"
    while link:
        answer = (await client.graph(link)).json
        assert answer["@odata.context"].endswith("/v1.0/$metadata#subscriptions")
        pages.append(answer["value"])
        link = answer.get("@odata.nextLink", "")
    assert [len(page) for page in pages] == [2, 2, 1]
    assert [item["id"] for page in pages for item in page] == [item["id"] for item in made]
    assert {item["clientState"] for page in pages for item in page} == {None}
    assert (await client.graph("subscriptions?$skiptoken=invented")).status == 400
    assert (await client.graph("subscriptions?$top=5")).status == 400


async def test_one_is_read_by_either_spelling_and_without_its_state(client: Client, subscriber: Subscriber) -> None:
    made = await subscribe(client, subscriber)
    found = (await client.graph(f"subscriptions/{made['id']}")).json
    assert found == made | {"clientState": None}
    assert (await client.graph(f"subscriptions('{made['id']}')")).json == found
    assert (await client.graph(f"subscriptions/{user_id(1)}")).code == "ResourceNotFound"


async def test_a_deleted_one_is_gone(client: Client, subscriber: Subscriber) -> None:
    path = f"/v1.0/subscriptions/{(await subscribe(client, subscriber))['id']}"
    assert (await client.send("DELETE", path)).status == 204
    for method, part in (("GET", ""), ("DELETE", ""), ("POST", "/reauthorize")):
        assert (await client.send(method, path + part)).status == 404


async def test_wrong_verbs_are_refused(client: Client, subscriber: Subscriber) -> None:
    identifier = (await subscribe(client, subscriber))["id"]
    assert (await client.send("PUT", f"/v1.0/subscriptions/{identifier}", json={})).status == 405
    assert (await client.send("GET", f"/v1.0/subscriptions/{identifier}/reauthorize")).status == 405


# Changing


async def test_renewing_moves_the_end_and_shakes_no_hands(client: Client, subscriber: Subscriber) -> None:
    made = await subscribe(client, subscriber)
    subscriber.handshakes.clear()
    wanted = ahead(client, days=20)
    typed = {"@odata.type": "#microsoft.graph.subscription", "expirationDateTime": wanted}
    answer = await patch(client, made["id"], **typed)
    assert answer.status == 200
    assert answer.json == made | {"clientState": None, "expirationDateTime": wanted}
    assert subscriber.handshakes == []
    shorter = await patch(client, made["id"], expirationDateTime=ahead(client, minutes=1))
    assert 44 < minutes_left(client, shorter.json) <= 45


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "nothing to change"),
        ({"clientState": "new"}, "clientState"),
        ({"resource": "groups"}, "resource"),
        ({"changeType": "updated"}, "changeType"),
        ({"lifecycleNotificationUrl": "https://localhost/x"}, "cannot be added or changed later"),
        ({"notificationUrl": "http://hooks.contoso.example/x"}, "https"),
        ({"notificationUrl": None}, "notificationUrl"),
        ({"expirationDateTime": None}, "expirationDateTime"),
    ],
    ids=str,
)
async def test_what_cannot_be_changed_is_named(
    client: Client, subscriber: Subscriber, changes: dict[str, Any], words: str
) -> None:
    made = await subscribe(client, subscriber, lifecycleNotificationUrl=None)
    answer = await patch(client, made["id"], **changes)
    assert (answer.status, answer.code) == (400, "InvalidRequest")
    assert words in answer.json["error"]["message"]
    assert (await client.graph(f"subscriptions/{made['id']}")).json == made | {"clientState": None}


async def test_a_new_url_is_shaken_hands_with(client: Client, subscriber: Subscriber) -> None:
    made = await subscribe(client, subscriber)
    subscriber.handshakes.clear()
    answer = await patch(client, made["id"], notificationUrl=subscriber.url + "/new")
    assert answer.json["notificationUrl"] == subscriber.url + "/new"
    assert [request.path for request in subscriber.handshakes] == ["/notifications/new", "/lifecycle"]
    subscriber.handshake_answer = None
    subscriber.handshake_hangs = True
    refused = asyncio.create_task(patch(client, made["id"], notificationUrl=subscriber.url + "/newer"))
    await subscriber.until(3)
    await client.control("POST", "clock", {"advance_seconds": 10})
    assert (await refused).code == "ValidationError"
    assert (await client.graph(f"subscriptions/{made['id']}")).json["notificationUrl"] == subscriber.url + "/new"


async def test_reauthorizing_leaves_the_end_where_it_is(client: Client, subscriber: Subscriber) -> None:
    made = await subscribe(client, subscriber)
    path = f"/v1.0/subscriptions/{made['id']}"
    assert (await client.send("POST", path + "/reauthorize")).status == 204
    assert (await client.send("GET", path)).json["expirationDateTime"] == made["expirationDateTime"]
    answer = await client.send("POST", path + "/reauthorize", json={"expirationDateTime": ahead(client, days=9)})
    assert answer.status == 400


# Duplicates and quotas


@pytest.mark.parametrize("again", [{}, {"resource": "/Users"}, {"changeType": "deleted, updated"}], ids=str)
async def test_the_same_combination_again_is_a_conflict(
    client: Client, subscriber: Subscriber, again: dict[str, Any]
) -> None:
    made = await subscribe(client, subscriber)
    answer = await post(client, subscriber, **again)
    assert (answer.status, answer.code) == (409, "Conflict")
    expected = f"Subscription Id {made['id']} already exists for the requested combination"
    assert answer.json["error"]["message"] == expected
    assert (await post(client, subscriber, changeType="updated")).status == 201, "other changes, another combination"


async def test_of_two_at_the_same_time_one_wins(client: Client, subscriber: Subscriber) -> None:
    subscriber.handshake_hangs = True
    asked = [asyncio.create_task(post(client, subscriber)) for _ in range(2)]
    await subscriber.until(2)
    subscriber.release.set()
    assert sorted(answer.status for answer in await asyncio.gather(*asked)) == [201, 409]
    assert len((await client.graph("subscriptions")).json["value"]) == 1


async def test_the_quota_of_an_app_counts_users_and_groups_each(client: Client, subscriber: Subscriber) -> None:
    directory = client.emulator.directory
    for number in range(100):
        made = directory.create("user", {"displayName": "x", "userPrincipalName": f"q{number}@contoso.example"})
        await subscribe(client, subscriber, resource=f"users/{made.id}", lifecycleNotificationUrl=None)
    answer = await post(client, subscriber)
    assert (answer.status, answer.code) == (403, "Forbidden")
    assert "100 subscriptions per app" in answer.json["error"]["message"]
    assert (await post(client, subscriber, resource="groups")).status == 201
    await use_other_app(client, "User.Read.All")
    assert (await post(client, subscriber)).status == 201


async def test_the_quota_of_a_tenant_counts_all_apps(
    client: Client, subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert subscription_calls.MOST_PER_TENANT == 1000
    monkeypatch.setattr(subscription_calls, "MOST_PER_TENANT", 2)
    await subscribe(client, subscriber)
    await subscribe(client, subscriber, changeType="updated")
    await use_other_app(client, "User.Read.All")
    answer = await post(client, subscriber)
    assert (answer.status, answer.code) == (403, "Forbidden")
    assert "2 subscriptions per tenant" in answer.json["error"]["message"]


async def test_a_batch_can_subscribe(client: Client, subscriber: Subscriber) -> None:
    item = {
        "id": "1",
        "method": "POST",
        "url": "/subscriptions",
        "headers": {"Content-Type": "application/json"},
        "body": body(client, subscriber),
    }
    answer = await client.send("POST", "/v1.0/$batch", json={"requests": [item, item | {"id": "2"}]})
    assert [one["status"] for one in answer.json["responses"]] == [201, 409]


async def test_saved_content_brings_subscriptions_back(client: Client, subscriber: Subscriber) -> None:
    made = await subscribe(client, subscriber)
    saved = (await client.control("GET", "state")).json
    await client.control("POST", "reset")
    client.token = client.emulator.token_for(*sample.ROLES)
    assert (await client.graph(f"subscriptions/{made['id']}")).status == 404
    assert (await client.control("PUT", "state", saved)).status == 204
    client.token = client.emulator.token_for(*sample.ROLES)
    assert (await client.graph(f"subscriptions/{made['id']}")).json == made | {"clientState": None}
