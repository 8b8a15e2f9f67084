"""``$filter``: the part of it that the directory supports, as a predicate over an object's properties.

After "Use the $filter query parameter" and "Advanced query capabilities on Microsoft Entra ID objects". What the
emulator does not know is refused as unsupported: a filter is never ignored.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from local.microsoft.errors import GraphError, bad_request, unsupported_query

MAX_EXPRESSIONS = 15
"""Alternatives in an ``in`` list or a chain of ``or``."""

type Test = Callable[[Mapping[str, Any]], bool]

_USER = """
    accountEnabled city country department displayName employeeId givenName id jobTitle mail mailNickname
    onPremisesSyncEnabled otherMails proxyAddresses state surname usageLocation userPrincipalName userType
"""
_GROUP = """
    displayName groupTypes id isAssignableToRole mail mailEnabled mailNickname onPremisesSyncEnabled proxyAddresses
    securityEnabled visibility
"""
PLAIN: Mapping[str, frozenset[str]] = {"user": frozenset(_USER.split()), "group": frozenset(_GROUP.split())}
ADVANCED_ONLY: Mapping[str, frozenset[str]] = {
    "user": frozenset({"companyName", "employeeType", "faxNumber", "mobilePhone", "officeLocation", "postalCode"}),
    "group": frozenset({"description"}),
}
FLAGS = frozenset({"accountEnabled", "isAssignableToRole", "mailEnabled", "onPremisesSyncEnabled", "securityEnabled"})
COLLECTIONS = frozenset({"groupTypes", "otherMails", "proxyAddresses"})
EQUAL_ONLY = frozenset({"id", "userType", "visibility"}) | FLAGS

_TOKEN = re.compile(r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<name>[A-Za-z_][\w./-]*)|(?P<sign>[(),:]))")


@dataclass(frozen=True, slots=True)
class Filter:
    matches: Test
    advanced: bool
    """Whether only an advanced query may use it."""


def parse(text: str, kind: str) -> Filter:
    """``GraphError`` for bad syntax, unknown or unfilterable properties, wrong literals and too many alternatives."""
    parser = _Parser(_tokens(text), kind)
    test = parser.alternatives()
    if parser.token:
        raise _syntax(parser.token)
    return Filter(test, parser.advanced)


def _tokens(text: str) -> list[str]:
    tokens, position = [], 0
    while text[position:].strip():
        match = _TOKEN.match(text, position)
        if match is None:
            raise _syntax(text[position:])
        tokens.append(match.group().strip())
        position = match.end()
    return tokens


def _syntax(near: str) -> GraphError:
    return bad_request(f"Invalid filter clause: syntax error at '{near}'.")


class _Parser:
    """Recursive descent; ``advanced`` turns true when an operator of advanced queries was used."""

    def __init__(self, tokens: list[str], kind: str) -> None:
        self._tokens = tokens
        self._kind = kind
        self._variable: tuple[str, str] | None = None
        self.advanced = False

    @property
    def token(self) -> str:
        return self._tokens[0] if self._tokens else ""

    def alternatives(self) -> Test:
        tests = [self._conjunction()]
        while self.token == "or":
            self._take("or")
            tests.append(self._conjunction())
        _limit(len(tests))
        return tests[0] if len(tests) == 1 else lambda item: any(test(item) for test in tests)

    def _conjunction(self) -> Test:
        tests = [self._negation()]
        while self.token == "and":
            self._take("and")
            tests.append(self._negation())
        return tests[0] if len(tests) == 1 else lambda item: all(test(item) for test in tests)

    def _negation(self) -> Test:
        if self.token != "not":
            return self._primary()
        self._take("not")
        self.advanced = True
        test = self._primary()
        return lambda item: not test(item)

    def _primary(self) -> Test:
        if self.token == "(":
            self._take("(")
            test = self.alternatives()
            self._take(")")
            return test
        if self.token in ("startswith", "startsWith", "endswith", "endsWith"):
            return self._text_function()
        if self.token.endswith("/any"):
            return self._any()
        return self._comparison()

    def _text_function(self) -> Test:
        ends = self._take().lower() == "endswith"
        self._take("(")
        name = self._property()
        self._take(",")
        wanted = self._text().casefold()
        self._take(")")
        if name in EQUAL_ONLY or (ends and name not in ("mail", "userPrincipalName", "otherMails", "proxyAddresses")):
            raise self._unsupported(name)
        self.advanced = self.advanced or ends
        if ends:
            return lambda item: str(item.get(name) or "").casefold().endswith(wanted)
        return lambda item: str(item.get(name) or "").casefold().startswith(wanted)

    def _any(self) -> Test:
        """``groupTypes/any(c:c eq 'Unified')``: the variable takes the place of a property inside."""
        name = self._take().removesuffix("/any")
        self._require_filterable(name)
        if name not in COLLECTIONS or self._variable is not None:
            raise self._unsupported(name)
        self._take("(")
        self._variable = (self._take(), name)
        self._take(":")
        test = self.alternatives()
        self._take(")")
        self._variable = None
        return lambda item: any(test({name: value}) for value in item.get(name) or [])

    def _comparison(self) -> Test:
        name = self._property()
        operator = self._take()
        if operator == "in":
            return self._one_of(name)
        if operator in ("ge", "le", "gt", "lt", "has"):
            raise self._unsupported(name)
        if operator not in ("eq", "ne"):
            raise _syntax(operator)
        wanted, equal = self._literal(name), operator == "eq"
        self.advanced = self.advanced or not equal
        return lambda item: (_folded(item.get(name)) == wanted) is equal

    def _one_of(self, name: str) -> Test:
        if name in FLAGS:
            raise self._unsupported(name)
        self._take("(")
        wanted = {self._literal(name)}
        count = 1
        while self.token == ",":
            self._take(",")
            wanted.add(self._literal(name))
            count += 1
        self._take(")")
        _limit(count)
        return lambda item: _folded(item.get(name)) in wanted

    def _property(self) -> str:
        name = self._take()
        if self._variable is not None:
            if name != self._variable[0]:
                raise _syntax(name)
            return self._variable[1]
        self._require_filterable(name)
        if name in COLLECTIONS:
            raise self._unsupported(name)
        return name

    def _require_filterable(self, name: str) -> None:
        if name in ADVANCED_ONLY[self._kind]:
            self.advanced = True
        elif name not in PLAIN[self._kind]:
            raise self._unsupported(name)

    def _literal(self, name: str) -> Any:
        token = self.token
        if name in FLAGS:
            if token not in ("true", "false", "null"):
                raise bad_request(f"Invalid filter clause: '{token}' is not a boolean, as '{name}' needs.")
            self._take()
            return {"true": True, "false": False, "null": None}[token]
        if token == "null":
            self._take()
            return None
        return self._text().casefold()

    def _text(self) -> str:
        token = self._take()
        if not token.startswith("'"):
            raise _syntax(token)
        return token[1:-1].replace("''", "'")

    def _take(self, expected: str = "") -> str:
        if not self._tokens or (expected and self._tokens[0] != expected):
            raise _syntax(self.token or "end of the clause")
        return self._tokens.pop(0)

    def _unsupported(self, name: str) -> GraphError:
        return unsupported_query(
            f"Unsupported or invalid query filter clause specified for property '{name}' of resource "
            f"'{self._kind.capitalize()}'."
        )


def _folded(value: Any) -> Any:
    return value.casefold() if isinstance(value, str) else value


def _limit(count: int) -> None:
    if count > MAX_EXPRESSIONS:
        raise bad_request(f"Too many child clauses specified in search filter expression: {count}, the limit is 15.")
