"""The JSON API's promises to scripts: keys, precise errors, nothing half done."""

import msgspec
from openapi_spec_validator import OpenAPIV31SpecValidator

from local.cloud import Cloud
from tests.system.client import Client

ROUTES = [
    ("GET", "/api/status"),
    ("GET", "/api/settings"),
    ("PUT", "/api/settings"),
    ("POST", "/api/sync"),
    ("POST", "/api/pause"),
    ("POST", "/api/resume"),
    ("POST", "/api/disable"),
    ("POST", "/api/enable"),
    ("POST", "/api/disconnect"),
    ("GET", "/api/runs"),
    ("GET", "/api/runs/x"),
    ("GET", "/api/runs/x/items"),
    ("POST", "/api/runs/x/approve"),
    ("POST", "/api/runs/x/reject"),
    ("GET", "/api/links"),
    ("PUT", "/api/secrets/pbx-client-secret"),
    ("GET", "/api/openapi.json"),
]


async def test_every_api_route_needs_a_key(client: Client) -> None:
    for method, path in ROUTES:
        status, _, _ = await client.call(method, path, key="wrong")
        assert (status, path) == (401, path)
    assert (await client.call("GET", "/healthz", key=""))[0] == 200


async def test_every_unknown_or_wrong_member_is_named_with_its_path_and_nothing_is_saved(client: Client) -> None:
    _, document, headers = await client.call("GET", "/api/settings")
    document["users"]["enabled"] = "yes"
    document["users"]["colour"] = "red"
    document["schedule"] |= {"at": 30, "days": ["monday"]}
    document["guard"]["max_deletions"] = -1
    document["extra"] = {}
    status, problem, answered = await client.call("PUT", "/api/settings", document)
    assert status == 422
    assert answered["content-type"] == "application/problem+json"
    assert {error["path"] for error in problem["errors"]} == {
        "/users/enabled",
        "/users/colour",
        "/schedule/at",
        "/schedule/days/0",
        "/guard/max_deletions",
        "/extra",
    }
    assert all(error["message"] for error in problem["errors"])
    _, unchanged, again = await client.call("GET", "/api/settings")
    assert again["etag"] == headers["etag"]
    assert unchanged["users"]["enabled"] is False


async def test_of_two_saves_with_the_same_etag_the_second_loses(client: Client) -> None:
    _, document, headers = await client.call("GET", "/api/settings")
    match = {"If-Match": headers["etag"]}
    document["guard"]["max_deletions"] = 5
    assert (await client.call("PUT", "/api/settings", document, headers=match))[0] == 200
    document["guard"]["max_deletions"] = 9
    status, problem, _ = await client.call("PUT", "/api/settings", document, headers=match)
    assert status == 412
    assert "Read them again" in problem["detail"]
    assert (await client.get("/api/settings"))["guard"]["max_deletions"] == 5


async def test_the_description_is_valid_and_knows_every_route(client: Client) -> None:
    description = await client.get("/api/openapi.json")
    OpenAPIV31SpecValidator(description).validate()
    described = {(method.upper(), path) for path, methods in description["paths"].items() for method in methods}
    for method, path in ROUTES:
        generic = path.replace("/x", "/{id}").replace("/pbx-client-secret", "/{name}")
        assert (method, generic) in described


WRONG_REQUESTS: list[tuple[dict[str, object], str]] = [
    ({"what": ["users", "gruops"]}, "/what/1"),
    ({"mode": "some"}, "/mode"),
    ({"preview": 1}, "/preview"),
    ({"all": True}, "/all"),
    ({"object_id": "jan"}, "/object_id"),
    ({"what": []}, "/what"),
]


async def test_a_wrong_request_for_a_run_names_the_member(client: Client) -> None:
    for body, path in WRONG_REQUESTS:
        status, problem, _ = await client.call("POST", "/api/sync", body)
        assert (status, body) == (422, body)
        assert [error["path"] for error in problem["errors"]] == [path]
    assert (await client.get("/api/runs"))["value"] == []


async def test_a_run_needs_a_complete_connection_and_enabled_users(client: Client) -> None:
    status, problem, _ = await client.call("POST", "/api/sync", {})
    assert status == 409
    assert "entra-client-secret" in problem["detail"]
    await client.secrets()
    status, problem, _ = await client.call("POST", "/api/sync", {})
    assert status == 409
    assert problem["detail"].startswith("The synchronization of users and groups is off or paused.")
    preview = await client.sync(preview=True)
    assert preview["status"] == "succeeded"
    assert len(await client.pbx("GET", "extensions")) == 12


async def test_what_does_not_exist_is_404_and_wrong_parameters_are_400(client: Client) -> None:
    for path in ("/api/runs/nothing", "/api/runs/nothing/items", "/api/runs/a%23b"):
        assert (await client.call("GET", path))[0] == 404
    assert (await client.call("PUT", "/api/secrets/other", {"value": "x"}))[0] == 404
    for path in ("/api/runs?top=0", "/api/runs?top=many", "/api/links?kind=people", "/api/links?top=100000"):
        status, problem, _ = await client.call("GET", path)
        assert (status, path) == (400, path)
        assert problem["detail"]
    assert (await client.call("POST", "/api/sync", raw=b"{"))[0] == 400
    assert (await client.call("PUT", "/api/settings", raw=b"[]"))[0] == 422


async def test_secrets_are_write_only(client: Client) -> None:
    await client.secrets(pbx_client_secret="Very-Secret-Value-1")
    await client.enable_users()
    run = await client.newest_run()
    shown = [
        await client.get("/api/status"),
        await client.get("/api/settings"),
        run,
        await client.get(f"/api/runs/{run['id']}/items"),
        client.cloud.host.log(),
    ]
    assert "Very-Secret-Value-1" not in msgspec.json.encode(shown).decode()
    assert (await client.call("GET", "/api/secrets/pbx-client-secret"))[0] == 404


async def test_tokens_appear_neither_in_the_log_nor_in_an_answer(client: Client, cloud: Cloud) -> None:
    await client.secrets()
    await client.pbx("POST", "faults", {"kind": "drop", "path": "*/extension/create", "times": 3})
    await client.enable_users()
    run = await client.newest_run()
    requests = await client.pbx("GET", "requests?path=*/extension/create")
    token = requests[0]["query"]["access_token"]
    items = await client.get(f"/api/runs/{run['id']}/items")
    assert token not in cloud.host.log()
    assert token not in msgspec.json.encode([run, items]).decode()


async def test_a_body_sent_as_curl_does_without_a_header_is_read_as_json(client: Client) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    status, problem, _ = await client.call("POST", "/api/sync", raw=b"{}", headers=form)
    assert (status, problem["title"]) == (409, "Not connected")
    xml = {"Content-Type": "application/xml"}
    assert (await client.call("POST", "/api/sync", raw=b"{}", headers=xml))[0] == 415


async def test_a_certificate_that_cannot_sign_is_refused_at_once(client: Client) -> None:
    status, problem, _ = await client.call("PUT", "/api/secrets/entra-client-certificate", {"value": "nope"})
    assert status == 422
    assert problem["errors"][0]["path"] == "/value"
