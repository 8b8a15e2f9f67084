"""Subscriptions on presences: one test for each rule."""

import datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from local import sample
from local.sample import user_id
from tests.microsoft.presence_subscriber import (
    ACCOUNT,
    CERTIFICATE_ID,
    OTHER_ACCOUNT,
    ask,
    certificate,
    private_key,
    rich,
    watch,
    watching,
)
from tests.microsoft.subscriber import Subscriber, ahead, post
from tests.microsoft.support import Client
from tests.microsoft.test_presence import act_for, turn

ONE, TWO, NOBODY = user_id(1), user_id(2), user_id(999)


async def patch(client: Client, made: dict[str, Any], **members: Any) -> Any:
    return await client.send("PATCH", f"/v1.0/subscriptions/{made['id']}", json=members)


def minutes_left(client: Client, shown: dict[str, Any]) -> float:
    ends = datetime.datetime.fromisoformat(shown["expirationDateTime"])
    return (ends - client.emulator.clock.now()).total_seconds() / 60


# Creating


async def test_a_basic_one_comes_back_whole(client: Client, subscriber: Subscriber) -> None:
    made = await watch(client, subscriber, ONE, TWO)
    assert (made["resource"], made["changeType"]) == (watching(ONE, TWO), "updated")
    assert (made["creatorId"], made["applicationId"]) == (ACCOUNT, sample.CLIENT_ID)
    assert (made["includeResourceData"], made["encryptionCertificate"]) == (None, None)
    assert made["clientState"] == "secret of the test"


async def test_a_rich_one_names_its_certificate(client: Client, subscriber: Subscriber) -> None:
    asked = rich()
    made = await watch(client, subscriber, ONE, **asked)
    assert {name: made[name] for name in asked} == asked
    shown = (await client.graph(f"subscriptions/{made['id']}")).json
    assert (shown["encryptionCertificateId"], shown["clientState"]) == (CERTIFICATE_ID, None)


async def test_an_app_by_itself_cannot_subscribe(client: Client, subscriber: Subscriber) -> None:
    minutes = ahead(client, minutes=60)
    answer = await post(client, subscriber, resource=watching(ONE), changeType="updated", expirationDateTime=minutes)
    assert (answer.status, answer.code) == (403, "Authorization_RequestDenied")
    assert subscriber.handshakes == []


@pytest.mark.parametrize("scope", ["Presence.Read", "User.Read.All"])
async def test_the_account_needs_the_permission_on_all(client: Client, subscriber: Subscriber, scope: str) -> None:
    act_for(client, ACCOUNT, scope)
    answer = await post(client, subscriber, resource=watching(ACCOUNT), changeType="updated")
    assert answer.status == 403


@pytest.mark.parametrize(
    ("resource", "users"),
    [
        (f"communications/presences/{ONE}", 1),
        (f"/communications/presences/{ONE}", 1),
        (f"communications/presences?$filter=id in ('{ONE}')", 1),
        (f"/communications/presences?$filter=id in ('{ONE}','{TWO}')", 2),
        (f"/communications/presences?$filter=id in ('{ONE}', '{TWO}')", 2),
        (f"/communications/presences?$filter=id in ('{ONE}','{ONE.upper()}')", 1),
    ],
)
async def test_these_resources_are_watched(client: Client, subscriber: Subscriber, resource: str, users: int) -> None:
    made = await watch(client, subscriber, resource=resource)
    assert made["resource"] == resource
    assert len(client.emulator.subscriptions.find(made["id"]).target.ids) == users


@pytest.mark.parametrize(
    "resource",
    [
        "communications/presences",
        "communications/presences/",
        "communications/presences/user1@contoso.example",
        f"communications/presences/{ONE}/activity",
        f"communications/presences/{ONE}?$select=availability",
        "communications/presences?$filter=id in ()",
        f"communications/presences?$filter=id in ({ONE})",
        f"communications/presences?$filter=id in ('{ONE}'",
        f"communications/presences?$filter=id in ('{ONE}',)",
        f"communications/presences?$filter=id in ('{ONE}' '{TWO}')",
        f'communications/presences?$filter=id in ("{ONE}")',
        f"communications/presences?$filter=id  in ('{ONE}')",
        f"communications/presences?$filter=id eq '{ONE}'",
        f"communications/presences?filter=id in ('{ONE}')",
        f"communications/presences?$filter=id%20in%20('{ONE}')",
        f"communications/presences?$filter=id in ('{ONE}')&$select=id",
        f"communications/presences?$filter=id in ('{ONE}') or id in ('{TWO}')",
        "communications/presences?$filter=id in ('user1@contoso.example')",
        f"users/{ONE}/presence",
        "me/presence",
        f"communications/presencesx/{ONE}",
    ],
)
async def test_other_resources_are_refused(client: Client, subscriber: Subscriber, resource: str) -> None:
    answer = await ask(client, subscriber, resource=resource)
    assert (answer.status, answer.code) == (400, "InvalidRequest")
    assert "is not supported" in answer.json["error"]["message"]


async def test_at_most_650_distinct_users_are_watched(client: Client, subscriber: Subscriber) -> None:
    ids = [user_id(number) for number in range(1, 652)]
    refused = await ask(client, subscriber, *ids)
    assert (refused.status, refused.code) == (403, "Forbidden")
    assert "650" in refused.json["error"]["message"]
    await watch(client, subscriber, *ids[:650], ids[0])


async def test_users_who_do_not_exist_are_taken_or_refused(client: Client, subscriber: Subscriber) -> None:
    await turn(client, unknown_ids="refused")
    assert (await ask(client, subscriber, ONE, NOBODY)).status == 404
    await turn(client, unknown_ids="unknown")
    await watch(client, subscriber, ONE, NOBODY)


@pytest.mark.parametrize("change_type", ["deleted", "created", "updated,deleted", "created,updated"])
async def test_only_updates_are_told(client: Client, subscriber: Subscriber, change_type: str) -> None:
    answer = await ask(client, subscriber, ONE, changeType=change_type)
    assert (answer.status, answer.code) == (400, "InvalidRequest")
    assert "'updated' only" in answer.json["error"]["message"]


@pytest.mark.parametrize(("asked", "given"), [(10, 45), (44, 45), (50, 50), (60, 60)])
async def test_a_life_has_45_to_60_minutes(client: Client, subscriber: Subscriber, asked: int, given: int) -> None:
    made = await watch(client, subscriber, ONE, expirationDateTime=ahead(client, minutes=asked))
    assert given - 1 < minutes_left(client, made) <= given


async def test_a_longer_life_is_refused(client: Client, subscriber: Subscriber) -> None:
    answer = await ask(client, subscriber, ONE, expirationDateTime=ahead(client, minutes=62))
    assert (answer.status, answer.code) == (400, "ExtensionError")
    assert "60 minutes" in answer.json["error"]["message"]
    made = await watch(client, subscriber, ONE)
    assert (await patch(client, made, expirationDateTime=ahead(client, minutes=62))).status == 400
    users = await post(client, subscriber, resource="users", expirationDateTime=ahead(client, days=2))
    assert users.status == 403, "a delegated token without the permission on users"


# One for each account


async def test_a_second_one_of_the_same_account_is_a_conflict(client: Client, subscriber: Subscriber) -> None:
    made = await watch(client, subscriber, ONE)
    refused = await ask(client, subscriber, TWO)
    assert (refused.status, refused.code) == (409, "ExtensionError")
    assert refused.json["error"]["message"].startswith("Operation: Create; Exception: [Status Code: Conflict; ")
    assert len(subscriber.handshakes) == 2, "it is refused before the handshake"
    assert (await client.send("DELETE", f"/v1.0/subscriptions/{made['id']}")).status == 204
    await watch(client, subscriber, TWO)


async def test_it_is_free_again_when_the_first_one_has_expired(client: Client, subscriber: Subscriber) -> None:
    await watch(client, subscriber, ONE)
    await client.control("POST", "clock", {"advance_seconds": 3601})
    await watch(client, subscriber, ONE)


async def test_other_accounts_have_their_own(client: Client, subscriber: Subscriber) -> None:
    first = await watch(client, subscriber, ONE)
    second = await watch(client, subscriber, ONE, account=OTHER_ACCOUNT)
    listed = (await client.graph("subscriptions")).json["value"]
    assert [item["id"] for item in listed] == [second["id"]]
    assert (await patch(client, first, expirationDateTime=ahead(client, minutes=50))).status == 404
    assert (await client.send("DELETE", f"/v1.0/subscriptions/{first['id']}")).status == 404
    client.token = client.emulator.token_for("Presence.Read.All")
    assert len((await client.graph("subscriptions")).json["value"]) == 2, "an app sees those of its users"
    assert (await patch(client, first, expirationDateTime=ahead(client, minutes=50))).status == 403


async def test_two_that_race_through_the_handshake_are_not_both_made(
    client: Client, subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await watch(client, subscriber, ONE)
    subscriptions, post_once = client.emulator.subscriptions, client.emulator.postman.post_once
    first = subscriptions.find(made["id"])
    subscriptions.remove(made["id"])

    async def meanwhile(*arguments: Any) -> Any:
        subscriptions.add(first)
        return await post_once(*arguments)

    monkeypatch.setattr(client.emulator.postman, "post_once", meanwhile)
    assert (await ask(client, subscriber, ONE, lifecycleNotificationUrl=None)).status == 409


# Resource data


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encryptionCertificate": None}, "needs encryptionCertificate"),
        ({"encryptionCertificateId": None}, "needs encryptionCertificate"),
        ({"encryptionCertificateId": ""}, "needs encryptionCertificate"),
        ({"encryptionCertificateId": "x" * 129}, "128 characters"),
        ({"includeResourceData": None}, "includeResourceData to be true"),
        ({"includeResourceData": False}, "includeResourceData to be true"),
        ({"encryptionCertificate": "not base64!"}, "base64"),
        ({"encryptionCertificate": "aGVsbG8="}, "X.509"),
        ({"encryptionCertificate": "-----BEGIN CERTIFICATE-----\nMIIC"}, "base64"),
        ({"includeResourceData": "yes"}, "includeResourceData"),
    ],
)
async def test_resource_data_needs_a_certificate_and_its_id(
    client: Client, subscriber: Subscriber, changes: dict[str, Any], words: str
) -> None:
    answer = await ask(client, subscriber, ONE, **{**rich(), **changes})
    assert (answer.status, answer.code) == (400, "InvalidRequest")
    assert words in answer.json["error"]["message"]


async def test_a_certificate_needs_an_rsa_key_of_a_proper_size(client: Client, subscriber: Subscriber) -> None:
    for key in (private_key(1024), ec.generate_private_key(ec.SECP256R1())):
        answer = await ask(client, subscriber, ONE, **{**rich(), "encryptionCertificate": certificate(key)})
        assert (answer.status, "2,048 to 4,096" in answer.json["error"]["message"]) == (400, True)
    await watch(client, subscriber, ONE, **rich(private_key(3072)))


# Renewing


async def test_renewing_takes_a_new_certificate_with_its_id(client: Client, subscriber: Subscriber) -> None:
    made = await watch(client, subscriber, ONE, **rich())
    new = {"encryptionCertificate": certificate(private_key(3072)), "encryptionCertificateId": "next"}
    shown = (await patch(client, made, **new)).json
    assert {name: shown[name] for name in new} == new
    for name, value in new.items():
        assert (await patch(client, made, **{name: value})).status == 400, "one without the other"
    bad = await patch(client, made, encryptionCertificate="aGVsbG8=", encryptionCertificateId="x")
    assert bad.status == 400
    assert (await client.graph(f"subscriptions/{made['id']}")).json["encryptionCertificateId"] == "next"


async def test_a_basic_one_takes_no_certificate_later(client: Client, subscriber: Subscriber) -> None:
    made = await watch(client, subscriber, ONE)
    new = {"encryptionCertificate": certificate(), "encryptionCertificateId": "next"}
    assert (await patch(client, made, **new)).status == 400


async def test_renewing_moves_the_end_and_a_lapsed_one_is_gone(client: Client, subscriber: Subscriber) -> None:
    made = await watch(client, subscriber, ONE)
    await client.control("POST", "clock", {"advance_seconds": 1800})
    act_for(client, ACCOUNT, "Presence.Read.All")
    answer = await patch(client, made, expirationDateTime=ahead(client, minutes=60))
    assert (answer.status, 59 < minutes_left(client, answer.json) <= 60) == (200, True)
    assert (await client.send("POST", f"/v1.0/subscriptions/{made['id']}/reauthorize")).status == 204
    await client.control("POST", "clock", {"advance_seconds": 3601})
    act_for(client, ACCOUNT, "Presence.Read.All")
    assert (await patch(client, made, expirationDateTime=ahead(client, minutes=60))).status == 404
