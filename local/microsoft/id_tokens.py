"""ID tokens, and what an attacker or a broken clock would make of them.

After "ID token claims reference" and "Configure group claims for applications".
"""

import hashlib
import hmac
import uuid
from collections.abc import Collection
from typing import Any, Literal

import jwt
import msgspec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from local.emulator import Clock
from local.microsoft.admission import principals
from local.microsoft.apps import App, base64url
from local.microsoft.directory import Directory, Entity
from local.microsoft.keys import KeyRing, SigningKey
from local.microsoft.memberships import all_groups
from local.microsoft.registration import GroupClaims, Registration

MOST_GROUPS = 200
"""In a JWT; above that comes a pointer instead ("group overage claim")."""
FOREIGN_TENANT = "99999999-9999-4999-8999-999999999999"
FOREIGN_CLIENT = "98989898-9898-4898-8898-989898989898"

type Kind = Literal[
    "genuine",
    "foreign_key",
    "unknown_key",
    "alg_none",
    "alg_hs256",
    "expired",
    "not_yet_valid",
    "other_tenant",
    "wrong_issuer",
    "wrong_audience",
    "wrong_nonce",
]


class Forgery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is wrong with a token.

    ``foreign_key`` is signed by a key that is not published but names a published one; ``unknown_key`` names its own;
    ``alg_hs256`` takes the published key as a shared secret; ``other_tenant`` is consistent in itself. ``claims`` then
    replaces claims, and removes those with the value null.
    """

    kind: Kind = "genuine"
    claims: dict[str, Any] = {}


class IdTokens:
    """Makes the ID tokens of one tenant."""

    def __init__(self, clock: Clock, keys: KeyRing, directory: Directory, tenant_id: str) -> None:
        self._clock = clock
        self._keys = keys
        self._directory = directory
        self._tenant_id = tenant_id
        self._foreign = KeyRing()

    def make(
        self,
        app: App,
        user: Entity,
        scopes: Collection[str],
        *,
        origin: str,
        seconds: int,
        session_id: str,
        nonce: str | None,
        forgery: Forgery,
    ) -> str:
        now = int(self._clock.time())
        claims: dict[str, Any] = {
            "ver": "2.0",
            "iss": f"{origin}/{self._tenant_id}/v2.0",
            "aud": app.client_id,
            "tid": self._tenant_id,
            "sub": pairwise(app.client_id, user.id),
            "iat": now,
            "nbf": now,
            "exp": now + seconds,
            "sid": session_id,
            "rh": f"1.{base64url(uuid.uuid4().bytes)}.",
            "uti": base64url(uuid.uuid4().bytes),
            **({} if nonce is None else {"nonce": nonce}),
            **_personal(user, scopes),
            **self._roles(app.registration, user),
            **self._groups(app.registration, user),
        }
        return self._signed(_altered(claims, forgery, origin), forgery.kind)

    def _roles(self, registration: Registration, user: Entity) -> dict[str, Any]:
        roles = registration.roles_of(principals(self._directory, user))
        return {"roles": roles} if roles else {}

    def _groups(self, registration: Registration, user: Entity) -> dict[str, Any]:
        if registration.group_claims == "None":
            return {}
        assigned = {item.principal_id for item in registration.assignments}
        groups = [
            group.id
            for group in all_groups(self._directory, user.id)
            if _is_claimed(group, registration.group_claims, assigned)
        ]
        if len(groups) <= MOST_GROUPS:
            return {"groups": groups} if groups else {}
        # The address is one of a service that has been shut down; clients build that of Microsoft Graph themselves.
        endpoint = f"https://graph.windows.net/{self._tenant_id}/users/{user.id}/getMemberObjects"
        return {"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": endpoint}}}

    def _signed(self, claims: dict[str, Any], kind: Kind) -> str:
        genuine = self._keys.current
        match kind:
            case "alg_none":
                return jwt.encode(claims, "", algorithm="none", headers={"kid": genuine.kid})
            case "alg_hs256":
                return _with_public_key_as_secret(claims, genuine)
            case "foreign_key":
                return _encoded(claims, self._foreign.current, genuine.kid)
            case "unknown_key":
                return _encoded(claims, self._foreign.current, self._foreign.current.kid)
        return _encoded(claims, genuine, genuine.kid)


def pairwise(client_id: str, user_id: str) -> str:
    """The ``sub`` of a user: another one for each app."""
    return base64url(hashlib.sha256(f"{client_id} {user_id}".encode()).digest())


def _personal(user: Entity, scopes: Collection[str]) -> dict[str, Any]:
    values, claims = user.properties, {}
    if "profile" in scopes:
        claims = {"oid": user.id, "name": values["displayName"], "preferred_username": values["userPrincipalName"]}
    if "email" in scopes and values.get("mail"):
        claims["email"] = values["mail"]
    return claims


def _is_claimed(group: Entity, which: GroupClaims, assigned: set[str]) -> bool:
    if which == "ApplicationGroup":
        return group.id in assigned
    return which == "All" or bool(group.properties.get("securityEnabled"))


def _altered(claims: dict[str, Any], forgery: Forgery, origin: str) -> dict[str, Any]:
    issuer = f"{origin}/{FOREIGN_TENANT}/v2.0"
    past = {name: claims[name] - (claims["exp"] - claims["iat"]) - 3600 for name in ("iat", "nbf", "exp")}
    changes: dict[str, dict[str, Any]] = {
        "expired": past,
        "not_yet_valid": {"nbf": claims["nbf"] + 3600},
        "other_tenant": {"iss": issuer, "tid": FOREIGN_TENANT},
        "wrong_issuer": {"iss": issuer},
        "wrong_audience": {"aud": FOREIGN_CLIENT},
        "wrong_nonce": {"nonce": "of-another-sign-in"},
    }
    altered = claims | changes.get(forgery.kind, {}) | forgery.claims
    return {name: value for name, value in altered.items() if value is not None}


def _encoded(claims: dict[str, Any], key: SigningKey, kid: str) -> str:
    return jwt.encode(claims, key.private, algorithm="RS256", headers={"kid": kid})


def _with_public_key_as_secret(claims: dict[str, Any], key: SigningKey) -> str:
    """What a verifier accepts that lets the token choose the algorithm; PyJWT refuses to make one."""
    header = {"typ": "JWT", "alg": "HS256", "kid": key.kid}
    text = ".".join(base64url(msgspec.json.encode(part)) for part in (header, claims))
    secret = key.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return f"{text}.{base64url(hmac.digest(secret, text.encode(), 'sha256'))}"
