"""Takes Graph's change notifications: prove, record, answer. Graph wants an answer within 3 s and gets it in a few ms.

A notification is a hint to look, and nothing of it but the object id is believed. Whoever calls gets the same answer,
true or forged. Facts: https://learn.microsoft.com/graph/change-notifications-delivery-webhooks.
"""

import asyncio
import datetime
import hashlib
import hmac
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from weakref import WeakKeyDictionary

import msgspec

from store.changes import ChangeStore, Event
from store.document import Schedule
from store.errors import StoreError
from store.links import Kind
from store.subscriptions import Resource, Subscription, SubscriptionStore
from sync.batches import is_full
from sync.connection import Connection
from sync.firing import concerning, fire
from sync.messages import Message, Outcome
from sync.running import active_kinds

log = logging.getLogger("sync")

TOKEN = "validationToken"  # noqa: S105 - the name of a query parameter
LONGEST_TOKEN = 2048
UNFIT = re.compile(r"[<>\x00-\x1f\x7f]")
LARGEST_BODY = 1_000_000
"""Bytes; about 2,000 items. Graph sends far fewer at once."""
PATIENCE_SECONDS = 2.0
"""Storage that takes longer is given up, so that the answer comes before Graph stops waiting and sends again."""
FRESH = datetime.timedelta(seconds=15)
"""So long the records of subscriptions and the rules are used as they were read."""
PAUSE = datetime.timedelta(seconds=2)
"""Unknown subscriptions make us read the records again at most so often, however many are made up."""
ASKED_FOR = datetime.timedelta(seconds=10)
"""So long after a run was asked for nobody counts: the batch waits for its end anyway."""
REPORT = datetime.timedelta(minutes=1)
OBJECT_ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

ACCEPTED = Outcome(202)
LATER = Outcome(503, "The notification could not be recorded. Send it again later.")


class Item(msgspec.Struct, frozen=True, rename="camel"):
    """One notification, of a change or of the life of a subscription."""

    subscription_id: str
    client_state: str | None = None
    tenant_id: str | None = None
    change_type: str = ""
    resource: str = ""
    resource_data: msgspec.Raw = msgspec.Raw()
    lifecycle_event: str = ""

    def event(self, kind: str) -> Event:
        """What it announces. A repeated notification is the same event, byte for byte."""
        parts = (self.subscription_id, self.change_type, self.resource, self.lifecycle_event)
        text = "\n".join(parts).encode("utf-8", "surrogatepass") + bytes(self.resource_data)
        return Event(kind, self._object_id(), hashlib.sha256(text).hexdigest()[:24])

    def _object_id(self) -> str:
        try:
            found = msgspec.json.decode(self.resource_data, type=_ResourceData).id
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            found = ""
        found = found or self.resource.rstrip("/").rsplit("/", 1)[-1]
        return found.lower() if OBJECT_ID.fullmatch(found) else ""


class _ResourceData(msgspec.Struct, frozen=True):
    id: str = ""


class _Post(msgspec.Struct, frozen=True):
    value: list[msgspec.Raw]


class _Memory:
    """What a process remembers about a connection between notifications."""

    def __init__(self) -> None:
        self.reading = asyncio.Lock()
        self.read_at: datetime.datetime | None = None
        self.records: dict[str, Subscription] = {}
        self.asked: list[Subscription] = []
        """Graph may announce changes before it has answered that it made the subscription."""
        self.schedule = Schedule()
        self.what: list[Kind] = []
        """What is synced now."""
        self.concerning: frozenset[Resource] = frozenset()
        """Whose changes matter to that."""
        self.counted: int | None = None
        """Events of the batch when it was last looked at."""
        self.since: set[str] = set()
        """Marks recorded here since then."""
        self.asked_until: datetime.datetime | None = None
        self.dropped = 0
        self.reported_at: datetime.datetime | None = None

    def is_older(self, age: datetime.timedelta, now: datetime.datetime) -> bool:
        return self.read_at is None or not datetime.timedelta() <= now - self.read_at < age

    def knows(self, items: Sequence[Item]) -> bool:
        return all(item.subscription_id in self.records for item in items)

    def record_of(self, item: Item) -> Subscription | None:
        """The subscription that a notification proves to come from; ``None`` for a forged one."""
        known = self.records.get(item.subscription_id)
        return next((record for record in ([known] if known else self.asked) if _proves(item, record)), None)

    def should_count(self, marks: set[str], now: datetime.datetime) -> bool:
        """Whether the batch may have become full. Other processes add to it too, so it is looked at more and more
        often as it fills: four of them together overlook nothing, and more than that only until the next minute."""
        if self.asked_until is not None and now < self.asked_until:
            return False
        self.since |= marks
        if self.counted is None:
            return True
        return len(self.since) >= max(1, (self.schedule.change_count - self.counted) // 4)

    def drop(self, number: int, now: datetime.datetime) -> None:
        """Count what is not believed, and say so once in a while."""
        self.dropped += number
        if number and (self.reported_at is None or now - self.reported_at >= REPORT):
            self.reported_at = now
            log.warning("%d notifications so far came from no subscription of ours; they were dropped", self.dropped)


_memories: WeakKeyDictionary[Connection, _Memory] = WeakKeyDictionary()


async def receive_directory(
    connection: Connection, params: Mapping[str, str], body: bytes, now: datetime.datetime
) -> Outcome:
    """Record announced changes of users and groups. 202 whatever was sent, 503 when it could not be recorded."""

    async def work(memory: _Memory, proven: list[tuple[Item, Subscription]]) -> list[Message]:
        events = [item.event(record.resource) for item, record in proven if record.resource in memory.concerning]
        return await _record(connection, memory, events, now)

    return await _received(connection, params, body, now, work)


async def receive_lifecycle(
    connection: Connection, params: Mapping[str, str], body: bytes, now: datetime.datetime
) -> Outcome:
    """Take note of what Graph says about the subscriptions themselves."""

    async def work(memory: _Memory, proven: list[tuple[Item, Subscription]]) -> list[Message]:
        messages: list[Message] = []
        for item, record in proven:
            match item.lifecycle_event.casefold():
                case "reauthorizationrequired":
                    messages += await _mark(connection, record, "renew")
                case "subscriptionremoved":
                    messages += await _mark(connection, record, "gone")
                case "missed" if record.resource in memory.concerning:
                    await ChangeStore(connection.tables, connection.id).add([item.event(record.resource)], now)
                    messages += await fire(connection, memory.what, now)
        return list(dict.fromkeys(messages))

    return await _received(connection, params, body, now, work)


def handshake(token: str) -> Outcome:
    """The answer to Graph's question whether the address is ours: its token, decoded."""
    if len(token) > LONGEST_TOKEN or UNFIT.search(token):
        return Outcome(400, "This is no validation token of Microsoft Graph.")
    return Outcome(200, token)


def parse(body: bytes) -> tuple[list[Item], int]:
    """The notifications of a request, and how many could not be read."""
    try:
        raw = msgspec.json.decode(body, type=_Post).value
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return [], 1
    items: list[Item] = []
    for one in raw:
        try:
            items.append(msgspec.json.decode(one, type=Item))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
    return items, len(raw) - len(items)


async def _received(
    connection: Connection,
    params: Mapping[str, str],
    body: bytes,
    now: datetime.datetime,
    work: Callable[[_Memory, list[tuple[Item, Subscription]]], Awaitable[list[Message]]],
) -> Outcome:
    if TOKEN in params:
        return handshake(params[TOKEN])
    memory = _memories.setdefault(connection, _Memory())
    items, unread = parse(body) if len(body) <= LARGEST_BODY else ([], 1)
    if not items:
        memory.drop(unread, now)
        return ACCEPTED
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await _refresh(connection, memory, items, now)
            proven = [(item, record) for item in items if (record := memory.record_of(item)) is not None]
            memory.drop(unread + len(items) - len(proven), now)
            return Outcome(202, messages=tuple(await work(memory, proven))) if proven else ACCEPTED
    except (StoreError, TimeoutError) as error:
        log.warning("Notifications could not be recorded, Graph will send them again: %s", error or "no answer in time")
        return LATER
    except Exception:
        log.exception("Notifications could not be recorded")
        return LATER


async def _refresh(connection: Connection, memory: _Memory, items: Sequence[Item], now: datetime.datetime) -> None:
    """Read the subscriptions and the rules anew when they are old, or when somebody names an unknown subscription."""

    def is_needed() -> bool:
        return memory.is_older(FRESH, now) or (not memory.knows(items) and memory.is_older(PAUSE, now))

    if not is_needed():
        return
    async with memory.reading:
        if not is_needed():
            return  # another request did it meanwhile
        records = [kept.record for kept in (await SubscriptionStore(connection.tables, connection.id).all()).values()]
        settings = (await connection.settings.load()).settings
        memory.what = active_kinds(settings, await connection.health.load())
        memory.concerning = concerning(settings, memory.what)
        memory.schedule = settings.schedule
        memory.records = {record.id: record for record in records if record.id}
        memory.asked = [record for record in records if record.state == "asked"]
        memory.read_at = now


def _proves(item: Item, record: Subscription) -> bool:
    given = (item.client_state or "").encode("utf-8", "surrogatepass")
    is_known = bool(record.client_state) and hmac.compare_digest(given, record.client_state.encode())
    is_ours = not record.tenant_id or (item.tenant_id or "").casefold() == record.tenant_id.casefold()
    return is_known and is_ours


async def _record(
    connection: Connection, memory: _Memory, events: Sequence[Event], now: datetime.datetime
) -> list[Message]:
    distinct = list({event.mark: event for event in events}.values())
    if not distinct:
        return []
    changes = ChangeStore(connection.tables, connection.id)
    await changes.add(distinct, now)
    if not memory.should_count({event.mark for event in distinct}, now):
        return []
    if memory.schedule.change_delay_minutes > 0:
        batch = await changes.batch(top=memory.schedule.change_count + 1)
        memory.counted, memory.since = batch.distinct(), set()
        if batch.fired is None and not is_full(batch, memory.schedule):
            return []
    memory.asked_until = now + ASKED_FOR
    return await fire(connection, memory.what, now)


async def _mark(connection: Connection, record: Subscription, state: str) -> list[Message]:
    """Have a subscription renewed or made anew by whoever takes the message; a later state of it is left alone."""

    def change(current: Subscription) -> Subscription | None:
        if current.id != record.id or current.state != "live":
            return None
        return msgspec.structs.replace(current, state="renew" if state == "renew" else "gone", next_try_at="")

    saved = await SubscriptionStore(connection.tables, connection.id).update(record.resource, change)
    return [] if saved is None else [Message(connection.id, task="subscriptions")]
