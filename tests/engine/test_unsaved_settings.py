"""Previews of settings that nobody saved: planned like the saved ones, kept no longer than the preview."""

from typing import Any

import msgspec
import pytest

from store.document import Settings
from store.runs import Run
from sync.api import Ask, Reply, answered, post_sync
from sync.service import Conflict, request_run
from tests.engine.world import World


async def draft(world: World, **users: Any) -> Settings:
    """The saved settings with other rules for users."""
    document = msgspec.to_builtins((await world.connection.settings.load()).settings)
    document["users"] |= users
    return msgspec.convert(document, Settings)


async def preview(world: World, settings: Settings) -> Run:
    return await world.run(preview=True, settings=settings)


async def post(world: World, body: Any) -> Reply:
    ask = Ask(body=msgspec.json.encode(body), headers={"content-type": "application/json"})
    return await answered(lambda: post_sync(world.connection, ask, world.tell()))


def errors(reply: Reply) -> dict[str, str]:
    return {one["path"]: one["message"] for one in msgspec.json.decode(reply.body)["errors"]}


async def test_rules_are_previewed_before_they_are_saved_and_before_users_are_on(world: World) -> None:
    await world.secrets()
    await world.settings()
    run = await preview(world, await draft(world, number={"kind": "sequential", "start": 7000, "property": None}))
    numbers = [int(item.extension) for item in await world.items(run) if item.operation == "create"]
    assert run.status == "succeeded", run
    assert min(numbers) == 7000
    assert (await world.connection.settings.load()).settings.users.number.start == 1000
    assert world.writes() == []
    assert await world.links() == []


async def test_the_saved_rules_hold_for_all_other_runs(world: World) -> None:
    await world.secrets()
    await world.settings()
    await preview(world, await draft(world, scope={"kind": "types", "user_types": ["Guest"], "group_ids": []}))
    run = await world.run(preview=True)
    [ours] = [run async for run in world.connection.runs.newest(1)]
    assert ours.id == run.id
    assert not run.unsaved_settings
    members = {item.object_id for item in await world.items(run) if item.outcome == "planned"}
    directory = world.microsoft.directory.entities
    assert {directory[one].properties.get("userType") for one in members} >= {"Member"}


@pytest.mark.parametrize("fails", [False, True], ids=["done", "failed"])
async def test_the_settings_go_with_the_end_of_the_preview(world: World, fails: bool) -> None:
    if not fails:
        await world.secrets()
    settings = await draft(world, enabled=True)
    run, message = await request_run(world.connection, world.tell(), started_by="api", preview=True, settings=settings)
    assert await world.connection.runs.settings(run.id) == settings
    ended = await world.execute(message, run.id)
    assert ended.status == ("failed" if fails else "succeeded")
    assert await world.connection.runs.settings(run.id) is None


async def test_a_fault_in_settings_that_nobody_saved_is_no_fault_of_the_connection(world: World) -> None:
    await world.secrets()
    await world.settings()
    nowhere = "99999999-9999-4999-8999-999999999999"
    run = await preview(world, await draft(world, scope={"kind": "groups", "user_types": [], "group_ids": [nowhere]}))
    assert run.fault is not None
    assert run.fault.code == "scope_group_missing"
    health = await world.connection.health.load()
    assert (health.reasons, health.failures) == ([], 0)


async def test_a_run_that_changes_something_takes_saved_settings_only(world: World) -> None:
    settings = await draft(world, enabled=True)
    with pytest.raises(Conflict, match="only be previewed"):
        await request_run(world.connection, world.tell(), started_by="api", settings=settings)
    assert [run async for run in world.connection.runs.newest(1)] == []


async def test_the_preview_reads_the_saved_tenant_whatever_became_of_it_meanwhile(world: World) -> None:
    await world.secrets()
    settings = await draft(world, enabled=True)
    run, message = await request_run(world.connection, world.tell(), started_by="api", preview=True, settings=settings)
    await world.settings(lambda document: document["pbx"].update(client_id="somebody-else"))
    ended = await world.execute(message, run.id)
    assert ended.fault is not None
    assert ended.fault.code == "pbx_credentials_rejected"


async def test_the_api_previews_a_document_and_says_that_it_is_not_saved(world: World) -> None:
    await world.secrets()
    document = msgspec.to_builtins(await draft(world, enabled=True))
    reply = await post(world, {"what": ["users"], "preview": True, "settings": document})
    assert reply.status == 202
    assert msgspec.json.decode(reply.body)["unsaved_settings"] is True
    run = await world.execute(reply.messages[0])
    assert run.status == "succeeded", run
    assert run.counts["create.planned"]


async def test_every_faulty_member_of_the_document_is_named_with_its_path(world: World) -> None:
    await world.secrets()
    document = msgspec.to_builtins(await draft(world))
    document["users"] |= {"enabled": "yes", "colour": "red"}
    reply = await post(world, {"preview": True, "settings": document})
    assert reply.status == 422
    assert set(errors(reply)) == {"/settings/users/enabled", "/settings/users/colour"}


async def test_a_document_without_preview_and_one_for_another_tenant_are_refused(world: World) -> None:
    await world.secrets()
    document = msgspec.to_builtins(await draft(world))
    assert set(errors(await post(world, {"settings": document}))) == {"/settings"}
    document["microsoft"]["tenant_id"] = "contoso.example"
    document["pbx"]["max_writes_per_second"] = 1
    reply = await post(world, {"preview": True, "settings": document})
    assert set(errors(reply)) == {"/settings/microsoft", "/settings/pbx"}
    assert [run async for run in world.connection.runs.newest(1)] == []
