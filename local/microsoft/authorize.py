"""The authorize, admin-consent and logout endpoints, and the way of a person through their pages.

After "Microsoft identity platform and OAuth 2.0 authorization code flow", "OpenID Connect on the Microsoft identity
platform" and "User and admin consent in Microsoft Entra ID".
"""

import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl

from aiohttp import web

from local.emulator import Clock
from local.microsoft import signin_pages as pages
from local.microsoft.admission import admit, consent_missing
from local.microsoft.apps import App
from local.microsoft.authorize_reply import Reply
from local.microsoft.authorize_request import (
    Asked,
    Parameters,
    admin_reply,
    read_admin_consent,
    read_reply,
    read_sign_in,
)
from local.microsoft.directory import Directory, Entity
from local.microsoft.entra import Authority
from local.microsoft.entra_errors import EntraError
from local.microsoft.grants import Grants, required
from local.microsoft.scopes import DELEGATED, full_name
from local.microsoft.sign_in_content import Code, PlannedError, Session, SignInContent, SignInSwitches

COOKIE = "ESTSAUTH"
MOST_SHOWN = 25
"""People on the page; the others are found by searching."""
PAGE_SECONDS = 3600.0
"""How long a page may be left open."""
MOST_FLOWS = 1000

type Answer = Literal["accept", "accept_for_organization", "decline"]


@dataclass(slots=True)
class Flow:
    """One sign-in on its way through the pages. ``session`` is that of the person, once they are known."""

    id: str
    tenant: str
    origin: str
    correlation_id: str
    asked: Asked
    opened: float
    session: Session | None = None

    @property
    def place(self) -> pages.Place:
        return pages.Place(self.tenant, self.id)


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who is signed in."""

    user: Entity
    session: Session

    @property
    def name(self) -> str:
        return str(self.user.properties["userPrincipalName"])


class SignIn:
    """Signs people in to apps. Flows are no content: a page left open ends with a reset."""

    def __init__(self, clock: Clock, directory: Directory, authority: Authority, grants: Grants) -> None:
        self._clock = clock
        self._directory = directory
        self._authority = authority
        self._grants = grants
        self._flows: dict[str, Flow] = {}

    # Endpoints

    async def authorize(self, request: web.Request) -> web.Response:
        """The person sees errors of the client id and the redirect URI; the app hears of all others."""
        return await self._guarded(request, self._authorize)

    async def admin_consent(self, request: web.Request) -> web.Response:
        return await self._guarded(request, self._admin_consent)

    async def search(self, request: web.Request) -> web.Response:
        """The page again, with those whom the search finds."""
        return await self._guarded(request, self._search)

    async def choose(self, request: web.Request) -> web.Response:
        """Somebody was chosen on the page, or nobody."""
        return await self._guarded(request, self._choose)

    async def consent(self, request: web.Request) -> web.Response:
        return await self._guarded(request, self._consent)

    async def logout(self, request: web.Request) -> web.Response:
        """Ends the session; back to the app only at an address that an app has registered."""
        return await self._guarded(request, self._logout)

    async def _guarded(
        self, request: web.Request, handler: Callable[[web.Request, Parameters], web.Response]
    ) -> web.Response:
        try:
            return handler(request, await _parameters(request))
        except EntraError as error:
            return pages.problem(self._described(request, error)["error_description"])

    def _authorize(self, request: web.Request, parameters: Parameters) -> web.Response:
        app, reply = self._client(request, parameters)
        try:
            asked = read_sign_in(app, parameters, reply, self._authority.domains)
        except EntraError as error:
            return reply.send(self._described(request, error))
        if self._switches.next_errors:
            return reply.send(_planned(self._switches.next_errors.pop(0)))
        return self._begin(request, asked)

    def _admin_consent(self, request: web.Request, parameters: Parameters) -> web.Response:
        app, reply = self._client(request, parameters)
        reply = admin_reply(reply, self._authority.tenant_id)
        try:
            asked = read_admin_consent(app, parameters, reply, with_scope=request.path.endswith("/v2.0/adminconsent"))
        except EntraError as error:
            return reply.send(self._described(request, error))
        return self._begin(request, asked)

    def _search(self, _: web.Request, parameters: Parameters) -> web.Response:
        return self._sign_in_page(self._flow(parameters), parameters.get("search", ""))

    def _choose(self, _: web.Request, parameters: Parameters) -> web.Response:
        flow = self._flow(parameters)
        if "cancel" in parameters:
            self._end(flow)
            return flow.asked.reply.send({"error": "access_denied", "error_subcode": "cancel"})
        if "again" in parameters:
            return self._sign_in_page(flow, "")
        user = admit(self._directory, self._app(flow), required(parameters, "user"))
        return self._enter(flow, Visitor(user, self._new_session(user)))

    def _consent(self, _: web.Request, parameters: Parameters) -> web.Response:
        flow = self._flow(parameters)
        if flow.session is None or flow.session.id not in self.content.sessions:
            return self._sign_in_page(flow, "")
        visitor = Visitor(admit(self._directory, self._app(flow), flow.session.user_id), flow.session)
        answer: Answer = "decline"
        if parameters.get("answer") == "accept":
            answer = "accept_for_organization" if "organization" in parameters else "accept"
        return self._answered(flow, visitor, answer)

    def _logout(self, request: web.Request, parameters: Parameters) -> web.Response:
        self._authority.require_tenant(request.match_info["tenant"])
        self.content.sessions.pop(request.cookies.get(COOKIE, ""), None)
        target = parameters.get("post_logout_redirect_uri", "")
        response = pages.signed_out()
        if any(app.registration.accepts(target) for app in self._authority.apps.values()):
            response = Reply(target, state=parameters.get("state")).send({})
        response.del_cookie(COOKIE)
        return response

    # The way of one request

    def _begin(self, request: web.Request, asked: Asked) -> web.Response:
        flow = self._open(request, asked)
        visitor = self._visitor(request, asked)
        if visitor is not None:
            return self._enter(flow, visitor)
        if asked.prompt == "none":
            return self._refuse(flow, EntraError(50058, "A silent sign-in request was sent but no user is signed in."))
        return self._sign_in_page(flow, asked.hint)

    def _visitor(self, request: web.Request, asked: Asked) -> Visitor | None:
        """Who is signed in already and may stay so."""
        present = self._present(request)
        if self._switches.automatic_user is not None:
            user = self._directory.find("user", self._switches.automatic_user)
            if user is not None and (present is None or present.user is not user):
                present = Visitor(user, self._new_session(user))
            return present
        if present is None or asked.prompt in ("login", "select_account"):
            return None
        return present if _is_meant(present.user, asked.login_hint) else None

    def _present(self, request: web.Request) -> Visitor | None:
        session = self.content.sessions.get(request.cookies.get(COOKIE, ""))
        if session is None or self._clock.time() >= session.started + self._switches.session_seconds:
            return None
        user = self._directory.find("user", session.user_id)
        return None if user is None else Visitor(user, session)

    def _enter(self, flow: Flow, visitor: Visitor) -> web.Response:
        """Go on with somebody who is signed in, and remember them in the browser."""
        flow.session = visitor.session
        try:
            admit(self._directory, self._app(flow), visitor.user.id)
        except EntraError as error:
            if flow.asked.prompt != "none":
                raise
            return self._refuse(flow, error)
        response = self._proceed(flow, visitor)
        secure = flow.origin.startswith("https:")
        response.set_cookie(
            COOKIE, visitor.session.id, httponly=True, secure=secure, samesite="None" if secure else "Lax"
        )
        return response

    def _proceed(self, flow: Flow, visitor: Visitor) -> web.Response:
        """Consent if it is missing, then the answer to the app."""
        asked, app = flow.asked, self._app(flow)
        missing = app.consent.missing(visitor.user.id, asked.scopes)
        if not missing and not asked.admin_consent and asked.prompt != "consent":
            return self._finish(flow, visitor)
        if asked.prompt == "none":
            return self._refuse(flow, consent_missing(app))
        if self._may_not_consent(app, visitor, asked):
            return pages.approval(flow.place, app.display_name, visitor.name, _texts(asked))
        if self._switches.automatic_consent != "ask":
            return self._answered(flow, visitor, self._switches.automatic_consent)
        if asked.admin_consent:
            return pages.admin_consent(flow.place, app.display_name, visitor.name, _texts(asked))
        may = self._is_administrator(visitor)
        return pages.consent(flow.place, app.display_name, visitor.name, _texts(asked), may_speak_for_all=may)

    def _may_not_consent(self, app: App, visitor: Visitor, asked: Asked) -> bool:
        """People consent for themselves, if the tenant lets them, to what needs no administrator."""
        if self._is_administrator(visitor):
            return False
        missing = app.consent.missing(visitor.user.id, asked.scopes)
        above = any(DELEGATED[scope].needs_admin for scope in missing)
        return asked.admin_consent or above or (bool(missing) and not self._switches.user_consent)

    def _answered(self, flow: Flow, visitor: Visitor, answer: Answer) -> web.Response:
        asked, app = flow.asked, self._app(flow)
        if answer == "decline":
            return self._declined(flow)
        if self._may_not_consent(app, visitor, asked):
            return pages.approval(flow.place, app.display_name, visitor.name, _texts(asked))
        if asked.admin_consent:
            return self._granted(flow, app)
        for_all = self._is_administrator(visitor) and answer == "accept_for_organization"
        app.consent.grant(asked.scopes, None if for_all else visitor.user.id)
        return self._finish(flow, visitor)

    def _declined(self, flow: Flow) -> web.Response:
        refusal = EntraError(65004, "User declined to consent to access the app.")
        told = refusal.parameters(flow.origin, self._clock.now(), flow.correlation_id)
        self._end(flow)
        return flow.asked.reply.send({**told, "error": self._switches.declined_error})

    def _granted(self, flow: Flow, app: App) -> web.Response:
        asked = flow.asked
        app.consent.grant(asked.scopes)
        app.roles = list(dict.fromkeys([*app.roles, *asked.application]))
        self._end(flow)
        scope = " ".join(full_name(name) for name in asked.scopes)
        return asked.reply.send({"scope": scope} if asked.tells_scope else {})

    def _finish(self, flow: Flow, visitor: Visitor) -> web.Response:
        asked = flow.asked
        code = Code(
            client_id=asked.client_id,
            user_id=visitor.user.id,
            session_id=visitor.session.id,
            scopes=list(asked.scopes),
            redirect_uri=asked.reply.redirect_uri,
            issued=self._clock.time(),
            nonce=asked.nonce,
            challenge=asked.challenge,
        )
        answer = {"code": self._grants.issue_code(code), "session_state": visitor.session.id}
        if asked.client_info:
            answer["client_info"] = self._grants.client_info(visitor.user)
        self._end(flow)
        return asked.reply.send(answer)

    def _refuse(self, flow: Flow, error: EntraError) -> web.Response:
        self._end(flow)
        return flow.asked.reply.send(error.parameters(flow.origin, self._clock.now(), flow.correlation_id))

    # Inside

    @property
    def content(self) -> SignInContent:
        return self._grants.content

    @property
    def _switches(self) -> SignInSwitches:
        return self.content.switches

    def _client(self, request: web.Request, parameters: Parameters) -> tuple[App, Reply]:
        tenant = request.match_info["tenant"]
        self._authority.require_tenant(tenant)
        app = self._authority.app(required(parameters, "client_id"), tenant)
        return app, read_reply(app, parameters)

    def _app(self, flow: Flow) -> App:
        """The registration as it is now: it may have changed since the page was opened."""
        return self._authority.app(flow.asked.client_id, flow.tenant)

    def _described(self, request: web.Request, error: EntraError) -> dict[str, str]:
        return error.parameters(str(request.url.origin()), self._clock.now(), _correlation_id(request))

    def _is_administrator(self, visitor: Visitor) -> bool:
        return visitor.user.id in self._switches.administrators

    def _new_session(self, user: Entity) -> Session:
        session = Session(str(uuid.uuid4()), user.id, self._clock.time())
        self.content.sessions[session.id] = session
        return session

    def _open(self, request: web.Request, asked: Asked) -> Flow:
        if len(self._flows) >= MOST_FLOWS:
            del self._flows[next(iter(self._flows))]
        flow = Flow(
            id=secrets.token_urlsafe(24),
            tenant=request.match_info["tenant"],
            origin=str(request.url.origin()),
            correlation_id=_correlation_id(request),
            asked=asked,
            opened=self._clock.time(),
        )
        self._flows[flow.id] = flow
        return flow

    def _flow(self, parameters: Parameters) -> Flow:
        flow = self._flows.get(required(parameters, "flow"))
        if flow is None or self._clock.time() >= flow.opened + PAGE_SECONDS:
            raise EntraError(
                50089, "Authentication failed due to flow token expired. Go back to the app and try again."
            )
        return flow

    def _end(self, flow: Flow) -> None:
        self._flows.pop(flow.id, None)

    def _sign_in_page(self, flow: Flow, search: str) -> web.Response:
        wanted = search.strip().casefold()
        found = [user for _, user in self._directory.live("user") if _is_found(user, wanted)]
        people = [_person(user) for user in found[:MOST_SHOWN]]
        app = self._app(flow).display_name
        return pages.sign_in(flow.place, app, people, search=search, shown=len(people), found=len(found))


async def _parameters(request: web.Request) -> Parameters:
    text = request.query_string if request.method == "GET" else await request.text()
    pairs = parse_qsl(text, keep_blank_values=True)
    parameters = dict(pairs)
    if len(parameters) != len(pairs):
        raise EntraError(9002313, "Invalid request. Request is malformed or invalid: a parameter is repeated.")
    return parameters


def _correlation_id(request: web.Request) -> str:
    return request.query.get("client-request-id") or str(uuid.uuid4())


def _planned(error: PlannedError) -> dict[str, str]:
    description = {} if error.description is None else {"error_description": error.description}
    return {"error": error.error, **description}


def _is_meant(user: Entity, hint: str) -> bool:
    return not hint or hint.casefold() in (user.id, *(name.casefold() for name in _names(user)[1:]))


def _is_found(user: Entity, wanted: str) -> bool:
    return any(wanted in name.casefold() for name in _names(user))


def _names(user: Entity) -> list[str]:
    """Display name, user principal name and, if there is one, mail address."""
    values = user.properties
    return [str(values[name]) for name in ("displayName", "userPrincipalName", "mail") if values.get(name)]


def _person(user: Entity) -> pages.Person:
    values = user.properties
    notes = [
        *(["Guest"] if values.get("userType") == "Guest" else []),
        *([] if values.get("accountEnabled") else ["Account disabled"]),
    ]
    return pages.Person(user.id, values["displayName"], values["userPrincipalName"], ", ".join(notes))


def _texts(asked: Asked) -> list[str]:
    """What the app asks for, in the words of the consent page."""
    return [DELEGATED[scope].text for scope in asked.scopes] + [f"{role} (application)" for role in asked.application]
