"""``/applications`` and ``/organization``: the app registration with its credentials, and the tenant."""

import base64
from collections.abc import Callable
from typing import Any

from local.microsoft.apps import App, Certificate, Secret
from local.microsoft.directory import instant
from local.microsoft.errors import bad_request, denied, not_found, unknown_property
from local.microsoft.messages import GraphRequest, GraphResponse, answer
from local.microsoft.permissions import APPLICATIONS_READ
from local.microsoft.query import allowed


class Applications:
    """Reads of app registrations, by object id or by ``appId``."""

    def __init__(self, apps: dict[str, App]) -> None:
        self._apps = apps

    def get(self, request: GraphRequest, identifier: str) -> GraphResponse:
        return self._answer(request, identifier, lambda app: app.object_id)

    def get_by_app_id(self, request: GraphRequest, app_id: str) -> GraphResponse:
        return self._answer(request, app_id, lambda app: app.client_id)

    def _answer(self, request: GraphRequest, identifier: str, key: Callable[[App], str]) -> GraphResponse:
        app = next((app for app in self._apps.values() if key(app) == identifier.lower()), None)
        if app is None:
            raise not_found(identifier)
        own = app.client_id == request.principal.app_id
        if not request.principal.roles & APPLICATIONS_READ and not own:
            raise denied()
        body = _selected(request, _application(app), "application")
        return answer({"@odata.context": f"{request.root}/$metadata#applications/$entity", **body})


class Organization:
    """The tenant itself, as a list of one."""

    def __init__(self, tenant_id: str, display_name: str, domains: list[str]) -> None:
        self._tenant_id = tenant_id
        self._display_name = display_name
        self._domains = domains

    def all(self, request: GraphRequest) -> GraphResponse:
        body = _selected(request, self._body(), "organization")
        return answer({"@odata.context": f"{request.root}/$metadata#organization", "value": [body]})

    def get(self, request: GraphRequest, identifier: str) -> GraphResponse:
        if identifier.lower() != self._tenant_id:
            raise not_found(identifier)
        body = _selected(request, self._body(), "organization")
        return answer({"@odata.context": f"{request.root}/$metadata#organization/$entity", **body})

    def _body(self) -> dict[str, Any]:
        domains = [
            {
                "capabilities": "Email, OfficeCommunicationsOnline",
                "isDefault": number == 0,
                "isInitial": ".onmicrosoft." in domain,
                "name": domain,
                "type": "Managed",
            }
            for number, domain in enumerate(self._domains)
        ]
        return {
            "id": self._tenant_id,
            "displayName": self._display_name,
            "tenantType": "AAD",
            "countryLetterCode": "NL",
            "preferredLanguage": "en",
            "createdDateTime": "2020-01-15T09:00:00Z",
            "onPremisesSyncEnabled": None,
            "technicalNotificationMails": [],
            "businessPhones": [],
            "verifiedDomains": domains,
        }


def _selected(request: GraphRequest, body: dict[str, Any], kind: str) -> dict[str, Any]:
    options = allowed(request, frozenset({"$select"}))
    if "$select" not in options:
        return body
    names = [name.strip() for name in options["$select"].split(",")]
    if not all(names):
        raise bad_request("Parsing OData Select and Expand failed: Term '' is not valid in a $select expression.")
    for name in names:
        if name not in body:
            raise unknown_property(name, kind)
    return {name: body[name] for name in names}


def _application(app: App) -> dict[str, Any]:
    return {
        "id": app.object_id,
        "appId": app.client_id,
        "displayName": app.display_name,
        "createdDateTime": "2026-01-05T10:00:00Z",
        "deletedDateTime": None,
        "description": None,
        "signInAudience": "AzureADMyOrg",
        "identifierUris": [],
        "passwordCredentials": [_password(secret) for secret in app.secrets],
        "keyCredentials": [_key(certificate) for certificate in app.certificates],
    }


def _password(secret: Secret) -> dict[str, Any]:
    """The secret itself is never readable again ("passwordCredential resource type")."""
    return {
        "customKeyIdentifier": None,
        "displayName": secret.display_name,
        "endDateTime": instant(secret.end),
        "hint": secret.hint,
        "keyId": secret.key_id,
        "secretText": None,
        "startDateTime": instant(secret.start),
    }


def _key(certificate: Certificate) -> dict[str, Any]:
    thumbprint = base64.urlsafe_b64decode(certificate.sha1 + "=")
    return {
        "customKeyIdentifier": thumbprint.hex().upper(),
        "displayName": certificate.display_name,
        "endDateTime": instant(certificate.x509.not_valid_after_utc),
        "key": None,
        "keyId": certificate.key_id,
        "startDateTime": instant(certificate.x509.not_valid_before_utc),
        "type": "AsymmetricX509Cert",
        "usage": "Verify",
    }
