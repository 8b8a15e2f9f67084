"""Every page of the console that is looked at, over 10,000 synced users: how long it takes and what it asks of storage.

Azurite and the emulators run in processes of their own; the pages are made in this process, as the Functions host's
worker does it, but without the host. Nothing is kept between two requests but what a process keeps in earnest.
"""

import argparse
import asyncio
import datetime
import statistics
import sys
import time
import uuid
from typing import Any

import msgspec

from local.cloud import Cloud, sample_secrets
from local.sample import TENANT_ID
from store.audit import AuditStore, Entry
from store.document import Settings
from store.links import Link
from store.runs import Run, RunItem, run_id
from sync.connection import Connection
from sync.service import Bridge

USERS = 10_000
SKIPPED = 500
HELD = 1_000
RUNS = 800
"""A month with a look for changes each hour, and some more."""
TIMES = 20
LIMIT_MS = 300
ORIGIN = "https://bridge.example"
BEGIN = datetime.datetime.now(datetime.UTC).replace(microsecond=0)


class Measured(msgspec.Struct, frozen=True):
    """One page."""

    address: str
    p50: float
    p95: float
    storage: float
    kilobytes: float


class Filled(msgspec.Struct, frozen=True):
    """What was stored, by the ids that addresses name."""

    person: str
    first: str
    held: str
    preview: str
    newest: str


def addresses(filled: Filled) -> list[str]:
    """Every page, and those ways to ask for it that cost the most."""
    runs, users = "/console/runs", "/console/users"
    return [
        "/console",
        f"/console/live?run={filled.newest}",
        users,
        "/console/groups",
        f"{users}/list",
        f"{users}/list?order=changed&descending=1&search=person 0012",
        "/console/groups/list",
        f"{users}/find?search=a",
        f"{users}/{filled.person}",
        f"{users}/{uuid.uuid4()}",
        f"{users}/preview/{filled.preview}",
        f"{users}/preview/{filled.preview}?show=delete&after=9000",
        f"/console/groups/preview/{filled.preview}",
        runs,
        f"{runs}/{filled.first}",
        f"{runs}/{filled.first}?after=5000",
        f"{runs}/{filled.first}?outcome=failed",
        f"{runs}/{filled.held}",
        f"{runs}/{filled.first}/items.csv",
        f"{runs}/{filled.first}/items.json",
        "/console/schedule",
        "/console/connection",
        *(f"/console/connection/{action}" for action in ("disable", "disconnect", "enable")),
        "/console/connection/pause?what=users",
        "/console/connection/resume?what=users",
        "/console/activity",
        "/connect",
        "/console/sign-in",
    ]


FILES = (".csv", ".json")
"""Whole runs: they take what they take."""


async def measure() -> list[Measured]:
    """Each page in this process, whose environment is that of a deployment."""
    bridge = Bridge()
    connection = bridge.connection(uuid.uuid4().hex[:12])
    connection.environment = msgspec.structs.replace(connection.environment, public_base_url=ORIGIN, setup_key="x" * 40)
    for name, value in sample_secrets().items():
        await connection.secrets.write(name, value)  # type: ignore[arg-type]
    filled = await _fill(connection)
    cookie = await _signed_in(connection)
    measured = [await _measured(connection, cookie, address) for address in addresses(filled)]
    await bridge.close()
    return measured


async def _measured(connection: Connection, cookie: str, address: str) -> Measured:
    from console.adapter import Received, respond

    headers = [("host", ORIGIN.removeprefix("https://"))]
    if address != "/console/sign-in":
        headers.append(("cookie", cookie))
    if "/live" in address:
        headers.append(("hx-request", "true"))
    taken: list[float] = []
    storage, size = 0, 0
    for index in range(TIMES + 1):
        before, started = connection.tables.traffic.requests, time.perf_counter()
        answered = await respond(connection, Received("GET", ORIGIN + address.replace(" ", "+"), headers, b""), _now())
        assert answered.status == 200, (address, answered.status, answered.body)
        if index:  # the first of all compiles templates, and the first after a run merges it into the list
            taken.append(1000 * (time.perf_counter() - started))
            storage += connection.tables.traffic.requests - before
            size = len(answered.body)
    p95 = statistics.quantiles(taken, n=20)[-1]
    return Measured(address, statistics.median(taken), p95, storage / TIMES, size / 1024)


async def _signed_in(connection: Connection) -> str:
    from console.rooms import place_of
    from sso.sessions import COOKIE, start_session

    account = f"{TENANT_ID}:{uuid.uuid4()}"
    _, cookie = await start_session(place_of(connection), "Ada Admin", account, "admin", _now())
    return f"{COOKIE}={cookie}"


async def _fill(connection: Connection) -> Filled:
    """A connection after a month."""
    base = await connection.settings.load()
    document = msgspec.to_builtins(base.settings)
    document["users"]["enabled"] = document["groups"]["enabled"] = True
    await connection.settings.save(msgspec.convert(document, Settings), base)
    counts = {"users": USERS, "groups": 0}
    await connection.health.update(lambda health: msgspec.structs.replace(health, counts=counts))
    people = [(str(uuid.uuid5(uuid.NAMESPACE_OID, str(index))), index) for index in range(USERS)]
    created = [_item(*one, "create", "done") for one in people]
    skipped = [_item(str(uuid.uuid4()), USERS + index, "skip", "skipped") for index in range(SKIPPED)]
    first = await _record(connection, 31 * 24 * 60, [*created, *skipped], mode="full")
    await connection.links("users").write(save=[_link(*one, first) for one in people])
    for index in range(RUNS):
        items = [_item(*people[(7 * index + offset) % USERS], "update", "done") for offset in range(3)]
        await _record(connection, 55 * (RUNS - index) + 180, items, mode="incremental")
    held = await _record(
        connection, 150, [_item(*one, "delete", "held") for one in people[:HELD]], {"delete.held": HELD}, mode="full"
    )
    planned = [_item(*one, "delete", "planned") for one in people]
    preview = await _record(connection, 120, planned, preview=True, what=["users", "groups"], mode="full")
    newest = await _record(connection, 1, [], status="running", mode="incremental")
    trail = AuditStore(connection.tables, connection.id)
    text = msgspec.json.encode(document["users"]).decode()
    for index in range(200):
        stamp = (BEGIN - datetime.timedelta(minutes=index)).isoformat(timespec="milliseconds")
        after = text.replace("1000", f"{1000 + index}")
        await trail.add(Entry(at=stamp, who="Ada", action="settings.saved", object="/users", before=text, after=after))
    return Filled(people[-1][0], first, held, preview, newest)


async def _record(
    connection: Connection, minutes_ago: int, items: list[RunItem], counts: dict[str, int] | None = None, **members: Any
) -> str:
    at = BEGIN - datetime.timedelta(minutes=minutes_ago)
    stamp = at.isoformat(timespec="milliseconds")
    usual: dict[str, Any] = {
        "what": ["users"],
        "status": "succeeded",
        "started_by": "schedule",
        "requested_at": stamp,
        "started_at": stamp,
        "items": len(items),
        "executions": 1,
        "counts": counts or {},
    }
    run = Run(id=run_id(at, "000000"), **(usual | members))
    await connection.runs.create(run)
    await connection.runs.add_items(run.id, 0, items)
    return run.id


def _link(object_id: str, index: int, run: str) -> Link:
    return Link(
        object_id=object_id,
        pbx_id=index,
        number=str(10_000 + index),
        name=f"Person {index:05} of Contoso",
        email=f"person.{index}@contoso.example",
        user_principal_name=f"person.{index}@contoso.example",
        written=_fields(index),
        changed_at=BEGIN.isoformat(),
        run_id=run,
    )


def _item(object_id: str, index: int, operation: str, outcome: Any) -> RunItem:
    return RunItem(
        operation=operation,
        outcome=outcome,
        object_id=object_id,
        name=f"Person {index:05} of Contoso",
        user_principal_name=f"person.{index}@contoso.example",
        extension=str(10_000 + index),
        reason="The user is in scope and has no extension yet.",
        after=_fields(index),
        at=BEGIN.isoformat(),
    )


def _fields(index: int) -> dict[str, str]:
    return {
        "first_name": "Person",
        "last_name": f"{index:05} of Contoso",
        "email_addr": f"person.{index}@contoso.example",
        "mobile_number": f"+3161{index:07}",
        "title": "Engineer",
    }


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


async def _in_a_process() -> list[Measured]:
    """Start the cloud without Functions host, and let a cold process measure."""
    async with Cloud(with_host=False) as cloud:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "benchmarks.console_pages", "--measure"),
            env=cloud.environment,
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
    return msgspec.json.decode(output, type=list[Measured])


def main() -> None:
    """Print what the pages take; ``!`` marks those beyond the limit."""
    measured = asyncio.run(_in_a_process())
    print(f"Pages of the console over {USERS} synced users, {TIMES} times each (limit {LIMIT_MS} ms at p95)")
    for one in measured:
        mark = "!" if one.p95 > LIMIT_MS and not one.address.endswith(FILES) else " "
        print(
            f"{mark} {one.p50:6.0f} {one.p95:6.0f} ms {one.storage:5.1f} storage requests {one.kilobytes:6.0f} kB  "
            f"{one.address}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--measure", action="store_true")
    if parser.parse_args().measure:
        sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(measure())))
    else:
        main()
