"""What subscribers hear of a changed presence, to the letter; how it is sealed; and what forgers send."""

import base64
import hashlib
from typing import Any, get_args

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from local import sample
from local.microsoft.presence_forgeries import FALSE_WORDS, TOKEN_FLAWS, Flaw
from local.microsoft.presence_sealing import seal
from local.sample import user_id
from tests.microsoft.presence_subscriber import (
    ACCOUNT,
    CERTIFICATE_ID,
    OTHER_ACCOUNT,
    certificate,
    opened,
    private_key,
    rich,
    verified,
    watch,
)
from tests.microsoft.subscriber import Subscriber, ahead, deliveries, settle
from tests.microsoft.subscriber import turn as turn_notifications
from tests.microsoft.support import Client
from tests.microsoft.test_presence import act_for, put, turn

ONE, TWO, THREE = user_id(1), user_id(2), user_id(3)
FLAWS: tuple[Flaw, ...] = get_args(Flaw.__value__)


async def heard(client: Client, subscriber: Subscriber) -> list[dict[str, Any]]:
    """The items that came since the last look."""
    await settle(client)
    items = subscriber.items
    subscriber.bodies.clear()
    return items


async def told(client: Client, subscriber: Subscriber) -> list[tuple[str, str]]:
    """Who is said to be what, opened, since the last look."""
    found = [opened(item["encryptedContent"]) for item in await heard(client, subscriber)]
    return [(content["id"], content["availability"]) for content in found]


# Basic


async def test_a_basic_notification_says_who_and_not_what(client: Client, subscriber: Subscriber) -> None:
    made = await watch(client, subscriber, ONE)
    await put(client, ONE, availability="Busy", activity="InACall")
    await settle(client)
    assert subscriber.bodies == [
        {
            "value": [
                {
                    "subscriptionId": made["id"],
                    "clientState": "secret of the test",
                    "changeType": "updated",
                    "tenantId": sample.TENANT_ID,
                    "organizationId": sample.TENANT_ID,
                    "resource": f"communications/presences/{ONE}",
                    "subscriptionExpirationDateTime": made["expirationDateTime"],
                    "resourceData": {
                        "@odata.id": f"users/{ONE}/presence",
                        "@odata.type": "#microsoft.graph.presence",
                        "id": ONE,
                    },
                }
            ]
        }
    ]


async def test_the_id_may_be_the_whole_path(client: Client, subscriber: Subscriber) -> None:
    await watch(client, subscriber, ONE)
    await turn(client, full_path_ids=True)
    await put(client, ONE, availability="Away")
    (item,) = await heard(client, subscriber)
    assert item["resourceData"]["id"] == f"/communications/presences/{ONE}"


async def test_casing_and_item_ids_follow_the_switches(client: Client, subscriber: Subscriber) -> None:
    await watch(client, subscriber, ONE)
    await turn_notifications(client, vary_casing=True, item_ids=True)
    for word in ("Away", "Busy", "Offline"):
        await put(client, ONE, availability=word)
    items = await heard(client, subscriber)
    assert len({item["resource"] for item in items}) == 2, "the documented spelling is in lower case"
    assert {item["resource"].lower() for item in items} == {f"communications/presences/{ONE}"}
    assert len({item["resourceData"]["@odata.type"] for item in items}) == 2
    assert len({item["id"] for item in items}) == 3


async def test_only_the_watched_are_told_and_only_of_changes(client: Client, subscriber: Subscriber) -> None:
    await watch(client, subscriber, ONE, TWO)
    await watch(client, subscriber, TWO, THREE, account=OTHER_ACCOUNT)
    for user in (ONE, TWO, TWO, THREE, ACCOUNT):
        await put(client, user, availability="Away")
    items = await heard(client, subscriber)
    assert sorted(item["resourceData"]["id"] for item in items) == [ONE, TWO, TWO, THREE]
    await put(client, ONE, status_message="At lunch")
    assert len(await heard(client, subscriber)) == 1, "a message is a change, too"


async def test_directory_and_presence_do_not_mix(client: Client, subscriber: Subscriber) -> None:
    await watch(client, subscriber, ONE)
    await client.control("PATCH", f"users/{ONE}", {"jobTitle": "x"})
    assert await heard(client, subscriber) == []


# Resource data


async def test_resource_data_is_sealed_for_the_certificate(client: Client, subscriber: Subscriber) -> None:
    made = await watch(client, subscriber, ONE, **rich())
    shown = await put(client, ONE, availability="Busy", activity="InACall")
    await settle(client)
    (body,) = subscriber.bodies
    assert set(body) == {"value", "validationTokens"}
    (item,) = body["value"]
    content = item["encryptedContent"]
    der = base64.b64decode(made["encryptionCertificate"])
    assert content["encryptionCertificateThumbprint"] == hashlib.sha1(der).hexdigest().upper()  # noqa: S324 - what Graph uses
    assert content["encryptionCertificateId"] == CERTIFICATE_ID
    assert len(base64.b64decode(content["dataSignature"])) == 32
    assert opened(content) == {
        "@odata.id": f"users/{ONE}/presence",
        "@odata.type": "#microsoft.graph.presence",
        **shown,
    }
    assert item["resourceData"]["id"] == ONE
    assert "InACall" not in str(body)


async def test_resource_data_may_be_that_of_the_sample(client: Client, subscriber: Subscriber) -> None:
    await watch(client, subscriber, ONE, **rich())
    await turn(client, content="sample")
    await put(client, ONE, availability="Busy", activity="InACall")
    (item,) = await heard(client, subscriber)
    assert opened(item["encryptedContent"]) == {
        "@odata.id": f"users/{ONE}/presence",
        "@odata.type": "#microsoft.graph.presence",
        "id": ONE,
        "availability": "Busy",
        "activity": "InACall",
    }


@given(st.dictionaries(st.text(), st.text() | st.none() | st.booleans(), max_size=20))
def test_whatever_is_sealed_can_be_opened_and_nothing_altered_can(content: dict[str, Any]) -> None:
    sealed = seal(content, certificate(), CERTIFICATE_ID)
    assert opened(sealed) == content
    raw = bytearray(base64.b64decode(sealed["data"]))
    raw[len(raw) // 2] ^= 1
    with pytest.raises(ValueError, match="signature"):
        opened(sealed | {"data": base64.b64encode(raw).decode()})


async def test_every_item_has_a_key_of_its_own(client: Client, subscriber: Subscriber) -> None:
    await watch(client, subscriber, ONE, **rich())
    for word in ("Away", "Busy", "Away"):
        await put(client, ONE, availability=word)
    contents = [item["encryptedContent"] for item in await heard(client, subscriber)]
    assert len({content["dataKey"] for content in contents}) == 3
    assert len({content["data"] for content in contents}) == 3


async def test_a_new_certificate_seals_what_comes_after_it(client: Client, subscriber: Subscriber) -> None:
    made = await watch(client, subscriber, ONE, **rich())
    await turn_notifications(client, hold=True)
    await put(client, ONE, availability="Away")
    next_key = private_key(3072)
    rotated = {"encryptionCertificate": certificate(next_key), "encryptionCertificateId": "next"}
    answer = await client.send("PATCH", f"/v1.0/subscriptions/{made['id']}", json=rotated)
    assert answer.status == 200
    await put(client, ONE, availability="Busy")
    await turn_notifications(client, hold=False)
    old, new = [item["encryptedContent"] for item in await heard(client, subscriber)]
    assert (old["encryptionCertificateId"], opened(old)["availability"]) == (CERTIFICATE_ID, "Away")
    assert (new["encryptionCertificateId"], opened(new, next_key)["availability"]) == ("next", "Busy")


async def test_presences_may_come_out_of_order(client: Client, subscriber: Subscriber) -> None:
    await watch(client, subscriber, ONE, **rich())
    await put(client, ONE, availability="Away")
    await heard(client, subscriber)
    await turn(client, stale=True)
    await put(client, ONE, availability="Busy")
    newest, stale = [opened(item["encryptedContent"]) for item in await heard(client, subscriber)]
    assert (newest["availability"], stale["availability"]) == ("Busy", "Away")
    assert newest["sequenceNumber"] > stale["sequenceNumber"]


# Validation tokens


@pytest.mark.parametrize(("shape", "publisher"), [("v1", "appid"), ("v2", "azp")])
@pytest.mark.parametrize("keys", ["/common/discovery/v2.0/keys", "/common/discovery/keys"])
async def test_a_validation_token_is_genuine_in_both_shapes(
    client: Client, subscriber: Subscriber, shape: str, publisher: str, keys: str
) -> None:
    await turn(client, token_shape=shape, token_seconds=600)
    await watch(client, subscriber, ONE, TWO, **rich())
    await put(client, ONE, availability="Away")
    await put(client, TWO, availability="Away")
    await settle(client)
    (body,) = subscriber.bodies
    assert len(body["value"]) == 2
    (token,) = body["validationTokens"]
    claims = await verified(client, token, keys)
    assert claims[publisher] == "0bf30f3b-4a52-48df-9a82-234910c4a086"
    assert (claims["ver"], claims["exp"] - claims["nbf"]) == (f"{shape[1]}.0", 600)
    assert {"appid", "azp"} & set(claims) == {publisher}


async def test_a_retry_brings_a_fresh_token(client: Client, subscriber: Subscriber) -> None:
    await watch(client, subscriber, ONE, **rich())
    subscriber.statuses = [500]
    await turn(client, token_seconds=5)
    await put(client, ONE, availability="Away")
    await settle(client)
    await client.control("POST", "clock", {"advance_seconds": 10})
    await settle(client)
    first, second = subscriber.bodies
    assert first["value"] == second["value"]
    await verified(client, second["validationTokens"][0])
    with pytest.raises(jwt.ExpiredSignatureError):
        await verified(client, first["validationTokens"][0])


async def test_basic_notifications_and_lifecycle_events_have_no_token(client: Client, subscriber: Subscriber) -> None:
    made = await watch(client, subscriber, ONE)
    await put(client, ONE, availability="Away")
    await client.control("POST", f"subscriptions/{made['id']}/lifecycle", {"event": "reauthorizationRequired"})
    await settle(client)
    assert [set(body) for body in subscriber.bodies] == [{"value"}] * 2


# Forgeries


async def passes(client: Client, body: dict[str, Any]) -> list[dict[str, Any]]:
    """What a careful subscriber believes of a POST. Any failing token makes the whole of it suspect."""
    tokens = body.get("validationTokens", [])
    try:
        for token in tokens:
            await verified(client, token)
    except (jwt.InvalidTokenError, ValueError):
        return []
    believed = []
    for item in body["value"] if tokens else []:
        content = item["encryptedContent"]
        genuine = (item["clientState"], item["tenantId"]) == ("secret of the test", sample.TENANT_ID)
        if not genuine or content["encryptionCertificateId"] != CERTIFICATE_ID:
            continue
        try:
            believed.append(opened(content))
        except ValueError:
            continue
    return believed


@pytest.mark.parametrize("shape", ["v1", "v2"])
@pytest.mark.parametrize("flaw", FLAWS)
async def test_a_forged_copy_follows_and_convinces_nobody(
    client: Client, subscriber: Subscriber, flaw: Flaw, shape: str
) -> None:
    await watch(client, subscriber, ONE, **rich())
    await turn(client, forge_next=[flaw], token_shape=shape)
    shown = await put(client, ONE, availability="Away")
    await settle(client)
    genuine, forged = subscriber.bodies
    assert [content["sequenceNumber"] for content in await passes(client, genuine)] == [shown["sequenceNumber"]]
    if flaw == "replay":
        assert forged == genuine
    else:
        assert await passes(client, forged) == []
    (record,) = await deliveries(client, "kind=forged")
    assert (record["state"], record["url"], record["body"]) == ("delivered", subscriber.url, forged)
    await put(client, ONE, availability="Busy")
    await settle(client)
    assert len(subscriber.bodies) == 3, "one flaw, one forgery"


@pytest.mark.parametrize("flaw", sorted(TOKEN_FLAWS | {"wrong_client_state", "foreign_item", "unknown_certificate"}))
async def test_only_one_thing_is_wrong_with_a_forgery(client: Client, subscriber: Subscriber, flaw: Flaw) -> None:
    await watch(client, subscriber, ONE, **rich())
    await turn(client, forge_next=[flaw])
    await put(client, ONE, availability="Away")
    await settle(client)
    (item,) = subscriber.bodies[1]["value"]
    lie = opened(item["encryptedContent"])
    assert {name: lie[name] for name in FALSE_WORDS} == FALSE_WORDS, "whoever does not check believes it"
    if flaw not in TOKEN_FLAWS:
        await verified(client, subscriber.bodies[1]["validationTokens"][0])


async def test_basic_notifications_are_not_forged_on_their_way(client: Client, subscriber: Subscriber) -> None:
    await watch(client, subscriber, ONE)
    await turn(client, forge_next=["expired"])
    await put(client, ONE, availability="Away")
    await settle(client)
    assert len(subscriber.bodies) == 1
    assert (await client.control("GET", "presence")).json["forge_next"] == ["expired"]


async def test_a_forgery_can_be_sent_out_of_nothing(client: Client, subscriber: Subscriber) -> None:
    made = await watch(client, subscriber, ONE, TWO, **rich())
    order = {"subscription": made["id"], "flaw": "wrong_publisher", "user": TWO}
    answer = await client.control("POST", "presence/forge", order)
    assert answer.json == {"status": 202, "problem": None}
    (body,) = subscriber.bodies
    assert body["value"][0]["resourceData"]["id"] == TWO
    assert await passes(client, body) == []


async def test_an_earlier_post_can_come_again(client: Client, subscriber: Subscriber) -> None:
    made = await watch(client, subscriber, ONE, **rich())
    order = {"subscription": made["id"], "flaw": "replay"}
    assert (await client.control("POST", "presence/forge", order)).status == 404, "nothing has come yet"
    for word in ("Away", "Busy"):
        await put(client, ONE, availability=word)
        await settle(client)
    assert (await client.control("POST", "presence/forge", order)).json["status"] == 202
    first, second, again = subscriber.bodies
    assert (again, again == second) == (first, False)


async def test_only_resource_data_of_presences_can_be_forged(client: Client, subscriber: Subscriber) -> None:
    made = await watch(client, subscriber, ONE)
    answer = await client.control("POST", "presence/forge", {"subscription": made["id"], "flaw": "expired"})
    assert (answer.status, "no resource data" in answer.json["error"]) == (400, True)


# Delivery and lifecycle


async def test_an_undone_reauthorization_pauses_presences(client: Client, subscriber: Subscriber) -> None:
    made = await watch(client, subscriber, ONE, **rich())
    event = {"event": "reauthorizationRequired", "pause_after_seconds": 0}
    assert (await client.control("POST", f"subscriptions/{made['id']}/lifecycle", event)).status == 202
    (item,) = await heard(client, subscriber)
    assert (item["lifecycleEvent"], item["subscriptionId"]) == ("reauthorizationRequired", made["id"])
    await put(client, ONE, availability="Away")
    assert await told(client, subscriber) == []
    act_for(client, ACCOUNT, "Presence.Read.All")
    renewal = {"expirationDateTime": ahead(client, minutes=60)}
    assert (await client.send("PATCH", f"/v1.0/subscriptions/{made['id']}", json=renewal)).status == 200
    assert await told(client, subscriber) == [(ONE, "Away")]


@pytest.mark.parametrize("way", ["renew", "reauthorize"])
async def test_no_presence_is_told_after_the_end_of_the_token_until_another_one_comes(
    client: Client, subscriber: Subscriber, way: str
) -> None:
    made = await watch(client, subscriber, ONE, **rich())
    path = f"/v1.0/subscriptions/{made['id']}"
    act_for(client, ACCOUNT, "Presence.Read.All", seconds=60)
    assert (await client.send("POST", f"{path}/reauthorize")).status == 204
    await client.control("POST", "clock", {"advance_seconds": 61})
    await put(client, ONE, availability="Away")
    assert await told(client, subscriber) == []
    act_for(client, ACCOUNT, "Presence.Read.All")
    if way == "renew":
        renewal = {"expirationDateTime": ahead(client, minutes=60)}
        assert (await client.send("PATCH", path, json=renewal)).status == 200
    else:
        assert (await client.send("POST", f"{path}/reauthorize")).status == 204
    assert await told(client, subscriber) == [(ONE, "Away")]


@pytest.mark.parametrize("event", ["missed", "subscriptionRemoved"])
async def test_presences_send_no_other_events(client: Client, subscriber: Subscriber, event: str) -> None:
    made = await watch(client, subscriber, ONE)
    assert (await client.control("POST", f"subscriptions/{made['id']}/lifecycle", {"event": event})).status == 400


async def test_an_expired_subscription_hears_nothing_more(client: Client, subscriber: Subscriber) -> None:
    await watch(client, subscriber, ONE, **rich())
    await client.control("POST", "clock", {"advance_seconds": 3601})
    await put(client, ONE, availability="Away")
    assert await heard(client, subscriber) == []


async def test_lost_repeated_and_reordered_ones_stay_readable(client: Client, subscriber: Subscriber) -> None:
    await watch(client, subscriber, ONE, **rich())
    await turn_notifications(client, drop_next=1, repeat=1, reorder=True, hold=True)
    for word in ("Away", "Busy", "Offline"):
        await put(client, ONE, availability=word)
    await turn_notifications(client, hold=False)
    assert await told(client, subscriber) == [(ONE, word) for word in ("Offline", "Offline", "Busy", "Busy")]


async def test_a_day_is_told_to_subscribers(client: Client, subscriber: Subscriber) -> None:
    await watch(client, subscriber, ONE, THREE, **rich())
    order = {"changes_per_second": 100, "seconds": 1, "users": [ONE, THREE]}
    await client.control("POST", "presence/day", order)
    task = client.emulator.day._task
    assert task is not None
    await client.control("POST", "clock", {"advance_seconds": 1})
    await task
    last = dict(await told(client, subscriber))
    now = {user: client.emulator.presences.of(user).availability for user in (ONE, THREE)}
    assert last == now
    assert len(await deliveries(client)) < 100, "they travel together"
