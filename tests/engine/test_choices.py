"""What an administrator chooses from, asked of the whole tenant."""

import pytest

from local.emulator import Fault
from sync.choices import GroupChoice, names_of, search_groups, search_users, what_would_go
from sync.connect import Trouble
from tests.engine.world import World

UNKNOWN = "99999999-9999-4999-8999-999999999999"


async def test_groups_are_found_by_the_beginning_of_a_word_and_come_by_name(world: World) -> None:
    await world.secrets()
    zeta = world.group("Zeta quokkas", kind="microsoft365")
    alpha = world.group("alpha Quokkas")
    world.group("Quiet")
    assert await search_groups(world.connection, "quokk") == [
        GroupChoice(id=alpha, name="alpha Quokkas", kind="security"),
        GroupChoice(id=zeta, name="Zeta quokkas", kind="microsoft365"),
    ]
    assert await search_groups(world.connection, "uokka") == []


async def test_without_a_text_there_are_groups_to_choose_from(world: World) -> None:
    await world.secrets()
    assert len(await search_groups(world.connection, "  ", top=3)) == 3


@pytest.mark.parametrize("text", ['R&D "core" #1', "50% + \\more", "O'Neil", "Crème brûlée", "x" * 500])
async def test_whatever_is_typed_is_a_text_and_no_syntax(world: World, text: str) -> None:
    await world.secrets()
    made = world.group(text)
    found = [choice.id for choice in await search_groups(world.connection, text)]
    assert found in ([made], [])  # a quotation mark cannot be searched for
    assert found or '"' in text or "\\" in text


async def test_names_are_told_of_chosen_groups_as_far_as_they_exist(world: World) -> None:
    await world.secrets()
    groups = [world.group(f"Team {index:02}") for index in range(20)]
    choices = await names_of(world.connection, [*reversed(groups), UNKNOWN, "no id"])
    assert [choice.name for choice in choices] == [f"Team {index:02}" for index in range(20)]
    assert await names_of(world.connection, ["no id"]) == []


async def test_users_are_found_by_name_user_name_and_address(world: World) -> None:
    await world.secrets()
    quill = world.person("Anna Quillfeather", mail="someone@contoso.example")
    for text in ("quillf", "anna.quill", "SOMEONE@contoso"):
        assert [choice.id for choice in await search_users(world.connection, text)] == [quill]


async def test_a_search_that_cannot_be_made_says_why(world: World) -> None:
    with pytest.raises(Trouble) as caught:
        await search_groups(world.connection, "a")
    assert caught.value.code == "secret_missing"
    await world.secrets()
    refusal = {"error": {"code": "Authorization_RequestDenied", "message": "Insufficient privileges."}}
    world.microsoft.faults.append(Fault(kind="status", path="/v1.0/groups", status=403, body=refusal))
    with pytest.raises(Trouble) as caught:
        await search_groups(world.connection, "a")
    assert caught.value.code == "graph_consent_missing"
    assert "API permissions" in caught.value.action


async def test_without_a_tenant_there_is_nothing_to_search(world: World) -> None:
    await world.settings(lambda document: document["microsoft"].update(tenant_id=""))
    with pytest.raises(Trouble, match="/microsoft/tenant_id"):
        await search_users(world.connection, "a")


async def test_what_would_go_is_counted_and_named_in_three_requests(world: World) -> None:
    await world.secrets()
    [message] = await world.enable()
    run = await world.execute(message)
    before = world.connection.tables.traffic.requests
    users, groups = await what_would_go(world.connection, ["users", "groups"])
    assert world.connection.tables.traffic.requests - before == 3
    assert (users.number, groups.number, groups.names) == (run.counts["create.done"], 0, [])
    known = {f"{link.name} ({link.number})" for link in await world.links()}
    assert len(users.names) == 5
    assert set(users.names) <= known
