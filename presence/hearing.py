"""What counts of what is heard about users, in whatever order and however often. Pure."""

import datetime

import msgspec

from store.presence import Source, Teams, UserPresence

SETTLED = datetime.timedelta(minutes=10)
"""So long after something was heard Graph's reads agree with it: what is read then counts, whatever its number."""
KEPT_CHANGES = 1_000_000


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
        return row if sequence == row.sequence else msgspec.structs.replace(row, sequence=sequence)
    return msgspec.structs.replace(
        row,
        teams=said.teams,
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


def _has_settled(row: UserPresence, said: Said) -> bool:
    age = datetime.datetime.fromisoformat(said.at) - datetime.datetime.fromisoformat(row.heard_at)
    return said.source == "poll" and age >= SETTLED
