"""``/users``: list, count and get."""

from collections.abc import Iterable
from typing import Any

from local.microsoft.directory import Directory, Entity
from local.microsoft.errors import denied, needs_advanced_query, not_found
from local.microsoft.messages import GraphRequest, GraphResponse, answer
from local.microsoft.pages import Pager
from local.microsoft.permissions import USERS_READ
from local.microsoft.properties import BASIC_USER, unset
from local.microsoft.query import allowed, is_advanced, read_list, read_select, shown


class Users:
    def __init__(self, directory: Directory, pager: Pager) -> None:
        self._directory = directory
        self._pager = pager

    def all(self, request: GraphRequest) -> GraphResponse:
        query = read_list(request, "user")
        _require_basic(request, query.select)

        def source(start: int) -> Iterable[tuple[int, Entity]]:
            return self._directory.live("user", start)

        names = _permitted(request, shown(query.select, "user"))
        return self._pager.page(
            request, query, source, lambda entity: project(entity, names), context("users", query.select)
        )

    def get(self, request: GraphRequest, identifier: str) -> GraphResponse:
        select = read_select(allowed(request, frozenset({"$select"})), ("user",))
        _require_basic(request, select)
        entity = self._directory.find("user", identifier)
        if entity is None:
            raise not_found(identifier)
        names = _permitted(request, shown(select, "user"))
        return answer(single(request, "users", select, project(entity, names)))

    def count(self, request: GraphRequest) -> GraphResponse:
        return count(request, self._directory, "user")


def project(entity: Entity, names: tuple[str, ...]) -> dict[str, Any]:
    """The named properties, with null or an empty array for what was never set."""
    values = entity.properties
    return {name: values[name] if name in values else unset(entity.kind, name) for name in names}


def context(collection: str, select: tuple[str, ...] | None) -> str:
    return collection if select is None else f"{collection}({','.join(select)})"


def single(
    request: GraphRequest, collection: str, select: tuple[str, ...] | None, body: dict[str, Any]
) -> dict[str, Any]:
    return {"@odata.context": f"{request.root}/$metadata#{context(collection, select)}/$entity", **body}


def count(request: GraphRequest, directory: Directory, kind: str) -> GraphResponse:
    """``/$count``: a bare number, only with ``ConsistencyLevel: eventual``."""
    options = allowed(request, frozenset({"$filter", "$search"}))
    if not is_advanced(request):
        raise needs_advanced_query("/$count")
    query = read_list(_with_count(request), kind) if options else None
    matches = query.matches if query else None
    found = sum(1 for _, entity in directory.live(kind) if matches is None or matches(entity.properties))
    return GraphResponse(body=str(found).encode(), content_type="text/plain")


def _with_count(request: GraphRequest) -> GraphRequest:
    return GraphRequest(
        request.method,
        request.path,
        f"{request.query}&$count=true",
        request.headers,
        request.body,
        request.origin,
        request.principal,
    )


def _permitted(request: GraphRequest, names: tuple[str, ...]) -> tuple[str, ...]:
    """With ``User.ReadBasic.All`` alone, only the basic properties come."""
    if request.principal.roles & USERS_READ:
        return names
    return tuple(name for name in names if name in BASIC_USER)


def _require_basic(request: GraphRequest, select: tuple[str, ...] | None) -> None:
    if request.principal.roles & USERS_READ or select is None:
        return
    if set(select) - BASIC_USER:
        raise denied()
