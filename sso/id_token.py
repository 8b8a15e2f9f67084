"""Checks of an ID token, all of them (https://learn.microsoft.com/entra/identity-platform/id-token-claims-reference,
https://learn.microsoft.com/entra/identity-platform/access-tokens#validate-tokens).

People are known by tenant and object id; names and addresses change hands and decide nothing.
"""

import datetime
import hmac
from collections.abc import Mapping
from typing import Any

import msgspec

from sso.authority import Authority, Jwk, find_key
from sso.errors import ForeignTenant, InvalidToken
from sso.place import Place

SKEW = 300
"""Seconds by which clocks may differ."""
LONGEST = 65_536
REQUIRED = ["iss", "aud", "exp", "nbf", "iat", "tid", "oid", "nonce"]


class Claims(msgspec.Struct, frozen=True):
    """What is believed of an ID token."""

    tid: str
    oid: str
    name: str = ""
    preferred_username: str = ""
    roles: list[str] = []

    @property
    def account(self) -> str:
        return f"{self.tid}:{self.oid}"


class _Header(msgspec.Struct, frozen=True):
    alg: str
    kid: str


async def read_id_token(
    place: Place, authority: Authority, token: str, *, client_id: str, nonce: str, now: datetime.datetime
) -> Claims:
    """The claims of a token that passes every check; ``InvalidToken`` names the one that it fails."""
    header = _header(token)
    key = await find_key(place, authority, header.kid, now)
    if key is None:
        raise InvalidToken("it is signed with a key that the tenant does not publish")
    return checked(token, key, authority, client_id=client_id, nonce=nonce, now=now)


def checked(
    token: str, key: Jwk, authority: Authority, *, client_id: str, nonce: str, now: datetime.datetime
) -> Claims:
    """The claims of a token that ``key`` has to have signed. Pure."""
    import jwt

    _check_key(key, authority)
    # Times are checked below, by the clock that is given; issuer and tenant too, to tell a foreign tenant apart.
    options: Any = {"require": REQUIRED, "verify_exp": False, "verify_nbf": False, "verify_iat": False,
                    "verify_iss": False, "strict_aud": True}  # fmt: skip
    try:
        public = jwt.PyJWK({"kty": key.kty, "n": key.n, "e": key.e, "kid": key.kid}, algorithm="RS256")
        claims = jwt.decode(token, public, algorithms=["RS256"], audience=client_id.lower(), options=options)
    except jwt.PyJWTError as error:
        raise InvalidToken(f"its signature, audience or form is wrong ({type(error).__name__})") from None
    _check_times(claims, now.timestamp())
    _check_origin(claims, authority)
    if not hmac.compare_digest(str(claims["nonce"]).encode(), nonce.encode()):
        raise InvalidToken("it belongs to another sign-in")
    try:
        return msgspec.convert({**claims, "tid": authority.tenant_id, "oid": _object_id(claims)}, Claims)
    except msgspec.ValidationError:
        raise InvalidToken("its claims are malformed") from None


def _header(token: str) -> _Header:
    import jwt

    try:
        if len(token) > LONGEST:
            raise InvalidToken("it is too long")
        header = msgspec.convert(jwt.get_unverified_header(token), _Header)
    except (jwt.PyJWTError, msgspec.ValidationError):
        raise InvalidToken("it is no signed token") from None
    if header.alg != "RS256":
        raise InvalidToken("it is not signed with RS256")
    return header


def _check_key(key: Jwk, authority: Authority) -> None:
    """A key signs for its own issuer only. As in Microsoft's own libraries, one that names none may sign for any."""
    issuer = key.issuer.replace("{tenantid}", authority.tenant_id)
    if issuer and issuer != authority.issuer:
        raise InvalidToken("its key signs for another issuer")


def _check_times(claims: Mapping[str, Any], now: float) -> None:
    expires, begins = claims["exp"], claims["nbf"]
    if not _is_number(expires) or not _is_number(begins):
        raise InvalidToken("its times are no numbers")
    if now >= expires + SKEW:
        raise InvalidToken("it has expired")
    if now < begins - SKEW:
        raise InvalidToken("it is not valid yet; compare the clock of this machine")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_origin(claims: Mapping[str, Any], authority: Authority) -> None:
    if str(claims["tid"]).lower() != authority.tenant_id:
        raise ForeignTenant("it is of another tenant")
    if claims["iss"] != authority.issuer:
        raise InvalidToken("its issuer is another one")


def _object_id(claims: Mapping[str, Any]) -> str:
    found = claims["oid"]
    if not isinstance(found, str) or not found or len(found) > 64:
        raise InvalidToken("it names no person")
    return found.lower()
