"""The whole system as it runs: Microsoft's runtime, Azurite, both emulators, over HTTP."""

from local.cloud import sample_secrets
from local.sample import EXPIRED_CLIENT_SECRET
from tests.system.client import Client, until


async def test_the_first_save_starts_a_sync_and_the_api_explains_every_user(client: Client) -> None:
    status = await client.get("/api/status")
    assert status["state"] == "not_connected"
    assert {reason["code"] for reason in status["reasons"]} == {"secret_missing"}
    before = {extension["number"]: extension for extension in (await client.pbx("GET", "extensions"))}

    await client.secrets()
    await client.enable_users(associate_by_email=True)
    run = await client.newest_run()
    assert (run["status"], run["started_by"], run["mode"]) == ("succeeded", "initial", "full")

    items = (await client.get(f"/api/runs/{run['id']}/items"))["value"]
    assert len(items) == run["counts"]["read"] == run["items"]
    assert all(item["reason"] for item in items)
    skipped = (await client.get(f"/api/runs/{run['id']}/items?outcome=skipped"))["value"]
    assert skipped == [item for item in items if item["outcome"] == "skipped"]
    assert skipped

    links = (await client.get("/api/links?kind=users"))["value"]
    extensions = {extension["number"]: extension for extension in await client.pbx("GET", "extensions")}
    assert {link["extension"] for link in links} | set(before) == set(extensions)
    associated = {link["extension"] for link in links if link["associated"]}
    assert all(extensions[number] == before[number] for number in before if number not in associated)

    status = await client.get("/api/status")
    assert (status["state"], status["reasons"]) == ("connected", [])
    assert status["counts"]["users"] == len(links)
    assert status["last_run"]["id"] == run["id"]
    assert status["next_run"].endswith("T00:30:00+00:00")
    assert status["capacity"]["used"] == len(extensions)

    again = await client.sync()
    assert again["status"] == "succeeded"
    assert again["requests"]["pbx_writes"] == 0
    assert [entry["id"] for entry in (await client.get("/api/runs"))["value"]] == [again["id"], run["id"]]
    assert await client.pbx("GET", "violations") == []


async def test_links_are_found_by_name_address_and_number_and_come_in_pages(client: Client) -> None:
    await client.secrets()
    await client.enable_users()
    await client.newest_run()
    links = (await client.get("/api/links"))["value"]
    one = next(link for link in links if link["email"])
    for text in (one["name"].upper(), one["email"], one["extension"]):
        found = (await client.get(f"/api/links?search={text.replace(' ', '%20')}"))["value"]
        assert one in found
    pages, path = [], "/api/links?top=50"
    while path:
        page = await client.get(path)
        pages.append(page["value"])
        path = page["next"]
    assert [link for page in pages for link in page] == links
    assert max(map(len, pages)) == 50


async def test_wrong_pbx_credentials_make_one_attempt_and_recover_with_the_right_secret(client: Client) -> None:
    await client.secrets(pbx_client_secret="wrong")
    await client.enable_users()
    run = await client.newest_run()
    assert run["fault"]["code"] == "pbx_credentials_rejected"
    for _ in range(3):
        assert (await client.sync())["fault"]["code"] == "pbx_credentials_rejected"
    asked = await client.pbx("GET", "requests?path=*/get_token")
    assert len(asked) == 1
    status = await client.get("/api/status")
    assert status["state"] == "needs_attention"
    assert "Client Secret" in status["reasons"][0]["action"]
    await client.secrets()

    async def connected() -> bool | None:
        return True if (await client.get("/api/status"))["state"] == "connected" else None

    assert await until(connected)
    assert (await client.newest_run())["status"] == "succeeded"


async def test_an_expired_entra_secret_names_itself(client: Client) -> None:
    status, problem, _ = await client.call("PUT", "/api/secrets/entra-client-secret", {"value": EXPIRED_CLIENT_SECRET})
    assert status == 422
    assert "expired" in problem["detail"]
    await client.store_directly(sample_secrets() | {"entra-client-secret": EXPIRED_CLIENT_SECRET})
    await client.enable_users()
    await client.newest_run()
    status = await client.get("/api/status")
    assert status["state"] == "needs_attention"
    [reason] = status["reasons"]
    assert reason["code"] == "entra_secret_expired"
    assert "expired" in reason["message"]


async def test_the_timer_starts_what_is_due(client: Client) -> None:
    await client.enable_users()
    assert (await client.get("/api/runs"))["value"] == []
    await client.store_directly(sample_secrets())
    key = client.cloud.host.master_key
    assert (await client.call("POST", "/admin/functions/tick", {"input": ""}, key=key))[0] == 202
    run = await client.newest_run()
    assert (run["status"], run["started_by"]) == ("succeeded", "initial")


async def test_a_host_killed_in_mid_run_finishes_the_run_after_its_restart(client: Client) -> None:
    await client.secrets()
    await client.pbx("PUT", "firmware", {"write_latency_ms": 40})
    await client.enable_users()

    async def half_way() -> bool | None:
        return True if len(await client.pbx("GET", "extensions")) > 40 else None

    await until(half_way)
    await client.cloud.restart_host(kill=True)
    await client.pbx("PUT", "firmware", {"write_latency_ms": 0})
    run = await client.newest_run()
    assert run["status"] == "succeeded"
    assert run["executions"] == 2
    links = (await client.get("/api/links"))["value"]
    extensions = await client.pbx("GET", "extensions")
    assert len({link["pbx_id"] for link in links}) == len(links) == len(extensions) - 12
    assert (await client.sync())["requests"]["pbx_writes"] == 0
