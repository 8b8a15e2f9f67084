"""The first sync of the sample tenant, and the runs after it."""

from local.sample import sample_extensions
from tests.engine.world import World


async def ready(world: World) -> None:
    await world.secrets()
    [message] = await world.enable(associate_by_email=True)
    run = await world.execute(message)
    assert run.status == "succeeded", run


async def test_every_wanted_user_becomes_an_extension_and_everybody_else_has_a_reason(world: World) -> None:
    await ready(world)
    [run] = [run async for run in world.connection.runs.newest(1)]
    items = await world.items(run)
    assert run.counts["read"] == len(items)
    assert all(item.reason for item in items)
    assert {item.outcome for item in items} == {"done", "skipped"}
    linked = await world.links()
    extensions = world.extensions()
    assert {link.number for link in linked} <= set(extensions)
    for link in linked:
        assert {name: extensions[link.number][name] for name in link.written} == link.written


async def test_extensions_made_by_hand_survive_untouched_unless_they_are_associated(world: World) -> None:
    before = world.extensions()
    assert len(before) == len(sample_extensions()) == 12
    await ready(world)
    after = world.extensions()
    associated = {link.number for link in await world.links() if link.associated}
    assert associated
    for number, extension in before.items():
        if number not in associated:
            assert after[number] == extension
    assert all(after[number]["id"] == before[number]["id"] for number in associated)


async def test_a_second_run_writes_nothing(world: World) -> None:
    await ready(world)
    written = len(world.writes())
    run = await world.run()
    assert run.status == "succeeded"
    assert len(world.writes()) == written
    assert run.requests["pbx_writes"] == 0
    assert run.counts["unchanged"] == len(await world.links())


async def test_one_write_for_each_user_and_no_broken_rule_of_the_pbx(world: World) -> None:
    await ready(world)
    assert len(world.writes()) == len(await world.links())
    assert world.pbx.violations.found == []


async def test_without_association_a_taken_address_is_skipped_with_the_reason(world: World) -> None:
    await world.secrets()
    [message] = await world.enable()
    run = await world.execute(message)
    reasons = [item.reason for item in await world.items(run) if item.outcome == "skipped"]
    assert sum("Switch on association by e-mail" in reason for reason in reasons) == 2
    assert not [link for link in await world.links() if link.associated]


async def test_passwords_are_the_pbx_s_alone(world: World) -> None:
    await ready(world)
    created = [request for request in world.pbx.requests if request.path.endswith("/extension/create")]
    passwords = {part for request in created for part in request.body.split('"') if len(part) == 24 and part.isalnum()}
    assert len(passwords) == 2 * len(created)
    [run] = [run async for run in world.connection.runs.newest(1)]
    stored = repr(await world.items(run)) + repr(await world.links()) + repr(run)
    assert not [password for password in passwords if password in stored]


async def test_an_incremental_run_reads_and_writes_only_what_changed(world: World) -> None:
    await ready(world)
    link = next(link for link in await world.links() if not link.associated)
    world.change_user(link.object_id, jobTitle="Dispatcher")
    world.pbx.requests.clear()
    run = await world.run(mode="incremental")
    assert run.status == "succeeded", run
    assert run.counts["update.done"] == 1
    assert run.requests["graph"] == 1
    assert world.writes() == ["update"]
    assert not [request for request in world.pbx.requests if request.path.endswith("/extension/list")]
    assert world.extensions()[link.number]["title"] == "Dispatcher"


async def test_a_preview_is_what_the_run_then_does_and_changes_nothing(world: World) -> None:
    await world.secrets()
    await world.settings()
    preview = await world.run(preview=True)
    assert world.writes() == []
    assert await world.links() == []
    [message] = await world.enable()
    run = await world.execute(message)
    planned = {(item.operation, item.object_id, item.extension): item.after for item in await world.items(preview)}
    done = {(item.operation, item.object_id, item.extension): item.after for item in await world.items(run)}
    assert planned == done
