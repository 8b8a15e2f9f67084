"""The control API: what it changes, what it refuses, and that refusing changes nothing."""

from typing import Any

import pytest

from local import sample
from local.sample import group_id, user_id
from tests.microsoft.support import Client

ONE = f"users/{user_id(1)}"


async def test_a_new_user_gets_the_usual_values(client: Client) -> None:
    body = {"displayName": "New", "userPrincipalName": "new@contoso.example", "manager": user_id(1)}
    answer = await client.control("POST", "users", body)
    assert answer.status == 201
    new = answer.json
    assert (new["accountEnabled"], new["userType"], new["manager"]) == (True, "Member", user_id(1))
    assert new["createdDateTime"].endswith("Z")
    assert (await client.control("GET", f"users/{new['id']}")).json == new
    assert (await client.control("GET", "users/new@contoso.example")).json == new


async def test_a_renamed_user_is_found_by_the_new_name_only(client: Client) -> None:
    await client.control("PATCH", ONE, {"userPrincipalName": "renamed@contoso.example"})
    assert (await client.graph("users/renamed@contoso.example")).status == 200
    assert (await client.graph("users/user1@contoso.example")).status == 404


@pytest.mark.parametrize(
    ("method", "path", "body", "words"),
    [
        ("POST", "users", {}, "needs displayName"),
        ("POST", "users", {"displayName": "x"}, "needs userPrincipalName"),
        ("POST", "users", {"displayName": "x", "userPrincipalName": "USER1@contoso.example"}, "is taken"),
        ("POST", "users", {"displayName": "x", "userPrincipalName": "a@b", "id": user_id(1)}, "is taken"),
        ("POST", "users", {"displayName": "x", "userPrincipalName": "a@b", "id": "short"}, "GUID"),
        ("POST", "users", {"displayName": "x", "userPrincipalName": "a@b", "manager": user_id(9)}, "no user"),
        ("POST", "users", {"displayName": "x", "userPrincipalName": "a@b", "phone": "1"}, "no property 'phone'"),
        ("PATCH", ONE, {"mobilePhone": 31}, "a string or null"),
        ("PATCH", ONE, {"accountEnabled": "yes"}, "true, false or null"),
        ("PATCH", ONE, {"businessPhones": ["1", "2"]}, "at most one"),
        ("PATCH", ONE, {"onPremisesExtensionAttributes": {"extensionAttribute16": "x"}}, "extensionAttribute16"),
        ("PATCH", ONE, {"userPrincipalName": "user2@contoso.example"}, "is taken"),
        ("PATCH", ONE, {"displayName": None}, "cannot be cleared"),
        ("PATCH", ONE, {"id": user_id(9)}, "cannot be changed"),
        ("PATCH", f"users/{user_id(6)}", {"mail": "x"}, "is deleted"),
        ("PATCH", ONE, ["no", "object"], "object"),
        ("POST", f"{ONE}/restore", None, "is not deleted"),
        ("DELETE", f"users/{user_id(6)}", None, "is deleted"),
        ("POST", "groups", {"groupTypes": []}, "needs displayName"),
        ("POST", f"groups/{group_id(1)}/members", {"add": [user_id(9)]}, "no object"),
        ("POST", f"groups/{group_id(1)}/members", {"add": [user_id(6)]}, "no object"),
        ("POST", f"groups/{group_id(1)}/members", {"add": [group_id(1)]}, "itself"),
        ("POST", f"groups/{group_id(1)}/members", {"remove": [user_id(2)]}, "not among"),
        ("POST", f"groups/{group_id(1)}/members", {"add": [user_id(1)], "remove": [user_id(1)]}, "both"),
        ("POST", f"groups/{group_id(1)}/members", {"adds": []}, "adds"),
        ("POST", f"groups/{group_id(1)}/members", {"add_all_users": True, "remove": [user_id(1)]}, "both"),
        ("PUT", "delta", {"page_size": 0}, "at least 1"),
        ("PUT", "delta", {"unknown": True}, "unknown"),
        ("PUT", "delta", {"reset_answer": "500"}, "500"),
        ("PUT", "throttle", {"limit": 0}, "at least 1"),
        ("PUT", "app", {"secrets": [{"secret": "x", "start": "2026-01-01T00:00:00"}]}, "time zone"),
        ("PUT", "app", {"secrets": [{"secret": "x", "end": "2010-01-01T00:00:00Z"}]}, "after it starts"),
        ("PUT", "app", {"certificates": [{"pem": "nothing"}]}, "PEM"),
        ("PUT", "app", {"token_seconds": 0}, "at least 1"),
        ("PUT", "app?client_id=short", {}, "GUID"),
        ("PUT", "identity", {"nosuch": 1}, "nosuch"),
        ("POST", "faults", {"kind": "nosuch"}, "unknown kind"),
    ],
)
async def test_wrong_input_is_named_and_changes_nothing(
    client: Client, method: str, path: str, body: Any, words: str
) -> None:
    before = client.emulator.state()
    answer = await client.control(method, path, body)
    assert answer.status == 400, answer.text
    assert words in answer.json["error"]
    assert client.emulator.state() == before


@pytest.mark.parametrize("path", [f"users/{user_id(9)}", f"users/{group_id(1)}", f"groups/{user_id(1)}"])
async def test_an_unknown_object_is_not_found(client: Client, path: str) -> None:
    assert (await client.control("PATCH", path, {})).status == 404


async def test_a_put_leaves_what_it_does_not_name(client: Client) -> None:
    await client.control("PUT", "delta", {"page_size": 3})
    answer = await client.control("PUT", "delta", {"duplicates": True})
    assert (answer.json["page_size"], answer.json["duplicates"]) == (3, True)
    app = (await client.control("PUT", "app", {"roles": ["User.Read.All"]})).json
    assert (app["roles"], len(app["secrets"])) == (["User.Read.All"], 2)
    assert (await client.control("GET", f"app?client_id={sample.CLIENT_ID}")).json == app
    assert (await client.control("GET", "app?client_id=none")).status == 404


async def test_thousands_join_a_group_at_once(client: Client) -> None:
    directory = client.emulator.directory
    for number in range(5000):
        directory.create("user", {"displayName": "x", "userPrincipalName": f"m{number}@contoso.example"})
    path = f"groups/{group_id(4)}/members"
    members = (await client.control("POST", path, {"add_all_users": True})).json["members"]
    assert members == [user.id for _, user in directory.live("user")]
    assert (await client.control("POST", path, {"add_all_users": True})).json["members"] == members, "once each"
    left = (await client.control("POST", path, {"remove": members[1:]})).json["members"]
    assert left == members[:1]
    assert (await client.control("POST", path, {"add": members[1:]})).json["members"] == members


async def test_a_group_is_made_renamed_filled_and_deleted(client: Client) -> None:
    made = (await client.control("POST", "groups", {"displayName": "Night shift"})).json
    assert (made["securityEnabled"], made["groupTypes"]) == (True, [])
    path = f"groups/{made['id']}"
    assert (await client.control("PATCH", path, {"displayName": "Late shift"})).json["displayName"] == "Late shift"
    await client.control("POST", f"{path}/members", {"add": [user_id(1), group_id(1)]})
    assert (await client.control("GET", path)).json["members"] == [user_id(1), group_id(1)]
    assert (await client.control("DELETE", path)).status == 204
    assert (await client.graph(path)).status == 404


async def test_reset_brings_the_start_back(client: Client) -> None:
    await client.control("DELETE", ONE)
    await client.control("PUT", "delta", {"page_size": 1})
    await client.control("PUT", "throttle", {"enabled": True, "limit": 1})
    await client.control("PUT", "app", {"secrets": []})
    assert (await client.control("POST", "reset")).status == 204
    client.token = client.emulator.token_for(*sample.ROLES)
    assert len((await client.graph("users")).json["value"]) == 5
    assert "@odata.deltaLink" in (await client.graph("users/delta")).json
    assert len((await client.control("GET", "app")).json["secrets"]) == 2


async def test_saved_content_comes_back_with_its_tokens(client: Client) -> None:
    _, link = await client.round("users/delta?$select=displayName")
    saved = (await client.control("GET", "state")).json
    await client.control("DELETE", ONE)
    assert (await client.control("PUT", "state", saved)).status == 204
    assert (await client.control("GET", "state")).json == saved
    await client.control("PATCH", ONE, {"displayName": "After"})
    entries, _ = await client.round(link)
    assert [entry["displayName"] for entry in entries] == ["After"]


@pytest.mark.parametrize("damage", ["missing", "unknown", "order", "deleted", "property"])
async def test_damaged_content_is_refused_whole(client: Client, damage: str) -> None:
    saved = (await client.control("GET", "state")).json
    broken = (await client.control("GET", "state")).json
    match damage:
        case "missing":
            del broken["directory"]
        case "unknown":
            broken["more"] = 1
        case "order":
            broken["directory"]["order"]["user"].pop()
        case "deleted":
            broken["directory"]["deleted"] = []
        case "property":
            broken["directory"]["entities"][0]["properties"]["phone"] = "1"
    assert (await client.control("PUT", "state", broken)).status == 400
    assert (await client.control("GET", "state")).json == saved
    assert (await client.graph("users")).status == 200


async def test_a_deleted_user_frees_its_name_and_cannot_come_back_while_it_is_taken(client: Client) -> None:
    await client.control("DELETE", ONE)
    again = {"displayName": "Successor", "userPrincipalName": "user1@contoso.example"}
    successor = (await client.control("POST", "users", again)).json["id"]
    assert (await client.control("POST", f"{ONE}/restore")).status == 400
    await client.control("PATCH", f"users/{successor}", {"userPrincipalName": "other@contoso.example"})
    assert (await client.control("POST", f"{ONE}/restore")).status == 200
    assert (await client.graph("users/user1@contoso.example")).json["id"] == user_id(1)


async def test_the_id_of_a_purged_user_is_never_used_again(client: Client) -> None:
    again = {"id": user_id(6), "displayName": "x", "userPrincipalName": "x@contoso.example"}
    await client.control("POST", f"users/{user_id(6)}/purge")
    assert (await client.control("POST", "users", again)).status == 400
    saved = (await client.control("GET", "state")).json
    assert (await client.control("PUT", "state", saved)).status == 204
    assert (await client.control("POST", "users", again)).status == 400
