"""What counts of what is heard about users, in whatever order and however often. Pure."""

import datetime
from collections.abc import Iterable, Mapping

import msgspec

from store.presence import PresenceSubscription, Source, Teams, UserPresence

SETTLED = datetime.timedelta(minutes=10)
"""So long after something was heard Graph's reads agree with it: what is read then counts, whatever its number."""
LATE = datetime.timedelta(minutes=2)
"""Graph announces presence within 10 s as a rule, and within a minute at the worst
(https://learn.microsoft.com/graph/change-notifications-overview#latency)."""
KEPT_CHANGES = 1_000_000
KEPT_EARLIER = 8
"""States of Teams that may have been written without being recorded; statuses are six."""


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """A state of one user in Teams."""

    object_id: str
    """In lower case."""
    teams: Teams
    sequence: str = ""
    """Sortable; empty where Graph gives none."""
    at: str
    """When it was announced, or asked for: a read is no newer than its request (RFC 3339, UTC, milliseconds)."""
    source: Source = "notification"


def stamp(moment: datetime.datetime) -> str:
    """A moment as the records have it: texts in the order of time."""
    return moment.astimezone(datetime.UTC).isoformat(timespec="milliseconds")


def hear(row: UserPresence, said: Said) -> UserPresence:
    """The record after something was said; the same one when it is old or says nothing new."""
    if is_old(row, said):
        return row
    sequence = said.sequence or row.sequence
    if said.teams == row.teams:
        is_announced = said.source == "notification" and row.source == "poll"
        return msgspec.structs.replace(row, sequence=sequence, source="notification" if is_announced else row.source)
    # While something is pending it may be written at any moment, and how that ended may never be recorded.
    earlier = [*(one for one in row.earlier if one != row.teams), row.teams] if row.is_pending else row.earlier
    return msgspec.structs.replace(
        row,
        teams=said.teams,
        earlier=earlier[-KEPT_EARLIER:],
        sequence=sequence,
        heard_at=max(said.at, row.heard_at),
        source=said.source,
        changes=min(row.changes + 1, KEPT_CHANGES),
        is_pending=True,
    )


def is_old(row: UserPresence, said: Said) -> bool:
    """Whether something newer was heard before. Numbers decide where both have one, else the order of arrival."""
    if not row.heard_at:
        return False
    if said.sequence and row.sequence:
        is_earlier = rank(said.sequence) < rank(row.sequence)
        return is_earlier and not _has_settled(row, said)
    return said.at < row.heard_at


def rank(sequence: str) -> tuple[int, str]:
    """Sorts sequence numbers as Graph does, and those of different lengths as numbers."""
    digits = sequence.lstrip("0")
    return (len(digits), digits) if sequence.isascii() and sequence.isdecimal() else (0, sequence)


def announced(records: Iterable[PresenceSubscription], now: datetime.datetime) -> set[str]:
    """Whose changes these subscriptions announce now."""
    return {user.lower() for record in records if record.covers(stamp(now)) for user in record.users}


def lost_by(
    record: PresenceSubscription, rows: Mapping[str, UserPresence], now: datetime.datetime
) -> list[UserPresence]:
    """Users whose present state a subscription should have announced by now, and that was found by asking."""
    begin = stamp(datetime.datetime.fromisoformat(record.since) + LATE) if record.since else ""
    end = stamp(now - LATE)
    users = (rows[key] for key in record.users if key in rows)
    return [
        row
        for row in users
        if record.covers(stamp(now)) and row.is_followed and row.source == "poll" and begin < row.heard_at < end
    ]


def _has_settled(row: UserPresence, said: Said) -> bool:
    age = datetime.datetime.fromisoformat(said.at) - datetime.datetime.fromisoformat(row.heard_at)
    return said.source == "poll" and age >= SETTLED
