"""Runs of the engine: a first run beside the bare cost of the same PBX requests, and incremental runs by tenant size.

The emulators and Azurite run in processes of their own; the engine is measured in its own process.
"""

import argparse
import asyncio
import contextlib
import datetime
import ssl
import sys
import time
import uuid
from collections.abc import Sequence
from typing import Any

import aiohttp
import msgspec

from benchmarks.memory import peak_mb
from local.cloud import Cloud, sample_secrets

PACE = 1000
"""Writes a second: the pacing lifted, with 8 writes under way at once."""
CHANGED = 10
ANSWER_MS = 30.0
"""A quick appliance's time for a write, as an assumption: no vendor gives one."""


class Figures(msgspec.Struct, frozen=True):
    """What one engine process measured."""

    first_seconds: float
    first_counts: dict[str, int]
    first_requests: dict[str, int]
    first_storage: int
    bare_seconds: float
    bare_requests: int
    incremental_seconds: float
    incremental_requests: dict[str, int]
    incremental_storage: int
    peak_mb: float


class Place(msgspec.Struct, frozen=True):
    """Where the emulators are."""

    microsoft_url: str
    pbx_url: str


async def measure(cloud: Place, latency_ms: float) -> Figures:
    """Run the engine in this process, whose environment is that of a deployment."""
    from sync.service import Bridge, execute, request_run

    bridge = Bridge()
    connection = bridge.connection(uuid.uuid4().hex[:12])
    now = _clock()
    for name, value in sample_secrets().items():
        await connection.secrets.write(name, value)  # type: ignore[arg-type]
    await _enable(connection)
    async with Control() as control:
        await control.put(cloud.pbx_url, "firmware", {"write_latency_ms": latency_ms})

    run, message = await request_run(connection, now(), started_by="benchmark")
    storage, started = connection.tables.traffic.requests, time.perf_counter()
    await execute(connection, message.run, now)
    first_seconds, first_storage = time.perf_counter() - started, connection.tables.traffic.requests - storage
    first = await connection.runs.get(run.id)
    peak = peak_mb()

    async with Control() as control:
        recorded = await control.get(cloud.pbx_url, "requests?path=/openapi/v1.0/extension/*")
        links = [link async for link in connection.links("users").all()][:CHANGED]
        for number, link in enumerate(links):
            await control.patch(cloud.microsoft_url, f"users/{link.object_id}", {"jobTitle": f"Changed {number}"})
        run, message = await request_run(connection, now(), started_by="benchmark", mode="incremental")
        storage, started = connection.tables.traffic.requests, time.perf_counter()
        await execute(connection, message.run, now)
        incremental_seconds = time.perf_counter() - started
        incremental_storage = connection.tables.traffic.requests - storage
        second = await connection.runs.get(run.id)
        await control.post(cloud.pbx_url, "reset")
        await control.put(cloud.pbx_url, "firmware", {"write_latency_ms": latency_ms})
        bare_seconds = await _bare(cloud, recorded)
    await bridge.close()
    assert first is not None
    assert second is not None
    return Figures(
        first_seconds=first_seconds,
        first_counts=first.counts,
        first_requests=first.requests,
        first_storage=first_storage,
        bare_seconds=bare_seconds,
        bare_requests=len(recorded),
        incremental_seconds=incremental_seconds,
        incremental_requests=second.requests,
        incremental_storage=incremental_storage,
        peak_mb=peak,
    )


async def _enable(connection: Any) -> None:
    from store.document import Settings

    base = await connection.settings.load()
    document = msgspec.to_builtins(base.settings)
    document["pbx"]["max_writes_per_second"] = PACE
    document["users"]["enabled"] = True
    await connection.settings.save(msgspec.convert(document, Settings), base)


async def _bare(cloud: Place, recorded: list[Any]) -> float:
    """Send the PBX the very same requests, with the same concurrency and nothing else."""
    from local.cloud import PBX_CLIENT_ID, PBX_CLIENT_SECRET
    from pbx.pacing import concurrent_writes

    limit = asyncio.Semaphore(concurrent_writes(PACE))
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(), force_close=True, limit=16)
    async with aiohttp.ClientSession(connector=connector, headers={"User-Agent": "bare"}) as session:
        base = f"{cloud.pbx_url}/openapi/v1.0"
        credentials = {"username": PBX_CLIENT_ID, "password": PBX_CLIENT_SECRET}
        async with session.post(f"{base}/get_token", json=credentials) as response:
            token = (await response.json())["access_token"]

        async def send(request: Any) -> None:
            query = {**request["query"], "access_token": token}
            data = request["body"].encode() or None
            headers = {"Content-Type": "application/json"} if data else {}
            async with (
                limit,
                session.request(
                    request["method"], f"{cloud.pbx_url}{request['path']}", params=query, data=data, headers=headers
                ) as response,
            ):
                await response.read()

        started = time.perf_counter()
        await asyncio.gather(*map(send, recorded))
        return time.perf_counter() - started


class Control:
    """The emulators' control routes."""

    def __init__(self) -> None:
        connector = aiohttp.TCPConnector(ssl=ssl.create_default_context())
        self._session = aiohttp.ClientSession(connector=connector)

    async def __aenter__(self) -> "Control":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def get(self, base: str, path: str) -> Any:
        async with self._session.get(f"{base}/_control/{path}") as response:
            return msgspec.json.decode(await response.read())

    async def patch(self, base: str, path: str, body: Any) -> None:
        async with self._session.patch(f"{base}/_control/{path}", json=body) as response:
            assert response.status == 200, await response.text()

    async def put(self, base: str, path: str, body: Any) -> None:
        async with self._session.put(f"{base}/_control/{path}", json=body) as response:
            assert response.status == 200, await response.text()

    async def post(self, base: str, path: str) -> None:
        async with self._session.post(f"{base}/_control/{path}") as response:
            assert response.status == 204, await response.text()


def _clock() -> Any:
    return lambda: datetime.datetime.now(datetime.UTC)


async def _in_a_process(users: int, latency_ms: float) -> Figures:
    """Start the cloud without Functions host, and let a cold process measure."""
    generated = ("--users", str(users), "--groups", "20")
    room = ("--capacity", str(users + 100))
    async with Cloud(with_host=False, microsoft_options=generated, pbx_options=room) as cloud:
        arguments = ("--measure", str(latency_ms), cloud.microsoft_url, cloud.pbx_url)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "benchmarks.sync_runs", *arguments),
            env=cloud.environment,
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
    return msgspec.json.decode(output, type=Figures)


def main() -> None:
    """Print runs over 5,000 and 10,000 users, beside a PBX that answers at once and one that takes its time."""
    asyncio.run(_report([(5_000, 0), (5_000, ANSWER_MS), (10_000, 0)]))


async def _report(cases: Sequence[tuple[int, float]]) -> None:
    print("Runs (pacing lifted; storage counts requests, a transaction of 100 rows is one)")
    for users, latency_ms in cases:
        figures = await _in_a_process(users, latency_ms)
        created = figures.first_counts.get("create.done", 0)
        print(
            f"  first run, {users} users, a PBX that needs {latency_ms:.0f} ms for a write: "
            f"{figures.first_seconds:.1f} s, {created} created; bare loop of the same "
            f"{figures.bare_requests} requests {figures.bare_seconds:.1f} s, "
            f"ratio {figures.first_seconds / figures.bare_seconds:.2f} (limit 1.5)"
        )
        print(
            f"    {figures.first_requests['pbx_writes'] / max(1, created):.2f} PBX writes a user, "
            f"{1000 * figures.first_storage / max(1, created):.0f} storage requests per 1,000 users (limit 60), "
            f"peak {figures.peak_mb:.0f} MB (limit 250 at 10,000)"
        )
        print(
            f"    incremental, {CHANGED} changed: {figures.incremental_seconds * 1000:.0f} ms, "
            f"{figures.incremental_requests['graph']} Graph requests (limit 3), "
            f"{figures.incremental_requests['pbx_writes']} PBX writes, "
            f"{figures.incremental_storage} storage requests (limit 15)"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--measure", nargs=3)
    parser.add_argument("--users", type=int, nargs="*")
    parser.add_argument("--latency", type=float, default=0, help="milliseconds that the PBX needs for a write")
    options = parser.parse_args()
    if options.measure:
        latency, microsoft_url, pbx_url = options.measure
        with contextlib.redirect_stdout(sys.stderr):
            measured = asyncio.run(measure(Place(microsoft_url, pbx_url), float(latency)))
        sys.stdout.buffer.write(msgspec.json.encode(measured))
    elif options.users:
        asyncio.run(_report([(users, options.latency) for users in options.users]))
    else:
        main()
