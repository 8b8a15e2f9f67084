"""Where a simulation plays: a world for each seed, time that only it moves, and every request under watch."""

import asyncio
import contextlib
import datetime
import io
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any
from unittest.mock import patch

from tenacity import wait_none

from graph.client import Graph
from local.azurite import Azurite
from local.microsoft import MicrosoftEmulator
from local.microsoft.keys import KeyRing
from local.pbx.emulator import PbxEmulator
from local.sample import Tenant
from local.tls import ServerCertificate
from pbx.client import Pbx
from pbx.pacing import Pacer
from pbx.tokens import SharedToken
from store.errors import StoreUnavailable
from store.secrets import SecretStore
from store.tables import Tables
from sync.applying import Applier
from tests.engine.world import PBX_CLIENT_ID, PBX_SECRET, START, World

STORAGE: list[tuple[type, str]] = [
    (Tables, "get_timed"),
    (Tables, "_page"),
    (Tables, "_sent"),
    (Tables, "delete"),
    (SecretStore, "read"),
]
DOORS: list[tuple[type, str]] = [*STORAGE, (Pbx, "_send"), (Graph, "_send")]
"""Everything that leaves the process goes through one of these."""
A_LONG_TIME = 10**9


class Killed(BaseException):
    """The process is gone; nothing catches this."""


class Gate:
    """Every request of the bridge passes here, one at a time and in the order of asking, until it is told otherwise.

    ``kill_after`` lets so many requests through, and then the process is dead; ``kill_behind`` counts only the requests
    of this path on the PBX. ``storage_fails_after`` lets so many
    storage requests through; then ``storage_failures`` of them fail. ``carries_out`` says whether the first request
    that is hit is carried out nevertheless. ``at`` calls back before the request of that number.
    """

    def __init__(self) -> None:
        # With two on their way at once the machine would decide which is the third, and not the seed.
        self._turn = asyncio.Lock()
        self.open()

    def open(self) -> None:
        self.kill_after: int | None = None
        self.kill_behind = ""
        self.storage_fails_after: int | None = None
        self.storage_failures = 0
        self.carries_out = False
        self.at: dict[int, Callable[[], None]] = {}
        self.passed = 0
        self.hits = 0

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Let everything through for a moment, and count none of it."""
        planned = vars(self).copy()
        self.open()
        yield
        vars(self).update(planned)

    async def meet(self, request: Callable[[], Awaitable[Any]], *, is_storage: bool, path: str) -> Any:
        async with self._turn:
            return await self._meet(request, is_storage=is_storage, path=path)

    async def _meet(self, request: Callable[[], Awaitable[Any]], *, is_storage: bool, path: str) -> Any:
        number, self.passed = self.passed, self.passed + 1
        if self._kills(path):
            await self._hit(request)
            raise Killed
        if is_storage and self.storage_fails_after is not None:
            self.storage_fails_after -= 1
            if self.storage_fails_after < 0 and self.storage_failures:
                self.storage_failures -= 1
                await self._hit(request)
                raise StoreUnavailable("the storage cannot be reached (simulated)")
        if number in self.at:
            self.at.pop(number)()
        return await request()

    def _kills(self, path: str) -> bool:
        if self.kill_after is None:
            return False
        if self.kill_after > 0 and path.startswith(self.kill_behind):
            self.kill_after -= 1
            return False
        return self.kill_after == 0 and (self.hits > 0 or path.startswith(self.kill_behind))

    async def _hit(self, request: Callable[[], Awaitable[Any]]) -> None:
        self.hits += 1
        if self.carries_out and self.hits == 1:
            await request()


class Hourglass:
    """The monotonic time as the applier asks it: plenty until it was asked so often, and then the time is up once."""

    def __init__(self) -> None:
        self.chunks: int | None = None

    def monotonic(self) -> float:
        if self.chunks is None:
            return 0.0
        self.chunks -= 1
        if self.chunks >= 0:
            return 0.0
        self.chunks = None
        return float(A_LONG_TIME)


class Stage:
    """A world, its clock, and what was said in it."""

    def __init__(self, world: World, gate: Gate, hourglass: Hourglass, said: io.StringIO) -> None:
        self.world = world
        self.gate = gate
        self.hourglass = hourglass
        self.said = said
        self._heard = 0
        self.sensitive: set[str] = set()
        self._seen = [0, 0]
        self._set_clocks()

    def advance(self, pause: datetime.timedelta) -> None:
        """Let time pass everywhere at once."""
        self.world.now += pause
        self._set_clocks()

    def advance_to(self, moment: datetime.datetime) -> None:
        self.advance(max(moment - self.world.now, datetime.timedelta()))

    def time(self) -> float:
        return self.world.pbx.clock.time()

    def spoken(self) -> str:
        """What was logged since the last call."""
        self.said.seek(self._heard)
        text = self.said.read()
        self._heard += len(text)
        return text

    def secrets(self) -> frozenset[str]:
        """Every secret, token and password that came up so far."""
        for record in self.world.microsoft.requests[self._seen[0] :]:
            self.sensitive.add(record.headers.get("Authorization", "").removeprefix("Bearer "))
        for record in self.world.pbx.requests[self._seen[1] :]:
            self.sensitive.add(record.query.get("access_token", ""))
        self._seen = [len(self.world.microsoft.requests), len(self.world.pbx.requests)]
        for extension in self.world.pbx.machine.directory:
            secrets = extension.test_only_secrets
            self.sensitive |= {secrets.user_password, secrets.reg_password}
        self.sensitive.discard("")
        return frozenset(self.sensitive)

    def _set_clocks(self) -> None:
        offset = self.world.now.timestamp() - time.time()
        self.world.microsoft.clock.offset = self.world.pbx.clock.offset = offset


@contextlib.asynccontextmanager
async def staged(
    azurite: Azurite,
    certificate: ServerCertificate,
    keys: KeyRing,
    tenant: Tenant,
    extensions: list[dict[str, object]],
) -> AsyncIterator[Stage]:
    """A stage for one seed; the world's connection id is new, the storage is shared."""
    with patch("local.microsoft.emulator.KeyRing", lambda: keys):  # reading an RSA key takes as long as a run
        microsoft = MicrosoftEmulator(tenant)
    # Tokens of the managed identity outlive the simulation: the Azure clients cannot be told its time.
    microsoft.identity.identity.token_seconds = A_LONG_TIME
    pbx = PbxEmulator(extensions, client_id=PBX_CLIENT_ID, client_secret=PBX_SECRET)
    async with await microsoft.start(certificate), await pbx.start(certificate):
        # The PBX closes each connection: looking its name up every time would take as long as all else.
        pbx.url = pbx.url.replace("localhost", "127.0.0.1")
        world = World(azurite, microsoft, pbx)
        world.now = START
        with _watched() as (gate, hourglass, said):
            stage = Stage(world, gate, hourglass, said)
            with patch.object(SharedToken.__init__, "__defaults__", (stage.time,)):
                try:
                    yield stage
                finally:
                    gate.open()
                    await world.close()


@contextlib.contextmanager
def _watched() -> Iterator[tuple[Gate, Hourglass, io.StringIO]]:
    """No pauses, one request at a time, every request through a gate, and the log in memory."""
    gate, hourglass, said = Gate(), Hourglass(), io.StringIO()
    handler, root = logging.StreamHandler(said), logging.getLogger()
    level = root.level
    with contextlib.ExitStack() as stack:
        for owner, name in DOORS:
            stack.enter_context(patch.object(owner, name, _guarded(gate, owner, name)))
        stack.enter_context(patch("graph.client._exponential", lambda _: 0.0))
        stack.enter_context(patch("pbx.client.wait_random_exponential", lambda **_: wait_none()))
        stack.enter_context(patch.object(Pacer, "turn", _no_pause))
        # One write at a time: the order in which several arrive is the machine's, not the seed's.
        stack.enter_context(patch("pbx.client.concurrent_writes", lambda _: 1))
        stack.enter_context(patch("sync.applying.time", hourglass))
        # A dead process keeps its lease; whoever comes later finds it run out.
        stack.enter_context(patch("store.leases.DURATION", datetime.timedelta(seconds=-5)))
        root.addHandler(handler)
        root.setLevel(logging.INFO)
        try:
            yield gate, hourglass, said
        finally:
            root.removeHandler(handler)
            root.setLevel(level)


def _guarded(gate: Gate, owner: type, name: str) -> Callable[..., Awaitable[Any]]:
    original: Callable[..., Awaitable[Any]] = getattr(owner, name)
    is_storage = (owner, name) in STORAGE

    async def method(*arguments: Any, **options: Any) -> Any:
        path = arguments[1].path if owner is Pbx else ""
        return await gate.meet(lambda: original(*arguments, **options), is_storage=is_storage, path=path)

    return method


async def _no_pause(_: Pacer) -> None:
    return


@contextlib.contextmanager
def small_chunks(size: int) -> Iterator[None]:
    """Let plans be applied in chunks of ``size``, so that a small tenant has several of them."""
    original = Applier.__init__

    def smaller(self: Applier, **options: Any) -> None:
        original(self, **options)
        self._chunk = size

    with patch.object(Applier, "__init__", smaller):
        yield
