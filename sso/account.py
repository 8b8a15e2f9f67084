"""The accounts of a connection: in whose name the bridge reads what an application alone may not.

The authorization account is for everything; further accounts are for presence only, of which Graph announces no more
than 650 users to each. An account's refresh token is in the Key Vault, a new version with each use, and the account's
record names the version that counts. Entra does not revoke a token by use, so of two processes that refresh at once
both get what they want, and only the one that is recorded first names its successor (microsoft-graph reference,
"Refresh tokens").
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
from store.health import FURTHER_SIGN_IN_NEEDED, SIGN_IN_NEEDED, Health, Reason
from store.secrets import InternalName, presence_token
from store.sessions import AUTHORIZATION, AccountRecord, SessionRecord, SessionStore, forget_accounts

log = logging.getLogger("sso")

FURTHER_ACTION = "Add the account again on the page Connect and sign in as it, or remove it there."
EARLY = datetime.timedelta(minutes=5)
"""An access token is not used any more so long before its end: a run may go on with it for a while."""
TRIES = 5

INTERACTIVE = frozenset({"invalid_grant", "interaction_required", "login_required", "consent_required"})
"""OAuth errors that only a person can mend."""
MALFORMED = 9002313
"""What Entra calls a refresh token that it does not know."""
NONE = "no account has signed in for this connection"
REMOVED = "the account is none of this connection's any more"
WHY = {
    50173: "the sign-in was revoked, as by a changed password",
    50057: "the account is disabled in Entra",
    50034: "the account does not exist in the tenant any more",
    50105: "the account is not assigned to the application any more",
    65001: "the consent for the application is missing or was withdrawn",
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
    """The authorization account, or a further one."""

    tenant_id: str
    object_id: str
    name: str
    user_principal_name: str
    signed_in_at: str
    state: Literal["valid", "needs_sign_in"]
    reason: str
    """A sentence; empty while it is valid."""
    scopes: list[str]
    """Delegated permissions that it was given, at its sign-in or since."""
    key: str = AUTHORIZATION
    """What ``access_token`` knows it by: ``authorization``, or the object id of a further one."""


async def read_account(place: Place) -> Account | None:
    """The authorization account; ``None`` before the first sign-in."""
    record, _ = await SessionStore(place.tables, place.id).account()
    return None if record is None else _account(record, AUTHORIZATION)


async def further_accounts(place: Place) -> list[Account]:
    """The further accounts by object id, also those that have to sign in again; one request."""
    records = await SessionStore(place.tables, place.id).further_accounts()
    return [_account(record, record.object_id) for record in records]


async def adopt_account(place: Place, claims: Claims, tokens: Tokens, now: datetime.datetime) -> Account:
    """Make who just signed in the authorization account, in the place of whoever was."""
    record = await _adopted(place, AUTHORIZATION, claims, tokens, now)
    await place.health.drop_reasons(SIGN_IN_NEEDED)
    if (await SessionStore(place.tables, place.id).account(record.object_id))[0] is not None:
        await forget_further(place, record.object_id)  # for presence an account counts once
    return _account(record, AUTHORIZATION)


async def adopt_further(place: Place, claims: Claims, tokens: Tokens, now: datetime.datetime) -> Account:
    """Make who just signed in a further account, or give the one that it is already its new token."""
    record = await _adopted(place, claims.oid, claims, tokens, now)
    await _tell_further(place, now)
    return _account(record, record.object_id)


async def access_token(
    place: Place,
    scopes: Sequence[str],
    now: datetime.datetime,
    account: str = AUTHORIZATION,
    *,
    fresh: bool = False,
) -> str:
    """An access token for Microsoft Graph in the name of an account, by its key. A token is used until shortly before
    its end; ``fresh``: it takes its place now, for whoever keeps it as Graph does with that of a subscription.

    Raises ``SignInNeeded`` (recorded as a reason for attention, and not tried again until somebody signs in),
    ``graph.errors.CredentialsRejected`` when Entra refuses the application itself, and ``Unavailable``.
    """
    store = SessionStore(place.tables, place.id)
    for _ in range(TRIES):
        record, etag = await store.account(_further(account))
        if record is None:
            raise SignInNeeded(REMOVED if _further(account) else NONE)
        if record.state != "valid":
            await _tell(place, account, record.reason, now)
            raise SignInNeeded(record.reason.rstrip("."))
        mark = (account, record.key, record.signed_in_at, *sorted(scopes))
        token, until = memory_of(place).tokens.get(mark, ("", now))
        if now < until and not fresh:
            return token
        found = await _refreshed(place, _Held(account, record, etag), scopes, now)
        if found is not None:
            memory_of(place).tokens[mark] = (found.access_token, now + _use(found))
            return found.access_token
    raise SignInNeeded("the account is being changed all the time", "Try again.")


async def forget_account(place: Place) -> None:
    """Forget the authorization account and its token; sessions whose role rests on it end with it."""
    await SessionStore(place.tables, place.id).forget_account()
    await place.secrets.delete(_stored_as(AUTHORIZATION))
    memory_of(place).tokens.clear()
    await place.health.drop_reasons(SIGN_IN_NEEDED)


async def forget_further(place: Place, object_id: str) -> None:
    """Forget a further account and its token; one that is not there is no error."""
    await place.secrets.delete(_stored_as(object_id))  # first: without the record nobody would look for it
    await SessionStore(place.tables, place.id).forget_account(object_id)
    memory_of(place).tokens.clear()
    await _tell_further(place)


async def forget_all(place: Place) -> None:
    """Forget every account with its token."""
    await forget_accounts(SessionStore(place.tables, place.id), place.secrets)
    memory_of(place).tokens.clear()
    await place.health.drop_reasons(SIGN_IN_NEEDED, FURTHER_SIGN_IN_NEEDED)


async def settle_in(place: Place, tenant_id: str, session: Session) -> None:
    """The connection is to this tenant from now on: whom a former one let in is out, and its accounts are forgotten.
    ``session`` is of who decided that, and goes on until its end."""
    tenant = tenant_id.lower()

    def stays(one: SessionRecord) -> bool:
        return one.id == session.id or one.basis == "setup-key" or one.account.partition(":")[0] == tenant

    store = SessionStore(place.tables, place.id)
    await store.end_all(stays)
    for one in await store.further_accounts():
        if one.tenant_id != tenant:
            await forget_further(place, one.object_id)
    own, account = await store.load(session.id)
    if account is None or account.tenant_id == tenant:
        return
    await forget_account(place)
    if own is not None and own.basis == "account":  # what it rested on is gone
        await store.end(own.id)
        await store.add(msgspec.structs.replace(own, basis="role"))


class _Held(msgspec.Struct, frozen=True):
    """An account as it was read."""

    account: str
    """Its key."""
    record: AccountRecord
    etag: str


async def _adopted(place: Place, account: str, claims: Claims, tokens: Tokens, now: datetime.datetime) -> AccountRecord:
    """Keep who signed in and the token, in the place of whoever was there."""
    stored = await place.secrets.write(_stored_as(account), tokens.refresh_token)
    record = AccountRecord(
        tenant_id=claims.tid,
        object_id=claims.oid,
        name=claims.name,
        user_principal_name=claims.preferred_username,
        signed_in_at=now.isoformat(timespec="milliseconds"),
        scopes=sorted(granted(tokens)),
        token_version=stored.version,
    )
    await SessionStore(place.tables, place.id).save_account(record, _further(account))
    memory_of(place).tokens.clear()
    return record


async def _refreshed(place: Place, held: _Held, scopes: Sequence[str], now: datetime.datetime) -> Tokens | None:
    """New tokens; ``None`` when somebody signed in meanwhile, so that the newer account has to be looked at."""
    microsoft = (await place.settings.load()).settings.microsoft
    try:
        secret = await place.secrets.read(_stored_as(held.account), held.record.token_version)
        authority = await find_authority(place, microsoft, now)
        tokens = await refresh(await application_of(place, microsoft), authority, secret.value, scopes)
    except SecretMissing:
        await _ended(place, held, "The refresh token is not in the Key Vault any more.", now)
        return None
    except GrantRefused as error:
        if error.error not in INTERACTIVE and error.number != MALFORMED:
            raise CredentialsRejected(f"Entra refuses to renew the sign-in: {error}") from None
        await _ended(place, held, reason_of(error), now)
        return None
    return tokens if await _rotated(place, held, tokens) else None


async def _rotated(place: Place, held: _Held, tokens: Tokens) -> bool:
    """Keep the new refresh token. ``False`` when the account was forgotten, or another sign-in took its place."""
    if not tokens.refresh_token:
        return True
    store, record = SessionStore(place.tables, place.id), held.record
    stored = await place.secrets.write(_stored_as(held.account), tokens.refresh_token)
    # What was granted to everybody meanwhile came without a new sign-in.
    scopes = sorted({*record.scopes, *granted(tokens)})
    kept = msgspec.structs.replace(record, token_version=stored.version, scopes=scopes)
    if await store.replace_account(kept, held.etag, _further(held.account)):
        return True
    newer, _ = await store.account(_further(held.account))
    if newer is None:
        await place.secrets.delete(_stored_as(held.account))
        return False
    return (newer.key, newer.signed_in_at) == (record.key, record.signed_in_at)


async def _ended(place: Place, held: _Held, reason: str, now: datetime.datetime) -> None:
    """Record that the account has to sign in again; nothing when its record changed meanwhile."""
    ended = msgspec.structs.replace(held.record, state="needs_sign_in", reason=reason)
    store = SessionStore(place.tables, place.id)
    if await store.replace_account(ended, held.etag, _further(held.account)):
        await _tell(place, held.account, reason, now)
        raise SignInNeeded(reason.rstrip("."))


def granted(tokens: Tokens) -> set[str]:
    """The names of the delegated permissions in what the token endpoint gave."""
    return {scope.rpartition("/")[2] for scope in tokens.scope.split()}


def reason_of(error: GrantRefused) -> str:
    """A sentence about why the account has to sign in again."""
    words = WHY.get(error.number, "Entra does not accept the sign-in any more")
    number = f" (AADSTS{error.number})" if error.number else ""
    return f"{words[:1].upper()}{words[1:]}{number}."


def _further(account: str) -> str:
    """The object id by which the records know a further account; empty for the authorization account."""
    return "" if account == AUTHORIZATION else account


def _stored_as(account: str) -> InternalName:
    return "authorization-refresh-token" if account == AUTHORIZATION else presence_token(account)


def _use(tokens: Tokens) -> datetime.timedelta:
    return datetime.timedelta(seconds=tokens.expires_in) - EARLY


async def _tell(place: Place, account: str, reason: str, now: datetime.datetime) -> None:
    """Tell once that an account has to sign in again."""
    if account != AUTHORIZATION:
        await _tell_further(place, now)
        return
    told = Reason(
        SIGN_IN_NEEDED,
        f"The authorization account has to sign in again. {reason}",
        SignInNeeded.action,
        now.isoformat(timespec="seconds"),
    )

    def change(health: Health) -> Health:
        if any(known.code == SIGN_IN_NEEDED for known in health.reasons):
            return health
        return msgspec.structs.replace(health, reasons=[*health.reasons, told])

    before = await place.health.load()
    after = await place.health.update(change)
    if len(after.reasons) > len(before.reasons):
        log.error("Attention needed: %s %s", told.message, told.action)


async def _tell_further(place: Place, now: datetime.datetime | None = None) -> None:
    """Have the reason name the further accounts that have to sign in again; without any there is none. Who was not
    named before is told. ``now`` is when somebody may have had to for the first time."""
    store = SessionStore(place.tables, place.id)
    records = await store.further_accounts()
    for _ in range(TRIES):
        await _name_further(place, [record for record in records if record.state != "valid"], now)
        seen, records = records, await store.further_accounts()
        if [one.state for one in records] == [one.state for one in seen]:
            return  # nobody ended or recovered while the reason was written


async def _name_further(place: Place, ended: Sequence[AccountRecord], now: datetime.datetime | None) -> None:
    lines = "; ".join(f"{_label(one)}: {one.reason.rstrip('.')}" for one in ended)
    since = "" if now is None else now.isoformat(timespec="seconds")
    named = ""

    def change(health: Health) -> Health:
        nonlocal named
        known = next((one for one in health.reasons if one.code == FURTHER_SIGN_IN_NEEDED), None)
        named = known.message if known else ""
        others = [one for one in health.reasons if one.code != FURTHER_SIGN_IN_NEEDED]
        message = f"A further account for presence has to sign in again. {lines}."
        told = Reason(FURTHER_SIGN_IN_NEEDED, message, FURTHER_ACTION, known.since if known else since)
        return msgspec.structs.replace(health, reasons=[*others, told] if ended else others)

    await place.health.update(change)
    for one in ended:
        if _label(one) not in named:
            log.error("Attention needed: %s has to sign in again. %s %s", _label(one), one.reason, FURTHER_ACTION)


def _label(record: AccountRecord) -> str:
    """How people know an account."""
    return f"{record.name} ({record.user_principal_name})"


def _account(record: AccountRecord, key: str) -> Account:
    return Account(
        tenant_id=record.tenant_id,
        object_id=record.object_id,
        name=record.name,
        user_principal_name=record.user_principal_name,
        signed_in_at=record.signed_in_at,
        state=record.state,
        reason=record.reason,
        scopes=record.scopes,
        key=key,
    )
