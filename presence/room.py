"""What presence needs of one connection, and what a process remembers about it."""

import asyncio
import datetime
import weakref
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from graph.client import Graph
from pbx.client import Pbx
from presence.trust import Trust
from store.document import Settings
from store.environment import Environment
from store.health import Health, HealthStore
from store.leases import LeaseStore
from store.links import LinkStore
from store.presence import PresenceStore, PresenceSubscription
from store.secrets import SecretStore
from store.settings import SettingsStore
from store.tables import Tables

FRESH = datetime.timedelta(seconds=15)
"""So long the rules are used as they were read."""
OPEN = datetime.timedelta(minutes=5)
"""So long a gateway to the PBX is used: then its secret may be another one."""


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
    delegated_token: Callable[[Sequence[str]], Awaitable[str]]
    """An access token for Graph in the name of the authorization account."""
    now: Callable[[], datetime.datetime]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    @property
    def store(self) -> PresenceStore:
        return PresenceStore(self.tables, self.id)

    @property
    def leases(self) -> LeaseStore:
        return LeaseStore(self.tables, self.id)


class Rules(msgspec.Struct, frozen=True):
    """What the administrator decided, and the state of the connection."""

    settings: Settings
    health: Health

    @property
    def are_on(self) -> bool:
        return self.settings.presence.enabled and not self.settings.missing() and not self.health.disabled


class Memory:
    """What a process remembers about one connection."""

    def __init__(self) -> None:
        self.writing = asyncio.Lock()
        """Only one of a process writes at a time."""
        self.waiting: dict[str, None] = {}
        """Object ids to be written out, the newest last."""
        self.waiters: list[tuple[set[str], asyncio.Future[bool]]] = []
        self.drain: asyncio.Task[None] | None = None
        self.is_failing = False
        self.trust = Trust()
        self.reading = asyncio.Lock()
        self.records: dict[str, PresenceSubscription] = {}
        """The subscriptions by Graph's id, and when they were read."""
        self.asked: list[PresenceSubscription] = []
        """Graph may announce changes before it has answered that it made the subscription."""
        self.records_at: datetime.datetime | None = None
        self.message_at: datetime.datetime | None = None
        """When a message for the queue was last made, which does for whatever was pending then."""
        self.dropped = 0
        self.reported_at: datetime.datetime | None = None
        self._rules: tuple[Rules, datetime.datetime] | None = None
        self._pbx: tuple[Pbx, Settings, datetime.datetime] | None = None

    async def rules(self, room: Room, now: datetime.datetime) -> Rules:
        """The rules, read at most every 15 s: two requests."""
        if self._rules is None or not self._rules[1] <= now < self._rules[1] + FRESH:
            settings = (await room.settings.load()).settings
            self._rules = Rules(settings, await room.health.load()), now
        return self._rules[0]

    async def pbx(self, room: Room, rules: Rules, now: datetime.datetime) -> Pbx:
        """The PBX, opened at most every 5 minutes, and when the settings change."""
        if self._pbx is not None:
            pbx, settings, opened_at = self._pbx
            if settings.pbx == rules.settings.pbx and opened_at <= now < opened_at + OPEN:
                return pbx
            await self.close_pbx()
        pbx = await room.open_pbx(rules.settings, rules.health)
        self._pbx = pbx, rules.settings, now
        return pbx

    async def close_pbx(self) -> None:
        """Have the PBX opened anew the next time, with the secret as it is then."""
        held, self._pbx = self._pbx, None
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
    if memory.drain is not None:
        await asyncio.wait([memory.drain])
    await memory.trust.close()
    await memory.close_pbx()
