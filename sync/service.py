"""What the triggers and the console ask of the engine: request a run, execute one, keep time, store decisions."""

import contextlib
import datetime
import logging
import secrets
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from store.document import Settings
from store.environment import Environment, read_environment, trust_private_authority
from store.errors import Changed, SecretMissing
from store.health import Decisions, Health
from store.leases import RUN
from store.links import Kind
from store.runs import FINISHED, Fault, Run, run_id
from store.secrets import Secret, SecretName
from store.settings import Stored
from store.tables import Tables, open_tables
from sync.connection import Connection, Parting, needed_secrets
from sync.messages import Message
from sync.running import Execution, active_kinds, enabled_kinds
from sync.schedule import next_due
from sync.stage import HELD

log = logging.getLogger("sync")

type Mode = Literal["full", "incremental"]

QUEUED_FOR = datetime.timedelta(minutes=15)
"""A run that has been queued for so long lost its message: it is queued again."""
DEAD_AFTER = datetime.timedelta(minutes=2)
"""A run under way holds the lease. One that does not after so long was killed; its message may be hidden in the queue
for ten minutes, so it is queued again. Executing a run twice does no harm: the second execution waits for the first,
and then sees what it did."""
RECENT = 50
EXPIRY_DAYS = (60, 30, 14, 7, 1)
"""So many days before the credential of the Entra application ends somebody is told."""
REQUEUES = 5
GIVEN_UP = "The run was interrupted again and again; it was given up."


class Conflict(Exception):
    """The request does not fit the state of the connection; nothing was changed."""


class StoredSecret(msgspec.Struct, frozen=True):
    """A secret that was stored, without its value."""

    name: SecretName
    version: str
    tested: bool
    """Entra accepted it before it was stored."""


class Bridge:
    """One process of the deployment: its environment, its storage, and its connections."""

    def __init__(
        self,
        environment: Environment | None = None,
        tables: Tables | None = None,
        now: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC),
        parting: Parting | None = None,
    ) -> None:
        trust_private_authority()
        logging.getLogger("azure").setLevel(logging.WARNING)  # its INFO lines are a record for each request
        self.environment = environment or read_environment()
        self._tables = tables or open_tables(self.environment)
        self._connections: dict[str, Connection] = {}
        self._parting = parting
        self.now = now

    def connection(self, connection_id: str = "default") -> Connection:
        """The connection with this id; there is one today, ``default``."""
        if connection_id not in self._connections:
            made = Connection(connection_id, self.environment, self._tables)
            made.parting = self._parting
            self._connections[connection_id] = made
        return self._connections[connection_id]

    async def close(self) -> None:
        for connection in self._connections.values():
            await connection.secrets.close()
        await self._tables.close()


async def request_run(
    connection: Connection,
    now: datetime.datetime,
    *,
    started_by: str,
    mode: Mode = "full",
    preview: bool = False,
    object_id: str | None = None,
    decides: str | None = None,
    what: Sequence[Kind] = ("users",),
    task: Literal["sync", "remove"] = "sync",
    settings: Settings | None = None,
) -> tuple[Run, Message]:
    """Record a run to be executed; the message has to be queued by the caller.

    ``settings``: preview these, which are not saved. ``Conflict`` when they are for a run that is no preview, or name
    another tenant or PBX than the saved ones.
    """
    if settings is not None:
        await _check_previewable(connection, settings, preview=preview)
    run = Run(
        id=run_id(now, secrets.token_hex(3)),
        what=list(what),
        task=task,
        mode=mode,
        preview=preview,
        object_id=object_id,
        started_by=started_by,
        requested_at=now.isoformat(timespec="milliseconds"),
        decides=decides,
        unsaved_settings=settings is not None,
    )
    if settings is not None:
        await connection.runs.keep_settings(run.id, settings)
    await connection.runs.create(run)
    return run, Message(connection.id, run.id)


async def _check_previewable(connection: Connection, settings: Settings, *, preview: bool) -> None:
    if not preview:
        raise Conflict("Settings that are not saved can only be previewed. Save them first.")
    if sections := other_sections((await connection.settings.load()).settings, settings):
        raise Conflict(f"A preview reads with the saved connection: /{sections[0]} has to be as it is saved.")


def other_sections(saved: Settings, settings: Settings) -> list[str]:
    """The sections that a preview of unsaved settings may not change, and that are changed."""
    return [name for name in ("microsoft", "pbx") if getattr(saved, name) != getattr(settings, name)]


async def execute(connection: Connection, id_: str, now: Callable[[], datetime.datetime]) -> list[Message]:
    """Execute a run; answers the message that continues it when its time was up, or tells who else follows it."""
    loaded = await connection.runs.load(id_)
    if loaded is None:
        log.error("There is no run %s; its message is dropped", id_)
        return []
    execution = Execution(connection, *loaded, now=now)
    if await execution.execute():
        return [Message(connection.id, id_)]
    if execution.has_moved_users and (await connection.settings.load()).settings.presence.enabled:
        return [Message(connection.id, task="presence")]
    return []


async def save_settings(
    connection: Connection, settings: Settings, base: Stored, now: datetime.datetime
) -> tuple[Stored, list[Message]]:
    """Save the document; the save that enables users or groups starts an initial run at once, if all it needs is
    there, and other rules for presence are looked at at once. ``Conflict`` when it changes what is read-only."""
    await _check_changeable(connection, base.settings, settings)
    stored = await connection.settings.save(settings, base)
    is_news = settings.presence != base.settings.presence
    others = [Message(connection.id, task="presence")] if is_news else []
    was_enabled = enabled_kinds(base.settings)
    if all(kind in was_enabled for kind in enabled_kinds(settings)):
        return stored, others
    stamp = now.isoformat(timespec="seconds")

    def pending(health: Health) -> Health:
        return msgspec.structs.replace(health, initial_pending=True, last_scheduled=stamp)

    await connection.health.update(pending)
    return stored, [*await start_pending(connection, settings, now), *others]


async def _check_changeable(connection: Connection, before: Settings, after: Settings) -> None:
    """``Conflict`` when the state of the connection does not allow this change."""
    if after == before:
        return
    health = await connection.health.load()
    if health.disabled:
        what = "The connection is being ended" if health.is_disconnecting else "The integration is disabled"
        raise Conflict(f"{what}: its settings are read-only. Enable it first.")
    changed = [kind for kind in health.paused if getattr(before, kind) != getattr(after, kind)]
    if changed:
        raise Conflict(f"The synchronization of {changed[0]} is paused: /{changed[0]} is read-only. Resume it first.")
    tenant = after.microsoft.tenant_id.lower()
    known = health.tenant or [before.microsoft.tenant_id.lower()]
    if tenant != before.microsoft.tenant_id.lower() and tenant not in known and await is_linked(connection):
        raise Conflict(
            "What is synced belongs to another tenant, so /microsoft/tenant_id cannot change. Disconnect first: "
            "POST /api/disconnect. Is it the same tenant under another name, then enter its id."
        )


async def is_linked(connection: Connection, kinds: Sequence[Kind] = ("users", "groups")) -> bool:
    """Whether anything of these kinds is linked."""
    for kind in kinds:
        async for link in connection.links(kind).all():
            if link.state == "linked":
                return True
    return False


async def store_secret(
    connection: Connection, name: SecretName, value: str, now: datetime.datetime
) -> tuple[Secret, list[Message]]:
    """Store a secret. A run that waits for it is started at once."""
    secret = await connection.secrets.write(name, value)
    await connection.secret_stored(name, secret.version)
    settings = (await connection.settings.load()).settings
    return secret, await start_pending(connection, settings, now)


async def replace_secret(
    connection: Connection, name: SecretName, value: str, now: datetime.datetime
) -> tuple[StoredSecret, list[Message]]:
    """Store a secret in place of the old one. What Entra can be asked about has to work first: raises
    ``graph.errors.Stop`` when Entra rejects it and ``Retry`` when it cannot be asked, and the old one stays."""
    settings = (await connection.settings.load()).settings
    tested = await connection.try_proof(settings, name, value)
    secret, messages = await store_secret(connection, name, value, now)
    return StoredSecret(name, secret.version, tested), messages


async def start_pending(connection: Connection, settings: Settings, now: datetime.datetime) -> list[Message]:
    """Start the initial run, or try a failed one again, if the connection is complete."""
    health = await connection.health.load()
    is_waiting = health.initial_pending or health.retry_at is not None
    what = active_kinds(settings, health)
    if not is_waiting or not what or settings.missing() or await missing_secrets(connection, settings):
        return []
    if await _is_busy(connection, now):
        # What changed may come too late for the run under way: if that fails, the next tick tries again at once.
        stamp = now.isoformat(timespec="seconds")
        await connection.health.update(lambda health: msgspec.structs.replace(health, retry_at=stamp))
        return []
    started_by = "initial" if health.initial_pending else "retry"
    _, message = await request_run(connection, now, started_by=started_by, what=what)
    await connection.health.update(lambda health: msgspec.structs.replace(health, retry_at=None))
    return [message]


async def missing_secrets(connection: Connection, settings: Settings) -> list[SecretName]:
    """The secrets that are needed and not there. The Key Vault is asked only about those never seen."""
    seen = (await connection.health.load()).secrets
    missing: list[SecretName] = []
    for name in needed_secrets(settings):
        if name in seen:
            continue
        try:
            secret = await connection.secrets.read(name)
        except SecretMissing:
            missing.append(name)
        else:
            await connection.secret_stored(name, secret.version)
    return missing


async def decide(
    connection: Connection, id_: str, decision: Literal["approved", "rejected"], now: datetime.datetime
) -> tuple[Run, list[Message]]:
    """Approve or reject what a run holds. Approving starts a full run that may delete those objects, if the rules still
    say so; what is rejected stays held until it is approved or the user is wanted again. ``Conflict`` when there is
    nothing to decide, ``Changed`` when somebody else decided at the same moment."""
    loaded = await connection.runs.load(id_)
    run, etag = loaded or (None, "")
    if run is None or run.preview or not any(name.endswith(".held") for name in run.counts):
        raise Conflict("This run holds nothing that waits for a decision.")
    if run.decision:
        raise Conflict(f"This run was {run.decision} already.")
    items = [item async for item in connection.runs.items(id_) if item.outcome == "held"]
    ids, kinds = {item.object_id for item in items}, sorted({item.kind for item in items})
    active = active_kinds((await connection.settings.load()).settings, await connection.health.load())
    off = [kind for kind in kinds if kind not in active]
    if decision == "approved" and off:
        raise Conflict(f"The synchronization of {' and '.join(off)} is off or paused. Switch it on first.")
    decided = msgspec.structs.replace(run, decision=decision)
    await connection.runs.replace(decided, etag)
    codes = {HELD[kind] for kind in kinds}

    def decided_on(held: Decisions) -> Decisions:
        is_rejected = decision == "rejected"
        return {key: "rejected" if key in ids and is_rejected else state for key, state in held.items()}

    def settled(health: Health) -> Health:
        reasons = [reason for reason in health.reasons if reason.code not in codes]
        held, held_groups = decided_on(health.held), decided_on(health.held_groups)
        return msgspec.structs.replace(health, held=held, held_groups=held_groups, reasons=reasons)

    await connection.health.update(settled)
    if decision == "rejected":
        return decided, []
    _, message = await request_run(connection, now, started_by="approval", decides=id_, what=kinds)
    return decided, [message]


async def tick(connection: Connection, now: datetime.datetime) -> list[Message]:
    """What is due this minute: the scheduled run, a failed run's next try, a first run, a run that lost its message."""
    stored = await connection.settings.load()
    settings = stored.settings
    messages = await _requeue_stuck(connection, now)
    health = await warn_of_expiry(connection, await connection.health.load(), now)
    if not active_kinds(settings, health) or settings.missing():
        return messages
    stamp = now.isoformat(timespec="seconds")
    if health.last_scheduled is None:
        # Users were enabled, and the save broke off before this was noted.
        health = await connection.health.update(
            lambda health: msgspec.structs.replace(
                health, last_scheduled=stamp, initial_pending=health.last_full_success is None
            )
        )
    if _scheduled(settings, health, now):
        what = active_kinds(settings, health)
        _, message = await request_run(connection, now, started_by="schedule", what=what)
        await connection.health.update(
            lambda health: msgspec.structs.replace(health, last_scheduled=stamp, retry_at=None)
        )
        return [*messages, message]
    if _retry_due(health, now) or (health.initial_pending and health.retry_at is None and not messages):
        messages += await start_pending(connection, settings, now)
    return messages


async def warn_of_expiry(connection: Connection, health: Health, now: datetime.datetime) -> Health:
    """Tell the log once when the credential's end comes nearer than one of ``EXPIRY_DAYS``. That it has passed is told
    by the runs that fail."""
    end = health.secret_expires_at
    days = None if end is None else (datetime.datetime.fromisoformat(end) - now).days
    if days is not None and days < 0:
        return health
    reached = 0 if days is None else min((limit for limit in EXPIRY_DAYS if days <= limit), default=0)
    if reached == health.expiry_told:
        return health
    if reached and (not health.expiry_told or reached < health.expiry_told):
        log.warning("The credential of the Entra application expires on %s, in %s days", (end or "")[:10], days)
    return await connection.health.update(lambda health: msgspec.structs.replace(health, expiry_told=reached))


def next_run_at(settings: Settings, health: Health, now: datetime.datetime) -> datetime.datetime | None:
    """When the next run starts by itself; ``None`` while nothing is enabled, and nothing waits to be deleted."""
    removal = health.removal
    times = [datetime.datetime.fromisoformat(removal.next_try_at)] if removal and removal.next_try_at else []
    if active_kinds(settings, health):
        times.append(next_due(settings.schedule, now))
        if health.retry_at is not None:
            times.append(datetime.datetime.fromisoformat(health.retry_at))
    return min(times, default=None)


def _scheduled(settings: Settings, health: Health, now: datetime.datetime) -> bool:
    """Whether a scheduled time has passed since the last one served; a missed one is caught up once."""
    if health.last_scheduled is None:
        return False
    return next_due(settings.schedule, datetime.datetime.fromisoformat(health.last_scheduled)) <= now


def _retry_due(health: Health, now: datetime.datetime) -> bool:
    return health.retry_at is not None and datetime.datetime.fromisoformat(health.retry_at) <= now


async def _requeue_stuck(connection: Connection, now: datetime.datetime) -> list[Message]:
    recent = [run async for run in connection.runs.newest(RECENT)]
    open_runs = [run for run in recent if _may_be_stuck(run, now)]
    if not open_runs:
        return []
    holder = await connection.leases.holder(RUN)
    stuck = [run for run in open_runs if holder is None or (holder.owner != run.id and not run.is_waiting)]
    return [Message(connection.id, run.id) for run in stuck if await _requeue(connection, run, now)]


async def _requeue(connection: Connection, run: Run, now: datetime.datetime) -> bool:
    """Mark the time, so that the next tick leaves it alone; a run that dies again and again is given up."""
    loaded = await connection.runs.load(run.id)
    if loaded is None or loaded[0].status in FINISHED:
        return False
    current, etag = loaded
    stamp = now.isoformat(timespec="seconds")
    if current.requeues >= REQUEUES and not current.is_waiting:
        fault = Fault("interrupted", "the run was interrupted again and again", "Look at the log of the function app.")
        failed = msgspec.structs.replace(current, status="failed", finished_at=stamp, fault=fault, message=GIVEN_UP)
        with contextlib.suppress(Changed):
            await connection.runs.replace(failed, etag)
            if run.unsaved_settings:
                await connection.runs.drop_settings(run.id)
            await connection.failed("bug", fault, now, failed)
        return False
    marked = msgspec.structs.replace(current, requeued_at=stamp, requeues=current.requeues + 1)
    try:
        await connection.runs.replace(marked, etag)
    except Changed:
        return False  # it is alive
    log.warning("Run %s is queued again", run.id)
    return True


async def _is_busy(connection: Connection, now: datetime.datetime) -> bool:
    """Whether a run is queued or under way."""
    recent = [run async for run in connection.runs.newest(RECENT)]
    return any(run.status not in FINISHED and not run.preview and _age(run, now) <= QUEUED_FOR for run in recent)


def _may_be_stuck(run: Run, now: datetime.datetime) -> bool:
    if run.status in FINISHED:
        return False
    if run.is_waiting:
        return True
    return _age(run, now) > (DEAD_AFTER if run.status == "running" and not run.preview else QUEUED_FOR)


def _age(run: Run, now: datetime.datetime) -> datetime.timedelta:
    return now - datetime.datetime.fromisoformat(run.requeued_at or run.started_at or run.requested_at)


async def save_if_matching(
    connection: Connection, settings: Settings, accepted: Sequence[str], now: datetime.datetime
) -> tuple[Stored, list[Message]]:
    """Save unless somebody saved since the reader's ETag. ``accepted`` are the ETags of ``If-Match``; empty or ``*``
    accepts any. ``Changed`` when the race is lost."""
    base = await connection.settings.load()
    if accepted and "*" not in accepted and base.http_etag not in accepted:
        raise Changed("the settings were changed since they were read")
    return await save_settings(connection, settings, base, now)
