"""Reading groups: rounds with members, changes, slices of large groups, and links that must not be followed."""

import pytest

from graph.client import Graph
from graph.errors import ResyncRequired
from graph.models import GROUP_SELECT, Group
from local.microsoft import MicrosoftEmulator
from local.sample import group_id, user_id
from tests.graph.tenant import CIRCULAR, CROWD, EMPTY, MANY, NESTED, ROOT, seen, tenant


async def read_groups(graph: Graph, link: str | None = None) -> tuple[list[Group], str]:
    """All entries of a round in the order they came, and the next delta link."""
    entries: list[Group] = []
    delta: str | None = None
    async for page in graph.group_pages(link=link):
        entries += page.value
        delta = page.delta_link
    assert delta is not None
    return entries, delta


async def test_a_round_brings_every_group_with_its_direct_members_and_their_types(reader: Graph) -> None:
    groups, link = await read_groups(reader)
    members = {group.id: {member.id: member.odata_type for member in group.members} for group in groups}
    assert set(members) == {ROOT, NESTED, CIRCULAR, CROWD, EMPTY}
    assert members[ROOT] == {
        user_id(1): "#microsoft.graph.user",
        user_id(2): "#microsoft.graph.user",
        NESTED: "#microsoft.graph.group",
    }
    assert members[EMPTY] == {}
    assert "/groups/delta" in link


async def test_the_properties_that_tell_the_kind_of_a_group_arrive(reader: Graph, emulator: MicrosoftEmulator) -> None:
    emulator.directory.update(emulator.directory.entities[EMPTY], {"groupTypes": ["Unified"], "mailEnabled": True})
    groups = {group.id: group for group in (await read_groups(reader))[0]}
    shown = [(g.display_name, g.group_types, g.mail_enabled, g.security_enabled) for g in (groups[EMPTY], groups[ROOT])]
    assert shown == [(EMPTY, ["Unified"], True, True), (ROOT, [], False, True)]


async def test_members_that_came_and_went_are_told_apart(reader: Graph, emulator: MicrosoftEmulator) -> None:
    _, link = await read_groups(reader)
    directory = emulator.directory
    directory.link(directory.entities[EMPTY], "members", [user_id(7)], [])
    directory.link(directory.entities[ROOT], "members", [], [user_id(1)])
    groups, _ = await read_groups(reader, link)
    told = {group.id: [(member.id, member.removed is not None) for member in group.members] for group in groups}
    assert told == {EMPTY: [(user_id(7), False)], ROOT: [(user_id(1), True)]}


async def test_a_removed_group_is_told_as_removed(reader: Graph, emulator: MicrosoftEmulator) -> None:
    _, link = await read_groups(reader)
    emulator.directory.delete(emulator.directory.entities[EMPTY])
    [group], _ = await read_groups(reader, link)
    assert (group.id, group.removed is not None, group.members) == (EMPTY, True, [])


async def test_the_slices_of_a_large_group_add_up_to_all_its_members(
    reader: Graph, emulator: MicrosoftEmulator
) -> None:
    emulator._tenant = tenant(MANY)
    emulator.reset()
    groups, _ = await read_groups(reader)
    slices = [group for group in groups if group.id == CROWD]
    assert len(slices) > 1
    assert {member.id for group in slices for member in group.members} == {user_id(n) for n in range(1, MANY + 1)}


async def test_a_stored_link_to_another_host_is_given_up_and_never_followed(
    reader: Graph, elsewhere: MicrosoftEmulator
) -> None:
    with pytest.raises(ResyncRequired, match="another host"):
        await read_groups(reader, f"{elsewhere.url}/v1.0/groups/delta?$deltatoken=stolen")
    assert elsewhere.requests == []


async def test_one_group_is_read_by_id_without_its_members(reader: Graph, emulator: MicrosoftEmulator) -> None:
    found = await reader.group(ROOT)
    assert found is not None
    assert (found.display_name, found.security_enabled, found.members) == (ROOT, True, [])
    [request] = seen(emulator)
    assert request.query["$select"].split(",") == [name for name in GROUP_SELECT if name != "members"]
    assert await reader.group(group_id(99)) is None
