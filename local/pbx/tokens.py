"""The live token pairs of the application.

https://help.yeastar.com/en/p-series-appliance-edition/developer-guide/get-access-token.html
The limit of eight: https://help.yeastar.com/zh-cn/p-series-cloud-edition/developer-guide/get-access-token.html
"""

import secrets
from collections.abc import Iterable
from typing import Literal

import msgspec

ACCESS_SECONDS = 1800
REFRESH_SECONDS = 86400
MAX_LIVE = 8
KEEP_HISTORY = 10_000

type RequestKind = Literal["get_token", "refresh_token", "del_token"]
type Outcome = Literal["issued", "revoked", "wrong_credentials", "unknown_token", "limit"]


class Token(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A pair; the ends are seconds since the epoch."""

    access: str
    refresh: str
    access_ends: float
    refresh_ends: float


class Issue(msgspec.Struct, frozen=True):
    """What became of one request for a token, for the control API."""

    at: float
    kind: RequestKind
    outcome: Outcome
    caller: str
    live: int
    """Live access tokens afterwards."""


class TokenLimit(Exception):
    """Eight access tokens are live."""


class Tokens:
    """Pairs by either token, and the history of requests for them."""

    def __init__(self, pairs: Iterable[Token] = ()) -> None:
        self.history: list[Issue] = []
        self._by_access: dict[str, Token] = {}
        self._by_refresh: dict[str, Token] = {}
        for pair in pairs:
            self._keep(pair)

    def pairs(self) -> list[Token]:
        return list(self._by_access.values())

    def live(self, now: float) -> int:
        """How many access tokens are live."""
        self._forget_expired(now)
        return sum(pair.access_ends > now for pair in self._by_access.values())

    def accepts(self, access: str, now: float) -> bool:
        pair = self._by_access.get(access)
        return pair is not None and pair.access_ends > now

    def issue(self, now: float) -> Token:
        """A new pair beside the earlier ones; ``TokenLimit`` when eight are live."""
        if self.live(now) >= MAX_LIVE:
            raise TokenLimit
        pair = Token(secrets.token_hex(16), secrets.token_hex(16), now + ACCESS_SECONDS, now + REFRESH_SECONDS)
        self._keep(pair)
        return pair

    def renew(self, refresh: str, now: float) -> Token | None:
        """A new pair in place of the one of ``refresh``; ``None`` when that is unknown or expired."""
        old = self._by_refresh.get(refresh)
        if old is None or old.refresh_ends <= now:
            return None
        self._drop(old)
        try:
            return self.issue(now)
        except TokenLimit:
            self._keep(old)
            raise

    def revoke(self, access: str) -> None:
        self._drop(self._by_access[access])

    def clear(self) -> None:
        self._by_access.clear()
        self._by_refresh.clear()

    def note(self, issue: Issue) -> None:
        self.history.append(issue)
        del self.history[:-KEEP_HISTORY]

    def _keep(self, pair: Token) -> None:
        self._by_access[pair.access] = pair
        self._by_refresh[pair.refresh] = pair

    def _drop(self, pair: Token) -> None:
        self._by_access.pop(pair.access, None)
        self._by_refresh.pop(pair.refresh, None)

    def _forget_expired(self, now: float) -> None:
        for pair in [pair for pair in self._by_access.values() if pair.refresh_ends <= now]:
            self._drop(pair)
