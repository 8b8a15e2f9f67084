"""``$batch``: every item goes through the same door, and is judged alone."""

from typing import Any

import pytest

from local.sample import group_id, user_id
from tests.microsoft.support import Answer, Client


async def post(client: Client, items: list[dict[str, Any]]) -> Answer:
    return await client.send("POST", "/v1.0/$batch", json={"requests": items})


def get(number: int, url: str, **more: Any) -> dict[str, Any]:
    return {"id": str(number), "method": "GET", "url": url, **more}


async def run(client: Client, *items: dict[str, Any]) -> dict[str, dict[str, Any]]:
    answer = await post(client, list(items))
    assert answer.status == 200, answer.text
    return {item["id"]: item for item in answer.json["responses"]}


async def test_items_are_answered_by_id(client: Client) -> None:
    found = await run(
        client,
        get(1, f"/users/{user_id(1)}?$select=displayName"),
        get(2, "users/delta?$select=id&$deltatoken=latest"),
        get(3, "/users/nobody@contoso.example"),
        get(4, "/users/$count", headers={"ConsistencyLevel": "eventual"}),
    )
    assert (found["1"]["status"], found["1"]["body"]["displayName"]) == (200, "Noor Bakker")
    assert found["2"]["body"]["@odata.deltaLink"].startswith(f"{client.emulator.url}/v1.0/users/delta?")
    assert (found["3"]["status"], found["3"]["body"]["error"]["code"]) == (404, "Request_ResourceNotFound")
    assert found["4"]["headers"]["Content-Type"] == "text/plain"


async def test_permissions_count_for_each_item(client: Client) -> None:
    client.token = client.emulator.token_for("User.Read.All")
    found = await run(client, get(1, "/users"), get(2, f"/groups/{group_id(1)}/members"))
    assert [found["1"]["status"], found["2"]["status"]] == [200, 403]


async def test_throttling_counts_for_each_item(client: Client) -> None:
    await client.control("PUT", "throttle", {"enabled": True, "limit": 4})
    found = await run(client, *[get(number, "/users") for number in range(3)])
    assert [found[str(number)]["status"] for number in range(3)] == [200, 200, 429]
    assert int(found["2"]["headers"]["Retry-After"]) >= 1
    assert found["2"]["body"]["error"]["code"] == "TooManyRequests"


async def test_a_planted_fault_hits_one_item(client: Client) -> None:
    body = {"error": {"code": "serviceNotAvailable", "message": "x"}}
    fault = {"kind": "batch_item", "status": 503, "body": body, "options": {"url": "/users/*"}, "skip": 1}
    await client.control("POST", "faults", fault)
    found = await run(client, get(1, f"/users/{user_id(1)}"), get(2, f"/users/{user_id(2)}"), get(3, "/groups"))
    assert [found[key]["status"] for key in ("1", "2", "3")] == [200, 503, 200]


async def test_a_dependent_item_fails_with_its_dependency(client: Client) -> None:
    found = await run(
        client,
        get(1, "/users/nobody"),
        get(2, "/users", dependsOn=["1"]),
        get(3, "/users", dependsOn=["2"]),
        get(4, "/users"),
    )
    assert [found[key]["status"] for key in ("1", "2", "3", "4")] == [404, 424, 424, 200]


async def test_an_item_can_write(client: Client) -> None:
    client.token = client.emulator.token_for("User.ReadWrite.All")
    url = f"/directory/deletedItems/{user_id(6)}/restore"
    found = await run(client, {"id": "1", "method": "POST", "url": url}, get(2, f"/users/{user_id(6)}"))
    assert [found[key]["status"] for key in ("1", "2")] == [200, 200]


@pytest.mark.parametrize(
    "items",
    [
        [],
        [get(number, "/users") for number in range(21)],
        [get(1, "/users"), get(1, "/users")],
        [get(1, "https://graph.microsoft.com/v1.0/users")],
        [get(1, "/users", dependsOn=["7"])],
        [get(1, "/users", body={"a": 1})],
        [get(1, "/users", extra=1)],
        [{"id": "1", "method": "FETCH", "url": "/users"}],
        [{"id": "1", "url": "/users"}],
        [{"id": 1, "method": "GET", "url": "/users"}],
    ],
    ids=["empty", "21", "same id", "absolute", "unknown dependency", "untyped body", "member", "verb", "no verb", "id"],
)
async def test_malformed_batches_are_refused_whole(client: Client, items: list[dict[str, Any]]) -> None:
    assert (await post(client, items)).status == 400


async def test_twenty_items_fit(client: Client) -> None:
    assert len(await run(client, *[get(number, "/organization") for number in range(20)])) == 20


async def test_a_get_item_has_no_body_and_batches_do_not_nest(client: Client) -> None:
    typed = {"Content-Type": "application/json"}
    found = await run(
        client,
        get(1, "/users", body={}, headers=typed),
        {"id": "2", "method": "POST", "url": "/$batch", "body": {"requests": []}, "headers": typed},
    )
    assert [found["1"]["status"], found["2"]["status"]] == [400, 400]


async def test_a_batch_needs_a_token_and_json(client: Client) -> None:
    assert (await client.send("POST", "/v1.0/$batch", data="not json")).status == 415
    typed = {"Content-Type": "application/json"}
    assert (await client.send("POST", "/v1.0/$batch", data="not json", headers=typed)).status == 400
    client.token = None
    assert (await post(client, [get(1, "/users")])).status == 401
