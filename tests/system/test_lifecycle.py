"""The life of a connection over HTTP: paused, emptied, resumed, ended, begun anew."""

from typing import Any

from tests.system.client import Client


async def change(client: Client, action: str, **body: Any) -> Any:
    """Change the state of the connection; the run that it starts is waited for."""
    status, answer, headers = await client.call("POST", f"/api/{action}", body)
    assert status in {200, 202}, answer
    return await client.finished(headers["location"]) if "location" in headers else answer


async def test_what_is_paused_and_deleted_comes_back_and_what_is_disconnected_is_gone(client: Client) -> None:
    by_hand = await client.pbx("GET", "extensions")
    await client.secrets()
    await client.enable_users()
    first = await client.newest_run()
    synced = first["counts"]["create.done"]

    listed = await change(client, "pause", what="users", delete=True, preview=True)
    assert listed["counts"]["delete.planned"] == synced
    run = await change(client, "pause", what="users", delete=True)
    assert (run["status"], run["counts"]["delete.done"]) == ("succeeded", synced)
    assert await client.pbx("GET", "extensions") == by_hand
    status = await client.get("/api/status")
    assert (status["state"], status["paused"]) == ("paused", ["users"])
    _, document, _ = await client.call("GET", "/api/settings")
    document["users"]["enabled"] = False
    assert (await client.call("PUT", "/api/settings", document))[0] == 409

    run = await change(client, "resume", what="users")
    assert (run["status"], run["started_by"], run["counts"]["create.done"]) == ("succeeded", "resume", synced)
    run = await change(client, "disconnect", delete_extensions=True)
    assert (run["status"], run["counts"]["delete.done"]) == ("succeeded", synced)
    assert await client.pbx("GET", "extensions") == by_hand
    assert (await client.get("/api/status"))["state"] == "not_connected"
    assert (await client.get("/api/links"))["value"] == []

    await client.secrets()
    await client.enable_users()
    run = await client.newest_run()
    assert (run["status"], run["started_by"], run["counts"]["create.done"]) == ("succeeded", "initial", synced)


async def test_a_disabled_integration_refuses_runs_until_it_is_enabled(client: Client) -> None:
    await client.secrets()
    await client.enable_users()
    await client.newest_run()
    assert (await change(client, "disable")) == {"state": "disabled", "paused": [], "disabled": True}
    assert (await client.call("POST", "/api/sync", {"what": ["users"]}))[0] == 409
    run = await change(client, "enable")
    assert (run["status"], run["requests"]["pbx_writes"]) == ("succeeded", 0)
    assert (await change(client, "disconnect"))["state"] == "not_connected"


async def test_a_wrong_member_is_named_and_nothing_happens(client: Client) -> None:
    for action, body, path in (
        ("pause", {"what": "contacts"}, "/what"),
        ("pause", {}, ""),
        ("resume", {"what": "users", "delete": True}, "/delete"),
        ("disable", {"delete": True}, "/delete"),
        ("disconnect", {"delete_groups": "yes"}, "/delete_groups"),
    ):
        status, problem, _ = await client.call("POST", f"/api/{action}", body)
        assert (status, [error["path"] for error in problem["errors"]]) == (422, [path])
    status = await client.get("/api/status")
    assert (status["paused"], status["disabled"]) == ([], False)
