"""Pause, resume, disable, enable, disconnect, as the API offers them: what stays, what goes, what comes back."""

import contextlib
import datetime
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from tenacity import wait_none

from local.azurite import Azurite
from local.emulator import Fault
from local.microsoft.apps import certificate_from_pem
from local.pbx.directory import Extension
from local.sample import CLIENT_ID, CLIENT_SECRET, TENANT_ID
from local.tls import ServerCertificate
from pbx.client import Pbx
from store.errors import SecretMissing
from store.leases import Lease
from store.links import Link
from store.runs import Run
from store.secrets import InternalName, SecretStore, presence_token
from store.sessions import AccountRecord, SessionStore
from sync import api, dispatch, service
from sync.api import Ask, Reply
from sync.applying import Intent, encode_intents
from sync.connection import Connection
from sync.messages import Message
from sync.running import Execution
from tests.engine.doom import Doom, doomed, is_killed
from tests.engine.wired import Wired
from tests.engine.world import PBX_SECRET, World, empty_world

BY_HAND = "2000"
SYNCED = ["1000", "1001", "1002"]
OTHER_TENANT = "99999999-0000-4000-8000-000000000009"
FURTHER = "aaaa0001-0000-4000-8000-000000000001"


@pytest.fixture
async def world(
    azurite: Azurite, certificate: ServerCertificate, signing_keys: list[dict[str, str]]
) -> AsyncIterator[World]:
    """Three users and a group of two, synced; and an extension that was made by hand."""
    async with empty_world(azurite, certificate, signing_keys) as world:
        world.pbx.machine.directory.add(Extension(number=BY_HAND))
        people = world.people(3)
        world.group("Sales", *people[:2])
        await world.first_sync()
        world.pbx.requests.clear()
        yield world


class Answer(NamedTuple):
    status: int
    body: Any
    reply: Reply

    @property
    def location(self) -> str:
        return self.reply.headers.get("Location", "")


async def answer(work: Callable[[], Awaitable[Reply]]) -> Answer:
    reply = await api.answered(work)
    return Answer(reply.status, msgspec.json.decode(reply.body), reply)


async def post(world: World, action: str, **body: Any) -> Answer:
    """Ask for a change of state."""
    ask = Ask(body=msgspec.json.encode(body))
    if action == "enable":
        return await answer(lambda: api.post_enable(world.connection, world.tell()))
    handler = getattr(api, f"post_{action}")
    return await answer(lambda: handler(world.connection, ask, world.tell()))


async def carried_out(world: World, got: Answer) -> Run:
    """Execute the run that an answer started."""
    [message] = got.reply.messages
    return await world.execute(message)


async def status(world: World) -> Any:
    return (await answer(lambda: api.get_status(world.connection, world.tell()))).body


async def minute(world: World) -> list[Message]:
    """What the timer asks for, every message of it."""
    now = world.tell()
    return [*await service.tick(world.connection, now), *await dispatch.due(world.connection, now)]


async def saved(world: World, change: Callable[[dict[str, Any]], None]) -> Answer:
    """Change the settings through the API."""
    document = msgspec.to_builtins((await world.connection.settings.load()).settings)
    change(document)
    ask = Ask(body=msgspec.json.encode(document))
    return await answer(lambda: api.put_settings(world.connection, ask, world.tell()))


async def stored(world: World, name: str, value: str) -> Answer:
    ask = Ask(body=msgspec.json.encode({"value": value}))
    return await answer(lambda: api.put_secret(world.connection, name, ask, world.tell()))


def newcomers(world: World, number: int) -> None:
    for index in range(number):
        world.person(f"Newcomer {index:02}")


def numbers(world: World) -> list[str]:
    """The extensions of the PBX without the one made by hand."""
    return sorted(world.extensions().keys() - {BY_HAND})


# The table: pause


async def test_what_is_paused_and_kept_stays_linked_and_untouched_while_the_rest_goes_on(world: World) -> None:
    [first, *_] = await world.links()
    got = await post(world, "pause", what="users")
    assert (got.status, got.body) == (200, {"state": "paused", "paused": ["users"], "disabled": False})
    world.change_user(first.object_id, jobTitle="Changed")
    world.group("Support", first.object_id)
    for mode in ("incremental", "full"):
        run = await world.sync(mode=mode)
        assert run.status == "succeeded", run
    assert world.writes() == []
    assert numbers(world) == SYNCED
    assert len(await world.links()) == 3
    assert ("Support", [first.number]) in world.pbx_groups()
    assert (await world.run(what=("users",))).status == "refused"
    got = await answer(
        lambda: api.post_sync(world.connection, Ask(body=b'{"what": ["users"]}'), world.tell()),
    )
    assert got.status == 409


async def test_resuming_reconciles_at_once_what_changed_meanwhile(world: World) -> None:
    [first, second, _] = sorted(await world.links(), key=lambda link: link.number)
    await post(world, "pause", what="users")
    world.change_user(first.object_id, jobTitle="Changed")
    world.delete_user(second.object_id)
    got = await post(world, "resume", what="users")
    assert (got.status, got.body["state"], got.body["paused"]) == (200, "connected", [])
    run = await carried_out(world, got)
    assert (run.status, run.started_by, run.mode) == ("succeeded", "resume", "full")
    assert world.extensions()["1000"]["title"] == "Changed"
    assert numbers(world) == ["1000", "1002"]


async def test_paused_and_deleted_users_lose_their_extensions_and_resuming_makes_them_anew(world: World) -> None:
    got = await post(world, "pause", what="users", delete=True)
    assert (got.status, got.location) == (202, f"/api/runs/{got.body['id']}")
    run = await carried_out(world, got)
    assert (run.status, run.started_by, run.counts["delete.done"]) == ("succeeded", "pause", 3)
    assert sorted(item.before["email_addr"] for item in await world.items(run)) == [
        f"person.000{index}@contoso.example" for index in range(3)
    ]
    assert (numbers(world), await world.links()) == ([], [])
    assert BY_HAND in world.extensions()
    told = await status(world)
    assert (told["state"], told["counts"]["users"]) == ("paused", 0)
    assert (await saved(world, lambda document: document["users"]["number"].update(start=3000))).status == 409

    again = await post(world, "resume", what="users")
    assert (await carried_out(world, again)).status == "succeeded"
    assert numbers(world) == SYNCED
    assert ("Sales", ["1000", "1001"]) in world.pbx_groups()


async def test_paused_and_deleted_groups_leave_the_users_alone(world: World) -> None:
    run = await carried_out(world, await post(world, "pause", what="groups", delete=True))
    assert (run.status, run.counts["groups.delete.done"]) == ("succeeded", 1)
    assert world.pbx_groups() == []
    assert not await world.group_links()
    assert numbers(world) == SYNCED
    world.person("Late Arrival")
    assert (await world.sync()).counts["create.done"] == 1
    await carried_out(world, await post(world, "resume", what="groups"))
    assert world.pbx_groups() == [("Sales", ["1000", "1001"])]


# The table: disable


@pytest.mark.parametrize("delete", [False, True], ids=["keep", "delete"])
async def test_a_disabled_integration_does_nothing_until_it_is_enabled_and_then_reconciles(
    world: World, delete: bool
) -> None:
    async with Wired(world) as wired:
        await wired.subscribe()
        got = await post(world, "disable", delete_extensions=delete, delete_groups=delete)
        if delete:
            run = await carried_out(world, got)
            assert (run.counts["delete.done"], run.counts["groups.delete.done"]) == (3, 1)
            kinds = [item.kind for item in await world.items(run)]
            assert kinds == sorted(kinds), "groups go before the extensions in them"
        else:
            assert got.body == {"state": "disabled", "paused": [], "disabled": True}
        assert (await status(world))["state"] == "disabled"
        assert numbers(world) == ([] if delete else SYNCED)
        world.pbx.requests.clear()
        world.person("Late Arrival")
        await wired.heard()
        wired.passes(days=2)
        assert [*wired.queue, *await minute(world)] == []
        assert (await world.sync()).status == "refused"
        assert world.pbx.requests == []

        got = await post(world, "enable")
        assert (got.status, got.body["disabled"]) == (200, False)
        run = await carried_out(world, got)
        assert (run.status, run.started_by) == ("succeeded", "enable")
        assert numbers(world) == [*SYNCED, "1003"]
        [(name, members)] = world.pbx_groups()
        assert (name, len(members)) == ("Sales", 2)


async def test_only_what_was_asked_for_is_deleted_on_disabling(world: World) -> None:
    run = await carried_out(world, await post(world, "disable", delete_groups=True))
    assert run.what == ["groups"]
    assert (numbers(world), world.pbx_groups()) == (SYNCED, [])


# The table: disconnect


async def test_a_kept_disconnection_leaves_plain_extensions_and_nothing_of_the_connection_but_its_runs(
    world: World,
) -> None:
    async with Wired(world) as wired:
        await wired.subscribe()
        runs = [run.id async for run in world.connection.runs.newest(10)]
        got = await post(world, "disconnect")
        assert (got.status, got.body) == (200, {"state": "not_connected", "paused": [], "disabled": False})
        assert numbers(world) == SYNCED
        assert world.pbx_groups() == [("Sales", ["1000", "1001"])]
        await nothing_is_left(world)
        assert world.microsoft.subscriptions.live() == []
        assert await wired.records() == {}
        assert set(runs) < {run.id async for run in world.connection.runs.newest(10)}
        assert any(request.path.endswith("del_token") for request in world.pbx.requests)


async def test_a_disconnection_deletes_what_it_is_asked_to_and_then_forgets(world: World) -> None:
    got = await post(world, "disconnect", delete_extensions=True, delete_groups=True)
    assert got.status == 202
    assert (await status(world))["state"] == "disabled"
    run = await carried_out(world, got)
    assert (run.status, run.counts["delete.done"], run.counts["groups.delete.done"]) == ("succeeded", 3, 1)
    assert run.message.startswith("Disconnected.")
    assert (numbers(world), world.pbx_groups()) == ([], [])
    assert BY_HAND in world.extensions()
    await nothing_is_left(world)


async def nothing_is_left(world: World) -> None:
    connection = world.connection
    assert (await status(world))["state"] == "not_connected"
    assert not (await connection.settings.load()).settings.users.enabled
    assert await world.links() == []
    assert await world.group_links() == {}
    for table, partition in (
        ("cursors", world.id), ("groups", world.id), ("subscriptions", world.id), ("tokens", world.id),
        ("changes", f"{world.id}-directory"), ("changes", f"{world.id}-pbx"),
    ):  # fmt: skip
        assert [row.key async for row in connection.tables.query(table, partition)] == [], table
    live = [secret.name for secret in world.microsoft.vault.secrets.values() if secret.deleted is None]
    assert [name for name in live if name.startswith(world.id)] == []


async def test_connecting_again_starts_anew_and_takes_the_extensions_over_by_their_addresses(world: World) -> None:
    await post(world, "disconnect")
    assert (await stored(world, "entra-client-secret", CLIENT_SECRET)).status == 200
    assert (await stored(world, "pbx-client-secret", PBX_SECRET)).status == 200
    world.pbx.requests.clear()
    [message] = await world.enable(associate_by_email=True)
    run = await world.execute(message)
    assert (run.status, run.counts["associate.done"]) == ("succeeded", 3)
    assert "create" not in world.writes()
    assert numbers(world) == SYNCED
    assert (await status(world))["state"] == "connected"


async def test_deletions_need_nothing_of_entra(world: World) -> None:
    async with Wired(world) as wired:
        await wired.subscribe()
        world.microsoft.faults.append(Fault("status", path="*token*", status=503, times=None))
        world.microsoft.faults.append(Fault("status", path="/v1.0/*", status=503, times=None))
        got = await post(world, "pause", what="users", delete=True)
        assert (await carried_out(world, got)).status == "succeeded"


# Previews, repetition


@pytest.mark.parametrize(
    ("action", "body"),
    [
        ("pause", {"what": "users", "delete": True}),
        ("disable", {"delete_extensions": True}),
        ("disconnect", {"delete_extensions": True}),
    ],
    ids=["pause", "disable", "disconnect"],
)
async def test_a_preview_lists_every_deletion_and_changes_nothing(
    world: World, action: str, body: dict[str, Any]
) -> None:
    before = (world.pbx.state()["extensions"], await world.connection.health.load(), await world.links())
    got = await post(world, action, **body, preview=True)
    assert got.status == 202
    assert got.body["preview"]
    run = await carried_out(world, got)
    assert (run.status, run.counts["delete.planned"]) == ("succeeded", 3)
    assert sorted(item.extension for item in await world.items(run)) == SYNCED
    assert before == (world.pbx.state()["extensions"], await world.connection.health.load(), await world.links())


async def test_what_took_over_an_extension_s_id_is_a_stranger_and_left_alone(world: World) -> None:
    world.edit_extension("1001", number="7777", email_addr="stranger@contoso.example")
    preview = await carried_out(world, await post(world, "pause", what="users", delete=True, preview=True))
    assert (preview.counts["delete.planned"], preview.counts["delete.skipped"]) == (2, 1)
    run = await carried_out(world, await post(world, "pause", what="users", delete=True))
    assert (run.counts["delete.done"], run.counts["delete.skipped"]) == (2, 1)
    assert numbers(world) == ["7777"]


async def test_asking_twice_is_asking_once(world: World) -> None:
    for _ in range(2):
        assert (await post(world, "pause", what="users")).status == 200
    assert (await post(world, "resume", what="groups")).reply.messages == ()
    assert (await post(world, "enable")).reply.messages == ()
    first = await post(world, "disable", delete_groups=True)
    second = await post(world, "disable", delete_groups=True)
    assert second.location == first.location
    assert second.reply.messages == ()
    await carried_out(world, first)
    for _ in range(2):
        assert (await post(world, "disconnect")).body["state"] == "not_connected"


# Runs in progress, kills, failures


async def test_pausing_stops_a_run_under_way_and_nothing_is_written_after_its_next_renewal(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.applying.CHUNK", 10)
    newcomers(world, 40)
    create, seen = Pbx.create_extension, 0

    async def interrupted(self: Pbx, new: Any) -> int:
        nonlocal seen
        seen += 1
        if seen == 5:
            assert (await post(world, "pause", what="users")).body["paused"] == ["users"]
        return await create(self, new)

    monkeypatch.setattr(Pbx, "create_extension", interrupted)
    run = await world.sync()
    assert run.status == "cancelled", run
    written = len(numbers(world))
    assert written < 43
    assert len(await world.links()) == written
    # The groups go on by themselves.
    [message] = await minute(world)
    run = await world.execute(message)
    assert (run.status, run.what) == ("succeeded", ["groups"])
    assert len(numbers(world)) == written


@pytest.fixture
def doom(monkeypatch: pytest.MonkeyPatch) -> Doom:
    doom = doomed(monkeypatch)
    for name in ("write", "delete"):
        original = getattr(SecretStore, name)

        def guarded(original: Any = original) -> Callable[..., Awaitable[Any]]:
            async def method(*arguments: Any, **options: Any) -> Any:
                return await doom.meet(lambda: original(*arguments, **options))

            return method

        monkeypatch.setattr(SecretStore, name, guarded())
    return doom


async def test_a_run_that_was_killed_writes_nothing_to_what_is_paused_when_it_is_continued(
    world: World, doom: Doom
) -> None:
    newcomers(world, 3)
    _, message = await service.request_run(world.connection, world.tell(), started_by="schedule", what=("users",))
    doom.left = 25
    assert await is_killed(world, message)
    doom.left = None
    await post(world, "pause", what="users")
    before = numbers(world)
    world.pbx.requests.clear()
    assert (await world.execute(message)).status == "refused"
    assert (numbers(world), world.writes()) == (before, [])


@pytest.mark.parametrize("after_the_fact", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("point", range(2, 86, 6))
async def test_a_disconnection_that_is_killed_anywhere_is_finished_by_the_timer(
    world: World, doom: Doom, point: int, after_the_fact: bool
) -> None:
    got = await post(world, "disconnect", delete_extensions=True, delete_groups=True)
    doom.left, doom.after_the_fact = point, after_the_fact
    await is_killed(world, got.reply.messages[0])
    doom.left = None
    for _ in range(3):
        world.now += datetime.timedelta(minutes=20)
        for message in await minute(world):
            await dispatch.carry_out(world.connection, message, world.tell)
    assert (numbers(world), world.pbx_groups()) == ([], [])
    await nothing_is_left(world)
    run = await world.connection.runs.get(got.body["id"])
    assert run is not None
    assert run.status == "succeeded", run


async def test_a_pbx_that_is_away_is_told_of_and_tried_again_until_all_is_deleted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pbx.client.wait_random_exponential", lambda **_: wait_none())
    world.pbx.faults.append(Fault("status", path="*", status=502, times=None))
    run = await carried_out(world, await post(world, "disconnect", delete_extensions=True))
    assert run.status == "failed"
    assert numbers(world) == SYNCED
    assert len(await world.links()) == 3
    assert await minute(world) == [], "not before its time"
    for _ in range(2):
        world.now += datetime.timedelta(minutes=30)
        [message] = await minute(world)
        assert (await world.execute(message)).status == "failed"
    told = await status(world)
    assert told["state"] == "needs_attention"
    assert [reason["code"] for reason in told["reasons"]] == ["removal_incomplete"]
    world.pbx.faults.clear()
    world.now += datetime.timedelta(minutes=60)
    [message] = await minute(world)
    assert (await world.execute(message)).status == "succeeded"
    assert numbers(world) == []
    await nothing_is_left(world)


async def test_resuming_takes_deletions_back_that_are_not_made_yet(world: World) -> None:
    pending = await post(world, "pause", what="users", delete=True)
    again = await post(world, "resume", what="users")
    assert (await carried_out(world, pending)).status == "refused"
    assert (await carried_out(world, again)).status == "succeeded"
    assert numbers(world) == SYNCED
    assert "delete" not in world.writes()


async def test_only_disconnecting_is_possible_once_it_has_begun(world: World) -> None:
    await post(world, "disconnect", delete_extensions=True)
    for action, body in (("enable", {}), ("pause", {"what": "users"}), ("disable", {})):
        assert (await post(world, action, **body)).status == 409
    # Whoever changes their mind about the deletions is done at once.
    assert (await post(world, "disconnect")).body["state"] == "not_connected"
    assert numbers(world) == SYNCED


async def refuse_a_deletion(world: World, **fault: Any) -> Run:
    """Pause users and delete, where the PBX refuses the first one; answers the run."""
    world.pbx.faults.append(Fault("errcode", path="*/extension/delete", options={"errcode": 70084}, **fault))
    return await carried_out(world, await post(world, "pause", what="users", delete=True))


async def test_what_the_pbx_refuses_to_delete_stays_linked_and_is_told_and_tried_again(world: World) -> None:
    run = await refuse_a_deletion(world, times=1)
    assert (run.status, run.counts["delete.done"], run.counts["delete.failed"]) == ("partial", 2, 1)
    [link] = await world.links()
    assert numbers(world) == [link.number]
    told = await status(world)
    assert (told["state"], told["counts"]["users"]) == ("needs_attention", 1)
    assert [reason["code"] for reason in told["reasons"]] == ["removal_incomplete"]
    assert (await world.sync()).status == "succeeded", "the groups go on"
    assert [reason["code"] for reason in (await status(world))["reasons"]] == ["removal_incomplete"]
    world.now += datetime.timedelta(minutes=6)
    [message] = await minute(world)
    run = await world.execute(message)
    assert (run.status, run.started_by, run.counts["delete.done"]) == ("succeeded", "pause", 1)
    assert (numbers(world), await world.links()) == ([], [])
    assert (await status(world))["state"] == "paused"
    assert await minute(world) == []


async def test_a_new_secret_of_the_pbx_has_waiting_deletions_tried_at_once(world: World) -> None:
    await refuse_a_deletion(world, times=1)
    assert await minute(world) == []
    await stored(world, "pbx-client-secret", PBX_SECRET)
    [message] = await minute(world)
    assert (await world.execute(message)).counts["delete.done"] == 1


async def note(world: World, *intents: Intent) -> None:
    """Leave what a run notes that is killed in the middle of creates."""
    lease = await world.connection.leases.acquire("run", "killed")
    assert isinstance(lease, Lease)
    await lease.write_note(encode_intents(intents))
    await lease.release()


async def test_what_a_killed_run_made_and_could_not_link_any_more_is_deleted_as_well(world: World) -> None:
    world.pbx.machine.directory.add(Extension(number="1003", email_addr="late@contoso.example"))
    world.pbx.machine.directory.add(Extension(number="1004", email_addr="somebody@fabrikam.example"))
    world.add_pbx_group("Sales and more", ["1000"])
    [sales] = (await world.group_links()).values()
    written = {"first_name": "", "last_name": "", "email_addr": "late@contoso.example"}
    made = Link(object_id="u-1", state="intent", number="1003", email="late@contoso.example", written=written)
    other = msgspec.structs.replace(made, object_id="u-2", number="1004")
    renamed = msgspec.structs.replace(sales, state="intent", pbx_id=None, written={"name": "Sales and more"})
    await note(world, Intent("users", made), Intent("users", other), Intent("groups", renamed))
    listed = await carried_out(
        world, await post(world, "disable", delete_extensions=True, delete_groups=True, preview=True)
    )
    run = await carried_out(world, await post(world, "disable", delete_extensions=True, delete_groups=True))
    assert (listed.counts["delete.planned"], listed.counts["groups.delete.planned"]) == (4, 2)
    assert (run.counts["delete.done"], run.counts["groups.delete.done"]) == (4, 2)
    assert (numbers(world), world.pbx_groups()) == (["1004"], [])
    assert await world.connection.leases.note("run") == ""


async def test_deletions_that_are_out_of_time_are_continued(world: World) -> None:
    got = await post(world, "pause", what="users", delete=True)
    loaded = await world.connection.runs.load(got.body["id"])
    assert loaded is not None
    assert await Execution(world.connection, *loaded, now=world.tell, budget=-1).execute()
    assert numbers(world) == SYNCED
    run = await carried_out(world, got)
    assert (run.status, run.executions, run.items) == ("succeeded", 2, 3)
    assert numbers(world) == []


async def test_a_disconnection_that_meets_a_run_waits_for_its_end(world: World) -> None:
    lease = await world.connection.leases.acquire("run", "another")
    assert isinstance(lease, Lease)
    got = await post(world, "disconnect")
    assert (got.status, got.body["is_waiting"], got.reply.messages) == (202, True, ())
    assert (await status(world))["state"] == "disabled"
    assert await minute(world) == []
    await lease.release()
    [message] = await minute(world)
    assert (await world.execute(message)).message == "Disconnected."
    await nothing_is_left(world)


async def test_a_graph_that_is_away_keeps_nobody_from_disconnecting(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graph.client._exponential", lambda _: 0.0)
    async with Wired(world) as wired:
        await wired.subscribe()
        world.microsoft.faults.append(Fault("status", path="/v1.0/*", status=503, times=None))
        assert (await post(world, "disconnect")).body["state"] == "not_connected"
        await nothing_is_left(world)
        [run] = [run async for run in world.connection.runs.newest(1)]
        assert "subscriptions at Microsoft Graph were not ended" in run.message


async def test_a_key_vault_that_denies_the_deletion_of_secrets_is_told_of_and_asked_again(world: World) -> None:
    allowed = set(world.microsoft.vault.allowed)
    world.microsoft.vault.allowed.clear()
    got = await post(world, "disconnect")
    assert (got.status, got.body["status"]) == (202, "failed")
    [reason] = (await world.connection.health.load()).reasons
    assert (reason.code, "role" in reason.message) == ("removal_incomplete", True)
    world.microsoft.vault.allowed |= allowed
    world.now += datetime.timedelta(minutes=6)
    [message] = await minute(world)
    assert (await world.execute(message)).status == "succeeded"
    await nothing_is_left(world)


async def test_held_deletions_are_at_rest_while_their_kind_is_paused(world: World) -> None:
    await world.settings(lambda document: document["guard"].update(max_deletions=0))
    world.delete_user((await world.links())[0].object_id)
    held = await world.sync()
    assert held.counts["delete.held"] == 1
    assert (await status(world))["state"] == "needs_attention"
    await post(world, "pause", what="users")
    assert (await status(world))["state"] == "paused"
    got = await answer(lambda: api.post_decision(world.connection, held.id, "approved", world.tell()))
    assert got.status == 409
    await carried_out(world, await post(world, "resume", what="users"))
    assert (await status(world))["state"] == "needs_attention"
    got = await answer(lambda: api.post_decision(world.connection, held.id, "approved", world.tell()))
    assert (await carried_out(world, got)).counts["delete.done"] == 1


# Settings


async def test_settings_are_read_only_where_something_is_paused_and_everywhere_while_disabled(world: World) -> None:
    def other_users(document: dict[str, Any]) -> None:
        document["users"]["number"]["start"] = 5000

    def other_guard(document: dict[str, Any]) -> None:
        document["guard"]["max_deletions"] = 7

    await post(world, "pause", what="users")
    refused = await saved(world, other_users)
    assert (refused.status, "users" in refused.body["detail"]) == (409, True)
    assert (await saved(world, other_guard)).status == 200
    assert (await saved(world, lambda document: document["groups"].update(associate_by_name=True))).status == 200
    await post(world, "disable")
    assert (await saved(world, lambda document: document["guard"].update(max_deletions=9))).status == 409
    assert (await saved(world, lambda document: None)).status == 200
    await post(world, "enable")
    await post(world, "resume", what="users")
    assert (await saved(world, other_users)).status == 200


async def test_another_tenant_is_refused_while_something_is_linked_and_taken_after_disconnecting(world: World) -> None:
    def move(document: dict[str, Any]) -> None:
        document["microsoft"]["tenant_id"] = OTHER_TENANT

    refused = await saved(world, move)
    assert refused.status == 409
    assert "isconnect" in refused.body["detail"]
    await post(world, "disconnect")
    assert (await saved(world, move)).status == 200


async def test_accounts_that_signed_in_end_with_the_connection_and_with_the_tenant(world: World) -> None:
    connection = world.connection
    sessions = SessionStore(connection.tables, connection.id)

    names: list[tuple[InternalName, str]] = [
        ("authorization-refresh-token", ""),
        (presence_token(FURTHER), FURTHER),
    ]

    async def sign_in() -> None:
        for name, further in names:
            stored = await connection.secrets.write(name, "a refresh token")
            record = AccountRecord(
                tenant_id=TENANT_ID, object_id=further or "first", name="", user_principal_name="", signed_in_at="",
                token_version=stored.version,
            )  # fmt: skip
            await sessions.save_account(record, further)

    async def is_anybody_left() -> bool:
        for name, _ in names:
            with contextlib.suppress(SecretMissing):
                await connection.secrets.read(name)
                return True
        return bool(await sessions.further_accounts()) or (await sessions.account())[0] is not None

    await sign_in()
    assert await is_anybody_left()
    await post(world, "disconnect")
    assert not await is_anybody_left()
    await sign_in()
    assert (await saved(world, lambda document: document["microsoft"].update(tenant_id=OTHER_TENANT))).status == 200
    assert not await is_anybody_left()


async def test_what_other_rooms_began_is_ended_before_a_connection_is_forgotten(world: World) -> None:
    parted: list[str] = []

    async def part(connection: Connection) -> list[str]:
        assert (await connection.settings.load()).settings.users.enabled, "nothing is forgotten yet"
        parted.append(connection.id)
        return ["Something ends by itself."]

    world.connection.parting = part
    await post(world, "disconnect")
    assert parted == [world.connection.id]
    newest = await anext(world.connection.runs.newest(1))
    assert "Something ends by itself." in newest.message


async def test_presence_is_told_when_the_integration_is_suspended_and_when_it_goes_on(world: World) -> None:
    def tasks(got: Answer) -> list[str]:
        return [message.task for message in got.reply.messages]

    assert tasks(await post(world, "disable")) == []
    await post(world, "enable")
    switched = await saved(world, lambda document: document["presence"].update(enabled=True))
    assert tasks(switched) == ["presence"]
    assert tasks(await saved(world, lambda document: document["guard"].update(max_deletions=9))) == []
    assert tasks(await post(world, "disable")) == ["presence"]
    assert tasks(await post(world, "enable")) == ["run", "presence"]


async def test_presence_is_told_when_others_have_extensions(world: World) -> None:
    async def tasks() -> list[str]:
        run, _ = await service.request_run(world.connection, world.tell(), started_by="api")
        return [message.task for message in await service.execute(world.connection, run.id, world.tell)]

    world.person("New Here")
    assert await tasks() == [], "presence is off"
    await saved(world, lambda document: document["presence"].update(enabled=True))
    assert await tasks() == [], "nobody came or went"
    world.person("Newer Here")
    assert await tasks() == ["presence"]


# Secrets and their end


async def test_a_secret_that_entra_rejects_does_not_replace_the_one_that_works(world: World) -> None:
    got = await stored(world, "entra-client-secret", "wrong")
    assert (got.status, got.body["errors"][0]["path"]) == (422, "/value")
    assert "wrong" not in got.body["detail"].split()
    assert (await world.connection.secrets.read("entra-client-secret")).value == CLIENT_SECRET


async def test_a_secret_is_not_replaced_while_entra_cannot_be_asked(world: World) -> None:
    world.microsoft.faults.append(Fault("status", path="*/oauth2/v2.0/token", status=503, times=None))
    got = await stored(world, "entra-client-secret", "new")
    assert got.status == 503, got.body
    assert (await world.connection.secrets.read("entra-client-secret")).value == CLIENT_SECRET


async def test_a_secret_that_works_is_tried_before_it_is_stored(world: World) -> None:
    got = await stored(world, "entra-client-secret", CLIENT_SECRET)
    assert (got.status, got.body["tested"]) == (200, True)


async def test_a_secret_of_a_credential_that_is_not_in_use_is_stored_untried(world: World) -> None:
    await saved(world, lambda document: document["microsoft"].update(credential="federated"))
    got = await stored(world, "entra-client-secret", "for later")
    assert (got.status, got.body["tested"]) == (200, False)
    assert (await stored(world, "pbx-client-secret", PBX_SECRET)).body["tested"] is False


async def test_the_end_of_the_credential_is_told_once_at_each_threshold(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    end = world.now + datetime.timedelta(days=61)

    def expire(health: Any) -> Any:
        return msgspec.structs.replace(health, secret_expires_at=end.isoformat(timespec="seconds"))

    await world.connection.health.update(expire)
    told: dict[int, int] = {}
    attention: set[int] = set()
    for days in (61, 60, 59, 30, 14, 13, 7, 2, 1):
        world.now = end - datetime.timedelta(days=days, hours=1)
        caplog.clear()
        for _ in range(2):
            health = await world.connection.health.load()
            await service.warn_of_expiry(world.connection, health, world.now)
        told[days] = sum("expires on" in record.message for record in caplog.records)
        shown = await answer(lambda: api.get_status(world.connection, world.now))
        assert any(f"in {days} day" in text for text in shown.body["warnings"]) == (days <= 60)
        attention |= {days} if shown.body["state"] == "needs_attention" else set()
    assert {days for days, times in told.items() if times} == {60, 30, 14, 7, 1}
    assert set(told.values()) == {0, 1}
    assert attention == {14, 13, 7, 2, 1}
    await stored(world, "entra-client-secret", CLIENT_SECRET)
    assert (await world.connection.health.load()).expiry_told == 0


def certificate_of(days: int) -> str:
    """A certificate that is good for so many days, with its private key."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bridge")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return (signed.public_bytes(pem) + private).decode()


@pytest.mark.parametrize("readable", [True, False], ids=["registration-readable", "registration-not-readable"])
async def test_of_several_certificates_the_one_in_use_counts_not_the_latest(world: World, readable: bool) -> None:
    used, later = certificate_of(20), certificate_of(700)
    app = world.microsoft.authority.apps[CLIENT_ID]
    app.certificates = [certificate_from_pem("used", used), certificate_from_pem("later", later)]
    await saved(world, lambda document: document["microsoft"].update(credential="certificate"))
    got = await stored(world, "entra-client-certificate", used)
    assert (got.status, got.body["tested"]) == (200, True)
    if not readable:
        world.microsoft.faults.append(Fault("status", path="/v1.0/applications*", status=403, times=None))
    world.now = datetime.datetime.now(datetime.UTC)
    assert (await world.sync()).status == "succeeded"
    assert (await status(world))["secret_expiry"]["days_left"] in {19, 20}


async def test_a_certificate_that_is_not_registered_does_not_replace_the_one_that_works(world: World) -> None:
    used = certificate_of(20)
    world.microsoft.authority.apps[CLIENT_ID].certificates = [certificate_from_pem("used", used)]
    await saved(world, lambda document: document["microsoft"].update(credential="certificate"))
    await stored(world, "entra-client-certificate", used)
    got = await stored(world, "entra-client-certificate", certificate_of(20))
    assert got.status == 422
    assert "not registered" in got.body["detail"]
    assert (await world.connection.secrets.read("entra-client-certificate")).value == used.strip()
