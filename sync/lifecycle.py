"""The life of a connection: pause, resume, disable, enable, disconnect. What is asked for twice is done once."""

import asyncio
import contextlib
import datetime
from collections.abc import Sequence
from typing import Literal

import msgspec

from store.document import Settings
from store.health import Health, Removal
from store.leases import RUN
from store.links import Kind
from store.runs import FINISHED, Run
from sync.applying import decode_intents
from sync.connection import REMOVAL_INCOMPLETE, Connection
from sync.messages import Message
from sync.running import active_kinds
from sync.service import RECENT, Conflict, execute, is_linked, missing_secrets, request_run
from sync.stage import HELD

type Action = Literal["pause", "disable", "disconnect"]

ALL: tuple[Kind, ...] = ("users", "groups")
STANDING = frozenset({*HELD.values(), REMOVAL_INCOMPLETE})
"""Reasons for attention that do not come from failed runs."""
PATIENCE_SECONDS = 12.0
"""So long somebody who disconnects waits for the end of it; then it goes on without them."""


class Started(msgspec.Struct, frozen=True):
    """What follows from a change of state: a run, if there is one, and the messages to queue."""

    run: Run | None = None
    messages: list[Message] = []


async def preview(connection: Connection, action: Action, what: Sequence[Kind], now: datetime.datetime) -> Started:
    """A run that lists what an action would delete, and changes nothing."""
    if what:
        await _check_reachable(connection, (await connection.settings.load()).settings)
    run, message = await request_run(connection, now, started_by=action, what=what, task="remove", preview=True)
    return Started(run, [message])


async def pause(connection: Connection, kind: Kind, now: datetime.datetime, *, delete: bool = False) -> Started:
    """Stop the synchronization of one kind; what was synced stays and is left alone, or is deleted.

    ``Conflict`` while the connection is being ended, or when nothing can be deleted because the PBX is not set up.
    """
    what = await _deletable(connection, [kind] if delete else [])

    def change(health: Health) -> Health:
        _check_alive(health)
        paused = [one for one in ALL if one == kind or one in health.paused]
        return msgspec.structs.replace(health, paused=paused, removal=_added(health.removal, what, "pause"))

    await connection.health.update(change)
    await _stop(connection, [kind])
    return await _remove(connection, what, "pause", now)


async def disable(connection: Connection, what: Sequence[Kind], now: datetime.datetime) -> Started:
    """Suspend the whole integration and delete ``what`` was synced. Reasons why runs failed are dropped: they come
    back with the runs, if they are still there. ``Conflict`` as for ``pause``."""
    what = await _deletable(connection, what)

    def change(health: Health) -> Health:
        _check_alive(health)
        return msgspec.structs.replace(
            health,
            disabled=True,
            retry_at=None,
            reasons=[reason for reason in health.reasons if reason.code in STANDING],
            removal=_added(health.removal, what, "disable"),
        )

    await connection.health.update(change)
    await _stop(connection, ALL)
    return await _with_presence(connection, await _remove(connection, what, "disable", now))


async def resume(connection: Connection, kind: Kind, now: datetime.datetime) -> Started:
    """Sync a paused kind again, beginning with a full run at once. Deletions that are not made yet are not made."""
    if kind not in (await connection.health.load()).paused:
        return Started()
    stamp = now.isoformat(timespec="seconds")

    def change(health: Health) -> Health:
        _check_alive(health)
        paused = [one for one in health.paused if one != kind]
        return _returned(msgspec.structs.replace(health, paused=paused), [kind], stamp)

    await connection.health.update(change)
    await _stop(connection, [kind], task="remove")
    # Extensions that come back have to enter their groups.
    return await _start(connection, "resume", ALL if kind == "users" else [kind], now)


async def enable(connection: Connection, now: datetime.datetime) -> Started:
    """End the suspension, beginning with a full run of everything that is not paused."""
    if not (await connection.health.load()).disabled:
        return Started()
    stamp = now.isoformat(timespec="seconds")

    def change(health: Health) -> Health:
        _check_alive(health)
        back = [kind for kind in ALL if kind not in health.paused]
        return _returned(msgspec.structs.replace(health, disabled=False), back, stamp)

    after = await connection.health.update(change)
    await _stop(connection, [kind for kind in ALL if kind not in after.paused], task="remove")
    return await _with_presence(connection, await _start(connection, "enable", ALL, now))


async def disconnect(connection: Connection, what: Sequence[Kind], now: datetime.datetime) -> Started:
    """Delete ``what`` was synced, then forget the connection: links, cursors, subscriptions, secrets, settings.

    Without deletions it is done when this returns, unless something stands in the way; then the run says what, and goes
    on by itself. Asking again replaces what an earlier disconnection that is not done yet was to delete.
    """
    if await _is_blank(connection):
        return Started()
    what = await _deletable(connection, what)

    def change(health: Health) -> Health:
        return msgspec.structs.replace(
            health,
            disabled=True,
            retry_at=None,
            reasons=[reason for reason in health.reasons if reason.code in HELD.values()],
            removal=Removal(what=list(what), asked_by="disconnect"),
        )

    await connection.health.update(change)
    await _stop(connection, ALL)
    await _stop(connection, ALL, task="remove")
    run, message = await request_run(connection, now, started_by="disconnect", what=what, task="remove")
    if what:
        return Started(run, [message])
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_SECONDS):
            await execute(connection, run.id, lambda: now)
    done = await connection.runs.get(run.id)
    if done is None or done.status == "succeeded":
        return Started()
    return Started(done, [] if done.status in FINISHED or done.is_waiting else [message])


async def due(connection: Connection, now: datetime.datetime) -> list[Message]:
    """The message that continues deletions or a disconnection which are not done, when their time has come."""
    removal = (await connection.health.load()).removal
    if removal is None or (removal.next_try_at and now < datetime.datetime.fromisoformat(removal.next_try_at)):
        return []
    if await _open_run(connection) is not None:
        return []  # a run that was killed is queued again by itself
    _, message = await request_run(connection, now, started_by=removal.asked_by, what=removal.what, task="remove")
    return [message]


async def _with_presence(connection: Connection, started: Started) -> Started:
    """Presence ends and begins with the integration."""
    if not (await connection.settings.load()).settings.presence.enabled:
        return started
    told = Message(connection.id, task="presence")
    return msgspec.structs.replace(started, messages=[*started.messages, told])


def _check_alive(health: Health) -> None:
    if health.is_disconnecting:
        raise Conflict("The connection is being ended. Wait until it is not connected any more.")


def _added(removal: Removal | None, what: Sequence[Kind], action: Literal["pause", "disable"]) -> Removal | None:
    """The deletions that are wanted now; an earlier failure does not delay them."""
    if not what:
        return removal
    earlier = [] if removal is None else removal.what
    return Removal(what=[kind for kind in ALL if kind in what or kind in earlier], asked_by=action)


def _returned(health: Health, back: Sequence[Kind], stamp: str) -> Health:
    """``back`` is synced again. Until its run is recorded the next tick is to start one."""
    removal, reasons = health.removal, health.reasons
    left = [] if removal is None else [kind for kind in removal.what if kind not in back]
    if not left:
        reasons = [reason for reason in reasons if reason.code != REMOVAL_INCOMPLETE]
    return msgspec.structs.replace(
        health,
        removal=msgspec.structs.replace(removal, what=left) if removal is not None and left else None,
        reasons=reasons,
        retry_at=stamp,
        last_scheduled=stamp,
    )


async def _start(connection: Connection, started_by: str, wanted: Sequence[Kind], now: datetime.datetime) -> Started:
    """The full run that puts right what changed meanwhile; none while the connection is not complete."""
    settings = (await connection.settings.load()).settings
    active = active_kinds(settings, await connection.health.load())
    what = [kind for kind in active if kind in wanted]
    if not what or settings.missing() or await missing_secrets(connection, settings):
        return Started()
    run, message = await request_run(connection, now, started_by=started_by, what=what)
    await connection.health.update(lambda health: msgspec.structs.replace(health, retry_at=None))
    return Started(run, [message])


async def _remove(connection: Connection, what: Sequence[Kind], action: Action, now: datetime.datetime) -> Started:
    if not what:
        return Started()
    under_way = await _open_run(connection)
    if under_way is not None and set(what) <= set(under_way.what):
        return Started(under_way)
    run, message = await request_run(connection, now, started_by=action, what=what, task="remove")
    return Started(run, [message])


async def _open_run(connection: Connection) -> Run | None:
    """The newest run that deletes and is not finished."""
    async for run in connection.runs.newest(RECENT):
        if run.task == "remove" and not run.preview and run.status not in FINISHED:
            return run
    return None


async def _stop(connection: Connection, kinds: Sequence[Kind], *, task: Literal["sync", "remove"] = "sync") -> None:
    """Have the run in progress end, if it is about one of these kinds. One that begins later sees the new state.
    ``Changed`` when it could not be told; asking for the same once more tells it again."""
    holder = await connection.leases.holder(RUN)
    run = None if holder is None else await connection.runs.get(holder.owner)
    if run is None or run.task != task or (run.what and not set(kinds).intersection(run.what)):
        return
    await connection.leases.tell_to_stop(RUN)


async def _deletable(connection: Connection, what: Sequence[Kind]) -> list[Kind]:
    """The kinds among ``what`` of which there is something to delete."""
    if not what:
        return []
    settings = (await connection.settings.load()).settings
    try:
        await _check_reachable(connection, settings)
    except Conflict:
        if await is_linked(connection, what) or decode_intents(await connection.leases.note(RUN)):
            raise
        return []
    return list(what)


async def _check_reachable(connection: Connection, settings: Settings) -> None:
    """``Conflict`` when the PBX is not set up, so that nothing can be deleted there."""
    missing = [path for path in settings.missing() if path.startswith("/pbx")]
    missing += [f"the secret {name}" for name in await missing_secrets(connection, settings) if name.startswith("pbx")]
    if missing:
        raise Conflict(f"Nothing can be deleted on the PBX yet. Missing: {', '.join(missing)}.")


async def _is_blank(connection: Connection) -> bool:
    """Whether there is nothing to forget."""
    settings = (await connection.settings.load()).settings
    is_new = await connection.health.load() == Health() and settings == connection.settings.first
    return is_new and not await is_linked(connection)
