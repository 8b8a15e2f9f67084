"""Client assertions: a JWT in the place of a client secret, signed by the app's certificate or by a trusted issuer.

After "Microsoft identity platform application authentication certificate credentials" and "Workload identity
federation".
"""

from collections.abc import Mapping
from typing import Any

import jwt

from local.emulator import Clock
from local.microsoft.apps import THIS_AUTHORITY, App, Certificate, FederatedCredential
from local.microsoft.entra_errors import EntraError
from local.microsoft.tokens import SKEW, InvalidTokenError, TokenService

ALGORITHMS = ("PS256", "RS256")


class AssertionChecker:
    """Accepts or refuses client assertions; remembers the ids of the used ones until they expire."""

    def __init__(self, clock: Clock, tokens: TokenService) -> None:
        self._clock = clock
        self._tokens = tokens
        self.used: dict[str, float] = {}

    def check(self, app: App, assertion: str, audiences: frozenset[str], authority: str) -> None:
        """``EntraError`` unless ``assertion`` proves that the sender is ``app``."""
        header, claims = _read(assertion)
        if claims.get("iss") == app.client_id or not str(claims.get("iss", "")).startswith("https://"):
            self._check_certificate(app, assertion, header, claims, audiences)
        else:
            self._check_federated(app, assertion, claims, authority)

    def _check_certificate(
        self, app: App, assertion: str, header: dict[str, Any], claims: dict[str, Any], audiences: frozenset[str]
    ) -> None:
        if claims.get("iss") != app.client_id or claims.get("sub") != app.client_id:
            raise EntraError(700021, "Client assertion application identifier doesn't match 'client_id' parameter.")
        certificate = _registered(app, header)
        if not certificate.x509.not_valid_before_utc <= self._clock.now() <= certificate.x509.not_valid_after_utc:
            raise _bad_signature("The key used is expired.")
        _verify(assertion, header, certificate)
        if claims.get("aud") not in audiences:
            raise EntraError(700023, "Client assertion audience claim does not match Realm issuer.")
        self._check_times(claims)
        self._use_once(claims)

    def _check_times(self, claims: dict[str, Any]) -> None:
        now = self._clock.time()
        expires, starts = claims.get("exp"), claims.get("nbf", now)
        if not isinstance(expires, int | float) or not isinstance(starts, int | float):
            raise EntraError(700024, "Client assertion is not within its valid time range: exp and nbf are numbers.")
        if expires <= now - SKEW or starts > now + SKEW:
            raise EntraError(700024, "Client assertion is not within its valid time range.")

    def _use_once(self, claims: dict[str, Any]) -> None:
        identifier = claims.get("jti")
        if not isinstance(identifier, str) or not identifier:
            raise EntraError(700027, "Client assertion has no jti claim.")
        now = self._clock.time()
        self.used = {known: expires for known, expires in self.used.items() if expires > now - SKEW}
        if identifier in self.used:
            raise _bad_signature("The assertion was used before: its jti is known.")
        self.used[identifier] = float(claims["exp"])

    def _check_federated(self, app: App, assertion: str, claims: dict[str, Any], authority: str) -> None:
        if not app.federated:
            raise EntraError(70021, "No matching federated identity record found for presented assertion.")
        _match(app.federated, claims, authority)
        try:
            self._tokens.verify(assertion)
        except InvalidTokenError as error:
            raise _bad_signature(str(error)) from None
        self._check_times(claims)


def _read(assertion: str) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        header = jwt.get_unverified_header(assertion)
        claims = jwt.decode(assertion, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        raise EntraError(50027, "JWT token is invalid or malformed.") from None
    return header, claims


def _registered(app: App, header: Mapping[str, Any]) -> Certificate:
    sha256, sha1 = str(header.get("x5t#S256", "")).rstrip("="), str(header.get("x5t", "")).rstrip("=")
    if not sha256 and not sha1:
        raise _bad_signature("The assertion's header names no key: x5t#S256 or x5t is missing.")
    for certificate in app.certificates:
        if sha256 == certificate.sha256 or (not sha256 and sha1 == certificate.sha1):
            return certificate
    raise _bad_signature(f"The key was not found., Thumbprint of key used by client: '{sha256 or sha1}'")


def _verify(assertion: str, header: Mapping[str, Any], certificate: Certificate) -> None:
    if header.get("alg") not in ALGORITHMS:
        raise _bad_signature(f"The algorithm {header.get('alg')} is not accepted.")
    key: Any = certificate.x509.public_key()
    try:
        jwt.decode(assertion, key, algorithms=list(ALGORITHMS), options=_SIGNATURE_ONLY)
    except jwt.InvalidTokenError:
        raise _bad_signature("The key was found, but use of the key to verify the signature failed.") from None


def _match(credentials: list[FederatedCredential], claims: dict[str, Any], authority: str) -> None:
    issuer, subject, audience = claims.get("iss"), claims.get("sub"), claims.get("aud")
    trusted = [item for item in credentials if item.issuer.replace(THIS_AUTHORITY, authority) == issuer]
    if not trusted:
        raise EntraError(
            70021, f"No matching federated identity record found for presented assertion issuer '{issuer}'."
        )
    same_subject = [item for item in trusted if item.subject == subject]
    if not same_subject:
        raise EntraError(
            700213, f"No matching federated identity record found for presented assertion subject '{subject}'."
        )
    if not any(item.audience == audience for item in same_subject):
        raise EntraError(
            70021, f"No matching federated identity record found for presented assertion audience '{audience}'."
        )


def _bad_signature(reason: str) -> EntraError:
    return EntraError(700027, f"Client assertion failed signature validation. [Reason - {reason}]")


_SIGNATURE_ONLY: Any = {
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
    "verify_sub": False,
}
