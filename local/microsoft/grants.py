"""The grants that stand for a person: authorization codes and refresh tokens.

After "Microsoft identity platform and OAuth 2.0 authorization code flow" and "Refresh tokens in the Microsoft
identity platform".
"""

import hashlib
import hmac
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from local.emulator import Clock
from local.microsoft.admission import admit, consent_missing
from local.microsoft.apps import App, base64url
from local.microsoft.directory import Directory, Entity
from local.microsoft.entra_errors import EntraError
from local.microsoft.id_tokens import Forgery, IdTokens
from local.microsoft.scopes import api_scopes, read_scopes
from local.microsoft.sign_in_content import Code, RefreshToken, SignInContent, new_secret
from local.microsoft.tokens import TokenService

type Form = Mapping[str, str]

_MALFORMED = "Invalid request. Request is malformed or invalid."


@dataclass(frozen=True, slots=True)
class Redeemed:
    """What an answer of the token endpoint is made of. ``nonce`` comes with the first ID token only."""

    app: App
    user: Entity
    scopes: tuple[str, ...]
    grant: RefreshToken
    origin: str
    nonce: str | None = None


class Grants:
    """Issues codes and redeems codes and refresh tokens."""

    def __init__(
        self, clock: Clock, directory: Directory, tokens: TokenService, id_tokens: IdTokens, content: SignInContent
    ) -> None:
        self._clock = clock
        self._directory = directory
        self._tokens = tokens
        self._id_tokens = id_tokens
        self.content = content

    def issue_code(self, code: Code) -> str:
        text = new_secret()
        self.content.codes[text] = code
        return text

    def redeem(self, app: App, form: Form, origin: str) -> dict[str, Any]:
        """The grant ``authorization_code``. A refused redemption does not use the code up."""
        code = self._code(app, required(form, "code"))
        _check_redirect_uri(code, required(form, "redirect_uri"))
        _check_verifier(code, form.get("code_verifier"))
        user, scopes = self._permitted(app, code, form)
        code.redeemed = True
        grant = RefreshToken(
            code.client_id, code.user_id, code.session_id, code.scopes, self._clock.time(), self._clock.time()
        )
        return self._answer(Redeemed(app, user, scopes, grant, origin, code.nonce), form)

    def refresh(self, app: App, form: Form, origin: str) -> dict[str, Any]:
        """The grant ``refresh_token``: a new token each time, while the old one stays valid for its own 90 days."""
        grant = self._refresh_token(app, required(form, "refresh_token"))
        user, scopes = self._permitted(app, grant, form)
        now = self._clock.time()
        grant.used = now
        fresh = msgspec.structs.replace(grant, issued=now)
        return self._answer(Redeemed(app, user, scopes, fresh, origin), form)

    def _code(self, app: App, text: str) -> Code:
        code = self.content.codes.get(text)
        if code is None:
            raise EntraError(9002313, _MALFORMED)
        _check_client(code, app, "authorization code")
        if code.redeemed:
            raise EntraError(
                54005,
                "OAuth2 Authorization code was already redeemed, please retry with a new valid code or use an existing "
                "refresh token.",
            )
        if self._clock.time() >= code.issued + self.content.switches.code_seconds:
            raise EntraError(
                70008,
                "The provided authorization code or refresh token has expired due to inactivity. Send a new "
                "interactive authorization request for this user and resource.",
            )
        return code

    def _refresh_token(self, app: App, text: str) -> RefreshToken:
        grant = self.content.refresh_tokens.get(text)
        if grant is None:
            raise EntraError(9002313, _MALFORMED)
        _check_client(grant, app, "refresh token")
        limit = self.content.switches.refresh_token_seconds
        if self._clock.time() >= grant.used + limit:
            raise EntraError(
                700082,
                "The refresh token has expired due to inactivity. The token was inactive for "
                f"{limit // 86_400}.00:00:00.",
            )
        return grant

    def _permitted(self, app: App, grant: Code | RefreshToken, form: Form) -> tuple[Entity, tuple[str, ...]]:
        """The user and the scopes asked for, once nothing stands against it any more."""
        user = admit(self._directory, app, grant.user_id)
        if grant.revoked:
            raise EntraError(
                50173,
                "The provided grant has expired due to it being revoked, a fresh auth token is needed. The user might "
                "have changed or reset their password.",
            )
        asked = form.get("scope")
        scopes = read_scopes(asked, app.registration.delegated) if asked else tuple(grant.scopes)
        if app.consent.missing(user.id, scopes):
            raise consent_missing(app)
        return user, scopes

    def _answer(self, redeemed: Redeemed, form: Form) -> dict[str, Any]:
        scopes = api_scopes(redeemed.scopes)
        seconds = self.content.switches.access_token_seconds or random.randint(3600, 5400)
        answer: dict[str, Any] = {
            "token_type": "Bearer",
            "scope": " ".join(scopes),
            "expires_in": seconds,
            "ext_expires_in": seconds,
            "access_token": self._tokens.for_user(redeemed.app, redeemed.user.id, scopes, seconds),
        }
        if "offline_access" in redeemed.grant.scopes:
            answer["refresh_token"] = new_secret()
            self.content.refresh_tokens[answer["refresh_token"]] = redeemed.grant
        if "openid" in redeemed.scopes:
            answer["id_token"] = self._id_token(redeemed)
        if form.get("client_info") == "1":
            answer["client_info"] = self.client_info(redeemed.user)
        return answer

    def _id_token(self, redeemed: Redeemed) -> str:
        switches = self.content.switches
        return self._id_tokens.make(
            redeemed.app,
            redeemed.user,
            redeemed.scopes,
            origin=redeemed.origin,
            seconds=switches.id_token_seconds,
            session_id=redeemed.grant.session_id,
            nonce=redeemed.nonce,
            forgery=switches.next_id_tokens.pop(0) if switches.next_id_tokens else Forgery(),
        )

    def client_info(self, user: Entity) -> str:
        """Who signed in, for Microsoft's own client libraries."""
        return base64url(msgspec.json.encode({"uid": user.id, "utid": self._tokens.tenant_id}))


def required(form: Form, name: str) -> str:
    if not form.get(name):
        raise EntraError(900144, f"The request body must contain the following parameter: '{name}'.")
    return form[name]


def _check_client(grant: Code | RefreshToken, app: App, what: str) -> None:
    if grant.client_id != app.client_id:
        raise EntraError(70000, f"The provided grant is invalid: the {what} was issued to another client.")


def _check_redirect_uri(code: Code, given: str) -> None:
    if given != code.redirect_uri:
        raise EntraError(
            500112,
            f"The reply address '{given}' does not match the reply address '{code.redirect_uri}' provided when "
            "requesting Authorization code.",
        )


def _check_verifier(code: Code, verifier: str | None) -> None:
    """PKCE (RFC 7636, section 4.6)."""
    if code.challenge is None:
        if verifier is not None:
            raise EntraError(50147, "Missing code_challenge: a code_verifier came for a request that had none.")
        return
    if verifier is None:
        raise EntraError(
            50148,
            "The code_verifier does not match the code_challenge supplied in the authorization request for PKCE.",
        )
    made = base64url(hashlib.sha256(verifier.encode()).digest())
    if not hmac.compare_digest(made, code.challenge):
        raise EntraError(
            501481, "The Code_Verifier does not match the code_challenge supplied in the authorization request."
        )
