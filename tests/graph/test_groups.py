"""Members of groups: nested, in circles, many, and hidden."""

import pytest

from graph.client import Graph
from graph.errors import ConsentMissing, NotFound
from local.microsoft import MicrosoftEmulator
from local.sample import group_id, user_id
from tests.graph.tenant import CIRCULAR, CROWD, EMPTY, MANY, ROOT, seen, tenant


async def members(reader: Graph, group: str) -> list[str]:
    return [member async for member in reader.transitive_user_ids(group)]


async def test_members_of_nested_groups_are_members(reader: Graph) -> None:
    assert set(await members(reader, ROOT)) == {user_id(number) for number in (1, 2, 3, 4)}


async def test_a_circle_of_groups_is_read_once_around(reader: Graph) -> None:
    assert set(await members(reader, CIRCULAR)) == {user_id(number) for number in (1, 2, 3, 4)}
    assert reader.requests == 1


async def test_a_group_without_members_is_empty(reader: Graph) -> None:
    assert await members(reader, EMPTY) == []


async def test_more_members_than_a_page_holds_are_all_read(reader: Graph, emulator: MicrosoftEmulator) -> None:
    emulator._tenant = tenant(MANY)
    emulator.reset()
    assert len(set(await members(reader, CROWD))) == MANY
    requests = seen(emulator)
    assert len(requests) == 2
    assert requests[0].query["$top"] == "999"
    headers = [{name.lower(): value for name, value in request.headers.items()} for request in requests]
    assert [one["consistencylevel"] for one in headers] == ["eventual", "eventual"]


async def test_a_group_that_does_not_exist_is_not_an_empty_group(reader: Graph) -> None:
    with pytest.raises(NotFound):
        await members(reader, group_id(99))


async def test_hidden_members_need_a_permission_that_is_named_missing(
    reader: Graph, emulator: MicrosoftEmulator
) -> None:
    emulator.directory.update(emulator.directory.entities[ROOT], {"visibility": "HiddenMembership"})
    with pytest.raises(ConsentMissing) as caught:
        await members(reader, ROOT)
    assert "API permissions" in caught.value.action
