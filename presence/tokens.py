"""The tokens by which Graph proves that it sent a notification with presence in it. Pure, but for the signature.

https://learn.microsoft.com/graph/change-notifications-with-resource-data#validation-tokens-in-the-change-notification
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

PUBLISHER = "0bf30f3b-4a52-48df-9a82-234910c4a086"
"""Microsoft Graph Change Tracking, in every tenant."""
SKEW = 300
"""Seconds by which clocks may differ."""
LONGEST = 16_384
V1_ISSUER = "https://sts.windows.net"


class Jwk(msgspec.Struct, frozen=True):
    """A published key. ``issuer`` is the one it may sign for; it may hold ``{tenantid}``."""

    kid: str
    kty: str = ""
    n: str = ""
    e: str = ""
    issuer: str = ""


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a token has to be for, and from where."""

    authority: str
    """https address of Entra, without a path."""
    tenant_id: str
    client_id: str
    now: float
    """Seconds since 1970."""

    @property
    def issuers(self) -> dict[str, str]:
        """The claim that names the publisher, by issuer: tokens of version 1.0 and of version 2.0 come."""
        tenant = self.tenant_id.lower()
        return {f"{V1_ISSUER}/{tenant}/": "appid", f"{self.authority}/{tenant}/v2.0": "azp"}


class Unproven(ValueError):
    """The token does not prove that Graph sent it; the text names the check that fails."""


def key_id(token: str) -> str:
    """The id of the key that a token says it is signed with; ``Unproven`` when it is no RS256 token."""
    import jwt

    if len(token) > LONGEST:
        raise Unproven("it is too long")
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError:
        raise Unproven("it is no signed token") from None
    kid = header.get("kid")
    if header.get("alg") != "RS256" or not isinstance(kid, str) or not kid:
        raise Unproven("it is not signed with RS256 and a named key")
    return kid


def check_token(token: str, key: Jwk, expected: Expected) -> None:
    """``Unproven`` unless Graph's change tracking made the token for our application and tenant."""
    import jwt

    # Times are checked below, by the clock that is given, and ids in whatever case they are written.
    options: Any = {"require": ["iss", "aud", "exp", "nbf", "tid"], "verify_exp": False, "verify_nbf": False,
                    "verify_iat": False, "verify_iss": False, "verify_aud": False}  # fmt: skip
    try:
        public = jwt.PyJWK({"kty": key.kty, "n": key.n, "e": key.e, "kid": key.kid}, algorithm="RS256")
        claims = jwt.decode(token, public, algorithms=["RS256"], options=options)
    except jwt.PyJWTError as error:
        raise Unproven(f"its signature or form is wrong ({type(error).__name__})") from None
    if not _is_same(claims["aud"], expected.client_id):
        raise Unproven("its audience is another application")
    _check_times(claims, expected.now)
    _check_origin(claims, key, expected)


def _check_times(claims: Mapping[str, Any], now: float) -> None:
    expires, begins = claims["exp"], claims["nbf"]
    if not all(isinstance(moment, int | float) and not isinstance(moment, bool) for moment in (expires, begins)):
        raise Unproven("its times are no numbers")
    if now >= expires + SKEW:
        raise Unproven("it has expired")
    if now < begins - SKEW:
        raise Unproven("it is not valid yet")


def _check_origin(claims: Mapping[str, Any], key: Jwk, expected: Expected) -> None:
    publisher = expected.issuers.get(str(claims["iss"]))
    if publisher is None or str(claims["tid"]).lower() != expected.tenant_id.lower():
        raise Unproven("its issuer or tenant is another one")
    if not _is_same(claims.get(publisher), PUBLISHER):
        raise Unproven("somebody else than Graph's change tracking made it")
    allowed = urlsplit(key.issuer.replace("{tenantid}", expected.tenant_id)).path.lower()
    if key.issuer and expected.tenant_id.lower() not in allowed.split("/"):
        raise Unproven("its key signs for another tenant")


def _is_same(claim: object, known: str) -> bool:
    """Whether a claim is one id, in whatever case: administrators write theirs as they like."""
    return isinstance(claim, str) and claim.lower() == known.lower()
