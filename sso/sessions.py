"""Sessions of people at our pages: a sealed cookie for the browser, and a record that can be revoked."""

import datetime
import hashlib
import hmac
import secrets
from collections.abc import Mapping

import msgspec

from sso.place import Place
from sso.sealing import open_sealed, seal
from store.sessions import AccountRecord, Basis, Role, SessionRecord, SessionStore, session_id

COOKIE = "__Host-bridge"
"""Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age ``MAX_AGE``."""
MAX_AGE = 8 * 3600
"""Seconds. A working day; it is not prolonged by use, so a role that was taken away is gone the next morning."""
SETUP_KEY = "setup-key"
"""The account of who signed in with the setup key."""


class Session(msgspec.Struct, frozen=True):
    """Somebody who is signed in."""

    id: str
    name: str
    account: str
    """``{tenant id}:{object id}``, or ``setup-key``."""
    role: Role
    csrf: str
    """What every form on this person's pages has to bring along."""
    started_at: str
    ends_at: str


class _Ticket(msgspec.Struct, frozen=True):
    """What the cookie holds."""

    id: str
    mark: str = ""
    """A digest of the setup key that was given: another key in the deployment ends the session."""


async def open_session(place: Place, cookies: Mapping[str, str], now: datetime.datetime) -> Session | None:
    """The session of a browser; ``None`` when there is none, it ended, was revoked, or its role has lost its ground.

    One read of storage; where the setup key is used beside an authorization account, one more, of the settings.
    """
    ticket = await open_sealed(place, "session", cookies.get(COOKIE, ""), _Ticket, now)
    if ticket is None:
        return None
    record, account = await SessionStore(place.tables, place.id).load(ticket.id)
    if record is None or not await _is_good(place, record, account, now):
        return None
    if record.basis == "setup-key" and not hmac.compare_digest(ticket.mark, _mark(place)):
        return None
    return _session(record)


async def find_session(place: Place, session_id: str, now: datetime.datetime) -> Session | None:
    """The session with this id, where the browser could not bring its cookie: Entra's answer comes from another site.
    The id has to come from something sealed."""
    record, account = await SessionStore(place.tables, place.id).load(session_id)
    if record is None or not await _is_good(place, record, account, now):
        return None
    return _session(record)


async def start_session(
    place: Place, name: str, account: str, role: Role, now: datetime.datetime, *, basis: Basis = "role"
) -> tuple[Session, str]:
    """A new session, always with an id of its own, and the value of its cookie. ``basis`` says what the role rests on;
    that of the account ``setup-key`` is the setup key."""
    store = SessionStore(place.tables, place.id)
    await store.sweep(now)
    ends = now + datetime.timedelta(seconds=MAX_AGE)
    record = SessionRecord(
        id=session_id(ends),
        name=name,
        account=account,
        role=role,
        basis="setup-key" if account == SETUP_KEY else basis,
        csrf=secrets.token_urlsafe(32),
        started_at=now.isoformat(timespec="seconds"),
        ends_at=ends.isoformat(timespec="seconds"),
    )
    ticket = _Ticket(record.id, _mark(place) if record.basis == "setup-key" else "")
    cookie = await seal(place, "session", ticket, now)
    await store.add(record)
    return _session(record), cookie


async def end_session(place: Place, session: Session, now: datetime.datetime) -> None:
    """Sign somebody out. The cookie is worthless from now on, wherever a copy of it may be."""
    store = SessionStore(place.tables, place.id)
    await store.end(session.id)
    await store.sweep(now)


async def end_all(place: Place, now: datetime.datetime) -> None:
    """Sign everybody out."""
    await SessionStore(place.tables, place.id).end_all()


async def may_use_setup_key(place: Place, account: AccountRecord | None) -> bool:
    """Whether the setup key signs in: until an authorization account works, and afterwards if the settings say so."""
    if not place.environment.setup_key:
        return False
    if account is None or account.state != "valid":
        return True
    return (await place.settings.load()).settings.console.setup_key


async def _is_good(place: Place, record: SessionRecord, account: AccountRecord | None, now: datetime.datetime) -> bool:
    if now >= datetime.datetime.fromisoformat(record.ends_at):
        return False
    if record.basis == "account":
        return account is not None and account.key == record.account
    return record.basis in {"role", "tenant"} or await may_use_setup_key(place, account)


def _mark(place: Place) -> str:
    return hashlib.sha256(place.environment.setup_key.encode()).hexdigest()


def _session(record: SessionRecord) -> Session:
    return Session(
        id=record.id,
        name=record.name,
        account=record.account,
        role=record.role,
        csrf=record.csrf,
        started_at=record.started_at,
        ends_at=record.ends_at,
    )
