"""The bridge as a script sees it: its JSON API over HTTP, and the emulators' control routes."""

import asyncio
import io
import ssl
from collections.abc import Callable
from typing import Any, Self

import aiohttp
import msgspec

from local.cloud import Cloud, sample_secrets
from local.sample import IDENTITY_HEADER

PATIENCE_SECONDS = 60.0


class Client:
    """Calls the Functions host with the function key unless told otherwise."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        context = ssl.create_default_context(cafile=cloud.ca_file)
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context, force_close=True))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        await asyncio.sleep(0.02)  # aborted TLS connections are taken down by the loop's next turns

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
        key: str | None = None,
        raw: bytes | None = None,
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, decoded body and headers (lower-case names) of an answer."""
        sent = {"x-functions-key": self.cloud.host.function_key if key is None else key, **(headers or {})}
        if body is not None or raw is not None:
            sent.setdefault("Content-Type", "application/json")
        content = raw if raw is not None else None if body is None else msgspec.json.encode(body)
        data = None if content is None else io.BytesIO(content)  # aiohttp warns of large bodies that are bytes
        url = f"{self.cloud.host.url}{path}"
        async with self._session.request(method, url, data=data, headers=sent) as response:
            received = await response.read()
            found = {name.lower(): value for name, value in response.headers.items()}
            decoded = msgspec.json.decode(received) if "json" in found.get("content-type", "") else received
            return response.status, decoded, found

    async def get(self, path: str) -> Any:
        """The body of a successful GET."""
        status, body, _ = await self.call("GET", path)
        assert status == 200, body
        return body

    async def control(self, base: str, method: str, path: str, body: Any = None) -> Any:
        """Ask an emulator's control API."""
        async with self._session.request(method, f"{base}/_control/{path}", json=body) as response:
            content = await response.read()
            assert response.status < 300, content
            return msgspec.json.decode(content) if content else None

    async def pbx(self, method: str, path: str, body: Any = None) -> Any:
        return await self.control(self.cloud.pbx_url, method, path, body)

    async def microsoft(self, method: str, path: str, body: Any = None) -> Any:
        return await self.control(self.cloud.microsoft_url, method, path, body)

    async def secrets(self, **others: str) -> None:
        """Store the sample's secrets, or ``others`` by name (with ``_`` for ``-``)."""
        values = sample_secrets() | {name.replace("_", "-"): value for name, value in others.items()}
        for name, value in values.items():
            status, body, _ = await self.call("PUT", f"/api/secrets/{name}", {"value": value})
            assert status == 200, body

    async def store_directly(self, secrets: dict[str, str]) -> None:
        """Put secrets into the Key Vault past the bridge, as an administrator may."""
        vault = self.cloud.microsoft_url
        identity = {"api-version": "2019-08-01", "resource": "https://vault.azure.net"}
        headers = {"X-IDENTITY-HEADER": IDENTITY_HEADER}
        async with self._session.get(f"{vault}/msi/token", params=identity, headers=headers) as response:
            token = (await response.json())["access_token"]
        bearer = {"Authorization": f"Bearer {token}"}
        for name, value in secrets.items():
            url = f"{vault}/secrets/{name}?api-version=7.4"
            async with self._session.put(url, json={"value": value}, headers=bearer) as response:
                assert response.status == 200, await response.text()

    async def configure(self, change: Callable[[Any], None]) -> Any:
        """Change the settings as the console would: with the ETag that was read."""
        _, document, headers = await self.call("GET", "/api/settings")
        document["pbx"]["max_writes_per_second"] = 500
        change(document)
        status, saved, _ = await self.call("PUT", "/api/settings", document, headers={"If-Match": headers["etag"]})
        assert status == 200, saved
        return saved

    async def enable_users(self, **rules: Any) -> None:
        await self.configure(lambda document: document["users"].update({"enabled": True, **rules}))

    async def sync(self, **body: Any) -> Any:
        """Ask for a run and wait for its end."""
        status, answer, headers = await self.call("POST", "/api/sync", body)
        assert status == 202, answer
        return await self.finished(headers["location"])

    async def finished(self, path: str) -> Any:
        async def run() -> Any:
            found = await self.get(path)
            return found if found["status"] not in {"queued", "running"} else None

        return await until(run)

    async def newest_run(self) -> Any:
        """The newest run when it is finished."""

        async def run() -> Any:
            runs = (await self.get("/api/runs?top=1"))["value"]
            return runs[0] if runs and runs[0]["status"] not in {"queued", "running"} else None

        return await until(run)


async def until(probe: Callable[[], Any]) -> Any:
    """What ``probe`` answers as soon as it answers something."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (found := await probe()) is None:  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(0.05)
        return found
