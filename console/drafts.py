"""Rules that are typed and not saved yet, kept while a preview shows what they would do."""

import hashlib

import msgspec

from console.rules import Sections, Sheet
from console.visit import Visit
from store.links import Kind
from store.tables import Row, long_text

TABLE = "drafts"


class Draft(msgspec.Struct, frozen=True):
    """What somebody typed, and the preview of it."""

    run: str
    """The id of the preview."""
    sections: Sections
    revision: str
    base: str

    @property
    def sheet(self) -> Sheet:
        return Sheet(self.sections, self.revision, self.base)


async def keep(visit: Visit, kind: Kind, sheet: Sheet, run: str) -> None:
    """Keep what was typed; somebody has one draft for each kind, so a new one takes the place of the last."""
    data = msgspec.json.encode(Draft(run, sheet.sections, sheet.revision, sheet.base)).decode()
    await visit.connection.tables.upsert(TABLE, Row(visit.connection.id, _key(visit, kind), long_text(data)))


async def draft_of(visit: Visit, kind: Kind, run: str) -> Draft | None:
    """What the visitor typed for this preview; ``None`` when it is somebody else's, or another one followed."""
    row = await visit.connection.tables.get(TABLE, visit.connection.id, _key(visit, kind))
    draft = None if row is None else msgspec.json.decode(row.text(), type=Draft)
    return draft if draft is not None and draft.run == run else None


async def forget(visit: Visit, kind: Kind) -> None:
    """The draft was saved."""
    await visit.connection.tables.delete(TABLE, visit.connection.id, _key(visit, kind))


def _key(visit: Visit, kind: Kind) -> str:
    account = visit.session.account if visit.session else ""
    return f"{kind}-{hashlib.sha256(account.encode()).hexdigest()}"
