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


def as_text(sequence: str | int | None) -> str:
    """A sequence number as the records have it: Graph writes it as a text, or as a number as in its other
    notifications."""
    return "" if sequence is None else str(sequence)


def hear(row: UserPresence, said: Said) -> UserPresence:
    """The record after something was said; the same one when it is old or says nothing new."""
    if is_old(row, said):
        return row
    if said.teams == row.teams:
        is_announced = said.source == "notification" and row.source == "poll"
        source: Source = "notification" if is_announced else row.source
        return msgspec.structs.replace(row, sequence=said.sequence or row.sequence, source=source)
    # An announced state without a number must not go by that of the one before: a read that was asked for earlier would
    # be newer.
    sequence = said.sequence or ("" if said.source == "notification" else row.sequence)
    # While something is pending it may be written at any moment, and how that ended may never be recorded.
    earlier = [*(one for one in row.earlier if one != row.teams), row.teams] if row.is_pending else row.earlier
    return msgspec.structs.replace(
        row,
        teams=said.teams,
        earlier=earlier[-KEPT_EARLIER:],
        sequence=sequence,
        heard_at=said.at if _is_ahead(row, said) else max(said.at, row.heard_at),
        source=said.source,
        changes=min(row.changes + 1, KEPT_CHANGES),
        is_pending=True,
        is_recheck=False,
    )


def is_old(row: UserPresence, said: Said) -> bool:
    """Whether something newer was heard before. Numbers decide where both have one, else the order of arrival."""
    if not row.heard_at:
        return False
    if said.sequence and row.sequence:
        return is_before(said.sequence, row.sequence) and not _has_settled(row, said)
    return said.at < row.heard_at and not _is_ahead(row, said)


def is_before(one: str, other: str) -> bool:
    """Whether a sequence number is lower than another one: as texts, as Graph sorts them, and two numbers of different
    lengths as numbers."""
    if all(text.isascii() and text.isdecimal() for text in (one, other)):
        digits, others = one.lstrip("0"), other.lstrip("0")
        return (len(digits), digits) < (len(others), others)
    return one < other


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


def _is_ahead(row: UserPresence, said: Said) -> bool:
    """Whether the record's moment is of a clock that was wrong: nothing takes so long to be recorded."""
    heard_at, at = (datetime.datetime.fromisoformat(moment) for moment in (row.heard_at or said.at, said.at))
    return heard_at - at > SETTLED


def _has_settled(row: UserPresence, said: Said) -> bool:
    age = datetime.datetime.fromisoformat(said.at) - datetime.datetime.fromisoformat(row.heard_at)
    return said.source == "poll" and age >= SETTLED
