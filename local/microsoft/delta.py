"""``users/delta`` and ``groups/delta``: rounds of changes, cut into pages, with every oddity that the service has.

After "Use delta query to track changes in Microsoft Graph data" and the delta pages of user and group. A round reads
the log of changes between two marks and shows each touched object as it is now; what changes meanwhile comes again in
the next round. An initial round walks all objects in order of creation.
"""

import random
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import msgspec

from local.emulator import Clock
from local.microsoft.directory import RELATIONS, Action, Change, Directory, Entity
from local.microsoft.errors import GraphError, bad_request, unknown_property, unsupported_query
from local.microsoft.messages import GraphRequest, GraphResponse, answer
from local.microsoft.properties import DEFAULT, SCHEMA
from local.microsoft.query import allowed
from local.microsoft.users import context

TOKEN_SECONDS = 7 * 86_400
"""How long a directory token can be used ("delta query overview": token duration)."""
MOST_IDS = 50
BEHIND_ALL_LINKS = 1 << 48
"""Above every serial number of a link."""
OPTIONS = frozenset({"$select", "$filter", "$deltatoken", "$skiptoken"})

type ResetAnswer = Literal[
    "410_location",
    "410",
    "410_resync_required",
    "400_expired_page_token",
    "400_sync_state_not_found",
    "400_resync_required",
    "404_sync_state_not_found",
    "404_resync_required",
]


class Switches(msgspec.Struct, forbid_unknown_fields=True):
    """How delta answers, for all rounds that start from now on."""

    page_size: int = 200
    """Objects and links on one page; the service decides it, about 100-200."""
    duplicates: bool = False
    """Every object of a round comes twice."""
    stale_duplicates: bool = False
    """The first of the two shows the object as it was before: the last entry wins."""
    out_of_order: bool = False
    empty_pages: int = 0
    """So many empty pages with a nextLink come first."""
    visible_after_polls: int = 0
    """A change shows only after so many further rounds."""
    replay: int = 0
    """So many changes from before the token come again."""
    removed_in_first_round: bool = False
    """Whether restorable objects show as removed in an initial round."""
    reset_answer: ResetAnswer = "410_location"
    """What an expired token is answered with."""
    delete_groups_softly: bool = False
    """Whether security and distribution groups can be restored, as Microsoft 365 groups always can."""

    def check(self) -> None:
        """``ValueError`` for a number that makes no sense."""
        if self.page_size < 1 or min(self.empty_pages, self.visible_after_polls, self.replay) < 0:
            raise ValueError("page_size has to be at least 1, the other numbers at least 0")


class Shape(msgspec.Struct, frozen=True):
    """The switches that a started round keeps to."""

    duplicates: bool = False
    stale: bool = False
    shuffled: bool = False


class DeltaToken(msgspec.Struct, frozen=True):
    """What an opaque token stands for.

    ``since`` and ``until`` are marks in the log (initial round: ``until`` is a mark in the order of objects);
    ``resume`` is the mark where the next round starts; ``index`` and ``after`` say where the next page starts.
    """

    kind: str
    phase: Literal["initial", "incremental", "delta"]
    select: tuple[str, ...] | None
    ids: tuple[str, ...] | None
    issued: float
    epoch: int
    resume: int
    since: int = 0
    until: int = 0
    index: int = 0
    after: int = 0
    empty_pages: int = 0
    shape: Shape = Shape()


class Item(msgspec.Struct):
    """One object of a round. ``before`` and ``links`` are what was touched; ``whole`` shows everything."""

    id: str
    whole: bool
    before: dict[str, list[Any]] = {}
    links: dict[tuple[str, str], None] = {}
    stale: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """What of an object is shown to this request."""

    context: str
    names: tuple[str, ...]
    relations: tuple[str, ...]
    manager: bool
    minimal: bool
    hidden_members: bool


class DeltaService:
    """Answers delta requests on one directory and remembers the tokens it gave out."""

    def __init__(self, clock: Clock, directory: Directory) -> None:
        self._clock = clock
        self._directory = directory
        self.switches = Switches()
        self.tokens: dict[str, DeltaToken] = {}
        self.epoch = 0
        self._rounds = lru_cache(maxsize=8)(self._make_round)

    def expire(self) -> None:
        """Expire every token given out so far."""
        self.epoch += 1

    def serve(self, request: GraphRequest, kind: str) -> GraphResponse:
        options = allowed(request, OPTIONS)
        token = self._token(request, options, kind)
        view = _view(request, token)
        if token.phase == "delta":
            return self._respond(request, view, [], self._link(request, token))
        if token.empty_pages:
            following = msgspec.structs.replace(token, empty_pages=token.empty_pages - 1)
            return self._respond(request, view, [], self._link(request, following))
        values, index, after = self._page(token, view)
        if index < len(self._items(token)):
            following = msgspec.structs.replace(token, index=index, after=after)
        else:
            following = msgspec.structs.replace(token, phase="delta", index=0, after=0)
        return self._respond(request, view, values, self._link(request, following))

    # Tokens

    def _token(self, request: GraphRequest, options: dict[str, str], kind: str) -> DeltaToken:
        """What this request asks for, as the token that its page would have had."""
        given = [name for name in ("$skiptoken", "$deltatoken") if name in options]
        if given and options[given[0]] not in ("", "latest"):
            if len(options) > 1:
                raise bad_request(f"'{given[0]}' cannot be combined with other query options: use the link unchanged.")
            return self._resume(request, given[0], options[given[0]], kind)
        if "$skiptoken" in options:
            raise bad_request("Badly formed token.")
        return self._begin(options, kind)

    def _begin(self, options: dict[str, str], kind: str) -> DeltaToken:
        switches = self.switches
        token = DeltaToken(
            kind=kind,
            phase="delta" if options.get("$deltatoken") == "latest" else "initial",
            select=_read_select(options, kind),
            ids=_read_ids(options),
            issued=0.0,
            epoch=self.epoch,
            resume=self._directory.visible_log_length(kind, switches.visible_after_polls),
            until=len(self._directory.order[kind]),
        )
        return token if token.phase == "delta" else self._shaped(token)

    def _resume(self, request: GraphRequest, option: str, text: str, kind: str) -> DeltaToken:
        token = self.tokens.get(text)
        if token is None or token.kind != kind or (option == "$deltatoken") != (token.phase == "delta"):
            raise bad_request("Badly formed token.")
        if token.epoch != self.epoch or self._clock.time() >= token.issued + TOKEN_SECONDS:
            raise reset_error(self.switches.reset_answer, request, kind)
        return self._next_round(token) if token.phase == "delta" else token

    def _next_round(self, token: DeltaToken) -> DeltaToken:
        switches, directory = self.switches, self._directory
        directory.polls[token.kind] += 1
        since = max(0, token.resume - switches.replay)
        until = max(token.resume, directory.visible_log_length(token.kind, switches.visible_after_polls))
        started = msgspec.structs.replace(token, phase="incremental", since=since, until=until, resume=until)
        return self._shaped(started)

    def _shaped(self, token: DeltaToken) -> DeltaToken:
        switches = self.switches
        shape = Shape(
            duplicates=switches.duplicates or switches.stale_duplicates,
            stale=switches.stale_duplicates,
            shuffled=switches.out_of_order,
        )
        return msgspec.structs.replace(token, shape=shape, empty_pages=switches.empty_pages)

    def _link(self, request: GraphRequest, token: DeltaToken) -> tuple[str, str]:
        text = secrets.token_urlsafe(32)
        self.tokens[text] = msgspec.structs.replace(token, issued=self._clock.time(), epoch=self.epoch)
        name, option = ("deltaLink", "deltatoken") if token.phase == "delta" else ("nextLink", "skiptoken")
        return f"@odata.{name}", f"{request.root}/{token.kind}s/delta?${option}={text}"

    # Rounds

    def _items(self, token: DeltaToken) -> Sequence[Item | str]:
        """All pages of a round read the same cached list."""
        return self._rounds(
            msgspec.structs.replace(token, issued=0.0, epoch=0, resume=0, index=0, after=0, empty_pages=0)
        )

    def _make_round(self, token: DeltaToken) -> Sequence[Item | str]:
        """The same token gives the same round as long as the directory lives: log and order only grow."""
        kind, ids, shape = token.kind, token.ids, token.shape
        if token.phase == "initial":
            order = self._directory.order[kind][: token.until]
            items: list[Item | str] = [identifier for identifier in order if ids is None or identifier in ids]
        else:
            changes = self._directory.log[kind][token.since : token.until]
            items = list(_touched(changes, frozenset(_tracked(kind, token.select)), ids).values())
        if shape.duplicates:
            items = items + items
        if shape.shuffled:
            random.Random(f"{kind} {token.since} {token.until}").shuffle(items)
        return _with_stale(items) if shape.stale else items

    def _page(self, token: DeltaToken, view: View) -> tuple[list[dict[str, Any]], int, int]:
        items = self._items(token)
        values: list[dict[str, Any]] = []
        index, after, budget = token.index, token.after, self.switches.page_size
        while index < len(items) and budget > 0:
            item = items[index]
            if isinstance(item, str):
                item = Item(item, whole=True)
            shown, after = self._show(item, view, after, budget, first_round=token.phase == "initial")
            if shown is not None:
                values.append(shown)
                budget -= 1 + sum(len(shown.get(f"{relation}@delta", ())) for relation in view.relations)
            index += after == 0
        return values, index, after

    def _show(
        self, item: Item, view: View, after: int, budget: int, *, first_round: bool
    ) -> tuple[dict[str, Any] | None, int]:
        entity = self._directory.entities.get(item.id)
        if first_round and (entity is None or (entity.deleted and not self.switches.removed_in_first_round)):
            return None, 0
        if entity is None:
            return {"id": item.id, "@removed": {"reason": "changed" if item.stale else "deleted"}}, 0
        if entity.deleted is not None and not item.stale:
            return {"id": item.id, "@removed": {"reason": "changed"}}, 0
        shown = _properties(entity, item, view)
        if view.manager:
            shown |= self._manager(entity, item, view)
        links, following = self._links(entity, item, view, after, budget)
        return shown | links, following

    def _manager(self, entity: Entity, item: Item, view: View) -> dict[str, Any]:
        manager = entity.manager if entity.manager in self._directory.entities else None
        if view.minimal and not item.whole and "manager" not in item.before:
            return {}
        values: list[dict[str, Any]] = [_user_link(manager)] if manager else []
        former = next(iter(item.before.get("manager", [])), None)
        if former and former != manager:
            values.append(_user_link(former) | {"@removed": {"reason": "deleted"}})
        return {"manager@delta": values} if values else {}

    def _links(self, entity: Entity, item: Item, view: View, after: int, budget: int) -> tuple[dict[str, Any], int]:
        """At most ``budget`` links after mark ``after``, and the mark where the rest starts (0: nothing left)."""
        if not view.relations or item.stale:
            return {}, 0
        if entity.properties.get("visibility") == "HiddenMembership" and not view.hidden_members:
            return {}, 0
        links = _whole_links(entity, item, view) if item.whole else _touched_links(item, view)
        rest = [link for link in links if link[0] > after]
        part, following = rest[:budget], rest[budget - 1][0] if len(rest) > budget else 0
        shown: dict[str, Any] = {}
        for _, relation, identifier in part:
            removed = identifier not in entity.links.get(relation, {})
            shown.setdefault(f"{relation}@delta", []).append(self._link_entry(identifier, removed=removed))
        return shown, following

    def _link_entry(self, identifier: str, *, removed: bool) -> dict[str, Any]:
        kind = self._directory.kind_of(identifier)
        entry: dict[str, Any] = {"@odata.type": f"#microsoft.graph.{kind}", "id": identifier}
        return entry | {"@removed": {"reason": "deleted"}} if removed else entry

    def _respond(
        self, request: GraphRequest, view: View, values: list[dict[str, Any]], link: tuple[str, str]
    ) -> GraphResponse:
        headers = {"Preference-Applied": "return=minimal"} if view.minimal else {}
        head = f"{request.root}/$metadata#{view.context}"
        return answer({"@odata.context": head, link[0]: link[1], "value": values}, headers=headers)


def reset_error(kind_of_answer: ResetAnswer, request: GraphRequest, kind: str) -> GraphError:
    """The answer to a token that can no longer be used: start over."""
    status, _, words = kind_of_answer.partition("_")
    location = f"{request.root}/{kind}s/delta?$deltatoken="
    headers = {"Location": location} if words == "location" else {}
    codes = {"expired_page_token": "Directory_ExpiredPageToken", "resync_required": "resyncRequired"}
    code = codes.get(words, "syncStateNotFound")
    message = "The sync state generation is not found; please perform a full sync without a delta token."
    return GraphError(int(status), code, message, headers)


def _tracked(kind: str, select: tuple[str, ...] | None) -> tuple[str, ...]:
    if select is not None:
        return select
    return (*DEFAULT[kind], "members") if kind == "group" else DEFAULT[kind]


def _view(request: GraphRequest, token: DeltaToken) -> View:
    tracked = _tracked(token.kind, token.select)
    preferences = {item.strip().lower() for item in request.headers.get("Prefer", "").split(",")}
    return View(
        context=context(f"{token.kind}s", token.select),
        names=tuple(dict.fromkeys(["id", *(name for name in tracked if name in SCHEMA[token.kind])])),
        relations=tuple(name for name in tracked if name in RELATIONS),
        manager="manager" in tracked,
        minimal="return=minimal" in preferences,
        hidden_members="Member.Read.Hidden" in request.principal.roles,
    )


def _read_select(options: dict[str, str], kind: str) -> tuple[str, ...] | None:
    if "$select" not in options:
        return None
    links = RELATIONS if kind == "group" else ("manager",)
    names = tuple(dict.fromkeys(name.strip() for name in options["$select"].split(",")))
    for name in names:
        if name not in SCHEMA[kind] and name not in links:
            raise unknown_property(name, kind)
    return names


def _read_ids(options: dict[str, str]) -> tuple[str, ...] | None:
    """Only ``id eq 'a' or id eq 'b'``, at most 50 of them."""
    if "$filter" not in options:
        return None
    clauses = re.split(r"\s+or\s+", options["$filter"].strip())
    found = [re.fullmatch(r"id eq '([^']+)'", clause) for clause in clauses]
    if not all(found):
        raise unsupported_query("Delta supports no other $filter than id eq '...' or id eq '...'.")
    if len(found) > MOST_IDS:
        raise bad_request(f"Delta tracks at most {MOST_IDS} objects by id, {len(found)} were given.")
    return tuple(sorted({match[1].lower() for match in found if match}))


def _touched(changes: Sequence[Change], tracked: frozenset[str], ids: tuple[str, ...] | None) -> dict[str, Item | str]:
    """The objects of the changes that matter to a request, in the order of their last change."""
    items: dict[str, Item] = {}
    for change in changes:
        if ids is not None and change.id not in ids:
            continue
        whole = change.action in (Action.CREATED, Action.DELETED, Action.PURGED)
        before = {name: old for name, old in change.before.items() if name in tracked}
        links = [link for link in change.links if link[0] in tracked]
        if not (whole or before or links):
            continue
        item = items.pop(change.id, None) or Item(change.id, whole=False)
        item.whole = item.whole or whole
        item.before = before | item.before
        item.links.update(dict.fromkeys(links))
        items[change.id] = item
    return dict(items)


def _with_stale(items: list[Item | str]) -> Sequence[Item | str]:
    """Mark the first of two entries for the same object as stale."""
    seen: set[str] = set()
    result: list[Item | str] = []
    for item in items:
        known = item if isinstance(item, Item) else Item(item, whole=True)
        first = known.id not in seen
        seen.add(known.id)
        result.append(msgspec.structs.replace(known, stale=True) if first else known)
    return result


def _properties(entity: Entity, item: Item, view: View) -> dict[str, Any]:
    """Selected properties that were ever set; a stale entry shows the values from before."""
    values = entity.properties
    if view.minimal and not item.whole:
        names: tuple[str, ...] = ("id", *(name for name in view.names if name in item.before))
    else:
        names = view.names
    if not item.stale:
        return {name: values[name] for name in names if name in values}
    former = {name: item.before.get(name, [values[name]] if name in values else []) for name in names}
    return {name: value[0] for name, value in former.items() if value}


def _whole_links(entity: Entity, item: Item, view: View) -> list[tuple[int, str, str]]:
    """All links, and behind them those that ended: a client may have known them before the object was restored."""
    links = [
        (serial, relation, identifier)
        for relation in view.relations
        for identifier, serial in entity.links.get(relation, {}).items()
    ]
    ended = [
        (BEHIND_ALL_LINKS + number, relation, identifier)
        for number, relation, identifier in _touched_links(item, view)
        if identifier not in entity.links.get(relation, {})
    ]
    return [*(links if len(view.relations) == 1 else sorted(links)), *ended]


def _touched_links(item: Item, view: View) -> list[tuple[int, str, str]]:
    return [
        (number, relation, identifier)
        for number, (relation, identifier) in enumerate(item.links, start=1)
        if relation in view.relations
    ]


def _user_link(identifier: str) -> dict[str, Any]:
    return {"@odata.type": "#microsoft.graph.user", "id": identifier}
