"""Choosing groups of the tenant: a search over all of them, and the names of those that are chosen."""

from collections.abc import Sequence

import msgspec

from console.visit import Visit
from sync.choices import GroupChoice, names_of, search_groups
from sync.connect import Trouble

TOP = 50
NAMED = 300
"""So many names are asked of the tenant for one page, 15 in a request; further groups are shown by their ids."""
KIND_WORDS = {"security": "Security group", "microsoft365": "Microsoft 365 group", "other": "Distribution group"}


class Chosen(msgspec.Struct, frozen=True):
    """A chosen group; the name is empty when the tenant has no group with this id, or could not be asked."""

    id: str
    name: str


class Found(msgspec.Struct, frozen=True):
    """A group that the search found."""

    id: str
    name: str
    about: str
    """Its kind, and its address if it has one."""


class Picker(msgspec.Struct, frozen=True):
    """What the picker shows."""

    path: str
    """The address of the form."""
    field: str
    """The field of the form with the ids."""
    chosen: Sequence[Chosen]
    text: str = ""
    """What was searched for; empty: nothing yet."""
    found: Sequence[Found] = ()
    is_cut: bool = False
    """There are more than are shown."""
    trouble: str = ""
    """Why the tenant could not be asked."""

    @property
    def ids(self) -> set[str]:
        """The ids of the chosen groups in lower case, as the tenant writes them."""
        return {group.id.lower() for group in self.chosen}


def chosen_ids(visit: Visit, ids: Sequence[str]) -> list[str]:
    """The ids after the button of the picker that was pressed, which adds a group or removes one."""
    added, removed = visit.text("add"), visit.text("remove")
    kept = [id_ for id_ in ids if id_.lower() not in {added.lower(), removed.lower()}]
    return [*kept, added] if added else kept


async def picked(visit: Visit, path: str, field: str, ids: Sequence[str]) -> Picker:
    """The picker with these groups chosen, and what the search typed finds. A tenant that cannot be asked is told in
    it. Names that the form brings along are not asked again. ``path``: the form's; ``field``: that with the ids."""
    text = visit.text("search")
    names = _brought(visit)
    found: list[GroupChoice] = []
    trouble = ""
    try:
        unknown = [id_ for id_ in ids if id_.lower() not in names][:NAMED]
        names |= {group.id: group.name for group in await names_of(visit.connection, unknown)}
        found = await search_groups(visit.connection, text, TOP) if text else []
    except Trouble as error:
        trouble = f"{error} {error.action}".strip()
    return Picker(
        path=path,
        field=field,
        chosen=[Chosen(id_, names.get(id_.lower(), "")) for id_ in ids],
        text=text,
        found=[_found(group) for group in found],
        is_cut=len(found) >= TOP,
        trouble=trouble,
    )


def _brought(visit: Visit) -> dict[str, str]:
    """The names that the picker wrote into the form: an id, a space, a name."""
    pairs = (text.partition(" ") for text in visit.texts("named"))
    return {id_: name for id_, _, name in pairs if name}


def _found(group: GroupChoice) -> Found:
    kind = KIND_WORDS.get(group.kind, "Group")
    return Found(group.id, group.name, f"{kind}, {group.mail}" if group.mail else kind)
