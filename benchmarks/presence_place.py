"""A company whose presence is measured: its users' extensions and links as after a first sync, and who signed in."""

import asyncio
import datetime
import ssl
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import aiohttp
import msgspec

from local.cloud import sample_secrets
from local.sample import CLIENT_ID, CLIENT_SECRET, REDIRECT_URIS, TENANT_ID

PACE = 1000
"""Writes a second: the pacing lifted, with 8 writes under way at once."""
ANSWER_MS = 30.0
"""A quick appliance's time for a request, as an assumption: no vendor gives one."""
ANNOUNCED = 650
"""Users that a subscription announces; an account has one."""
SPARE = 1.3
"""Of a generated tenant some are guests, disabled or deleted, and have no presence."""
PATIENCE = 120.0
SCOPES = "openid profile offline_access https://graph.microsoft.com/Presence.Read.All"
UPDATES = "requests?path=/openapi/v1.0/extension/update"


class Place(msgspec.Struct, frozen=True):
    """Where the emulators are."""

    microsoft_url: str
    pbx_url: str


class Worker(msgspec.Struct, frozen=True):
    """A user with an extension, and what it shows at the beginning."""

    object_id: str
    pbx_id: int
    status: str


def options_for(users: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """How the emulators of Microsoft and of the PBX are started for so many users."""
    return ("--users", str(int(users * SPARE) + 100)), ("--capacity", str(users + 100))


class Emulators:
    """The emulators' control routes, and Entra's pages."""

    def __init__(self, place: Place) -> None:
        self.place = place
        connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(), limit=16)
        self.session = aiohttp.ClientSession(connector=connector)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.session.close()

    async def microsoft(self, method: str, path: str, body: Any = None) -> Any:
        return await self._control(self.place.microsoft_url, method, path, body)

    async def pbx(self, method: str, path: str, body: Any = None) -> Any:
        return await self._control(self.place.pbx_url, method, path, body)

    async def show(self, worker: Worker, name: str) -> None:
        """Somebody shows ``name`` in Teams."""
        body = {"availability": name, "activity": name}
        await self.microsoft("PUT", f"presence/users/{worker.object_id}", body)

    async def staff(self, connection: Any, users: int) -> list[Worker]:
        """Give so many users an extension that shows what they do in Teams, and a link."""
        from presence.mapping import INITIAL, effective_map, target_of
        from store.document import PresenceMap
        from store.links import Link
        from store.presence import Teams

        table = effective_map(PresenceMap(), {})
        people = (await self.microsoft("GET", "presence/users"))[:users]
        assert len(people) == users, f"only {len(people)} users have a presence"
        staff = [
            Worker(one["id"], number, target_of(Teams(one["availability"], one["activity"]), table) or INITIAL)
            for number, one in enumerate(people, 1)
        ]
        extensions = [
            {"id": one.pbx_id, "number": _number(one), "first_name": _name(one), "presence_status": one.status}
            for one in staff
        ]
        await self.pbx("PUT", "state", {"extensions": extensions, "next_id": users + 1})
        links = (
            Link(object_id=one.object_id, pbx_id=one.pbx_id, number=_number(one), name=_name(one)) for one in staff
        )
        await connection.links("users").write(save=list(links))
        return staff

    async def switch_on(self, connection: Any, poll_seconds: int) -> None:
        """Store the secrets, and have everybody's extension follow Teams; the PBX takes its time from now on."""
        from store.document import Settings

        for name, value in sample_secrets().items():
            await connection.secrets.write(name, value)
        latency = {"read_latency_ms": ANSWER_MS, "write_latency_ms": ANSWER_MS}
        await self.pbx("PUT", "firmware", latency)
        base = await connection.settings.load()
        document = msgspec.to_builtins(base.settings)
        document["pbx"]["max_writes_per_second"] = PACE
        document["presence"] |= {"enabled": True, "poll_seconds": poll_seconds}
        await connection.settings.save(msgspec.convert(document, Settings), base)

    async def sign_in(self, connection: Any, object_ids: list[str]) -> None:
        """Make the first one the authorization account and the others further ones, as after signing in."""
        from console.rooms import place_of
        from sso.account import adopt_account, adopt_further
        from sso.id_token import Claims
        from sso.oauth import Tokens

        adopt = adopt_account
        for object_id in object_ids:
            tokens = msgspec.convert(await self._tokens(object_id), Tokens)
            claims = Claims(tid=TENANT_ID, oid=object_id, name=f"Account {object_id}")
            await adopt(place_of(connection), claims, tokens, datetime.datetime.now(datetime.UTC))
            adopt = adopt_further

    async def _tokens(self, object_id: str) -> Any:
        """What Entra gives for somebody who signs in and accepts."""
        switches = {
            "automatic_user": object_id,
            "automatic_consent": "accept_for_organization",
            "administrators": [object_id],
        }
        await self.microsoft("PUT", "sign-in", switches)
        endpoint = f"{self.place.microsoft_url}/{TENANT_ID}/oauth2/v2.0"
        shared = {"client_id": CLIENT_ID, "redirect_uri": REDIRECT_URIS[0], "scope": SCOPES}
        asked = {**shared, "response_type": "code", "response_mode": "query"}
        async with self.session.get(f"{endpoint}/authorize", params=asked, allow_redirects=False) as answer:
            assert answer.status == 302, await answer.text()
            [code] = parse_qs(urlsplit(answer.headers["Location"]).query)["code"]
        redeemed = {**shared, "grant_type": "authorization_code", "code": code, "client_secret": CLIENT_SECRET}
        async with self.session.post(f"{endpoint}/token", data=redeemed) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def _control(self, base: str, method: str, path: str, body: Any) -> Any:
        async with self.session.request(method, f"{base}/_control/{path}", json=body) as answer:
            content = await answer.read()
            assert answer.status < 300, content
            return msgspec.json.decode(content) if content else None


def _number(worker: Worker) -> str:
    return str(10_000 + worker.pbx_id)


def _name(worker: Worker) -> str:
    return f"Person {worker.pbx_id}"


async def until(probe: Callable[[], Awaitable[Any]], pause: float = 0.1) -> Any:
    """What ``probe`` answers as soon as that is something: it happens in other processes."""
    async with asyncio.timeout(PATIENCE):
        while not (found := await probe()):  # noqa: ASYNC110 - no event tells it
            await asyncio.sleep(pause)
        return found
