"""Route templates of HTTP triggers: matching, precedence and constraints as ASP.NET Core documents them.

Literal segments win over constrained parameters, those over free ones, those over catch-alls. A method is a
constraint like any other: a path that only matches with another method is 404, not 405.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from local.host.config import ConfigError

_GUID = re.compile(r"\{?[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}\}?", re.IGNORECASE)
_PARAMETER = re.compile(
    r"\{(?P<star>\*{0,2})(?P<name>[^:?{}=]+)(?P<constraints>(?::[^:{}(?]+(?:\((?:[^()]|\([^()]*\))*\))?)*)(?P<optional>\??)\}"
)
_CONSTRAINT = re.compile(r":(?P<name>[^:(]+)(?:\((?P<argument>(?:[^()]|\([^()]*\))*)\))?")
_ENCODED_SLASH = re.compile(r"%2f", re.IGNORECASE)

type Check = Callable[[str], bool]


def _integer(low: int, high: int) -> Check:
    def check(text: str) -> bool:
        return bool(re.fullmatch(r"[+-]?\d{1,20}", text)) and low <= int(text) <= high

    return check


def _number(text: str) -> bool:
    return bool(re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text))


_PLAIN: dict[str, Check] = {
    "int": _integer(-(2**31), 2**31 - 1),
    "long": _integer(-(2**63), 2**63 - 1),
    "guid": lambda text: bool(_GUID.fullmatch(text)),
    "alpha": lambda text: bool(re.fullmatch("[A-Za-z]*", text)),
    "bool": lambda text: text.lower() in {"true", "false"},
    "double": _number,
    "float": _number,
    "decimal": _number,
    "required": bool,
}


def _with_argument(name: str, argument: str) -> Check | None:
    if name == "regex":
        # .NET searches; the template's author anchors.
        pattern = re.compile(argument, re.IGNORECASE)
        return lambda text: pattern.search(text) is not None
    numbers = [int(one) for one in argument.split(",")]
    low, high = numbers[0], numbers[-1]
    checks: dict[str, Check] = {
        "min": lambda text: _PLAIN["long"](text) and int(text) >= low,
        "max": lambda text: _PLAIN["long"](text) and int(text) <= low,
        "range": lambda text: _PLAIN["long"](text) and low <= int(text) <= high,
        "minlength": lambda text: len(text) >= low,
        "maxlength": lambda text: len(text) <= low,
        "length": lambda text: low <= len(text) <= high,
    }
    return checks.get(name)


def _check(name: str, argument: str | None, template: str) -> Check:
    try:
        check = _PLAIN.get(name.lower()) if argument is None else _with_argument(name.lower(), argument)
    except (ValueError, re.error) as error:
        raise ConfigError(f"route {template!r}: constraint {name}({argument}): {error}") from error
    if check is None:
        raise ConfigError(f"route {template!r}: this host does not know the constraint {name!r}")
    return check


@dataclass(frozen=True, slots=True)
class _Template:
    pattern: re.Pattern[str]
    names: tuple[str, ...]
    checks: tuple[tuple[int, Check], ...]
    rank: tuple[int, ...]
    is_literal: bool

    def match(self, path: str) -> dict[str, str] | None:
        found = self.pattern.fullmatch(path)
        if found is None:
            return None
        values = found.groups()
        for index, check in self.checks:
            if values[index] is not None and not check(values[index]):
                return None
        return {name: value for name, value in zip(self.names, values, strict=True) if value is not None}


class _Parser:
    """Turns one template into a pattern; groups are numbered, as names may be anything."""

    def __init__(self, template: str) -> None:
        self.template = template
        self.names: list[str] = []
        self.checks: list[tuple[int, Check]] = []
        self.rank: list[int] = []

    def parse(self) -> _Template:
        segments = [one for one in self.template.strip("/").split("/") if one] if self.template.strip("/") else []
        pattern = "".join(self._segment(one, first=not index) for index, one in enumerate(_rejoin(segments)))
        if "{" in re.sub(_PARAMETER, "", self.template):
            raise ConfigError(f"route {self.template!r} cannot be read: unbalanced or unknown braces")
        return _Template(
            re.compile(pattern, re.IGNORECASE | re.DOTALL),
            tuple(self.names),
            tuple(self.checks),
            tuple(self.rank),
            not self.names,
        )

    def _segment(self, segment: str, *, first: bool) -> str:
        slash = "" if first else "/"
        whole = _PARAMETER.fullmatch(segment)
        if whole is None:
            self.rank.append(1 if "{" not in segment else 2)
            return slash + self._parts(segment)
        constrained = self._add(whole)
        if whole["star"]:
            self.rank.append(4 if constrained else 5)
            return "(.*)" if first else f"(?:{slash}(.*))?"
        self.rank.append(2 if constrained else 3)
        return f"(?:{slash}([^/]+))?" if whole["optional"] else f"{slash}([^/]+)"

    def _parts(self, segment: str) -> str:
        """A literal, or a mixture such as ``{name}.{extension}``."""
        pattern, end = "", 0
        for match in _PARAMETER.finditer(segment):
            self._add(match)
            pattern += re.escape(segment[end : match.start()]) + "([^/]+?)"
            end = match.end()
        return pattern + re.escape(segment[end:])

    def _add(self, match: re.Match[str]) -> bool:
        index = len(self.names)
        self.names.append(match["name"])
        found = list(_CONSTRAINT.finditer(match["constraints"]))
        self.checks += [(index, _check(one["name"], one["argument"], self.template)) for one in found]
        return bool(found)


def _rejoin(segments: Iterable[str]) -> list[str]:
    """Undo the split inside braces: a regex constraint may hold a slash."""
    joined: list[str] = []
    for segment in segments:
        if joined and joined[-1].count("{") > joined[-1].count("}"):
            joined[-1] += "/" + segment
        else:
            joined.append(segment)
    return joined


@dataclass(frozen=True, slots=True)
class Route[Target]:
    """A template with its methods (upper case; empty is every method) and what it leads to."""

    template: str
    methods: frozenset[str]
    target: Target


class Router[Target]:
    """Finds the route of a request. Raises ConfigError for a template it cannot read."""

    def __init__(self, routes: Sequence[Route[Target]]) -> None:
        parsed = [(_Parser(route.template).parse(), route) for route in routes]
        self._literal: dict[str, list[Route[Target]]] = {}
        for template, route in parsed:
            if template.is_literal:
                self._literal.setdefault(_literal_key(route.template), []).append(route)
        rest = [(template, route) for template, route in parsed if not template.is_literal]
        self._patterns = sorted(rest, key=lambda one: one[0].rank)

    def find(self, method: str, path: str) -> tuple[Target, dict[str, str]] | None:
        """The target and the route's parameters for a percent-encoded ``path``; None is 404."""
        key = path.strip("/").lower()
        for route in self._literal.get(key, ()):
            if not route.methods or method in route.methods:
                return route.target, {}
        plain = _decoded(path).strip("/")
        if plain != path.strip("/"):
            for route in self._literal.get(plain.lower(), ()):
                if not route.methods or method in route.methods:
                    return route.target, {}
        for template, route in self._patterns:
            if (not route.methods or method in route.methods) and (values := template.match(plain)) is not None:
                return route.target, values
        return None


def _literal_key(template: str) -> str:
    return "/".join(part for part in template.split("/") if part).lower()


def _decoded(path: str) -> str:
    """Percent-decoded, but ``%2F`` stays as it is and so never becomes a separator."""
    if "%" not in path:
        return path
    return unquote(_ENCODED_SLASH.sub("%252F", path))
