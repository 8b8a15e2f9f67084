"""What happens to a run when something around it is broken: plain words, nothing lost, nothing done twice."""

import asyncio
import datetime

import msgspec
import pytest
from tenacity import wait_none

from local.emulator import Fault
from local.microsoft.apps import Secret
from local.sample import CLIENT_ID, EXPIRED_CLIENT_SECRET
from store.leases import RUN, Lease
from sync.service import missing_secrets, tick
from sync.status import read_status
from tests.engine.world import PBX_SECRET, World

TOKENS = "/openapi/v1.0/get_token"
CREATE = "/openapi/v1.0/extension/create"
DELTA = "/v1.0/users/delta*"


def asked(world: World, path: str) -> int:
    return sum(request.path == path for request in world.pbx.requests)


async def codes(world: World) -> set[str]:
    return {reason.code for reason in (await read_status(world.connection, world.tell())).reasons}


async def test_wrong_pbx_credentials_are_tried_once_and_never_again_until_they_change(world: World) -> None:
    await world.secrets(pbx="wrong")
    await world.enable()
    for _ in range(6):
        run = await world.run()
        assert run.status == "failed"
        assert run.fault is not None
        assert run.fault.code == "pbx_credentials_rejected"
        assert "Client Secret" in run.fault.action
    assert asked(world, TOKENS) == 1
    status = await read_status(world.connection, world.tell())
    assert status.state == "needs_attention"
    assert [reason.code for reason in status.reasons] == ["pbx_credentials_rejected"]
    await world.secrets(pbx=PBX_SECRET)
    assert (await world.run()).status == "succeeded"
    assert (await read_status(world.connection, world.tell())).state == "connected"


async def test_an_expired_client_secret_names_itself_and_recovers_with_a_new_one(world: World) -> None:
    await world.secrets(entra=EXPIRED_CLIENT_SECRET)
    await world.enable()
    run = await world.run()
    assert run.fault is not None
    assert run.fault.code == "entra_secret_expired"
    assert "expired" in run.fault.message
    assert "new client secret" in run.fault.action
    assert EXPIRED_CLIENT_SECRET not in repr(run)
    assert await codes(world) == {"entra_secret_expired"}
    await world.secrets()
    assert (await world.run()).status == "succeeded"
    assert await codes(world) == set()


async def test_a_secret_that_runs_out_soon_is_announced(world: World) -> None:
    await world.secrets()
    await world.enable()
    app = world.microsoft.authority.apps[CLIENT_ID]
    assert isinstance(app.secrets[0], Secret)
    await world.run()
    status = await read_status(world.connection, world.tell())
    assert status.secret_expiry is not None
    end = datetime.datetime.fromisoformat(status.secret_expiry.at)
    world.now = end - datetime.timedelta(days=3)
    assert "secret_expires" in await codes(world)


async def test_missing_secrets_are_named_and_nothing_is_asked(world: World) -> None:
    await world.enable()
    settings = (await world.connection.settings.load()).settings
    assert await missing_secrets(world.connection, settings) == ["entra-client-secret", "pbx-client-secret"]
    status = await read_status(world.connection, world.tell())
    assert status.state == "not_connected"
    assert {reason.action.rsplit("/", 1)[1] for reason in status.reasons} == {
        "entra-client-secret.",
        "pbx-client-secret.",
    }
    assert world.pbx.requests == []


async def test_withdrawn_consent_names_the_permissions(world: World) -> None:
    await world.secrets()
    await world.enable()
    world.microsoft.authority.apps[CLIENT_ID].roles.clear()
    run = await world.run()
    assert run.fault is not None
    assert run.fault.code == "graph_consent_missing"
    assert "User.Read.All" in run.fault.action


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault("status", path=DELTA, status=429, headers={"Retry-After": "0"}), id="throttled"),
        pytest.param(Fault("status", path=DELTA, status=503), id="unavailable"),
        pytest.param(Fault("truncate", path=DELTA, bytes=2000), id="half-a-page"),
        pytest.param(Fault("drop", path=DELTA), id="dropped"),
    ],
)
async def test_what_passes_by_itself_at_graph_is_waited_out(
    world: World, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graph.client._exponential", lambda _: 0.0)
    await world.secrets()
    await world.enable()
    world.microsoft.faults.append(fault)
    assert (await world.run()).status == "succeeded"
    assert fault.hits == 1


async def test_a_directory_that_was_not_read_to_its_end_deletes_nothing_and_moves_no_cursor(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graph.client._exponential", lambda _: 0.0)
    await world.secrets()
    await world.enable()
    world.microsoft.graph.delta.switches.page_size = 40
    await world.run()
    cursor = await world.connection.cursors.load("users")
    before = world.extensions()
    world.microsoft.faults.append(Fault("status", path=DELTA, skip=2, times=None, status=503))
    run = await world.run()
    assert run.status == "failed"
    assert run.fault is not None
    assert run.fault.code == "graph_unavailable"
    assert world.extensions() == before
    assert await world.connection.cursors.load("users") == cursor


@pytest.mark.parametrize("kind", ["commit_then_drop", "drop"])
async def test_a_create_whose_answer_is_lost_makes_one_extension(world: World, kind: str) -> None:
    await world.secrets()
    await world.enable()
    world.pbx.faults.append(Fault(kind, path=CREATE, skip=3, times=3))
    run = await world.run()
    assert run.status in {"succeeded", "partial"}
    again = await world.run()
    assert again.status == "succeeded"
    emails = [extension["email_addr"].casefold() for extension in world.extensions().values()]
    filled = [email for email in emails if email]
    assert len(filled) == len(set(filled))
    links = await world.links()
    assert {link.state for link in links} == {"linked"}
    assert len({link.pbx_id for link in links}) == len(links) == len(world.extensions()) - 12
    assert (await world.run()).requests["pbx_writes"] == 0


async def test_an_extension_whose_second_creation_did_not_happen_is_not_called_created(world: World) -> None:
    await world.secrets()
    await world.enable()
    await world.run()
    link = next(link for link in await world.links() if not link.associated)
    world.remove_extension(link.number)
    world.pbx.faults.append(Fault("drop", path=CREATE, times=None))
    assert (await world.run()).counts["create.failed"] == 1
    world.pbx.faults.clear()
    run = await world.run()
    [item] = [item for item in await world.items(run) if item.operation == "create"]
    assert (item.outcome, item.extension, item.pbx_id) == ("done", link.number, world.extensions()[link.number]["id"])
    assert "created again with its number" in item.reason


async def test_a_creation_that_did_not_happen_follows_the_rule_that_was_changed_since(world: World) -> None:
    await world.secrets()
    await world.enable()
    await world.run()
    properties = {"displayName": "Late Arrival", "mail": "late@contoso.example", "employeeId": "2099"}
    late = {"userPrincipalName": "late@contoso.example", "accountEnabled": True, "userType": "Member"}
    world.microsoft.directory.create("user", properties | late)
    world.pbx.faults.append(Fault("drop", path=CREATE, times=None))
    assert (await world.run()).counts["create.failed"] == 1
    world.pbx.faults.clear()
    await world.enable(number={"kind": "property", "property": "employeeId", "start": 1000})
    await world.run()
    numbers = [number for number, one in world.extensions().items() if one["email_addr"] == "late@contoso.example"]
    assert numbers == ["2099"]


async def test_what_does_not_fit_the_licence_is_skipped_with_that_reason(world: World) -> None:
    await world.secrets()
    await world.enable()
    world.licence(50)
    run = await world.run()
    assert len(world.extensions()) == 50
    assert run.counts["create.done"] == 38
    reasons = [item.reason for item in await world.items(run) if item.outcome == "skipped"]
    assert any("limit of its licence" in reason for reason in reasons)
    status = await read_status(world.connection, world.tell())
    assert status.capacity is not None
    assert (status.capacity.extensions, status.capacity.free) == (50, 0)


async def test_a_pbx_that_goes_away_ends_the_run_soon_and_the_next_run_finishes_the_work(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pbx.client.ATTEMPTS", 1)
    await world.secrets()
    [message] = await world.enable()
    world.pbx.faults.append(Fault("status", path="*/extension/*", skip=20, times=None, status=502))
    run = await world.execute(message)
    assert run.status == "failed"
    assert run.counts["create.failed"] < 40
    world.pbx.faults.clear()
    health = await world.connection.health.load()
    assert health.retry_at is not None
    world.now = datetime.datetime.fromisoformat(health.retry_at)
    [message] = await tick(world.connection, world.tell())
    again = await world.execute(message)
    assert again.status == "succeeded"
    assert again.started_by in {"initial", "retry"}
    links = await world.links()
    assert len({link.pbx_id for link in links}) == len(links) == len(world.extensions()) - 12


async def test_of_two_runs_started_together_one_runs_and_the_other_says_so(world: World) -> None:
    await world.secrets()
    await world.enable()
    runs = await asyncio.gather(world.run(), world.run())
    assert sorted(run.status for run in runs) == ["refused", "succeeded"]
    [refused] = [run for run in runs if run.status == "refused"]
    [succeeded] = [run for run in runs if run.status == "succeeded"]
    assert succeeded.id in refused.message


async def test_a_run_that_loses_its_lease_writes_nothing_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.secrets()
    await world.enable()
    monkeypatch.setattr("store.leases.STALE_AFTER_SECONDS", -1.0)
    run = await world.run()
    assert run.status == "failed"
    assert run.fault is not None
    assert run.fault.code == "lease_lost"
    assert world.writes() == []


async def test_the_lease_is_free_again_after_a_run(world: World) -> None:
    await world.secrets()
    await world.enable()
    await world.run()
    lease = await world.connection.leases.acquire(RUN, "somebody")
    assert isinstance(lease, Lease)


async def test_a_fault_of_our_own_is_recorded_with_its_traceback(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("planning")

    await world.secrets()
    await world.enable()
    monkeypatch.setattr("sync.user_stage.plan_users", broken)
    run = await world.run()
    assert run.fault is not None
    assert run.fault.code == "internal"
    assert "ZeroDivisionError" in run.fault.trace
    assert await codes(world) == {"internal"}


@pytest.mark.parametrize(
    "answer", ["410_location", "410", "400_expired_page_token", "400_sync_state_not_found", "404_resync_required"]
)
async def test_a_delta_link_that_is_no_longer_good_turns_an_incremental_run_into_a_full_one(
    world: World, answer: str
) -> None:
    await world.secrets()
    await world.enable()
    await world.run()
    link = next(link for link in await world.links() if link.email)
    world.change_user(link.object_id, jobTitle="Seen all the same")
    world.microsoft.faults.append(Fault("reset", path=DELTA, options={"answer": answer}))
    run = await world.run(mode="incremental")
    assert run.status == "succeeded", run
    assert run.counts["update.done"] == 1
    assert run.counts["unchanged"] == len(await world.links()) - 1


async def test_graph_may_withdraw_a_read_in_its_middle_and_answer_empty_pages(world: World) -> None:
    await world.secrets()
    await world.enable()
    switches = world.microsoft.graph.delta.switches
    switches.page_size, switches.empty_pages = 50, 2
    world.microsoft.faults.append(Fault("reset", path=DELTA, query={"$skiptoken": "?*"}, options={"answer": "410"}))
    run = await world.run()
    assert run.status == "succeeded", run
    assert run.counts["read"] == len([entity for _, entity in world.microsoft.directory.live("user")])


async def test_a_pbx_that_is_busy_for_a_moment_is_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pbx.client.wait_random_exponential", lambda **_: wait_none())
    await world.secrets()
    await world.enable()
    world.pbx.faults.append(Fault("errcode", path=CREATE, skip=5, times=3, options={"errcode": 70082}))
    run = await world.run()
    assert run.status == "succeeded", run


async def test_credentials_revoked_on_the_pbx_are_noticed_once_and_not_tried_again(world: World) -> None:
    await world.secrets()
    await world.enable()
    await world.run()
    machine = world.pbx.machine
    machine.application = msgspec.structs.replace(machine.application, client_secret="another")
    machine.tokens.clear()
    before = asked(world, TOKENS)
    for _ in range(4):
        run = await world.run()
        assert run.fault is not None
        assert run.fault.code == "pbx_credentials_rejected"
    assert asked(world, TOKENS) == before + 1


async def test_a_new_fault_of_a_side_replaces_the_earlier_one_and_dates_are_of_the_secret_in_use(world: World) -> None:
    await world.secrets()
    await world.enable()
    await world.run()
    health = await world.connection.health.load()
    assert health.secret_expires_at is not None
    await world.secrets(entra=EXPIRED_CLIENT_SECRET)
    await world.connection.secret_stored("entra-client-secret", "2")
    await world.run()
    [reason] = (await read_status(world.connection, world.tell())).reasons
    assert reason.code == "entra_secret_expired"
    assert "has expired" in reason.message
    assert "2099" not in reason.message
    await world.secrets(entra="neither")
    await world.run()
    assert await codes(world) == {"entra_secret_wrong"}
    await world.secrets(entra="neither", pbx="wrong")
    await world.connection.secret_stored("entra-client-secret", "3")
    assert await codes(world) == set()
