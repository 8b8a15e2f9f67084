"""Reading a request against the documentation, before anything is decided about it.

Everything found here is a violation, even when the answer has another reason to be a refusal.
https://help.yeastar.com/en/p-series-appliance-edition/developer-guide/api-request-overview.html
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from local.pbx.answers import Errcode, Problem
from local.pbx.endpoints import Endpoint

API = "/openapi/v1.0"
TOKEN = "access_token"
LATER_FAMILIES = (
    "/organization/",
    "/phonebook/",
    "/company_contact/",
    "/sign/",
)
"""Documented and not part of this firmware: no violation, answered 10001."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """A request as it came over the wire."""

    number: int
    method: str
    path: str
    query: Sequence[tuple[str, str]]
    headers: Mapping[str, str]
    """Case-insensitive."""
    body: bytes
    caller: str


@dataclass(frozen=True, slots=True)
class Read:
    """What a request says: its endpoint, input in its types, and everything that is wrong with it."""

    incoming: Incoming
    endpoint: Endpoint | None
    token: str | None
    query: Mapping[str, Any]
    body: Mapping[str, Any]
    refusable: list[Problem]
    """Problems that the PBX refuses the request for."""
    tolerated: list[Problem]
    """Problems that it overlooks."""
    undocumented: list[Problem]
    """Undocumented query parameters: firmware decides whether they are overlooked."""

    @property
    def problems(self) -> list[Problem]:
        return [*self.refusable, *self.tolerated, *self.undocumented]


def read(incoming: Incoming, endpoints: Mapping[tuple[str, str], Endpoint]) -> Read:
    """Read ``incoming`` against the endpoint of its verb and path."""
    query = dict(reversed(incoming.query))  # the first of two equal names counts
    token = query.pop(TOKEN, None)
    endpoint = endpoints.get((incoming.method, _below_api(incoming)))
    transport = _transport(incoming)
    if endpoint is None:
        return Read(incoming, None, token, query, {}, [], [*transport, *_unknown_endpoint(incoming, endpoints)], [])
    values, problems = endpoint.parameters.read(query)
    body, unreadable, wrong = _body(incoming, endpoint)
    refusable = [*_user_agent(incoming), *problems, *unreadable, *wrong]
    tolerated = [*transport, *_repeated(incoming), *_token_problems(endpoint, token)]
    undocumented = [
        Problem(Errcode.SYNTAX, name, query[name], "is not a documented query parameter", "parameter")
        for name in query
        if name not in endpoint.parameters.rules
    ]
    return Read(incoming, endpoint, token, values, body, refusable, tolerated, undocumented)


def _below_api(incoming: Incoming) -> str:
    """The path of the endpoint; empty for one outside the API."""
    return incoming.path.removeprefix(API) if incoming.path.startswith(f"{API}/") else ""


def _transport(incoming: Incoming) -> list[Problem]:
    """A token outside the query, and a body on a GET."""
    found = []
    if "Authorization" in incoming.headers:
        found.append(_transport_problem("Authorization", "the token belongs into the query parameter access_token"))
    if incoming.method == "GET" and incoming.body:
        found.append(_transport_problem("body", "a GET carries no body"))
    return found


def _user_agent(incoming: Incoming) -> list[Problem]:
    if incoming.headers.get("User-Agent", "").strip():
        return []
    return [Problem(Errcode.SYNTAX, "User-Agent", "", "is mandatory on every request", "transport")]


def _unknown_endpoint(incoming: Incoming, endpoints: Mapping[tuple[str, str], Endpoint]) -> list[Problem]:
    path = _below_api(incoming)
    if any(path == known for _, known in endpoints):
        reason = f"takes no {incoming.method}"
    elif path.startswith(LATER_FAMILIES):
        return _user_agent(incoming)
    else:
        reason = "is not in the documentation"
    return [*_user_agent(incoming), Problem(Errcode.NO_ENDPOINT, incoming.path, "", reason, "endpoint")]


def _repeated(incoming: Incoming) -> list[Problem]:
    counts = Counter(name for name, _ in incoming.query)
    return [
        Problem(Errcode.SYNTAX, name, "", "is given more than once", "parameter")
        for name, count in counts.items()
        if count > 1
    ]


def _token_problems(endpoint: Endpoint, token: str | None) -> list[Problem]:
    if endpoint.needs_token and token is None:
        return [Problem(Errcode.TOKEN_EXPIRED, TOKEN, "", "is missing", "parameter")]
    if not endpoint.needs_token and token is not None:
        return [Problem(Errcode.SYNTAX, TOKEN, "", "is not a documented query parameter here", "parameter")]
    return []


def _body(incoming: Incoming, endpoint: Endpoint) -> tuple[dict[str, Any], list[Problem], list[Problem]]:
    """The JSON object of a POST, what makes it unreadable, and what is wrong inside it."""
    if endpoint.body is None:
        return {}, [], []
    kind = incoming.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        return {}, [_unreadable(f"content type {kind!r} is not application/json")], []
    try:
        body = msgspec.json.decode(incoming.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return {}, [_unreadable(f"malformed JSON: {error}")], []
    if not isinstance(body, dict):
        return {}, [_unreadable("the JSON body is no object")], []
    wrong = list(endpoint.body.problems("", body))
    if TOKEN in body:
        wrong.append(_transport_problem(TOKEN, "the token belongs into the query, not into the body"))
    return body, [], wrong


def _unreadable(reason: str) -> Problem:
    return Problem(Errcode.SERVER_ERROR, "body", reason, reason, "transport")


def _transport_problem(name: str, reason: str) -> Problem:
    return Problem(Errcode.SYNTAX, name, "", reason, "transport")
