"""One access token for the whole deployment.

The PBX allows 8 live tokens of 1,800 s; every careless ``get_token`` takes one, and 5 failed sign-ins block our
address. So all processes share one token through a store with compare-and-swap: one of them renews it, the others wait
for the outcome, and a rejection is remembered where all of them see it (the *breaker*).
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from pbx.errors import ApiDisabled, Blocked, CredentialsRejected, LimitReached, PbxError, Retry, from_errcode
from pbx.models import TokenAnswer

RENEW_BEFORE_SECONDS = 300
"""A token of 1,800 s is renewed after about 25 minutes."""
RENEWAL_SECONDS = 30
"""Longer than a renewal can take: then another process may try."""
POLL_SECONDS = 0.15
BLOCK_SECONDS = 900
"""How long to leave a PBX alone that blocks our address. The duration is not documented; clients see about 10 min."""
FULL_SECONDS = 120
"""Pause after ``get_token`` met 8 live tokens; each of them ends within 1,800 s."""


class SharedText(Protocol):
    """Where the state is shared: read with an ETag, swapped only if unchanged."""

    async def read(self) -> tuple[str, str]: ...

    async def swap(self, text: str, etag: str) -> str | None: ...


class Credentials(msgspec.Struct, frozen=True):
    """Client ID and Secret of Integrations > API, and a mark that changes whenever one of them does."""

    client_id: str
    client_secret: str
    mark: str
    """Made of the PBX's name, the client id and the *version* of the secret; never of its value."""

    def __repr__(self) -> str:
        return f"Credentials(client_id={self.client_id!r})"

    __str__ = __repr__


class Breaker(msgspec.Struct, frozen=True, omit_defaults=True):
    """A rejection that all processes heed."""

    kind: str
    message: str
    errcode: int | None = None
    until: float | None = None
    """Seconds since the epoch; ``None``: until the credentials change."""

    def error(self) -> PbxError:
        kinds: dict[str, type[PbxError]] = {kind.code: kind for kind in (Blocked, LimitReached, ApiDisabled)}
        return kinds.get(self.kind, CredentialsRejected)(self.message, self.errcode)


class State(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the processes share."""

    access_token: str = ""
    expires_at: float = 0
    refresh_token: str = ""
    refresh_expires_at: float = 0
    mark: str = ""
    """The credentials that the token and the breaker belong to."""
    renewing: str = ""
    """Who is renewing."""
    renewing_until: float = 0
    breaker: Breaker | None = None


type Ask = Callable[[str, dict[str, str]], Awaitable[TokenAnswer]]
"""Posts to a token endpoint. Raises ``Retry`` when there was no usable answer."""


class SharedToken:
    """Gives the deployment's token, renewed single-flight."""

    def __init__(
        self,
        store: SharedText,
        credentials: Callable[[], Awaitable[Credentials]],
        mark: Callable[[], Awaitable[str]],
        ask: Ask,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._credentials = credentials
        self._mark = mark
        self._ask = ask
        self._now = now
        self._cached = State()
        self._me = secrets.token_hex(8)
        self._lock = asyncio.Lock()

    async def get(self, rejected: str = "") -> str:
        """A live token. ``rejected`` is one that the PBX called expired: never that one again.

        Raises ``CredentialsRejected``, ``Blocked``, ``LimitReached`` from the breaker without asking the PBX, and
        ``Retry`` when nobody got a token in time.
        """
        if self._usable(self._cached, self._cached.mark, rejected):
            return self._cached.access_token
        async with self._lock:
            return await self._get(rejected)

    async def _get(self, rejected: str) -> str:
        mark = await self._mark()
        deadline = self._now() + 2 * RENEWAL_SECONDS
        while self._now() < deadline:
            text, etag = await self._store.read()
            state = _decode(text)
            if self._usable(state, mark, rejected):
                self._cached = state
                return state.access_token
            if state.mark == mark and state.breaker is not None and self._closed(state.breaker):
                raise state.breaker.error()
            if state.renewing and state.renewing_until > self._now():
                await asyncio.sleep(POLL_SECONDS)
                continue
            claim = self._claim(state, mark)
            claimed = await self._store.swap(_encode(claim), etag)
            if claimed is not None:
                return await self._renew(claim, claimed)
        raise Retry("no other process of this deployment finished signing in to the PBX in time")

    def _claim(self, state: State, mark: str) -> State:
        base = state if state.mark == mark else State(mark=mark)
        until = self._now() + RENEWAL_SECONDS
        return msgspec.structs.replace(base, renewing=self._me, renewing_until=until, breaker=None)

    async def _renew(self, claim: State, etag: str) -> str:
        try:
            state = await self._sign_in(claim)
        except BaseException:
            # Let the others try at once instead of waiting for the claim to run out.
            await self._store.swap(_encode(msgspec.structs.replace(claim, renewing="", renewing_until=0)), etag)
            raise
        await self._store.swap(_encode(state), etag)
        if state.breaker is not None:
            raise state.breaker.error()
        self._cached = state
        return state.access_token

    async def _sign_in(self, claim: State) -> State:
        """Refresh, or sign in once. A rejection comes back as a state with a breaker."""
        can_refresh = claim.refresh_token and claim.refresh_expires_at > self._now() + 60
        if can_refresh:
            answer = await self._ask("refresh_token", {"refresh_token": claim.refresh_token})
            if answer.errcode == 0 and answer.access_token:
                return self._renewed(claim.mark, answer)
            if answer.errcode in {70004, 70087}:
                return self._broken(claim.mark, answer)
        credentials = await self._credentials()
        answer = await self._ask(
            "get_token", {"username": credentials.client_id, "password": credentials.client_secret}
        )
        if answer.errcode == 0 and answer.access_token:
            return self._renewed(credentials.mark, answer)
        if isinstance(error := from_errcode(answer.errcode, answer.errmsg), Retry) and answer.errcode != 1:
            raise error
        return self._broken(credentials.mark, answer)

    def _renewed(self, mark: str, answer: TokenAnswer) -> State:
        now = self._now()
        return State(
            access_token=answer.access_token,
            expires_at=now + answer.access_token_expire_time,
            refresh_token=answer.refresh_token,
            refresh_expires_at=now + answer.refresh_token_expire_time,
            mark=mark,
        )

    def _broken(self, mark: str, answer: TokenAnswer) -> State:
        error = from_errcode(answer.errcode, answer.errmsg)
        now = self._now()
        if isinstance(error, LimitReached):
            message = "the PBX has 8 live API tokens already; one of them ends within 30 minutes"
            breaker = Breaker(error.code, f"{message} [errcode {answer.errcode}]", answer.errcode, now + FULL_SECONDS)
        elif isinstance(error, Blocked | ApiDisabled):
            breaker = Breaker(error.code, str(error), answer.errcode, now + BLOCK_SECONDS)
        else:
            message = f"the PBX rejects the API client id or secret [errcode {answer.errcode}]"
            breaker = Breaker(CredentialsRejected.code, message, answer.errcode)
        return State(mark=mark, breaker=breaker)

    def _usable(self, state: State, mark: str, rejected: str) -> bool:
        is_live = bool(state.access_token) and state.expires_at - RENEW_BEFORE_SECONDS > self._now()
        return is_live and state.mark == mark and state.access_token != rejected

    def _closed(self, breaker: Breaker) -> bool:
        return breaker.until is None or breaker.until > self._now()


def _decode(text: str) -> State:
    try:
        return msgspec.json.decode(text, type=State) if text else State()
    except msgspec.DecodeError:
        return State()  # a state of another version: sign in anew


def _encode(state: State) -> str:
    return msgspec.json.encode(state).decode()
