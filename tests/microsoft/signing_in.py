"""Signing in as an app and its user do it: the address to go to, the way through, the code for tokens."""

import base64
import hashlib
from typing import Any
from urllib.parse import urlencode

import jwt

from local import sample
from tests.microsoft.browser import Browser, Page
from tests.microsoft.support import Answer, Client

CALLBACK = "http://localhost:7071/sso/callback"
VERIFIER = "a-verifier-that-is-long-enough-for-the-rules-of-pkce"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")
SCOPE = "openid profile email offline_access User.Read"
REQUEST = {
    "client_id": sample.CLIENT_ID,
    "response_type": "code",
    "redirect_uri": CALLBACK,
    "scope": SCOPE,
    "state": "the state",
    "nonce": "the nonce",
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
}
REDEMPTION = {
    "grant_type": "authorization_code",
    "client_id": sample.CLIENT_ID,
    "client_secret": sample.CLIENT_SECRET,
    "redirect_uri": CALLBACK,
    "code_verifier": VERIFIER,
}


def address(**changes: str | None) -> str:
    """Where the app sends the browser; ``None`` leaves a parameter out, ``tenant`` is part of the path."""
    tenant = changes.pop("tenant", None) or sample.TENANT_ID
    parameters = {name: value for name, value in {**REQUEST, **changes}.items() if value is not None}
    return f"/{tenant}/oauth2/v2.0/authorize?{urlencode(parameters)}"


async def automatic(client: Client, user: str, **switches: Any) -> Browser:
    """A browser in which ``user`` gets through without a page."""
    answer = await client.control("PUT", "sign-in", {"automatic_user": user, **switches})
    assert answer.status == 200, answer.text
    return Browser(client)


async def code_for(client: Client, user: str, **changes: str | None) -> str:
    page = await (await automatic(client, user)).open(address(**changes))
    return page.returned()["code"]


async def ask(client: Client, **form: str | None) -> Answer:
    """What the token endpoint answers; ``None`` leaves a parameter out, ``tenant`` is part of the path."""
    tenant = form.pop("tenant", None) or sample.TENANT_ID
    client.token = None
    sent = {name: value for name, value in form.items() if value is not None}
    return await client.send("POST", f"/{tenant}/oauth2/v2.0/token", data=sent)


async def redeem(client: Client, code: str, **changes: str | None) -> Answer:
    return await ask(client, **{**REDEMPTION, "code": code, **changes})


async def refresh(client: Client, token: str, **changes: str | None) -> Answer:
    usual = {"client_id": sample.CLIENT_ID, "client_secret": sample.CLIENT_SECRET, "refresh_token": token}
    return await ask(client, **{"grant_type": "refresh_token", **usual, **changes})


async def tokens_for(client: Client, user: str, **changes: str | None) -> dict[str, Any]:
    """A whole sign-in: what the token endpoint gives for it."""
    answer = await redeem(client, await code_for(client, user, **changes))
    assert answer.status == 200, answer.text
    found: dict[str, Any] = answer.json
    return found


async def verified(client: Client, token: str, **changes: Any) -> dict[str, Any]:
    """The claims of an ID token, checked as a careful app checks it."""
    document = await client.send("GET", f"/{sample.TENANT_ID}/v2.0/.well-known/openid-configuration")
    keys = (await client.send("GET", document.json["jwks_uri"])).json["keys"]
    kid = jwt.get_unverified_header(token)["kid"]
    (key,) = [key for key in keys if key["kid"] == kid]
    assert key["issuer"] == document.json["issuer"]
    expected: dict[str, Any] = {"audience": sample.CLIENT_ID, "issuer": document.json["issuer"], **changes}
    claims: dict[str, Any] = jwt.decode(token, jwt.PyJWK(key), algorithms=["RS256"], **expected)
    return claims


def assert_error(page: Page, error: str, code: int | None) -> None:
    """The app heard of an error, with the state it gave."""
    returned = page.returned()
    assert (returned["error"], returned.get("state")) == (error, "the state"), returned
    assert "code" not in returned
    if code is not None:
        assert returned["error_description"].startswith(f"AADSTS{code}: ")
        assert "Correlation ID: " in returned["error_description"]


def assert_shown(page: Page, code: int) -> None:
    """The person saw an error, and the app hears nothing."""
    assert (page.status, page.location, page.forms) == (400, "", [])
    assert page.heading.startswith("Sorry, but")
    assert f"AADSTS{code}: " in page.words
