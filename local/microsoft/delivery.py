"""Delivery of notifications to endpoints: gathered into POSTs, repeated until they are accepted or four hours are over.

After "Receive change notifications through webhooks" in the revision of April 2026: an answer of 2xx within 3 s is a
delivery; anything else is repeated with exponential backoff for up to 4 hours, and repetitions are waited for 10 s.
All times are those of the emulator's clock, so moving it makes retries due and gives up hanging endpoints.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from local.emulator import Clock
from local.microsoft.endpoints import PENALTY, Endpoints
from local.microsoft.notification_switches import NotificationSwitches
from local.microsoft.transport import Outcome, Transport

FIRST_TIMEOUT, RETRY_TIMEOUT = 3.0, 10.0
RETRY_SECONDS = 4 * 3600.0
TOO_OLD = "It was not accepted within 4 hours."
MOST_RECORDS = 50_000
LONGEST_SLEEP = 3600.0

type Kind = Literal["notification", "lifecycle", "handshake", "by_hand", "forged"]
type State = Literal["sending", "delivered", "retrying", "discarded", "dropped"]


class Attempt(msgspec.Struct, frozen=True):
    """One POST. ``status`` is ``None`` when no answer came; ``problem`` then says why."""

    at: str
    seconds: float
    status: int | None
    problem: str | None


class Delivery(msgspec.Struct, kw_only=True):
    """The record of one POST and its repetitions. ``dropped`` ones were never sent; ``reason`` says why."""

    number: int
    kind: Kind
    url: str
    body: Any
    """The JSON value; text when it was sent as such."""
    state: State = "sending"
    reason: str | None = None
    subscription_ids: list[str] = []
    """The subscription of each notification in the body."""
    attempts: list[Attempt] = []
    first_at: float = 0.0
    due: float = 0.0
    """When the next attempt is due, in seconds since the epoch."""


class Waiting(msgspec.Struct, frozen=True, eq=False):
    """One notification on its way to a POST."""

    item: dict[str, Any]
    subscription_id: str
    url: str
    kind: Kind
    due: float


class Postman:
    """Carries notifications. ``is_known`` says whether a subscription still exists: for others nothing is sent."""

    def __init__(self, clock: Clock, transport: Transport) -> None:
        self._clock = clock
        self._transport = transport
        self.switches = NotificationSwitches()
        self.is_known: Callable[[str], bool] = lambda _: True
        self.complete: Callable[[Delivery], None] = lambda _: None
        """Puts in what a POST needs besides its items, before each attempt."""
        self.forgeries: Callable[[Delivery], list[bytes]] = lambda _: []
        """What a forger sends to the same URL behind the first attempt."""
        self.deliveries: list[Delivery] = []
        self.endpoints = Endpoints()
        self._count = 0
        self._waiting: list[Waiting] = []
        self._retries: list[Delivery] = []
        self._under_way: set[asyncio.Task[None]] = set()
        self._free_at: dict[str, float] = {}
        self._wake = asyncio.Event()
        self._stirred = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None

    # Life

    async def open(self) -> None:
        await self._transport.open()
        self._worker = asyncio.create_task(self._run())

    async def close(self) -> None:
        """End everything that is under way; nothing is left behind."""
        tasks = [*self._under_way, *([self._worker] if self._worker is not None else [])]
        self._worker = None
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self._transport.close()

    def clear(self) -> None:
        """Forget everything: what waits, what is under way, the record, the endpoints and the switches."""
        for task in self._under_way:
            task.cancel()
        self._waiting, self._retries = [], []
        self._free_at.clear()
        self.deliveries = []
        self.endpoints.clear()
        self.switches = NotificationSwitches()
        self.stir()

    # Orders

    def put(self, item: dict[str, Any], subscription_id: str, url: str, kind: Kind) -> None:
        """Take one notification for ``url``; lifecycle events are neither dropped nor repeated by the switches."""
        now, switches = self._clock.time(), self.switches
        if kind == "notification" and switches.drop_next > 0:
            switches.drop_next -= 1
            self.drop(item, subscription_id, url, kind, "The switch drop_next lost it.")
            return
        if switches.penalties and self.endpoints.is_dropped(url, now):
            self.drop(item, subscription_id, url, kind, "The endpoint answered too slowly too often.")
            return
        slow = switches.penalties and self.endpoints.is_slow(url, now)
        due = now + (PENALTY if slow else switches.window_seconds)
        for _ in range(1 + (switches.repeat if kind == "notification" else 0)):
            self._waiting.append(Waiting(item, subscription_id, url, kind, due))
        self.stir()

    def drop(self, item: dict[str, Any], subscription_id: str, url: str, kind: Kind, reason: str) -> None:
        """Note a notification that is lost."""
        delivery = self._record(kind, url, {"value": [item]}, [subscription_id])
        delivery.state, delivery.reason = "dropped", reason

    async def post_once(self, kind: Kind, url: str, body: bytes, content_type: str, limit: float) -> Outcome:
        """One POST outside the queue, recorded, never repeated."""
        delivery = self._record(kind, url, _shown(body), [])
        outcome = await self._send(delivery, body, content_type, limit)
        delivery.state = "delivered" if _accepted(outcome) else "discarded"
        return outcome

    async def settle(self, within: float = 1.0) -> None:
        """Wait until nothing is under way and nothing becomes due within so many seconds; retries may stay."""
        while self._under_way or self._due_at() <= self._clock.time() + within:
            self._stirred.clear()
            await self._stirred.wait()

    def stir(self) -> None:
        """Look again: something waits, or the switches are others."""
        self._wake.set()
        self._stirred.set()

    # The worker

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            self._send_due()
            self._stirred.set()
            sleep = min(self._due_at() - self._clock.time(), LONGEST_SLEEP)
            with contextlib.suppress(TimeoutError):
                async with self._clock.timeout(sleep):
                    await self._wake.wait()

    def _due_at(self) -> float:
        """When the next POST can be sent; endless when nothing waits or everything is held."""
        if self.switches.hold:
            return float("inf")
        waiting = [(item.due, item.url) for item in self._waiting]
        retries = [(delivery.due, delivery.url) for delivery in self._retries]
        return min((max(due, self._free(url)) for due, url in waiting + retries), default=float("inf"))

    def _free(self, url: str) -> float:
        return self._free_at.get(url, 0.0) if self.switches.posts_per_minute is not None else 0.0

    def _send_due(self) -> None:
        if self.switches.hold:
            return
        now = self._clock.time()
        for url, kind in dict.fromkeys((item.url, item.kind) for item in self._waiting):
            self._send_gathered(url, kind, now)
        for delivery in [delivery for delivery in self._retries if delivery.due <= now]:
            if self._free(delivery.url) <= now:
                self._retries.remove(delivery)
                self._start(delivery, now)

    def _send_gathered(self, url: str, kind: Kind, now: float) -> None:
        """Send what waits for an endpoint in POSTs of ``most_items``; a smaller one only with something due in it."""
        switches = self.switches
        horizon = now + switches.window_seconds
        gathered = [item for item in self._waiting if (item.url, item.kind) == (url, kind) and item.due <= horizon]
        if switches.reorder:
            gathered.reverse()
        while self._free(url) <= now:
            batch, gathered = gathered[: switches.most_items], gathered[switches.most_items :]
            if len(batch) < switches.most_items and not any(item.due <= now for item in batch):
                return
            taken = frozenset(batch)
            self._waiting = [item for item in self._waiting if item not in taken]
            body = {"value": [item.item for item in batch]}
            self._start(self._record(kind, url, body, [item.subscription_id for item in batch]), now)

    def _start(self, delivery: Delivery, now: float) -> None:
        if self.switches.posts_per_minute is not None:
            self._free_at[delivery.url] = now + 60.0 / self.switches.posts_per_minute
        task = asyncio.create_task(self._attempt(delivery))
        self._under_way.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self.stir()

    async def _attempt(self, delivery: Delivery) -> None:
        if not self._forget_unknown(delivery):
            delivery.state, delivery.reason = "discarded", "No subscription of it exists any more."
            return
        if delivery.attempts and self._clock.time() > delivery.first_at + RETRY_SECONDS:
            delivery.state, delivery.reason = "discarded", TOO_OLD
            return
        self.complete(delivery)
        limit, forged = RETRY_TIMEOUT, []
        if not delivery.attempts:
            limit, forged = FIRST_TIMEOUT, self.forgeries(delivery)
        delivery.state = "sending"
        body = msgspec.json.encode(delivery.body)
        outcome = await self._send(delivery, body, "application/json", limit)
        self.endpoints.note(delivery.url, outcome, limit, self._clock.time())
        if _accepted(outcome):
            delivery.state = "delivered"
        else:
            self._retry(delivery)
        for copy in forged:
            await self.post_once("forged", delivery.url, copy, "application/json", RETRY_TIMEOUT)

    def _forget_unknown(self, delivery: Delivery) -> bool:
        """Take out what belongs to subscriptions that are gone, and say whether anything is left."""
        pairs = list(zip(delivery.subscription_ids, delivery.body["value"], strict=True))
        kept = [(subscription_id, item) for subscription_id, item in pairs if self.is_known(subscription_id)]
        if kept and len(kept) < len(pairs):
            delivery.subscription_ids = [subscription_id for subscription_id, _ in kept]
            delivery.body = {"value": [item for _, item in kept]}
        return bool(kept)

    def _retry(self, delivery: Delivery) -> None:
        pause = self.switches.first_retry_seconds * 2 ** (len(delivery.attempts) - 1)
        delivery.due = self._clock.time() + pause
        if delivery.due > delivery.first_at + RETRY_SECONDS:
            delivery.state, delivery.reason = "discarded", TOO_OLD
            return
        delivery.state = "retrying"
        self._retries.append(delivery)

    async def _send(self, delivery: Delivery, body: bytes, content_type: str, limit: float) -> Outcome:
        started = self._clock.now()
        delivery.first_at = delivery.first_at or started.timestamp()
        outcome = await self._transport.post(delivery.url, body, content_type, limit)
        attempt = Attempt(started.isoformat(), outcome.seconds, outcome.status, outcome.problem)
        delivery.attempts = [*delivery.attempts, attempt]
        return outcome

    def _record(self, kind: Kind, url: str, body: Any, subscription_ids: list[str]) -> Delivery:
        self._count += 1
        delivery = Delivery(number=self._count, kind=kind, url=url, body=body, subscription_ids=subscription_ids)
        self.deliveries.append(delivery)
        if len(self.deliveries) > MOST_RECORDS:
            del self.deliveries[: MOST_RECORDS // 10]
        return delivery


def _accepted(outcome: Outcome) -> bool:
    return outcome.status is not None and 200 <= outcome.status < 300


def _shown(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        return body.decode("utf-8", "replace")
