"""The tenant's groups as one execution sees them: the last run's mirror, brought up to date by ``groups/delta``."""

import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping

import msgspec

from graph.client import Graph
from graph.errors import ResyncRequired
from graph.models import GROUP_SELECT, Group, GroupPage
from store.cursors import Cursor, CursorStore
from store.document import Settings
from store.groups import DirectoryGroup, GroupStore
from sync.membership import Merged, Tree, merge

CURSOR = "groups"
SELECTED = ",".join(GROUP_SELECT)
RETRY_LIMIT = 2000


class _Round(msgspec.Struct, frozen=True):
    """What Graph answered."""

    entries: list[Group]
    complete: bool
    delta_link: str


class TenantGroups:
    """Reads groups and memberships at most once in an execution, and only as much of the mirror as is asked for."""

    def __init__(
        self, graph: Graph, store: GroupStore, cursors: CursorStore, *, settings: Settings, is_full: bool
    ) -> None:
        self._graph = graph
        self._store = store
        self._cursors = cursors
        self._mark = groups_mark(settings)
        self._is_full = is_full
        self._round: _Round | None = None
        self._is_open = False
        self._known: dict[str, DirectoryGroup] = {}
        """The mirror before the round; of groups that the round does not name, the users are loaded when needed."""
        self._merged = Merged({}, frozenset(), frozenset(), frozenset())
        self._loaded: set[str] = set()
        """Groups whose users were loaded from the mirror."""
        self.retry: frozenset[str] = frozenset()
        """Object ids of groups and users that an earlier run left to be looked at."""
        self.is_followed = False
        """The run is about users as well, and looks at those who entered or left the groups of their scope."""

    @property
    def was_read(self) -> bool:
        return self._round is not None

    @property
    def is_quiet(self) -> bool:
        """Nothing changed since the last run, and nothing was left over."""
        return self._round is not None and not (self._round.complete or self._round.entries or self.retry)

    @property
    def complete(self) -> bool:
        """All groups were read anew; nothing is known of who was in which group before."""
        return self._round is not None and self._round.complete

    def entry_ids(self) -> set[str]:
        """The groups that Graph had entries about, as read."""
        return {entry.id for entry in self._round.entries} if self._round is not None else set()

    @property
    def groups(self) -> Mapping[str, DirectoryGroup]:
        """All groups of the tenant by id, once it is open. The users may be missing of those that the round did not
        name."""
        return self._merged.groups

    @property
    def named(self) -> frozenset[str]:
        """Groups that the round had entries about."""
        return self._merged.named

    @property
    def removed(self) -> frozenset[str]:
        return self._merged.removed

    def changed(self) -> frozenset[str]:
        """Groups that are not what they were when the last run was done, and the groups that contain one of those."""
        return self.containing(self._merged.changed | self._merged.removed)

    async def read(self) -> None:
        """Read what changed, or everything. Only a round that was read to its very end counts: anything less raises."""
        if self._round is not None:
            return
        cursor = await self._cursors.load(CURSOR)
        self.retry = frozenset() if cursor is None else frozenset(cursor.retry)
        is_good = cursor is not None and cursor.selected == SELECTED and cursor.scope == self._mark
        self._round = await _read(self._graph, cursor.link if cursor and is_good and not self._is_full else None)

    async def open(self) -> None:
        """Read, and put what was read and the mirror together. Not needed when nothing happened."""
        await self.read()
        if self._is_open or self._round is None:
            return
        skeleton = await self._store.skeleton()
        if not skeleton and not self._round.complete:
            self._round = await _read(self._graph, None)  # the mirror is lost
        named = {entry.id for entry in self._round.entries}
        wanted = set(skeleton) if self._round.complete else named & skeleton.keys()
        users = await self._store.users(wanted) if wanted else {}
        self._loaded = set(wanted)
        self._known = {
            group_id: DirectoryGroup(
                id=group_id,
                name=bones.name,
                kind=bones.kind,
                groups=bones.groups,
                users=users.get(group_id, frozenset()),
            )
            for group_id, bones in skeleton.items()
        }
        self._merged = merge(self._known, self._round.entries, self._round.complete)
        self._is_open = True

    async def members(self, group_ids: Iterable[str]) -> dict[str, frozenset[str]]:
        """All users in each of these groups, nested groups included."""
        await self.open()
        wanted = list(group_ids)
        await self._load(Tree(self._merged.groups).within(wanted))
        tree = Tree(self._merged.groups)
        return {group_id: tree.users(group_id) for group_id in wanted}

    async def moved(self, group_ids: Iterable[str]) -> frozenset[str] | None:
        """The users who entered or left these groups, taken together, since the last run had done its work; ``None``
        when it is not known who was in them then."""
        await self.open()
        if self.complete:
            return None
        wanted = [group_id.lower() for group_id in group_ids]
        await self._load(Tree(self._known).within(wanted))
        before = Tree(self._known)
        now = await self.members(wanted)
        return frozenset[str]().union(*now.values()) ^ frozenset[str]().union(*map(before.users, wanted))

    def containing(self, group_ids: Iterable[str]) -> frozenset[str]:
        """The groups that contain one of these, directly or not, and these themselves."""
        return Tree(self._merged.groups).ancestors(group_ids) | Tree(self._known).ancestors(group_ids)

    async def keep(self, again: Iterable[str], stamp: str) -> None:
        """Store what was read, now that everything that follows from it is done or in ``again``.

        The mirror comes before the cursor: a round that is read twice changes nothing.
        """
        retry = sorted(set(again))
        if self._round is None or len(retry) > RETRY_LIMIT:
            return
        save = [self._merged.groups[group_id] for group_id in sorted(self._merged.changed)]
        gone = sorted(self._merged.removed & self._known.keys())
        if save or gone:
            await self._store.write(save, gone)
        cursor = Cursor(link=self._round.delta_link, selected=SELECTED, scope=self._mark, made_at=stamp, retry=retry)
        await self._cursors.save(CURSOR, cursor)

    async def _load(self, group_ids: Iterable[str]) -> None:
        """Load the users of these groups, as far as they are not at hand."""
        missing = {group_id for group_id in group_ids if group_id in self._known} - self._loaded
        if not missing:
            return
        users = await self._store.users(missing)
        self._loaded |= missing
        for group_id in missing:
            known = msgspec.structs.replace(self._known[group_id], users=users.get(group_id, frozenset()))
            self._known[group_id] = known
            if group_id in self._merged.groups and group_id not in self._merged.named:
                self._merged.groups[group_id] = known


def groups_mark(settings: Settings) -> str:
    """A fingerprint of the rules that decide about groups that did not change: when they do, everything is read."""
    groups = settings.groups
    decisive = (settings.microsoft.tenant_id, settings.pbx.fqdn, groups.enabled, groups.scope,
                groups.delete_out_of_scope, groups.associate_by_name)  # fmt: skip
    return hashlib.sha256(msgspec.json.encode(decisive)).hexdigest()[:16]


async def _read(graph: Graph, link: str | None) -> _Round:
    """All groups, or those changed since ``link``. A link that is no longer good turns into a full read."""
    if link is not None:
        try:
            return await _round(lambda: graph.group_pages(link=link), complete=False)
        except ResyncRequired:
            pass
    try:
        return await _round(graph.group_pages, complete=True)
    except ResyncRequired:
        # Graph withdrew the read in its middle: begin again, once.
        return await _round(graph.group_pages, complete=True)


async def _round(pages: Callable[[], AsyncIterator[GroupPage]], *, complete: bool) -> _Round:
    entries: list[Group] = []
    delta = ""
    async for page in pages():
        entries += page.value
        delta = page.delta_link or ""
    return _Round(entries, complete, delta)
