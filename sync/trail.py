"""Records in the audit trail what the JSON API was asked for and did."""

import datetime
import logging
from collections.abc import Awaitable, Callable

import msgspec

from store.audit import AuditStore, Entry
from store.document import Settings
from store.errors import StoreError
from store.runs import Run
from sync.api import Ask, Reply
from sync.connection import Connection

log = logging.getLogger("sync")

WHO = "API key"
"""The Functions host checked a key; whose it is only the host knows."""

type Work = Callable[[], Awaitable[Reply]]


class _Named(msgspec.Struct, frozen=True):
    what: str = ""


async def recorded(
    connection: Connection, now: datetime.datetime, action: str, work: Work, *, subject: str = ""
) -> Reply:
    """Do ``work`` and record it. What it refuses, by an error, is not recorded. A trail that cannot be written does not
    undo what was done: it is logged."""
    reply = await work()
    run = _run(reply)
    name = "sync.previewed" if run is not None and run.preview else action
    about = subject or ("" if run is None else run.id)
    after = "" if run is None else _about(run)
    await _note(connection, Entry(at=_stamp(now), who=WHO, action=name, object=about, after=after))
    return reply


def deed(ask: Ask, verb: str) -> str:
    """What is done to users or to groups, as the body says; a body that does not is refused when it is carried out."""
    try:
        return f"{msgspec.json.decode(ask.body, type=_Named).what}.{verb}"
    except (msgspec.DecodeError, UnicodeDecodeError):
        return verb


async def recorded_settings(connection: Connection, now: datetime.datetime, work: Work) -> Reply:
    """The same for a save of the settings: an entry for each section that it changed."""
    before = (await connection.settings.load()).settings
    reply = await work()
    after = msgspec.json.decode(reply.body, type=Settings)
    for field in msgspec.structs.fields(Settings):
        old, new = (msgspec.json.encode(getattr(one, field.name)).decode() for one in (before, after))
        if old != new:
            entry = Entry(
                at=_stamp(now), who=WHO, action="settings.saved", object=f"/{field.name}", before=old, after=new
            )
            await _note(connection, entry)
    return reply


async def _note(connection: Connection, entry: Entry) -> None:
    try:
        await AuditStore(connection.tables, connection.id).add(entry)
    except StoreError as error:
        log.error("The audit trail misses %s of %s: %s", entry.action, entry.object or entry.who, error)  # noqa: TRY400 - a fault of storage, told in its own words


def _run(reply: Reply) -> Run | None:
    """The run that a reply is about."""
    try:
        return msgspec.json.decode(reply.body, type=Run)
    except msgspec.DecodeError:
        return None


def _about(run: Run) -> str:
    what = ", ".join(run.what)
    return f"{what}: {run.object_id}" if run.object_id else f"{what}: {run.mode}"


def _stamp(now: datetime.datetime) -> str:
    return now.isoformat(timespec="milliseconds")
