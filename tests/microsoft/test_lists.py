"""Lists of users and groups: pages, properties, filters, advanced queries."""

from typing import Any
from urllib.parse import quote

import pytest

from local.microsoft.properties import USER_DEFAULT
from local.sample import device_id, group_id, user_id
from tests.microsoft.support import Client

EVENTUAL = {"ConsistencyLevel": "eventual"}


async def ids(client: Client, path: str, **headers: str) -> list[str]:
    answer = await client.graph(path, **headers)
    assert answer.status == 200, answer.text
    return [item["id"] for item in answer.json["value"]]


def people(*numbers: int) -> list[str]:
    return [user_id(number) for number in numbers]


async def test_the_default_properties_come_without_select(client: Client) -> None:
    user = (await client.graph("users")).json["value"][3]
    assert set(user) == set(USER_DEFAULT)
    assert (user["id"], user["businessPhones"], user["mobilePhone"]) == (user_id(4), [], None)


async def test_selected_properties_come_alone(client: Client) -> None:
    answer = (await client.graph("users?$select=accountEnabled,id,userType")).json
    assert answer["value"][1] == {"accountEnabled": False, "id": user_id(2), "userType": "Member"}
    assert answer["@odata.context"].endswith("/v1.0/$metadata#users(accountEnabled,id,userType)")


async def test_deleted_users_are_not_listed(client: Client) -> None:
    assert await ids(client, "users") == people(1, 2, 3, 4, 5)


async def test_pages_follow_each_other(client: Client) -> None:
    first = (await client.graph("users?$select=id&$top=2")).json
    second = (await client.graph(first["@odata.nextLink"])).json
    third = (await client.graph(second["@odata.nextLink"])).json
    pages = [[item["id"] for item in page["value"]] for page in (first, second, third)]
    assert pages == [people(1, 2), people(3, 4), people(5)]
    assert "@odata.nextLink" not in third
    again = (await client.graph(first["@odata.nextLink"])).json
    assert again["value"] == second["value"]


async def test_a_page_token_works_only_in_its_own_link(client: Client) -> None:
    link = (await client.graph("users?$select=id&$top=2")).json["@odata.nextLink"]
    assert (await client.graph(link.replace("$top=2", "$top=3"))).status == 400
    assert (await client.graph(link.replace("/users?", "/groups?"))).status == 400


@pytest.mark.parametrize("key", [user_id(1), "user1@contoso.example", "USER1@contoso.example"])
async def test_a_user_is_found_by_id_and_by_name(client: Client, key: str) -> None:
    assert (await client.graph(f"users/{quote(key)}")).json["displayName"] == "Noor Bakker"
    assert (await client.graph(f"users('{quote(key)}')")).json["displayName"] == "Noor Bakker"


async def test_a_guest_is_found_by_its_encoded_name(client: Client) -> None:
    name = "a_b.example#EXT#@contoso.onmicrosoft.example"
    await client.control("POST", "users", {"displayName": "Guest", "userPrincipalName": name})
    assert (await client.graph(f"users/{quote(name)}")).json["userPrincipalName"] == name


@pytest.mark.parametrize(
    ("clause", "found"),
    [
        ("accountEnabled eq true", [1, 3, 4, 5]),
        ("accountEnabled eq false", [2]),
        ("accountEnabled eq true and userType eq 'Member'", [1, 3, 4]),
        ("userType eq 'Guest'", [5]),
        (f"id eq '{user_id(3)}'", [3]),
        (f"id in ('{user_id(3)}', '{user_id(1)}')", [1, 3]),
        ("mail eq 'NOOR@contoso.example'", [1]),
        ("mail eq 'sean.o''brien@contoso.example'", [3]),
        ("mail eq null", [4]),
        ("userPrincipalName eq 'user2@contoso.example'", [2]),
        ("startswith(displayName,'m') or startsWith(displayName,'L')", [4, 5]),
        ("(userType eq 'Guest' or accountEnabled eq false) and startswith(mail,'luca')", [5]),
    ],
)
async def test_filters(client: Client, clause: str, found: list[int]) -> None:
    assert await ids(client, f"users?$filter={quote(clause)}") == people(*found)


@pytest.mark.parametrize(
    "clause",
    [
        "jobTitle has 'x'",
        "accountEnabled eq 'true'",
        "accountEnabled",
        "mail eq noor",
        "nosuch eq 'x'",
        "businessPhones eq 'x'",
        "startswith(id,'a')",
        "startswith(accountEnabled,'t')",
        "otherMails eq 'x'",
        "contains(displayName,'a')",
        "mail eq 'a' or",
        "(mail eq 'a'",
        "mail eq 'a' mail eq 'b'",
        "createdDateTime ge 2024-01-01T00:00:00Z",
        " or ".join(f"mail eq '{number}'" for number in range(16)),
        "id in (" + ",".join(f"'{number}'" for number in range(16)) + ")",
        "mail ne 'a'",
        "not startswith(mail,'a')",
        "endswith(mail,'example')",
        "companyName eq 'x'",
    ],
)
async def test_other_filters_are_refused(client: Client, clause: str) -> None:
    answer = await client.graph(f"users?$filter={quote(clause)}")
    assert answer.status == 400, answer.text


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("$filter=mail ne null&$count=true", [1, 2, 3, 5]),
        ("$filter=not startswith(mail,'i')&$count=true", [1, 3, 4, 5]),
        ("$filter=endswith(mail,'fabrikam.example')&$count=true", [5]),
        ("$filter=userType eq 'Member'&$orderby=displayName desc&$count=true", [3, 1, 4, 2]),
        ('$search="displayName:ros"', [5]),
        ('$search="displayName:ros" OR "mail:noor"', [1, 5]),
    ],
)
async def test_advanced_queries_need_header_and_count(client: Client, query: str, found: list[int]) -> None:
    path = "users?" + quote(query, safe="$&=")
    assert await ids(client, path, **EVENTUAL) == people(*found)
    assert (await client.graph(path)).status == 400
    if "$count" in query:
        assert (await client.graph(path.replace("&$count=true", ""), **EVENTUAL)).status == 400


async def test_sorting_alone_is_a_plain_query_and_pages(client: Client) -> None:
    first = (await client.graph("users?$orderby=displayName&$select=id&$top=3")).json
    second = (await client.graph(first["@odata.nextLink"])).json
    assert [item["id"] for item in first["value"] + second["value"]] == people(2, 5, 4, 1, 3)


async def test_the_count_comes_on_the_first_page_only_and_never_without_the_header(client: Client) -> None:
    first = (await client.graph("users?$count=true&$top=3", **EVENTUAL)).json
    assert first["@odata.count"] == 5
    second = (await client.graph(first["@odata.nextLink"], **EVENTUAL)).json
    assert "@odata.count" not in second
    assert "@odata.count" not in (await client.graph("users?$count=true")).json


async def test_the_bare_count(client: Client) -> None:
    answer = await client.graph("users/$count", **EVENTUAL)
    assert (answer.text, answer.headers["Content-Type"].split(";")[0]) == ("5", "text/plain")
    assert (await client.graph("users/$count")).status == 400
    filtered = await client.graph("users/$count?$filter=" + quote("userType eq 'Guest'"), **EVENTUAL)
    assert filtered.text == "1"
    assert (await client.graph("groups/$count", **EVENTUAL)).text == "4"


@pytest.mark.parametrize("level", ["strong", ""])
async def test_there_is_one_consistency_level(client: Client, level: str) -> None:
    assert (await client.graph("users", ConsistencyLevel=level)).status == 400


async def test_an_advanced_url_has_a_limit(client: Client) -> None:
    long = "users?$count=true&$filter=" + quote(" or ".join(f"mail eq '{'x' * 150}{n}'" for n in range(15)))
    assert (await client.graph(long)).status == 200
    assert (await client.graph(long, **EVENTUAL)).status == 400


# Groups


async def test_groups_can_be_filtered_by_kind(client: Client) -> None:
    clause = quote("groupTypes/any(c:c eq 'Unified')")
    assert await ids(client, f"groups?$filter={clause}") == [group_id(2)]
    other = quote("not groupTypes/any(c:c eq 'Unified')")
    assert len(await ids(client, f"groups?$filter={other}&$count=true", **EVENTUAL)) == 3
    assert (
        await client.graph(f"groups?$filter={quote('groupTypes eq ' + chr(39) + 'Unified' + chr(39))}")
    ).status == 400


async def test_a_group_by_id(client: Client) -> None:
    group = (await client.graph(f"groups/{group_id(2)}?$select=id,groupTypes,mail")).json
    assert {name: group[name] for name in ("id", "groupTypes", "mail")} == {
        "id": group_id(2),
        "groupTypes": ["Unified"],
        "mail": None,
    }


async def test_direct_members_are_of_any_kind(client: Client) -> None:
    members = (await client.graph(f"groups/{group_id(1)}/members?$select=id,displayName,userPrincipalName")).json[
        "value"
    ]
    assert members == [
        {
            "@odata.type": "#microsoft.graph.user",
            "id": user_id(1),
            "displayName": "Noor Bakker",
            "userPrincipalName": "user1@contoso.example",
        },
        {"@odata.type": "#microsoft.graph.group", "id": group_id(2), "displayName": "Reception"},
        {"@odata.type": "#microsoft.graph.device", "id": device_id(1), "displayName": "LAPTOP-1"},
    ]


async def test_a_deleted_member_is_not_listed_until_it_is_restored(client: Client) -> None:
    path = f"groups/{group_id(2)}/members"
    assert user_id(6) not in await ids(client, path)
    await client.control("POST", f"users/{user_id(6)}/restore")
    assert user_id(6) in await ids(client, path)


async def test_transitive_members_end_in_circles(client: Client) -> None:
    assert sorted(await ids(client, f"groups/{group_id(1)}/transitiveMembers")) == sorted(
        [user_id(1), user_id(2), group_id(2), device_id(1)]
    )


@pytest.mark.parametrize("cast", ["graph.user", "microsoft.graph.user"])
@pytest.mark.parametrize("relation", ["members", "transitiveMembers"])
async def test_a_cast_is_an_advanced_query(client: Client, cast: str, relation: str) -> None:
    path = f"groups/{group_id(1)}/{relation}/{cast}?$select=id&$count=true"
    found = people(1) if relation == "members" else people(1, 2)
    assert await ids(client, path, **EVENTUAL) == found
    assert (await client.graph(path)).status == 400
    assert (await client.graph(path.replace("&$count=true", ""), **EVENTUAL)).status == 400


async def test_member_counts(client: Client) -> None:
    assert (await client.graph(f"groups/{group_id(1)}/members/$count", **EVENTUAL)).text == "3"
    assert (await client.graph(f"groups/{group_id(1)}/transitiveMembers/$count", **EVENTUAL)).text == "4"
    assert (await client.graph(f"groups/{group_id(1)}/members/$count")).status == 400


async def test_members_come_in_pages(client: Client) -> None:
    first = (await client.graph(f"groups/{group_id(1)}/members?$top=2&$select=id")).json
    second = (await client.graph(first["@odata.nextLink"])).json
    assert [len(page["value"]) for page in (first, second)] == [2, 1]


async def test_owners(client: Client) -> None:
    assert await ids(client, f"groups/{group_id(2)}/owners") == people(1)


# Deleted items


@pytest.mark.parametrize("cast", ["graph.user", "microsoft.graph.user"])
async def test_deleted_users_are_listed_with_the_moment(client: Client, cast: str) -> None:
    (user,) = (await client.graph(f"directory/deletedItems/{cast}?$select=id,deletedDateTime")).json["value"]
    assert user["id"] == user_id(6)
    assert user["deletedDateTime"].endswith("Z")


async def test_the_type_segment_is_mandatory(client: Client) -> None:
    assert (await client.graph("directory/deletedItems")).status == 400


async def restore(client: Client, identifier: str, *roles: str) -> Any:
    client.token = client.emulator.token_for(*roles)
    return await client.send("POST", f"/v1.0/directory/deletedItems/{identifier}/restore")


async def test_restore_brings_a_user_back(client: Client) -> None:
    assert (await restore(client, user_id(6), "User.Read.All")).status == 403
    answer = await restore(client, user_id(6), "User.DeleteRestore.All", "User.Read.All")
    assert (answer.status, answer.json["id"], answer.json["@odata.type"]) == (200, user_id(6), "#microsoft.graph.user")
    assert (await client.graph(f"users/{user_id(6)}")).status == 200
    assert (await restore(client, user_id(6), "User.DeleteRestore.All")).status == 404


async def test_restore_fails_when_the_name_is_taken(client: Client) -> None:
    await client.control("POST", "users", {"displayName": "New", "userPrincipalName": "user6@contoso.example"})
    answer = await restore(client, user_id(6), "User.DeleteRestore.All")
    assert (answer.status, answer.code) == (409, "Request_MultipleObjectsWithSameKeyValue")


async def test_purge_is_for_good(client: Client) -> None:
    client.token = client.emulator.token_for("User.ReadWrite.All")
    assert (await client.send("DELETE", f"/v1.0/directory/deletedItems/{user_id(6)}")).status == 204
    assert (await client.graph(f"directory/deletedItems/{user_id(6)}")).status == 404
    assert (await client.send("DELETE", f"/v1.0/directory/deletedItems/{user_id(1)}")).status == 404


async def test_after_30_days_a_deleted_user_is_gone(client: Client) -> None:
    client.token = None
    for days, found in ((29, 1), (2, 0)):
        await client.control("POST", "clock", {"advance_seconds": days * 86_400})
        client.token = client.emulator.token_for("User.Read.All")
        assert len(await ids(client, "directory/deletedItems/graph.user")) == found


async def test_a_search_of_groups_needs_the_header_on_every_page(client: Client) -> None:
    for name in ("Quokkas", "More quokkas"):
        made = {"displayName": name, "mailNickname": "q", "mailEnabled": False, "securityEnabled": True}
        await client.control("POST", "groups", made)
    path = "groups?" + quote('$search="displayName:quokk"&$select=id&$top=1', safe="$&=")
    refused = await client.graph(path)
    assert refused.status == 400
    assert "ConsistencyLevel" in refused.json["error"]["message"]
    first = (await client.graph(path, **EVENTUAL)).json
    link = first["@odata.nextLink"]
    assert (await client.graph(link)).status == 400
    second = (await client.graph(link, **EVENTUAL)).json
    assert first["value"][0]["id"] != second["value"][0]["id"]


@pytest.mark.parametrize(
    "search",
    ["displayName:s", '"s"', '"displayName:"', '"displayName:a\\b"', '"displayName:s" or "mail:s"', '"visibility:s"'],
)
async def test_a_search_that_graph_does_not_understand_is_refused(client: Client, search: str) -> None:
    path = "groups?" + quote(f"$search={search}", safe="$&=")
    assert (await client.graph(path, **EVENTUAL)).status == 400


async def test_fifteen_ids_fit_into_a_filter(client: Client) -> None:
    for number, status in ((15, 200), (16, 400)):
        wanted = ",".join(f"'{group_id(index)}'" for index in range(1, number + 1))
        assert (await client.graph("groups?" + quote(f"$filter=id in ({wanted})", safe="$&="))).status == status
