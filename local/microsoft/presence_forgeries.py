"""The validation tokens that come with resource data, and what forgers make of a whole POST.

After "Set up change notifications that include resource data": the token of version 1.0 names its publisher in
``appid``; that of version 2.0, which the guide does not show, in ``azp``.
"""

import base64
import uuid
from collections.abc import Callable
from typing import Any, Literal

import jwt

from local.emulator import Clock
from local.microsoft.apps import base64url
from local.microsoft.id_tokens import FOREIGN_CLIENT, FOREIGN_TENANT
from local.microsoft.keys import KeyRing
from local.microsoft.presence_sealing import seal

PUBLISHER = "0bf30f3b-4a52-48df-9a82-234910c4a086"
"""Microsoft Graph Change Tracking."""
FALSE_WORDS = {"availability": "DoNotDisturb", "activity": "DoNotDisturb", "sequenceNumber": "9" * 20}
"""What a forger wants everybody to believe for ever."""

type TokenShape = Literal["v1", "v2"]
type Flaw = Literal[
    "wrong_key",
    "unsigned",
    "wrong_publisher",
    "wrong_tenant",
    "wrong_audience",
    "expired",
    "truncated",
    "missing",
    "wrong_client_state",
    "foreign_item",
    "altered_content",
    "truncated_content",
    "unknown_certificate",
    "replay",
]
"""What is wrong with a forged POST. The first eight are flaws of the validation token, everything else in it is right:
``wrong_key`` is signed by a key that is not published, ``truncated`` cut in the middle. ``foreign_item`` names another
tenant in the items. The content flaws come with genuine tokens. ``replay`` is a genuine POST once more."""
TOKEN_FLAWS = frozenset(
    {"wrong_key", "unsigned", "wrong_publisher", "wrong_tenant", "wrong_audience", "expired", "truncated", "missing"}
)


class ValidationTokens:
    """Makes them for one tenant; ``origin`` is the authority's address, part of the v2.0 issuer."""

    def __init__(self, clock: Clock, keys: KeyRing, tenant_id: str, origin: Callable[[], str]) -> None:
        self._clock = clock
        self._keys = keys
        self._tenant_id = tenant_id
        self._origin = origin
        self._foreign = KeyRing()

    def make(self, app_id: str, shape: TokenShape, seconds: int, flaw: Flaw | None = None) -> str:
        claims = self._claims(app_id, shape, seconds, flaw)
        genuine = self._keys.current
        headers = {"kid": genuine.kid, "x5t": genuine.kid}
        if flaw == "unsigned":
            return jwt.encode(claims, "", algorithm="none", headers=headers)
        signer = self._foreign.current if flaw == "wrong_key" else genuine
        token = jwt.encode(claims, signer.private, algorithm="RS256", headers=headers)
        return token[: len(token) // 2] if flaw == "truncated" else token

    def _claims(self, app_id: str, shape: TokenShape, seconds: int, flaw: Flaw | None) -> dict[str, Any]:
        tenant = FOREIGN_TENANT if flaw == "wrong_tenant" else self._tenant_id
        publisher = FOREIGN_CLIENT if flaw == "wrong_publisher" else PUBLISHER
        now = int(self._clock.time()) - (seconds + 3600 if flaw == "expired" else 0)
        shared = {
            "aud": FOREIGN_CLIENT if flaw == "wrong_audience" else app_id,
            "iat": now,
            "nbf": now,
            "exp": now + seconds,
            "oid": "00000000-0000-4000-8000-0000000000c7",
            "sub": "00000000-0000-4000-8000-0000000000c7",
            "tid": tenant,
            "uti": base64url(uuid.uuid4().bytes),
        }
        if shape == "v1":
            issuer = f"https://sts.windows.net/{tenant}/"
            return {**shared, "iss": issuer, "idp": issuer, "appid": publisher, "appidacr": "2", "ver": "1.0"}
        issuer = f"{self._origin()}/{tenant}/v2.0"
        return {**shared, "iss": issuer, "azp": publisher, "azpacr": "2", "ver": "2.0"}


def forged_item(item: dict[str, Any], certificate: str, flaw: Flaw) -> dict[str, Any]:
    """A notification that lies about the presence, made by somebody who knows the certificate; ``replay`` is as it was.

    Altered and truncated content is the genuine one, with its signature.
    """
    genuine = item["encryptedContent"]
    match flaw:
        case "replay":
            return item
        case "altered_content":
            return {**item, "encryptedContent": {**genuine, "data": _altered(genuine["data"])}}
        case "truncated_content":
            return {**item, "encryptedContent": {**genuine, "data": _truncated(genuine["data"])}}
    lie = {**item["resourceData"], **FALSE_WORDS}
    named = "of-nobody" if flaw == "unknown_certificate" else genuine["encryptionCertificateId"]
    changes: dict[str, Any] = {"encryptedContent": seal(lie, certificate, named)}
    if flaw == "wrong_client_state":
        changes["clientState"] = "guessed"
    if flaw == "foreign_item":
        changes |= {"tenantId": FOREIGN_TENANT, "organizationId": FOREIGN_TENANT}
    return item | changes


def _altered(data: str) -> str:
    """One bit is another one."""
    raw = bytearray(base64.b64decode(data))
    raw[-1] ^= 1
    return base64.b64encode(raw).decode()


def _truncated(data: str) -> str:
    return base64.b64encode(base64.b64decode(data)[:-16]).decode()
