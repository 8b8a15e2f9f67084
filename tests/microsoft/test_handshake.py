"""The validation of notification URLs: what is sent, and every answer that is not good enough."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import parse_qsl, urlsplit

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from local.microsoft import MicrosoftEmulator
from local.microsoft.handshake import handshake_url
from local.tls import CertificateAuthority, self_signed
from tests.microsoft.subscriber import Subscriber, advance, deliveries, post, settle, turn
from tests.microsoft.support import Client

REFUSED = "Subscription validation request failed. "
MUST = REFUSED + "Notification endpoint must respond with 200 OK to validation request."


async def test_both_urls_get_an_empty_post_with_the_encoded_token(client: Client, subscriber: Subscriber) -> None:
    assert (await post(client, subscriber)).status == 201
    assert [request.path for request in subscriber.handshakes] == ["/notifications", "/lifecycle"]
    for request in subscriber.handshakes:
        assert (request.method, request.headers["Content-Type"]) == ("POST", "text/plain; charset=utf-8")
        assert request.headers["Content-Length"] == "0"
        sent = request.raw_path.partition("?")[2]
        assert sent.startswith("validationToken=Validation%3a+Testing+client+application+reachability+")
    first, second = (request.query["validationToken"] for request in subscriber.handshakes)
    assert first != second


async def test_the_same_url_twice_is_asked_twice(client: Client, subscriber: Subscriber) -> None:
    assert (await post(client, subscriber, lifecycleNotificationUrl=subscriber.url)).status == 201
    assert [request.path for request in subscriber.handshakes] == ["/notifications"] * 2


async def test_the_query_of_a_url_is_kept_as_it_is(client: Client, subscriber: Subscriber) -> None:
    url = subscriber.url + "?code=a%2Fb%20c+d&x"
    assert (await post(client, subscriber, notificationUrl=url)).status == 201
    kept, _, token = subscriber.handshakes[0].raw_path.partition("&validationToken=")
    assert (kept, token[:10]) == ("/notifications?code=a%2Fb%20c+d&x", "Validation")
    await client.control("PATCH", "users/user1@contoso.example", {"jobTitle": "x"})
    await settle(client)
    assert subscriber.received[-1].raw_path == "/notifications?code=a%2Fb%20c+d&x"


@settings(deadline=None)
@given(st.text(min_size=1), st.sampled_from(["https://a.example/x", "https://a.example/x?y=1"]))
def test_any_token_survives_its_url(token: str, url: str) -> None:
    joined = handshake_url(url, token)
    assert joined.startswith(url + ("&" if "?" in url else "?"))
    assert dict(parse_qsl(urlsplit(joined).query, strict_parsing=True))["validationToken"] == token


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (web.Response(status=403), f"{MUST} HTTP status code is 'Forbidden'."),
        (web.Response(status=500), f"{MUST} HTTP status code is 'InternalServerError'."),
        (web.Response(status=202), f"{MUST} HTTP status code is 'Accepted'."),
        (web.Response(status=302, headers={"Location": "/elsewhere"}), f"{MUST} HTTP status code is 'Found'."),
        (web.Response(status=599), f"{MUST} HTTP status code is '599'."),
        (web.Response(text=""), f"{REFUSED}Response must exactly match validationToken query parameter."),
        (web.Response(text="other"), f"{REFUSED}Response must exactly match validationToken query parameter."),
        (web.json_response("x"), f"{REFUSED}The content type of the response must be text/plain."),
        (web.Response(body=b"x"), f"{REFUSED}The content type of the response must be text/plain."),
    ],
    ids=["403", "500", "202", "redirect", "odd status", "empty", "other text", "json", "no type"],
)
async def test_any_other_answer_refuses_the_subscription(
    client: Client, subscriber: Subscriber, answer: web.Response, message: str
) -> None:
    subscriber.handshake_answer = answer
    refusal = await post(client, subscriber)
    assert (refusal.status, refusal.code) == (400, "ValidationError")
    assert refusal.json["error"]["message"] == message
    assert (await client.graph("subscriptions")).json["value"] == []
    (record,) = await deliveries(client, "kind=handshake&state=*")
    assert record["attempts"][0]["status"] == answer.status


class Careless(Subscriber):
    """Answers handshakes with the token as it stands in the URL, still encoded, or dressed up."""

    def __init__(self, dress: str) -> None:
        super().__init__()
        self._dress = dress

    async def _shake_hands(self, request: web.Request) -> web.StreamResponse:
        raw = request.raw_path.partition("validationToken=")[2]
        text = raw if self._dress == "encoded" else self._dress.format(request.query["validationToken"])
        return web.Response(text=text)


@pytest.mark.parametrize("dress", ["encoded", '"{}"', "{}\n", " {}"])
async def test_the_token_alone_and_decoded_is_wanted(client: Client, dress: str) -> None:
    careless = await Careless(dress).start()
    answer = await post(client, careless)
    await careless.stop()
    assert (answer.status, answer.code) == (400, "ValidationError")
    assert "exactly match" in answer.json["error"]["message"]


async def test_a_second_url_that_fails_refuses_too(client: Client, subscriber: Subscriber) -> None:
    answer = await post(client, subscriber, lifecycleNotificationUrl="http://localhost:1/lifecycle")
    assert (answer.status, answer.json["error"]["message"]) == (400, MUST)
    assert (await client.graph("subscriptions")).json["value"] == []


async def test_ten_seconds_are_the_limit(client: Client, subscriber: Subscriber) -> None:
    subscriber.handshake_hangs = True
    asked = asyncio.create_task(post(client, subscriber, lifecycleNotificationUrl=None))
    await subscriber.until(1)
    await advance(client, 5)
    assert not asked.done()
    await advance(client, 5)
    answer = await asked
    assert (answer.status, answer.code) == (400, "ValidationError")
    assert answer.json["error"]["message"] == "Subscription validation request timed out."
    (record,) = await deliveries(client, "kind=handshake")
    assert record["attempts"][0]["problem"] == "There was no answer within 10 s."


async def test_an_answer_after_five_seconds_is_in_time(client: Client, subscriber: Subscriber) -> None:
    subscriber.handshake_hangs = True
    asked = asyncio.create_task(post(client, subscriber, lifecycleNotificationUrl=None))
    await subscriber.until(1)
    await advance(client, 5)
    subscriber.release.set()
    assert (await asked).status == 201


async def test_other_requests_are_answered_meanwhile(client: Client, subscriber: Subscriber) -> None:
    subscriber.handshake_hangs = True
    asked = asyncio.create_task(post(client, subscriber, lifecycleNotificationUrl=None))
    await subscriber.until(1)
    assert (await client.graph("users")).status == 200
    subscriber.release.set()
    assert (await asked).status == 201


# Trust


@pytest.fixture
async def trusting(client: Client, authority: CertificateAuthority) -> AsyncIterator[Client]:
    """The client, with an emulator that trusts the authority of the tests."""
    emulator = MicrosoftEmulator(client.emulator._tenant, trusted=authority.certificate_file)
    async with await emulator.start(authority.issue("trusting")):
        client.emulator = emulator
        client.token = emulator.token_for("User.Read.All")
        yield client


async def test_an_endpoint_that_the_given_authority_vouches_for_is_trusted(
    trusting: Client, authority: CertificateAuthority
) -> None:
    secure = await Subscriber().start(authority.issue("endpoint"))
    await turn(trusting, allow_http_loopback=False)
    answer = await post(trusting, secure)
    await trusting.control("PATCH", "users/user1@contoso.example", {"jobTitle": "x"})
    await settle(trusting)
    await secure.stop()
    assert answer.status == 201, answer.text
    assert len(secure.items) == 1


async def test_any_other_certificate_is_refused(
    trusting: Client, authority: CertificateAuthority, tmp_path_factory: pytest.TempPathFactory
) -> None:
    secure = await Subscriber().start(self_signed(tmp_path_factory.mktemp("stranger"), "stranger", "localhost"))
    answer = await post(trusting, secure)
    await secure.stop()
    assert (answer.status, answer.json["error"]["message"]) == (400, MUST)
    (record,) = await deliveries(trusting, "kind=handshake")
    assert "certificate" in record["attempts"][0]["problem"].lower()


async def test_without_a_given_authority_a_private_one_is_not_trusted_by_itself(
    client: Client, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stranger = CertificateAuthority(tmp_path_factory.mktemp("stranger"))
    secure = await Subscriber().start(stranger.issue("endpoint"))
    answer = await post(client, secure)
    await secure.stop()
    assert (answer.status, answer.code) == (400, "ValidationError")
