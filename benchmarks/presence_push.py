"""From Graph's POST to the PBX: latencies at steady rates, and a burst of everybody at once."""

import asyncio
import bisect
import collections
import datetime
import ssl
import statistics
import time
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import aiohttp
import msgspec

from benchmarks.presence_place import PACE, UPDATES, Emulators, Place, Worker, until

POLL_SECONDS = 3_600
"""Nobody is polled while notifications are measured, but for the sweep of everybody each 10 minutes."""
SHOWN = {"Busy": "away", "DoNotDisturb": "do_not_disturb"}
"""What extensions show for what Teams shows, as delivered: everybody changes from one to the other."""
POSTS = "notifications/deliveries?kind=notification&url=*/notifications/presence"
WARM = 20
AT_ONCE = 16
GRACE = 10.0
"""Seconds for which writes may come after the last change of a measurement."""


class Rate(msgspec.Struct, frozen=True):
    """Latencies at one rate; milliseconds."""

    per_second: float
    changes: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    unwritten: int
    acknowledged_p50_ms: float
    acknowledged_p99_ms: float


class Burst(msgspec.Struct, frozen=True):
    """Everybody at once."""

    changes: int
    posts: int
    seconds: float
    """From the first POST to the last write."""
    writes: int
    most_writes: int
    """Of one user."""
    other_requests: int
    acknowledged_p99_ms: float
    rank_correlation: float
    """Of the order of the writes with the reverse order of the changes."""
    newer_waiting: float
    """Of those who waited while somebody was written, the share that had changed later: 0 is newest first, 0.5 any."""
    bare_writes: int
    bare_seconds: float


class Pushed(msgspec.Struct, frozen=True):
    """What one deployment measured."""

    announced: int
    rates: list[Rate]
    burst: Burst


class Post(msgspec.Struct, frozen=True):
    """A POST of Graph: when it began and was answered, in seconds since 1970, and about whom it is."""

    began: float
    answered: float
    users: list[str]


class Written(msgspec.Struct, frozen=True):
    """A write at the PBX: when it came in and was done, in seconds since 1970, and to which extension."""

    began: float
    done: float
    pbx_id: int


async def measure(place: Place, users: int, accounts: int, rates: Sequence[float], seconds: float) -> Pushed:
    """Measure the deployment whose environment this process has."""
    from sync.service import Bridge

    bridge = Bridge()
    connection = bridge.connection()
    async with Emulators(place) as emulators:
        staff = await emulators.staff(connection, users)
        await emulators.sign_in(connection, [one.object_id for one in staff[:accounts]])
        await emulators.switch_on(connection, POLL_SECONDS)
        bench = _Bench(emulators, connection, staff)
        announced = await bench.announced(accounts)
        await bench.warm_up(announced)
        measured = [await bench.rate(announced, rate, seconds) for rate in rates]
        burst = await bench.burst()
    await bridge.close()
    return Pushed(len(announced), measured, burst)


class _Bench:
    """Changes presence, and finds the writes that follow."""

    def __init__(self, emulators: Emulators, connection: Any, staff: Sequence[Worker]) -> None:
        self._emulators = emulators
        self._connection = connection
        self._staff = staff
        self._status = {one.pbx_id: one.status for one in staff}
        self._changed = dict.fromkeys(self._status, 0)
        self._post = 0
        self._write = 0

    async def announced(self, accounts: int) -> list[Worker]:
        """Wait until changes are announced in the name of every account and everybody is up to date."""

        async def ids() -> set[str]:
            found = [one for one in await self._emulators.microsoft("GET", "subscriptions") if one["target"]["ids"]]
            return set(chain.from_iterable(one["target"]["ids"] for one in found)) if len(found) >= accounts else set()

        object_ids = await until(ids)
        await self._quiet()
        return [one for one in self._staff if one.object_id in object_ids]

    async def warm_up(self, announced: Sequence[Worker]) -> None:
        """Until the process has at hand what it needs to read notifications, Graph is asked about them."""

        async def is_warm() -> bool:
            asked = await self._asked()
            for one in announced[:WARM]:
                await self._change(one)
            await self._quiet()
            return await self._asked() == asked

        await until(is_warm)

    async def rate(self, announced: Sequence[Worker], per_second: float, seconds: float) -> Rate:
        """Change one user after the other at this rate."""
        changes = min(round(per_second * seconds), len(announced))
        await self._skip()
        changed = sorted(announced, key=lambda one: self._changed[one.pbx_id])[:changes]
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number, one in enumerate(changed):
                await asyncio.sleep(max(0.0, began + number / per_second - time.perf_counter()))
                group.create_task(self._change(one))
        await self._settled(changes)
        return _rate(per_second, changed, await self._posts(), await self._writes())

    async def burst(self) -> Burst:
        """Hold all notifications back until everybody has changed, and let them go."""
        await self._emulators.microsoft("PUT", "notifications", {"hold": True})
        for start in range(0, len(self._staff), AT_ONCE):
            await asyncio.gather(*map(self._change, self._staff[start : start + AT_ONCE]))
        await self._skip()
        others = await self._emulators.pbx("GET", "requests")
        await self._emulators.microsoft("PUT", "notifications", {"hold": False})
        await self._settled(len(self._staff))
        posts, writes = await self._posts(), await self._writes()
        requests = await self._emulators.pbx("GET", f"requests?since={others[-1]['number']}")
        return _burst(posts, writes, self._staff, len(requests), await self._bare(requests))

    async def _change(self, worker: Worker) -> None:
        name = next(name for name, status in SHOWN.items() if status != self._status[worker.pbx_id])
        self._status[worker.pbx_id] = SHOWN[name]
        self._changed[worker.pbx_id] += 1
        await self._emulators.show(worker, name)

    async def _settled(self, changes: int) -> None:
        """Wait until so many writes were made, or none has come for a while."""
        last, seen = time.monotonic(), 0
        while seen < changes and time.monotonic() < last + GRACE:
            await asyncio.sleep(0.5)
            found = len(await self._emulators.pbx("GET", f"{UPDATES}&since={self._write}"))
            last, seen = (last, seen) if found == seen else (time.monotonic(), found)
        await self._emulators.microsoft("POST", "notifications/settle")
        await self._quiet()

    async def _quiet(self) -> None:
        from store.presence import PresenceStore

        async def is_quiet() -> bool:
            await self._emulators.microsoft("POST", "notifications/settle")
            return not await PresenceStore(self._connection.tables, self._connection.id).pending()

        await until(is_quiet, 0.5)

    async def _asked(self) -> int:
        return len(await self._emulators.microsoft("GET", "requests?path=*/getPresencesByUserId"))

    async def _skip(self) -> None:
        """What was recorded so far is not counted."""
        for one in await self._emulators.microsoft("GET", f"{POSTS}&since={self._post}"):
            self._post = one["number"]
        for one in await self._emulators.pbx("GET", f"{UPDATES}&since={self._write}"):
            self._write = one["number"]

    async def _posts(self) -> list[Post]:
        found = await self._emulators.microsoft("GET", f"{POSTS}&since={self._post}")
        return [_post(one) for one in found if one["attempts"]]

    async def _writes(self) -> list[Written]:
        return [_written(one) for one in await self._emulators.pbx("GET", f"{UPDATES}&since={self._write}")]

    async def _bare(self, requests: Sequence[Any]) -> float:
        """The seconds that the same writes take with the same concurrency, a token of its own, and nothing else."""
        from local.cloud import PBX_CLIENT_ID, PBX_CLIENT_SECRET
        from pbx.pacing import concurrent_writes

        base, limit = f"{self._emulators.place.pbx_url}/openapi/v1.0", asyncio.Semaphore(concurrent_writes(PACE))
        connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(), force_close=True, limit=16)
        async with aiohttp.ClientSession(connector=connector, headers={"User-Agent": "bare"}) as session:
            credentials = {"username": PBX_CLIENT_ID, "password": PBX_CLIENT_SECRET}
            async with session.post(f"{base}/get_token", json=credentials) as answer:
                token = (await answer.json())["access_token"]

            async def send(request: Any) -> None:
                query, headers = {"access_token": token}, {"Content-Type": "application/json"}
                async with (
                    limit,
                    session.post(
                        f"{base}/extension/update", params=query, data=request["body"], headers=headers
                    ) as one,
                ):
                    await one.read()

            began = time.perf_counter()
            await asyncio.gather(*(send(one) for one in requests if one["path"].endswith("/extension/update")))
            return time.perf_counter() - began


def _post(delivery: Any) -> Post:
    attempt = delivery["attempts"][0]
    began = datetime.datetime.fromisoformat(attempt["at"]).timestamp()
    users = [item["resourceData"]["id"] for item in delivery["body"]["value"]]
    return Post(began, began + attempt["seconds"], users)


def _written(request: Any) -> Written:
    began = datetime.datetime.fromisoformat(request["at"]).timestamp()
    return Written(began, began + request["seconds"], msgspec.json.decode(request["body"])["id"])


def _rate(per_second: float, changed: Sequence[Worker], posts: Sequence[Post], writes: Sequence[Written]) -> Rate:
    told = {user: post.began for post in posts for user in post.users}
    done = {write.pbx_id: write.done for write in writes}
    taken = sorted(
        done[one.pbx_id] - told[one.object_id] for one in changed if one.pbx_id in done and one.object_id in told
    )
    answered = sorted(post.answered - post.began for post in posts)
    return Rate(
        per_second=per_second,
        changes=len(changed),
        p50_ms=_at(taken, 50),
        p95_ms=_at(taken, 95),
        p99_ms=_at(taken, 99),
        unwritten=len(changed) - len(taken),
        acknowledged_p50_ms=_at(answered, 50),
        acknowledged_p99_ms=_at(answered, 99),
    )


def _burst(
    posts: Sequence[Post], writes: Sequence[Written], staff: Sequence[Worker], requests: int, bare: float
) -> Burst:
    counted = collections.Counter(write.pbx_id for write in writes)
    return Burst(
        changes=len(staff),
        posts=len(posts),
        seconds=max(write.done for write in writes) - min(post.began for post in posts),
        writes=len(writes),
        most_writes=max(counted.values()),
        other_requests=requests - len(writes),
        acknowledged_p99_ms=_at(sorted(post.answered - post.began for post in posts), 99),
        rank_correlation=_rank_correlation([one.pbx_id for one in staff], writes),
        newer_waiting=_newer(posts, writes, staff),
        bare_writes=len(writes),
        bare_seconds=bare,
    )


def _rank_correlation(changed: Sequence[int], writes: Iterable[Written]) -> float:
    """Spearman's, of the order of the first writes with the reverse order of the changes."""
    written = {write.pbx_id: None for write in sorted(writes, key=lambda one: one.began)}
    rank = {pbx_id: number for number, pbx_id in enumerate(one for one in reversed(changed) if one in written)}
    count = len(rank)
    apart = sum((rank[pbx_id] - number) ** 2 for number, pbx_id in enumerate(one for one in written if one in rank))
    return 1 - 6 * apart / (count * (count**2 - 1))


def _newer(posts: Iterable[Post], writes: Sequence[Written], staff: Sequence[Worker]) -> float:
    """Of those who waited when a write began, and whose POSTs had been answered, the share that had changed later than
    who was written; the mean of all writes."""
    number_of = {one.pbx_id: number for number, one in enumerate(staff)}
    order = {one.object_id: number for number, one in enumerate(staff)}
    events: list[tuple[float, bool, int]] = [(write.began, True, number_of[write.pbx_id]) for write in writes]
    events += [(post.answered, False, order[user]) for post in posts for user in post.users]
    waiting: list[int] = []
    written: set[int] = set()
    shares: list[float] = []
    for _, is_write, number in sorted(events):
        place = bisect.bisect_left(waiting, number)
        if not is_write:
            if number not in written:
                waiting.insert(place, number)
            continue
        written.add(number)
        if place < len(waiting) and waiting[place] == number:
            waiting.pop(place)
        if waiting:
            shares.append((len(waiting) - place) / len(waiting))
    return statistics.fmean(shares) if shares else 0.0


def _at(ordered: Sequence[float], per_cent: int) -> float:
    """A percentile in milliseconds."""
    assert ordered, "nothing was announced or written"
    return ordered[min(len(ordered) - 1, len(ordered) * per_cent // 100)] * 1000
