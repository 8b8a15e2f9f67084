"""Why a sign-in came to nothing, in plain words and with what to do."""

import msgspec

from graph.errors import GraphError, Retry, Stop
from sso.errors import ForeignTenant, GrantRefused, InvalidToken, NotSetUp

CANCELLED = "Sign-in cancelled"


class Failed(msgspec.Struct, frozen=True):
    """A sign-in that came to nothing. Nobody is signed in and nothing was changed."""

    code: str
    """For machines; stable."""
    title: str
    message: str
    action: str
    return_to: str = ""
    """Where it was begun; empty when that is not known."""
    who: str = ""
    """Who was refused, where Entra said so or somebody signed in began it; empty when anybody can have sent this."""


STATE_MISMATCH = Failed(
    "state_mismatch",
    "This sign-in cannot be finished",
    "It was begun in another browser or more than 10 minutes ago, or its answer was used already.",
    "Go back and begin the sign-in again, in one window only.",
)
SESSION_ENDED = Failed(
    "session_ended",
    "Your session has ended",
    "The session in which this was begun ended meanwhile, or may not connect an account.",
    "Sign in as an administrator and begin again.",
)
NO_ROLE = Failed(
    "no_role",
    "Your account may not use this console",
    "Your account has neither of the app roles Bridge.Admin and Bridge.Reader.",
    "An administrator of the tenant can assign one: Entra admin center > Enterprise applications > this application > "
    "Users and groups. Then sign in again.",
)
TENANT_MISMATCH = Failed(
    "tenant_mismatch",
    "The account belongs to another tenant",
    "This connection belongs to one tenant, and the account that signed in is of another.",
    "Sign in with an account of the connection's tenant.",
)
NOT_ADDED = Failed(
    "not_added",
    "This is the authorization account",
    "The account that signed in is the authorization account, which hears of presence already; nothing was added.",
    "Add another account of the tenant: in the window of Microsoft, choose to use another one.",
)
WITHOUT_PRESENCE = Failed(
    "consent_missing",
    "Consent is missing",
    "The account was not given the permission Presence.Read.All, and without it cannot hear of anybody's presence.",
    "Ask for consent on the page Connect as an administrator of the tenant, then add the account again.",
)
NO_REFRESH_TOKEN = Failed(
    "no_refresh_token",
    "The account cannot be used in the background",
    "Entra gave no refresh token, so the bridge could not work in the name of this account later on.",
    "Allow the permission offline_access for the application, grant consent, and sign in again.",
)

ASSIGN = (
    "An administrator of the tenant can assign it: Entra admin center > Enterprise applications > this application > "
    "Users and groups."
)
WORDS: dict[str, tuple[str, str, str]] = {
    "cancelled": (CANCELLED, "The sign-in was cancelled, or the permissions were not accepted.", "Begin it again."),
    "consent_missing": (
        "Consent is missing",
        "The application lacks a permission in this tenant that only an administrator can grant.",
        "Ask for consent on the page Connect as an administrator of the tenant, then sign in again.",
    ),
    "not_assigned": (
        "Your account is not assigned to the application",
        "The application lets only assigned people in, and your account is none of them.",
        ASSIGN,
    ),
    "account_disabled": (
        "The account is disabled",
        "Entra does not let this account sign in: it is disabled or was deleted.",
        "Sign in with another account, or have an administrator of the tenant enable this one.",
    ),
    "interaction_required": (
        "Entra asks for more",
        "A policy of the tenant asks for another factor, or for a sign-in from somewhere else.",
        "Begin the sign-in again and follow what Entra asks for.",
    ),
    "code_rejected": (
        "This sign-in cannot be finished",
        "Entra does not accept its own answer any more: it was used already or took too long.",
        "Go back and begin the sign-in again.",
    ),
    "unavailable": (
        "Microsoft cannot be reached",
        "Entra could not finish the sign-in now.",
        "Try again in a few minutes.",
    ),
    "refused": (
        "Entra refuses the sign-in",
        "Entra refuses the request of the application.",
        "Compare the redirect URIs and the permissions of the app registration with those on the page Connect.",
    ),
}

NUMBERS = {
    65004: "cancelled",
    65001: "consent_missing",
    90094: "consent_missing",
    90095: "consent_missing",
    900941: "consent_missing",
    50105: "not_assigned",
    50057: "account_disabled",
    50034: "account_disabled",
    54005: "code_rejected",
    70008: "code_rejected",
    70000: "code_rejected",
    500112: "code_rejected",
    501481: "code_rejected",
    50148: "code_rejected",
    9002313: "code_rejected",
}
"""By the number after AADSTS, which says more than the OAuth error
(https://learn.microsoft.com/entra/identity-platform/reference-error-codes)."""
ERRORS = {
    "access_denied": "cancelled",
    "consent_required": "consent_missing",
    "interaction_required": "interaction_required",
    "login_required": "interaction_required",
    "server_error": "unavailable",
    "temporarily_unavailable": "unavailable",
    "invalid_grant": "code_rejected",
}


def refused(error: str, number: int) -> Failed:
    """What an OAuth error with this AADSTS number means, wherever it came from."""
    code = NUMBERS.get(number) or ERRORS.get(error, "refused")
    title, message, action = WORDS[code]
    return Failed(code, title, f"{message.rstrip('.')} (AADSTS{number})." if number else message, action)


def failed(error: GraphError | GrantRefused | InvalidToken) -> Failed:
    """The same for what was raised on the way."""
    if isinstance(error, GrantRefused):
        return refused(error.error, error.number)
    if isinstance(error, ForeignTenant):
        return TENANT_MISMATCH
    if isinstance(error, InvalidToken):
        message = f"The ID token that came back was refused: {error}."
        return Failed("invalid_token", "The sign-in cannot be trusted", message, "Begin the sign-in again.")
    message = f"{str(error)[:1].upper()}{str(error)[1:]}."
    if isinstance(error, Retry):
        return Failed("unavailable", WORDS["unavailable"][0], message, WORDS["unavailable"][2])
    code = "not_set_up" if isinstance(error, NotSetUp) else "credentials_rejected"
    action = error.action if isinstance(error, Stop) else ""
    return Failed(code, "Entra does not accept the application", message, action)
