"""What a process keeps for a while instead of asking the Key Vault, storage or Entra again, for each connection."""

import dataclasses
import datetime
import weakref
from typing import TYPE_CHECKING

from sso.place import Place
from store.tables import Tables

if TYPE_CHECKING:
    from sso.authority import Authority, SigningKeys
    from sso.sealing import Ring


@dataclasses.dataclass(slots=True)
class Memory:
    """What is known about one connection."""

    ring: "Ring | None" = None
    authorities: "dict[str, Authority]" = dataclasses.field(default_factory=dict)
    """By address."""
    keys: "dict[str, SigningKeys]" = dataclasses.field(default_factory=dict)
    """By the address that publishes them."""
    tokens: dict[tuple[str, ...], tuple[str, datetime.datetime]] = dataclasses.field(default_factory=dict)
    """Access tokens of the accounts, and when they are not used any more."""


# Kept with the storage account that a process opens once: what belongs to it ends with it.
_MEMORIES: weakref.WeakKeyDictionary[Tables, dict[str, Memory]] = weakref.WeakKeyDictionary()


def memory_of(place: Place) -> Memory:
    """The memory of a connection in this process."""
    return _MEMORIES.setdefault(place.tables, {}).setdefault(place.id, Memory())
