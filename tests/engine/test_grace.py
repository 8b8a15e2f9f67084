"""Days of grace: who leaves keeps the extension for a while, and whoever returns gets it back."""

import datetime
from collections.abc import AsyncIterator
from typing import Any

import pytest

from local.azurite import Azurite
from local.tls import ServerCertificate
from store.links import Link
from sync.service import decide
from sync.status import read_status
from tests.engine.world import World, empty_world


@pytest.fixture
async def world(
    azurite: Azurite, certificate: ServerCertificate, signing_keys: list[dict[str, str]]
) -> AsyncIterator[World]:
    async with empty_world(azurite, certificate, signing_keys) as world:
        yield world


async def settled(world: World, number: int = 6, **rules: Any) -> list[str]:
    """So many synced users, with 30 days of grace and a guard of more than all of them."""
    ids = await world.staff(number)
    await guard(world, number)
    await world.secrets()
    [message] = await world.enable(**{"delete_grace_days": 30, **rules})
    run = await world.execute(message)
    assert (run.status, run.counts["unchanged"]) == ("succeeded", number), run
    return ids


async def guard(world: World, deletions: int) -> None:
    await world.settings(lambda document: document["guard"].update(max_deletions=deletions, max_deletion_percent=100))


async def link_of(world: World, object_id: str) -> Link:
    link = await world.connection.links("users").get(object_id)
    assert link is not None
    return link


def disable(world: World, *ids: str) -> None:
    for object_id in ids:
        world.change_user(object_id, accountEnabled=False)


def wait(world: World, **passed: float) -> None:
    world.now += datetime.timedelta(**passed)


# Marking


async def test_who_is_to_be_deleted_is_marked_once_and_keeps_the_extension(world: World) -> None:
    ann, *_ = await settled(world)
    before = world.extensions()
    disable(world, ann)
    run = await world.run()
    [item] = await world.items(run)
    assert (run.status, run.counts["leaving"]) == ("succeeded", 1)
    assert (item.operation, item.outcome, item.extension) == ("skip", "skipped", "1000")
    assert item.reason == (
        "The account is disabled in Entra. The first full run after 2026-04-01 09:00 UTC deletes the extension, unless "
        "the user returns."
    )
    marked = await link_of(world, ann)
    assert (marked.leaving_since, marked.leaving_reason) == (
        "2026-03-02T09:00:00+00:00",
        "The account is disabled in Entra.",
    )
    again = await world.run()
    assert (await world.items(again), again.counts["leaving"]) == ([], 1)
    assert await link_of(world, ann) == marked
    assert (world.extensions(), world.writes()) == (before, [])


async def test_an_incremental_run_marks_as_well(world: World) -> None:
    ann, bob, *_ = await settled(world)
    disable(world, ann)
    world.delete_user(bob)
    run = await world.run(mode="incremental")
    assert (run.counts["skip.skipped"], run.counts["leaving"]) == (2, 2)
    assert (await link_of(world, ann)).leaving_since
    assert (await link_of(world, bob)).leaving_reason == "The user was deleted in Entra."
    assert world.writes() == []


async def test_leaving_the_scope_marks_or_releases_by_rule(world: World) -> None:
    ann, *_ = await settled(world, scope={"kind": "types", "user_types": ["Member"]}, delete_out_of_scope=True)
    world.change_user(ann, userType="Guest")
    await world.run()
    assert (await link_of(world, ann)).leaving_reason == "The user is no longer in the scope."
    await world.enable(delete_out_of_scope=False)
    run = await world.run()
    assert run.counts["release.done"] == 1
    released = await link_of(world, ann)
    assert (released.state, released.leaving_since, released.leaving_reason) == ("released", "", "")


async def test_a_preview_says_when_each_extension_would_be_deleted_and_marks_nothing(world: World) -> None:
    ann, bob, *_ = await settled(world)
    disable(world, ann, bob)
    before = await world.links()
    run = await world.run(preview=True)
    items = await world.items(run)
    assert [item.extension for item in items] == ["1000", "1001"]
    assert all("after 2026-04-01 09:00 UTC" in item.reason for item in items)
    assert await world.links() == before


# While it is marked


async def test_nothing_is_written_to_a_marked_extension(world: World) -> None:
    ann, *_ = await settled(world)
    disable(world, ann)
    await world.run()
    world.edit_extension("1000", title="By hand")
    world.change_user(ann, mobilePhone="+31201234567")
    await world.run(mode="incremental")
    await world.run()
    extension = world.extensions()["1000"]
    assert (extension["title"], extension["mobile_number"], world.writes()) == ("By hand", "", [])


async def test_the_number_and_the_address_of_a_marked_extension_are_not_given_away(world: World) -> None:
    ann, *_ = await settled(world)
    disable(world, ann)
    await world.run()
    heir = world.person("Heir", mail=world.extensions()["1000"]["email_addr"])
    new = world.person("New Person")
    run = await world.run()
    [item] = [item for item in await world.items(run) if item.object_id == heir]
    assert "in use by extension 1000 already" in item.reason
    assert (await link_of(world, new)).number == "1006"


# When the days are over


async def test_a_full_run_deletes_when_the_days_are_over_and_none_does_before(world: World) -> None:
    ann, *_ = await settled(world)
    disable(world, ann)
    await world.run()
    wait(world, days=29, hours=23)
    assert (await world.run()).counts["leaving"] == 1
    wait(world, hours=1)
    run = await world.run(mode="incremental")
    assert (await world.items(run), "1000" in world.extensions()) == ([], True)
    run = await world.run()
    [item] = await world.items(run)
    assert (item.operation, item.outcome, run.counts["leaving"]) == ("delete", "done", 0)
    assert item.reason.endswith("Its 30 days of grace, from 2026-03-02 on, are over.")
    assert "1000" not in world.extensions()
    assert await world.connection.links("users").get(ann) is None


async def test_fewer_days_count_for_those_who_are_marked_already(world: World) -> None:
    ann, *_ = await settled(world)
    disable(world, ann)
    await world.run()
    wait(world, days=8)
    await world.enable(delete_grace_days=7)
    assert (await world.run()).counts["delete.done"] == 1


# Coming back


async def test_a_user_who_returns_gets_the_extension_back_and_is_synced_again(world: World) -> None:
    ann, *_ = await settled(world)
    disable(world, ann)
    await world.run()
    before = await link_of(world, ann)
    wait(world, days=20)
    world.change_user(ann, accountEnabled=True, jobTitle="Back again")
    run = await world.run(mode="incremental")
    [item] = await world.items(run)
    assert (item.operation, item.outcome, item.after) == ("update", "done", {"title": "Back again"})
    assert item.notes == ["The user is wanted again: the mark for deletion is removed."]
    link = await link_of(world, ann)
    assert (link.leaving_since, link.leaving_reason, link.pbx_id) == ("", "", before.pbx_id)
    wait(world, days=20)
    assert (await world.run()).counts["unchanged"] == 6


async def test_who_leaves_again_has_all_the_days_again(world: World) -> None:
    ann, *_ = await settled(world)
    world.delete_user(ann)
    await world.run()
    wait(world, days=20)
    world.restore_user(ann)
    assert (await world.run()).counts["update.done"] == 1
    world.delete_user(ann)
    await world.run()
    wait(world, days=20)
    run = await world.run()
    assert (run.counts["leaving"], "1000" in world.extensions()) == (1, True)
    assert world.writes() == []


async def test_a_mark_goes_even_when_nothing_can_be_written_for_the_user_who_returns(world: World) -> None:
    ann, *_ = await settled(world)
    disable(world, ann)
    await world.run()
    world.change_user(ann, accountEnabled=True, mail=world.extensions()["1001"]["email_addr"])
    run = await world.run(mode="incremental")
    [item] = await world.items(run)
    assert (item.outcome, "in use by another extension" in item.reason) == ("skipped", True)
    assert (await link_of(world, ann)).leaving_since == ""


# With the guard


async def test_many_marks_are_told_but_not_held_and_their_deletion_is_guarded(world: World) -> None:
    ids = await settled(world)
    await guard(world, 3)
    disable(world, *ids[:5])
    marking = await world.run()
    assert "5 extensions were marked to be deleted after their days of grace" in marking.message
    assert (marking.counts["skip.skipped"], "delete.held" in marking.counts) == (5, False)
    assert "were marked" not in (await world.run()).message
    assert (await read_status(world.connection, world.tell())).reasons == []
    wait(world, days=30)
    held = await world.run()
    assert (held.counts["delete.held"], len(world.extensions())) == (5, 6)
    _, [message] = await decide(world.connection, held.id, "approved", world.tell())
    assert (await world.execute(message)).counts["delete.done"] == 5
    assert set(world.extensions()) == {"1005"}


async def test_a_held_deletion_is_not_put_off_when_days_of_grace_are_set_afterwards(world: World) -> None:
    ids = await settled(world, delete_grace_days=0)
    await guard(world, 3)
    disable(world, *ids[:5])
    held = await world.run()
    await world.enable(delete_grace_days=30)
    assert (await world.run()).counts["delete.held"] == 5
    _, [message] = await decide(world.connection, held.id, "approved", world.tell())
    assert (await world.execute(message)).counts["delete.done"] == 5
