"""What an administrator is told while something lasts, what a restarted storage costs, and what a wrong clock does."""

import asyncio
import datetime
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

import msgspec
import pytest
import time_machine
from tenacity import wait_none

from local.azurite import Azurite
from local.emulator import Fault
from local.microsoft import MicrosoftEmulator
from local.pbx.emulator import PbxEmulator
from local.sample import generate_tenant
from local.tls import ServerCertificate
from pbx.client import Pbx
from pbx.pacing import concurrent_writes
from store.errors import StoreUnavailable
from store.identity import retries
from store.runs import Run
from store.tables import Tables
from sync.service import Bridge, execute, request_run, tick
from sync.status import read_status
from tests.engine.test_interruptions import outcome, prepare, put_back, store_content
from tests.engine.world import PBX_CLIENT_ID, PBX_SECRET, World

API = "/openapi/v1.0"
DELTA = "/v1.0/users/delta*"
A_LONG_TIME = 30.0  # seconds; nobody waits for it


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again is tried at once."""
    monkeypatch.setattr("graph.client._exponential", lambda _: 0.0)
    monkeypatch.setattr("pbx.client.wait_random_exponential", lambda **_: wait_none())


async def synced(world: World) -> None:
    await world.secrets()
    [message] = await world.enable()
    assert (await world.execute(message)).status == "succeeded"


# Lasting faults, and the words for them


class Told(NamedTuple):
    """What a run says that met a fault: its code, a part of its message, and of what to do."""

    code: str
    message: str
    action: str


BY_ITSELF = "The bridge tries again by itself."
NO_WISH = Fault("status", path=DELTA, status=429, times=None)
LONG_WISH = Fault("status", path=DELTA, status=429, headers={"Retry-After": "3600"}, times=None)
GRAPH_FAULTS = [
    pytest.param(NO_WISH, Told("graph_throttled", "Graph throttles us (HTTP 429).", BY_ITSELF), id="throttled"),
    pytest.param(LONG_WISH, Told("graph_throttled", "Graph throttles us (HTTP 429).", BY_ITSELF), id="for-an-hour"),
    *[
        pytest.param(
            Fault("status", path=DELTA, status=status, times=None),
            Told("graph_unavailable", f"Graph fails (HTTP {status}).", BY_ITSELF),
            id=str(status),
        )
        for status in (500, 502, 503, 504)
    ],
    pytest.param(
        Fault("drop", path=DELTA, times=None),
        Told("graph_unavailable", "Graph cannot be reached (RemoteProtocolError).", BY_ITSELF),
        id="reset-connections",
    ),
    pytest.param(
        Fault("truncate", path=DELTA, bytes=300, times=None),
        Told("graph_unavailable", "Graph cannot be reached (RemoteProtocolError).", BY_ITSELF),
        id="half-a-page",
    ),
    pytest.param(
        Fault("reset", path=DELTA, options={"answer": "410"}, times=None),
        Told("graph_resync", "Graph broke the read of the directory off twice", BY_ITSELF),
        id="410-again-and-again",
    ),
    pytest.param(
        Fault("status", path="*/oauth2/v2.0/token", status=503, times=None),
        Told("graph_unavailable", "Entra", BY_ITSELF),
        id="no-tokens",
    ),
]
PBX_FAULTS = [
    pytest.param(
        Fault("status", path=f"{API}/system/*", status=502, times=None),
        Told("pbx_fault", "The PBX or the tunnel before it answers HTTP 502.", "reachable by its FQDN"),
        id="bad-gateway",
    ),
    pytest.param(
        Fault("drop", path=f"{API}/extension/list", times=None),
        Told("pbx_no_answer", "The PBX did not answer extension/list (ServerDisconnectedError).", "that the PBX is up"),
        id="reset-connections",
    ),
    pytest.param(
        Fault("truncate", path=f"{API}/extension/list", bytes=20, times=None),
        Told("pbx_no_answer", "The PBX did not answer extension/list (ClientPayloadError).", "that the PBX is up"),
        id="half-an-answer",
    ),
    pytest.param(
        Fault("errcode", path=f"{API}/extension/list", options={"errcode": 70082}, times=None),
        Told("pbx_busy", "The PBX is running a heavy task", "such as a backup"),
        id="busy",
    ),
    pytest.param(
        Fault("errcode", path=f"{API}/extension/list", options={"errcode": 40002}, times=None),
        Told("pbx_refused", "The PBX refuses to be read: the PBX does not accept a value", "the firmware of the PBX"),
        id="refused-reads",
    ),
]


SILENCE = [
    pytest.param(
        Fault("delay", path=DELTA, seconds=A_LONG_TIME, times=None),
        Told("graph_unavailable", "Graph cannot be reached (ReadTimeout).", BY_ITSELF),
        id="graph",
    ),
    pytest.param(
        Fault("delay", path=f"{API}/system/capacity", seconds=A_LONG_TIME, times=None),
        Told("pbx_no_answer", "The PBX did not answer system/capacity (", "that the PBX is up"),
        id="pbx",
    ),
]


async def struck(world: World, fault: Fault) -> Run:
    """The first run of a connection, with this fault around it."""
    await world.secrets()
    [message] = await world.enable()
    fault.hits = fault.seen = 0
    (world.pbx if fault.path.startswith(API) else world.microsoft).faults.append(fault)
    return await world.execute(message)


async def judge(world: World, run: Run, told: Told) -> None:
    """The run told what it met, changed nothing, and comes again five minutes later by itself."""
    assert run.status == "failed"
    assert run.fault is not None
    assert run.fault.code == told.code
    assert run.message.startswith(told.message)
    assert told.action in run.fault.action
    assert world.writes() == []
    retry_at = (await world.connection.health.load()).retry_at
    assert retry_at is not None
    pause = datetime.datetime.fromisoformat(retry_at) - world.now
    assert datetime.timedelta(minutes=4) < pause <= datetime.timedelta(minutes=5)
    world.pbx.faults.clear()
    world.microsoft.faults.clear()
    world.now = datetime.datetime.fromisoformat(retry_at)
    [message] = await tick(world.connection, world.tell())
    assert (await world.execute(message)).status == "succeeded"


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize(("fault", "told"), [*GRAPH_FAULTS, *PBX_FAULTS])
async def test_a_fault_that_lasts_ends_the_run_with_plain_words_and_it_is_tried_again(
    world: World, fault: Fault, told: Told
) -> None:
    await judge(world, await struck(world, fault), told)


@pytest.mark.parametrize(("fault", "told"), SILENCE)
async def test_a_service_that_keeps_silent_ends_the_run_with_plain_words_and_it_is_tried_again(
    world: World, fault: Fault, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        for name in ("graph", "pbx"):
            patched.setattr(f"{name}.client.ATTEMPTS", 1)
        patched.setattr("graph.client.TIMEOUT_SECONDS", 2.0)
        patched.setitem(Pbx.__init__.__kwdefaults__ or {}, "timeout", 2.0)
        run = await struck(world, fault)
    await judge(world, run, told)


@pytest.mark.usefixtures("no_pauses")
async def test_a_long_wish_of_graph_is_not_slept_through_and_a_missing_one_not_repeated_for_ever(world: World) -> None:
    await world.secrets()
    await world.enable()
    for fault, tries in ((LONG_WISH, 1), (NO_WISH, 5)):
        fault.hits = 0
        world.microsoft.faults[:] = [fault]
        await world.run()
        assert fault.hits == tries


@pytest.mark.usefixtures("no_pauses")
async def test_an_administrator_is_told_at_the_third_failure_in_a_row_and_no_more_when_it_works(world: World) -> None:
    await synced(world)
    world.microsoft.faults.append(Fault("status", path=DELTA, status=503, times=None))
    told = []
    for _ in range(4):
        await world.run()
        status = await read_status(world.connection, world.tell())
        told.append((status.state, [reason.message for reason in status.reasons]))
    words = ["Graph fails (HTTP 503)."]
    assert told == [("connected", []), ("connected", []), ("needs_attention", words), ("needs_attention", words)]
    world.microsoft.faults.clear()
    await world.run()
    assert (await read_status(world.connection, world.tell())).reasons == []


async def test_a_pbx_where_nobody_answers_the_door_is_named_unreachable(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pbx.client.wait_random_exponential", lambda **_: wait_none())
    await world.secrets()
    await world.enable()
    await world.pbx.stop()
    run = await world.run()
    assert run.fault is not None
    assert run.fault.code == "pbx_unreachable"
    assert run.message.startswith("No connection to the PBX (")
    assert "check that the PBX is up and reachable by its FQDN" in run.fault.action


async def test_an_address_that_is_not_permitted_is_told_at_once(world: World) -> None:
    await synced(world)
    world.pbx.faults.append(Fault("errcode", path=f"{API}/*", options={"errcode": 70087}, times=None))
    run = await world.run()
    assert run.fault is not None
    assert run.fault.code == "pbx_address_blocked"
    status = await read_status(world.connection, world.tell())
    assert status.state == "needs_attention"
    assert "not on the PBX's permitted list" in status.reasons[0].message
    assert "permitted addresses of Integrations > API" in status.reasons[0].action


@pytest.mark.usefixtures("no_pauses")
async def test_a_pbx_that_stays_busy_ends_the_run_and_each_user_says_why(world: World) -> None:
    await world.secrets()
    await world.enable()
    world.pbx.faults.append(Fault("errcode", path=f"{API}/extension/create", options={"errcode": 70082}, times=None))
    run = await world.run()
    assert run.fault is not None
    assert run.fault.code == "pbx_busy"
    failed = [item for item in await world.items(run) if item.outcome == "failed"]
    assert failed
    assert {item.errcode for item in failed} == {70082}
    assert all("running a heavy task" in item.reason for item in failed)
    world.pbx.faults.clear()
    assert (await world.run()).status == "succeeded"


async def test_a_pbx_that_is_full_before_it_said_so_skips_the_rest_and_makes_them_when_there_is_room(
    world: World,
) -> None:
    await world.secrets()
    await world.enable()
    full = Fault("errcode", path=f"{API}/extension/create", skip=10, options={"errcode": 60002}, times=None)
    world.pbx.faults.append(full)
    run = await world.run()
    assert run.status == "succeeded"
    assert run.counts["create.done"] == 10
    reasons = {item.reason for item in await world.items(run) if item.operation == "create" and item.outcome != "done"}
    assert reasons == {"The PBX has no room for another extension: the limit of its licence is reached."}
    assert full.hits <= concurrent_writes(1000)  # those that were on their way already
    world.pbx.faults.clear()
    again = await world.run()
    assert again.counts["create.done"] == run.counts["create.skipped"]


# Directories that look empty


async def test_an_empty_first_page_with_a_next_link_is_no_empty_directory(world: World) -> None:
    await synced(world)
    before = world.extensions()
    world.microsoft.graph.delta.switches.empty_pages = 3
    run = await world.run()
    assert run.status == "succeeded"
    assert run.counts["unchanged"] == len(await world.links())
    assert not any(name.startswith(("delete", "release")) for name in run.counts)
    assert world.extensions() == before


async def test_an_empty_directory_is_told_and_everybody_keeps_the_extension_until_somebody_decides(
    world: World,
) -> None:
    await synced(world)
    directory, links = world.microsoft.directory, await world.links()
    for entity in [entity for _, entity in directory.live("user")]:
        directory.delete(entity)
    before = world.extensions()
    run = await world.run()
    assert run.counts["delete.held"] == len(links)
    assert world.extensions() == before
    [reason] = (await read_status(world.connection, world.tell())).reasons
    assert reason.code == "deletions_held"
    assert f"Entra returned nobody at all, or nobody in the scope's groups, while {len(links)}" in reason.message
    assert f"/api/runs/{run.id}/approve" in reason.action


# Storage that is restarted


@pytest.fixture
async def storage() -> AsyncIterator[Azurite]:
    async with Azurite(persist=True) as azurite:
        yield azurite


@pytest.fixture
async def small_world(
    storage: Azurite, certificate: ServerCertificate, signing_keys: list[dict[str, str]]
) -> AsyncIterator[World]:
    microsoft = MicrosoftEmulator(generate_tenant(12, 1, 4))
    microsoft.keys.load(signing_keys)
    by_hand = ({"number": "1001"}, {"number": "1003", "email_addr": "late@contoso.example", "first_name": "By hand"})
    pbx = PbxEmulator(by_hand, client_id=PBX_CLIENT_ID, client_secret=PBX_SECRET)
    async with await microsoft.start(certificate), await pbx.start(certificate):
        world = World(storage, microsoft, pbx)
        try:
            yield world
        finally:
            await world.close()


class Undisturbed(NamedTuple):
    """What a run leads to when nothing happens, and all that is needed to have it start once more."""

    end: Any
    created: list[str]
    microsoft: Any
    pbx: Any
    content: Any

    async def put_back(self, world: World) -> None:
        world.microsoft.load(self.microsoft)
        world.pbx.load(self.pbx)
        world.pbx.requests.clear()
        await put_back(world, self.content)


async def undisturbed(world: World) -> Undisturbed:
    # A run that fails after its deletions were made counts them, and the next one plans those it has no record of.
    await world.settings(lambda document: document["guard"].update(max_deletion_percent=100))
    microsoft, pbx = await prepare(world)
    content = await store_content(world)
    world.pbx.requests.clear()
    assert (await world.run()).status == "succeeded"
    return Undisturbed(outcome(world, await world.links()), created(world), microsoft, pbx, content)


def created(world: World) -> list[str]:
    """The numbers of the extensions that the PBX was asked to create."""
    requests = [request for request in world.pbx.requests if request.path.endswith("/extension/create")]
    return sorted(msgspec.json.decode(request.body)["number"] for request in requests)


def before_write(
    monkeypatch: pytest.MonkeyPatch, table: str, skip: int, action: Callable[[], Awaitable[object]]
) -> list[str]:
    """Do something right before a write to ``table``, once; the answer fills when it was done."""
    original, seen, done = Tables._sent, [0], list[str]()

    async def single(self: Tables, name: str, send: Any) -> Any:
        if name == table and not done:
            seen[0] += 1
            if seen[0] > skip:
                done.append(name)
                await action()
        return await original(self, name, send)

    monkeypatch.setattr(Tables, "_sent", single)
    return done


WRITES = [
    pytest.param("leases", 1, id="intents-are-noted"),
    pytest.param("links", 0, id="links-are-stored"),
    pytest.param("cursors", 0, id="the-cursor-moves"),
]


async def tried_again(world: World, run: Run) -> Run:
    """The run; if the storage failed it, the one that the bridge then starts by itself."""
    if run.status != "failed":
        return run
    assert run.fault is not None
    assert (run.fault.code, run.fault.action) == ("storage_unavailable", BY_ITSELF)
    world.now = datetime.datetime.fromisoformat((await world.connection.health.load()).retry_at or "")
    [message] = await tick(world.connection, world.tell())
    return await world.execute(message)


@pytest.mark.parametrize(("table", "skip"), WRITES)
async def test_the_work_lives_through_a_restart_of_the_storage_when(
    small_world: World, storage: Azurite, monkeypatch: pytest.MonkeyPatch, table: str, skip: int
) -> None:
    world = small_world
    expected = await undisturbed(world)
    await expected.put_back(world)
    starting: list[asyncio.Task[None]] = []

    async def restart() -> None:
        await storage.stop()
        starting.append(asyncio.create_task(storage.start()))

    done = before_write(monkeypatch, table, skip, restart)
    run = await world.run()
    await starting[0]
    assert done
    run = await tried_again(world, run)
    assert run.status == "succeeded", run
    assert outcome(world, await world.links()) == expected.end
    assert created(world) == expected.created


@pytest.mark.parametrize(("table", "skip"), WRITES)
async def test_a_run_that_loses_its_storage_altogether_is_resumed_when(
    small_world: World, storage: Azurite, monkeypatch: pytest.MonkeyPatch, table: str, skip: int
) -> None:
    world = small_world
    expected = await undisturbed(world)
    await expected.put_back(world)
    run, message = await request_run(world.connection, world.tell(), started_by="api")
    done = before_write(monkeypatch, table, skip, storage.stop)
    monkeypatch.setattr("store.tables.retries", lambda _: retries(0))
    impatient = Bridge(world.environment, now=world.tell)
    with pytest.raises(StoreUnavailable):
        await execute(impatient.connection(world.id), message.run, world.tell)
    await impatient.close()
    assert done
    await storage.start()
    # The process that lost its storage could not give its lease back; it has run out by now.
    monkeypatch.setattr("store.leases.DURATION", datetime.timedelta(seconds=-5))
    again = await world.execute(message, run.id)
    assert (again.status, again.executions) == ("succeeded", 2)
    assert outcome(world, await world.links()) == expected.end
    assert created(world) == expected.created


# A clock that is wrong

HOURS = pytest.mark.parametrize("hours", [7, -7], ids=["fast", "slow"])


class Clock:
    """The clock of the machine that runs the app. Storage, the PBX and Microsoft have the right time."""

    def __init__(self, world: World, traveller: time_machine.Traveller) -> None:
        self._world = world
        self._traveller = traveller
        self._true = datetime.datetime.now(datetime.UTC)
        self.wrong(0)

    def wrong(self, hours: float) -> None:
        """The clock is so many hours fast from now on; slow, if fewer than none."""
        self._offset = datetime.timedelta(hours=hours)
        self.pass_(datetime.timedelta())

    def pass_(self, time: datetime.timedelta) -> None:
        """Let time pass for everybody."""
        self._true += time
        self._world.now = self._true + self._offset
        self._traveller.move_to(self._world.now)
        self._world.pbx.clock.offset = self._world.microsoft.clock.offset = -self._offset.total_seconds()


@pytest.fixture
async def clock(world: World) -> AsyncIterator[Clock]:
    with time_machine.travel(datetime.datetime.now(datetime.UTC)) as traveller:
        yield Clock(world, traveller)


def sign_ins(world: World) -> list[str]:
    """How the PBX was asked for tokens, and with what success."""
    return [f"{issue.kind} {issue.outcome}" for issue in world.pbx.machine.tokens.history]


@HOURS
async def test_a_wrong_clock_keeps_no_token_too_long_and_takes_no_token_too_many(
    world: World, clock: Clock, hours: int
) -> None:
    clock.wrong(hours)
    await synced(world)
    for pause in (datetime.timedelta(minutes=40), datetime.timedelta(hours=3)):
        clock.pass_(pause)
        run = await world.run(mode="incremental")
        assert run.status == "succeeded", run
    assert sign_ins(world) == ["get_token issued", "refresh_token issued", "refresh_token issued"]
    assert (await read_status(world.connection, world.tell())).state == "connected"


@HOURS
async def test_a_clock_that_is_put_right_costs_a_renewal_and_no_run(world: World, clock: Clock, hours: int) -> None:
    clock.wrong(hours)
    await synced(world)
    clock.wrong(0)
    for pause in (datetime.timedelta(minutes=1), datetime.timedelta(minutes=40)):
        clock.pass_(pause)
        run = await world.run(mode="incremental")
        assert run.status == "succeeded", run
    assert sign_ins(world)[0] == "get_token issued"
    assert set(sign_ins(world)[1:]) == {"refresh_token issued"}
    assert len(sign_ins(world)) <= 3


@HOURS
async def test_machines_whose_clocks_disagree_share_one_lease_and_give_up_no_run(
    world: World, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    await synced(world)
    offset = datetime.timedelta(hours=hours)
    other = Bridge(world.environment, now=lambda: world.tell() + offset)
    connection = other.connection(world.id)
    reached, go, original = asyncio.Event(), asyncio.Event(), Pbx.extensions

    async def extensions(self: Pbx) -> Any:
        if not reached.is_set():
            reached.set()
            await go.wait()
        return await original(self)

    monkeypatch.setattr(Pbx, "extensions", extensions)
    run, message = await request_run(world.connection, world.tell(), started_by="api")
    executing = asyncio.create_task(world.execute(message, run.id))
    await reached.wait()
    with time_machine.travel(datetime.datetime.now(datetime.UTC) + offset):
        second, refused = await request_run(connection, other.now(), started_by="api")
        assert await execute(connection, refused.run, other.now) == []
        found = await connection.runs.get(second.id)
        assert found is not None
        assert (found.status, run.id in found.message) == ("refused", True)
        for _ in range(8):
            world.now += datetime.timedelta(minutes=16)
            assert await tick(connection, other.now()) == []
    go.set()
    assert (await executing).status == "succeeded"
    await other.close()


@pytest.mark.parametrize(
    ("hours", "put_right_after"),
    [(7, 9), (-7, 8), (-7, 15), (7, 40), (-7, 40)],
    ids=["fast-then-right", "slow-then-right", "slow-beyond-midnight", "fast-all-day", "slow-all-day"],
)
async def test_the_schedule_is_served_once_a_day_by_a_wrong_clock(
    world: World, hours: int, put_right_after: int
) -> None:
    noon = datetime.datetime(2026, 3, 2, 12, tzinfo=datetime.UTC)
    wrong = datetime.timedelta(hours=hours)
    world.now = noon + wrong
    await synced(world)
    started: list[str] = []
    for minutes in range(0, 24 * 60, 10):
        is_right = minutes >= put_right_after * 60
        world.now = noon + datetime.timedelta(minutes=minutes) + (datetime.timedelta() if is_right else wrong)
        messages = await tick(world.connection, world.tell())
        started += [(await world.execute(message)).started_by for message in messages]
    assert started == ["schedule"]
