"""The routes without a key, through the Functions host: what anybody who finds them gets."""

from urllib.parse import quote_plus

import pytest

from tests.system.client import Client

TOKEN = "Validation: Testing client application reachability for subscription Request-Id: a+b&c=d"


@pytest.mark.parametrize("path", ["/notifications/directory", "/notifications/lifecycle"])
async def test_graphs_handshake_gets_its_token_as_plain_text(client: Client, path: str) -> None:
    status, body, headers = await client.call("POST", f"{path}?validationToken={quote_plus(TOKEN)}", key="")
    assert (status, body.decode()) == (200, TOKEN)
    assert headers["content-type"].replace(" ", "").lower() == "text/plain;charset=utf-8"
    assert headers["x-content-type-options"] == "nosniff"
    status, body, _ = await client.call("POST", f"{path}?validationToken={quote_plus('<script>')}", key="")
    assert status == 400
    assert b"script" not in body
    status, body, _ = await client.call("POST", path, {"value": [{"subscriptionId": "1", "clientState": "x"}]}, key="")
    assert (status, body) == (202, b"")
    status, _, _ = await client.call("GET", path, key="")
    assert status == 404


async def test_an_event_of_no_pbx_is_refused_in_plain_words(client: Client) -> None:
    await client.secrets(pbx_webhook_secret="s" * 32)
    status, body, _ = await client.call("POST", "/pbx/events", raw=b'{"type":30022}', key="")
    assert status == 401
    assert b"signature does not fit" in body
