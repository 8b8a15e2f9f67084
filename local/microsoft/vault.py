"""Key Vault secrets: versions, soft delete, and the challenge that tells a client where to get a token.

After the "Secrets" operations of the Key Vault REST API and "Authentication, requests and responses".
"""

import re
import secrets
import uuid
from typing import Any

import msgspec
from aiohttp import web

from local.emulator import Clock, json_response
from local.microsoft.apps import VAULT
from local.microsoft.tokens import InvalidTokenError, TokenService

API_VERSIONS = frozenset({"7.0", "7.1", "7.2", "7.3", "7.4", "7.5", "7.6", "2025-07-01", "2026-04-01"})
NAME = re.compile(r"[0-9a-zA-Z-]{1,127}")
LARGEST_VALUE = 25_600
"""Bytes of a secret's value (25 KB)."""
LARGEST_PAGE = 25
RECOVERABLE_DAYS = 90


class Attributes(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What a client may set; times are seconds since the epoch."""

    enabled: bool = True
    nbf: int | None = None
    exp: int | None = None


class SecretParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Body of a PUT; ``value`` is required."""

    value: str
    content_type: str | None = None
    tags: dict[str, str] = {}
    attributes: Attributes = msgspec.field(default_factory=Attributes)


class SecretChanges(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Body of a PATCH: what is missing stays."""

    content_type: str | msgspec.UnsetType | None = msgspec.UNSET
    tags: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    attributes: dict[str, bool | int | None] | msgspec.UnsetType = msgspec.UNSET


class Version(msgspec.Struct):
    version: str
    value: str
    created: int
    updated: int
    content_type: str | None = None
    tags: dict[str, str] = {}
    attributes: Attributes = msgspec.field(default_factory=Attributes)


class StoredSecret(msgspec.Struct):
    """All versions of a secret, oldest first; ``deleted`` is when it was deleted."""

    name: str
    versions: list[Version] = []
    deleted: int | None = None


class VaultError(Exception):
    def __init__(self, status: int, code: str, message: str, inner: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.inner = inner

    def body(self) -> dict[str, Any]:
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.inner:
            error["innererror"] = {"code": self.inner}
        return {"error": error}


class Vault:
    """One vault at the root of the emulator's origin. ``allowed`` holds the app ids that may use it."""

    def __init__(self, clock: Clock, tokens: TokenService) -> None:
        self._clock = clock
        self._tokens = tokens
        self.secrets: dict[str, StoredSecret] = {}
        self.allowed: set[str] = set()

    async def answer(self, request: web.Request) -> web.Response:
        """Answer any request below ``/secrets`` and ``/deletedsecrets``."""
        headers = {"x-ms-keyvault-region": "local", "x-ms-request-id": str(uuid.uuid4())}
        try:
            self._authorize(request)
            body = self._dispatch(request, await request.read())
        except VaultError as error:
            if error.status == 401:
                headers["WWW-Authenticate"] = self._challenge(request)
            return json_response(error.body(), error.status, headers)
        if body is None:
            return web.Response(status=204, headers=headers)
        return json_response(body, headers=headers)

    def _challenge(self, request: web.Request) -> str:
        return f'Bearer authorization="{request.url.origin()}/{self._tokens.tenant_id}", resource="{VAULT}"'

    def _authorize(self, request: web.Request) -> None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise VaultError(401, "Unauthorized", "AKV10000: Request is missing a Bearer or PoP token.")
        try:
            principal = self._tokens.validate(token, VAULT)
        except InvalidTokenError as error:
            raise VaultError(401, "Unauthorized", f"AKV10022: Invalid token. {error}") from None
        if principal.app_id not in self.allowed:
            raise VaultError(403, "Forbidden", f"Caller is not authorized. appid={principal.app_id}", "ForbiddenByRbac")

    def _dispatch(self, request: web.Request, body: bytes) -> dict[str, Any] | None:
        if request.query.get("api-version") not in API_VERSIONS:
            raise _bad("BadParameter", "The api-version query parameter is missing or not a known version.")
        parts = request.path.strip("/").split("/")
        for name in parts[1:2]:
            if not NAME.fullmatch(name):
                raise _bad("BadParameter", "The request URI contains an invalid name: only 0-9, a-z, A-Z and -.")
        collection, depth = parts[0], len(parts)
        call = self._secret_call if collection == "secrets" else self._deleted_call
        if collection not in ("secrets", "deletedsecrets") or depth > 3:
            raise VaultError(404, "NotFound", "No such resource.")
        result: dict[str, Any] | None = call(request, body, [*parts[1:], "", ""][:2])
        if result is _NO_CALL:
            raise VaultError(405, "MethodNotAllowed", f"{request.method} is not supported on this resource.")
        return result

    def _secret_call(self, request: web.Request, body: bytes, parts: list[str]) -> Any:
        name, version = parts
        match request.method, bool(name), version:
            case "GET", False, _:
                return self._list(request, [item for item in self._sorted() if item.deleted is None])
            case "GET", True, "versions":
                return self._versions(request, self._live(name))
            case "GET", True, _:
                return self._get(request, self._live(name), version)
            case "PUT", True, "":
                return self._set(request, name, _decoded(body, SecretParameters))
            case "PATCH", True, _:
                return self._update(request, self._live(name), version, _decoded(body, SecretChanges))
            case "DELETE", True, "":
                return self._delete(request, self._live(name))
        return _NO_CALL

    def _deleted_call(self, request: web.Request, body: bytes, parts: list[str]) -> Any:
        name, action = parts
        match request.method, bool(name), action:
            case "GET", False, _:
                return self._list(request, [item for item in self._sorted() if item.deleted is not None])
            case "GET", True, "":
                return self._deleted_bundle(request, self._gone(name))
            case "DELETE", True, "":
                del self.secrets[self._gone(name).name.lower()]
                return None
            case "POST", True, "recover":
                return self._recover(request, self._gone(name))
        return _NO_CALL

    # Operations

    def _set(self, request: web.Request, name: str, wanted: SecretParameters) -> dict[str, Any]:
        if len(wanted.value.encode()) > LARGEST_VALUE:
            raise _bad("BadParameter", "The secret value is larger than 25 KB.")
        stored = self.secrets.get(name.lower())
        if stored is not None and stored.deleted is not None:
            raise VaultError(
                409,
                "Conflict",
                f"Secret {name} is currently in a deleted but recoverable state, and its name cannot be reused; in "
                "this state, the secret can only be recovered or purged.",
                "ObjectIsDeletedButRecoverable",
            )
        now = int(self._clock.time())
        version = Version(
            secrets.token_hex(16), wanted.value, now, now, wanted.content_type, dict(wanted.tags), wanted.attributes
        )
        stored = self.secrets.setdefault(name.lower(), StoredSecret(name))
        stored.versions.append(version)
        return _bundle(request, stored, version) | {"value": version.value}

    def _get(self, request: web.Request, stored: StoredSecret, version: str) -> dict[str, Any]:
        found = _version(stored, version)
        if not found.attributes.enabled:
            raise VaultError(403, "Forbidden", "Operation get is not allowed on a disabled secret.", "SecretDisabled")
        return {"value": found.value} | _bundle(request, stored, found)

    def _update(
        self, request: web.Request, stored: StoredSecret, version: str, wanted: SecretChanges
    ) -> dict[str, Any]:
        found = _version(stored, version)
        if wanted.content_type is not msgspec.UNSET:
            found.content_type = wanted.content_type
        if wanted.tags is not msgspec.UNSET:
            found.tags = dict(wanted.tags)
        if wanted.attributes is not msgspec.UNSET:
            merged = msgspec.to_builtins(found.attributes) | wanted.attributes
            try:
                found.attributes = msgspec.convert(merged, Attributes)
            except msgspec.ValidationError as error:
                raise _bad("BadParameter", str(error)) from None
        found.updated = int(self._clock.time())
        return _bundle(request, stored, found)

    def _delete(self, request: web.Request, stored: StoredSecret) -> dict[str, Any]:
        stored.deleted = int(self._clock.time())
        return self._deleted_bundle(request, stored)

    def _recover(self, request: web.Request, stored: StoredSecret) -> dict[str, Any]:
        stored.deleted = None
        return _bundle(request, stored, stored.versions[-1])

    def _deleted_bundle(self, request: web.Request, stored: StoredSecret) -> dict[str, Any]:
        deleted = stored.deleted or 0
        return _bundle(request, stored, stored.versions[-1]) | {
            "recoveryId": f"{request.url.origin()}/deletedsecrets/{stored.name}",
            "deletedDate": deleted,
            "scheduledPurgeDate": deleted + RECOVERABLE_DAYS * 86_400,
        }

    def _list(self, request: web.Request, found: list[StoredSecret]) -> dict[str, Any]:
        entries = []
        for stored in found:
            shown = _bundle(request, stored, stored.versions[-1], with_version=False)
            entries.append(self._deleted_bundle(request, stored) | shown if stored.deleted is not None else shown)
        return _page(request, entries)

    def _versions(self, request: web.Request, stored: StoredSecret) -> dict[str, Any]:
        return _page(request, [_bundle(request, stored, version) for version in stored.versions])

    # Finding

    def _sorted(self) -> list[StoredSecret]:
        return [self.secrets[name] for name in sorted(self.secrets)]

    def _live(self, name: str) -> StoredSecret:
        stored = self.secrets.get(name.lower())
        if stored is None or stored.deleted is not None:
            raise _missing(name)
        return stored

    def _gone(self, name: str) -> StoredSecret:
        self._sweep()
        stored = self.secrets.get(name.lower())
        if stored is None or stored.deleted is None:
            raise _missing(name)
        return stored

    def _sweep(self) -> None:
        limit = self._clock.time() - RECOVERABLE_DAYS * 86_400
        for name in [name for name, item in self.secrets.items() if item.deleted is not None and item.deleted < limit]:
            del self.secrets[name]


_NO_CALL: Any = object()


def _bad(code: str, message: str) -> VaultError:
    return VaultError(400, code, message)


def _missing(name: str) -> VaultError:
    return VaultError(
        404,
        "SecretNotFound",
        f"A secret with (name/id) {name} was not found in this key vault. If you recently deleted this secret you may "
        "be able to recover it using the correct recovery command.",
    )


def _version(stored: StoredSecret, version: str) -> Version:
    if not version:
        return stored.versions[-1]
    found = next((item for item in stored.versions if item.version == version), None)
    if found is None:
        raise _missing(f"{stored.name}/{version}")
    return found


def _decoded[T](body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _bad("BadParameter", f"The body is not what this operation takes: {error}") from None


def _bundle(
    request: web.Request, stored: StoredSecret, version: Version, *, with_version: bool = True
) -> dict[str, Any]:
    tail = f"/{version.version}" if with_version else ""
    attributes: dict[str, Any] = {
        "enabled": version.attributes.enabled,
        "created": version.created,
        "updated": version.updated,
        "recoveryLevel": "Recoverable+Purgeable",
        "recoverableDays": RECOVERABLE_DAYS,
    }
    for name in ("nbf", "exp"):
        if (moment := getattr(version.attributes, name)) is not None:
            attributes[name] = moment
    bundle = {"id": f"{request.url.origin()}/secrets/{stored.name}{tail}", "attributes": attributes}
    optional = {"contentType": version.content_type, "tags": version.tags or None}
    return bundle | {name: value for name, value in optional.items() if value is not None}


def _page(request: web.Request, entries: list[dict[str, Any]]) -> dict[str, Any]:
    text, skip = request.query.get("maxresults", str(LARGEST_PAGE)), request.query.get("$skiptoken", "0")
    if not text.isdecimal() or not 1 <= int(text) <= LARGEST_PAGE:
        raise _bad("BadParameter", "maxresults has to be a number from 1 to 25.")
    if not skip.isdecimal():
        raise _bad("BadParameter", "The $skiptoken is malformed.")
    start, end = int(skip), int(skip) + int(text)
    following = request.url.update_query({"$skiptoken": str(end), "maxresults": text})
    return {"value": entries[start:end], "nextLink": str(following) if end < len(entries) else None}
