"""The authority: token endpoint, discovery document and signing keys.

Grants live in a table (``Authority.grants``), which those that stand for a person join.
"""

import base64
import binascii
import hmac
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from aiohttp import web

from local.emulator import Clock, json_response
from local.microsoft.apps import RESOURCES, App
from local.microsoft.assertions import AssertionChecker
from local.microsoft.entra_errors import EntraError
from local.microsoft.grants import Form, required
from local.microsoft.keys import KeyRing
from local.microsoft.tokens import TokenService

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
SHARED_TENANTS = frozenset({"common", "organizations", "consumers"})

type Grant = Callable[[App, Form, str], dict[str, Any]]
"""Takes the app, once it is authenticated, the form and the origin of the authority."""


class Authority:
    """One tenant of Microsoft Entra ID with its app registrations (by client id)."""

    def __init__(self, clock: Clock, keys: KeyRing, tokens: TokenService) -> None:
        self._clock = clock
        self._keys = keys
        self._tokens = tokens
        self.assertions = AssertionChecker(clock, tokens)
        self.tenant_id = tokens.tenant_id
        self.domains: list[str] = []
        """Verified domains; each one names the tenant as its id does."""
        self.apps: dict[str, App] = {}
        self.grants: dict[str, Grant] = {"client_credentials": self._client_credentials}

    def issuer(self, origin: str, tenant: str = "") -> str:
        return f"{origin}/{tenant or self.tenant_id}/v2.0"

    async def token(self, request: web.Request) -> web.Response:
        correlation_id = request.headers.get("client-request-id") or str(uuid.uuid4())
        headers = {"Cache-Control": "no-store, no-cache", "Pragma": "no-cache", "x-ms-request-id": str(uuid.uuid4())}
        if "client-request-id" in request.headers:
            headers["client-request-id"] = correlation_id
        origin = str(request.url.origin())
        try:
            body = self._grant(request, await request.text(), origin)
        except EntraError as error:
            return json_response(error.body(origin, self._clock.now(), correlation_id), error.status, headers)
        return json_response(body, headers=headers)

    def _grant(self, request: web.Request, text: str, origin: str) -> dict[str, Any]:
        tenant = request.match_info["tenant"]
        self.require_tenant(tenant)
        form = _form(request, text)
        grant_type = required(form, "grant_type")
        grant = self.grants.get(grant_type)
        if grant is None:
            raise EntraError(70003, f"The app requested an unsupported grant type '{grant_type}'.")
        if tenant in SHARED_TENANTS and grant_type == "client_credentials":
            raise EntraError(50059, "No tenant-identifying information found in either the request or the credentials.")
        form = {**form, **_basic(request, form)}
        app = self.app(required(form, "client_id"), tenant)
        self._authenticate(app, form, tenant, origin)
        return grant(app, form, origin)

    def _client_credentials(self, app: App, form: Form, _: str) -> dict[str, Any]:
        resource = _resource(required(form, "scope"))
        token = self._tokens.for_app(app, resource)
        seconds = app.token_seconds
        return {"token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds, "access_token": token}

    def require_tenant(self, tenant: str) -> None:
        """``EntraError`` 90002 unless ``tenant`` names this one, or is a word that stands for any."""
        known = {self.tenant_id, *(domain.lower() for domain in self.domains), *SHARED_TENANTS}
        if tenant.lower() not in known:
            raise EntraError(
                90002,
                f"Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into "
                "the correct cloud. Check with your subscription administrator, this may happen if there are no active "
                "subscriptions for the tenant.",
            )

    def app(self, client_id: str, tenant: str) -> App:
        """The app registration. ``EntraError`` 700016 for an unknown one, 50194 when ``tenant`` is not its own."""
        app = self.apps.get(client_id.lower())
        if app is None:
            raise EntraError(
                700016,
                f"Application with identifier '{client_id}' was not found in the directory '{self.tenant_id}'. This "
                "can happen if the application has not been installed by the administrator of the tenant or consented "
                "to by any user in the tenant. You may have sent your authentication request to the wrong tenant.",
            )
        if tenant == "consumers" or (tenant in SHARED_TENANTS and not app.registration.multi_tenant):
            raise EntraError(
                50194,
                f"Application '{app.client_id}'({app.display_name}) is not configured as a multi-tenant application. "
                f"Usage of the /{tenant} endpoint is not supported for such apps. Use a tenant-specific endpoint or "
                "configure the application to be multi-tenant.",
            )
        return app

    def _authenticate(self, app: App, form: Form, tenant: str, origin: str) -> None:
        if "client_secret" in form and "client_assertion" in form:
            raise EntraError(9002313, "Invalid request. Request is malformed or invalid: two client credentials.")
        if "client_assertion" in form:
            self._check_assertion(app, form, tenant, origin)
        elif "client_secret" in form:
            self._check_secret(app, form["client_secret"])
        else:
            raise EntraError(
                7000218,
                "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
            )

    def _check_assertion(self, app: App, form: Form, tenant: str, origin: str) -> None:
        if form.get("client_assertion_type") != ASSERTION_TYPE:
            raise EntraError(9002313, "Invalid request. 'client_assertion_type' is missing or unknown.")
        names = {tenant, self.tenant_id}
        audiences = frozenset(f"{origin}/{name}/{tail}" for name in names for tail in ("oauth2/v2.0/token", "v2.0"))
        self.assertions.check(app, form["client_assertion"], audiences, origin)

    def _check_secret(self, app: App, secret: str) -> None:
        matching = [item for item in app.secrets if hmac.compare_digest(item.secret.encode(), secret.encode())]
        now = self._clock.now()
        if any(item.start <= now < item.end for item in matching):
            return
        if any(item.end <= now for item in matching):
            raise EntraError(
                7000222,
                f"The provided client secret keys for app '{app.client_id}' are expired. Visit the Azure portal to "
                "create new keys for your app: https://aka.ms/NewClientSecret, or consider using certificate "
                "credentials for added security: https://aka.ms/certCreds.",
            )
        raise EntraError(
            7000215,
            "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, "
            f"not the client secret ID, for a secret added to app '{app.client_id}'.",
        )

    async def discovery(self, request: web.Request) -> web.Response:
        origin, tenant = str(request.url.origin()), request.match_info["tenant"]
        try:
            self.require_tenant(tenant)
        except EntraError as error:
            return json_response(error.body(origin, self._clock.now(), str(uuid.uuid4())), error.status)
        issuer = self.issuer(origin, "{tenantid}" if tenant in SHARED_TENANTS else "")
        named = tenant if tenant in SHARED_TENANTS else self.tenant_id
        return json_response(_discovery_document(origin, named, issuer))

    async def published_keys(self, request: web.Request) -> web.Response:
        origin, tenant = str(request.url.origin()), request.match_info["tenant"]
        try:
            self.require_tenant(tenant)
        except EntraError as error:
            return json_response(error.body(origin, self._clock.now(), str(uuid.uuid4())), error.status)
        issuer = self.issuer(origin, "{tenantid}" if tenant in SHARED_TENANTS else "")
        return json_response({"keys": [key.jwk(issuer) for key in self._keys.keys]})


def _discovery_document(origin: str, tenant: str, issuer: str) -> dict[str, Any]:
    base = f"{origin}/{tenant}"
    return {
        "token_endpoint": f"{base}/oauth2/v2.0/token",
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
        "jwks_uri": f"{base}/discovery/v2.0/keys",
        "response_modes_supported": ["query", "fragment", "form_post"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "issuer": issuer,
        "request_uri_parameter_supported": False,
        "userinfo_endpoint": f"{origin}/oidc/userinfo",
        "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
        "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
        "http_logout_supported": True,
        "end_session_endpoint": f"{base}/oauth2/v2.0/logout",
        "claims_supported": ["sub", "iss", "aud", "exp", "iat", "nonce", "preferred_username", "name", "tid", "ver"],
        "tenant_region_scope": "EU",
    }


def _form(request: web.Request, text: str) -> dict[str, str]:
    if request.content_type != "application/x-www-form-urlencoded":
        raise EntraError(9002313, "Invalid request. Request is malformed or invalid: the body has to be a form.")
    pairs = parse_qsl(text, keep_blank_values=True)
    form = dict(pairs)
    if len(form) != len(pairs):
        raise EntraError(9002313, "Invalid request. Request is malformed or invalid: a parameter is repeated.")
    return form


def _basic(request: web.Request, form: Form) -> dict[str, str]:
    """Client id and secret of a Basic header; RFC 6749 section 2.3.1 form-encodes both."""
    header = request.headers.get("Authorization", "")
    if not header:
        return {}
    scheme, _, encoded = header.partition(" ")
    try:
        client_id, separator, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise EntraError(9002313, "Invalid request. The Authorization header is malformed.") from None
    if scheme.lower() != "basic" or not separator or "client_secret" in form:
        raise EntraError(9002313, "Invalid request. The Authorization header is malformed or a second credential.")
    if form.get("client_id", unquote_plus(client_id)) != unquote_plus(client_id):
        raise EntraError(9002313, "Invalid request. The Authorization header names another client.")
    return {"client_id": unquote_plus(client_id), "client_secret": unquote_plus(secret)}


def _resource(scope: str) -> str:
    scopes = scope.split()
    if len(scopes) != 1:
        raise EntraError(70011, f"The provided request must include one 'scope'. The scope '{scope}' is not valid.")
    resource, separator, rest = scopes[0].rpartition("/.default")
    if not separator or rest:
        raise EntraError(
            1002012,
            f"The provided value for scope {scope} is not valid. Client credential flows must have a scope value with "
            "/.default suffixed to the resource identifier (application ID URI).",
        )
    if resource.rstrip("/") not in RESOURCES:
        raise EntraError(500011, f"The resource principal named {resource} was not found in the tenant.")
    return resource.rstrip("/")
