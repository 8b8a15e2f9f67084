"""Access tokens: issued by the authority, checked by the resources (Graph and Key Vault)."""

import uuid
from collections.abc import Iterable
from typing import Any

import jwt
import msgspec

from local.emulator import Clock
from local.microsoft.apps import GRAPH, App, ManagedIdentity
from local.microsoft.keys import KeyRing

SKEW = 300
"""Seconds by which ``nbf`` may lie in the future, as Microsoft's own libraries allow."""


class InvalidTokenError(Exception):
    """The token is not accepted; the text is what Graph says about it."""


class Principal(msgspec.Struct, frozen=True):
    """Who a valid access token speaks for: an app by itself, or a user (``delegated``) through an app."""

    app_id: str
    object_id: str
    """Of the app's service principal; of the user when ``delegated``."""
    audience: str
    roles: frozenset[str]
    """Application permissions; of a delegated token its scopes."""
    expires: float
    delegated: bool = False


class TokenService:
    """Issues and validates the RS256 tokens of one tenant, by the emulator's clock."""

    def __init__(self, clock: Clock, keys: KeyRing, tenant_id: str) -> None:
        self._clock = clock
        self._keys = keys
        self.tenant_id = tenant_id
        self._known: dict[str, Principal] = {}

    def for_app(self, app: App, resource: str) -> str:
        claims = {"appid": app.client_id, "appidacr": "1", "oid": app.service_principal_id, "roles": app.roles}
        return self._access_token(claims, resource, app.token_seconds)

    def for_identity(self, identity: ManagedIdentity, resource: str) -> str:
        claims = {"appid": identity.client_id, "appidacr": "2", "oid": identity.principal_id, "roles": identity.roles}
        return self._access_token(claims, resource, identity.token_seconds)

    def for_user(self, app: App, user_id: str, scopes: Iterable[str], seconds: int) -> str:
        """A delegated token for Microsoft Graph."""
        claims = {"appid": app.client_id, "appidacr": "1", "oid": user_id, "scp": " ".join(scopes), "idtyp": "user"}
        return self._access_token(claims, GRAPH, seconds)

    def for_exchange(self, identity: ManagedIdentity, resource: str, issuer: str) -> str:
        """The v2.0 token that stands in for a secret: a federated credential names its issuer, subject and audience."""
        claims = {"iss": issuer, "azp": identity.client_id, "oid": identity.principal_id, "ver": "2.0"}
        return self.sign({**self._times(identity.token_seconds), **claims, **self._subject(claims, resource)})

    def sign(self, claims: dict[str, Any]) -> str:
        """Sign any claims with the current key."""
        key = self._keys.current
        return jwt.encode(claims, key.private, algorithm="RS256", headers={"kid": key.kid, "x5t": key.kid})

    def verify(self, token: str) -> dict[str, Any]:
        """The claims of a token that one of the published keys signed; times and audience are the caller's business."""
        try:
            header = jwt.get_unverified_header(token)
            key = self._keys.find(str(header.get("kid")))
            if key is None:
                raise InvalidTokenError("IDX10501: Signature validation failed. Unable to match key: kid.")
            claims: dict[str, Any] = jwt.decode(token, key.public, algorithms=["RS256"], options=_SIGNATURE_ONLY)
        except jwt.InvalidSignatureError:
            raise InvalidTokenError("Access token validation failure. Invalid signature.") from None
        except jwt.InvalidTokenError:
            raise InvalidTokenError("IDX14100: JWT is not well formed, there are no dots (.).") from None
        return claims

    def validate(self, token: str, audience: str) -> Principal:
        """Who the token speaks for. ``InvalidTokenError`` for any other audience, tenant, time or signature."""
        principal = self._known.get(token)
        if principal is None or self._keys.find(str(jwt.get_unverified_header(token).get("kid"))) is None:
            principal = self._read(token)
            self._remember(token, principal)
        if principal.audience != audience:
            raise InvalidTokenError("Access token validation failure. Invalid audience.")
        if self._clock.time() >= principal.expires:
            raise InvalidTokenError("Lifetime validation failed, the token is expired.")
        return principal

    def _read(self, token: str) -> Principal:
        claims = self.verify(token)
        if claims.get("tid") != self.tenant_id:
            raise InvalidTokenError("Access token validation failure. Invalid tenant.")
        if float(claims.get("nbf", 0)) > self._clock.time() + SKEW:
            raise InvalidTokenError("Lifetime validation failed, the token is not yet valid.")
        return Principal(
            app_id=str(claims.get("appid", claims.get("azp", ""))),
            object_id=str(claims.get("oid", "")),
            audience=str(claims.get("aud", "")),
            roles=frozenset(str(claims["scp"]).split() if "scp" in claims else claims.get("roles", ())),
            expires=float(claims.get("exp", 0)),
            delegated="scp" in claims,
        )

    def _remember(self, token: str, principal: Principal) -> None:
        if len(self._known) > 1000:
            self._known.clear()
        self._known[token] = principal

    def _access_token(self, claims: dict[str, Any], resource: str, seconds: int) -> str:
        issuer = f"https://sts.windows.net/{self.tenant_id}/"
        fixed = {"iss": issuer, "ver": "1.0", "idtyp": "app"}
        return self.sign({**self._times(seconds), **fixed, **claims, **self._subject(claims, resource)})

    def _subject(self, claims: dict[str, Any], resource: str) -> dict[str, Any]:
        return {"aud": resource, "tid": self.tenant_id, "sub": claims["oid"], "uti": uuid.uuid4().hex}

    def _times(self, seconds: int) -> dict[str, int]:
        now = int(self._clock.time())
        return {"iat": now, "nbf": now, "exp": now + seconds}


_SIGNATURE_ONLY: Any = {
    "verify_signature": True,
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
    "verify_iss": False,
    "verify_sub": False,
}
