"""``/groups``: list, count, get, direct and transitive members."""

import re
from collections.abc import Callable, Iterable
from typing import Any

from local.microsoft.directory import Directory, Entity
from local.microsoft.errors import denied, needs_advanced_query, not_found, unknown_segment
from local.microsoft.messages import GraphRequest, GraphResponse, answer
from local.microsoft.pages import Pager
from local.microsoft.permissions import HIDDEN_MEMBERS, USERS_READ_BASIC
from local.microsoft.properties import BASIC_USER, DEFAULT, SCHEMA
from local.microsoft.query import (
    Query,
    allowed,
    is_advanced,
    read_flag,
    read_list,
    read_select,
    read_top,
    shown,
)
from local.microsoft.users import context, count, project, single

MEMBER_OPTIONS = frozenset({"$select", "$top", "$count", "$skiptoken"})
CAST_OPTIONS = MEMBER_OPTIONS | {"$filter", "$search", "$orderby"}


class Groups:
    def __init__(self, directory: Directory, pager: Pager) -> None:
        self._directory = directory
        self._pager = pager

    def all(self, request: GraphRequest) -> GraphResponse:
        query = read_list(request, "group")

        def source(start: int) -> Iterable[tuple[int, Entity]]:
            return self._directory.live("group", start)

        names = shown(query.select, "group")
        return self._pager.page(
            request, query, source, lambda entity: project(entity, names), context("groups", query.select)
        )

    def get(self, request: GraphRequest, identifier: str) -> GraphResponse:
        select = read_select(allowed(request, frozenset({"$select"})), ("group",))
        body = project(self._group(identifier), shown(select, "group"))
        return answer(single(request, "groups", select, body))

    def count(self, request: GraphRequest) -> GraphResponse:
        return count(request, self._directory, "group")

    def members(self, request: GraphRequest, identifier: str) -> GraphResponse:
        return self._polymorphic(request, self._readable(request, identifier), self._directory.members)

    def owners(self, request: GraphRequest, identifier: str) -> GraphResponse:
        group = self._group(identifier)
        return self._polymorphic(request, group, lambda holder: self._directory.members(holder, "owners"))

    def transitive_members(self, request: GraphRequest, identifier: str) -> GraphResponse:
        return self._polymorphic(request, self._readable(request, identifier), self._directory.transitive_members)

    def members_cast(self, request: GraphRequest, identifier: str, cast: str) -> GraphResponse:
        return self._cast(request, self._readable(request, identifier), cast, self._directory.members)

    def transitive_members_cast(self, request: GraphRequest, identifier: str, cast: str) -> GraphResponse:
        return self._cast(request, self._readable(request, identifier), cast, self._directory.transitive_members)

    def members_count(self, request: GraphRequest, identifier: str) -> GraphResponse:
        return self._count(request, self._directory.members(self._readable(request, identifier)))

    def transitive_members_count(self, request: GraphRequest, identifier: str) -> GraphResponse:
        return self._count(request, self._directory.transitive_members(self._readable(request, identifier)))

    def _group(self, identifier: str) -> Entity:
        group = self._directory.find("group", identifier)
        if group is None:
            raise not_found(identifier)
        return group

    def _readable(self, request: GraphRequest, identifier: str) -> Entity:
        group = self._group(identifier)
        hidden = group.properties.get("visibility") == "HiddenMembership"
        if hidden and HIDDEN_MEMBERS not in request.principal.roles:
            raise denied()
        return group

    def _count(self, request: GraphRequest, found: list[Entity]) -> GraphResponse:
        allowed(request, frozenset())
        if not is_advanced(request):
            raise needs_advanced_query("/$count")
        return GraphResponse(body=str(len(found)).encode(), content_type="text/plain")

    def _polymorphic(
        self, request: GraphRequest, group: Entity, read: Callable[[Entity], Iterable[Entity]]
    ) -> GraphResponse:
        options = allowed(request, MEMBER_OPTIONS)
        counted = read_flag(options, "$count") and is_advanced(request)
        select = read_select(options, tuple(SCHEMA))
        query = Query(select, read_top(options), None, None, counted, options.get("$skiptoken"))
        return self._page(request, query, lambda: read(group), "directoryObjects")

    def _cast(
        self, request: GraphRequest, group: Entity, cast: str, read: Callable[[Entity], Iterable[Entity]]
    ) -> GraphResponse:
        kind = _cast_kind(cast)
        allowed(request, CAST_OPTIONS)
        query = read_list(request, kind)
        if not query.counted:
            raise needs_advanced_query(f"The cast to {cast}")
        collection = "users" if kind == "user" else "groups"
        return self._page(request, query, lambda: (item for item in read(group) if item.kind == kind), collection)

    def _page(
        self, request: GraphRequest, query: Query, read: Callable[[], Iterable[Entity]], collection: str
    ) -> GraphResponse:
        def source(start: int) -> Iterable[tuple[int, Entity]]:
            return (item for item in enumerate(read()) if item[0] >= start)

        typed = collection == "directoryObjects"
        return self._pager.page(
            request,
            query,
            source,
            lambda entity: _member(request, entity, query.select, typed=typed),
            context(collection, query.select),
        )


def _cast_kind(cast: str) -> str:
    match = re.fullmatch(r"graph\.(user|group)", cast)
    if match is None:
        raise unknown_segment(cast)
    return match[1]


def _member(request: GraphRequest, entity: Entity, select: tuple[str, ...] | None, *, typed: bool) -> dict[str, Any]:
    """A member; without a permission on users only the type and the id of a user are filled.

    See "Limited information returned for inaccessible member objects" in the overview of Graph permissions.
    """
    head = {"@odata.type": f"#microsoft.graph.{entity.kind}"} if typed else {}
    names = tuple(name for name in (select or DEFAULT[entity.kind]) if name in SCHEMA[entity.kind])
    if entity.kind == "user" and "id" not in names and typed:
        names = ("id", *names)
    body = project(entity, names)
    if entity.kind != "user":
        return head | body
    visible = _visible_user_properties(request)
    return head | {name: value if visible is None or name in visible else None for name, value in body.items()}


def _visible_user_properties(request: GraphRequest) -> frozenset[str] | None:
    roles = request.principal.roles
    if not roles & USERS_READ_BASIC:
        return frozenset({"id"})
    return BASIC_USER if not roles & (USERS_READ_BASIC - {"User.ReadBasic.All"}) else None
