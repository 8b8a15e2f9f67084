"""How long a change takes from Entra to the PBX, at the tenth change of a batch: the whole running cloud.

``python -m benchmarks.changes [--rounds N]``. Counted is the time from the moment when the tenth change is made in the
emulator of Graph until the PBX has all ten; the queue of the local Functions host is part of it.
"""

import argparse
import asyncio
import ssl
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

from local.cloud import Cloud, sample_secrets

CHANGES = 10
PATIENCE = 60.0


class Bench:
    """A connected company, and what is asked of its parts."""

    def __init__(self, cloud: Cloud, session: aiohttp.ClientSession) -> None:
        self._cloud = cloud
        self._session = session
        self._key = {"x-functions-key": cloud.host.function_key}

    async def connect(self) -> list[Any]:
        """Sync everybody, wait for the subscriptions, and answer the links."""
        for name, value in sample_secrets().items():
            await self._api("PUT", f"secrets/{name}", {"value": value})
        document = await self._api("GET", "settings")
        document["users"]["enabled"] = True
        document["pbx"]["max_writes_per_second"] = 1000
        await self._api("PUT", "settings", document, {"If-Match": "*"})
        await until(self._is_synced)
        await self._cloud.advance(60)
        await until(lambda: self._control(self._cloud.microsoft_url, "GET", "subscriptions"))
        return list((await self._api("GET", "links?kind=users"))["value"])

    async def round(self, links: list[Any], name: str) -> float:
        """Change ten users; the seconds from the tenth change until the PBX has all of them."""
        for link in links:
            await self._control(self._cloud.microsoft_url, "PATCH", f"users/{link['object_id']}", {"givenName": name})
        started = time.perf_counter()
        numbers = {link["extension"] for link in links}

        async def are_there() -> bool:
            extensions = await self._control(self._cloud.pbx_url, "GET", "extensions")
            return all(one["first_name"] == name for one in extensions if one["number"] in numbers)

        await until(are_there)
        return time.perf_counter() - started

    async def quiet(self) -> None:
        """Wait until no run is under way, and let a minute pass."""
        await until(self._is_quiet)
        await self._cloud.advance(60)

    async def _is_synced(self) -> bool:
        return (await self._api("GET", "status"))["last_full_success"] is not None

    async def _is_quiet(self) -> bool:
        return (await self._api("GET", "runs?top=1"))["value"][0]["status"] not in {"queued", "running"}

    async def _api(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        url = f"{self._cloud.host.url}/api/{path}"
        async with self._session.request(method, url, json=body, headers={**self._key, **(headers or {})}) as response:
            assert response.status < 300, await response.text()
            return await response.json()

    async def _control(self, base: str, method: str, path: str, body: Any = None) -> Any:
        async with self._session.request(method, f"{base}/_control/{path}", json=body) as response:
            assert response.status < 300, await response.text()
            return await response.json(content_type=None)


async def until(probe: Callable[[], Awaitable[Any]]) -> None:
    """Wait for what happens in other processes."""
    async with asyncio.timeout(PATIENCE):
        while not await probe():  # noqa: ASYNC110 - it happens in other processes
            await asyncio.sleep(0.01)


async def run(rounds: int) -> list[float]:
    """The seconds of each round."""
    async with Cloud(microsoft_options=("--users", "200")) as cloud:
        connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=cloud.ca_file), force_close=True)
        async with aiohttp.ClientSession(connector=connector) as session:
            bench = Bench(cloud, session)
            links = [link for link in await bench.connect() if link["state"] == "linked"]
            seconds: list[float] = []
            for number in range(rounds):
                await bench.quiet()
                chosen = links[CHANGES * number : CHANGES * (number + 1)]
                seconds.append(await bench.round(chosen, f"Round {number}"))
            return seconds


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure how long a change takes from Entra to the PBX.")
    parser.add_argument("--rounds", type=int, default=8)
    options = parser.parse_args(arguments)
    seconds = asyncio.run(run(options.rounds))
    print("From the tenth change in Entra to the PBX having all ten, through the running cloud")
    print(f"  {len(seconds)} rounds: median {statistics.median(seconds):.2f} s, worst {max(seconds):.2f} s")


if __name__ == "__main__":
    main()
