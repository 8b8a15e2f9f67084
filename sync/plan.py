"""The plan: what a run will do, and why. A preview shows it, a run carries it out, and there is only this one."""

from collections.abc import Mapping
from typing import Literal

import msgspec

type Kind = Literal["create", "associate", "update", "delete", "release", "skip"]


class Leaving(msgspec.Struct, frozen=True):
    """The mark of an extension that is deleted when its days of grace have passed; without ``since`` there is none."""

    since: str = ""
    """When it was marked (RFC 3339)."""
    reason: str = ""


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to do about one object, with its reason."""

    kind: Kind
    object_id: str
    name: str = ""
    user_principal_name: str = ""
    number: str = ""
    pbx_id: int | None = None
    reason: str
    before: dict[str, str] = {}
    """Synced fields that the operation changes, as they are."""
    after: dict[str, str] = {}
    """The same fields as they will be. A create has them all, a delete none."""
    fields: dict[str, str] = {}
    """All synced fields as they will be; what the link remembers."""
    notes: tuple[str, ...] = ()
    leaving: Leaving | None = None
    """A skip only: the mark that the link gets; one without ``since`` removes it, ``None`` leaves it as it is."""
    any_number: bool = False
    """A create only: the number is just the first free one, another would do as well."""
    members: tuple[str, ...] = ()
    """Groups only: the object ids of the users who will be the members of the extension group."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The operations in the order in which they are carried out: what frees something comes first."""

    operations: tuple[Operation, ...] = ()
    unchanged: int = 0
    out_of_scope: int = 0
    read: int = 0
    """Users read from Entra."""
    leaving: int = 0
    """Extensions with a mark, new ones included: they are deleted when their days of grace have passed."""

    def counts(self) -> dict[str, int]:
        """How many of each kind."""
        counts: dict[str, int] = {}
        for operation in self.operations:
            counts[operation.kind] = counts.get(operation.kind, 0) + 1
        return counts


class Linked(msgspec.Struct, frozen=True, kw_only=True):
    """What the planner knows of a link."""

    object_id: str
    pbx_id: int
    number: str
    name: str = ""
    user_principal_name: str = ""
    written: Mapping[str, str] = {}
    released: bool = False
    """The link was given up; it is remembered so that the same extension can be taken back."""
    leaving: Leaving = Leaving()


class Extension(msgspec.Struct, frozen=True):
    """What the planner knows of an extension."""

    pbx_id: int
    number: str
    email: str = ""
    fields: Mapping[str, str] | None = None
    """Synced fields; ``None`` when only the list's columns were read."""


class Inventory(msgspec.Struct, frozen=True):
    """All extensions of the PBX."""

    extensions: Mapping[int, Extension] = {}
    free: int | None = None
    """Extensions that the licence still allows; ``None`` when the PBX does not say."""


class Held(msgspec.Struct, frozen=True):
    """The guard's verdict: the operations that wait for an administrator, and why."""

    object_ids: frozenset[str] = frozenset()
    reason: str = ""
