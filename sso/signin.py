"""Signing in with Microsoft, from the button to the session: the authorization code flow with PKCE, and admin consent.

What has to be remembered on the way travels in a sealed cookie of the browser that began it; that it came back is
recorded, so that no answer is taken twice.
"""

import datetime
import hmac
import secrets
from collections.abc import Mapping, Sequence
from typing import Literal
from urllib.parse import urlencode

import msgspec

from graph.errors import GraphError
from sso.account import Account, adopt_account, adopt_further, granted, read_account
from sso.authority import Authority, address, find_authority
from sso.consent import FURTHER_SCOPES, PRESENCE, SIGN_IN, delegated_scopes
from sso.errors import GrantRefused, InvalidToken, NotSetUp
from sso.failures import (
    NO_REFRESH_TOKEN,
    NO_ROLE,
    NOT_ADDED,
    SESSION_ENDED,
    STATE_MISMATCH,
    TENANT_MISMATCH,
    WITHOUT_PRESENCE,
    Failed,
    failed,
    refused,
)
from sso.id_token import Claims, read_id_token
from sso.oauth import Flow, Tokens, aadsts, application_of, begin_flow, redeem
from sso.place import Place
from sso.sealing import open_sealed, seal
from sso.sessions import Session, find_session, start_session
from store.document import Microsoft, Settings
from store.sessions import Basis, Role, SessionStore, UsedStates

STATE_COOKIE = "__Host-bridge-state"
"""Path=/; Secure; HttpOnly; SameSite=None, because Entra's answer is a form posted by its own page; Max-Age
``STATE_MAX_AGE``."""
STATE_MAX_AGE = 600
CALLBACK = "/connect/callback"
ROLES: tuple[tuple[str, Role], ...] = (("Bridge.Admin", "admin"), ("Bridge.Reader", "reader"))
"""App roles of the registration, and what they are here; the first that somebody has counts."""
EVERYTHING = "https://graph.microsoft.com/.default"
UNKNOWN = "somebody whom Entra's answer does not name"

type Purpose = Literal["connect", "console", "presence", "person"]
"""Become the authorization account; use the console; become a further account, for presence only, which leaves the
administrator who began it signed in as before; see one's own pages, for which nobody needs an app role."""


class Begun(msgspec.Struct, frozen=True):
    """Where to send the browser, and the value of the cookie ``STATE_COOKIE``."""

    url: str
    cookie: str


class Completed(msgspec.Struct, frozen=True):
    """Somebody is signed in, or a further account was added."""

    purpose: Purpose
    return_to: str
    session: Session
    cookie: str
    """The value of the session's cookie; empty where the session of who began it goes on."""
    account: Account | None = None
    """Which account of the connection it has become, if any."""


class Consented(msgspec.Struct, frozen=True):
    """An administrator granted what the app registration asks for. It may take Entra a minute to know everywhere."""

    return_to: str


class _State(msgspec.Struct, frozen=True):
    """What the browser keeps for us, sealed."""

    purpose: Literal["connect", "console", "presence", "person", "consent"]
    state: str
    session_id: str
    """Of the session that began it; empty when there was none."""
    return_to: str
    until: datetime.datetime
    tenant_id: str
    client_id: str
    """As in the settings when it began: an answer for another application or tenant is not taken."""
    flow: Flow | None = None


async def begin(place: Place, purpose: Purpose, session_id: str, return_to: str, now: datetime.datetime) -> Begun:
    """Begin a sign-in. ``return_to`` is a path of ours, anything else becomes the console. Who connects is asked for
    what the features need, a further account for presence; anybody else for nothing beyond signing in.

    Raises ``NotSetUp`` while ids or the public address are missing, ``graph.errors.CredentialsRejected`` when there is
    no such tenant, and ``Unavailable``.
    """
    settings = (await place.settings.load()).settings
    authority = await find_authority(place, settings.microsoft, now)
    flow, url = await begin_flow(
        authority,
        settings.microsoft.client_id,
        address(place, settings.microsoft),
        _scopes(purpose, settings),
        _callback(place),
    )
    state = _State(purpose, flow.state, session_id, local_path(return_to), _until(now), *_ids(settings.microsoft), flow)
    return Begun(url, await seal(place, "state", state, now))


async def complete(
    place: Place, form: Mapping[str, str], cookies: Mapping[str, str], now: datetime.datetime
) -> Completed | Failed:
    """Finish a sign-in with what Entra's page posted. Only storage and Key Vault raise here (``StoreError``)."""
    state = await _returned(place, form, cookies, now)
    if state is None or state.purpose == "consent" or state.flow is None:
        return STATE_MISMATCH
    outcome = await _answered(place, state, state.flow, form, now)
    if isinstance(outcome, Completed):
        return outcome
    failed = msgspec.structs.replace(outcome, return_to=state.return_to)
    return failed if failed.who else await _blamed(place, state, failed, now)


async def _answered(
    place: Place, state: _State, flow: Flow, form: Mapping[str, str], now: datetime.datetime
) -> Completed | Failed:
    """What the answer to this sign-in means."""
    if "error" in form:
        return refused(form["error"], aadsts(form.get("error_description", "")))
    microsoft = (await place.settings.load()).settings.microsoft
    if not form.get("code") or _ids(microsoft) != (state.tenant_id, state.client_id):
        return STATE_MISMATCH
    try:
        claims, tokens = await _identified(place, microsoft, flow, form["code"], now)
    except InvalidToken as error:  # Entra took the code, so somebody did sign in
        return msgspec.structs.replace(failed(error), who=UNKNOWN)
    except (GraphError, GrantRefused) as error:
        return failed(error)
    match state.purpose:
        case "connect":
            return await _connected(place, state, claims, tokens, now)
        case "presence":
            return await _added(place, state, claims, tokens, now)
        case _:
            return await _admitted(place, state, claims, now)


async def admin_consent_url(
    place: Place, session_id: str, now: datetime.datetime, return_to: str = "/connect"
) -> Begun:
    """Where an administrator of the tenant grants everything that the app registration lists. Raises as ``begin``."""
    microsoft = (await place.settings.load()).settings.microsoft
    where = address(place, microsoft)
    state = _State(
        "consent", secrets.token_urlsafe(24), session_id, local_path(return_to), _until(now), *_ids(microsoft)
    )
    query = {
        "client_id": microsoft.client_id,
        "scope": EVERYTHING,
        "redirect_uri": _callback(place),
        "state": state.state,
    }
    return Begun(f"{where}/v2.0/adminconsent?{urlencode(query)}", await seal(place, "state", state, now))


async def consent_result(
    place: Place, query: Mapping[str, str], cookies: Mapping[str, str], now: datetime.datetime
) -> Consented | Failed:
    """What came of it. The answer proves nothing (anybody could have written it): what is granted, the next token
    tells. An answer to a request for consent has the parameter ``admin_consent``."""
    state = await _returned(place, query, cookies, now)
    if state is None or state.purpose != "consent":
        return STATE_MISMATCH
    if "error" in query:
        return await _blamed(place, state, refused(query["error"], aadsts(query.get("error_description", ""))), now)
    if not await _initiator(place, state, now):
        return SESSION_ENDED
    microsoft = (await place.settings.load()).settings.microsoft
    try:
        authority = await find_authority(place, microsoft, now)
    except GraphError as error:
        return failed(error)
    if query.get("tenant", authority.tenant_id).lower() != authority.tenant_id:
        return TENANT_MISMATCH
    return Consented(state.return_to)


async def _returned(
    place: Place, form: Mapping[str, str], cookies: Mapping[str, str], now: datetime.datetime
) -> _State | None:
    """What this browser began and what has come back now for the first time; ``None`` for anything else."""
    state = await open_sealed(place, "state", cookies.get(STATE_COOKIE, ""), _State, now)
    given = form.get("state", "")
    if state is None or not hmac.compare_digest(given.encode(errors="replace"), state.state.encode()):
        return None
    if now >= state.until:
        return None
    used = UsedStates(place.tables, place.id)
    await used.sweep(now)
    return state if await used.use(state.state, state.until) else None


async def _identified(
    place: Place, microsoft: Microsoft, flow: Flow, code: str, now: datetime.datetime
) -> tuple[Claims, Tokens]:
    """Who it is, proven by an ID token, and the tokens that came with it."""
    authority: Authority = await find_authority(place, microsoft, now)
    tokens = await redeem(await application_of(place, microsoft), authority, flow, code)
    claims = await read_id_token(
        place, authority, tokens.id_token, client_id=microsoft.client_id, nonce=flow.nonce_claim, now=now
    )
    return claims, tokens


async def _connected(
    place: Place, state: _State, claims: Claims, tokens: Tokens, now: datetime.datetime
) -> Completed | Failed:
    """Make the account the authorization account; who began it goes on with a session of this account."""
    if not await _initiator(place, state, now):
        return SESSION_ENDED
    if not tokens.refresh_token:
        return NO_REFRESH_TOKEN
    account = await adopt_account(place, claims, tokens, now)
    await SessionStore(place.tables, place.id).end(state.session_id)
    basis: Basis = "role" if _role(claims) == "admin" else "account"
    done = await _session(place, state, claims, ("admin", basis), now)
    return msgspec.structs.replace(done, account=account)


async def _added(
    place: Place, state: _State, claims: Claims, tokens: Tokens, now: datetime.datetime
) -> Completed | Failed:
    """Make the account a further one. Who began it goes on as before: to add an account is not to be it."""
    session = await _session_of(place, state, now)
    if session is None or session.role != "admin":
        return SESSION_ENDED
    if not tokens.refresh_token:
        return NO_REFRESH_TOKEN
    if PRESENCE not in granted(tokens):
        return WITHOUT_PRESENCE
    authorization = await read_account(place)
    if authorization is not None and authorization.object_id == claims.oid:
        return NOT_ADDED
    account = await adopt_further(place, claims, tokens, now)
    return Completed("presence", state.return_to, session, "", account)


async def _admitted(place: Place, state: _State, claims: Claims, now: datetime.datetime) -> Completed | Failed:
    """A session for who may have one; the one in which it was begun, if any, ends."""
    store = SessionStore(place.tables, place.id)
    role = _role(claims)
    basis: Basis = "role"
    if role != "admin":
        account, _ = await store.account()
        if account is not None and account.key == claims.account:
            role, basis = "admin", "account"
    if role is None and state.purpose == "person":
        role, basis = "person", "tenant"
    if role is None:
        return msgspec.structs.replace(NO_ROLE, who=f"{_name(claims)} ({claims.account})")
    if state.session_id:
        await store.end(state.session_id)
    return await _session(place, state, claims, (role, basis), now)


async def _session(
    place: Place, state: _State, claims: Claims, ground: tuple[Role, Basis], now: datetime.datetime
) -> Completed:
    role, basis = ground
    session, cookie = await start_session(place, _name(claims), claims.account, role, now, basis=basis)
    purpose: Purpose = "console" if state.purpose == "consent" else state.purpose
    return Completed(purpose, state.return_to, session, cookie)


async def _initiator(place: Place, state: _State, now: datetime.datetime) -> bool:
    """Whether who began it is still signed in, as an administrator."""
    session = await _session_of(place, state, now)
    return session is not None and session.role == "admin"


async def _blamed(place: Place, state: _State, failed: Failed, now: datetime.datetime) -> Failed:
    """The same with the name of who began it in a session that is still there."""
    session = await _session_of(place, state, now)
    return failed if session is None else msgspec.structs.replace(failed, who=f"{session.name} ({session.account})")


async def _session_of(place: Place, state: _State, now: datetime.datetime) -> Session | None:
    return await find_session(place, state.session_id, now) if state.session_id else None


def _scopes(purpose: Purpose, settings: Settings) -> Sequence[str]:
    match purpose:
        case "connect":
            return delegated_scopes(settings)
        case "presence":
            return FURTHER_SCOPES
        case "console" | "person":
            return (SIGN_IN,)


def _name(claims: Claims) -> str:
    return claims.name or claims.preferred_username or claims.oid


def _role(claims: Claims) -> Role | None:
    return next((role for value, role in ROLES if value in claims.roles), None)


def local_path(path: str) -> str:
    """``path`` if it stays on this site, the console otherwise: no scheme, host, backslash or control character."""
    is_local = path.startswith("/") and not path.startswith("//") and len(path) <= 1000
    return path if is_local and path.isprintable() and path.isascii() and "\\" not in path else "/console"


def _callback(place: Place) -> str:
    base = place.environment.public_base_url
    if not base:
        raise NotSetUp(
            "the public address of the bridge is not known",
            "Set the application setting PUBLIC_BASE_URL to the https address of the function app.",
        )
    return f"{base}{CALLBACK}"


def _until(now: datetime.datetime) -> datetime.datetime:
    return now + datetime.timedelta(seconds=STATE_MAX_AGE)


def _ids(microsoft: Microsoft) -> tuple[str, str]:
    return microsoft.tenant_id, microsoft.client_id
