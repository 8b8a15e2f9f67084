"""What a process needs to believe notifications: Entra's published keys, and the private keys of our certificates.

The private keys come from the Key Vault, whose client takes a second to load: never while Graph waits for an answer.
"""

import asyncio
import datetime
import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from presence.tokens import Expected, Jwk, Unproven, check_token, key_id
from store.errors import SecretMissing, StoreError
from store.secrets import InternalName, SecretStore

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

log = logging.getLogger("presence")

STORED_AS: InternalName = "presence-certificate"
"""Certificate and private key as PEM; each version of the secret is a certificate of its own."""
KEPT = datetime.timedelta(hours=24)
LOOKED_AGAIN = datetime.timedelta(minutes=5)
"""For an unknown key the published ones are read again at most so often: anybody can name an unknown key."""
PROVEN = datetime.timedelta(minutes=1)
"""So long a token that was good is not looked at again; less than the difference that clocks may have."""
MOST_PROVEN = 100
PATIENCE_SECONDS = 0.5


class Unknown(Exception):
    """What is needed to tell is not at hand now; it may be a moment later."""


class Trust:
    """The keys that one process has at hand for one connection."""

    def __init__(self) -> None:
        self._published: dict[str, Jwk] = {}
        self._published_at: datetime.datetime | None = None
        self._proven: dict[tuple[str, str, str, str], datetime.datetime] = {}
        """Tokens that were good a moment ago, and until when that is believed: Graph sends one several times."""
        self._private: dict[str, RSAPrivateKey | None] = {}
        self._loading: asyncio.Task[None] | None = None

    async def check(self, tokens: Sequence[str], expected: Expected, now: datetime.datetime) -> None:
        """``Unproven`` unless there are tokens and every one is good; ``Unknown`` while Entra's keys cannot be read."""
        if not tokens:
            raise Unproven("there is none")
        for token in dict.fromkeys(tokens):
            mark = (token, expected.authority, expected.tenant_id, expected.client_id)
            if not now < self._proven.get(mark, now):
                check_token(token, await self._key(key_id(token), expected.authority, now), expected)
                if len(self._proven) >= MOST_PROVEN:
                    self._proven.clear()
                self._proven[mark] = now + PROVEN

    def private_key(self, certificate_id: str) -> "RSAPrivateKey":
        """The key of a certificate; ``Unknown`` when it is not loaded."""
        key = self._private.get(certificate_id)
        if key is None:
            raise Unknown("the private key is not loaded yet")
        return key

    def load_soon(self, secrets: SecretStore, certificate_ids: Iterable[str]) -> None:
        """Load private keys that are not at hand, behind whatever is being done."""
        missing = [one for one in certificate_ids if one and one not in self._private]
        if missing and (self._loading is None or self._loading.done()):
            self._loading = asyncio.create_task(self._load_all(secrets, missing))

    async def load(self, secrets: SecretStore, certificate_id: str) -> None:
        """Load the private key of a certificate. One that is in the vault no more is not asked for again."""
        try:
            pem = (await secrets.read(STORED_AS, certificate_id)).value
        except SecretMissing:
            self._private[certificate_id] = None
        else:
            self._private[certificate_id] = _private_key(pem)

    async def close(self) -> None:
        """Wait for what is being loaded."""
        if self._loading is not None:
            await asyncio.wait([self._loading])

    async def _load_all(self, secrets: SecretStore, certificate_ids: Sequence[str]) -> None:
        for one in certificate_ids:
            try:
                await self.load(secrets, one)
            except StoreError as error:
                log.warning("The key of the presence certificate cannot be read: %s", error)

    async def _key(self, kid: str, authority: str, now: datetime.datetime) -> Jwk:
        age = KEPT if kid in self._published else LOOKED_AGAIN
        if self._published_at is None or not self._published_at <= now < self._published_at + age:
            self._published = await _fetch(f"{authority}/common/discovery/v2.0/keys")
            self._published_at = now
        if kid not in self._published:
            raise Unproven("it is signed with a key that Entra does not publish")
        return self._published[kid]


class _KeySet(msgspec.Struct, frozen=True):
    keys: list[Jwk]


async def _fetch(url: str) -> dict[str, Jwk]:
    import aiohttp

    options: dict[str, Any] = {"timeout": aiohttp.ClientTimeout(total=PATIENCE_SECONDS), "trust_env": True}
    try:
        async with aiohttp.ClientSession(**options) as session, session.get(url) as response:
            found = msgspec.json.decode(await response.read(), type=_KeySet).keys if response.status == 200 else []
    except (aiohttp.ClientError, OSError, TimeoutError, msgspec.DecodeError) as error:
        raise Unknown(f"Entra's signing keys cannot be read ({type(error).__name__})") from None
    if not found:
        raise Unknown("Entra publishes no signing keys now")
    return {key.kid: key for key in found if key.kty == "RSA"}


def _private_key(pem: str) -> "RSAPrivateKey | None":
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except ValueError:
        return None
    return key if isinstance(key, RSAPrivateKey) else None
