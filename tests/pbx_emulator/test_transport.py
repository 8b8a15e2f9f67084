"""Envelope, verbs, headers, bodies and connections; and that every breach becomes a violation."""

import asyncio
import ssl
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.pbx_emulator.api import AGENT, Api, names


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/extension/lst"),
        ("POST", "/extension/list"),
        ("GET", "/extension/create"),
        ("GET", "/extensiongroup/lst"),
        ("POST", "/extension_group/delete"),
        ("DELETE", "/del_token"),
    ],
)
async def test_unknown_endpoints_and_wrong_verbs_are_10001_and_violations(api: Api, method: str, path: str) -> None:
    answer = await api.call(method, path)
    assert (answer["errcode"], answer["errmsg"]) == (10001, "INTERFACE NOT EXISTED")
    assert await api.violations() == [("endpoint", f"/openapi/v1.0{path}")]


@pytest.mark.parametrize("path", ["/organization/list", "/phonebook/list", "/company_contact/list"])
async def test_families_of_newer_firmware_are_10001_and_no_violation(api: Api, path: str) -> None:
    assert await api.errcode("GET", path) == 10001
    assert await api.violations() == []


@pytest.mark.parametrize("path", ["/api/v2.0.0/extension", "/extension/list", "/openapi/v1.0"])
async def test_outside_the_api_there_is_only_a_web_server(api: Api, path: str) -> None:
    async with api._http.get(f"{api.emulator.url}{path}", headers=AGENT) as response:
        assert response.status == 404
    assert await api.violations() == [("endpoint", path)]


@pytest.mark.parametrize("agent", ["", "  "])
@pytest.mark.parametrize(("method", "path"), [("GET", "/extension/list"), ("POST", "/get_token")])
async def test_every_request_needs_a_user_agent(api: Api, method: str, path: str, agent: str) -> None:
    body = {"username": "client-id", "password": "client-secret"} if method == "POST" else None
    query = {"access_token": None} if method == "POST" else {}
    answer = await api.call(method, path, query, headers={"User-Agent": agent}, json=body)
    assert (answer["errcode"], names(answer)) == (40001, ["User-Agent"])
    assert await api.violations() == [("transport", "User-Agent")]


async def test_a_missing_user_agent_is_noticed_at_unknown_endpoints_too(api: Api) -> None:
    for path in ("/phonebook/list", "/nowhere"):
        await api.call("GET", path, headers={"User-Agent": ""})
    assert [kind for kind, _ in await api.violations()] == ["transport", "transport", "endpoint"]


@pytest.mark.parametrize(
    ("headers", "data"),
    [
        ({"Content-Type": "application/json"}, b"{"),
        ({"Content-Type": "application/json"}, b""),
        ({"Content-Type": "application/json"}, b"[]"),
        ({"Content-Type": "application/json"}, b'"text"'),
        ({"Content-Type": "application/json"}, b'{"id":"\xff"}'),
        ({"Content-Type": "application/json"}, b"[" * 100_000),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"id=1"),
        ({"Content-Type": "text/plain"}, b'{"id":1}'),
    ],
    ids=["cut off", "empty", "array", "string", "not utf-8", "deep", "form", "plain text"],
)
async def test_what_is_no_json_object_is_minus_2(api: Api, headers: dict[str, str], data: bytes) -> None:
    answer = await api.call("POST", "/extension/update", headers={**AGENT, **headers}, data=data)
    assert (answer["errcode"], answer["errmsg"]) == (-2, "INTERNAL SERVER ERROR")
    assert answer["invalid_param_list"][0]["value"]
    assert await api.violations() == [("transport", "body")]


async def test_undocumented_query_parameters_are_ignored_but_never_unnoticed(api: Api) -> None:
    answer = await api.get("/extension/list", serach_value="Ada", page_size=100)
    assert answer["total_number"] == 3
    assert await api.violations() == [("parameter", "serach_value")]


async def test_strict_firmware_refuses_undocumented_query_parameters(api: Api) -> None:
    await api.firmware(unknown_parameters="refuse")
    answer = await api.get("/extension/list", serach_value="Ada")
    assert (answer["errcode"], names(answer)) == (40001, ["serach_value"])


async def test_a_token_in_the_body_is_a_violation(api: Api) -> None:
    answer = await api.post("/extension/update", {"id": 1, "access_token": api.token})
    assert answer["errcode"] == 40001
    assert ("transport", "access_token") in await api.violations()


async def test_a_token_in_a_header_is_a_violation(api: Api) -> None:
    await api.call("GET", "/extension/list", headers={**AGENT, "Authorization": "Bearer x"})
    assert await api.violations() == [("transport", "Authorization")]


async def test_a_missing_token_is_a_violation_and_a_token_where_none_belongs_too(stranger: Api) -> None:
    await stranger.get("/extension/list")
    await stranger.post("/refresh_token", {"refresh_token": "0" * 32}, access_token="x")
    assert await stranger.violations() == [("parameter", "access_token")] * 2


async def test_a_body_on_a_get_is_a_violation(api: Api) -> None:
    assert await api.errcode("GET", "/extension/get", {"id": 1}, json={"id": 1}) == 0
    assert await api.violations() == [("transport", "body")]


async def test_a_repeated_query_parameter_is_a_violation_and_the_first_counts(api: Api) -> None:
    url = f"{api.emulator.url}/openapi/v1.0/extension/get?access_token={api.token}&id=2&id=1"
    async with api._http.get(url, headers=AGENT) as response:
        assert (await response.json())["data"]["id"] == 2
    assert await api.violations() == [("parameter", "id")]


async def test_requests_that_meet_a_fault_are_checked_too(api: Api) -> None:
    await api.fault("status", status=502)
    async with api._http.get(f"{api.emulator.url}/openapi/v1.0/extension/list?top=1", headers=AGENT) as response:
        assert (response.status, response.headers["Connection"]) == (502, "close")
    assert await api.violations() == [("parameter", "access_token"), ("parameter", "top")]


async def test_a_second_request_on_a_connection_is_a_violation_and_never_answered(
    api: Api, trust: ssl.SSLContext
) -> None:
    answer = await _send_raw(api, trust, 2)
    assert answer.count("HTTP/1.1 200") == 1
    assert ("transport", "Connection") in await api.violations()


async def test_one_request_on_a_connection_is_none(api: Api, trust: ssl.SSLContext) -> None:
    await _send_raw(api, trust, 1)
    assert await api.violations() == []


async def test_a_missing_user_agent_is_no_better_than_an_empty_one(api: Api, trust: ssl.SSLContext) -> None:
    assert '"errcode":40001' in await _send_raw(api, trust, 1, agent="")
    assert await api.violations() == [("transport", "User-Agent")]


async def _send_raw(api: Api, trust: ssl.SSLContext, times: int, agent: str = "User-Agent: OpenAPI\r\n") -> str:
    port = urlsplit(api.emulator.url).port
    reader, writer = await asyncio.open_connection("localhost", port, ssl=trust)
    path = f"/openapi/v1.0/system/capacity?access_token={api.token}"
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{agent}\r\n".encode() * times)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer.decode()


async def test_a_violation_names_the_request_and_the_reason(api: Api) -> None:
    await api.get("/extension/list", top=1)
    (violation,) = await api.control("GET", "/violations?kind=parameter")
    (request,) = await api.control("GET", "/requests?path=/openapi/v1.0/extension/list")
    assert violation["request"] == request["number"]
    assert (violation["method"], violation["path"]) == ("GET", "/openapi/v1.0/extension/list")
    assert violation["reason"] == "is not a documented query parameter"
    assert await api.control("GET", "/violations?kind=member") == []
    await api.control("DELETE", "/violations")
    assert await api.violations() == []


async def test_a_well_behaved_client_leaves_no_violation(api: Api) -> None:
    calls: list[tuple[str, dict[str, Any]]] = [
        ("/system/information", {}),
        ("/extension/list", {"page": 1, "page_size": 100, "sort_by": "id", "order_by": "asc"}),
        ("/extension/search", {"search_value": "ada"}),
        ("/extension/query", {"ids": "1,2"}),
        ("/extension_status_monitor/list", {"page": 1}),
    ]
    for path, query in calls:
        assert await api.errcode("GET", path, query) == 0
    created = await api.create("1700", email_addr="new@example.com")
    await api.update(created["id"], presence_status="off_work")
    await api.get("/extension/delete", id=created["id"])
    assert await api.violations() == []
