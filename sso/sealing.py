"""Cookies that only this deployment can make or read: sealed with Fernet, under a key from the Key Vault.

The shared state ``session-key`` names the version of the secret that counts. Several instances may start at once, each
makes a key, and the one whose version is named first wins; so they agree without waiting for each other.
"""

import base64
import datetime
from typing import TYPE_CHECKING, Literal

import msgspec

from sso.memory import memory_of
from sso.place import Place
from store.errors import Changed, SecretMissing
from store.secrets import InternalName, Secret
from store.tokens import TokenStore

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

STORED_AS: InternalName = "session-key"
KEPT = datetime.timedelta(minutes=5)
"""So long a process uses the key before it looks whether another one counts."""
LOOKED_AGAIN = datetime.timedelta(seconds=10)
"""A cookie that does not open may have been sealed with a newer key; looked up at most so often, as junk is cheap."""
LIFE = datetime.timedelta(days=30)
"""Then a new key seals; the one before it still opens what it sealed."""
TRIES = 5
LONGEST = 4096
"""Of a cookie: what browsers keep (RFC 6265, section 6.1)."""

type Purpose = Literal["session", "state"]


class Ring(msgspec.Struct, frozen=True):
    """The keys in use, newest first."""

    fernet: "MultiFernet"
    read_at: datetime.datetime

    def __repr__(self) -> str:
        return f"Ring(read_at={self.read_at!r})"

    __str__ = __repr__


class _Named(msgspec.Struct, frozen=True):
    """Which version of the secret counts, and since when."""

    version: str
    made_at: str


class _Sealed(msgspec.Struct, frozen=True):
    """What is inside a cookie. A cookie of one purpose does not pass as one of the other."""

    purpose: str
    content: msgspec.Raw


async def seal(place: Place, purpose: Purpose, content: msgspec.Struct, now: datetime.datetime) -> str:
    """The value of a cookie that holds ``content``."""
    ring = await _ring(place, now, KEPT)
    sealed = _Sealed(purpose, msgspec.Raw(msgspec.json.encode(content)))
    return ring.fernet.encrypt_at_time(msgspec.json.encode(sealed), int(now.timestamp())).decode()


async def open_sealed[T](
    place: Place, purpose: Purpose, cookie: str, kind: type[T], now: datetime.datetime
) -> T | None:
    """The content of a cookie; ``None`` when it was not sealed here for this purpose. How long it is good, the content
    itself has to say."""
    if not _is_whole(cookie):
        return None
    data = _opened(await _ring(place, now, KEPT), cookie) or _opened(await _ring(place, now, LOOKED_AGAIN), cookie)
    if data is None:
        return None
    try:
        sealed = msgspec.json.decode(data, type=_Sealed)
        return msgspec.json.decode(sealed.content, type=kind) if sealed.purpose == purpose else None
    except msgspec.DecodeError:
        return None  # of another version of the bridge


def _is_whole(cookie: str) -> bool:
    """Whether it is spelt as it was given: decoders overlook what stands behind the end, and bits that do not count."""
    if not cookie or len(cookie) > LONGEST:
        return False
    try:
        return base64.urlsafe_b64encode(base64.urlsafe_b64decode(cookie)).decode() == cookie
    except ValueError:
        return False


def _opened(ring: Ring, cookie: str) -> bytes | None:
    from cryptography.fernet import InvalidToken

    try:
        return ring.fernet.decrypt(cookie.encode())
    except InvalidToken:
        return None


async def _ring(place: Place, now: datetime.datetime, age: datetime.timedelta) -> Ring:
    """The keys, at most as old as ``age``."""
    memory = memory_of(place)
    ring = memory.ring
    if ring is None or not ring.read_at <= now < ring.read_at + age:
        ring = memory.ring = Ring(_fernet(await _keys(place, now)), now)
    return ring


def _fernet(keys: str) -> "MultiFernet":
    from cryptography.fernet import Fernet, MultiFernet

    return MultiFernet([Fernet(key) for key in keys.split()])


async def _keys(place: Place, now: datetime.datetime) -> str:
    """The keys that count, newest first; a new one joins them when there is none or it is old."""
    store = TokenStore(place.tables, place.id, STORED_AS)
    for _ in range(TRIES):
        text, etag = await store.read()
        keys, is_young = await _named(place, text, now)
        if is_young:
            return keys
        made = await _made(place, keys)
        named = msgspec.json.encode(_Named(made.version, now.isoformat(timespec="seconds")))
        if await store.swap(named.decode(), etag) is not None:
            return made.value
    raise Changed("the key of the sessions is being changed all the time; try again")


async def _named(place: Place, text: str, now: datetime.datetime) -> tuple[str, bool]:
    """The keys under the name, and whether the newest is young enough to go on sealing."""
    if not text:
        return "", False
    named = msgspec.json.decode(text, type=_Named)
    try:
        keys = (await place.secrets.read(STORED_AS, named.version)).value
    except SecretMissing:
        return "", False  # taken out of the vault: everybody signs in again
    return keys, now < datetime.datetime.fromisoformat(named.made_at) + LIFE


async def _made(place: Place, keys: str) -> Secret:
    from cryptography.fernet import Fernet

    return await place.secrets.write(STORED_AS, " ".join([Fernet.generate_key().decode(), *keys.split()[:1]]))
