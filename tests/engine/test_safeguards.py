"""What must never happen to somebody's extension, however oddly events fall together."""

import asyncio
from typing import Any

import pytest

from local.emulator import Fault
from sync.service import decide, execute, request_run, tick
from sync.status import read_status
from tests.engine.world import World


async def synced(world: World, **rules: Any) -> list[str]:
    await world.secrets()
    [message] = await world.enable(**rules)
    run = await world.execute(message)
    assert run.status == "succeeded", run
    return [link.object_id for link in await world.links() if not link.associated and link.email]


async def held_deletions(world: World, number: int = 25) -> tuple[list[str], str]:
    """So many users deleted in Entra, whose extensions the guard holds; their ids and the run's."""
    gone = (await synced(world))[:number]
    for object_id in gone:
        world.delete_user(object_id)
    run = await world.run()
    assert run.counts["delete.held"] == number
    return gone, run.id


async def test_many_small_runs_delete_no_more_than_one_large_one(world: World) -> None:
    ids = await synced(world)
    before = len(world.extensions())
    for start in range(0, 40, 5):
        for object_id in ids[start : start + 5]:
            world.delete_user(object_id)
        await world.run(mode="incremental")
    assert before - len(world.extensions()) == 20
    assert [reason.code for reason in (await read_status(world.connection, world.tell())).reasons] == ["deletions_held"]


async def test_a_run_about_one_user_deletes_nothing_that_is_held(world: World) -> None:
    gone, run_id = await held_deletions(world)
    extensions = world.extensions()
    run = await world.run(object_id=gone[0])
    assert run.counts["delete.held"] == 1
    await decide(world.connection, run_id, "rejected", world.tell())
    run = await world.run(object_id=gone[0])
    assert run.counts["delete.held"] == 1
    assert world.extensions() == extensions


async def test_a_rejection_is_heeded_by_later_runs_and_not_asked_about_again(world: World) -> None:
    _, run_id = await held_deletions(world)
    extensions = world.extensions()
    await decide(world.connection, run_id, "rejected", world.tell())
    for _ in range(2):
        run = await world.run()
        assert run.counts["delete.held"] == 25
        assert (await read_status(world.connection, world.tell())).reasons == []
    assert world.extensions() == extensions


async def test_a_small_run_does_not_make_a_hold_forgotten(world: World) -> None:
    await held_deletions(world)
    stays = next(link for link in await world.links() if link.object_id in world.microsoft.directory.entities)
    await world.run(object_id=stays.object_id)
    await world.run(mode="incremental")
    assert [reason.code for reason in (await read_status(world.connection, world.tell())).reasons] == ["deletions_held"]


async def test_of_an_approval_and_a_rejection_at_the_same_moment_one_counts(world: World) -> None:
    _, run_id = await held_deletions(world)
    outcomes = await asyncio.gather(
        decide(world.connection, run_id, "approved", world.tell()),
        decide(world.connection, run_id, "rejected", world.tell()),
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, Exception) for outcome in outcomes) == 1


async def test_an_approval_that_meets_another_run_is_carried_out_after_it(world: World) -> None:
    gone, run_id = await held_deletions(world)
    _, [message] = await decide(world.connection, run_id, "approved", world.tell())
    lease = await world.connection.leases.acquire("run", "another run")
    assert await execute(world.connection, message.run, world.tell) == []
    assert (await world.connection.runs.get(message.run)).status == "queued"  # type: ignore[union-attr]
    await lease.release()  # type: ignore[union-attr]
    [again] = await tick(world.connection, world.tell())
    run = await world.execute(again)
    assert run.counts["delete.done"] == len(gone)


async def test_a_scope_whose_groups_are_suddenly_empty_releases_nobody(world: World) -> None:
    directory = world.microsoft.directory
    groups = [entity for entity in directory.entities.values() if entity.kind == "group"]
    group = max(groups, key=lambda group: len(directory.transitive_members(group)))
    await synced(world, scope={"kind": "groups", "group_ids": [group.id]})
    links = await world.links()
    assert links
    directory.link(group, "members", [], [entity.id for entity in directory.members(group)])
    run = await world.run()
    assert run.counts["release.held"] == len(links)
    assert await world.links() == links


async def test_other_people_under_the_same_ids_and_numbers_are_not_overwritten(world: World) -> None:
    await synced(world)
    for number, link in enumerate(await world.links()):
        if link.associated:
            continue
        world.edit_extension(
            link.number, first_name=f"Other{number}", last_name="Person", email_addr=f"other{number}@fabrikam.example"
        )
    before = world.extensions()
    written = len(world.writes())
    run = await world.run()
    assert run.status == "succeeded"
    after = world.extensions()
    assert all(after[number] == extension for number, extension in before.items())
    assert "update" not in world.writes()[written:]
    assert "delete" not in world.writes()[written:]


@pytest.mark.parametrize("body", ["<html>not found</html>", ""])
async def test_the_404_of_a_gateway_is_not_taken_for_a_deleted_user(
    world: World, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    monkeypatch.setattr("graph.client._exponential", lambda _: 0.0)
    object_id = (await synced(world))[0]
    before = world.extensions()
    world.microsoft.faults.append(Fault("status", path=f"/v1.0/users/{object_id}", status=404, body=body, times=None))
    run = await world.run(object_id=object_id)
    assert run.status == "failed"
    assert world.extensions() == before


async def test_a_message_that_comes_twice_executes_its_run_once(world: World) -> None:
    await world.secrets()
    [message] = await world.enable()
    await asyncio.gather(world.execute(message), world.execute(message))
    run = await world.execute(message)
    items = await world.items(run)
    assert run.status == "succeeded"
    assert len({item.number for item in items}) == len(items) == run.items
    assert run.counts["create.done"] == sum(item.operation == "create" for item in items) == len(await world.links())


async def test_enabling_that_broke_off_half_way_still_gets_its_first_run(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.secrets()

    async def broken(*_: object) -> None:
        raise OSError("storage is away")

    with monkeypatch.context() as patched:
        patched.setattr(type(world.connection.health), "update", broken)
        with pytest.raises(OSError, match="away"):
            await world.enable()
    [message] = await tick(world.connection, world.tell())
    assert (await world.execute(message)).status == "succeeded"


async def test_a_create_that_was_carried_out_is_linked_later_even_if_looking_failed_for_good(world: World) -> None:
    await world.secrets()
    await world.enable()
    world.pbx.faults.append(Fault("commit_then_drop", path="*/extension/create", skip=2))
    world.pbx.faults.append(Fault("errcode", path="*/extension/search", options={"errcode": 70087}, times=1))
    run = await world.run()
    assert run.status == "failed"
    again = await world.run()
    assert again.status == "succeeded"
    links = await world.links()
    assert len({link.pbx_id for link in links}) == len(links) == len(world.extensions()) - 12


async def test_a_run_that_dies_again_and_again_is_given_up(world: World) -> None:
    await synced(world)
    run, _ = await request_run(world.connection, world.tell(), started_by="api")
    import datetime

    messages = 0
    for _ in range(10):
        world.now += datetime.timedelta(minutes=16)
        messages += len([message for message in await tick(world.connection, world.tell()) if message.run == run.id])
    assert messages == 5
    found = await world.connection.runs.get(run.id)
    assert found is not None
    assert found.status == "failed"


async def test_a_value_that_was_written_without_an_answer_is_not_forgotten(world: World) -> None:
    object_id = (await synced(world))[0]
    link = await world.connection.links("users").get(object_id)
    assert link is not None
    world.change_user(object_id, jobTitle="Thought better of")
    world.pbx.faults.append(Fault("commit_then_drop", path="*/extension/update", times=None))
    await world.run(mode="incremental")
    world.pbx.faults.clear()
    world.change_user(object_id, jobTitle=link.written["title"] or None)
    await world.run(mode="incremental")
    assert world.extensions()[link.number]["title"] == link.written["title"]


async def test_an_address_in_use_does_not_keep_the_other_fields_from_an_incremental_run(world: World) -> None:
    first, second = (await synced(world))[:2]
    links = {link.object_id: link for link in await world.links()}
    taken = next(ext["email_addr"] for ext in world.extensions().values() if ext["email_addr"] == links[second].email)
    world.change_user(first, mail=taken, jobTitle="Written all the same")
    run = await world.run(mode="incremental")
    assert run.status == "succeeded", run
    [item] = await world.items(run)
    assert (item.outcome, item.after) == ("done", {"title": "Written all the same"})
    assert "in use by another extension" in item.notes[-1]
    assert world.extensions()[links[first].number]["email_addr"] == links[first].email
    world.change_user(second, mail=links[first].email)
    [item] = await world.items(await world.run(mode="incremental"))
    assert item.outcome == "skipped"


async def test_an_extension_found_missing_by_an_incremental_run_is_made_again_by_the_next_one(world: World) -> None:
    object_id = (await synced(world))[0]
    link = await world.connection.links("users").get(object_id)
    assert link is not None
    world.remove_extension(link.number)
    world.change_user(object_id, jobTitle="Still here")
    assert (await world.run(mode="incremental")).status == "partial"
    assert (await world.run(mode="incremental")).counts["create.done"] == 1
    assert world.extensions()[link.number]["title"] == "Still here"
