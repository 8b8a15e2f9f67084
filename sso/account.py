"""The authorization account: in whose name the bridge reads what an application alone may not.

Its refresh token is in the Key Vault, a new version with each use, and the account's record names the version that
counts. Entra does not revoke a token by use, so of two processes that refresh at once both get what they want, and only
the one that is recorded first names its successor (microsoft-graph reference, "Refresh tokens").
"""

import datetime
import logging
from collections.abc import Sequence
from typing import Literal

import msgspec

from graph.errors import CredentialsRejected
from sso.authority import find_authority
from sso.errors import GrantRefused, SignInNeeded
from sso.id_token import Claims
from sso.memory import memory_of
from sso.oauth import Tokens, application_of, refresh
from sso.place import Place
from sso.sessions import Session
from store.errors import SecretMissing
from store.health import Health, Reason
from store.secrets import InternalName
from store.sessions import AccountRecord, SessionRecord, SessionStore

log = logging.getLogger("sso")

STORED_AS: InternalName = "authorization-refresh-token"
REASON = "sign_in_needed"
"""The code of the reason for attention; a new sign-in ends it, a run that works does not."""
EARLY = datetime.timedelta(minutes=5)
"""An access token is not used any more so long before its end: a run may go on with it for a while."""
TRIES = 5

INTERACTIVE = frozenset({"invalid_grant", "interaction_required", "login_required", "consent_required"})
"""OAuth errors that only a person can mend."""
MALFORMED = 9002313
"""What Entra calls a refresh token that it does not know."""
NONE = "no account has signed in for this connection"
WHY = {
    50173: "the sign-in was revoked, as by a changed password",
    50057: "the account is disabled in Entra",
    50034: "the account does not exist in the tenant any more",
    50105: "the account is not assigned to the application any more",
    65001: "the consent for the application was withdrawn",
    70008: "the sign-in has expired",
    700082: "the sign-in was not used for 90 days and has expired",
    70043: "a policy of the tenant ends sign-ins after a while",
    50076: "Entra asks for another factor",
    50079: "Entra asks for another factor to be set up",
    50158: "a policy of the tenant asks for more than was given",
    53003: "a Conditional Access policy of the tenant blocks it",
}
"""Why Entra takes a refresh token no more, by the number after AADSTS
(https://learn.microsoft.com/entra/identity-platform/reference-error-codes)."""


class Account(msgspec.Struct, frozen=True):
    """The authorization account."""

    tenant_id: str
    object_id: str
    name: str
    user_principal_name: str
    signed_in_at: str
    state: Literal["valid", "needs_sign_in"]
    reason: str
    """A sentence; empty while it is valid."""
    scopes: list[str]
    """Delegated permissions that it was given at its last sign-in."""


async def read_account(place: Place) -> Account | None:
    """The account; ``None`` before the first sign-in."""
    record, _ = await SessionStore(place.tables, place.id).account()
    return None if record is None else _account(record)


async def adopt_account(place: Place, claims: Claims, tokens: Tokens, now: datetime.datetime) -> Account:
    """Make who just signed in the authorization account, in the place of whoever was."""
    stored = await place.secrets.write(STORED_AS, tokens.refresh_token)
    record = AccountRecord(
        tenant_id=claims.tid,
        object_id=claims.oid,
        name=claims.name,
        user_principal_name=claims.preferred_username,
        signed_in_at=now.isoformat(timespec="milliseconds"),
        scopes=sorted(scope.rpartition("/")[2] for scope in tokens.scope.split()),
        token_version=stored.version,
    )
    await SessionStore(place.tables, place.id).save_account(record)
    memory_of(place).tokens.clear()
    await _recovered(place)
    return _account(record)


async def access_token(place: Place, scopes: Sequence[str], now: datetime.datetime) -> str:
    """An access token for Microsoft Graph in the name of the account. A token is used until shortly before its end.

    Raises ``SignInNeeded`` (recorded as a reason for attention, and not tried again until somebody signs in),
    ``graph.errors.CredentialsRejected`` when Entra refuses the application itself, and ``Unavailable``.
    """
    store = SessionStore(place.tables, place.id)
    for _ in range(TRIES):
        record, etag = await store.account()
        if record is None:
            raise SignInNeeded(NONE)
        if record.state != "valid":
            await _tell(place, record.reason, now)
            raise SignInNeeded(record.reason.rstrip("."))
        mark = (record.key, record.signed_in_at, *sorted(scopes))
        token, until = memory_of(place).tokens.get(mark, ("", now))
        if now < until:
            return token
        found = await _refreshed(place, record, etag, scopes, now)
        if found is not None:
            memory_of(place).tokens[mark] = (found.access_token, now + _use(found))
            return found.access_token
    raise SignInNeeded("the authorization account is being changed all the time", "Try again.")


async def forget_account(place: Place) -> None:
    """Forget the account and its token; sessions whose role rests on it end with it."""
    await SessionStore(place.tables, place.id).forget_account()
    await place.secrets.delete(STORED_AS)
    memory_of(place).tokens.clear()
    await _recovered(place)


async def settle_in(place: Place, tenant_id: str, session: Session) -> None:
    """The connection is to this tenant from now on: whom a former one let in is out, and its authorization account is
    forgotten. ``session`` is of who decided that, and goes on until its end."""
    tenant = tenant_id.lower()

    def stays(one: SessionRecord) -> bool:
        return one.id == session.id or one.basis == "setup-key" or one.account.partition(":")[0] == tenant

    store = SessionStore(place.tables, place.id)
    await store.end_all(stays)
    own, account = await store.load(session.id)
    if account is None or account.tenant_id == tenant:
        return
    await forget_account(place)
    if own is not None and own.basis == "account":  # what it rested on is gone
        await store.end(own.id)
        await store.add(msgspec.structs.replace(own, basis="role"))


async def _refreshed(
    place: Place, record: AccountRecord, etag: str, scopes: Sequence[str], now: datetime.datetime
) -> Tokens | None:
    """New tokens; ``None`` when somebody signed in meanwhile, so that the newer account has to be looked at."""
    microsoft = (await place.settings.load()).settings.microsoft
    try:
        secret = await place.secrets.read(STORED_AS, record.token_version)
        authority = await find_authority(place, microsoft, now)
        tokens = await refresh(await application_of(place, microsoft), authority, secret.value, scopes)
    except SecretMissing:
        await _ended(place, record, etag, "The refresh token is not in the Key Vault any more.", now)
        return None
    except GrantRefused as error:
        if error.error not in INTERACTIVE and error.number != MALFORMED:
            raise CredentialsRejected(f"Entra refuses to renew the sign-in: {error}") from None
        await _ended(place, record, etag, reason_of(error), now)
        return None
    return tokens if await _rotated(place, record, etag, tokens) else None


async def _rotated(place: Place, record: AccountRecord, etag: str, tokens: Tokens) -> bool:
    """Keep the new refresh token. ``False`` when another sign-in took the account's place."""
    if not tokens.refresh_token:
        return True
    store = SessionStore(place.tables, place.id)
    stored = await place.secrets.write(STORED_AS, tokens.refresh_token)
    if await store.replace_account(msgspec.structs.replace(record, token_version=stored.version), etag):
        return True
    newer, _ = await store.account()
    return newer is not None and (newer.key, newer.signed_in_at) == (record.key, record.signed_in_at)


async def _ended(place: Place, record: AccountRecord, etag: str, reason: str, now: datetime.datetime) -> None:
    """Record that the account has to sign in again; nothing when its record changed meanwhile."""
    ended = msgspec.structs.replace(record, state="needs_sign_in", reason=reason)
    if await SessionStore(place.tables, place.id).replace_account(ended, etag):
        await _tell(place, reason, now)
        raise SignInNeeded(reason.rstrip("."))


def reason_of(error: GrantRefused) -> str:
    """A sentence about why the account has to sign in again."""
    words = WHY.get(error.number, "Entra does not accept the sign-in any more")
    number = f" (AADSTS{error.number})" if error.number else ""
    return f"{words[:1].upper()}{words[1:]}{number}."


def _use(tokens: Tokens) -> datetime.timedelta:
    return datetime.timedelta(seconds=tokens.expires_in) - EARLY


async def _tell(place: Place, reason: str, now: datetime.datetime) -> None:
    """Tell once that somebody has to sign in."""
    told = Reason(
        REASON,
        f"The authorization account has to sign in again. {reason}",
        SignInNeeded.action,
        now.isoformat(timespec="seconds"),
    )

    def change(health: Health) -> Health:
        if any(known.code == REASON for known in health.reasons):
            return health
        return msgspec.structs.replace(health, reasons=[*health.reasons, told])

    before = await place.health.load()
    after = await place.health.update(change)
    if len(after.reasons) > len(before.reasons):
        log.error("Attention needed: %s %s", told.message, told.action)


async def _recovered(place: Place) -> None:
    def change(health: Health) -> Health:
        return msgspec.structs.replace(health, reasons=[known for known in health.reasons if known.code != REASON])

    await place.health.update(change)


def _account(record: AccountRecord) -> Account:
    return Account(
        tenant_id=record.tenant_id,
        object_id=record.object_id,
        name=record.name,
        user_principal_name=record.user_principal_name,
        signed_in_at=record.signed_in_at,
        state=record.state,
        reason=record.reason,
        scopes=record.scopes,
    )
