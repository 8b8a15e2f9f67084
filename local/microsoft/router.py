"""Which call of Graph is answered by whom, what it costs and which permission it needs."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from local.microsoft import permissions
from local.microsoft.errors import method_not_allowed, unknown_segment
from local.microsoft.messages import GraphRequest, GraphResponse
from local.microsoft.throttle import Verdict

type Call = Callable[..., GraphResponse | Awaitable[GraphResponse]]
"""Takes the request and the values of the path's parameters; awaitable when it has to ask somebody else."""


@dataclass(frozen=True, slots=True)
class Route:
    """``path`` has ``{name}`` for a parameter; ``units`` is the base cost in resource units of the identity service.

    ``meter`` counts the calls of a service with a limit of its own, by app.
    """

    method: str
    path: str
    call: Call
    roles: frozenset[str]
    units: int = 1
    meter: Callable[[str], Verdict] | None = None

    def parameters(self, segments: list[str]) -> list[str] | None:
        """The values of the parameters, or ``None`` when the path is another one."""
        parts = self.path.split("/")
        if len(parts) != len(segments):
            return None
        pairs = list(zip(parts, segments, strict=True))
        if any(part != segment for part, segment in pairs if not part.startswith("{")):
            return None
        return [segment for part, segment in pairs if part.startswith("{")]

    def cost(self, request: GraphRequest) -> int:
        """Resource units: ``$select`` and a ``$top`` below 20 take one off, never below one."""
        options = request.options()
        top = options.get("$top", "")
        discount = ("$select" in options) + (top.isdecimal() and int(top) < 20)
        return max(1, self.units - discount)

    def permits(self, request: GraphRequest) -> bool:
        return self.roles == permissions.EVERYBODY or bool(self.roles & request.principal.roles)


class Router:
    def __init__(self, routes: list[Route]) -> None:
        self._routes = routes

    def find(self, request: GraphRequest) -> tuple[Route, list[str]]:
        """``GraphError`` 400 for an unknown path, 405 for a known path with another verb."""
        segments = canonical(request.segments())
        fitting = [(route, found) for route in self._routes if (found := route.parameters(segments)) is not None]
        if not fitting:
            raise unknown_segment(segments[-1])
        exact = [len(found) for _, found in fitting]
        fewest = min(exact)
        for route, found in fitting:
            if route.method == request.method and len(found) == fewest:
                return route, found
        raise method_not_allowed(sorted({route.method for route, found in fitting if len(found) == fewest}))


def canonical(segments: list[str]) -> list[str]:
    """One spelling of what may be spelt in several ways.

    ``users('id')`` is ``users/id``; ``applications(appId='id')`` becomes ``applications/appId=/id``; ``delta()`` and
    ``microsoft.graph.delta`` are ``delta``; ``microsoft.graph.user`` is ``graph.user``.
    """
    result: list[str] = []
    for segment in segments:
        if match := re.fullmatch(r"applications\(appId='([^']*)'\)", segment):
            result += ["applications", "appId=", match[1]]
        elif match := re.fullmatch(
            r"(users|groups|applications|deletedItems|subscriptions)\('((?:[^']|'')*)'\)", segment
        ):
            result += [match[1], match[2].replace("''", "'")]
        elif segment in ("delta()", "microsoft.graph.delta", "microsoft.graph.delta()"):
            result.append("delta")
        elif match := re.fullmatch(r"microsoft\.(graph\.(?:user|group))", segment):
            result.append(match[1])
        else:
            result.append(segment)
    return result
