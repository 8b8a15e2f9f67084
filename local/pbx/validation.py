"""The shape of what may be sent: rules for single values, for bodies and for query parameters.

A wrong type, a missing and an unknown member are syntax (40001); a value outside its limits is 40002.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from local.pbx.answers import Errcode, Problem, ProblemKind

NUMBER = re.compile(r"-?[0-9]{1,18}")
SHOWN = 100
"""Characters of a refused value that an answer repeats."""


class Rule(Protocol):
    """What a value has to be; yields what is wrong with it."""

    def problems(self, name: str, value: Any) -> Iterator[Problem]: ...


@dataclass(frozen=True, slots=True)
class Text:
    """A string of ``minimum`` to ``maximum`` characters that ``pattern`` matches as a whole."""

    maximum: int | None = None
    minimum: int = 0
    pattern: re.Pattern[str] | None = None
    secret: bool = False
    """Never repeated in an answer."""

    def problems(self, name: str, value: Any) -> Iterator[Problem]:
        if not isinstance(value, str):
            yield syntax(name, "" if self.secret else value, "has to be a string")
            return
        shown = "" if self.secret else value
        if len(value) < self.minimum:
            yield wrong(name, shown, f"has fewer than {self.minimum} characters")
        elif self.maximum is not None and len(value) > self.maximum:
            yield wrong(name, shown, f"has more than {self.maximum} characters")
        elif self.pattern is not None and not self.pattern.fullmatch(value):
            yield wrong(name, shown, "has characters that are not allowed")


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a closed set of strings."""

    values: tuple[str, ...]

    def problems(self, name: str, value: Any) -> Iterator[Problem]:
        if not isinstance(value, str):
            yield syntax(name, value, "has to be a string")
        elif value not in self.values:
            yield wrong(name, value, f"is none of {', '.join(self.values)}")


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number, within limits or one of ``values``."""

    minimum: int | None = None
    maximum: int | None = None
    values: tuple[int, ...] | None = None

    def problems(self, name: str, value: Any) -> Iterator[Problem]:
        if not isinstance(value, int) or isinstance(value, bool):
            yield syntax(name, value, "has to be a whole number")
        elif self.values is not None and value not in self.values:
            yield wrong(name, value, f"is none of {', '.join(map(str, self.values))}")
        elif self.minimum is not None and value < self.minimum:
            yield wrong(name, value, f"is below {self.minimum}")
        elif self.maximum is not None and value > self.maximum:
            yield wrong(name, value, f"is above {self.maximum}")


@dataclass(frozen=True, slots=True)
class Items:
    """A list of at least ``minimum`` values of one kind."""

    rule: Rule
    minimum: int = 0

    def problems(self, name: str, value: Any) -> Iterator[Problem]:
        if not isinstance(value, list):
            yield syntax(name, value, "has to be a list")
            return
        if len(value) < self.minimum:
            yield wrong(name, "[]", f"has fewer than {self.minimum} entries")
        for index, item in enumerate(value):
            yield from self.rule.problems(f"{name}[{index}]", item)


@dataclass(frozen=True, slots=True)
class Members:
    """A JSON object with documented members only."""

    rules: Mapping[str, Rule]
    required: frozenset[str] = frozenset()

    def problems(self, name: str, value: Any) -> Iterator[Problem]:
        if not isinstance(value, dict):
            yield syntax(name, value, "has to be an object")
            return
        prefix = f"{name}." if name else ""
        for missing in sorted(self.required - value.keys()):
            yield syntax(f"{prefix}{missing}", "", "is missing")
        for member, content in value.items():
            rule = self.rules.get(member)
            if rule is None:
                yield syntax(f"{prefix}{member}", "", "is not a documented member", "member")
            else:
                yield from rule.problems(f"{prefix}{member}", content)


@dataclass(frozen=True, slots=True)
class Parameters:
    """The documented query parameters of an endpoint, ``access_token`` aside."""

    rules: Mapping[str, Rule] = field(default_factory=dict)
    required: frozenset[str] = frozenset()

    def read(self, query: Mapping[str, str]) -> tuple[dict[str, Any], list[Problem]]:
        """The parameters in their types, and what is wrong with them; undocumented ones are left out."""
        values: dict[str, Any] = {}
        problems = [_parameter(name, "", "is missing") for name in sorted(self.required - query.keys())]
        for name, rule in self.rules.items():
            if name not in query:
                continue
            value: Any = query[name]
            if isinstance(rule, Whole):
                if not NUMBER.fullmatch(value):
                    problems.append(_parameter(name, value, "has to be a whole number"))
                    continue
                value = int(value)
            problems.extend(_as_parameter(problem) for problem in rule.problems(name, value))
            values[name] = value
        return values, problems


def syntax(name: str, value: object, reason: str, kind: ProblemKind = "value") -> Problem:
    return Problem(Errcode.SYNTAX, name, _shown(value), reason, kind)


def wrong(name: str, value: object, reason: str) -> Problem:
    """A value outside its documented limits."""
    return Problem(Errcode.VALUE, name, _shown(value), reason, "value")


def unwelcome(name: str, value: object, reason: str) -> Problem:
    """A value that the documentation allows and this PBX does not."""
    return Problem(Errcode.VALUE, name, _shown(value), reason, None)


def _parameter(name: str, value: str, reason: str) -> Problem:
    return syntax(name, value, reason, "parameter")


def _as_parameter(problem: Problem) -> Problem:
    return Problem(problem.errcode, problem.name, problem.value, problem.reason, "parameter")


def _shown(value: object) -> str:
    return str(value)[:SHOWN]
