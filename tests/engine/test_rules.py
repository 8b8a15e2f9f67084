"""The administrator's rules, seen on the PBX after runs."""

import datetime
from typing import Any

from local.sample import CLIENT_SECRET
from sync.messages import Message
from sync.service import decide, request_run, store_secret, tick
from sync.status import read_status
from tests.engine.world import PBX_SECRET, World


async def synced(world: World, **rules: Any) -> list[str]:
    """A first sync; answers the object ids of linked users that have an address of their own."""
    await world.secrets()
    [message] = await world.enable(**rules)
    run = await world.execute(message)
    assert run.status == "succeeded", run
    return [link.object_id for link in await world.links() if not link.associated and link.email]


async def number_of(world: World, object_id: str) -> str:
    link = await world.connection.links("users").get(object_id)
    assert link is not None
    return link.number


async def test_a_deleted_user_s_extension_is_deleted(world: World) -> None:
    gone = (await synced(world))[0]
    number = await number_of(world, gone)
    world.delete_user(gone)
    run = await world.run()
    assert run.counts["delete.done"] == 1
    assert number not in world.extensions()
    assert await world.connection.links("users").get(gone) is None


async def test_an_incremental_run_deletes_as_well(world: World) -> None:
    gone = (await synced(world))[0]
    number = await number_of(world, gone)
    world.delete_user(gone)
    run = await world.run(mode="incremental")
    assert run.counts["delete.done"] == 1
    assert number not in world.extensions()


async def test_a_deleted_user_s_extension_stays_when_the_rule_is_off_and_is_found_again_after_a_restore(
    world: World,
) -> None:
    gone = (await synced(world, delete_when=["disabled"]))[0]
    number = await number_of(world, gone)
    extension = world.extensions()[number]
    world.delete_user(gone)
    run = await world.run()
    assert run.counts["release.done"] == 1
    assert world.extensions()[number] == extension
    world.restore_user(gone)
    back = await world.run()
    assert back.counts["associate.done"] == 1
    assert await number_of(world, gone) == number
    assert world.extensions()[number] == extension


async def test_a_disabled_user_s_extension_is_deleted_or_goes_on_syncing_by_rule(world: World) -> None:
    first, second = (await synced(world, delete_when=["deleted"]))[:2]
    number = await number_of(world, first)
    world.change_user(first, accountEnabled=False, jobTitle="On leave")
    run = await world.run()
    assert run.counts["update.done"] == 1
    assert world.extensions()[number]["title"] == "On leave"
    await world.enable(delete_when=["disabled"])
    world.change_user(second, accountEnabled=False)
    entities = world.microsoft.directory.entities
    disabled = {
        link.number for link in await world.links() if not entities[link.object_id].properties["accountEnabled"]
    }
    assert {number, await number_of(world, second)} <= disabled
    run = await world.run()
    assert run.counts["delete.done"] == len(disabled)
    assert not disabled & set(world.extensions())


async def test_leaving_the_scope_releases_or_deletes_by_rule(world: World) -> None:
    await synced(world)
    guests = [link for link in await world.links() if "#EXT#" in link.user_principal_name]
    assert guests
    before = world.extensions()
    await world.enable(scope={"kind": "types", "user_types": ["Member"]})
    run = await world.run()
    assert run.counts["release.done"] == len(guests)
    assert world.extensions() == before
    await world.enable(scope={"kind": "types", "user_types": ["Guest"]}, delete_out_of_scope=True)
    run = await world.run()
    assert run.counts["associate.done"] == len(guests)
    assert run.counts["delete.held"] > 100
    assert world.extensions() == before


async def test_a_scope_of_groups_takes_their_nested_members(world: World) -> None:
    directory = world.microsoft.directory
    groups = [entity for entity in directory.entities.values() if entity.kind == "group"]
    nested = next(group for group in groups if any(member.kind == "group" for member in directory.members(group)))
    users = {entity.id for entity in directory.transitive_members(nested) if entity.kind == "user"}
    await world.secrets()
    [message] = await world.enable(scope={"kind": "groups", "group_ids": [nested.id]})
    run = await world.execute(message)
    assert run.status == "succeeded", run
    linked = {link.object_id for link in await world.links()}
    skipped = {item.object_id for item in await world.items(run) if item.outcome == "skipped"}
    assert linked | skipped == users
    assert linked


async def test_a_missing_group_of_the_scope_stops_the_run_before_anything_is_changed(world: World) -> None:
    await synced(world)
    before = world.extensions()
    await world.enable(
        scope={"kind": "groups", "group_ids": ["99999999-9999-4999-8999-999999999999"]}, delete_out_of_scope=True
    )
    run = await world.run()
    assert run.fault is not None
    assert run.fault.code == "scope_group_missing"
    assert world.extensions() == before


async def test_numbers_come_from_a_property_and_nobody_is_renumbered(world: World) -> None:
    await world.secrets()
    [message] = await world.enable(number={"kind": "property", "property": "businessPhones", "start": 1000})
    run = await world.execute(message)
    created = [item for item in await world.items(run) if item.operation == "create"]
    assert created
    assert all(item.reason == "New user; the number is from businessPhones." for item in created)
    reasons = " ".join(item.reason for item in await world.items(run) if item.outcome == "skipped")
    assert "is empty" in reasons
    assert "at most 7 digits" in reasons
    assert "is taken already" in reasons
    await world.enable(number={"kind": "sequential", "start": 3000})
    again = await world.run()
    numbers = {link.object_id: link.number for link in await world.links()}
    assert all(numbers[item.object_id] == item.extension for item in created)
    assert again.counts["create.done"] > 0


async def test_a_welcome_e_mail_follows_a_creation_when_asked_for(world: World) -> None:
    await synced(world, send_welcome_email=True)
    with_address = [link for link in await world.links() if link.email and not link.associated]
    assert world.writes().count("send_welcome_email") == len(with_address)


async def test_drift_is_put_right_by_the_next_full_run(world: World) -> None:
    object_id = (await synced(world))[0]
    link = await world.connection.links("users").get(object_id)
    assert link is not None
    world.edit_extension(link.number, title="Changed by hand")
    run = await world.run()
    [item] = [item for item in await world.items(run) if item.operation == "update"]
    assert item.reason.startswith("Changed by hand")
    assert item.before == {"title": "Changed by hand"}
    assert world.extensions()[link.number]["title"] == link.written["title"]


async def test_an_extension_deleted_by_hand_comes_back_with_its_number(world: World) -> None:
    object_id = (await synced(world))[0]
    number = await number_of(world, object_id)
    world.remove_extension(number)
    run = await world.run()
    assert run.counts["create.done"] == 1
    assert number in world.extensions()
    assert await number_of(world, object_id) == number


# The guard


async def mass_deletion(world: World, number: int) -> list[str]:
    gone = (await synced(world))[:number]
    for object_id in gone:
        world.delete_user(object_id)
    return gone


async def test_more_deletions_than_the_guard_allows_are_held_and_the_rest_is_done(world: World) -> None:
    gone = await mass_deletion(world, 25)
    stays = next(link for link in await world.links() if link.object_id not in gone)
    world.change_user(stays.object_id, jobTitle="Still served")
    before = set(world.extensions())
    run = await world.run()
    assert run.counts["delete.held"] == 25
    assert run.counts["update.done"] == 1
    assert set(world.extensions()) == before
    status = await read_status(world.connection, world.tell())
    assert status.state == "needs_attention"
    assert [reason.code for reason in status.reasons] == ["deletions_held"]


async def test_approved_deletions_are_carried_out_and_only_those(world: World) -> None:
    gone = await mass_deletion(world, 25)
    numbers = {await number_of(world, object_id) for object_id in gone}
    held = await world.run()
    late = next(link for link in await world.links() if link.object_id not in gone)
    for link in [link for link in await world.links() if link.object_id not in gone][:22]:
        world.delete_user(link.object_id)
    _, [message] = await decide(world.connection, held.id, "approved", world.tell())
    run = await world.execute(message)
    assert run.counts["delete.done"] == 25
    assert run.counts["delete.held"] == 22
    assert not numbers & set(world.extensions())
    assert late.number in world.extensions()


async def test_rejected_deletions_stay_undone(world: World) -> None:
    await mass_deletion(world, 25)
    before = set(world.extensions())
    held = await world.run()
    decided, messages = await decide(world.connection, held.id, "rejected", world.tell())
    assert (decided.decision, messages) == ("rejected", [])
    assert set(world.extensions()) == before
    assert (await read_status(world.connection, world.tell())).reasons == []


async def test_an_empty_directory_deletes_and_releases_nobody(world: World) -> None:
    await synced(world, delete_when=["disabled"])
    directory = world.microsoft.directory
    for entity in [entity for _, entity in directory.live("user")]:
        directory.delete(entity)
    before = world.extensions()
    run = await world.run()
    assert run.status == "succeeded"
    assert run.counts["release.held"] == len(await world.links())
    assert world.extensions() == before


# Time


async def test_the_scheduled_run_starts_once_at_its_time_and_a_missed_one_is_caught_up_once(world: World) -> None:
    await synced(world)
    assert await tick(world.connection, world.tell()) == []
    world.now = datetime.datetime(2026, 3, 3, 0, 29, tzinfo=datetime.UTC)
    assert await tick(world.connection, world.tell()) == []
    world.now = datetime.datetime(2026, 3, 3, 0, 30, 5, tzinfo=datetime.UTC)
    [message] = await tick(world.connection, world.tell())
    assert await tick(world.connection, world.tell()) == []
    assert (await world.execute(message)).started_by == "schedule"
    world.now = datetime.datetime(2026, 3, 9, 12, 0, tzinfo=datetime.UTC)
    assert len(await tick(world.connection, world.tell())) == 1
    assert await tick(world.connection, world.tell()) == []


async def test_settings_saved_before_the_secrets_start_the_initial_run_when_the_last_secret_arrives(
    world: World,
) -> None:
    assert await world.enable() == []
    _, messages = await store_secret(world.connection, "entra-client-secret", CLIENT_SECRET, world.tell())
    assert messages == []
    _, [message] = await store_secret(world.connection, "pbx-client-secret", PBX_SECRET, world.tell())
    assert (await world.execute(message)).started_by == "initial"


async def test_a_run_whose_message_was_lost_is_queued_again(world: World) -> None:
    await synced(world)
    run, _ = await request_run(world.connection, world.tell(), started_by="api")
    assert await tick(world.connection, world.tell()) == []
    world.now += datetime.timedelta(minutes=20)
    assert await tick(world.connection, world.tell()) == [Message(world.id, run.id)]
    assert await tick(world.connection, world.tell()) == []


async def test_the_document_of_a_new_deployment_is_pre_filled(world: World) -> None:
    settings = (await world.connection.settings.load()).settings
    assert settings.missing() == []
    assert not settings.users.enabled


async def test_nobody_counts_on_the_address_or_the_place_of_a_held_deletion(world: World) -> None:
    gone = await mass_deletion(world, 25)
    link = await world.connection.links("users").get(gone[0])
    assert link is not None
    world.licence(len(world.extensions()))
    world.microsoft.directory.create(
        "user",
        {"displayName": "Aaron Early", "mail": link.email, "userPrincipalName": "early@contoso.example",
         "accountEnabled": True, "userType": "Member", "mailNickname": "early"},
    )  # fmt: skip
    run = await world.run()
    assert run.status == "succeeded"
    assert run.counts["delete.held"] == 25
    [item] = [item for item in await world.items(run) if item.name == "Aaron Early"]
    assert item.outcome == "skipped"
    assert "in use by extension" in item.reason


async def test_an_address_that_moves_on_is_given_in_order_however_fast_the_writes_are(world: World) -> None:
    first, second, third = (await synced(world))[:3]
    links = {link.object_id: link for link in await world.links()}
    world.change_user(first, mail="brand.new@contoso.example")
    world.change_user(second, mail=links[first].email)
    world.change_user(third, mail=links[second].email)
    run = await world.run()
    assert (run.status, run.counts["update.done"]) == ("succeeded", 3)
    extensions = world.extensions()
    assert extensions[links[second].number]["email_addr"] == links[first].email
    assert extensions[links[third].number]["email_addr"] == links[second].email


async def test_an_incremental_run_writes_to_no_extension_that_took_over_an_id(world: World) -> None:
    object_id = (await synced(world))[0]
    link = await world.connection.links("users").get(object_id)
    assert link is not None
    stranger = {"number": "7777", "first_name": "Some", "last_name": "Body", "email_addr": "some.body@contoso.example"}
    world.edit_extension(link.number, **stranger)
    world.change_user(object_id, jobTitle="Changed")
    run = await world.run(mode="incremental")
    [item] = await world.items(run)
    assert (item.operation, item.outcome) == ("update", "skipped")
    assert world.extensions()["7777"]["title"] == link.written["title"]
