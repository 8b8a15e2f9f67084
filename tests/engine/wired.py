"""A world whose Graph can call the bridge: a small web server in place of the Functions host, and its queue."""

import datetime
from typing import Any, Self

import msgspec
from aiohttp import web

from store.changes import Batch, ChangeStore
from store.subscriptions import Subscription, SubscriptionStore
from sync import notifications, subscriptions
from sync.connection import Connection
from sync.dispatch import carry_out, due
from sync.messages import Message, Outcome
from sync.service import Bridge
from tests.engine.world import World


class Wired:
    """``async with Wired(world) as wired``. Messages wait in ``queue`` until ``work`` is called."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.queue: list[Message] = []
        self.outcomes: list[Outcome] = []
        self.url = ""

    async def __aenter__(self) -> Self:
        self._runner = web.ServerRunner(web.Server(self._serve), shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        await self.move_to(self.url)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def move_to(self, base_url: str) -> None:
        """Deploy it anew under another address."""
        world = self.world
        await world.bridge.close()
        world.environment = msgspec.structs.replace(world.environment, public_base_url=base_url)
        world.bridge = Bridge(world.environment, now=world.tell)

    @property
    def connection(self) -> Connection:
        return self.world.connection

    @property
    def changes(self) -> ChangeStore:
        return ChangeStore(self.connection.tables, self.connection.id)

    async def batch(self) -> Batch:
        return await self.changes.batch()

    async def records(self) -> dict[str, Subscription]:
        kept = await SubscriptionStore(self.connection.tables, self.connection.id).all()
        return {resource: one.record for resource, one in kept.items()}

    async def sync_users(self, **rules: Any) -> None:
        """Users on, first run done."""
        await self.world.secrets()
        [message] = await self.world.enable(**rules)
        run = await self.world.execute(message)
        assert run.status == "succeeded", run

    async def pretend_synced(self) -> None:
        """Users on, as if the first run had just succeeded; for tests that need no extensions."""
        await self.world.enable()
        await self.world.secrets()
        stamp = self.world.tell().isoformat(timespec="milliseconds")
        await self.connection.health.update(
            lambda health: msgspec.structs.replace(health, initial_pending=False, last_full_success=stamp)
        )

    async def subscribe(self) -> Subscription:
        """What the queue does when the minute says that subscriptions are due."""
        await self.ensure()
        record = (await self.records())["users"]
        assert record.state == "live", record.last_error
        return record

    async def ensure(self) -> None:
        settings = (await self.connection.settings.load()).settings
        await subscriptions.ensure(self.connection, settings, self.world.tell())

    async def minute(self) -> list[Message]:
        """What announced changes ask for this minute."""
        return await due(self.connection, self.world.tell())

    async def heard(self) -> None:
        """Let Graph deliver what it has to tell."""
        await self.world.microsoft.postman.settle(1)

    async def work(self, *messages: Message) -> None:
        """Do what these messages, or all in the queue, ask for, and what follows from it."""
        todo = list(messages) or self.queue
        while todo:
            todo += await carry_out(self.connection, todo.pop(0), self.world.tell)

    def passes(self, **span: float) -> None:
        self.world.now += datetime.timedelta(**span)

    async def _serve(self, request: web.BaseRequest) -> web.Response:
        receive = {
            "/notifications/directory": notifications.receive_directory,
            "/notifications/lifecycle": notifications.receive_lifecycle,
        }[request.path]
        outcome = await receive(self.connection, request.query, await request.read(), self.world.tell())
        self.outcomes.append(outcome)
        self.queue += outcome.messages
        return web.Response(status=outcome.status, text=outcome.text, headers=outcome.headers)
