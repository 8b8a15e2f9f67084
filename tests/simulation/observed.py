"""What the simulation sees of a run: the PBX and the records before and after it, and the truth in Entra meanwhile."""

from collections.abc import Mapping
from typing import Any

import msgspec

from store.cursors import Cursor
from store.document import Settings
from store.links import Link
from store.runs import Run, RunItem

FIELDS = ("first_name", "last_name", "email_addr", "mobile_number", "title")

type Person = Mapping[str, Any]
"""The properties of a user in Entra, by Graph's names."""
type Extension = Mapping[str, str]
"""Number and synced fields of an extension, by the PBX's names."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The PBX, and what the bridge has on record."""

    extensions: Mapping[int, Extension]
    links: Mapping[str, Link]
    intents: Mapping[str, str]
    """Creates whose outcome is not known yet: object ids by number."""
    cursor: Cursor | None
    counted: int
    """Linked users as the status of the connection tells."""
    held: frozenset[str]
    """Users whose removal waits for an administrator, or was rejected."""

    def linked(self) -> dict[int, Link]:
        """The links in force, by the id of their extension."""
        return {link.pbx_id: link for link in self.links.values() if link.state == "linked" and link.pbx_id is not None}


class Circumstances(msgspec.Struct, frozen=True, kw_only=True):
    """What held while a run went on."""

    settings: Settings
    people: Mapping[str, Person]
    """The live users of the tenant."""
    members: frozenset[str] | None
    """Of the groups in the scope; ``None`` when the scope is not by group or names a group that is gone."""
    scope_is_broken: bool
    capacity: int
    approved: frozenset[str]
    clean: bool
    """Nothing was broken, so the run has no excuse."""
    touched: frozenset[int]
    """Extensions changed by hand since the last clean full run."""
    rearranged: bool
    """Since then extensions were made or deleted by hand, or the licence changed."""
    waiting: frozenset[str]
    """Users about whom an earlier run said that they have to wait for something."""
    made_meanwhile: frozenset[int] = frozenset()
    """Extensions that somebody made while the run went on."""


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """One run, from its first execution to its last."""

    run: Run
    items: list[RunItem]
    """What was recorded now; a run that was left unfinished earlier has older ones."""
    all_items: list[RunItem]
    before: Snapshot
    after: Snapshot
    during: Circumstances
    previous: "Ran | None" = None
    """The run before this one, when nothing changed between the two."""
    up_to_date: bool = False
    """Nothing changed in Entra or in the rules since the last clean run, and nothing failed."""
    spoken: str = ""
    """Everything that was logged or recorded."""
    sensitive: frozenset[str] = frozenset()
    """Secrets, tokens and passwords that came up so far."""
    violations: tuple[str, ...] = ()
    """What the PBX was sent that is not documented."""
    signs_in_blocked: bool = False

    @property
    def is_finished(self) -> bool:
        return self.run.status in {"succeeded", "partial", "failed", "refused"}

    @property
    def is_clean_success(self) -> bool:
        return self.during.clean and self.run.status == "succeeded" and not self.run.preview

    @property
    def is_clean_full(self) -> bool:
        """A whole look at everything, with nothing in its way."""
        return self.is_clean_success and self.run.mode == "full" and self.run.object_id is None
