"""The cloud as tests use it: one time everywhere, one address for the app."""

import ssl
from typing import Any

import aiohttp

from local.cloud import Cloud

HOUR = 3600.0


async def test_all_clocks_move_together_and_a_restarted_host_keeps_time_and_address() -> None:
    async with Cloud() as cloud:
        assert cloud.environment["PUBLIC_BASE_URL"] == cloud.host.url.replace("127.0.0.1", "localhost")
        for _ in range(2):
            await cloud.advance(HOUR)
        assert await offsets(cloud) == [2 * HOUR] * 3
        url = cloud.host.url
        await cloud.restart_host(kill=True)
        assert cloud.host.url == url
        assert await offsets(cloud) == [2 * HOUR] * 3


async def offsets(cloud: Cloud) -> list[float]:
    """By how much the emulators and the Functions host are ahead, in seconds."""
    context = ssl.create_default_context(cafile=cloud.ca_file)
    emulators = [f"{url}/_control/clock" for url in (cloud.microsoft_url, cloud.pbx_url)]
    key = {"x-functions-key": cloud.host.master_key}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context, force_close=True)) as session:
        found: list[Any] = []
        for url in [*emulators, f"{cloud.host.url}/admin/host/clock"]:
            async with session.get(url, headers=key) as response:
                found.append((await response.json())["offset_seconds"])
    return found
