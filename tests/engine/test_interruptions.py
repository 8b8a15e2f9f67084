"""A run that is killed at any point, and executed again: the end is as if nothing had happened."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from local.azurite import Azurite
from local.microsoft import MicrosoftEmulator
from local.pbx.emulator import PbxEmulator
from local.sample import generate_tenant
from local.tls import ServerCertificate
from sync.service import request_run
from tests.engine.doom import Doom, doomed, is_killed
from tests.engine.world import PBX_CLIENT_ID, PBX_SECRET, World


@pytest.fixture
def doom(monkeypatch: pytest.MonkeyPatch) -> Doom:
    return doomed(monkeypatch)


@pytest.fixture
async def small_world(
    azurite: Azurite, certificate: ServerCertificate, signing_keys: list[dict[str, str]]
) -> AsyncIterator[World]:
    tenant = generate_tenant(12, 1, 4)
    microsoft = MicrosoftEmulator(tenant)
    microsoft.keys.load(signing_keys)
    by_hand = ({"number": "1001"}, {"number": "1003", "email_addr": "late@contoso.example", "first_name": "By hand"})
    pbx = PbxEmulator(by_hand, client_id=PBX_CLIENT_ID, client_secret=PBX_SECRET)
    async with await microsoft.start(certificate), await pbx.start(certificate):
        world = World(azurite, microsoft, pbx)
        try:
            yield world
        finally:
            await world.close()


async def prepare(world: World) -> tuple[Any, Any]:
    """A synced tenant in which then everything happens that a run can meet; the emulators' content at that point."""
    await world.secrets()
    [message] = await world.enable(associate_by_email=True)
    await world.execute(message)
    linked = sorted(await world.links(), key=lambda link: link.object_id)
    world.delete_user(linked[0].object_id)
    world.change_user(linked[1].object_id, jobTitle="Changed")
    world.change_user(linked[2].object_id, accountEnabled=False)
    world.remove_extension(linked[3].number)
    directory = world.microsoft.directory
    for name, mail in (("Late Arrival", "late@contoso.example"), ("Another New", "new@contoso.example")):
        properties = {"displayName": name, "mail": mail, "userPrincipalName": mail, "accountEnabled": True}
        directory.create("user", properties | {"userType": "Member", "mailNickname": "x"})
    for number in range(2):
        directory.create(
            "user",
            {"displayName": f"Without Mail {number}", "userPrincipalName": f"w{number}@contoso.example",
             "accountEnabled": True, "userType": "Member", "mailNickname": f"w{number}"},
        )  # fmt: skip
    return world.microsoft.state(), world.pbx.state()


async def store_content(world: World) -> list[tuple[str, str, list[Any]]]:
    """All rows of this connection, to be put back: the table, the partition, the rows."""
    content = []
    for table, partition in (
        ("settings", world.id), ("links", f"{world.id}-users"), ("links", f"{world.id}-groups"), ("groups", world.id),
        ("cursors", world.id), ("tokens", world.id),
    ):  # fmt: skip
        rows = [row async for row in world.connection.tables.query(table, partition)]
        content.append((table, partition, rows))
    return content


async def put_back(world: World, content: list[tuple[str, str, list[Any]]]) -> None:
    tables = world.connection.tables
    for table, partition, rows in content:
        keep = {row.key for row in rows}
        for row in [row async for row in tables.query(table, partition)]:
            if row.key not in keep:
                await tables.delete(table, partition, row.key)
        for row in rows:
            await tables.upsert(table, row)


def outcome(world: World, links: list[Any]) -> Any:
    """The end state, without what has to differ: times, run ids, passwords, the PBX's own ids of new extensions."""
    shown = ("number", "first_name", "last_name", "email_addr", "mobile_number", "title")
    extensions = sorted(tuple(extension[name] for name in shown) for extension in world.extensions().values())
    ids = {extension["id"]: extension["number"] for extension in world.extensions().values()}
    return extensions, sorted(
        (link.object_id, link.state, link.number, ids.get(link.pbx_id or 0), tuple(sorted(link.written.items())))
        for link in links
        if link.state != "released"
    )


@pytest.mark.parametrize("after_the_fact", [False, True], ids=["before-it-is-sent", "after-it-was-carried-out"])
async def test_killed_at_any_request_and_executed_again_the_end_is_the_same(
    small_world: World, doom: Doom, after_the_fact: bool
) -> None:
    world = small_world
    microsoft, pbx = await prepare(world)
    content = await store_content(world)
    doom.passed = 0
    expected_run = await world.run()
    requests = doom.passed
    assert expected_run.status == "succeeded"
    assert {"create.done", "associate.done", "update.done", "delete.done"} <= set(expected_run.counts)
    expected = outcome(world, await world.links())
    assert (await world.run()).requests["pbx_writes"] == 0
    for number in range(requests):
        doom.left = None
        world.microsoft.load(microsoft)
        world.pbx.load(pbx)
        world.pbx.requests.clear()
        await put_back(world, content)
        run, message = await request_run(world.connection, world.tell(), started_by="api")
        doom.left, doom.after_the_fact = number, after_the_fact
        # A run may take a request less than the one that was counted, so the last one or two may come too late.
        assert await is_killed(world, message) or number >= requests - 2, number
        doom.left = None
        again = await world.execute(message, run.id)
        assert again.status == "succeeded", (number, again)
        assert outcome(world, await world.links()) == expected, number
        created = [
            msgspec.json.decode(request.body)["number"] for request in world.pbx.requests if "create" in request.path
        ]
        extra = [number for number in created if created.count(number) > 2]
        assert not extra
