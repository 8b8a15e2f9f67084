"""The managed-identity endpoint of App Service.

After "How to use managed identities for App Service and Azure Functions", REST endpoint reference.
"""

import hmac
import uuid
from typing import Any

from aiohttp import web

from local.emulator import Clock, json_response
from local.microsoft.apps import RESOURCES, TOKEN_EXCHANGE, ManagedIdentity
from local.microsoft.tokens import TokenService

API_VERSION = "2019-08-01"
_PARAMETERS = frozenset({"api-version", "resource", "client_id", "principal_id", "object_id"})


class IdentityEndpoint:
    """``GET /msi/token``: a token for the one user-assigned identity of the emulated host."""

    def __init__(self, clock: Clock, tokens: TokenService, identity: ManagedIdentity) -> None:
        self._clock = clock
        self._tokens = tokens
        self.identity = identity
        self.issuer_origin = ""
        """Origin of the authority; the endpoint itself may be reached at another one (plain http)."""

    async def token(self, request: web.Request) -> web.Response:
        if "X-IDENTITY-HEADER" not in request.headers:
            return _error(400, "The header X-IDENTITY-HEADER is missing.")
        given = request.headers["X-IDENTITY-HEADER"]
        if not hmac.compare_digest(given.encode(), self.identity.header.encode()):
            return _error(401, "The value of the header X-IDENTITY-HEADER is not the one of this host.")
        if complaint := self._complaint(request):
            return _error(400, complaint)
        return json_response(self._answer(request.query["resource"].rstrip("/")))

    def _complaint(self, request: web.Request) -> str | None:
        query = request.query
        if query.get("api-version") != API_VERSION:
            return f"The api-version has to be {API_VERSION}."
        if unknown := set(query) - _PARAMETERS:
            return f"The parameter {sorted(unknown)[0]} is not supported."
        if query.get("resource", "").rstrip("/") not in RESOURCES:
            return "The resource is missing or unknown; it is a resource, not a scope."
        named = {
            "client_id": self.identity.client_id,
            "principal_id": self.identity.principal_id,
            "object_id": self.identity.principal_id,
        }
        if any(query.get(name, value) != value for name, value in named.items()):
            return "No User Assigned or Delegated Managed Identity found for specified ClientId/ResourceId/PrincipalId."
        return None

    def _answer(self, resource: str) -> dict[str, Any]:
        if resource == TOKEN_EXCHANGE:
            issuer = f"{self.issuer_origin}/{self._tokens.tenant_id}/v2.0"
            token = self._tokens.for_exchange(self.identity, resource, issuer)
        else:
            token = self._tokens.for_identity(self.identity, resource)
        expires = int(self._clock.time()) + self.identity.token_seconds
        return {
            "access_token": token,
            "expires_on": str(expires),
            "resource": resource,
            "token_type": "Bearer",
            "client_id": self.identity.client_id,
        }


def _error(status: int, message: str) -> web.Response:
    return json_response({"statusCode": status, "message": message, "correlationId": str(uuid.uuid4())}, status)
