"""What an administrator chooses from: groups and users of the tenant, and what would go with a pause or an end."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence

import msgspec

from graph.client import Graph
from graph.errors import Unavailable
from graph.models import FoundGroup
from store.groups import GroupKind
from store.links import Kind
from store.validation import GUID
from sync.connect import Trouble, translated
from sync.connection import Connection

PATIENCE_SECONDS = 10.0
"""So long somebody who types waits for Graph."""
NAMES = 5


class GroupChoice(msgspec.Struct, frozen=True, kw_only=True):
    """A group of the tenant."""

    id: str
    name: str
    kind: GroupKind
    mail: str = ""


class UserChoice(msgspec.Struct, frozen=True, kw_only=True):
    """A user of the tenant."""

    id: str
    name: str
    user_principal_name: str
    mail: str = ""


class Going(msgspec.Struct, frozen=True, kw_only=True):
    """What a pause, a disabling or a disconnection with deletion deletes."""

    kind: Kind
    number: int
    """Linked objects, as of the last run."""
    names: list[str]
    """A few of them: ``Noor Bakker (1001)``."""


async def search_groups(connection: Connection, text: str, top: int = 50) -> list[GroupChoice]:
    """At most ``top`` groups (999 at the utmost) of the whole tenant with a word in their name that begins with
    ``text``, by name; any groups for an empty text. ``Trouble`` when Graph cannot be asked."""
    async with _graph(connection) as graph:
        return _sorted(await graph.search_groups(text, top))


async def names_of(connection: Connection, ids: Iterable[str]) -> list[GroupChoice]:
    """The groups with these object ids, by name; those that do not exist (any more) are left out, and what is no object
    id as well. One request for each 15. ``Trouble`` when Graph cannot be asked."""
    wanted = list(dict.fromkeys(one.lower() for one in ids if GUID.fullmatch(one)))
    if not wanted:
        return []
    async with _graph(connection) as graph:
        return _sorted(await graph.groups_by_id(wanted))


async def search_users(connection: Connection, text: str, top: int = 50) -> list[UserChoice]:
    """At most ``top`` users (999 at the utmost) whose name, user principal name or address has a word that begins with
    ``text``, by name. ``Trouble`` when Graph cannot be asked."""
    async with _graph(connection) as graph:
        found = await graph.search_users(text, top)
    choices = [
        UserChoice(
            id=user.id,
            name=user.display_name or "",
            user_principal_name=user.user_principal_name or "",
            mail=user.mail or "",
        )
        for user in found
    ]
    return sorted(choices, key=lambda choice: (choice.name.casefold(), choice.id))


async def what_would_go(connection: Connection, kinds: Sequence[Kind]) -> list[Going]:
    """How much of each kind is linked, and a few names. One storage request, and one for each kind."""
    counts = (await connection.health.load()).counts
    return [Going(kind=kind, number=counts.get(kind, 0), names=await _some_names(connection, kind)) for kind in kinds]


async def _some_names(connection: Connection, kind: Kind) -> list[str]:
    """Of the first links that there are; what is released stays where it is."""
    links = [link async for link in connection.links(kind).first(4 * NAMES) if link.state == "linked"]
    return [f"{link.name} ({link.number})" if link.number else link.name for link in links[:NAMES]]


@contextlib.asynccontextmanager
async def _graph(connection: Connection) -> AsyncIterator[Graph]:
    """Graph of the saved connection, for somebody who waits."""
    settings = (await connection.settings.load()).settings
    missing = [path for path in settings.missing() if path.startswith("/microsoft")]
    if missing:
        words = f"The settings lack {' and '.join(missing)}."
        raise Trouble("not_connected", words, "Connect the tenant first.")
    with translated():
        async with await connection.open_graph(settings, await connection.health.load()) as graph:
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    yield graph
            except TimeoutError:
                raise Unavailable("Graph does not answer in time") from None


def _sorted(found: Iterable[FoundGroup]) -> list[GroupChoice]:
    choices = [
        GroupChoice(id=group.id, name=group.display_name or "", kind=_kind(group), mail=group.mail or "")
        for group in found
    ]
    return sorted(choices, key=lambda choice: (choice.name.casefold(), choice.id))


def _kind(group: FoundGroup) -> GroupKind:
    if "Unified" in (group.group_types or ()):
        return "microsoft365"
    return "security" if group.security_enabled else "other"
