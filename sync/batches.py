"""The open batch of announced changes: when it is due, and what is left of it after a run."""

import datetime
from collections.abc import Collection

import msgspec

from store.changes import Batch, ChangeStore, Event
from store.document import Schedule, Settings
from sync.connection import Connection


async def opened(connection: Connection) -> Batch:
    """What is announced as a run begins to read. Whatever comes later is left to the next run."""
    return await ChangeStore(connection.tables, connection.id).batch()


async def consume(
    connection: Connection,
    batch: Batch,
    seen_ids: Collection[str],
    kinds: Collection[str],
    now: datetime.datetime,
) -> None:
    """Close the batch that a run opened, when all that it read is applied or on record.

    ``seen_ids`` are the object ids that the reads from Graph returned, ``kinds`` what was read at all.
    """
    if batch.rows or batch.fired is not None:
        await ChangeStore(connection.tables, connection.id).remove(batch, left_over(batch, seen_ids, kinds), now)


def left_over(batch: Batch, seen_ids: Collection[str], kinds: Collection[str]) -> list[Event]:
    """The events that stay: of other kinds, and once more those whose objects were not among what was read.

    Graph's reads may lag behind its announcements; and it announces changes of properties that are not read at all.
    """
    seen = {object_id.lower() for object_id in seen_ids}
    stay: list[Event] = []
    for event in batch.events().values():
        if event.kind not in kinds:
            stay.append(event)
        elif event.object_id and not event.looked and event.object_id.lower() not in seen:
            stay.append(msgspec.structs.replace(event, looked=True))
    return stay


def is_full(batch: Batch, schedule: Schedule) -> bool:
    """Whether so many changes are announced that the batch is synced at once."""
    return batch.distinct() >= schedule.change_count


def is_old(batch: Batch, schedule: Schedule, now: datetime.datetime) -> bool:
    """Whether its first event has waited long enough."""
    if not batch.rows:
        return False
    return now - _moment(batch.opened_at) >= datetime.timedelta(minutes=schedule.change_delay_minutes)


def poll_due(settings: Settings, last_at: str | None, now: datetime.datetime) -> bool:
    """Whether it is time to look without having been told. ``last_at`` is when the last run over everything, full or
    incremental, was asked for; before the first one nothing is due."""
    if last_at is None:
        return False
    return now - _moment(last_at) >= datetime.timedelta(minutes=settings.schedule.poll_minutes)


def _moment(stamp: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(stamp)
