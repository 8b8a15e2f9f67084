"""The OAuth flows of people, by MSAL: the address to go to, a code for tokens, a refresh token for new ones.

MSAL is asked for each flow with a fresh application, so that none of its caches outlives a credential. It is
synchronous, so it runs in a thread; the discovery document, which it would fetch each time, is given to it. It does not
check ID tokens: ``sso.id_token`` does. ``acquire_token_by_refresh_token`` is meant for migrations, but MSAL's own
cache would keep the refresh token in a place that is ours to choose only as one opaque text of everything.
"""

import asyncio
import hashlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from graph.aadsts import CERTIFICATE, CODE, NEW_CLIENT, WORDS, from_entra, from_identity
from graph.credentials import EXCHANGE_SCOPE, ONE_ATTEMPT, UNUSABLE
from graph.errors import CredentialsRejected, Unavailable
from sso.authority import Authority, address
from sso.errors import GrantRefused, NotSetUp
from sso.place import Place
from store.document import Microsoft
from store.errors import SecretMissing
from store.secrets import SecretName

if TYPE_CHECKING:
    from msal import ConfidentialClientApplication

PATIENCE_SECONDS = 10.0
RESERVED = frozenset({"openid", "profile", "offline_access"})
"""MSAL asks for these by itself and refuses to be told."""
OF_THE_APPLICATION = frozenset({"invalid_client", "unauthorized_client", "invalid_resource"})
"""OAuth errors that say: it is the application that Entra does not accept, whoever signs in."""
CONSENT_MISSING = 65001
"""The only one of the application's errors that a person can mend by signing in."""
UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, RuntimeError)
"""What MSAL raises about an answer that is none; the texts quote it, so they are dropped."""


class Flow(msgspec.Struct, frozen=True):
    """One sign-in under way. It travels in a sealed cookie."""

    state: str
    nonce: str
    code_verifier: str
    redirect_uri: str
    scope: list[str]

    @property
    def nonce_claim(self) -> str:
        """What the ID token has to carry: MSAL sends a digest of its nonce."""
        return hashlib.sha256(self.nonce.encode()).hexdigest()

    def __repr__(self) -> str:
        return f"Flow(redirect_uri={self.redirect_uri!r})"

    __str__ = __repr__


class Tokens(msgspec.Struct, frozen=True):
    """What the token endpoint gave."""

    access_token: str = ""
    expires_in: int = 0
    refresh_token: str = ""
    id_token: str = ""
    scope: str = ""

    def __repr__(self) -> str:
        return f"Tokens(scope={self.scope!r})"

    __str__ = __repr__


class Application(msgspec.Struct, frozen=True):
    """How the application proves itself, in MSAL's terms."""

    client_id: str
    where: str
    """https address of the tenant."""
    proof: Any

    def __repr__(self) -> str:
        return f"Application(client_id={self.client_id!r}, where={self.where!r})"

    __str__ = __repr__


async def application_of(place: Place, microsoft: Microsoft) -> Application:
    """The application with its credential. Raises ``NotSetUp`` without one, and ``graph.errors``' own about it."""
    where = address(place, microsoft)
    if microsoft.credential == "federated":
        assertion = await _identity_token(place)
        return Application(microsoft.client_id, where, {"client_assertion": lambda: assertion})
    is_certificate = microsoft.credential == "certificate"
    name: SecretName = "entra-client-certificate" if is_certificate else "entra-client-secret"
    try:
        value = (await place.secrets.read(name)).value
    except SecretMissing:
        what, action = ("certificate", CERTIFICATE) if is_certificate else ("client secret", NEW_CLIENT)
        raise NotSetUp(f"the {what} of the application is missing", action, "entra_secret_missing") from None
    proof = {"private_key": value, "public_certificate": value} if is_certificate else value
    return Application(microsoft.client_id, where, proof)


async def begin_flow(
    authority: Authority, client_id: str, where: str, scopes: Sequence[str], redirect_uri: str
) -> tuple[Flow, str]:
    """A sign-in, and the address that it begins at: PKCE with S256, state, nonce, and the answer as a posted form."""

    def made() -> dict[str, Any]:
        # Going there needs no credential; a placeholder keeps the real one out of what needs none.
        client = _client(Application(client_id, where, "none"), authority)
        wanted = [scope for scope in scopes if scope not in RESERVED]
        flow: dict[str, Any] = client.initiate_auth_code_flow(
            wanted, redirect_uri=redirect_uri, prompt="select_account", response_mode="form_post"
        )
        return flow

    flow = await asyncio.to_thread(made)
    return msgspec.convert({**flow, "scope": sorted(flow["scope"])}, Flow), str(flow["auth_uri"])


async def redeem(application: Application, authority: Authority, flow: Flow, code: str) -> Tokens:
    """The tokens for a code. ``GrantRefused`` when Entra does not take it."""
    whole = {**msgspec.to_builtins(flow), "claims_challenge": None}
    answer = {"code": code, "state": flow.state}
    return await _asked(lambda: _client(application, authority).acquire_token_by_auth_code_flow(whole, answer))


async def refresh(application: Application, authority: Authority, token: str, scopes: Sequence[str]) -> Tokens:
    """New tokens for a refresh token, among them a new one of those. ``GrantRefused`` when Entra does not take it."""
    wanted = [scope for scope in scopes if scope not in RESERVED]
    return await _asked(lambda: _client(application, authority).acquire_token_by_refresh_token(token, wanted))


async def _asked(ask: Callable[[], dict[str, Any]]) -> Tokens:
    def asked() -> dict[str, Any]:
        try:
            return ask()
        except UNREADABLE:
            raise Unavailable("Entra's answer cannot be read") from None

    answer = await asyncio.to_thread(asked)
    if "error" in answer:
        raise _refused(answer)
    try:
        return msgspec.convert(answer, Tokens, strict=False)
    except msgspec.ValidationError:
        raise Unavailable("Entra's answer cannot be read") from None


def _refused(answer: Mapping[str, Any]) -> CredentialsRejected | Unavailable | GrantRefused:
    error, text = str(answer["error"]), str(answer.get("error_description", ""))
    number = aadsts(text)
    if error in OF_THE_APPLICATION or (number in WORDS and number != CONSENT_MISSING):
        return from_entra(text, 401)
    if error in {"temporarily_unavailable", "server_error"}:
        return Unavailable("Entra cannot issue a token now")
    return GrantRefused(_word(error), number)


def aadsts(text: str) -> int:
    """The number after AADSTS in a text of Entra's; 0 for none."""
    found = CODE.search(text[:10_000])
    return int(found.group(1)) if found and len(found.group(1)) < 10 else 0


def _word(error: str) -> str:
    """An OAuth error, as far as it can be one."""
    return error if error.replace("_", "").isalpha() and error.isascii() and len(error) < 50 else "unknown"


def _client(application: Application, authority: Authority) -> "ConfidentialClientApplication":
    import msal

    # It logs whole answers that it cannot read, which may hold half a token.
    logging.getLogger("msal").setLevel(logging.CRITICAL)
    try:
        return msal.ConfidentialClientApplication(
            application.client_id,
            client_credential=application.proof,
            authority=application.where,
            instance_discovery=False,
            http_client=_Http(authority),
        )
    except ValueError:
        raise CredentialsRejected(f"the stored certificate is unusable: {UNUSABLE['certificate']}") from None


class _Http:
    """What MSAL sends, over ``requests``: one attempt, with a limit of time, and the discovery document from memory."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority

    def get(self, url: str, **_: Any) -> "_Answer":
        """The only thing that MSAL fetches is the discovery document."""
        return _Answer(200, self._authority.document.decode())

    def post(self, url: str, **options: Any) -> "_Answer":
        import requests

        with requests.Session() as session:
            # REQUESTS_CA_BUNDLE is read by the library itself and goes first.
            session.verify = os.environ.get("SSL_CERT_FILE") or True
            try:
                response = session.post(url, timeout=PATIENCE_SECONDS, allow_redirects=False, **options)
            except requests.RequestException as error:
                raise Unavailable(f"Entra's token service cannot be reached ({type(error).__name__})") from None
        if response.status_code in {408, 429} or response.status_code >= 500:
            raise Unavailable(f"Entra cannot issue a token now (HTTP {response.status_code})")
        return _Answer(response.status_code, response.text, dict(response.headers))

    def close(self) -> None:
        """Nothing is kept open."""


class _Answer:
    """An answer in the form that MSAL wants."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        self.status_code = status
        self.text = text
        self.headers = dict(headers or {})


async def _identity_token(place: Place) -> str:
    """The managed identity's token that stands in for a secret."""
    from azure.core.exceptions import AzureError, ClientAuthenticationError
    from azure.identity.aio import ManagedIdentityCredential

    options: dict[str, Any] = dict(ONE_ATTEMPT)
    try:
        async with ManagedIdentityCredential(
            client_id=place.environment.identity_client_id or None, **options
        ) as identity:
            return str((await identity.get_token(EXCHANGE_SCOPE)).token)
    except ClientAuthenticationError as error:
        raise from_identity(error.response.status_code if error.response is not None else None) from None
    except (AzureError, OSError) as error:
        raise Unavailable(f"the managed identity cannot be reached ({type(error).__name__})") from None
