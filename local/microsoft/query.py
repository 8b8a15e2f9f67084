"""The query options of a list or a get: read strictly, whatever is not documented is refused."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from local.microsoft import filters
from local.microsoft.errors import bad_request, needs_advanced_query, unknown_property, unsupported_query
from local.microsoft.messages import GraphRequest
from local.microsoft.properties import DEFAULT, SCHEMA

DEFAULT_PAGE, LARGEST_PAGE = 100, 999
LONGEST_ADVANCED_URL = 2048
SEARCHABLE: Mapping[str, frozenset[str]] = {
    "user": frozenset({"displayName", "givenName", "mail", "otherMails", "surname", "userPrincipalName"}),
    "group": frozenset({"description", "displayName", "mail", "mailNickname"}),
}
SORTABLE: Mapping[str, frozenset[str]] = {
    "user": frozenset({"displayName", "userPrincipalName"}),
    "group": frozenset({"displayName"}),
}
LIST_OPTIONS = frozenset({"$select", "$filter", "$top", "$count", "$search", "$orderby", "$skiptoken"})


@dataclass(frozen=True, slots=True)
class Query:
    select: tuple[str, ...] | None
    top: int
    matches: Callable[[Mapping[str, Any]], bool] | None
    order: tuple[str, bool] | None
    """Property and whether descending."""
    counted: bool
    skiptoken: str | None


def is_advanced(request: GraphRequest) -> bool:
    """Whether the request asks for eventual consistency. ``GraphError`` for any other level."""
    level = request.headers.get("ConsistencyLevel")
    if level is None:
        return False
    if level.lower() != "eventual":
        raise bad_request("Invalid value specified for header 'ConsistencyLevel': only 'eventual' is supported.")
    if len(request.root) + len(request.path) + len(request.query) + 1 > LONGEST_ADVANCED_URL:
        raise bad_request("The URL is longer than 2,048 characters, the limit of advanced queries.")
    return True


def read_list(request: GraphRequest, kind: str) -> Query:
    """The options of ``GET`` on a collection of users or groups."""
    options = allowed(request, LIST_OPTIONS)
    eventual = is_advanced(request)
    counted = read_flag(options, "$count")
    advanced = eventual and counted
    matches = _matches(options, kind, advanced=advanced)
    searched = _search(options, kind, eventual=eventual)
    order = _order(options, kind)
    if order and ("$filter" in options or searched) and not advanced:
        raise needs_advanced_query("$orderby together with $filter or $search")
    return Query(
        select=read_select(options, (kind,)),
        top=read_top(options),
        matches=_both(matches, searched),
        order=order,
        counted=advanced,
        skiptoken=options.get("$skiptoken"),
    )


def allowed(request: GraphRequest, names: frozenset[str]) -> dict[str, str]:
    """The request's options, all of which have to be among ``names``."""
    options = request.options()
    for name in options:
        if name not in names:
            raise bad_request(f"The query option '{name}' is not supported here.")
    return options


def read_select(options: Mapping[str, str], kinds: tuple[str, ...]) -> tuple[str, ...] | None:
    """The selected properties, each of which at least one of ``kinds`` has to have."""
    if "$select" not in options:
        return None
    names = [name.strip() for name in options["$select"].split(",")]
    if not all(names):
        raise bad_request("Parsing OData Select and Expand failed: Term '' is not valid in a $select expression.")
    for name in names:
        if not any(name in SCHEMA[kind] for kind in kinds):
            raise unknown_property(name, kinds[0] if len(kinds) == 1 else "directoryObject")
    return tuple(dict.fromkeys(names))


def shown(select: tuple[str, ...] | None, kind: str) -> tuple[str, ...]:
    """The properties to show of an object of ``kind``."""
    return DEFAULT[kind] if select is None else tuple(name for name in select if name in SCHEMA[kind])


def read_top(options: Mapping[str, str]) -> int:
    text = options.get("$top", str(DEFAULT_PAGE))
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= LARGEST_PAGE:
        raise bad_request(f"Invalid page size specified: '{text}'. Must be between 1 and {LARGEST_PAGE} inclusive.")
    return int(text)


def read_flag(options: Mapping[str, str], name: str) -> bool:
    text = options.get(name, "false")
    if text not in ("true", "false"):
        raise bad_request(f"Invalid value '{text}' for {name}: it has to be true or false.")
    return text == "true"


def _matches(options: Mapping[str, str], kind: str, *, advanced: bool) -> filters.Test | None:
    if "$filter" not in options:
        return None
    parsed = filters.parse(options["$filter"], kind)
    if parsed.advanced and not advanced:
        raise needs_advanced_query("This $filter")
    return parsed.matches


def _search(options: Mapping[str, str], kind: str, *, eventual: bool) -> filters.Test | None:
    """``"displayName:word" OR "mail:word"``: a word of the property starts so."""
    if "$search" not in options:
        return None
    if not eventual:
        raise bad_request("Request with $search query parameter only works through MSGraph with a special request "
                          "header: 'ConsistencyLevel: eventual'")  # fmt: skip
    clauses = re.split(r"\s+OR\s+", options["$search"].strip())
    tests = [_search_clause(clause, kind) for clause in clauses]
    return lambda item: any(test(item) for test in tests)


def _search_clause(clause: str, kind: str) -> filters.Test:
    match = re.fullmatch(r'"(\w+):([^"\\]+)"', clause)
    if match is None:
        raise bad_request('Syntax error in $search: a clause has to read "property:text" with the quotation marks.')
    name, wanted = match[1], match[2].strip().casefold()
    if name not in SEARCHABLE[kind]:
        raise unsupported_query(f"The property '{name}' cannot be searched.")
    pattern = re.compile(rf"(?:^|\W){re.escape(wanted)}")

    def test(item: Mapping[str, Any]) -> bool:
        value = item.get(name) or ""
        texts = value if isinstance(value, list) else [value]
        return any(pattern.search(text.casefold()) for text in texts)

    return test


def _order(options: Mapping[str, str], kind: str) -> tuple[str, bool] | None:
    if "$orderby" not in options:
        return None
    match = re.fullmatch(r"(\w+)(?: (asc|desc))?", options["$orderby"])
    if match is None or match[1] not in SORTABLE[kind]:
        raise unsupported_query(f"Sorting not supported for current query: '{options['$orderby']}'.")
    return match[1], match[2] == "desc"


def _both(first: filters.Test | None, second: filters.Test | None) -> filters.Test | None:
    if first is None or second is None:
        return first or second
    return lambda item: first(item) and second(item)
