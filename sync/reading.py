"""Reads everything that a plan needs, from Graph, from the store and from the PBX."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

import msgspec

from graph.client import Graph
from graph.errors import ResyncRequired
from graph.models import User, UserPage
from pbx.client import Pbx
from pbx.models import Capacity
from store.document import Users
from store.links import Link, LinkStore
from sync.fields import desired
from sync.intents import settle
from sync.plan import Extension, Inventory, Leaving, Linked
from sync.planner import UsersInput, needs_inventory


class Directory(msgspec.Struct, frozen=True):
    """Users read from Graph."""

    users: dict[str, User]
    complete: bool
    delta_link: str | None
    """Where the next incremental read begins; ``None`` when only single users were read."""


async def read_directory(graph: Graph, select: Sequence[str], link: str | None) -> Directory:
    """All users, or those changed since ``link``. A link that is no longer good turns into a full read.

    Only a round that was read to its very end comes back: anything less raises.
    """
    if link is not None:
        try:
            users, delta = await _round(graph.user_pages(select, link))
            return Directory(users, complete=False, delta_link=delta)
        except ResyncRequired:
            pass
    try:
        users, delta = await _round(graph.user_pages(select))
    except ResyncRequired:
        # Graph withdrew the read in its middle: begin again, once.
        users, delta = await _round(graph.user_pages(select))
    return Directory(users, complete=True, delta_link=delta)


async def read_one(graph: Graph, select: Sequence[str], object_ids: Iterable[str]) -> Directory:
    """Single users by object id; one that does not exist (any more) counts as removed."""
    from graph.models import Removed

    users: dict[str, User] = {}
    for object_id in object_ids:
        user = await graph.user(object_id, select)
        users[object_id] = user or User(id=object_id, removed=Removed())
    return Directory(users, complete=False, delta_link=None)


class Gathered(msgspec.Struct, frozen=True):
    """The planner's input, and what became of the links that were read."""

    data: UsersInput
    links: dict[str, Link]
    """By object id, with intents settled."""
    adopted: list[Link]
    """Links made of intents whose extension was found, to be stored."""


async def gather(
    directory: Directory,
    *,
    links: LinkStore,
    pbx: Pbx,
    rules: Users,
    members: frozenset[str] | None,
    capacity: Capacity,
    intents: Sequence[Link] = (),
) -> Gathered:
    """Read the links and as much of the PBX as planning these users takes. ``intents`` are creates whose outcome is
    unknown."""
    known = [link async for link in links.all()] if directory.complete else await links.some(directory.users)
    active = {link.object_id: _linked(link) for link in known}
    settled = {link.object_id: link for link in known}
    adopted: list[Link] = []
    inventory = None
    is_unsure = bool(intents) or any(link.unsure for link in known)
    if directory.complete or is_unsure or needs_inventory(directory.users.values(), active, rules, members):
        # Numbers and addresses are unique over the whole PBX, so all links count here.
        recorded = known if directory.complete else [link async for link in links.all()]
        inventory = await read_inventory(pbx, known, [*recorded, *intents], directory, capacity)
        settled = settle([*recorded, *intents], inventory.extensions)
        # What an earlier run settled is on record already, even if the intent still is.
        earlier = {link.object_id: link for link in recorded}
        adopted = [link for object_id, link in settled.items() if link != earlier.get(object_id)]
    found = {link.object_id for link in adopted}
    data = UsersInput(
        users=directory.users,
        complete=directory.complete,
        links={object_id: _linked(link) for object_id, link in settled.items()},
        rules=rules,
        members=members,
        inventory=inventory,
        interrupted={intent.object_id: intent.number for intent in intents if intent.object_id not in found},
    )
    return Gathered(data, settled, adopted)


async def read_inventory(
    pbx: Pbx, known: Sequence[Link], all_links: Sequence[Link], directory: Directory, capacity: Capacity
) -> Inventory:
    """All extensions, with the synced fields of those that the plan may touch."""
    rows = await pbx.extensions()
    linked_ids = {link.pbx_id for link in all_links if link.state == "linked"}
    intended = {link.number for link in all_links if link.state == "intent"}
    touched = {link.pbx_id for link in known if link.pbx_id is not None}
    addresses = {desired(user).email_addr.casefold() for user in directory.users.values() if user.removed is None}
    wanted = [
        row.id
        for row in rows
        if row.id in touched
        or row.number in intended
        or (row.id not in linked_ids and row.email_addr and row.email_addr.casefold() in addresses)
    ]
    details = {extension.id: extension.fields() for extension in await pbx.details(wanted)}
    extensions = {
        row.id: Extension(
            row.id,
            row.number,
            details[row.id]["email_addr"] if row.id in details else row.email_addr or "",
            details.get(row.id),
        )
        for row in rows
    }
    return Inventory(extensions, _free(capacity, len(rows)))


def _free(capacity: Capacity, listed: int) -> int | None:
    if capacity.extension_capacity is None:
        return None
    return max(0, capacity.extension_capacity - max(listed, capacity.extension_used or 0))


async def _round(pages: AsyncIterator[UserPage]) -> tuple[dict[str, User], str]:
    """The users of a delta round, the last entry of each winning, and the next delta link."""
    users: dict[str, User] = {}
    delta = ""
    async for page in pages:
        for user in page.value:
            users[user.id] = user
        delta = page.delta_link or ""
    return users, delta


def _linked(link: Link) -> Linked:
    return Linked(
        object_id=link.object_id,
        pbx_id=link.pbx_id or 0,
        number=link.number,
        name=link.name,
        user_principal_name=link.user_principal_name,
        written=link.written,
        released=link.state == "released",
        leaving=Leaving(link.leaving_since, link.leaving_reason),
    )


def linked_count(links: Mapping[str, Link]) -> int:
    """How many of these links are in force."""
    return sum(link.state == "linked" for link in links.values())
