"""The small tenant of the tests, and a client that speaks to an emulator over https."""

from typing import Any

import aiohttp

from local import sample
from local.microsoft import MicrosoftEmulator
from local.sample import Group, Tenant, User, group_id, user_id


def small_tenant() -> Tenant:
    """Six users and four groups; user 6 is deleted, user 4 has never had a phone, groups 1 and 2 hold each other."""
    made: list[tuple[int, str, dict[str, Any]]] = [
        (1, "Noor Bakker", {"mail": "noor@contoso.example", "mobile_phone": "+31600000001", "given_name": "Noor"}),
        (2, "Imre Szabo", {"account_enabled": False, "mail": "imre@contoso.example"}),
        (3, "Seán O'Brien", {"mail": "sean.o'brien@contoso.example", "job_title": "Driver"}),
        (4, "Mara Jansen", {"mail": None}),
        (5, "Luca Rossi", {"user_type": "Guest", "mail": "luca@fabrikam.example"}),
        (6, "Gone Person", {"mail": "gone@contoso.example"}),
    ]
    people = [
        User(id=user_id(number), display_name=name, user_principal_name=f"user{number}@contoso.example", **more)
        for number, name, more in made
    ]
    flags: dict[str, Any] = {"mail_enabled": False, "security_enabled": True}
    groups = [
        Group(id=group_id(1), display_name="Everyone", **flags),
        Group(id=group_id(2), display_name="Reception", group_types=("Unified",), **flags),
        Group(id=group_id(3), display_name="Board", visibility="HiddenMembership", **flags),
        Group(id=group_id(4), display_name="Empty", **flags),
    ]
    return Tenant(
        users=tuple(people),
        groups=tuple(groups),
        devices=(sample.Device(id=sample.device_id(1), kind="device", display_name="LAPTOP-1"),),
        members={
            group_id(1): (user_id(1), group_id(2), sample.device_id(1)),
            group_id(2): (user_id(2), user_id(6), group_id(1)),
            group_id(3): (user_id(3),),
        },
        owners={group_id(2): (user_id(1),)},
        deleted=frozenset({user_id(6)}),
    )


class Answer:
    """What came back, read to the end."""

    def __init__(self, response: aiohttp.ClientResponse, text: str, json: Any) -> None:
        self.status = response.status
        self.headers = response.headers
        self.text = text
        self.json = json

    @property
    def code(self) -> Any:
        return self.json["error"]["code"]


class Client:
    """Requests to one emulator, with an access token of the sample app unless told otherwise."""

    def __init__(self, session: aiohttp.ClientSession, emulator: MicrosoftEmulator) -> None:
        self._session = session
        self.emulator = emulator
        self.token: str | None = emulator.token_for(*sample.ROLES)

    async def send(self, method: str, path: str, **options: Any) -> Answer:
        headers = dict(options.pop("headers", {}))
        if self.token is not None and "Authorization" not in headers:
            headers["Authorization"] = f"Bearer {self.token}"
        url = path if path.startswith("https://") else self.emulator.url + path
        async with self._session.request(method, url, headers=headers, **options) as response:
            text = await response.text()
            is_json = response.content_type.startswith("application/json") and bool(text)
            return Answer(response, text, await response.json() if is_json else None)

    async def graph(self, path: str, **headers: str) -> Answer:
        path = path if path.startswith("https://") else f"/v1.0/{path}"
        return await self.send("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    async def control(self, method: str, path: str, body: Any = None) -> Answer:
        return await self.send(method, f"/_control/{path}", json=body)

    async def round(self, link: str, **headers: str) -> tuple[list[dict[str, Any]], str]:
        """Follow a delta round to its end: all entries and the deltaLink."""
        entries: list[dict[str, Any]] = []
        while True:
            answer = await self.graph(link, **headers)
            assert answer.status == 200, answer.text
            assert ("@odata.nextLink" in answer.json) != ("@odata.deltaLink" in answer.json)
            entries += answer.json["value"]
            if "@odata.deltaLink" in answer.json:
                return entries, answer.json["@odata.deltaLink"]
            link = answer.json["@odata.nextLink"]
