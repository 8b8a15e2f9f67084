"""What presence needs of one connection, and what a process remembers about it."""

import asyncio
import datetime
import secrets
import weakref
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from graph.client import Graph
from pbx.client import Pbx
from pbx.presence import Shown
from presence.hearing import Said
from presence.listing import Listing
from presence.together import Together
from presence.trust import Trust
from presence.waiting import Waiting
from store.document import Settings
from store.environment import Environment
from store.errors import StoreError
from store.health import Health, HealthStore
from store.leases import LeaseStore
from store.links import LinkStore
from store.presence import KeptUser, PresenceStore, PresenceSubscription, Source, Teams
from store.secrets import SecretStore
from store.settings import SettingsStore
from store.shelf import Shelf
from store.tables import Tables

FRESH = datetime.timedelta(seconds=15)
"""So long the rules are used as they were read."""
BEHIND = datetime.timedelta(minutes=1)
"""So long after a write that an extension did not take others come first. In an outage of the PBX it is nobody's own
fault, and soon forgotten."""
OPEN = datetime.timedelta(minutes=5)
"""So long a gateway to the PBX is used: then its secret may be another one."""


class Subscriber(msgspec.Struct, frozen=True):
    """An account in whose name presence can be subscribed to."""

    account: str
    person: str = ""
    """Object id of who is behind it; empty while nobody is."""
    signed_in_at: str = ""
    tenant_id: str = ""
    """Object id of the person's tenant, from the sign-in: what is in an access token is not for clients to read."""

    @property
    def mark(self) -> str:
        """Changes when somebody signs in again, or somebody else does."""
        return f"{self.person}|{self.signed_in_at}"


type Subscribers = Callable[[], Awaitable[Sequence[Subscriber]]]
"""All of them; that of the authorization account comes first, signed in or not."""


class DelegatedToken(Protocol):
    """An access token for Graph in the name of one of these accounts, with these scopes. ``fresh``: a new one, because
    Graph keeps it and announces changes for no longer than it lives."""

    def __call__(self, account: str, scopes: Sequence[str], /, *, fresh: bool = False) -> Awaitable[str]: ...


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """One connection as this room sees it. Cheap to make: everything in it belongs to somebody else, who closes it."""

    id: str
    environment: Environment
    tables: Tables
    secrets: SecretStore
    settings: SettingsStore
    health: HealthStore
    links: LinkStore
    """Of users."""
    open_graph: Callable[[Settings, Health], Awaitable[Graph]]
    open_pbx: Callable[[Settings, Health], Awaitable[Pbx]]
    subscribers: Subscribers
    delegated_token: DelegatedToken
    now: Callable[[], datetime.datetime]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    @property
    def store(self) -> PresenceStore:
        return PresenceStore(self.tables, self.id, memory_of(self).shelf)

    @property
    def leases(self) -> LeaseStore:
        return LeaseStore(self.tables, self.id)


class Connected(Protocol):
    """A connection, as far as this room uses it."""

    id: str
    environment: Environment
    tables: Tables
    secrets: SecretStore
    settings: SettingsStore
    health: HealthStore

    def links(self, kind: Literal["users"], /) -> LinkStore: ...
    async def open_graph(self, settings: Settings, health: Health) -> Graph: ...
    async def open_pbx(self, settings: Settings, health: Health) -> Pbx: ...


def room_of(
    connection: Connected,
    now: Callable[[], datetime.datetime],
    subscribers: Subscribers,
    delegated_token: DelegatedToken,
) -> Room:
    """A connection as this room sees it."""
    return Room(
        id=connection.id,
        environment=connection.environment,
        tables=connection.tables,
        secrets=connection.secrets,
        settings=connection.settings,
        health=connection.health,
        links=connection.links("users"),
        open_graph=connection.open_graph,
        open_pbx=connection.open_pbx,
        subscribers=subscribers,
        delegated_token=delegated_token,
        now=now,
    )


class Rules(msgspec.Struct, frozen=True):
    """What the administrator decided, and the state of the connection."""

    settings: Settings
    health: Health

    @property
    def are_on(self) -> bool:
        return self.settings.presence.enabled and not self.settings.missing() and not self.health.disabled


class Known(msgspec.Struct):
    """What users showed in Teams who have to be asked about, as far as this process knows."""

    teams: dict[str, Teams]
    announced: set[str]
    """Who had not to be asked about then."""
    at: datetime.datetime


class Unrecorded(msgspec.Struct, frozen=True):
    """What a notification said, which is something, and who waits for it to be stored."""

    turn: int
    """As ``News.turn``."""
    said: Sequence[Said]
    stored: asyncio.Future[asyncio.Future[bool]]

    @property
    def rank(self) -> tuple[str, int]:
        return self.said[0].at, self.turn


class News(msgspec.Struct):
    """What is believed of a request."""

    at: str
    """When it came."""
    turn: int
    """Of those that came within a millisecond, the later one has a higher number."""
    proven: list[str] = []
    """Whom the subscription's secret came with."""
    said: list[Said] = []
    look: list[str] = []
    """Users about whom Graph has to be asked."""
    ended: list[PresenceSubscription] = []
    """Subscriptions that Graph wants renewed, or removed."""


class Heard:
    """What was heard from Graph and may not be in storage yet."""

    def __init__(self) -> None:
        self.unrecorded: list[Unrecorded] = []
        """The newest last."""
        self.turn = 0
        self.task: asyncio.Task[None] | None = None
        """Records them."""
        self.late: dict[asyncio.Task[asyncio.Future[bool] | None], int] = {}
        """Requests that are still worked on, behind their answers, with their length in bytes."""
        self.is_lost = False
        """One of those could not be recorded."""
        self.is_failing = False
        """The last attempt to record something failed."""
        self.fault: StoreError | None = None
        """What reading the subscriptions failed with the last time."""
        self.noting: asyncio.Task[None] | None = None
        """Keeps a note in storage while there are late requests."""
        self.looks: dict[Source, Together[dict[str, str]]] = {"notification": Together(), "poll": Together()}
        """Questions to Graph about users whom messages name, by what made them."""
        self.unnumbered: dict[str, None] = {}
        """States without a number that were read, the last one last: Graph may send them again."""


class Faulted(msgspec.Struct, frozen=True):
    """So often, and at last then, an extension did not take a write."""

    times: int
    at: datetime.datetime


class Trouble:
    """What is in the way of writing."""

    def __init__(self) -> None:
        self.fault: Exception | None = None
        """What kept this process from it the last time."""
        self.is_told = False
        """The log says that it is not written, and not yet that it is again."""
        self.since: datetime.datetime | None = None
        self.is_aside = False
        """Some were set aside when it wrote the last time, for whom a later poll does it."""
        self.users: dict[str, Faulted] = {}
        """Users whose extension did not take the last write."""


class Memory:
    """What a process remembers about one connection."""

    def __init__(self) -> None:
        self.process = secrets.token_hex(8)
        """Tells notes of this process from those of others."""
        self.waiting = Waiting()
        self.waiters: dict[str, list[tuple[set[str], asyncio.Future[bool]]]] = {}
        """Who waits for a user to be done, with all the users he still waits for."""
        self.shelf: Shelf[KeptUser] = Shelf()
        """Records of users as this process knows them."""
        self.fence = 0
        """Of the last lease under which it wrote: whoever wrote in between changed what is on the shelf."""
        self.edition = ""
        """Of the decisions about users that the shelf rests on."""
        self.drain: asyncio.Task[None] | None = None
        """Writes them: there is one in a process."""
        self.pump: Callable[[], None] | None = None
        """Lets it know that more are waiting, while it writes."""
        self.is_writing = False
        self.trouble = Trouble()
        self.left_seen = ""
        """The note of users who are left to others, as it was last acted on."""
        self.will_look = False
        """A message of the queue is going to look for whoever is pending, and has not begun."""
        self.is_left = False
        """It gave up writing, and could not note it for the next poll."""
        self.is_unswept = False
        """Storage failed in a sweep."""
        self.trust = Trust()
        self.reading = asyncio.Lock()
        self.records: dict[str, PresenceSubscription] = {}
        """The subscriptions by Graph's id, and when they were read."""
        self.asked: list[PresenceSubscription] = []
        """Graph may announce changes before it has answered that it made the subscription."""
        self.records_at: datetime.datetime | None = None
        self.read_at = 0.0
        """The same by the process's own clock (seconds)."""
        self.heard = Heard()
        self.message_at: datetime.datetime | None = None
        """When a message for the queue was last made, which does for whatever was pending then."""
        self.known: Known | None = None
        self.listing = Listing()
        self.shown: tuple[datetime.datetime, frozenset[int], Mapping[int, Shown]] | None = None
        """What the extensions with these ids showed a moment ago."""
        self.refused = 0
        """Notifications that were not believed and are not counted in storage yet, and why the last one was not."""
        self.refusal = ""
        self.reported_at: datetime.datetime | None = None
        self.counting: asyncio.Task[None] | None = None
        self._rules: tuple[Rules, datetime.datetime] | None = None
        self._asking: asyncio.Task[Rules] | None = None
        self._pbx: tuple[Pbx, Settings, datetime.datetime] | None = None
        self._opening = asyncio.Lock()

    def wait(self, now: datetime.datetime, object_id: str, heard_at: str, turn: int = 0) -> None:
        """Have a user wait to be written, as ``Waiting.add``: behind all others when that has just failed."""
        faulted = self.trouble.users.get(object_id)
        is_last = faulted is not None and faulted.at <= now < faulted.at + BEHIND
        self.waiting.add(object_id, "" if is_last else heard_at, 0 if is_last else turn)

    async def rules(self, room: Room, now: datetime.datetime) -> Rules:
        """The rules, read at most every 15 s: two requests."""
        if self._rules is not None and self._rules[1] <= now < self._rules[1] + FRESH:
            return self._rules[0]
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._read_rules(room, now))
        return await asyncio.shield(self._asking)  # everybody who comes meanwhile gets the same answer, or fault

    async def _read_rules(self, room: Room, now: datetime.datetime) -> Rules:
        settings = (await room.settings.load()).settings
        rules = Rules(settings, await room.health.load())
        if asyncio.current_task() is self._asking:
            self._rules = rules, now
        return rules

    def forget_rules(self) -> None:
        """Have the rules read anew the next time, whatever is being read."""
        self._rules = self._asking = None

    async def pbx(self, room: Room, rules: Rules, now: datetime.datetime) -> Pbx:
        """The PBX, opened at most every 5 minutes, and when the settings change; not while it is written to."""
        async with self._opening:
            if self._pbx is not None:
                pbx, settings, opened_at = self._pbx
                is_same = settings.pbx == rules.settings.pbx and opened_at <= now < opened_at + OPEN
                if is_same or self.is_writing:
                    return pbx
                await self.close_pbx()
            pbx = await room.open_pbx(rules.settings, rules.health)
            self._pbx = pbx, rules.settings, now
            return pbx

    async def close_pbx(self) -> None:
        """Have the PBX opened anew the next time, with the secret as it is then."""
        held, self._pbx = self._pbx, None
        self.listing.forget()
        if held is not None:
            await held[0].close()


# Kept with the storage account that a process opens once: what belongs to it ends with it.
_MEMORIES: weakref.WeakKeyDictionary[Tables, dict[str, Memory]] = weakref.WeakKeyDictionary()


def memory_of(room: Room) -> Memory:
    """The memory of a connection in this process."""
    return _MEMORIES.setdefault(room.tables, {}).setdefault(room.id, Memory())


async def close(room: Room) -> None:
    """Finish what is being written and let go of the PBX."""
    memory = memory_of(room)
    for task in (*memory.heard.late, memory.heard.noting, memory.heard.task, memory.counting):
        if task is not None:
            await asyncio.wait([task])
    if memory.drain is not None:
        await asyncio.wait([memory.drain])
    await memory.trust.close()
    await memory.close_pbx()
