"""Entra as a sign-in meets it: the tenant's discovery document and its signing keys, both kept for a day."""

import datetime
import re
from typing import Any
from urllib.parse import urlsplit

import msgspec

from graph.aadsts import IDS
from graph.credentials import TENANT
from graph.errors import CredentialsRejected, Unavailable
from sso.errors import NotSetUp
from sso.memory import memory_of
from sso.place import Place
from store.document import Microsoft

KEPT = datetime.timedelta(hours=24)
"""Keys are rolled at any time, but an unknown one makes us look again."""
LOOKED_AGAIN = datetime.timedelta(minutes=5)
"""For an unknown key the published ones are read again, at most so often: anybody can name an unknown key."""
PATIENCE_SECONDS = 10.0
ISSUER = re.compile(r"https://[^/]+/([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})/v2\.0")
TENANT_UNKNOWN = 90002


class Authority(msgspec.Struct, frozen=True, kw_only=True):
    """What the discovery document of a tenant says (OpenID Connect Discovery 1.0, section 3)."""

    issuer: str
    jwks_uri: str
    tenant_id: str
    """In lower case, also where the settings name the tenant by one of its domains."""
    document: bytes
    """As it came, for MSAL."""
    read_at: datetime.datetime


class Jwk(msgspec.Struct, frozen=True):
    """A published key. ``issuer`` is the one it may sign for; it may hold ``{tenantid}``."""

    kid: str
    kty: str = ""
    n: str = ""
    e: str = ""
    use: str = "sig"
    issuer: str = ""


class SigningKeys(msgspec.Struct, frozen=True):
    """The keys of one authority by id."""

    keys: dict[str, Jwk]
    read_at: datetime.datetime


class _Document(msgspec.Struct, frozen=True):
    issuer: str
    jwks_uri: str
    authorization_endpoint: str
    token_endpoint: str


class _KeySet(msgspec.Struct, frozen=True):
    keys: list[Jwk]


def address(place: Place, microsoft: Microsoft) -> str:
    """The https address of the tenant; ``NotSetUp`` while there is none."""
    base = place.environment.entra_authority
    if not microsoft.tenant_id or not microsoft.client_id:
        raise NotSetUp(
            "nobody can sign in with Microsoft yet: the tenant id or the client id is missing",
            "Fill in both on the page Connect; until then the setup key signs in.",
        )
    if not TENANT.fullmatch(microsoft.tenant_id):
        raise CredentialsRejected("the tenant id is malformed", IDS, "entra_ids_malformed")
    if urlsplit(base).scheme != "https":
        raise CredentialsRejected("the address of Entra has to begin with https://", code="entra_authority_malformed")
    return f"{base}/{microsoft.tenant_id}"


async def find_authority(place: Place, microsoft: Microsoft, now: datetime.datetime) -> Authority:
    """The authority of the connection's tenant. Raises ``NotSetUp``, ``CredentialsRejected`` where there is no such
    tenant, and ``Unavailable``."""
    where = address(place, microsoft)
    known = memory_of(place).authorities
    found = known.get(where)
    if found is None or not found.read_at <= now < found.read_at + KEPT:
        found = known[where] = _authority(await _fetch(f"{where}/v2.0/.well-known/openid-configuration"), now)
    return found


async def find_key(place: Place, authority: Authority, kid: str, now: datetime.datetime) -> Jwk | None:
    """The published key with this id. For an unknown one the keys are read again, unless that was done just now."""
    known = memory_of(place).keys
    held = known.get(authority.jwks_uri)
    age = KEPT if held is not None and kid in held.keys else LOOKED_AGAIN
    if held is None or not held.read_at <= now < held.read_at + age:
        held = known[authority.jwks_uri] = _keys(await _fetch(authority.jwks_uri), now)
    return held.keys.get(kid)


def _authority(body: bytes, now: datetime.datetime) -> Authority:
    try:
        document = msgspec.json.decode(body, type=_Document)
    except msgspec.DecodeError:
        raise Unavailable("Entra's description of the tenant cannot be read") from None
    issuer = ISSUER.fullmatch(document.issuer)
    if issuer is None:
        raise Unavailable("Entra's description of the tenant names no issuer that belongs to one tenant")
    return Authority(
        issuer=document.issuer,
        jwks_uri=document.jwks_uri,
        tenant_id=issuer.group(1).lower(),
        document=body,
        read_at=now,
    )


def _keys(body: bytes, now: datetime.datetime) -> SigningKeys:
    try:
        published = msgspec.json.decode(body, type=_KeySet)
    except msgspec.DecodeError:
        raise Unavailable("Entra's signing keys cannot be read") from None
    return SigningKeys({key.kid: key for key in published.keys if key.kty == "RSA" and key.use == "sig"}, now)


async def _fetch(url: str) -> bytes:
    import aiohttp

    options: dict[str, Any] = {"timeout": aiohttp.ClientTimeout(total=PATIENCE_SECONDS), "trust_env": True}
    try:
        async with aiohttp.ClientSession(**options) as session, session.get(url) as response:
            body = await response.read()
            status = response.status
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise Unavailable(f"Entra cannot be reached ({type(error).__name__})") from None
    if status in {400, 404}:
        raise CredentialsRejected(
            f"there is no tenant with this id (AADSTS{TENANT_UNKNOWN})", IDS, "entra_tenant_unknown"
        )
    if status != 200:
        raise Unavailable(f"Entra does not describe the tenant now (HTTP {status})")
    return body
