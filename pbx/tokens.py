"""One access token for the whole deployment.

The PBX allows 8 live tokens of 1,800 s; every careless ``get_token`` takes one, and 5 failed sign-ins block our
address. So all processes share one token through a store with compare-and-swap: one of them renews it, the others wait
for the outcome, and a rejection is remembered where all of them see it (the *breaker*).
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from pbx.errors import (
    ApiDisabled,
    Blocked,
    Busy,
    CredentialsRejected,
    FeatureMissing,
    LimitReached,
    PbxError,
    Retry,
    TokensExhausted,
    Unreachable,
    from_errcode,
)
from pbx.models import TokenAnswer

RENEW_BEFORE_SECONDS = 300
"""A token of 1,800 s is renewed after about 25 minutes."""
RENEWAL_SECONDS = 45
"""Longer than a renewal can take: then another process may try."""
POLL_SECONDS = 0.15
UNCLEAR_ATTEMPTS = 2
UNCLEAR_SECONDS = 60
"""Pause after so many sign-ins in a row that got no usable answer: each of them may have taken one of the 8 tokens, or
counted as one of the 5 failures."""
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
        kinds: dict[str, type[PbxError]] = {kind.code: kind for kind in (Blocked, TokensExhausted, ApiDisabled, Retry)}
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
    unclear: int = 0
    """Sign-ins in a row that got no usable answer."""
    breaker: Breaker | None = None

    def __repr__(self) -> str:
        return f"State(expires_at={self.expires_at}, renewing={self.renewing!r}, breaker={self.breaker!r})"

    __str__ = __repr__


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
        ``Retry`` when nobody got a token in time; whatever the store raises. A token at hand costs no look at it.
        """
        if self._usable(self._cached, self._cached.mark, rejected):
            return self._cached.access_token
        async with self._lock:
            return await self._get(rejected)

    async def _get(self, rejected: str) -> str:
        mark = await self._mark()
        if self._cached.mark == mark:
            self._heed(self._cached)  # also while the store is down and cannot tell
        deadline = self._now() + 2 * RENEWAL_SECONDS
        while self._now() < deadline:
            text, etag = await self._store.read()
            state = _decode(text)
            if self._usable(state, mark, rejected):
                self._cached = state
                return state.access_token
            if state.mark == mark:
                self._heed(state)
            # A claim of our own is a left-over: its confirmation, or the end of its renewal, did not reach the store.
            if state.renewing not in {"", self._me} and state.renewing_until > self._now():
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
        except BaseException as error:
            # Let the others try at once instead of waiting for the claim to run out. The reason for ending goes first,
            # above all a cancellation; a claim that could not be given back runs out by itself.
            with contextlib.suppress(Exception):
                await self._store.swap(_encode(self._given_up(claim, error)), etag)
            raise
        self._cached = state
        await self._store.swap(_encode(state), etag)
        if state.breaker is not None:
            raise state.breaker.error()
        return state.access_token

    def _given_up(self, claim: State, error: BaseException) -> State:
        """The claim without its claimant; with a pause when sign-ins keep ending without a usable answer."""
        free = msgspec.structs.replace(claim, renewing="", renewing_until=0)
        if isinstance(error, Unreachable | Busy | FeatureMissing) or not isinstance(error, PbxError):
            return free
        unclear, breaker = claim.unclear + 1, None
        if unclear >= UNCLEAR_ATTEMPTS:
            message = f"{error}; the next sign-in waits a minute"
            breaker = Breaker(Retry.code, message, error.errcode, self._now() + UNCLEAR_SECONDS)
        return msgspec.structs.replace(free, unclear=unclear, breaker=breaker)

    async def _sign_in(self, claim: State) -> State:
        """Refresh, or sign in once. A rejection comes back as a state with a breaker."""
        can_refresh = claim.refresh_token and claim.refresh_expires_at > self._now() + 60
        if can_refresh:
            answer = await self._ask("refresh_token", {"refresh_token": claim.refresh_token})
            if answer.errcode == 0 and answer.access_token:
                return self._renewed(claim.mark, answer)
            if isinstance(error := from_errcode(answer.errcode, answer.errmsg), Busy):
                raise error
            if isinstance(error, Blocked):
                return self._broken(claim.mark, answer)
        credentials = await self._credentials()
        answer = await self._ask(
            "get_token", {"username": credentials.client_id, "password": credentials.client_secret}
        )
        if answer.errcode == 0 and answer.access_token:
            return self._renewed(credentials.mark, answer)
        if isinstance(error := from_errcode(answer.errcode, answer.errmsg), Busy):
            raise error
        return self._broken(credentials.mark, answer)

    def _renewed(self, mark: str, answer: TokenAnswer) -> State:
        now = self._now()
        return State(
            access_token=answer.access_token,
            # A lifetime that is no lifetime must not make every request renew; 10004 tells when a token ends earlier.
            expires_at=now + max(answer.access_token_expire_time, 2 * RENEW_BEFORE_SECONDS),
            refresh_token=answer.refresh_token,
            refresh_expires_at=now + answer.refresh_token_expire_time,
            mark=mark,
        )

    def _broken(self, mark: str, answer: TokenAnswer) -> State:
        error = from_errcode(answer.errcode, answer.errmsg)
        now = self._now()
        if isinstance(error, LimitReached):
            message = "the PBX has 8 live API tokens already; one of them ends within 30 minutes"
            words = f"{message} [errcode {answer.errcode}]"
            breaker = Breaker(TokensExhausted.code, words, answer.errcode, now + FULL_SECONDS)
        elif isinstance(error, Blocked):
            breaker = Breaker(error.code, str(error), answer.errcode, self._block_end(answer))
        elif isinstance(error, ApiDisabled | FeatureMissing):
            # A model without the Open API, as the P520, may not even know the interface.
            breaker = Breaker(ApiDisabled.code, str(error), answer.errcode, now + BLOCK_SECONDS)
        elif answer.errcode in {-2, 0, 2}:
            # A fault or a wrong secret: the number does not tell them apart for sure, so the next try is far off.
            breaker = Breaker(Retry.code, str(error), answer.errcode, now + BLOCK_SECONDS)
        else:
            message = f"the PBX rejects the API client id or secret [errcode {answer.errcode}]"
            breaker = Breaker(CredentialsRejected.code, message, answer.errcode)
        return State(mark=mark, breaker=breaker)

    def _block_end(self, answer: TokenAnswer) -> float:
        """When the PBX says that the block ends, if it says so in seconds since the epoch; at most a day ahead."""
        now, end = self._now(), answer.block_expire_time
        is_plausible = isinstance(end, int | float) and now < end < now + 86_400
        return end + 1 if is_plausible else now + BLOCK_SECONDS

    def _usable(self, state: State, mark: str, rejected: str) -> bool:
        is_live = bool(state.access_token) and state.expires_at - RENEW_BEFORE_SECONDS > self._now()
        return is_live and state.mark == mark and state.access_token != rejected

    def _heed(self, state: State) -> None:
        breaker = state.breaker
        if breaker is not None and (breaker.until is None or breaker.until > self._now()):
            raise breaker.error()


def _decode(text: str) -> State:
    try:
        return msgspec.json.decode(text, type=State) if text else State()
    except (msgspec.DecodeError, UnicodeDecodeError):
        return State()  # a state of another version: sign in anew


def _encode(state: State) -> str:
    return msgspec.json.encode(state).decode()
