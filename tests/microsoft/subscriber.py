"""A subscriber's web server for the tests, and what a test needs to subscribe it and to read what it got."""

import asyncio
import datetime
import ssl
from typing import Any, Self

from aiohttp import web

from local.microsoft.directory import exact_instant
from local.tls import ServerCertificate
from tests.microsoft.support import Answer, Client

PATIENCE_SECONDS = 10.0


class Subscriber:
    """Answers handshakes correctly and notifications with 202 unless told otherwise."""

    def __init__(self) -> None:
        self.received: list[web.Request] = []
        self.bodies: list[Any] = []
        """Of the notifications, decoded."""
        self.handshakes: list[web.Request] = []
        self.statuses: list[int] = []
        """For the next notifications; 202 afterwards."""
        self.hangs = False
        self.handshake_answer: web.Response | None = None
        self.handshake_hangs = False
        self.release = asyncio.Event()
        self._arrived = asyncio.Condition()
        self._runner: web.AppRunner | None = None
        self.origin = ""

    @property
    def url(self) -> str:
        return f"{self.origin}/notifications"

    @property
    def lifecycle_url(self) -> str:
        return f"{self.origin}/lifecycle"

    @property
    def items(self) -> list[dict[str, Any]]:
        """All notifications in the order in which they came."""
        return [item for body in self.bodies for item in body["value"]]

    async def start(self, certificate: ServerCertificate | None = None) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        context = None
        if certificate is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificate.certificate, certificate.key)
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=context).start()
        self.origin = f"{'https' if context else 'http'}://localhost:{self._runner.addresses[0][1]}"
        return self

    async def stop(self) -> None:
        self.release.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def until(self, count: int) -> None:
        """Wait until so many requests have come, handshakes included."""
        async with asyncio.timeout(PATIENCE_SECONDS), self._arrived:
            await self._arrived.wait_for(lambda: len(self.received) >= count)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.received.append(request)
        async with self._arrived:
            self._arrived.notify_all()
        if "validationToken" in request.query:
            return await self._shake_hands(request)
        self.bodies.append(await request.json() if body.startswith(b"{") else body.decode())
        if self.hangs:
            await self.release.wait()
        return web.Response(status=self.statuses.pop(0) if self.statuses else 202)

    async def _shake_hands(self, request: web.Request) -> web.StreamResponse:
        self.handshakes.append(request)
        if self.handshake_hangs:
            await self.release.wait()
        return self.handshake_answer or web.Response(text=request.query["validationToken"])


def ahead(client: Client, **span: float) -> str:
    """A moment so far in the emulator's future, as Graph writes it."""
    return exact_instant(client.emulator.clock.now() + datetime.timedelta(**span))


def body(client: Client, subscriber: Subscriber, **changes: Any) -> dict[str, Any]:
    """A subscription on all users; a change to ``None`` leaves a member out."""
    usual = {
        "changeType": "updated,deleted",
        "resource": "users",
        "notificationUrl": subscriber.url,
        "lifecycleNotificationUrl": subscriber.lifecycle_url,
        "expirationDateTime": ahead(client, days=2),
        "clientState": "secret of the test",
    }
    return {name: value for name, value in (usual | changes).items() if value is not None}


async def post(client: Client, subscriber: Subscriber, **changes: Any) -> Answer:
    return await client.send("POST", "/v1.0/subscriptions", json=body(client, subscriber, **changes))


async def subscribe(client: Client, subscriber: Subscriber, **changes: Any) -> dict[str, Any]:
    """The created subscription; the subscriber forgets the handshake."""
    answer = await post(client, subscriber, **changes)
    assert answer.status == 201, answer.text
    subscriber.received.clear()
    created: dict[str, Any] = answer.json
    return created


async def advance(client: Client, seconds: float) -> None:
    """Move the clock, and give the client a token that is valid then."""
    roles = sorted(client.emulator.tokens.validate(client.token or "", "https://graph.microsoft.com").roles)
    assert (await client.control("POST", "clock", {"advance_seconds": seconds})).status == 200
    client.token = client.emulator.token_for(*roles)


async def settle(client: Client) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert (await client.control("POST", "notifications/settle")).status == 204


async def turn(client: Client, **switches: Any) -> None:
    answer = await client.control("PUT", "notifications", switches)
    assert answer.status == 200, answer.text


async def deliveries(client: Client, query: str = "kind=notification") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await client.control("GET", f"notifications/deliveries?{query}")).json
    return found


async def change(client: Client, path: str, **properties: Any) -> None:
    """Change a user or a group."""
    answer = await client.control("PATCH", path, properties)
    assert answer.status == 200, answer.text
