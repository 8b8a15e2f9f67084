"""How fast extensions follow Teams, and what that costs: the whole running cloud.

``python -m benchmarks.presence [--users N] [--seconds N] [--rates 1,20,100] [--accounts N]``. The emulator of the PBX
waits 30 ms before it answers a request, reads and writes alike; nothing else is delayed. Everything else shares the
machine's cores with the load: Azurite, the Functions host, and the emulator of Graph, which encrypts each notification.

Counted are changes from the moment when Graph's emulator begins its POST until the PBX's emulator has done the write. A
burst is compared with a plain loop that makes the same writes with the same concurrency and nothing else.
"""

import argparse
import asyncio
import contextlib
import math
import sys
from collections.abc import Sequence

import msgspec

from benchmarks import presence_poll, presence_push
from benchmarks.presence_place import ANNOUNCED, ANSWER_MS, PACE, Place, options_for
from local.cloud import Cloud
from pbx.pacing import concurrent_writes

USERS = 5_000
RATES = (1.0, 20.0, 100.0)
SECONDS = 20.0
LIMIT = 1.3
ACKNOWLEDGED_MS = 1_000.0


class Job(msgspec.Struct, frozen=True):
    """What a process of its own measures."""

    place: Place
    users: int
    accounts: int
    rates: tuple[float, ...] = ()
    seconds: float = 0.0


async def _in_a_process[T](kind: type[T], name: str, cloud: Cloud, job: Job) -> T:
    """Have it measured by a process whose environment is that of the deployment."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "benchmarks.presence", "--measure", name, msgspec.json.encode(job).decode()),
        env=cloud.environment,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise SystemExit(f"measuring the {name} ended with {process.returncode}")
    return msgspec.json.decode(output, type=kind)


async def run(users: int, accounts: int, rates: Sequence[float], seconds: float) -> None:
    """Measure and print."""
    microsoft, pbx = options_for(users)
    async with Cloud(microsoft_options=microsoft, pbx_options=pbx) as cloud:
        place = Place(cloud.microsoft_url, cloud.pbx_url)
        job = Job(place, users, accounts, tuple(rates), seconds)
        _print_pushed(await _in_a_process(presence_push.Pushed, "push", cloud, job), job)
    async with Cloud(with_host=False, microsoft_options=microsoft, pbx_options=pbx) as cloud:
        job = Job(Place(cloud.microsoft_url, cloud.pbx_url), users, 0)
        _print_polled(await _in_a_process(presence_poll.Polled, "poll", cloud, job), users)


def _print_pushed(pushed: presence_push.Pushed, job: Job) -> None:
    print(
        f"Presence: {job.users} users, {pushed.announced} of them announced for {job.accounts} accounts; a PBX that "
        f"needs {ANSWER_MS:.0f} ms for each request, {PACE} writes/s allowed"
    )
    print("  from Graph's POST to the PBX having committed, and the acknowledgement of the POST, in ms")
    print(f"  {'changes/s':>11}{'changes':>9}{'p50':>8}{'p95':>8}{'p99':>8}{'lost':>6}{'ack p50':>10}{'ack p99':>9}")
    for one in pushed.rates:
        print(
            f"  {one.per_second:>11g}{one.changes:>9}{one.p50_ms:>8.0f}{one.p95_ms:>8.0f}{one.p99_ms:>8.0f}"
            f"{one.unwritten:>6}{one.acknowledged_p50_ms:>10.0f}{one.acknowledged_p99_ms:>9.0f}"
        )
    burst = pushed.burst
    print(
        f"  a burst of {burst.changes} changes, {burst.posts} POSTs: on the PBX after {burst.seconds:.1f} s; a bare "
        f"loop of the same {burst.bare_writes} writes, {concurrent_writes(PACE)} at once, {burst.bare_seconds:.1f} s: "
        f"ratio {burst.seconds / burst.bare_seconds:.2f} (limit {LIMIT})"
    )
    print(
        f"    {burst.writes / burst.changes:.2f} writes a user, {burst.most_writes} at most; {burst.other_requests} "
        f"other requests to the PBX; acknowledgement p99 {burst.acknowledged_p99_ms:.0f} ms "
        f"(limit {ACKNOWLEDGED_MS:.0f})"
    )
    print(
        f"    newest first: rank correlation {burst.rank_correlation:+.2f} (1: the last change was written first); "
        f"of those who waited during a write {100 * burst.newer_waiting:.0f} % were newer (0: newest first)"
    )


def _print_polled(polled: presence_poll.Polled, users: int) -> None:
    least = math.ceil(users / ANNOUNCED)
    print(f"Presence polled, {users} users, nobody announced (at least {least} questions to Graph a cycle)")
    for cycle in polled.cycles:
        print(
            f"  {cycle.name:<28}{cycle.graph:>4} Graph requests, {cycle.storage:>5} storage requests, "
            f"{cycle.pbx:>5} PBX requests, {cycle.cpu_seconds:.2f} s of processor time, {cycle.seconds:.2f} s"
        )


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure how fast extensions follow Teams.")
    parser.add_argument("--users", type=int, default=USERS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="length of each of the measurements of a rate")
    parser.add_argument("--rates", default=",".join(f"{rate:g}" for rate in RATES), help="changes a second")
    parser.add_argument("--accounts", type=int, help="who sign in for 650 announced users each; as many as it takes")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.measure:
        _measure(*options.measure)
        return
    needed = math.ceil(options.users / ANNOUNCED)
    accounts = needed if options.accounts is None else min(needed, options.accounts)
    rates = [float(rate) for rate in options.rates.split(",")]
    asyncio.run(run(options.users, accounts, rates, options.seconds))


def _measure(name: str, encoded: str) -> None:
    job = msgspec.json.decode(encoded, type=Job)
    measured: msgspec.Struct
    with contextlib.redirect_stdout(sys.stderr):
        if name == "push":
            pushing = presence_push.measure(job.place, job.users, job.accounts, job.rates, job.seconds)
            measured = asyncio.run(pushing)
        else:
            measured = asyncio.run(presence_poll.measure(job.place, job.users))
    sys.stdout.buffer.write(msgspec.json.encode(measured))


if __name__ == "__main__":
    main()
