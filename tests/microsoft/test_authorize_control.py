"""The control API of sign-in: what it changes, what it refuses, and that refusing changes nothing."""

from typing import Any

import pytest

from local import sample
from local.sample import user_id
from tests.microsoft.support import Client

ROLE = "66666666-0001-4666-8666-666666666666"


@pytest.mark.parametrize(
    ("request_line", "body", "status", "words"),
    [
        ("PUT sign-in", {"automatic_user": "nobody"}, 404, "no user 'nobody'"),
        ("PUT sign-in", {"administrators": [user_id(6)]}, 404, "no user"),
        ("PUT sign-in", {"automatic_consent": "maybe"}, 400, "maybe"),
        ("PUT sign-in", {"code_seconds": 0}, 400, "at least 1 second"),
        ("PUT sign-in", {"access_token_seconds": 0}, 400, "at least 1 second"),
        ("PUT sign-in", {"next_errors": [{"error": "nonsense"}]}, 400, "no error"),
        ("PUT sign-in", {"next_id_tokens": [{"kind": "nonsense"}]}, 400, "nonsense"),
        ("PUT sign-in", {"nosuch": 1}, 400, "nosuch"),
        ("PUT registration", {"redirect_uris": ["http://app.example/"]}, 400, "https://"),
        ("PUT registration", {"redirect_uris": ["https://*.app.example/"]}, 400, "wildcard"),
        ("PUT registration", {"redirect_uris": ["https://app.example/#part"]}, 400, "fragment"),
        ("PUT registration", {"redirect_uris": ["https:///path"]}, 400, "host"),
        ("PUT registration", {"delegated": ["Nonsense.Read"]}, 400, "Nonsense.Read"),
        ("PUT registration", {"assignments": [{"principal_id": "x", "role_id": "y"}]}, 400, "no app role 'y'"),
        ("PUT registration", {"app_roles": [{"id": "a", "value": "A", "display_name": "A"}] * 2}, 400, "same id"),
        (
            "PUT registration",
            {"app_roles": [{"id": name, "value": "A", "display_name": "A"} for name in "ab"]},
            400,
            "same value",
        ),
        ("PUT registration", {"app_roles": []}, 400, f"no app role '{ROLE}'"),
        ("PUT registration", {"group_claims": "Some"}, 400, "Some"),
        ("PUT registration?client_id=none", {}, 404, "no app 'none'"),
        ("POST assignments", {"principal": "nobody"}, 404, "no user or group"),
        ("POST assignments", {"principal": user_id(1), "role": "Nonsense"}, 404, "no app role 'Nonsense'"),
        (f"DELETE assignments?principal={user_id(1)}", None, 404, "is not assigned"),
        ("POST consent", {"grant": ["Nonsense.Read"]}, 400, "Nonsense.Read"),
        ("POST consent", {"withdraw": ["User.Read", "Contacts.Read"]}, 400, "Contacts.Read is not granted"),
        ("POST consent", {"grant": ["User.Read"], "user": "nobody"}, 404, "no user 'nobody'"),
        ("POST users/nobody/revoke", None, 404, "no user 'nobody'"),
        ("POST id-token", {"user": "nobody"}, 404, "no user 'nobody'"),
        ("POST id-token", {"user": user_id(1), "forgery": {"kind": "nonsense"}}, 400, "nonsense"),
    ],
)
async def test_wrong_input_is_named_and_changes_nothing(
    client: Client, request_line: str, body: Any, status: int, words: str
) -> None:
    before = client.emulator.state()
    method, path = request_line.split()
    answer = await client.control(method, path, body)
    assert answer.status == status, answer.text
    assert words in answer.json["error"]
    assert client.emulator.state() == before


async def test_a_put_leaves_what_it_does_not_name(client: Client) -> None:
    await client.control("PUT", "sign-in", {"code_seconds": 5})
    answer = await client.control("PUT", "sign-in", {"administrators": ["user3@contoso.example"]})
    assert (answer.json["code_seconds"], answer.json["administrators"]) == (5, [user_id(3)])
    assert (await client.control("GET", "sign-in")).json == answer.json
    registration = (await client.control("PUT", "registration", {"assignment_required": True})).json
    assert registration["redirect_uris"] == list(sample.REDIRECT_URIS)
    assert (await client.control("GET", "registration")).json == registration


async def test_app_roles_can_be_defined_and_given(client: Client) -> None:
    role = {"id": "aaaaaaaa-0000-4000-8000-000000000001", "value": "Own.Role", "display_name": "Own"}
    await client.control("PUT", "registration", {"app_roles": [role], "assignments": []})
    for _ in range(2):
        answer = await client.control("POST", "assignments", {"principal": "user1@contoso.example", "role": "Own.Role"})
        assert answer.json == [{"principal_id": user_id(1), "role_id": role["id"]}], "once, however often it is given"


async def test_consent_is_granted_and_withdrawn_permission_by_permission(client: Client) -> None:
    await client.control("POST", "consent", {"grant": ["Contacts.Read"], "withdraw": ["User.Read"]})
    await client.control("POST", "consent", {"grant": ["User.Read", "User.Read"], "user": "user1@contoso.example"})
    consent = (await client.control("GET", "consent")).json
    assert set(consent["organization"]) == {*sample.DELEGATED, "Contacts.Read"} - {"User.Read"}
    assert consent["users"] == {user_id(1): ["User.Read"]}


async def test_reset_brings_the_start_back(client: Client) -> None:
    before = [(await client.control("GET", path)).json for path in ("sign-in", "registration", "consent")]
    await client.control("PUT", "sign-in", {"automatic_user": user_id(1)})
    await client.control("PUT", "registration", {"redirect_uris": [], "app_roles": [], "assignments": []})
    await client.control("POST", "consent", {"withdraw": ["User.Read"]})
    assert (await client.control("POST", "reset")).status == 204
    assert [(await client.control("GET", path)).json for path in ("sign-in", "registration", "consent")] == before
