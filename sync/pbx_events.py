"""Takes the PBX's event 30022, an extension was created, changed or deleted, and has drift repaired at once.

The event says which extension, not what or by whom; our own writes may announce themselves too. So the extension is
compared with what was written last, and only a difference asks for a run. A repeated or replayed event costs a look.
"""

import asyncio
import base64
import datetime
import hashlib
import hmac
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import msgspec

from pbx.models import FIELDS, Extension
from store.changes import PbxEvent, PbxEventStore
from store.document import Settings
from store.errors import SecretMissing, StoreError
from store.health import Health
from store.leases import RUN, Lease
from store.links import Link
from sync.connection import Connection
from sync.faults import explain
from sync.messages import Message, Outcome
from sync.service import request_run

log = logging.getLogger("sync")

EXTENSION_CHANGED = 30022
LARGEST_BODY = 65_536
PATIENCE_SECONDS = 10.0
SECRET_FOR = datetime.timedelta(minutes=5)
"""So long the webhook secret is used as it was read."""
SECRET_PAUSE = datetime.timedelta(seconds=10)
"""A wrong signature makes us read it again at most so often: it may have been replaced."""
MESSAGE_PAUSE = datetime.timedelta(seconds=5)
"""A burst of events is looked at together: one message in so long, the rest by the next minute."""
AT_ONCE = 500
"""Extensions that one look compares."""
NUMBER = re.compile(r"[0-9]{1,7}")

NOT_STORED = (
    "The webhook secret is not stored yet. Store the secret that the PBX shows for its webhook: "
    "PUT /api/secrets/pbx-webhook-secret."
)
BAD_SIGNATURE = (
    "The signature does not fit. Compare the secret of the PBX's webhook with the stored one: "
    "PUT /api/secrets/pbx-webhook-secret."
)
LATER = Outcome(503, "The event could not be recorded. Send it again later.")
NOTED = Outcome(200)


class _Event(msgspec.Struct, frozen=True):
    type: int
    msg: Any = None
    """JSON text or an object: both occur."""


class _Change(msgspec.Struct, frozen=True):
    ext_number: str = ""


class _Memory:
    """What a process remembers about a connection between events."""

    def __init__(self) -> None:
        self.secret = ""
        self.read_at: datetime.datetime | None = None
        self.told_at: datetime.datetime | None = None
        self.trouble = ""
        """Why extensions could not be compared, as it was logged."""

    def is_older(self, age: datetime.timedelta, now: datetime.datetime) -> bool:
        return self.read_at is None or not datetime.timedelta() <= now - self.read_at < age

    def should_tell(self, now: datetime.datetime) -> bool:
        is_due = self.told_at is None or not datetime.timedelta() <= now - self.told_at < MESSAGE_PAUSE
        self.told_at = now if is_due else self.told_at
        return is_due


_memories: WeakKeyDictionary[Connection, _Memory] = WeakKeyDictionary()


async def receive(connection: Connection, headers: Mapping[str, str], body: bytes, now: datetime.datetime) -> Outcome:
    """Record a signed event (``headers`` by lower-case name). 401 when the signature does not fit, 503 when storage or
    Key Vault do not answer, 200 for everything else that is signed: the PBX can do nothing about what we cannot use."""
    if len(body) > LARGEST_BODY:
        return Outcome(413, "An event of a PBX is never so large.")
    memory = _memories.setdefault(connection, _Memory())
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            trouble = await _refusal(connection, memory, headers.get("x-signature", ""), body, now)
            if trouble:
                return Outcome(401, trouble)
            number = reported(body)
            if not number:
                return NOTED
            await PbxEventStore(connection.tables, connection.id).add(number, now)
    except (StoreError, TimeoutError) as error:
        log.warning("An event of the PBX could not be recorded: %s", error or "no answer in time")
        return LATER
    messages = (Message(connection.id, task="pbx_events"),) if memory.should_tell(now) else ()
    return msgspec.structs.replace(NOTED, messages=messages)


def is_signed(secret: str, signature: str, body: bytes) -> bool:
    """Whether the signature is Base64 of HMAC-SHA256 over the body as it came; compared in constant time."""
    expected = base64.b64encode(hmac.digest(secret.encode(), body, hashlib.sha256))
    return hmac.compare_digest(expected, signature.strip().encode("utf-8", "surrogatepass"))


def reported(body: bytes) -> str:
    """The number of the extension that an event is about; empty for any other event."""
    try:
        event = msgspec.json.decode(body, type=_Event, strict=False)
        if event.type != EXTENSION_CHANGED:
            return ""
        message = msgspec.json.decode(event.msg) if isinstance(event.msg, str) else event.msg
        number = msgspec.convert(message, _Change, strict=False).ext_number
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    return number if NUMBER.fullmatch(number) else ""


async def due(connection: Connection, settings: Settings) -> list[Message]:
    """The message that has recorded events looked at, if there are any: one request to storage."""
    if not settings.users.enabled or settings.missing():
        return []
    found = await PbxEventStore(connection.tables, connection.id).some(1)
    return [Message(connection.id, task="pbx_events")] if found else []


async def look(connection: Connection, now: datetime.datetime) -> list[Message]:
    """Compare the reported extensions with what was written last, and ask for a run over those that differ.

    While a run is under way the events wait: what it writes and what it has noted do not agree at every moment.
    """
    store = PbxEventStore(connection.tables, connection.id)
    events = await store.some(AT_ONCE)
    settings, health = (await connection.settings.load()).settings, await connection.health.load()
    if not _is_ours(settings, health):
        await store.remove(events)
        return []
    if not events or health.retry_at is not None or await connection.leases.holder(RUN) is not None:
        return []
    try:
        drifted = await _drifted(connection, settings, health, events)
    except Exception as error:  # noqa: BLE001 - the events stay, and the next minute tries again
        _tell_once(connection, explain(error)[1].message)
        return []
    _tell_once(connection, "")
    if drifted and not await _mark(connection, drifted):
        return []
    await store.remove(events)
    return await _asked(connection, drifted, now) + ([] if len(events) < AT_ONCE else await due(connection, settings))


def differs(link: Link, extension: Extension | None) -> bool:
    """Whether an extension is not as it was written: gone, renumbered, or another value in a synced field."""
    if extension is None or extension.number != link.number:
        return True
    fields = extension.fields()
    return any(fields[name] != link.written.get(name, "") for name in FIELDS)


async def _refusal(connection: Connection, memory: _Memory, signature: str, body: bytes, now: datetime.datetime) -> str:
    """Why an event is not believed; empty when it is."""
    if memory.is_older(SECRET_FOR, now):
        await _read_secret(connection, memory, now)
    if memory.secret and is_signed(memory.secret, signature, body):
        return ""
    if memory.is_older(SECRET_PAUSE, now):
        await _read_secret(connection, memory, now)
        if memory.secret and is_signed(memory.secret, signature, body):
            return ""
    return BAD_SIGNATURE if memory.secret else NOT_STORED


async def _read_secret(connection: Connection, memory: _Memory, now: datetime.datetime) -> None:
    try:
        memory.secret = (await connection.secrets.read("pbx-webhook-secret")).value
    except SecretMissing:
        memory.secret = ""
    memory.read_at = now


def _is_ours(settings: Settings, health: Health) -> bool:
    is_paused = health.disabled or "users" in health.paused
    return settings.users.enabled and not settings.missing() and not is_paused


async def _drifted(
    connection: Connection, settings: Settings, health: Health, events: Sequence[PbxEvent]
) -> list[Link]:
    """The links whose extensions differ from what was written."""
    links = await _links(connection, {event.number for event in events})
    if not links:
        return []
    async with await connection.open_pbx(settings, health) as pbx:
        details = await pbx.details([link.pbx_id for link in links if link.pbx_id is not None])
    extensions = {extension.id: extension for extension in details}
    return [link for link in links if differs(link, extensions.get(link.pbx_id or 0))]


async def _links(connection: Connection, numbers: Iterable[str]) -> list[Link]:
    return [link for link in await connection.links("users").numbered(numbers) if link.state == "linked"]


async def _mark(connection: Connection, drifted: Sequence[Link]) -> bool:
    """Have the next run read these extensions. ``False`` when another run came between: then it is looked at again.

    It is done under the lease of runs, which write the same records.
    """
    lease = await connection.leases.acquire(RUN, "pbx-events")
    if not isinstance(lease, Lease):
        return False
    async with lease.kept():
        links, cursors = connection.links("users"), connection.cursors
        now_linked = {link.object_id: link for link in await links.some([link.object_id for link in drifted])}
        if any(now_linked.get(link.object_id) != link for link in drifted):
            return False
        await links.write(save=[msgspec.structs.replace(link, unsure=True) for link in drifted])
        ids = {link.object_id for link in drifted}
        await cursors.update(
            "users", lambda cursor: msgspec.structs.replace(cursor, retry=sorted({*cursor.retry, *ids}))
        )
    return True


def _tell_once(connection: Connection, trouble: str) -> None:
    memory = _memories.setdefault(connection, _Memory())
    if trouble and trouble != memory.trouble:
        log.warning("Extensions that the PBX reported cannot be compared yet: %s", trouble)
    memory.trouble = trouble


async def _asked(connection: Connection, drifted: Sequence[Link], now: datetime.datetime) -> list[Message]:
    if not drifted:
        return []
    log.info("%d extensions were changed on the PBX; a run puts them right", len(drifted))
    run, _ = await request_run(connection, now, started_by="pbx", mode="incremental")
    return [Message(connection.id, run.id)]
