"""Signing in with the setup key of the deployment: at first, and when nobody can sign in with Microsoft."""

import datetime
import hmac
import ipaddress
import math
from collections.abc import Sequence

import msgspec

from sso.place import Place
from sso.sessions import SETUP_KEY, Session, may_use_setup_key, start_session
from store.sessions import Attempt, AttemptStore, SessionStore

WINDOW = datetime.timedelta(minutes=15)
FAILURES_OF_AN_ADDRESS = 5
FAILURES_OF_ALL = 20
"""From all addresses together: whoever has many of them guesses no faster."""
NAME = "Setup key"


class Refused(msgspec.Struct, frozen=True):
    """Nobody is signed in."""

    message: str
    action: str
    retry_after: int | None = None
    """Seconds until another attempt is looked at; ``None`` when waiting does not help."""


async def sign_in(place: Place, key: str, address: str, now: datetime.datetime) -> tuple[Session, str] | Refused:
    """A session as an administrator and its cookie, for the right key. ``address`` is where the request comes from.

    Every attempt is recorded before its key is looked at, so that many at once get no more tries than one by one. Too
    many of them, and even the right key waits.
    """
    account, _ = await SessionStore(place.tables, place.id).account()
    if not place.environment.setup_key:
        return NOT_CONFIGURED
    if not await may_use_setup_key(place, account):
        return SWITCHED_OFF
    attempts = AttemptStore(place.tables, place.id)
    begin, source = now - WINDOW, normal_address(address)
    await attempts.sweep(begin)
    own = await attempts.add(source, now)
    others = [attempt for attempt in await attempts.since(begin) if attempt.key != own]
    wait = seconds_to_wait(others, source, now)
    if wait:
        await attempts.remove(own)
        return _too_many(wait)
    if not hmac.compare_digest(key.encode(errors="replace"), place.environment.setup_key.encode()):
        return WRONG
    await attempts.remove(own)
    return await start_session(place, NAME, SETUP_KEY, "admin", now)


def seconds_to_wait(attempts: Sequence[Attempt], address: str, now: datetime.datetime) -> int:
    """How long the next attempt from ``address`` has to wait; 0 for not at all."""
    own = [attempt for attempt in attempts if attempt.address == address]
    return max(_wait(own, FAILURES_OF_AN_ADDRESS, now), _wait(attempts, FAILURES_OF_ALL, now))


def _wait(attempts: Sequence[Attempt], limit: int, now: datetime.datetime) -> int:
    """Until fewer than ``limit`` are left in the window: until the ``limit``-th newest leaves it."""
    times = sorted((attempt.at for attempt in attempts if attempt.at > now - WINDOW), reverse=True)
    if len(times) < limit:
        return 0
    return math.ceil((times[limit - 1] + WINDOW - now).total_seconds())


def normal_address(text: str) -> str:
    """An address without its port; of an IPv6 address the network of one customer, who has all addresses in it."""
    host = text.strip()
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(found, ipaddress.IPv6Address):
        return str(found.ipv4_mapped or ipaddress.ip_network((int(found), 64), strict=False))
    return str(found)


NOT_CONFIGURED = Refused(
    "This deployment has no setup key.",
    "Set the application setting SETUP_KEY of the function app to a long random text, and use that here.",
)
SWITCHED_OFF = Refused(
    "The setup key does not sign in any more, because an account is connected and the settings switched the key off.",
    "Sign in with Microsoft.",
)
WRONG = Refused("This is not the setup key.", "Copy it from the application setting SETUP_KEY of the function app.")


def _too_many(wait: int) -> Refused:
    minutes = -(-wait // 60)
    named = "a minute" if minutes == 1 else f"{minutes} minutes"
    return Refused("There were too many attempts with a wrong setup key.", f"Try again in {named}.", wait)
