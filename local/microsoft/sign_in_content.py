"""What the authority remembers of people who signed in, and the switches that tests may turn."""

import secrets
from typing import Any, Literal

import msgspec

from local.microsoft.id_tokens import Forgery

REDIRECT_ERRORS = frozenset(
    {
        "access_denied",
        "consent_required",
        "interaction_required",
        "invalid_request",
        "invalid_scope",
        "login_required",
        "server_error",
        "temporarily_unavailable",
        "unauthorized_client",
    }
)


class PlannedError(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An error that the app gets from the authorize endpoint instead of a page."""

    error: str
    description: str | None = "AADSTS90033: A transient error has occurred. Please try again."
    """``None`` leaves ``error_description`` out."""


class SignInSwitches(msgspec.Struct, forbid_unknown_fields=True):
    """Seconds are those of the emulator's clock."""

    automatic_user: str | None = None
    """Id or user principal name of who signs in without the page."""
    automatic_consent: Literal["ask", "accept", "accept_for_organization", "decline"] = "ask"
    """What is answered in place of the consent page."""
    administrators: list[str] = []
    """Ids of those who may consent for the organization; the control API takes user principal names as well."""
    user_consent: bool = True
    """Whether the tenant lets people consent for themselves."""
    declined_error: Literal["access_denied", "consent_required"] = "access_denied"
    """What the app hears of a declined consent: the documented error, or the one that was seen in the wild."""
    code_seconds: int = 600
    access_token_seconds: int | None = None
    """Lifetime of delegated access tokens; ``None`` draws 60 to 90 minutes for each, as Microsoft Entra does."""
    id_token_seconds: int = 3600
    refresh_token_seconds: int = 90 * 86_400
    """A refresh token ends when it was not used for so long."""
    session_seconds: int = 86_400
    """How long a browser stays signed in."""
    next_errors: list[PlannedError] = []
    """One for each of the next authorization requests."""
    next_id_tokens: list[Forgery] = []
    """What is wrong with the next ID tokens of the token endpoint, one for each."""

    def check(self) -> None:
        """``ValueError`` for a value that makes no sense."""
        access = 1 if self.access_token_seconds is None else self.access_token_seconds
        lifetimes = (self.code_seconds, self.id_token_seconds, self.refresh_token_seconds, self.session_seconds)
        if min(access, *lifetimes) < 1:
            raise ValueError("a lifetime is at least 1 second")
        for planned in self.next_errors:
            if planned.error not in REDIRECT_ERRORS:
                raise ValueError(f"{planned.error!r} is no error of the authorize endpoint")


class Session(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A browser in which somebody is signed in."""

    id: str
    user_id: str
    started: float


class Code(msgspec.Struct, forbid_unknown_fields=True):
    """An authorization code. Redeemed codes are kept: a second use has an error of its own."""

    client_id: str
    user_id: str
    session_id: str
    scopes: list[str]
    redirect_uri: str
    issued: float
    nonce: str | None = None
    challenge: str | None = None
    redeemed: bool = False
    revoked: bool = False


class RefreshToken(msgspec.Struct, forbid_unknown_fields=True):
    """Bound to an app and a user, not to a resource; ``used`` is when it was issued or last used."""

    client_id: str
    user_id: str
    session_id: str
    scopes: list[str]
    issued: float
    used: float
    revoked: bool = False


class SignInContent(msgspec.Struct, forbid_unknown_fields=True):
    """Codes, refresh tokens and sessions by the text that stands for them."""

    switches: SignInSwitches = msgspec.field(default_factory=SignInSwitches)
    sessions: dict[str, Session] = {}
    codes: dict[str, Code] = {}
    refresh_tokens: dict[str, RefreshToken] = {}

    def revoke(self, user_id: str) -> None:
        """What a changed password or "Revoke sessions" does: all that a user was given so far ends."""
        self.sessions = {key: session for key, session in self.sessions.items() if session.user_id != user_id}
        grants: list[Code | RefreshToken] = [*self.codes.values(), *self.refresh_tokens.values()]
        for grant in grants:
            if grant.user_id == user_id:
                grant.revoked = True


def new_secret() -> str:
    """A code or token in the shape that Microsoft Entra gives it."""
    return f"1.{secrets.token_urlsafe(72)}"


def split(state: Any) -> tuple[Any, SignInContent]:
    """Saved content without its part ``sign_in``, and that part. ``ValueError`` when the part makes no sense."""
    if not isinstance(state, dict) or "sign_in" not in state:
        raise ValueError("the part sign_in is missing")
    try:
        content = msgspec.convert(state["sign_in"], SignInContent)
    except msgspec.ValidationError as error:
        raise ValueError(f"sign_in: {error}") from None
    return {name: value for name, value in state.items() if name != "sign_in"}, content
