"""A run about one user, explained step by step."""

from tests.engine.world import World


async def answers(world: World, object_id: str, **options: bool) -> dict[str, str]:
    run = await world.run(object_id=object_id, **options)
    assert run.status == "succeeded", run
    assert all(step.detail for step in run.explanation)
    return {step.question: step.answer for step in run.explanation}


async def test_every_step_is_explained_for_a_linked_changed_and_a_deleted_user(world: World) -> None:
    await world.secrets()
    [message] = await world.enable(scope={"kind": "types", "user_types": ["Member"]})
    await world.execute(message)
    link = next(link for link in await world.links() if link.email)
    steady = {
        "Found in Entra?": "yes",
        "In scope?": "yes",
        "Matched to an extension?": "yes",
        "What changes?": "nothing",
    }
    assert await answers(world, link.object_id) == steady
    world.change_user(link.object_id, jobTitle="Dispatcher")
    assert await answers(world, link.object_id, preview=True) == steady | {"What changes?": "update"}
    written = len(world.writes())
    run = await world.run(object_id=link.object_id)
    assert "title" in run.explanation[-1].detail
    assert len(world.writes()) == written + 1
    world.delete_user(link.object_id)
    found = await answers(world, link.object_id)
    assert found["Found in Entra?"] == "no"
    assert found["What changes?"] == "delete"
    assert link.number not in world.extensions()


async def test_a_user_out_of_scope_and_an_unknown_one_are_explained(world: World) -> None:
    await world.secrets()
    await world.enable(scope={"kind": "types", "user_types": ["Guest"]})
    member = next(
        entity.id
        for _, entity in world.microsoft.directory.live("user")
        if entity.properties.get("userType") == "Member"
    )
    assert await answers(world, member) == {
        "Found in Entra?": "yes",
        "In scope?": "no",
        "Matched to an extension?": "no",
        "What changes?": "nothing",
    }
    unknown = await answers(world, "99999999-9999-4999-8999-999999999999")
    assert unknown["Found in Entra?"] == "no"


async def test_a_run_about_one_user_moves_no_cursor(world: World) -> None:
    await world.secrets()
    [message] = await world.enable()
    await world.execute(message)
    cursor = await world.connection.cursors.load("users")
    links = [link for link in await world.links() if link.email]
    world.change_user(links[0].object_id, jobTitle="One")
    world.change_user(links[1].object_id, jobTitle="Two")
    await world.run(object_id=links[0].object_id)
    assert await world.connection.cursors.load("users") == cursor
    run = await world.run(mode="incremental")
    assert run.counts["update.done"] == 1
