"""Runs of groups: the first one of 60 groups over 5,000 extensions, and one more member in a group of 5,000.

The emulators and Azurite run in processes of their own; the engine is measured in its own process.
"""

import argparse
import asyncio
import contextlib
import datetime
import sys
import time
import uuid
from typing import Any

import msgspec

from benchmarks.sync_runs import PACE, Control, Place
from local.cloud import Cloud, sample_secrets

GROUPS = 60
CROWD = 5_000
"""Members of the large group, all of them with an extension."""
USERS = 5_600
"""So many that more than a crowd of them get an extension."""


class Measured(msgspec.Struct, frozen=True):
    """What one run took."""

    milliseconds: float
    counts: dict[str, int]
    requests: dict[str, int]
    storage: int


class Figures(msgspec.Struct, frozen=True):
    """What one engine process measured."""

    extensions: int
    first: Measured
    crowd: Measured
    member: Measured
    nothing: Measured


async def measure(cloud: Place) -> Figures:
    """Run the engine in this process, whose environment is that of a deployment."""
    from sync.service import Bridge

    bridge = Bridge()
    connection = bridge.connection(uuid.uuid4().hex[:12])
    for name, value in sample_secrets().items():
        await connection.secrets.write(name, value)  # type: ignore[arg-type]
    await _enable(connection)
    await _run(connection, ["users"], "full")
    first = await _run(connection, ["groups"], "full")
    users = [link.object_id async for link in connection.links("users").all() if link.state == "linked"]
    tenant = Tenant()
    async with tenant:
        group = {"displayName": "Crowd", "mailNickname": "crowd", "securityEnabled": True}
        members = f"groups/{(await tenant.send(cloud.microsoft_url, 'groups', group))['id']}/members"
        await tenant.send(cloud.microsoft_url, members, {"add": users[:CROWD]})
        crowd = await _run(connection, ["users", "groups"], "incremental")
        await tenant.send(cloud.microsoft_url, members, {"add": users[CROWD : CROWD + 1]})
        member = await _run(connection, ["users", "groups"], "incremental")
        nothing = await _run(connection, ["users", "groups"], "incremental")
    await bridge.close()
    return Figures(len(users), first, crowd, member, nothing)


async def _enable(connection: Any) -> None:
    from store.document import Settings

    base = await connection.settings.load()
    document = msgspec.to_builtins(base.settings)
    document["pbx"]["max_writes_per_second"] = PACE
    document["users"]["enabled"] = document["groups"]["enabled"] = True
    await connection.settings.save(msgspec.convert(document, Settings), base)


async def _run(connection: Any, what: list[Any], mode: Any) -> Measured:
    from sync.service import execute, request_run

    run, message = await request_run(connection, _now(), started_by="benchmark", what=what, mode=mode)
    storage, started = connection.tables.traffic.requests, time.perf_counter()
    await execute(connection, message.run, _now)
    seconds, storage = time.perf_counter() - started, connection.tables.traffic.requests - storage
    done = await connection.runs.get(run.id)
    assert done.status == "succeeded", done
    return Measured(1000 * seconds, done.counts, done.requests, storage)


class Tenant(Control):
    """Changes in Entra, by the emulator's control routes."""

    async def send(self, base: str, path: str, body: Any) -> Any:
        async with self._session.post(f"{base}/_control/{path}", json=body) as response:
            assert response.status in {200, 201}, await response.text()
            return msgspec.json.decode(await response.read())


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


async def _in_a_process() -> Figures:
    """Start the cloud without Functions host, and let a cold process measure."""
    generated = ("--users", str(USERS), "--groups", str(GROUPS))
    room = ("--capacity", str(USERS + 100))
    async with Cloud(with_host=False, microsoft_options=generated, pbx_options=room) as cloud:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "benchmarks.group_runs", "--measure", cloud.microsoft_url, cloud.pbx_url),
            env=cloud.environment,
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
    return msgspec.json.decode(output, type=Figures)


def main() -> None:
    """Print what runs of groups take."""
    figures = asyncio.run(_in_a_process())
    print(f"Runs of groups over {figures.extensions} extensions (pacing lifted; a transaction of 100 rows is one)")
    print(f"  first run, {GROUPS} groups: {_words(figures.first)}")
    print(f"  incremental, a new group of {CROWD} members: {_words(figures.crowd)}")
    print(f"  incremental, one more member in it: {_words(figures.member)} (limits 6 and 1)")
    print(f"  incremental, nothing changed: {_words(figures.nothing)}")


def _words(measured: Measured) -> str:
    done = measured.counts.get("groups.create.done", 0) + measured.counts.get("groups.update.done", 0)
    return (
        f"{measured.milliseconds:.0f} ms, {done} groups written, {measured.requests['graph']} Graph requests, "
        f"{measured.requests['pbx_writes']} PBX writes, {measured.storage} storage requests"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--measure", nargs=2)
    options = parser.parse_args()
    if options.measure:
        with contextlib.redirect_stdout(sys.stderr):
            measured = asyncio.run(measure(Place(*options.measure)))
        sys.stdout.buffer.write(msgspec.json.encode(measured))
    else:
        main()
