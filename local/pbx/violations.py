"""Requests that broke the contract, whatever they were answered: a suite asserts that there are none."""

from collections.abc import Iterable

import msgspec

from local.pbx.answers import Problem, ProblemKind

KEEP = 10_000


class Violation(msgspec.Struct, frozen=True):
    """One breach by one request.

    ``kind``: ``transport`` (User-Agent, content type, token in the wrong place, reuse of the connection), ``endpoint``
    (unknown path, wrong verb), ``parameter`` (query), ``member`` (undocumented member of a body), ``value`` (missing
    member, wrong type, outside the documented limits).
    """

    request: int
    """The number under which ``/_control/requests`` has it."""
    at: str
    method: str
    path: str
    kind: ProblemKind
    name: str
    reason: str


class Violations:
    def __init__(self) -> None:
        self.found: list[Violation] = []

    def note(self, request: int, at: str, method: str, path: str, problems: Iterable[Problem]) -> None:
        self.found.extend(
            Violation(request, at, method, path, problem.kind, problem.name, problem.reason)
            for problem in problems
            if problem.kind is not None
        )
        del self.found[:-KEEP]
