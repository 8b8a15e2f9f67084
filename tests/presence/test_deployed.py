"""Presence as it runs: Microsoft's runtime, its timer and queue, both emulators, over HTTP."""

from typing import Any
from urllib.parse import quote_plus

from local.cloud import Cloud
from tests.system.client import Client, until

TOKEN = "Validation: Testing client application reachability for subscription Request-Id: a+b&c=d"


async def test_extensions_follow_teams_by_timer_and_queue() -> None:
    async with Cloud(message_lease=3) as cloud, Client(cloud) as client:
        await client.secrets()
        await client.enable_users(associate_by_email=True)
        assert (await client.newest_run())["status"] == "succeeded"
        [link, *_] = (await client.get("/api/links?kind=users"))["value"]
        await show(client, link, "DoNotDisturb")
        await client.configure(lambda document: document["presence"].update(enabled=True, poll_seconds=10))
        assert await shown(client, link, "do_not_disturb")
        await show(client, link, "Busy")
        assert await shown(client, link, "away")

        path = f"/notifications/presence?validationToken={quote_plus(TOKEN)}"
        status, body, headers = await client.call("POST", path, key="")
        assert (status, body.decode()) == (200, TOKEN)
        assert headers["content-type"].replace(" ", "").lower() == "text/plain;charset=utf-8"
        item = {"subscriptionId": "1", "clientState": "x"}
        status, body, _ = await client.call("POST", "/notifications/presence", {"value": [item]}, key="")
        assert (status, body) == (202, b"")
        assert await client.pbx("GET", "violations") == []


async def show(client: Client, link: Any, name: str) -> None:
    """A user shows ``name`` in Teams."""
    body = {"availability": name, "activity": name}
    await client.microsoft("PUT", f"presence/users/{link['object_id']}", body)


async def shown(client: Client, link: Any, status: str) -> Any:
    """The user's extension as soon as it shows ``status``."""

    async def extension() -> Any:
        found = {one["number"]: one for one in await client.pbx("GET", "extensions")}[link["extension"]]
        return found if found["presence_status"] == status else None

    return await until(extension)
