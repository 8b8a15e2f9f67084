"""How fast change notifications are answered: POSTs a second and latencies through the local Functions host.

``python -m benchmarks.notifications [--seconds N]``. Graph wants an answer within 3 s; the design wants 1 s for 99 of
100. Everything is real but the sender: the host, the app, Azurite. They and the load share the machine's cores, and
Azurite is the slowest of them.
"""

import argparse
import asyncio
import datetime
import multiprocessing
import time
import uuid
from dataclasses import dataclass

import msgspec

from local.azurite import Azurite
from local.child import ROOT
from local.host.process import HostProcess
from store.changes import ChangeStore, Fired
from store.environment import Environment, StorageAccount
from store.subscriptions import Subscription, SubscriptionStore
from store.tables import Tables, open_tables
from sync.connection import Connection

LIMIT_MS = 1000.0
WARM_UP = 0.5
"""Seconds of requests that are not counted."""
BODIES = 40
TENANT = "11111111-1111-4111-8111-111111111111"
RECORD = Subscription(
    resource="users", state="live", id="cccc0001-0000-4000-8000-000000000001", client_state="s" * 43, tenant_id=TENANT
)


@dataclass(frozen=True, slots=True)
class Result:
    """One measurement; latencies in milliseconds."""

    items: int
    connections: int
    posts_per_second: float
    p50_ms: float
    p99_ms: float


class _Client(asyncio.Protocol):
    """One keep-alive connection that sends the next POST as soon as an answer has come."""

    def __init__(self, requests: list[bytes], times: list[tuple[float, float]], end: float) -> None:
        self._requests = requests
        self._times = times
        self._end = end
        self._count = 0
        self._sent = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._next()

    def _next(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._requests[self._count % len(self._requests)])
        self._count += 1

    def data_received(self, data: bytes) -> None:
        # The answers have no body: each comes in one piece.
        if not data.startswith(b"HTTP/1.1 202"):
            self.done.set_exception(AssertionError(data[:200]))
            self._transport.close()
            return
        now = time.perf_counter()
        self._times.append((now, now - self._sent))
        if now < self._end:
            self._next()
        else:
            self._transport.close()
            self.done.set_result(None)


def _request(items: int) -> bytes:
    """A POST with so many notifications, each of another user, as Graph sends it."""
    ids = [str(uuid.uuid4()) for _ in range(items)]
    value = [
        {
            "subscriptionId": RECORD.id,
            "subscriptionExpirationDateTime": "2026-03-30T08:00:00+00:00",
            "clientState": RECORD.client_state,
            "changeType": "updated",
            "tenantId": TENANT,
            "resource": f"Users/{one}",
            "resourceData": {
                "@odata.type": "#Microsoft.Graph.User",
                "@odata.id": f"Users/{one}",
                "id": one,
                "organizationId": TENANT,
                "sequenceNumber": 639081000000000001,
            },
        }
        for one in ids
    ]
    body = msgspec.json.encode({"value": value})
    head = f"Host: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return f"POST /notifications/directory HTTP/1.1\r\n{head}".encode() + body


async def _load(port: int, items: int, connections: int, seconds: float) -> list[float]:
    requests = [_request(items) for _ in range(BODIES)]
    times: list[tuple[float, float]] = []
    begin, loop = time.perf_counter(), asyncio.get_running_loop()
    end = begin + WARM_UP + seconds
    clients = [
        (await loop.create_connection(lambda: _Client(requests, times, end), "127.0.0.1", port))[1]
        for _ in range(connections)
    ]
    await asyncio.gather(*(one.done for one in clients))
    return [latency for at, latency in times if at >= begin + WARM_UP]


def _load_process(port: int, items: int, connections: int, seconds: float) -> list[float]:
    return sorted(asyncio.run(_load(port, items, connections, seconds)))


async def _measure(port: int, items: int, connections: int, seconds: float) -> Result:
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        latencies = await asyncio.to_thread(pool.apply, _load_process, (port, items, connections, seconds))
    p50, p99 = (latencies[len(latencies) * share // 100] * 1000 for share in (50, 99))
    return Result(items, connections, round(len(latencies) / seconds, 1), round(p50, 2), round(p99, 2))


async def _prepare(tables: Tables, environment: Environment) -> None:
    """Users on, one subscription, and a run asked for already: what a burst of changes meets."""
    connection = Connection("default", environment, tables)
    base = await connection.settings.load()
    users = msgspec.structs.replace(base.settings.users, enabled=True)
    await connection.settings.save(msgspec.structs.replace(base.settings, users=users), base)
    await SubscriptionStore(tables, "default").save(RECORD)
    await ChangeStore(tables, "default").mark_fired(Fired(datetime.datetime.now(datetime.UTC).isoformat()))


async def run(seconds: float) -> list[Result]:
    """Measure one item and a hundred, over one connection and over eight."""
    async with Azurite() as azurite:
        environment = Environment(storage=StorageAccount(azurite.connection_string))
        tables = open_tables(environment)
        try:
            await _prepare(tables, environment)
        finally:
            await tables.close()
        async with HostProcess(ROOT, {"AzureWebJobsStorage": azurite.connection_string}) as host:
            port = int(host.url.rpartition(":")[2])
            results = [
                await _measure(port, items, connections, seconds) for items in (1, 100) for connections in (1, 8)
            ]
        await _check(environment, int(sum(one.posts_per_second for one in results) * seconds))
        return results


async def _check(environment: Environment, posts: int) -> None:
    """An answer is worth nothing unless the changes are on record."""
    tables = open_tables(environment)
    try:
        recorded = len((await ChangeStore(tables, "default").batch()).rows)
    finally:
        await tables.close()
    assert recorded >= posts - 4, f"{posts} POSTs were answered, {recorded} are on record"


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure how fast change notifications are answered.")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each of the four measurements")
    options = parser.parse_args(arguments)
    results = asyncio.run(run(options.seconds))
    print("Change notifications through the Functions host, each POST recorded in Azurite")
    print(f"{'items a POST':<14}{'connections':>12}{'POSTs/s':>10}{'items/s':>10}{'p50 ms':>9}{'p99 ms':>9}")
    for one in results:
        rate = one.posts_per_second
        print(
            f"{one.items:<14}{one.connections:>12}{rate:>10.0f}{rate * one.items:>10.0f}{one.p50_ms:>9.1f}"
            f"{one.p99_ms:>9.1f}"
        )
    worst = max(one.p99_ms for one in results)
    print(f"worst p99 {worst:.1f} ms (limit {LIMIT_MS:.0f} ms)")


if __name__ == "__main__":
    main()
