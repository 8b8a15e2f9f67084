"""Numbers that somebody else takes between the reading of the PBX and a create, and names that only lists show."""

from collections.abc import AsyncIterator

import pytest

from local.azurite import Azurite
from local.pbx.directory import Extension
from local.tls import ServerCertificate
from pbx.client import Pbx
from pbx.models import NewExtension
from tests.engine.doom import doomed, is_killed
from tests.engine.world import World, empty_world


@pytest.fixture
async def world(
    azurite: Azurite, certificate: ServerCertificate, signing_keys: list[dict[str, str]]
) -> AsyncIterator[World]:
    async with empty_world(azurite, certificate, signing_keys) as world:
        await world.secrets()
        yield world


@pytest.fixture
def rivals(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Numbers that a person on the PBX gives to others, each just before the bridge asks for it."""
    numbers: list[str] = []
    create = Pbx.create_extension

    async def raced(pbx: Pbx, new: NewExtension) -> int:
        if new.number in numbers:
            numbers.remove(new.number)
            world.pbx.machine.directory.add(Extension(number=new.number, first_name="Rival"))
        return await create(pbx, new)

    monkeypatch.setattr(Pbx, "create_extension", raced)
    return numbers


async def test_a_user_whose_number_is_taken_meanwhile_gets_the_next_one_at_once(
    world: World, rivals: list[str]
) -> None:
    ann, bob = world.people(2)
    rivals.append("1000")
    [message] = await world.enable()
    run = await world.execute(message)
    items = {item.object_id: item for item in await world.items(run)}
    assert (run.status, run.counts["create.done"]) == ("succeeded", 2)
    assert (items[ann].extension, items[bob].extension) == ("1002", "1001")
    assert items[ann].notes == ["The number 1000 was given to another extension meanwhile; 1002 was tried next."]
    links = {link.object_id: link for link in await world.links()}
    extensions = world.extensions()
    assert (links[ann].number, links[ann].pbx_id) == ("1002", extensions["1002"]["id"])
    assert (extensions["1000"]["first_name"], extensions["1002"]["first_name"]) == ("Rival", "Person 0000")
    assert (await world.run()).counts["unchanged"] == 2


async def test_numbers_of_links_whose_extension_is_gone_are_not_given_away(world: World, rivals: list[str]) -> None:
    ids = await world.staff(3)
    for number in ("1001", "1002"):
        world.remove_extension(number)
        world.change_user(ids[int(number) - 1000], accountEnabled=False)
    [message] = await world.enable(delete_grace_days=30, number={"kind": "sequential", "start": 999, "property": None})
    assert (await world.execute(message)).counts["leaving"] == 2
    new = world.person("New Person")
    rivals.append("999")
    [item] = await world.items(await world.run())
    assert (item.object_id, item.outcome, item.extension) == (new, "done", "1003")


async def test_three_more_numbers_are_tried_and_the_next_run_goes_on(world: World, rivals: list[str]) -> None:
    [ann] = world.people(1)
    rivals.extend(["1000", "1001", "1002", "1003"])
    [message] = await world.enable()
    run = await world.execute(message)
    [item] = await world.items(run)
    assert (run.status, item.outcome) == ("partial", "failed")
    assert "the number 1003 has been given to another extension meanwhile" in item.reason
    assert await world.links() == []
    again = await world.run(mode="incremental")
    assert again.counts["create.done"] == 1
    [link] = await world.links()
    assert (link.object_id, link.number) == (ann, "1004")


async def test_a_number_from_a_property_is_nobody_elses_and_fails_when_it_is_taken(
    world: World, rivals: list[str]
) -> None:
    world.person("Ann", employeeId="2000")
    rivals.append("2000")
    [message] = await world.enable(number={"kind": "property", "start": 1000, "property": "employeeId"})
    run = await world.execute(message)
    [item] = await world.items(run)
    assert (run.status, item.outcome, item.extension, item.notes) == ("partial", "failed", "2000", [])
    assert set(world.extensions()) == {"2000"}


async def test_an_extension_with_another_number_is_found_again_by_the_run_after_one_that_was_killed(
    world: World, rivals: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    [ann] = world.people(1)
    rivals.append("1000")
    [message] = await world.enable()
    doom = doomed(monkeypatch)
    create = Pbx.create_extension

    async def last(pbx: Pbx, new: NewExtension) -> int:
        pbx_id = await create(pbx, new)
        doom.left = -1
        return pbx_id

    with monkeypatch.context() as patched:
        patched.setattr(Pbx, "create_extension", last)
        assert await is_killed(world, message)
    assert sorted(world.extensions()) == ["1000", "1001"]
    doom.left = None
    run = await world.execute(message)
    [item] = await world.items(run)
    assert item.reason == "Created by a run that was interrupted; found on the PBX and linked."
    [link] = await world.links()
    assert (link.object_id, link.number) == (ann, "1001")
    assert sorted(world.extensions()) == ["1000", "1001"]


async def test_a_new_name_alone_reaches_the_lists_and_not_the_pbx(world: World) -> None:
    ann = world.person("Ann Dee", givenName="Ann", surname="Dee")
    [message] = await world.enable()
    await world.execute(message)
    written = world.writes()
    before = await world.connection.links("users").get(ann)
    world.change_user(ann, displayName="Ann of the Lists", userPrincipalName="ann@lists.example")
    run = await world.run(mode="incremental")
    [item] = await world.items(run)
    assert (item.operation, item.outcome, item.reason) == ("update", "done", "The name in Entra changed; noted.")
    link = await world.connection.links("users").get(ann)
    assert before is not None
    assert link is not None
    assert (link.name, link.user_principal_name) == ("Ann of the Lists", "ann@lists.example")
    assert (link.written, link.changed_at, world.writes()) == (before.written, before.changed_at, written)
    assert (await world.run()).counts["unchanged"] == 1
