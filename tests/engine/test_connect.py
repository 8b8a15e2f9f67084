"""Trying a connection before it is saved: what works is described, what does not is explained, and nothing is kept."""

import msgspec
import pytest

from local.emulator import Fault
from local.sample import CLIENT_SECRET, TENANT_ID
from store.document import Pbx, Settings
from store.health import Health
from store.tokens import TokenStore
from sync import connect
from sync.connect import PbxTested, Trouble
from tests.engine.world import PBX_SECRET, World

NOW = 1_770_000_000.0
DISOWNED = Fault(kind="errcode", path="*/system/information", options={"errcode": 10004}, times=None)


async def saved(world: World) -> Settings:
    return (await world.connection.settings.load()).settings


async def try_pbx(world: World, secret: str = PBX_SECRET, *, at: float = NOW, **changes: str) -> PbxTested:
    settings = msgspec.structs.replace((await saved(world)).pbx, **changes)
    return await connect.test_pbx(world.connection, settings, secret, now=lambda: at)


async def trouble_of(world: World, secret: str = PBX_SECRET, *, at: float = NOW, **changes: str) -> Trouble:
    with pytest.raises(Trouble) as caught:
        await try_pbx(world, secret, at=at, **changes)
    return caught.value


def tokens_asked(world: World) -> int:
    return sum(request.path.endswith("/get_token") for request in world.pbx.requests)


# Microsoft


async def test_a_credential_that_works_tells_the_tenant_and_the_permissions(world: World) -> None:
    tested = await connect.test_microsoft(world.connection, await saved(world), "entra-client-secret", CLIENT_SECRET)
    assert tested.tenant_id == TENANT_ID
    assert {"User.Read.All", "Group.Read.All"} <= set(tested.permissions)
    assert await world.connection.health.load() == Health()


async def test_the_tenant_s_name_is_told_only_to_who_may_read_it(world: World) -> None:
    app = next(app for app in world.microsoft.authority.apps.values() if "User.Read.All" in app.roles)
    for roles, named in ((["User.Read.All"], False), (["User.Read.All", "Organization.Read.All"], True)):
        app.roles = roles
        tested = await connect.test_microsoft(
            world.connection, await saved(world), "entra-client-secret", CLIENT_SECRET
        )
        assert bool(tested.tenant_name) is named
        assert tested.permissions == sorted(roles)


async def test_without_a_value_the_stored_credential_is_tried(world: World) -> None:
    with pytest.raises(Trouble) as caught:
        await connect.test_microsoft(world.connection, await saved(world), "entra-client-secret", "")
    assert caught.value.code == "secret_missing"
    await world.secrets()
    tested = await connect.test_microsoft(world.connection, await saved(world), "entra-client-secret", "")
    assert tested.tenant_id == TENANT_ID


async def test_a_wrong_client_secret_is_told_in_plain_words_and_without_the_secret(world: World) -> None:
    with pytest.raises(Trouble) as caught:
        await connect.test_microsoft(world.connection, await saved(world), "entra-client-secret", "no-such-secret")
    trouble = caught.value
    assert "no-such-secret" not in f"{trouble!r} {trouble.message} {trouble.action}"
    assert trouble.message.endswith(".")
    assert trouble.action
    assert await world.connection.health.load() == Health()


async def test_missing_ids_are_named_before_anybody_is_asked(world: World) -> None:
    settings = await saved(world)
    settings = msgspec.structs.replace(settings, microsoft=msgspec.structs.replace(settings.microsoft, client_id=""))
    with pytest.raises(Trouble, match="client id is missing"):
        await connect.test_microsoft(world.connection, settings, "entra-client-secret", CLIENT_SECRET)
    assert world.microsoft.requests == []


# The PBX


async def test_a_pbx_that_answers_is_described_and_gets_its_token_back(world: World) -> None:
    tested = await try_pbx(world)
    machine = world.pbx.machine
    assert (tested.extension_capacity, tested.extension_used) == (machine.capacity.extensions, 12)
    assert tested.model
    assert tested.firmware
    assert machine.tokens.live(machine.clock.time()) == 0
    assert tokens_asked(world) == 1


async def test_without_a_value_the_stored_secret_of_the_pbx_is_tried(world: World) -> None:
    assert (await trouble_of(world, "")).code == "secret_missing"
    await world.secrets()
    assert (await try_pbx(world, "")).model


async def test_a_wrong_secret_is_tried_once_and_leaves_the_saved_connection_alone(world: World) -> None:
    await world.secrets()
    await try_pbx(world)
    await world.enable()
    assert (await world.run()).status == "succeeded"
    before = await TokenStore(world.connection.tables, world.connection.id, "pbx").read()
    world.pbx.requests.clear()
    trouble = await trouble_of(world, "wrong-secret")
    assert trouble.code == "pbx_credentials_rejected"
    assert "Integrations > API" in trouble.action
    assert "wrong-secret" not in f"{trouble!r}"
    assert tokens_asked(world) == 1
    assert await TokenStore(world.connection.tables, world.connection.id, "pbx").read() == before
    assert (await world.run()).status == "succeeded"


async def test_three_wrong_secrets_are_enough_for_a_while(world: World) -> None:
    for minute in range(3):
        assert (await trouble_of(world, "wrong", at=NOW + 60 * minute)).code == "pbx_credentials_rejected"
    asked = tokens_asked(world)
    trouble = await trouble_of(world, at=NOW + 180)
    assert trouble.code == "pbx_tests_exhausted"
    assert "in 13 minutes" in trouble.action
    assert tokens_asked(world) == asked == 3
    assert (await try_pbx(world, at=NOW + 901)).model


async def test_a_pbx_that_cannot_be_reached_counts_for_nothing(world: World) -> None:
    for _ in range(4):
        assert (await trouble_of(world, fqdn="127.0.0.1:1")).code == "pbx_unreachable"
    trouble = await trouble_of(world, fqdn="127.0.0.1:1")
    assert "by itself" not in trouble.action


async def test_a_pbx_with_eight_live_tokens_says_so_and_is_not_asked_again(world: World) -> None:
    machine = world.pbx.machine
    for _ in range(8):
        machine.tokens.issue(machine.clock.time())
    trouble = await trouble_of(world)
    assert trouble.code == "pbx_tokens_exhausted"
    assert tokens_asked(world) == 1


async def test_a_token_that_the_pbx_disowns_at_once_is_not_replaced(world: World) -> None:
    world.pbx.faults.append(DISOWNED)
    trouble = await trouble_of(world)
    assert trouble.code == "pbx_fault"
    assert tokens_asked(world) == 1
    assert not any(request.path.endswith("refresh_token") for request in world.pbx.requests)


async def test_what_is_not_filled_in_is_named(world: World) -> None:
    with pytest.raises(Trouble, match="FQDN of the PBX and the Client ID"):
        await connect.test_pbx(world.connection, Pbx(), PBX_SECRET, now=lambda: NOW)
    assert (await trouble_of(world, client_id="")).code == "incomplete"
