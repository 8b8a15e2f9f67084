"""Keeps the subscriptions that announce changes of users and groups: made, renewed, found again, ended.

Without them nothing is missed, only found later: scheduled runs and the slow poll read all the same. So whatever goes
wrong here is told in the status and tried again, and stops nothing.
"""

import contextlib
import datetime
import logging
import secrets
from collections.abc import Mapping, Sequence
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from graph.client import Graph
from graph.errors import GraphError, NotFound, Retry, SubscriptionExists
from graph.models import Subscription as Found
from graph.subscriptions import NewSubscription, graph_time
from store.changes import ChangeStore, Event
from store.document import Settings
from store.environment import Environment
from store.errors import Changed
from store.identity import LOOPBACK
from store.subscriptions import Kept, Resource, State, Subscription, SubscriptionStore
from sync.connection import Connection
from sync.faults import explain
from sync.messages import Message

log = logging.getLogger("sync")

LIFETIME = datetime.timedelta(days=3)
"""Of the 29 days that Graph allows: an address that nobody serves any more is forgotten soon. Renewed at half of it."""
CLAIM = datetime.timedelta(minutes=2)
"""Longer than making a subscription takes, with the handshake: meanwhile nobody else tries."""
PAUSE_MINUTES = (1, 5, 15, 60)
"""After so many failures in a row; the last one repeats."""
RESOURCES: tuple[Resource, ...] = ("users", "groups")

type Step = Literal["create", "find", "renew", "replace", "remove"]


class View(msgspec.Struct, frozen=True):
    """A subscription as the status shows it."""

    resource: str
    state: State
    expires_at: str
    last_error: str


class Aim(msgspec.Struct, frozen=True):
    """What should be: which resources, told to which address, by which application."""

    resources: frozenset[Resource]
    base_url: str
    application: str

    @property
    def notification_url(self) -> str:
        return f"{self.base_url}/notifications/directory"

    @property
    def lifecycle_url(self) -> str:
        return f"{self.base_url}/notifications/lifecycle"


def aim(settings: Settings, environment: Environment) -> Aim:
    """What the settings ask for; nothing while Graph could not reach us."""
    application = f"{settings.microsoft.tenant_id}|{settings.microsoft.client_id}".lower()
    resources: set[Resource] = set()
    if settings.users.enabled:
        resources.add("users")
    if settings.groups.enabled or (settings.users.enabled and settings.users.scope.kind == "groups"):
        resources.add("groups")
    if unreachable(environment):
        resources.clear()
    return Aim(frozenset(resources), environment.public_base_url, application)


def unreachable(environment: Environment) -> str:
    """Why Graph cannot send us notifications, for people; empty when it can. Plain http is for loopback only."""
    url = environment.public_base_url
    if not url:
        return "The app setting PUBLIC_BASE_URL is not set, so Microsoft Graph has nowhere to send notifications."
    try:
        parts = urlsplit(url)
        is_usable = bool(parts.hostname) and (parts.scheme == "https" or parts.hostname in LOOPBACK)
    except ValueError:
        is_usable = False
    return "" if is_usable else "The app setting PUBLIC_BASE_URL has to be an https address."


def step(record: Subscription | None, resource: Resource, wanted: Aim, now: datetime.datetime) -> Step | None:
    """What to do about one resource now; ``None`` when all is well, or when it is too early to try again."""
    if record is None:
        return "create" if resource in wanted.resources else None
    if record.next_try_at and now < datetime.datetime.fromisoformat(record.next_try_at):
        return None
    if resource not in wanted.resources:
        return "remove"
    if (record.application, record.notification_url) != (wanted.application, wanted.notification_url):
        return "replace"
    if record.state == "asked":
        return "find"
    if record.state == "gone" or not record.id:
        return "create"
    if record.state == "renew" or datetime.datetime.fromisoformat(record.expires_at) - now <= LIFETIME / 2:
        return "renew"
    return None


async def due(connection: Connection, settings: Settings, now: datetime.datetime) -> list[Message]:
    """The message that has the subscriptions put right, if anything has to be done: one request to storage."""
    if settings.missing():
        return []
    kept = await SubscriptionStore(connection.tables, connection.id).all()
    return [Message(connection.id, task="subscriptions")] if _steps(connection, settings, kept, now) else []


async def ensure(connection: Connection, settings: Settings, now: datetime.datetime) -> None:
    """Make, renew, find again or end what has to be. Graph is opened only when something is due.

    A failure is noted on the record, with the time of the next try. Only storage itself can fail this.
    """
    if settings.missing():
        return
    kept = await SubscriptionStore(connection.tables, connection.id).all()
    steps = _steps(connection, settings, kept, now)
    if not steps:
        return
    try:
        graph = await connection.open_graph(settings, await connection.health.load())
    except Exception as error:  # noqa: BLE001 - whatever it is becomes the record's reason
        for resource in steps:
            await _failed(connection, settings, resource, error, now)
        return
    async with graph:
        for one, verb in steps.items():
            keeper = _Keeper(connection, settings, graph, one, now)
            try:
                await keeper.do(verb, kept.get(one))
            except Changed:
                continue  # somebody else is at it
            except Exception as error:  # noqa: BLE001 - whatever it is becomes the record's reason
                await _failed(connection, settings, one, error, now)


async def remove_all(connection: Connection, settings: Settings) -> list[str]:
    """End all subscriptions and forget them. Answers what Graph did not confirm: that ends by itself within 3 days, and
    nothing that it still announces is believed."""
    store = SubscriptionStore(connection.tables, connection.id)
    kept = await store.all()
    if not kept:
        return []
    troubles: list[str] = []
    application = aim(settings, connection.environment).application
    try:
        async with await connection.open_graph(settings, await connection.health.load()) as graph:
            for one in kept.values():
                await _end(graph, one.record, application)
    except Exception as error:  # noqa: BLE001 - disconnecting goes on, and says what was left behind
        troubles.append(f"The subscriptions at Microsoft Graph were not ended. {_words(error)}")
    for resource in kept:
        await store.remove(resource)
    return troubles


async def overview(connection: Connection) -> list[View]:
    """The subscriptions as the status shows them: one request to storage."""
    kept = await SubscriptionStore(connection.tables, connection.id).all()
    records = [kept[resource].record for resource in RESOURCES if resource in kept]
    return [View(record.resource, record.state, record.expires_at, record.last_error) for record in records]


class _Keeper:
    """Carries out one step for one resource."""

    def __init__(
        self, connection: Connection, settings: Settings, graph: Graph, resource: Resource, now: datetime.datetime
    ) -> None:
        self._connection = connection
        self._aim = aim(settings, connection.environment)
        self._graph = graph
        self._resource: Resource = resource
        self._now = now
        self._store = SubscriptionStore(connection.tables, connection.id)

    async def do(self, verb: Step, kept: Kept | None) -> None:
        """``Changed`` when somebody else works on the same resource."""
        if kept is None or verb == "create":
            await self._create(kept)
        elif verb == "find":
            await self._find(kept)
        elif verb == "renew":
            await self._renew(kept)
        elif verb == "replace":
            await _end(self._graph, kept.record, self._aim.application)
            await self._create(kept)
        else:
            await _end(self._graph, kept.record, self._aim.application)
            await self._store.remove(self._resource)

    async def _create(self, kept: Kept | None) -> None:
        """Make it. The record comes first, so that notifications are believed from the first one on, and so that a
        subscription whose answer gets lost is known again."""
        earlier = kept.record if kept is not None else Subscription(resource=self._resource)
        asked = Subscription(
            resource=self._resource,
            state="asked",
            client_state=secrets.token_urlsafe(32),
            tenant_id=await self._graph.tenant_id(),
            application=self._aim.application,
            notification_url=self._aim.notification_url,
            expires_at=graph_time(self._now + LIFETIME),
            created_at=self._stamp(),
            last_error=earlier.last_error,
            failures=earlier.failures,
            next_try_at=(self._now + CLAIM).isoformat(timespec="seconds"),
        )
        kept = await self._store.save(asked, kept.etag if kept is not None else "")
        try:
            made = await self._subscribe(asked)
        except GraphError as error:
            if not isinstance(error, Retry):  # refused: surely not made
                await self._save(msgspec.structs.replace(asked, state="gone"))
            raise
        await self._live(asked, made)
        if earlier.id:
            await self._look(asked)

    async def _subscribe(self, asked: Subscription) -> Found:
        try:
            return await self._graph.subscribe(self._new(asked))
        except SubscriptionExists:
            # Of an earlier life of this deployment, with a client state that nobody knows any more; or of another one.
            await self._clear(await _present(self._graph, self._resource))
        return await self._graph.subscribe(self._new(asked))

    async def _clear(self, present: Sequence[Found]) -> None:
        others = [found for found in present if found.notification_url != self._aim.notification_url]
        if others:
            host = urlsplit(others[0].notification_url).netloc or "another address"
            raise SubscriptionExists(
                f"another deployment at {host} is told about {self._resource} as the same application"
            )
        for found in present:
            await self._graph.delete_subscription(found.id)

    async def _find(self, kept: Kept) -> None:
        """Find out what became of a subscription whose answer got lost. The end that was asked for tells it from any
        other one: Graph shows the client state to nobody."""
        asked = kept.record
        present = await _present(self._graph, self._resource)
        ours = [found for found in present if found.notification_url == asked.notification_url]
        made = next((found for found in ours if _end_of(found) == asked.expires_at), None)
        if made is None:
            await self._create(kept)
            return
        await self._live(asked, made)
        await self._look(asked)

    async def _renew(self, kept: Kept) -> None:
        try:
            found = await self._graph.renew_subscription(kept.record.id, self._now + LIFETIME)
        except NotFound:
            await self._create(kept)
        else:
            await self._live(kept.record, found)

    async def _live(self, record: Subscription, found: Found) -> None:
        if record.failures:
            log.info("Changes of %s are announced again", self._resource)
        await self._save(
            msgspec.structs.replace(
                record,
                state="live",
                id=found.id,
                expires_at=_end_of(found) or record.expires_at,
                renewed_at=self._stamp(),
                last_error="",
                failures=0,
                next_try_at="",
            )
        )

    async def _save(self, record: Subscription) -> None:
        """Save what Graph just said, over whatever came between."""
        await self._store.update(self._resource, lambda _: record)

    async def _look(self, record: Subscription) -> None:
        """Have a run look what changed while nothing was announced."""
        event = Event(self._resource, "", f"gap-{record.resource}-{record.created_at}")
        await ChangeStore(self._connection.tables, self._connection.id).add([event], self._now)

    def _new(self, asked: Subscription) -> NewSubscription:
        return NewSubscription(
            resource=asked.resource,
            notification_url=asked.notification_url,
            lifecycle_notification_url=self._aim.lifecycle_url,
            expiration_date_time=asked.expires_at,
            client_state=asked.client_state,
        )

    def _stamp(self) -> str:
        return self._now.isoformat(timespec="seconds")


def _steps(
    connection: Connection, settings: Settings, kept: Mapping[str, Kept], now: datetime.datetime
) -> dict[Resource, Step]:
    wanted = aim(settings, connection.environment)
    steps: dict[Resource, Step] = {}
    for resource in RESOURCES:
        record = kept[resource].record if resource in kept else None
        if (verb := step(record, resource, wanted, now)) is not None:
            steps[resource] = verb
    return steps


async def _present(graph: Graph, resource: str) -> list[Found]:
    """The application's subscriptions to the changes of a resource, whoever made them."""
    return [found for found in await graph.subscriptions() if found.resource.strip("/").casefold() == resource]


async def _end(graph: Graph, record: Subscription, application: str) -> None:
    """End one at Graph. What was made by another application cannot be reached any more and runs out by itself."""
    if record.application != application:
        return
    if record.id:
        await graph.delete_subscription(record.id)
    elif record.state == "asked":
        for found in await _present(graph, record.resource):
            if found.notification_url == record.notification_url:
                await graph.delete_subscription(found.id)


def _end_of(found: Found) -> str:
    """When it ends, in our own spelling; empty when Graph does not say it."""
    try:
        return graph_time(datetime.datetime.fromisoformat(found.expiration_date_time))
    except ValueError:
        return ""


async def _failed(
    connection: Connection, settings: Settings, resource: Resource, error: Exception, now: datetime.datetime
) -> None:
    """Note why, and when to try again. Told to the log once, until it works again."""
    words = _words(error)
    wanted = aim(settings, connection.environment)
    store = SubscriptionStore(connection.tables, connection.id)

    def change(record: Subscription) -> Subscription:
        failures = record.failures + 1
        pause = datetime.timedelta(minutes=PAUSE_MINUTES[min(failures, len(PAUSE_MINUTES)) - 1])
        wish = datetime.timedelta(seconds=getattr(error, "retry_after", None) or 0.0)
        next_try = (now + max(pause, wish)).isoformat(timespec="seconds")
        return msgspec.structs.replace(record, failures=failures, last_error=words, next_try_at=next_try)

    saved = await store.update(resource, change)
    if saved is None:
        blank = Subscription(
            resource=resource, application=wanted.application, notification_url=wanted.notification_url
        )
        with contextlib.suppress(Changed):  # somebody else noted it
            saved = (await store.save(change(blank))).record
    if saved is not None and saved.failures == 1:
        log.warning("Changes of %s are not announced: %s", resource, words)


def _words(error: Exception) -> str:
    """What went wrong and what to do, as sentences."""
    if isinstance(error, GraphError):
        message, action = str(error), error.action
    else:
        policy, fault = explain(error)
        message, action = fault.message, fault.action
        if policy == "bug":
            log.error("The subscriptions could not be kept", exc_info=error)
    return f"{message[:1].upper()}{message[1:].rstrip('.')}. {action}".strip()[:500]
