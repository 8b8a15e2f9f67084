"""What an app asks for when it sends a browser to the authority.

After "Microsoft identity platform and OAuth 2.0 authorization code flow", "Request an authorization code", and "Admin
consent on the Microsoft identity platform".
"""

import re
from collections.abc import Mapping

import msgspec

from local.microsoft.apps import App
from local.microsoft.authorize_reply import MODES, Reply
from local.microsoft.entra_errors import EntraError
from local.microsoft.grants import required
from local.microsoft.scopes import DEFAULT, full_name, read_scopes

PROMPTS = ("", "none", "login", "consent", "select_account")
KNOWN = frozenset(
    [
        "client_id",
        "response_type",
        "redirect_uri",
        "scope",
        "state",
        "nonce",
        "response_mode",
        "code_challenge",
        "code_challenge_method",
        "prompt",
        "login_hint",
        "domain_hint",
        "claims",
        "client_info",
        "client-request-id",
        "mkt",
        "ui_locales",
        "max_age",
        "sso_reload",
    ]
)
"""Further ones may begin with ``x-``, as those by which the client libraries tell who they are."""

type Parameters = Mapping[str, str]


class Asked(msgspec.Struct, frozen=True):
    """A request that the browser's user may grant. ``application`` permissions come with an admin consent only."""

    client_id: str
    reply: Reply
    scopes: tuple[str, ...]
    application: tuple[str, ...] = ()
    admin_consent: bool = False
    tells_scope: bool = False
    """Whether the answer to an admin consent names what was granted."""
    prompt: str = ""
    hint: str = ""
    """Whom to look for on the page."""
    login_hint: str = ""
    nonce: str | None = None
    challenge: str | None = None
    client_info: bool = False


def read_reply(app: App, parameters: Parameters) -> Reply:
    """Where to answer. ``EntraError`` when no answer may go there: the person sees it, the app does not."""
    redirect_uri = required(parameters, "redirect_uri")
    if not app.registration.accepts(redirect_uri):
        raise EntraError(
            50011,
            f"The redirect URI '{redirect_uri}' specified in the request does not match the redirect URIs configured "
            f"for the application '{app.client_id}'. Make sure the redirect URI sent in the request matches one added "
            "to your application in the Azure portal.",
        )
    mode = parameters.get("response_mode", "query")
    return Reply(redirect_uri, mode if mode in MODES else "query", parameters.get("state"))


def read_sign_in(app: App, parameters: Parameters, reply: Reply, domains: list[str]) -> Asked:
    """``EntraError`` for what the app has to hear of."""
    for name in parameters:
        if name not in KNOWN and not name.lower().startswith("x-"):
            raise EntraError(9002313, f"Invalid request. The parameter '{name}' is not a documented one.")
    _check_modes(parameters)
    prompt = parameters.get("prompt", "")
    if prompt not in PROMPTS:
        raise EntraError(90023, f"Unsupported 'prompt' value '{prompt}'.")
    domain, login_hint = parameters.get("domain_hint", ""), parameters.get("login_hint", "")
    return Asked(
        client_id=app.client_id,
        reply=reply,
        scopes=read_scopes(required(parameters, "scope"), app.registration.delegated),
        prompt=prompt,
        hint=login_hint or (f"@{domain}" if domain.lower() in [name.lower() for name in domains] else ""),
        login_hint=login_hint,
        nonce=parameters.get("nonce"),
        challenge=_challenge(parameters),
        client_info=parameters.get("client_info") == "1",
    )


def read_admin_consent(app: App, parameters: Parameters, reply: Reply, *, with_scope: bool) -> Asked:
    """Without a scope (the older endpoint), and for ``.default``, all permissions of the registration."""
    known = {"client_id", "redirect_uri", "state", "scope"} if with_scope else {"client_id", "redirect_uri", "state"}
    for name in parameters:
        if name not in known:
            raise EntraError(9002313, f"Invalid request. The parameter '{name}' is not a documented one.")
    registration = app.registration
    scope = required(parameters, "scope") if with_scope else full_name(DEFAULT)
    scopes = read_scopes(scope, registration.delegated)
    if full_name(DEFAULT) not in scope.split():
        return Asked(app.client_id, reply, scopes, admin_consent=True, tells_scope=True)
    whole = tuple(dict.fromkeys([*scopes, *registration.delegated]))
    application = tuple(registration.application)
    return Asked(app.client_id, reply, whole, application, admin_consent=True, tells_scope=with_scope)


def admin_reply(reply: Reply, tenant_id: str) -> Reply:
    return msgspec.structs.replace(reply, mode="query", always={"admin_consent": "True", "tenant": tenant_id})


def _check_modes(parameters: Parameters) -> None:
    response_type = required(parameters, "response_type")
    if response_type != "code":
        raise EntraError(
            700054, f"response_type '{response_type}' is not enabled for the application: only 'code' is served."
        )
    mode = parameters.get("response_mode", "query")
    if mode not in MODES:
        raise EntraError(70007, f"'{mode}' is not a supported value of 'response_mode' when requesting a token.")


def _challenge(parameters: Parameters) -> str | None:
    """``plain``, which is also what a missing method means, protects nothing and is refused."""
    challenge, method = parameters.get("code_challenge"), parameters.get("code_challenge_method")
    if challenge is None:
        if method is not None:
            raise EntraError(50147, "Missing code_challenge: a code_challenge_method came without one.")
        return None
    if method != "S256":
        raise EntraError(50149, f"Invalid Code_Challenge_method parameter '{method or 'plain'}': it has to be S256.")
    if not re.fullmatch("[A-Za-z0-9_-]{43}", challenge):
        raise EntraError(501491, "Invalid size of Code_Challenge parameter.")
    return challenge
