"""The replay of recorded requests against the document finds what is wrong with them."""

from typing import Any

import msgspec
import pytest

from local.emulator import Recorded
from tests.pbx_emulator.api import AGENT, USER_PASSWORD, Api, new_extension
from tests.pbx_emulator.contract import SPEC, check_recorded, load_contract

pytestmark = pytest.mark.skipif(not SPEC.exists(), reason=f"the OpenAPI document is not at {SPEC}")
JSON = {**AGENT, "Content-Type": "application/json; charset=utf-8"}
TOKEN = {"access_token": "x"}


def recorded(method: str, path: str, body: Any = None, **members: Any) -> Recorded:
    defaults: dict[str, Any] = {"query": TOKEN, "headers": JSON if method == "POST" else AGENT}
    text = body if isinstance(body, str) else "" if body is None else msgspec.json.encode(body).decode()
    return Recorded(number=7, at="", method=method, path=f"/openapi/v1.0{path}", body=text, **{**defaults, **members})


GOOD = [
    recorded("POST", "/get_token", {"username": "a", "password": "b"}, query={}),
    recorded("GET", "/extension/list", query={**TOKEN, "page": "1", "page_size": "100", "order_by": "asc"}),
    recorded("GET", "/extension/query", query={**TOKEN, "ids": "1,2"}),
    recorded("POST", "/extension/create", new_extension(presence_list=[{"status": "away", "ring_timeout": 5}])),
    recorded("POST", "/extension/update", {"id": 1, "first_name": "Zoë"}),
    recorded("GET", "/extension/delete", query={**TOKEN, "id": "1"}),
    recorded("POST", "/phonebook/create", {"name": "A", "member_select": "sel_specific"}),
]
LIST = "/extension/list"
UPDATE = "/extension/update"
BAD = {
    "unknown path": (recorded("GET", "/extension/lst"), "the path is not documented"),
    "other prefix": (
        msgspec.structs.replace(recorded("GET", LIST), path="/api/v1/extension/list"),
        "the path is not documented",
    ),
    "wrong verb": (recorded("GET", "/extension/create"), "the path takes POST"),
    "no agent": (recorded("GET", LIST, headers={}), "the header User-Agent is missing or empty"),
    "empty agent": (recorded("GET", LIST, headers={"user-agent": " "}), "the header User-Agent is missing or empty"),
    "header token": (
        recorded("GET", LIST, headers={**AGENT, "authorization": "Bearer x"}),
        "the token belongs into the query, not into the header Authorization",
    ),
    "no token": (recorded("GET", LIST, query={}), "the query parameter access_token is missing"),
    "needless token": (
        recorded("POST", "/get_token", {"username": "a", "password": "b"}),
        "the query parameter access_token is not documented",
    ),
    "parameter": (recorded("GET", LIST, query={**TOKEN, "top": "1"}), "the query parameter top is not documented"),
    "parameter type": (
        recorded("GET", LIST, query={**TOKEN, "page": "x"}),
        "the query parameter page has a value that is not allowed",
    ),
    "parameter limit": (
        recorded("GET", LIST, query={**TOKEN, "page_size": "10001"}),
        "the query parameter page_size has a value that is not allowed",
    ),
    "parameter missing": (recorded("GET", "/extension/get"), "the query parameter id is missing"),
    "body on get": (recorded("GET", LIST, {"a": 1}), "the operation takes no body"),
    "content type": (recorded("POST", UPDATE, {"id": 1}, headers=AGENT), "the content type is not application/json"),
    "no json": (recorded("POST", UPDATE, "{"), "the body is no JSON"),
    "tolerated member": (
        recorded("POST", UPDATE, {"id": 1, "number": "5"}),
        "the body: the member number is not documented",
    ),
    "nested member": (
        recorded("POST", UPDATE, {"id": 1, "presence_list": [{"status": "away", "color": 1}]}),
        "the body: the member presence_list[0].color is not documented",
    ),
    "missing member": (recorded("POST", UPDATE, {"title": "x"}), "the body: 'id' is a required property"),
    "value": (recorded("POST", UPDATE, {"id": 1, "enb_vm": 2}), "the body: enb_vm breaks enum [0, 1]"),
    "type": (recorded("POST", UPDATE, {"id": "1"}), "the body: id breaks type 'integer'"),
}


def test_good_requests_have_no_violations() -> None:
    assert check_recorded(GOOD, SPEC) == []


@pytest.mark.parametrize("case", BAD)
def test_a_bad_request_is_found_in_plain_words(case: str) -> None:
    request, expected = BAD[case]
    assert check_recorded([request], SPEC) == [f"#7 {request.method} {request.path}: {expected}"]


def test_a_refused_extra_member_of_a_closed_body_is_found_once() -> None:
    request = recorded("POST", "/get_token", {"username": "a", "password": "b", "more": 1}, query={})
    (violation,) = check_recorded([request], SPEC)
    assert "'more' was unexpected" in violation


def test_no_password_gets_into_a_violation() -> None:
    body = new_extension(user_password="short", reg_password="tiny", extra=USER_PASSWORD)
    violations = check_recorded([recorded("POST", "/extension/create", body)], SPEC)
    assert len(violations) == 4
    assert not any(secret in "".join(violations) for secret in ("'short'", "'tiny'", USER_PASSWORD))


@pytest.mark.parametrize("spelling", ["extensiongroup", "extension_group"])
def test_either_spelling_of_extension_groups_is_held_against_the_document(spelling: str) -> None:
    members = {"member_select": "sel_specific", "members": [{"ext_id": 1, "user_type": "manager"}]}
    assert check_recorded([recorded("POST", f"/{spelling}/update", {"id": 2, **members})], SPEC) == []
    assert check_recorded([recorded("POST", f"/{spelling}/create", {"name": "A", **members})], SPEC) == []
    assert check_recorded([recorded("GET", f"/{spelling}/list", query={**TOKEN, "sort_by": "id"})], SPEC) == []
    wrong = recorded("POST", f"/{spelling}/update", {"id": 2, "members": [{"ext_id": "1", "role": "x"}], "colour": 1})
    violations = [found.partition(": ")[2] for found in check_recorded([wrong], SPEC)]
    assert sorted(violations) == [
        "the body: members[0].ext_id breaks type 'integer'",
        "the body: the member colour is not documented",
        "the body: the member members[0].role is not documented",
    ]
    answer = {"errcode": 0, "errmsg": "", "data": [{"id": 1, "member_select": "sel_none"}]}
    contract = load_contract(SPEC)
    assert len(contract.answer_violations("GET", f"/openapi/v1.0/{spelling}/list", answer)) == 2


def test_answers_are_checked_against_their_operation() -> None:
    contract = load_contract(SPEC)
    path = "/openapi/v1.0/extension/list"
    assert contract.answer_violations("GET", path, {"errcode": 0, "errmsg": "SUCCESS", "data": []}) == []
    assert contract.answer_violations("GET", path, {"errmsg": "SUCCESS"}) == ["'errcode' is a required property"]
    wrong_row = {"errcode": 0, "errmsg": "", "data": [{"id": 1, "number": "1", "presence_status": "launch"}]}
    assert "presence_status breaks enum" in contract.answer_violations("GET", path, wrong_row)[0]


async def test_the_emulator_and_the_document_agree_on_real_traffic(api: Api) -> None:
    created = await api.create("1500", email_addr="new@example.com")
    await api.update(created["id"], title="Boss")
    await api.get("/extension/search", search_value="new@", page=1, page_size=100)
    await api.get("/extension/delete", id=created["id"])
    assert await api.violations() == []
    assert check_recorded(api.emulator.requests, SPEC) == []
    await api.get("/extension/list", top=1)
    await api.update(1, number_plan="x")
    assert len(check_recorded(api.emulator.requests, SPEC)) == len(await api.violations()) == 2
