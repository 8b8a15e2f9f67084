"""A small client of the emulator that looks at every answer it gets."""

import ssl
from typing import Any, Self

import aiohttp

from local.pbx.emulator import PbxEmulator
from tests.pbx_emulator.contract import SPEC, load_contract

CLIENT_ID, CLIENT_SECRET = "client-id", "client-secret"
AGENT = {"User-Agent": "OpenAPI"}
API = "/openapi/v1.0"
USER_PASSWORD, REG_PASSWORD = "Quiet7Harbor2Lantern", "Maple5Window8Thunder"


def new_extension(number: str = "1000", **members: Any) -> dict[str, Any]:
    """A body for extension/create that is accepted, with ``members`` replaced."""
    body = {
        "type": "SIP",
        "number": number,
        "user_password": USER_PASSWORD,
        "reg_name": f"sip{number}",
        "reg_password": REG_PASSWORD,
        "concurrent_registrations": 1,
        "presence_status": "available",
        **members,
    }
    return {name: value for name, value in body.items() if value is not None}


class Api:
    """Calls below ``/openapi/v1.0`` with a token, and the control API.

    Every answer has to be HTTP 200 on a connection that closes, and to fit the document where that is at hand, unless
    ``as_documented`` is switched off.
    """

    def __init__(self, emulator: PbxEmulator, trust: ssl.SSLContext) -> None:
        self.emulator = emulator
        self.token: str | None = None
        self.as_documented = True
        self._http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def login(self) -> Self:
        answer = await self.get_token()
        assert answer["errcode"] == 0, answer
        self.token = answer["access_token"]
        return self

    async def get_token(self, client_id: str = CLIENT_ID, client_secret: str = CLIENT_SECRET) -> dict[str, Any]:
        return await self.post("/get_token", {"username": client_id, "password": client_secret}, access_token=None)

    async def get(self, path: str, **query: Any) -> dict[str, Any]:
        return await self.call("GET", path, query)

    async def post(self, path: str, body: Any, **query: Any) -> dict[str, Any]:
        return await self.call("POST", path, query, json=body)

    async def call(
        self, method: str, path: str, query: dict[str, Any] | None = None, headers: Any = AGENT, **options: Any
    ) -> dict[str, Any]:
        given = {"access_token": self.token, **(query or {})}
        params = {name: str(value) for name, value in given.items() if value is not None}
        url = f"{self.emulator.url}{API}{path}"
        async with self._http.request(method, url, params=params, headers=headers, **options) as response:
            assert response.status == 200
            assert response.headers["Connection"] == "close"
            answer: dict[str, Any] = await response.json()
        if self.as_documented and SPEC.exists():
            assert load_contract(SPEC).answer_violations(method, f"{API}{path}", answer) == []
        return answer

    async def errcode(self, method: str, path: str, query: dict[str, Any] | None = None, **options: Any) -> int:
        code: int = (await self.call(method, path, query, **options))["errcode"]
        return code

    async def create(self, number: str = "1000", **members: Any) -> dict[str, Any]:
        return await self.post("/extension/create", new_extension(number, **members))

    async def create_group(self, name: str = "Sales", *ids: int, **members: Any) -> dict[str, Any]:
        """A group of the extensions with these ids."""
        named = {"member_select": "sel_specific", "members": [{"ext_id": number} for number in ids]}
        return await self.post("/extensiongroup/create", {"name": name, **named, **members})

    async def update_group(self, number: int, **members: Any) -> dict[str, Any]:
        return await self.post("/extensiongroup/update", {"id": number, **members})

    async def group(self, number: int) -> dict[str, Any]:
        data: dict[str, Any] = (await self.get("/extensiongroup/get", id=number))["data"]
        return data

    async def update(self, number: int, **members: Any) -> dict[str, Any]:
        return await self.post("/extension/update", {"id": number, **members})

    async def detail(self, number: int) -> dict[str, Any]:
        data: dict[str, Any] = (await self.get("/extension/get", id=number))["data"]
        return data

    async def control(self, method: str, path: str, body: Any = None) -> Any:
        """The answer of the control API, which has to be a success."""
        status, answer = await self.try_control(method, path, body)
        assert status < 300, answer
        return answer

    async def try_control(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        url = f"{self.emulator.url}/_control{path}"
        async with self._http.request(method, url, json=body) as response:
            return response.status, await response.json() if response.status != 204 else None

    async def firmware(self, **switches: Any) -> None:
        await self.control("PUT", "/firmware", switches)

    async def violations(self) -> list[tuple[str, str]]:
        """Kind and name of each."""
        return [(found["kind"], found["name"]) for found in await self.control("GET", "/violations")]

    async def fault(self, kind: str, path: str = "*", **members: Any) -> None:
        await self.control("POST", "/faults", {"kind": kind, "path": f"{API}{path}", **members})


def names(answer: dict[str, Any]) -> list[str]:
    """The parameters that an answer complains about."""
    return [entry["name"] for entry in answer["invalid_param_list"]]
