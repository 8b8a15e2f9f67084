"""Asks for the run that syncs a batch of announced changes: once, and again when that run came to nothing."""

import datetime
from collections.abc import Sequence

import msgspec

from store.changes import Batch, ChangeStore, Fired
from store.document import Settings
from store.health import Health
from store.leases import RUN
from store.links import Kind
from store.runs import FINISHED
from store.subscriptions import Resource
from sync.batches import is_full, is_old, poll_due
from sync.connection import Connection
from sync.messages import Message
from sync.running import active_kinds
from sync.service import request_run

UNNAMED_FOR = datetime.timedelta(minutes=2)
"""A mark that names no run after so long was left by a process that was killed."""
PAUSE_MINUTES = 5
"""After a run that failed, times the number of attempts."""
LONGEST_PAUSE = datetime.timedelta(hours=1)
RECENT = 20


def concerning(settings: Settings, kinds: Sequence[Kind]) -> frozenset[Resource]:
    """Whose changes matter to what is synced now. What happens during a pause is found by the run that follows it."""
    found: set[Resource] = set()
    if "users" in kinds:
        found |= {"users", "groups"} if settings.users.scope.kind == "groups" else {"users"}
    if "groups" in kinds:
        found |= {"users", "groups"}  # members are users
    return frozenset(found)


async def fire(
    connection: Connection,
    what: Sequence[Kind],
    now: datetime.datetime,
    *,
    started_by: str = "changes",
    over: Fired | None = None,
) -> list[Message]:
    """Ask for an incremental run, unless somebody else did already. ``over`` is a mark that came to nothing."""
    changes = ChangeStore(connection.tables, connection.id)
    mark = Fired(now.isoformat(timespec="seconds"))
    if over is not None:
        mark = msgspec.structs.replace(mark, times=over.times + 1, etag=over.etag)
    if not await changes.mark_fired(mark):
        return []
    run, _ = await request_run(connection, now, started_by=started_by, mode="incremental", what=what)
    await changes.name_run(msgspec.structs.replace(mark, run=run.id))
    return [Message(connection.id, run.id)]


async def due(connection: Connection, settings: Settings, now: datetime.datetime) -> list[Message]:
    """What is due this minute: a batch that is old or full, one whose run came to nothing, or a look without any.

    While another run is under way nothing is asked for: it would only be refused.
    """
    health = await connection.health.load()
    what = active_kinds(settings, health)
    if settings.missing() or health.initial_pending or not what:
        return []
    changes = ChangeStore(connection.tables, connection.id)
    head = await changes.batch(top=2)  # the mark, if there is one, and the oldest row
    if head.fired is not None:
        is_due, started_by = await _is_stale(connection, head.fired, health, now), "changes"
    elif head.rows:
        is_due, started_by = await _is_ripe(changes, head, settings, now), "changes"
    else:
        is_due, started_by = await _is_poll_due(connection, settings, health, now), "poll"
    if not is_due or await connection.leases.holder(RUN) is not None:
        return []
    if head.fired is not None and not head.rows:
        await changes.remove(head, [], now)
        return []
    return await fire(connection, what, now, started_by=started_by, over=head.fired)


async def _is_ripe(changes: ChangeStore, head: Batch, settings: Settings, now: datetime.datetime) -> bool:
    return is_old(head, settings.schedule, now) or is_full(await changes.batch(), settings.schedule)


async def _is_stale(connection: Connection, fired: Fired, health: Health, now: datetime.datetime) -> bool:
    """Whether the run that was asked for cannot be expected to sync the batch any more."""
    age = now - datetime.datetime.fromisoformat(fired.at)
    run = await connection.runs.get(fired.run) if fired.run else None
    if run is None:
        return age > UNNAMED_FOR
    if run.status not in FINISHED:
        return False
    if run.status == "failed":
        # The next try of a failed run reads everything, and with it the batch.
        pause = min(datetime.timedelta(minutes=PAUSE_MINUTES * fired.times), LONGEST_PAUSE)
        return health.retry_at is None and age > pause
    return True


async def _is_poll_due(connection: Connection, settings: Settings, health: Health, now: datetime.datetime) -> bool:
    # A failed run that waits for its next try looks anyway.
    return health.retry_at is None and poll_due(settings, await _last_look(connection, health), now)


async def _last_look(connection: Connection, health: Health) -> str | None:
    """When a run over everything was last asked for; ``None`` before the first that succeeded."""
    if health.last_full_success is None:
        return None
    recent = [run async for run in connection.runs.newest(RECENT)]
    asked = [
        run.requested_at
        for run in recent
        if not run.preview and run.object_id is None and run.status not in {"refused", "cancelled"}
    ]
    return max([*asked, health.last_full_success])
