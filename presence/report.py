"""How presence does: figures for monitors, and the table of users for the console. Reads storage, and of the PBX what
the extensions of one page show."""

import datetime
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from pbx.errors import PbxError
from pbx.presence import Shown, read_presence
from presence.hearing import announced, lost_by, stamp
from presence.refusals import counted
from presence.room import Room, Rules, memory_of
from store.errors import SecretMissing
from store.presence import Announcer, Clock, Delay, Figures, PresenceSubscription, UserPresence

log = logging.getLogger("presence")

LATELY = datetime.timedelta(hours=1)
FRESH = datetime.timedelta(seconds=8)
"""So long what the PBX said is shown again: several people may watch the same page."""
MOST_READ = 100
"""Of so many users at once the PBX is asked what their extensions show."""

type Only = Literal["", "followed", "off", "own", "announced", "polled", "manual", "custom", "failed", "pending"]
type Way = Literal["subscription", "poll", ""]


class Line(msgspec.Struct, frozen=True):
    """One user as the table shows it."""

    user: UserPresence
    source: Way
    """How changes of the user are heard of; empty: they are not."""
    shown: Shown | None = None
    """What the extension shows now; ``None`` when the PBX was not asked, cannot be, or does not have it any more."""


class Listed(msgspec.Struct, frozen=True):
    """A page of the table."""

    lines: list[Line]
    total: int
    trouble: str = ""
    """Why the PBX cannot be asked, for people; empty when it can."""


async def figures(room: Room) -> Figures:
    """The figures. While presence is off it costs one read, else one for each 1,000 users and a few more."""
    settings = (await room.settings.load()).settings
    if not settings.presence.enabled:
        return Figures(enabled=False)
    await counted(room)
    clock = (await room.store.clock()).clock
    records = await _subscriptions(room)
    clock = msgspec.structs.replace(clock, refused=clock.refused + memory_of(room).refused)
    return _figures(await room.store.all(), records, clock, room.now())


async def table(
    room: Room, *, search: str = "", only: Only = "", top: int = 25, skip: int = 0, is_live: bool = True
) -> Listed:
    """Some of the users who could be followed, by name. ``is_live``: with what their extensions show now."""
    covered = announced(await _subscriptions(room), room.now())
    lines = [Line(row, _way(row, covered)) for row in (await room.store.all()).values() if row.pbx_id is not None]
    found = sorted((one for one in lines if _fits(one, search, only)), key=_order)
    page = found[skip : skip + top]
    shown, trouble = await _shown(room, [one.user for one in page]) if is_live else ({}, "")
    return Listed([_with(one, shown) for one in page], len(found), trouble)


async def one(room: Room, object_id: str) -> Listed:
    """One user, or none."""
    row = (await room.store.some([object_id])).get(object_id.lower())
    if row is None or row.pbx_id is None:
        return Listed([], 0)
    shown, trouble = await _shown(room, [row])
    covered = announced(await _subscriptions(room), room.now())
    return Listed([_with(Line(row, _way(row, covered)), shown)], 1, trouble)


async def _subscriptions(room: Room) -> list[PresenceSubscription]:
    return [kept.record for kept in (await room.store.subscriptions()).values()]


def _figures(
    rows: Mapping[str, UserPresence], records: Sequence[PresenceSubscription], clock: Clock, now: datetime.datetime
) -> Figures:
    moment = stamp(now)
    announced_now = announced(records, now)
    followed = [row for row in rows.values() if row.is_followed]
    covered = sum(row.object_id.lower() in announced_now for row in followed)
    heard = max((row.heard_at for row in followed if row.source == "notification"), default="")
    return Figures(
        enabled=True,
        users=len(followed),
        covered=covered,
        polled=len(followed) - covered,
        pending=sum(row.is_pending for row in followed),
        last_notification=heard or None,
        last_poll=clock.polled_at or None,
        delay_ms=_delay(followed, stamp(now - LATELY)),
        lost=sum(len(lost_by(record, rows, now)) for record in records),
        refused=clock.refused,
        accounts=[_announcer(record, moment) for record in records],
        last_error=clock.last_error,
    )


def _announcer(record: PresenceSubscription, moment: str) -> Announcer:
    is_over = record.state in {"live", "renew"} and not record.covers(moment)
    return Announcer(
        account=record.account,
        state="gone" if is_over else record.state,
        users=len(record.users),
        expires_at=record.expires_at,
        rich=bool(record.certificate_id),
        last_error=record.last_error,
    )


def _delay(rows: Iterable[UserPresence], since: str) -> Delay:
    delays = sorted(row.delay_ms for row in rows if row.written_at >= since and row.delay_ms is not None)
    if not delays:
        return Delay()
    return Delay(delays[(len(delays) - 1) // 2], delays[int((len(delays) - 1) * 0.95)], len(delays))


def _way(row: UserPresence, covered: Collection[str]) -> Way:
    if not row.is_followed:
        return ""
    return "subscription" if row.object_id.lower() in covered else "poll"


def _fits(line: Line, search: str, only: Only) -> bool:
    user, wanted = line.user, search.strip().casefold()
    texts = (user.name, user.user_principal_name, user.number, user.object_id)
    return (not wanted or any(wanted in text.casefold() for text in texts)) and _is_among(line, only)


def _is_among(line: Line, only: Only) -> bool:
    user = line.user
    match only:
        case "":
            return True
        case "followed":
            return user.is_followed
        case "off":
            return not user.is_followed
        case "own":
            return not user.preference.is_default
        case "announced":
            return line.source == "subscription"
        case "polled":
            return line.source == "poll"
        case "manual" | "custom":
            return user.is_followed and user.outcome == only
        case "failed":
            return user.is_followed and user.outcome in {"failed", "gone"}
        case "pending":
            return user.is_followed and user.is_pending


def _order(line: Line) -> tuple[str, str]:
    return (line.user.name or line.user.user_principal_name).casefold(), line.user.object_id


def _with(line: Line, shown: Mapping[int, Shown]) -> Line:
    return msgspec.structs.replace(line, shown=shown.get(line.user.pbx_id or 0))


async def _shown(room: Room, users: Sequence[UserPresence]) -> tuple[Mapping[int, Shown], str]:
    """What extensions show now, and why it is not known."""
    wanted = {user.pbx_id: user.number for user in users[:MOST_READ] if user.pbx_id is not None}
    if not wanted:
        return {}, ""
    memory, now = memory_of(room), room.now()
    rules: Rules = await memory.rules(room, now)
    if rules.settings.missing():
        return {}, "The connection is not set up."
    kept = memory.shown
    if kept is not None and kept[0] <= now < kept[0] + FRESH and wanted.keys() <= kept[1]:
        return kept[2], ""
    try:
        found = await read_presence(await memory.pbx(room, rules, now), wanted)
    except (PbxError, SecretMissing) as error:
        return {}, f"The PBX cannot be asked now: {str(error).rstrip('.')}."
    memory.shown = now, frozenset(wanted), found
    return found, ""
