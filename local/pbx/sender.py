"""Delivers events to webhooks, beside the answers to requests: nobody waits for a receiver."""

import asyncio
import ssl
from collections import defaultdict
from pathlib import Path
from typing import Literal

import aiohttp
import msgspec

from local.pbx.machine import Machine
from local.pbx.webhooks import Event, Webhook

KEEP = 10_000
TIMEOUT_SECONDS = 10.0
LOOK_SECONDS = 0.02
"""How often a delayed delivery looks at the clock, which may be moved."""


class Delivery(msgspec.Struct):
    """One event on its way to one webhook, for the control API."""

    number: int
    at: str
    """When the event was raised."""
    url: str
    body: str
    signature: str
    state: Literal["waiting", "dropped", "answered", "unanswered"] = "waiting"
    tries: int = 0
    status: int | None = None
    """HTTP status of the last answer."""
    error: str = ""
    """Why there was none."""


class Sender:
    """Posts the events of ``machine``, those for one address in their order.

    ``trust`` is the PEM file of the authority that vouches for receivers; without it, those of the process do.
    """

    def __init__(self, machine: Machine, trust: Path | None = None) -> None:
        self.deliveries: list[Delivery] = []
        self._machine = machine
        self._trust = trust
        self._count = 0
        self._order: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._under_way: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None

    def publish(self, event: Event) -> None:
        """Start the deliveries of ``event``."""
        for webhook in self._machine.webhooks.webhooks:
            if event.type in webhook.topics:
                for _ in range(1 + self._machine.webhooks.repeat):
                    self._start(webhook, event.body())

    async def idle(self) -> None:
        """Wait until nothing is on its way any more."""
        while self._under_way:
            await asyncio.wait(self._under_way)

    def forget(self) -> None:
        """Give up what is on its way, and forget the record."""
        for task in self._under_way:
            task.cancel()
        self.deliveries.clear()

    async def close(self) -> None:
        """Give up what is on its way and close the connections."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _start(self, webhook: Webhook, body: bytes) -> None:
        self._count += 1
        clock, settings = self._machine.clock, self._machine.webhooks
        delivery = Delivery(self._count, clock.now().isoformat(), webhook.url, body.decode(), webhook.signature(body))
        self.deliveries.append(delivery)
        del self.deliveries[:-KEEP]
        if settings.drop:
            delivery.state = "dropped"
            return
        task = asyncio.create_task(
            self._deliver(delivery, webhook, clock.time() + settings.delay_seconds, 1 + settings.retries)
        )
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _deliver(self, delivery: Delivery, webhook: Webhook, due: float, tries: int) -> None:
        async with self._order[webhook.url]:
            while self._machine.clock.time() < due:  # noqa: ASYNC110 - the clock tells nobody when it is moved
                await asyncio.sleep(LOOK_SECONDS)
            while delivery.tries < tries and not 200 <= (delivery.status or 0) < 300:
                await self._post(delivery, webhook)

    async def _post(self, delivery: Delivery, webhook: Webhook) -> None:
        delivery.tries += 1
        delivery.status, delivery.error = None, ""
        headers = {"Content-Type": "application/json", "X-Signature": delivery.signature}
        try:
            async with self._open().request(
                webhook.method, webhook.url, data=delivery.body.encode(), headers=headers, allow_redirects=False
            ) as response:
                delivery.state, delivery.status = "answered", response.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            delivery.state, delivery.error = "unanswered", f"{type(error).__name__}: {error}"

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            context = ssl.create_default_context(cafile=self._trust)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=context, force_close=True),
                timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS),
                trust_env=False,
            )
        return self._session
