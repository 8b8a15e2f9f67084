"""Pages of a list: ``@odata.nextLink`` with an opaque ``$skiptoken``, remembered with the request it belongs to."""

import re
import secrets
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from local.microsoft.directory import Entity
from local.microsoft.errors import bad_request
from local.microsoft.messages import GraphRequest, GraphResponse, answer
from local.microsoft.query import Query

MOST_TOKENS = 50_000


class PageToken(msgspec.Struct, frozen=True):
    """Where a list goes on. ``request`` is the path and the options that the token belongs to."""

    request: str
    position: int


class Pager:
    """Cuts lists into pages. Tokens may be used again: a client that lost an answer repeats the request."""

    def __init__(self) -> None:
        self.tokens: dict[str, PageToken] = {}

    def page(
        self,
        request: GraphRequest,
        query: Query,
        source: Callable[[int], Iterable[tuple[int, Entity]]],
        render: Callable[[Entity], dict[str, Any]],
        context: str,
    ) -> GraphResponse:
        """One page of ``source``, which yields objects with their position from a position on."""
        start = self._start(request, query)
        rest = _chosen(source, query, start)
        found = list(islice(rest, query.top + 1))
        body: dict[str, Any] = {"@odata.context": f"{request.root}/$metadata#{context}"}
        if query.counted and query.skiptoken is None:
            body["@odata.count"] = sum(1 for _ in _chosen(source, query, 0))
        if len(found) > query.top:
            body["@odata.nextLink"] = self._next_link(request, found[query.top][0])
        body["value"] = [render(entity) for _, entity in found[: query.top]]
        return answer(body)

    def _start(self, request: GraphRequest, query: Query) -> int:
        if query.skiptoken is None:
            return 0
        token = self.tokens.get(query.skiptoken)
        if token is None:
            raise bad_request(
                "The specified page token value has expired and can no longer be included in your request.",
                "Directory_ExpiredPageToken",
            )
        if token.request != _identity(request):
            raise bad_request("The $skiptoken does not belong to this request: follow @odata.nextLink unchanged.")
        return token.position

    def _next_link(self, request: GraphRequest, position: int) -> str:
        token = secrets.token_urlsafe(24)
        if len(self.tokens) >= MOST_TOKENS:
            del self.tokens[next(iter(self.tokens))]
        self.tokens[token] = PageToken(_identity(request), position)
        kept = re.sub(r"(^|&)(\$|%24)skiptoken=[^&]*", "", request.query).strip("&")
        return f"{request.root}/{request.path.strip('/')}?{kept}{'&' if kept else ''}$skiptoken={token}"


def _identity(request: GraphRequest) -> str:
    options = sorted(parse_qsl(request.query, keep_blank_values=True))
    return repr((request.segments(), [item for item in options if item[0] != "$skiptoken"]))


def _chosen(
    source: Callable[[int], Iterable[tuple[int, Entity]]], query: Query, start: int
) -> Iterable[tuple[int, Entity]]:
    """Matching objects from ``start`` on; a sorted list counts positions in the sorted order."""
    matches = query.matches
    if query.order is None:
        return (item for item in source(start) if matches is None or matches(item[1].properties))
    name, descending = query.order
    found = [entity for _, entity in source(0) if matches is None or matches(entity.properties)]
    found.sort(key=lambda entity: str(entity.properties.get(name) or "").casefold(), reverse=descending)
    return islice(enumerate(found), start, None)
