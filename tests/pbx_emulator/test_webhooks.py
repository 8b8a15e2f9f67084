"""Webhooks: who is told what about extensions, how it is signed, and how deliveries go wrong."""

import asyncio
import base64
import hashlib
import hmac
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from local.pbx.emulator import PbxEmulator
from local.tls import CertificateAuthority, ServerCertificate
from tests.pbx_emulator.api import CLIENT_ID, CLIENT_SECRET, Api
from tests.pbx_emulator.conftest import ADA, BOB
from tests.pbx_emulator.contract import SPEC, load_contract

SECRET = "0123456789abcdef0123456789ABCDEF"


class Receiver:
    """A web server that keeps what it was sent; ``answers`` are the statuses it gives, the last one for ever."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answers = [200]
        self.gate = asyncio.Event()
        self.gate.set()
        self.url = ""

    async def receive(self, request: web.Request) -> web.Response:
        self.got.append(({**request.headers}, await request.read()))
        await self.gate.wait()
        return web.Response(status=self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])

    def messages(self) -> list[tuple[str, str]]:
        """Number and option of every event."""
        events = [msgspec.json.decode(body) for _, body in self.got]
        decoded = [msgspec.json.decode(event["msg"]) for event in events]
        return [(message["ext_number"], message["option"]) for message in decoded]


@pytest.fixture
async def receiver(authority: CertificateAuthority) -> AsyncIterator[Receiver]:
    """Behind https of the same private authority."""
    made = Receiver()
    app = web.Application()
    app.router.add_post("/pbx/events", made.receive)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    files = authority.issue("receiver")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.key)
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    made.url = f"https://localhost:{runner.addresses[0][1]}/pbx/events"
    yield made
    made.gate.set()
    await runner.cleanup()


@pytest.fixture
async def pbx(certificate: ServerCertificate, authority: CertificateAuthority) -> AsyncIterator[PbxEmulator]:
    emulator = PbxEmulator(
        [ADA, BOB], client_id=CLIENT_ID, client_secret=CLIENT_SECRET, trust=authority.certificate_file
    )
    async with await emulator.start(certificate):
        yield emulator


async def tell(api: Api, *urls: str, **switches: Any) -> None:
    """Set up one webhook for each of ``urls``."""
    webhooks = [{"url": url, "secret": SECRET} for url in urls]
    await api.control("PUT", "/webhooks", {"webhooks": webhooks, **switches})


async def deliveries(api: Api) -> list[dict[str, Any]]:
    """What became of every delivery, once nothing is under way any more."""
    async with asyncio.timeout(10):
        await api.emulator.sender.idle()
    found: list[dict[str, Any]] = await api.control("GET", "/deliveries")
    return found


async def test_every_change_of_an_extension_is_told(api: Api, receiver: Receiver) -> None:
    await tell(api, receiver.url)
    created = await api.create("1500")
    await api.update(created["id"], title="Boss")
    await api.get("/extension/delete", id=created["id"])
    await api.control("POST", "/extensions", {"number": "1600"})
    await api.control("PATCH", f"/extensions/{created['id'] + 1}", {"number": "1601"})
    await api.control("DELETE", f"/extensions/{created['id'] + 1}")
    assert {delivery["state"] for delivery in await deliveries(api)} == {"answered"}
    assert receiver.messages() == [
        ("1500", "CREATE"), ("1500", "UPDATE"), ("1500", "DELETE"),
        ("1600", "CREATE"), ("1601", "UPDATE"), ("1601", "DELETE"),
    ]  # fmt: skip


async def test_what_fails_or_only_reads_is_not_told(api: Api, receiver: Receiver) -> None:
    await tell(api, receiver.url)
    await api.create("1000")
    await api.update(99, title="x")
    await api.get("/extension/list")
    await api.create_group("Sales", 1)
    await api.try_control("PATCH", "/extensions/1", {"number": "x"})
    await api.control("POST", "/reset")
    assert await deliveries(api) == []
    assert receiver.got == []


async def test_a_body_is_that_of_the_sample_and_signed_as_it_was_sent(api: Api, receiver: Receiver) -> None:
    await tell(api, receiver.url)
    await api.update(1, title="Countess")
    (delivery,) = await deliveries(api)
    ((headers, body),) = receiver.got
    assert body == b'{"type":30022,"msg":"{\\"ext_number\\":\\"1000\\",\\"option\\":\\"UPDATE\\"}"}'
    expected = base64.b64encode(hmac.new(SECRET.encode(), body, hashlib.sha256).digest()).decode()
    assert (headers["X-Signature"], headers["Content-Type"]) == (expected, "application/json")
    assert (delivery["url"], delivery["body"], delivery["signature"]) == (receiver.url, body.decode(), expected)
    assert (delivery["tries"], delivery["status"]) == (1, 200)
    assert SECRET not in str(delivery)


@pytest.mark.skipif(not SPEC.exists(), reason=f"the OpenAPI document is not at {SPEC}")
async def test_an_event_fits_the_document(api: Api, receiver: Receiver) -> None:
    await tell(api, receiver.url)
    await api.update(1, title="Countess")
    await deliveries(api)
    event = msgspec.json.decode(receiver.got[0][1])
    contract = load_contract(SPEC)
    assert contract.validator("/components/schemas/EventExtConfig").is_valid(event)
    assert contract.validator("/components/schemas/EventExtConfigMsg").is_valid(msgspec.json.decode(event["msg"]))


async def test_the_message_may_be_a_plain_object(api: Api, receiver: Receiver) -> None:
    await tell(api, receiver.url)
    await api.firmware(event_message="object")
    await api.update(1, title="Countess")
    await deliveries(api)
    assert msgspec.json.decode(receiver.got[0][1])["msg"] == {"ext_number": "1000", "option": "UPDATE"}


async def test_writes_of_the_api_may_raise_no_events(api: Api, receiver: Receiver) -> None:
    await tell(api, receiver.url)
    await api.firmware(api_writes_raise_events=False)
    await api.update(1, title="Countess")
    await api.control("PATCH", "/extensions/2", {"title": "By hand"})
    await deliveries(api)
    assert receiver.messages() == [("1001", "UPDATE")]


async def test_a_write_in_progress_is_told_when_it_is_done(api: Api, receiver: Receiver) -> None:
    await tell(api, receiver.url)
    await api.fault("in_progress", "/extension/update")
    await api.update(1, title="Countess")
    assert await deliveries(api) == []
    await api.control("POST", "/clock", {"advance_seconds": 60})
    await api.get("/extension/list")
    assert len(await deliveries(api)) == 1


async def test_nobody_waits_for_a_receiver_and_events_keep_their_order(api: Api, receiver: Receiver) -> None:
    receiver.gate.clear()
    await tell(api, receiver.url)
    for title in "abc":
        assert (await api.update(1, title=title))["errcode"] == 0
    await api.control("DELETE", "/extensions/2")
    assert [delivery["state"] for delivery in await api.control("GET", "/deliveries")] == ["waiting"] * 4
    receiver.gate.set()
    await deliveries(api)
    assert receiver.messages() == [("1000", "UPDATE")] * 3 + [("1001", "DELETE")]


async def test_each_webhook_is_told_what_it_asked_for(api: Api, receiver: Receiver) -> None:
    other = {"url": f"{receiver.url}?other", "secret": SECRET[::-1], "topics": [30009]}
    both = {"url": f"{receiver.url}?both", "secret": SECRET[::-1], "topics": [30009, 30022]}
    await api.control("PUT", "/webhooks", {"webhooks": [{"url": receiver.url, "secret": SECRET}, other, both]})
    await api.update(1, title="Countess")
    found = await deliveries(api)
    assert [delivery["url"] for delivery in found] == [receiver.url, both["url"]]
    assert found[0]["signature"] != found[1]["signature"]


async def test_events_may_be_repeated_or_lost(api: Api, receiver: Receiver) -> None:
    await tell(api, receiver.url, repeat=2)
    await api.update(1, title="a")
    await tell(api, receiver.url, repeat=0, drop=True)
    await api.update(1, title="b")
    assert [delivery["state"] for delivery in await deliveries(api)] == ["answered"] * 3 + ["dropped"]
    assert len(receiver.got) == 3


async def test_events_may_come_late_by_the_emulators_clock(api: Api, receiver: Receiver) -> None:
    await tell(api, receiver.url, delay_seconds=3600)
    await api.update(1, title="a")
    await api.get("/extension/list")
    assert [delivery["state"] for delivery in await api.control("GET", "/deliveries")] == ["waiting"]
    await api.control("POST", "/clock", {"advance_seconds": 3601})
    assert [delivery["state"] for delivery in await deliveries(api)] == ["answered"]


@pytest.mark.parametrize("status", [302, 401, 500])
async def test_a_refused_event_is_not_sent_again(api: Api, receiver: Receiver, status: int) -> None:
    receiver.answers = [status]
    await tell(api, receiver.url)
    await api.update(1, title="a")
    (delivery,) = await deliveries(api)
    assert (delivery["tries"], delivery["status"], len(receiver.got)) == (1, status, 1)


async def test_a_refused_event_is_sent_again_by_switch(api: Api, receiver: Receiver) -> None:
    receiver.answers = [500, 503, 204]
    await tell(api, receiver.url, retries=5)
    await api.update(1, title="a")
    (delivery,) = await deliveries(api)
    assert (delivery["tries"], delivery["status"], len(receiver.got)) == (3, 204, 3)


async def test_a_receiver_that_is_not_there_or_not_trusted_is_told_apart(
    pbx: PbxEmulator, api: Api, receiver: Receiver, tmp_path: Path
) -> None:
    pbx.sender._trust = CertificateAuthority(tmp_path).certificate_file
    await tell(api, "http://localhost:1/", receiver.url)
    await api.update(1, title="a")
    nobody, untrusted = await deliveries(api)
    assert (nobody["state"], nobody["status"]) == ("unanswered", None)
    assert "ClientConnectorError" in nobody["error"]
    assert "CERTIFICATE_VERIFY_FAILED" in untrusted["error"]
    assert receiver.got == []


@pytest.mark.parametrize("delay", [0, 3600], ids=["under way", "delayed"])
async def test_an_emulator_stops_with_deliveries_under_way(
    certificate: ServerCertificate,
    trust: ssl.SSLContext,
    authority: CertificateAuthority,
    receiver: Receiver,
    delay: int,
) -> None:
    receiver.gate.clear()
    emulator = PbxEmulator([ADA], client_id=CLIENT_ID, client_secret=CLIENT_SECRET, trust=authority.certificate_file)
    before = asyncio.all_tasks()
    async with await emulator.start(certificate), Api(emulator, trust) as api:
        await tell(api, receiver.url, delay_seconds=delay)
        await api.control("PATCH", "/extensions/1", {"title": "a"})
    assert [delivery.state for delivery in emulator.sender.deliveries] == ["waiting"]
    left = {task for task in asyncio.all_tasks() - before if "Sender" in repr(task)}
    assert left == set()


async def test_a_reset_gives_up_deliveries_and_forgets_webhooks(api: Api, receiver: Receiver) -> None:
    await tell(api, receiver.url, delay_seconds=3600)
    await api.update(1, title="a")
    await api.control("POST", "/reset")
    assert await deliveries(api) == []
    assert (await api.control("GET", "/webhooks"))["webhooks"] == []


async def test_the_record_of_deliveries_can_be_cleared(api: Api, receiver: Receiver) -> None:
    await tell(api, receiver.url)
    await api.update(1, title="a")
    assert len(await deliveries(api)) == 1
    await api.control("DELETE", "/deliveries")
    assert await deliveries(api) == []


@pytest.mark.parametrize(
    "webhooks",
    [
        [{"url": "https://localhost/", "secret": SECRET}] * 6,
        [{"url": "https://localhost/", "secret": "short"}],
        [{"url": "localhost/events", "secret": SECRET}],
        [{"url": "ftp://localhost/", "secret": SECRET}],
        [{"url": "https://localhost/", "secret": SECRET, "method": "PUT"}],
        [{"url": "https://localhost/", "secret": SECRET, "colour": "red"}],
        [{"url": "https://localhost/"}],
    ],
    ids=["six", "short secret", "no scheme", "no web", "verb", "member", "no secret"],
)
async def test_webhooks_that_make_no_sense_are_refused_in_words(api: Api, webhooks: list[Any]) -> None:
    status, answer = await api.try_control("PUT", "/webhooks", {"webhooks": webhooks})
    assert (status, bool(answer["error"])) == (400, True)
    assert (await api.control("GET", "/webhooks"))["webhooks"] == []
