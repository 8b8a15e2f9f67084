"""The audit trail of a connection: who changed what and when, newest first. Nothing here is ever changed."""

import datetime
import secrets

import msgspec

from store.errors import InvalidRecord
from store.tables import Row, Tables, is_unicode, long_text

TABLE = "audit"
NEWEST = 10**14
"""Row keys count down from here in milliseconds, so that the newest entry comes first."""
MOST_CHARACTERS = 60_000
"""Of one text; the longest settings document with all its group ids is cut, everything usual fits."""
CUT = "… (cut off)"


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One deed. No text of it may hold a secret."""

    key: str = ""
    """Its place in the trail; given when it is read."""
    at: str
    """RFC 3339, UTC."""
    who: str
    account: str = ""
    """``{tenant id}:{object id}``, ``setup-key``, or empty for a program."""
    role: str = ""
    action: str
    """Dotted words, as ``settings.saved``."""
    object: str = ""
    """What it was done to."""
    before: str = ""
    after: str = ""


class AuditStore:
    """The trail of one connection."""

    def __init__(self, tables: Tables, connection: str) -> None:
        self._tables = tables
        self._connection = connection

    async def add(self, entry: Entry) -> None:
        """Record a deed. Texts that are too long are cut: a deed is recorded in any case."""
        kept = msgspec.convert({name: _fitting(text) for name, text in msgspec.to_builtins(entry).items()}, Entry)
        milliseconds = int(datetime.datetime.fromisoformat(entry.at).timestamp() * 1000)
        key = f"{NEWEST - milliseconds:014d}-{secrets.token_hex(4)}"
        await self._tables.create(TABLE, Row(self._connection, key, long_text(msgspec.json.encode(kept).decode())))

    async def newest(self, top: int, before_key: str = "") -> list[Entry]:
        """At most ``top`` entries, newest first, beginning behind (so before in time) the one with ``before_key``."""
        low = f"{before_key}-" if before_key else ""
        rows = self._tables.query(TABLE, self._connection, low=low, top=top)
        return [_entry(row) async for row in rows]


def _fitting(text: str) -> str:
    if not is_unicode(text):
        text = text.encode(errors="replace").decode()
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}{CUT}"


def _entry(row: Row) -> Entry:
    try:
        return msgspec.structs.replace(msgspec.json.decode(row.text(), type=Entry), key=row.key)
    except msgspec.DecodeError as error:
        raise InvalidRecord(f"the entry {row.key} of the audit trail does not decode: {error}") from error
