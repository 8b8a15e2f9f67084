"""Screens of the list of synced users: right after the links were made, after a restart, and after an incremental run.

Beside it the bare cost of what it spares: reading all links. Azurite runs in a process of its own.
"""

import asyncio
import datetime
import functools
import statistics
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from local.azurite import Azurite
from store.environment import Environment, StorageAccount
from store.links import Link
from store.runs import Run, RunItem, run_id
from sync.connection import Connection

USERS = 10_000
SKIPPED = 500
CHANGED = 10
SCREENS = 20


async def measure() -> None:
    """Print milliseconds and storage requests."""
    async with Azurite() as azurite:
        await _measure(azurite)


async def _measure(azurite: Azurite) -> None:
    from store.tables import open_tables

    environment = Environment(storage=StorageAccount(azurite.connection_string))
    tables = open_tables(environment)
    connection = Connection(uuid.uuid4().hex[:12], environment, tables)
    links = await _fill(connection)

    async def all_links() -> int:
        return len([link async for link in connection.links("users").all()])

    await _show("all links, one by one", connection, all_links)
    await _show("first screen, list made anew", connection, lambda: _screen(connection))
    await _many(connection)
    await _record(connection, [_item(link, "update", "done") for link in links[:CHANGED]], mode="incremental")
    await _show(f"first screen after an incremental run, {CHANGED} changed", connection, lambda: _screen(connection))
    await tables.close()


async def _screen(connection: Connection, **options: Any) -> int:
    from sync.listing import listed

    return len((await listed(connection, "users", **options)).rows)


async def _many(connection: Connection) -> None:
    """Screens as people ask for them; each as a new process would find it, for nothing is kept in one."""
    asked: list[dict[str, Any]] = [
        {},
        {"order": "number", "descending": True},
        {"order": "changed", "descending": True},
        {"state": "skipped"},
        {"search": "person 0012"},
    ]
    for options in asked:
        words = ", ".join(f"{name}={value}" for name, value in options.items()) or "by name"
        await _show(f"screen, {words}", connection, functools.partial(_screen, connection, **options), SCREENS)


async def _show(words: str, connection: Connection, work: Callable[[], Awaitable[int]], times: int = 1) -> None:
    taken: list[float] = []
    before = connection.tables.traffic.requests
    for _ in range(times):
        started = time.perf_counter()
        found = await work()
        taken.append(time.perf_counter() - started)
    requests = (connection.tables.traffic.requests - before) / times
    print(f"  {words}: {found} rows, {statistics.median(taken) * 1000:.0f} ms, {requests:.0f} storage requests")


async def _fill(connection: Connection) -> list[Link]:
    """So many links, and the full run that made them and skipped others."""
    links = [
        Link(
            object_id=str(uuid.uuid5(uuid.NAMESPACE_OID, str(index))),
            pbx_id=index,
            number=str(1000 + index),
            name=f"Person {index:05} of Contoso",
            email=f"person.{index}@contoso.example",
            user_principal_name=f"person.{index}@contoso.example",
            changed_at="2026-03-02T09:00:00+00:00",
        )
        for index in range(USERS)
    ]
    await connection.links("users").write(save=links)
    skipped = [
        RunItem(
            operation="skip", outcome="skipped", object_id=str(uuid.uuid4()), name=f"Nobody {index}", reason="Full."
        )
        for index in range(SKIPPED)
    ]
    await _record(connection, [*(_item(link, "create", "done") for link in links), *skipped], mode="full")
    return links


async def _record(connection: Connection, items: list[RunItem], mode: Any) -> None:
    now = datetime.datetime.now(datetime.UTC)
    stamp = now.isoformat(timespec="milliseconds")
    run = Run(
        id=run_id(now, "000000"),
        what=["users"],
        mode=mode,
        status="succeeded",
        started_by="schedule",
        requested_at=stamp,
        started_at=stamp,
        items=len(items),
        executions=1,
    )
    await connection.runs.create(run)
    await connection.runs.add_items(run.id, 0, items)


def _item(link: Link, operation: str, outcome: Any) -> RunItem:
    return RunItem(
        operation=operation,
        outcome=outcome,
        object_id=link.object_id,
        name=link.name,
        user_principal_name=link.user_principal_name,
        extension=link.number,
        reason="The user is in scope and has no extension yet.",
        after={"first_name": "Person", "last_name": link.name, "email_addr": link.email},
        at="2026-03-02T09:00:00+00:00",
    )


def main() -> None:
    """Print the time and the requests of screens over 10,000 links."""
    print(f"The list of {USERS} synced users and {SKIPPED} skipped ones (limits: 3 storage requests, 300 ms a screen)")
    asyncio.run(measure())


if __name__ == "__main__":
    main()
