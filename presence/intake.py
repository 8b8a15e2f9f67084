"""Takes Graph's notifications of presence: prove, record, write at once what can be written, answer within a second.

Whoever calls gets the same answer, true or forged. What cannot be proven or read now, though the subscription's secret
came with it, is a hint: Graph is asked about those users. Facts:
https://learn.microsoft.com/graph/change-notifications-delivery-webhooks,
https://learn.microsoft.com/graph/change-notifications-for-presence.
"""

import asyncio
import datetime
import hmac
import logging
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import batched
from typing import Annotated

import msgspec

from presence import recorder
from presence.doubt import doubt
from presence.hearing import Said, as_text, stamp
from presence.messages import Answer, Update
from presence.reader import LastFirst
from presence.refusals import refuse, report_soon
from presence.room import Memory, News, Room, memory_of
from presence.sealed import Sealed, Unreadable, open_sealed
from presence.tokens import Expected, Unproven
from presence.trust import Unknown
from store.document import Settings
from store.errors import Changed, StoreError
from store.presence import PresenceSubscription, Teams

log = logging.getLogger("presence")

TOKEN = "validationToken"  # noqa: S105 - the name of a query parameter
LONGEST_TOKEN = 2048
UNFIT = re.compile(r"[<>\x00-\x1f\x7f]")
LARGEST_BODY = 1_000_000
"""Bytes; 650 users with everything that belongs to them take less."""
MOST_ITEMS = 2_500
"""A notification takes 400 bytes at least: more of them are made up, to keep us busy."""
RECORD_SECONDS = 0.4
"""So long proving and recording may take."""
ANSWER_SECONDS = 0.5
"""So long after the beginning the answer is given, whether the PBX was written to or not."""
FRESH = datetime.timedelta(seconds=15)
"""So long the records of subscriptions are used as they were read."""
LATE_BYTES = 32_000_000
"""So much may be worked on behind answers: the presence of 20,000 users."""
REPEATS = 20_000
"""So many states without a number are known again."""
PAUSE_SECONDS = 0.25
"""Unknown subscriptions make us read the records again at most so often, however many are made up; who names one waits
for it, as it may be new."""
LOOK = 650
"""Users in a message."""
MESSAGE_PAUSE = datetime.timedelta(seconds=2)
OBJECT_ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

READER = LastFirst("presence")
"""Decrypts. One thread does as much as many, as each holds the interpreter, and keeps answers waiting less."""

UNREADABLE = "no notification of presence"

ACCEPTED = Answer(202)


class Item(msgspec.Struct, frozen=True, rename="camel"):
    """One notification, of a presence or of the life of the subscription."""

    subscription_id: str
    client_state: str | None = None
    tenant_id: str | None = None
    resource: str | None = None
    resource_data: msgspec.Raw = msgspec.Raw()
    encrypted_content: Sealed | None = None
    lifecycle_event: str | None = None

    @property
    def object_id(self) -> str:
        """Whom it is about, in lower case; empty when it does not say. Some ids are whole paths."""
        try:
            found = msgspec.json.decode(self.resource_data, type=_ResourceData).id
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            found = None
        return _object_id(found or "") or _object_id(self.resource or "")


class _ResourceData(msgspec.Struct, frozen=True):
    id: str | None = None


class _Content(msgspec.Struct, frozen=True, rename="camel"):
    """What is encrypted."""

    id: str
    availability: str
    activity: str | None = None
    sequence_number: str | int | None = None


class _Post(msgspec.Struct, frozen=True, rename="camel"):
    value: Annotated[list[msgspec.Raw], msgspec.Meta(max_length=MOST_ITEMS)]
    validation_tokens: list[str] | None = None


class _Read(msgspec.Struct):
    """What was in sealed notifications."""

    said: list[tuple[Said, str]] = []
    """With what tells one notification from all others."""
    look: list[str] = []
    """Whose could not be opened now."""
    refused: list[str] = []
    """Why others are not believed."""


async def receive(room: Room, params: Mapping[str, str], body: bytes) -> Answer:
    """Take a request to ``/notifications/presence``. 202 whatever was sent, but for the handshake."""
    if TOKEN in params:
        return handshake(params[TOKEN])
    answer = await _received(room, memory_of(room), body)
    report_soon(room)
    return answer


async def _received(room: Room, memory: Memory, body: bytes) -> Answer:
    started, now = time.monotonic(), room.now()
    items, tokens, unread = parse(body) if len(body) <= LARGEST_BODY else ([], [], 1)
    refuse(memory, unread, UNREADABLE)
    if not items:
        return ACCEPTED
    if sum(memory.heard.late.values()) + len(body) > LATE_BYTES:
        memory.heard.is_lost = True  # Graph is asked about everybody when the others have ended
        return ACCEPTED
    memory.heard.turn += 1
    news = News(at=stamp(now), turn=memory.heard.turn)
    work = asyncio.create_task(_work(room, memory, items, tokens, news))
    await asyncio.wait([work], timeout=RECORD_SECONDS)
    if not work.done():
        # Storage is slow, or very much comes at once: no message then, for which the answer would have to wait.
        memory.heard.late[work] = len(body)
        work.add_done_callback(memory.heard.late.pop)
        doubt(room)
        return ACCEPTED
    updates = _looks(room, news.look)
    if news.ended:
        updates += (Update(room.id, subscriptions=True),)
    written = work.result()
    if written is not None and not await _is_done(written, started + ANSWER_SECONDS) and _may_queue(memory, now):
        updates += (Update(room.id),)
    return Answer(202, updates=updates)


async def _work(
    room: Room, memory: Memory, items: Sequence[Item], tokens: Sequence[str], news: News
) -> asyncio.Future[bool] | None:
    """Prove and record. It is not broken off when Graph's patience ends: it goes on behind the answer then."""
    written = None
    try:
        if (await memory.rules(room, room.now())).are_on:
            await _believe(room, memory, items, tokens, news)
            written = await recorder.record(room, news.said, news.turn) if news.said else None
            _recovered(memory)
    except StoreError as error:
        news.look = news.proven or _known(memory, items)
        _failed(memory, error)
    except Exception:
        log.exception("Presence could not be recorded, Graph is asked instead")
        news.look = news.proven
    if news.look and asyncio.current_task() in memory.heard.late:  # too late for a message
        memory.heard.is_lost = True
    return written


def _known(memory: Memory, items: Sequence[Item]) -> list[str]:
    """Whom notifications are about that come from subscriptions as they were known before storage failed."""
    return [item.object_id for item in items if item.object_id and _record_of(memory, item) is not None]


def _failed(memory: Memory, error: StoreError) -> None:
    """Tell it once, until it works again: whoever sends us anything could fill the log."""
    if not memory.heard.is_failing:
        log.warning("Presence cannot be recorded, Graph is asked instead: %s", error)
    memory.heard.is_failing = True


def _recovered(memory: Memory) -> None:
    if memory.heard.is_failing:
        log.info("Presence is recorded again")
    memory.heard.is_failing = False


def handshake(token: str) -> Answer:
    """The answer to Graph's question whether the address is ours: its token, decoded."""
    if len(token) > LONGEST_TOKEN or UNFIT.search(token):
        return Answer(400, "This is no validation token of Microsoft Graph.")
    return Answer(200, token)


def parse(body: bytes) -> tuple[list[Item], list[str], int]:
    """The notifications of a request, its validation tokens, and how many notifications could not be read."""
    try:
        post = msgspec.json.decode(body, type=_Post)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return [], [], 1
    items: list[Item] = []
    for one in post.value:
        try:
            items.append(msgspec.json.decode(one, type=Item))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
    return items, post.validation_tokens or [], len(post.value) - len(items)


async def _believe(room: Room, memory: Memory, items: Sequence[Item], tokens: Sequence[str], news: News) -> None:
    """Sort out what is proven, into ``news``."""
    now = room.now()
    await _refresh(room, memory, items, now)
    proven = [(item, record) for item in items if (record := _record_of(memory, item)) is not None]
    refuse(memory, len(items) - len(proven))
    news.proven = [item.object_id for item, _ in proven if item.object_id]
    for item, record in proven:
        if item.lifecycle_event:
            await _mark(room, record, item.lifecycle_event, news)
        elif item.encrypted_content is None and item.object_id:
            news.look.append(item.object_id)
    rich = [(item, record) for item, record in proven if item.encrypted_content is not None]
    if not rich:
        return
    try:
        await _check_sender(room, memory, rich[0][1], tokens, now)
    except Unproven as error:
        # One bad token makes the whole request suspect, basic notifications in it too.
        news.look.clear()
        refuse(memory, len(rich), f"the validation token: {error}")
    except Unknown:
        news.look += [item.object_id for item, _ in rich if item.object_id]
    else:
        loop = asyncio.get_running_loop()
        read = await loop.run_in_executor(READER, _read_all, memory, rich, news.at)
        news.said += [one for one, mark in read.said if one.sequence or _is_new(memory, mark)]
        news.look += read.look
        for why in read.refused:
            refuse(memory, 1, why)
        memory.trust.load_soon(room.secrets, {one for _, record in rich for one in _certificates(record)})


async def _check_sender(
    room: Room, memory: Memory, record: PresenceSubscription, tokens: Sequence[str], now: datetime.datetime
) -> None:
    settings: Settings = (await memory.rules(room, now)).settings
    expected = Expected(
        authority=room.environment.entra_authority,
        tenant_id=record.tenant_id,
        client_id=settings.microsoft.client_id,
        now=now.timestamp(),
    )
    await memory.trust.check(tokens, expected, now)


def _read_all(memory: Memory, rich: Sequence[tuple[Item, PresenceSubscription]], moment: str) -> _Read:
    """Decrypt, in a thread, where nothing of the process is changed: 650 of them take a quarter of a second."""
    read = _Read()
    for item, record in rich:
        try:
            read.said.append((_said(memory, item, record, moment), _mark_of(item)))
        except (Unknown, msgspec.DecodeError, UnicodeDecodeError):  # Graph's, and we cannot read it
            if item.object_id:
                read.look.append(item.object_id)
        except Unreadable as error:
            read.refused.append(str(error))
    return read


def _said(memory: Memory, item: Item, record: PresenceSubscription, moment: str) -> Said:
    sealed = item.encrypted_content
    assert sealed is not None  # noqa: S101 - the caller chose those
    if sealed.encryption_certificate_id not in _certificates(record):
        raise Unreadable("it names a certificate that the subscription does not have")
    raw = open_sealed(sealed, memory.trust.private_key(sealed.encryption_certificate_id))
    content = msgspec.json.decode(raw, type=_Content)
    object_id = _object_id(content.id)
    if not object_id or object_id != item.object_id:
        raise Unreadable("it is about somebody else than it says outside")
    teams = Teams(content.availability, content.activity or "")
    return Said(object_id=object_id, teams=teams, sequence=as_text(content.sequence_number), at=moment)


def _mark_of(item: Item) -> str:
    """The same in a notification that is sent again, and in no other: its key is encrypted with random padding."""
    sealed = item.encrypted_content
    return "" if sealed is None else f"{sealed.data_key[:64]}{sealed.data_signature}"


def _is_new(memory: Memory, mark: str) -> bool:
    """Whether this was not read before. A state without a number would count as the newest again."""
    known = memory.heard.unnumbered
    is_new = mark not in known
    known[mark] = None
    if len(known) > REPEATS:
        del known[next(iter(known))]
    return is_new


async def _is_done(written: asyncio.Future[bool], deadline: float) -> bool:
    """Whether the PBX has it before ``deadline``; if not, it goes on behind the answer."""
    await asyncio.wait([written], timeout=max(0.0, deadline - time.monotonic()))
    return written.done() and written.result()


async def _refresh(room: Room, memory: Memory, items: Sequence[Item], now: datetime.datetime) -> None:
    """Read the subscriptions anew when they are old, or when somebody names an unknown one."""

    def is_known() -> bool:
        return all(item.subscription_id in memory.records for item in items)

    def is_fresh() -> bool:
        return memory.records_at is not None and memory.records_at <= now < memory.records_at + FRESH

    if is_known() and is_fresh():
        return
    asked = time.monotonic()
    async with memory.reading:
        if memory.read_at > asked and memory.heard.fault is not None:
            raise memory.heard.fault
        if is_fresh() and (is_known() or memory.read_at > asked):
            return  # another request did it meanwhile
        if is_fresh():
            await asyncio.sleep(memory.read_at + PAUSE_SECONDS - time.monotonic())
        memory.read_at, memory.heard.fault = time.monotonic(), None
        try:
            records = [kept.record for kept in (await room.store.subscriptions()).values()]
        except StoreError as error:
            memory.heard.fault = error
            raise
        memory.records = {record.id: record for record in records if record.id}
        memory.asked = [record for record in records if record.state == "asked"]
        memory.records_at = now


def _record_of(memory: Memory, item: Item) -> PresenceSubscription | None:
    """The subscription that a notification proves to come from; ``None`` for a forged one."""
    known = memory.records.get(item.subscription_id)
    return next((record for record in ([known] if known else memory.asked) if _proves(item, record)), None)


def _proves(item: Item, record: PresenceSubscription) -> bool:
    given = (item.client_state or "").encode("utf-8", "surrogatepass")
    is_known = bool(record.client_state) and hmac.compare_digest(given, record.client_state.encode())
    return is_known and (item.tenant_id or "").casefold() == record.tenant_id.casefold()


async def _mark(room: Room, record: PresenceSubscription, event: str, news: News) -> None:
    """Have a subscription renewed or made anew by whoever takes the message; a later state of it is left alone."""
    state = {"reauthorizationrequired": "renew", "subscriptionremoved": "gone"}.get(event.casefold())
    kept = (await room.store.subscriptions()).get(record.account)
    if state is None or kept is None or kept.record.id != record.id or kept.record.state != "live":
        return
    changed = msgspec.structs.replace(kept.record, state=state, next_try_at="")
    try:
        await room.store.save_subscription(changed, kept.etag)
    except Changed:
        return  # somebody is at it
    news.ended.append(record)


def _certificates(record: PresenceSubscription) -> list[str]:
    return [one for one in (record.certificate_id, record.earlier_certificate_id) if one]


def _looks(room: Room, object_ids: Iterable[str]) -> tuple[Update, ...]:
    distinct = list(dict.fromkeys(object_ids))
    return tuple(Update(room.id, look=some) for some in batched(distinct, LOOK, strict=False))


def _may_queue(memory: Memory, now: datetime.datetime) -> bool:
    """A message does for whatever is pending when it is carried out: under load one is made at most every 2 s."""
    if memory.message_at is not None and memory.message_at <= now < memory.message_at + MESSAGE_PAUSE:
        return False
    memory.message_at = now
    return True


def _object_id(text: str) -> str:
    last = text.rstrip("/").rsplit("/", 1)[-1]
    return last.lower() if OBJECT_ID.fullmatch(last) else ""
