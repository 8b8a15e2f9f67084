"""``/directory/deletedItems``: list by type, get, restore, purge."""

from collections.abc import Iterable
from typing import Any

from local.microsoft.directory import Directory, Entity, instant
from local.microsoft.errors import GraphError, bad_request, denied, not_found, unknown_segment
from local.microsoft.messages import GraphRequest, GraphResponse, answer
from local.microsoft.pages import Pager
from local.microsoft.permissions import DELETED_GROUPS_READ, GROUPS_RESTORE, USERS_READ, USERS_RESTORE
from local.microsoft.properties import DEFAULT
from local.microsoft.query import Query, allowed, is_advanced, read_flag, read_select, read_top
from local.microsoft.users import context, project, single

OPTIONS = frozenset({"$select", "$top", "$count", "$skiptoken"})
CASTS = {"graph.user": "user", "graph.group": "group"}
READ = {"user": USERS_READ, "group": DELETED_GROUPS_READ}
RESTORE = {"user": USERS_RESTORE, "group": GROUPS_RESTORE}


class DeletedItems:
    def __init__(self, directory: Directory, pager: Pager) -> None:
        self._directory = directory
        self._pager = pager

    def all(self, request: GraphRequest, cast: str) -> GraphResponse:
        """Deleted users or groups; the type segment is mandatory."""
        kind = CASTS[cast]
        if not request.principal.roles & READ[kind]:
            raise denied()
        options = allowed(request, OPTIONS)
        counted = read_flag(options, "$count") and is_advanced(request)
        select = read_select(options, (kind,))
        query = Query(select, read_top(options), None, None, counted, options.get("$skiptoken"))

        def source(start: int) -> Iterable[tuple[int, Entity]]:
            found = (self._directory.entities[identifier] for identifier in list(self._directory.deleted))
            return (item for item in enumerate(entity for entity in found if entity.kind == kind) if item[0] >= start)

        return self._pager.page(
            request, query, source, lambda entity: _shown(entity, select), context(f"{kind}s", select)
        )

    def get_or_list(self, request: GraphRequest, segment: str) -> GraphResponse:
        if segment in CASTS:
            return self.all(request, segment)
        if segment.startswith("graph."):
            raise unknown_segment(segment)
        entity = self._deleted(request, segment, READ)
        select = read_select(allowed(request, frozenset({"$select"})), (entity.kind,))
        head = {"@odata.type": f"#microsoft.graph.{entity.kind}"}
        return answer(single(request, "directoryObjects", select, head | _shown(entity, select)))

    def restore(self, request: GraphRequest, identifier: str) -> GraphResponse:
        allowed(request, frozenset())
        if request.body.strip() not in (b"", b"{}"):
            raise bad_request("The restore action takes no body here.")
        entity = self._deleted(request, identifier, RESTORE)
        try:
            self._directory.restore(entity)
        except ValueError as error:
            message = f"Another object with the same value for property userPrincipalName already exists. ({error})"
            raise GraphError(409, "Request_MultipleObjectsWithSameKeyValue", message) from None
        head = {"@odata.type": f"#microsoft.graph.{entity.kind}"}
        return answer(single(request, "directoryObjects", None, head | project(entity, DEFAULT[entity.kind])))

    def purge(self, request: GraphRequest, identifier: str) -> GraphResponse:
        allowed(request, frozenset())
        self._directory.purge(self._deleted(request, identifier, RESTORE))
        return GraphResponse(status=204)

    def _deleted(self, request: GraphRequest, identifier: str, needed: dict[str, frozenset[str]]) -> Entity:
        entity = self._directory.entities.get(identifier.lower())
        if entity is None or entity.deleted is None:
            raise not_found(identifier)
        if not request.principal.roles & needed[entity.kind]:
            raise denied()
        return entity


def _shown(entity: Entity, select: tuple[str, ...] | None) -> dict[str, Any]:
    body = project(entity, select or (*DEFAULT[entity.kind], "deletedDateTime"))
    if "deletedDateTime" in body and entity.deleted is not None:
        body["deletedDateTime"] = instant(entity.deleted)
    return body
