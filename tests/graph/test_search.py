"""Searches of the whole tenant, as strict as Graph is about them."""

from graph.client import Graph
from local.emulator import Recorded
from local.microsoft import MicrosoftEmulator
from local.sample import group_id, user_id
from tests.graph.tenant import CROWD, EMPTY, PEOPLE, ROOT, fault, refusal, seen


def header(request: Recorded, name: str) -> str:
    return {key.lower(): value for key, value in request.headers.items()}.get(name, "")


async def test_a_search_asks_for_eventual_consistency_and_for_what_is_shown(
    reader: Graph, emulator: MicrosoftEmulator
) -> None:
    found = await reader.search_groups(ROOT[:8], 7)
    assert ROOT in [group.id for group in found]
    [request] = seen(emulator, "/groups")
    assert header(request, "consistencylevel") == "eventual"
    assert request.query == {
        "$search": f'"displayName:{ROOT[:8]}"',
        "$select": "id,displayName,mail,groupTypes,mailEnabled,securityEnabled",
        "$top": "7",
    }


async def test_users_are_searched_in_three_properties(reader: Graph, emulator: MicrosoftEmulator) -> None:
    found = await reader.search_users("person11@", 10)
    assert [user.id for user in found] == [user_id(11)]
    [request] = seen(emulator, "/users")
    assert request.query["$search"] == '"displayName:person11@" OR "userPrincipalName:person11@" OR "mail:person11@"'


async def test_no_more_are_read_than_were_asked_for(reader: Graph, emulator: MicrosoftEmulator) -> None:
    assert len(await reader.search_users("person", PEOPLE - 2)) == PEOPLE - 2
    assert reader.requests == 1


async def test_a_text_without_a_word_is_no_search(reader: Graph, emulator: MicrosoftEmulator) -> None:
    assert len(await reader.search_groups(' "\\" ', 50)) == 5
    [request] = seen(emulator, "/groups")
    assert "$search" not in request.query


async def test_groups_are_read_by_id_fifteen_at_a_time(reader: Graph, emulator: MicrosoftEmulator) -> None:
    wanted = [*(group_id(number) for number in range(100, 115)), CROWD, EMPTY]
    assert {group.id for group in await reader.groups_by_id(wanted)} == {CROWD, EMPTY}
    assert len(seen(emulator, "/groups")) == 2
    assert await reader.groups_by_id([]) == []


async def test_a_search_that_was_throttled_is_repeated(
    reader: Graph, emulator: MicrosoftEmulator, pauses: list[float]
) -> None:
    emulator.faults.append(fault("status", path="/v1.0/users", status=429, headers={"Retry-After": "2"}))
    assert len(await reader.search_users("person", 3)) == 3
    assert pauses == [2.0]


async def test_the_permissions_are_those_in_the_token(reader: Graph, emulator: MicrosoftEmulator) -> None:
    app = next(iter(emulator.authority.apps.values()))
    assert await reader.permissions() == sorted(app.roles)


async def test_a_tenant_whose_name_may_not_be_read_has_none(reader: Graph, emulator: MicrosoftEmulator) -> None:
    emulator.faults.append(refusal(403, "Authorization_RequestDenied", path="/v1.0/organization"))
    assert await reader.tenant_name() == ""
    assert await reader.tenant_name() != ""
