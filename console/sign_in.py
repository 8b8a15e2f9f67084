"""Signing in to the console: with Microsoft, or with the setup key while nobody else can. And signing out."""

import hmac
import re
import secrets

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from console.app import Pages
from console.visit import Refusal, Visit
from sso import sessions, setup_key, signin
from sso.sessions import Session
from store.sessions import SessionStore

pages = Pages()

FORM_COOKIE = "__Host-bridge-form"
"""Holds what the hidden field of the form holds, where there is no session yet to bind the form to."""
FORM_TOKEN = re.compile(r"[A-Za-z0-9_-]{32}")
SAFE_PATH = re.compile(r"/(console|connect)((/[A-Za-z0-9_.~%:-]+)*/?)(\?[A-Za-z0-9_.~%:=&+,-]*)?")
NO_TARGETS = ("/console/sign-in", "/console/sign-out", "/console/static/", "/connect/callback")
HOME = "/console"


def target(wanted: str) -> str:
    """Where to go after signing in: a page of the console, never another site, never back to the sign-in."""
    is_safe = SAFE_PATH.fullmatch(wanted) is not None and "/." not in wanted
    return wanted if is_safe and not wanted.startswith(NO_TARGETS) else HOME


def caller(request: Request) -> str:
    """The address that attempts are counted by: the one that Azure's front end saw, which is the last in the list.
    Those before it are what the caller claims to be."""
    return request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()[:64]


def with_cookie(response: Response, name: str, value: str, *, same_site: str = "Lax", seconds: int = 0) -> Response:
    """Set a cookie that only this host gets, over https only, hidden from scripts; no value takes it away."""
    age = seconds if value else 0
    attributes = f"Path=/; Secure; HttpOnly; SameSite={same_site}; Max-Age={age}"
    response.headers.append("set-cookie", f"{name}={value}; {attributes}")
    return response


async def signed_in(visit: Visit) -> Session | None:
    """The session of a visitor to a page that is open to anybody."""
    return await sessions.open_session(visit.place, visit.request.cookies, visit.now)


async def note(visit: Visit, session: Session | None, action: str, *, subject: str = "", after: str = "") -> None:
    """Record for somebody whose session begins with this very answer."""
    await Visit(visit.request, visit.form, session).audit(action, subject=subject, after=after)


@pages.get("/console/sign-in", role=None)
async def show(visit: Visit) -> Response:
    """The ways to sign in; who is signed in already goes on."""
    to = target(visit.query("to"))
    session = await signed_in(visit)
    if session is not None and session.role != "person":  # who may see nothing here can sign in as somebody else
        return visit.go(to)
    return await _page(visit, to)


@pages.post("/console/sign-in", role=None)
async def with_setup_key(visit: Visit) -> Response:
    """Sign in with the setup key of the deployment."""
    check_form(visit)
    to = target(visit.text("to"))
    outcome = await setup_key.sign_in(visit.place, visit.text("key"), caller(visit.request), visit.now)
    if isinstance(outcome, setup_key.Refused):
        if outcome == setup_key.WRONG:  # what is refused without a look at the key must not fill the trail
            await note(visit, None, "sign_in_refused", subject="setup key", after=outcome.message)
        response = await _page(visit, to, 403 if outcome.retry_after is None else 429, refused=outcome)
        if outcome.retry_after is not None:
            response.headers["Retry-After"] = str(outcome.retry_after)
        return response
    session, cookie = outcome
    await note(visit, session, "signed_in", subject="setup key")
    return opened(visit.go(to), cookie)


@pages.post("/console/sign-in/microsoft", role=None)
async def with_microsoft(visit: Visit) -> Response:
    """Send the browser to Microsoft; it comes back to ``/connect/callback``."""
    check_form(visit)
    begun = await signin.begin(visit.place, "console", "", target(visit.text("to")), visit.now)
    return sent_away(begun)


@pages.post("/console/sign-out", role="reader")
async def sign_out(visit: Visit) -> Response:
    """End the sign-in, here and in every copy of its cookie."""
    if visit.session is not None:
        await sessions.end_session(visit.place, visit.session, visit.now)
        await visit.audit("signed_out")
    return with_cookie(visit.go("/console/sign-in", done="signed-out"), sessions.COOKIE, "")


def opened(response: Response, cookie: str) -> Response:
    """The answer with which a session begins. The form of the sign-in page has done its work."""
    with_cookie(response, sessions.COOKIE, cookie, seconds=sessions.MAX_AGE)
    return with_cookie(response, FORM_COOKIE, "")


def sent_away(begun: signin.Begun) -> Response:
    """The answer that sends the browser to Microsoft. What comes back is a form of another site, so the cookie that
    proves it has to travel with such."""
    response = RedirectResponse(begun.url, 303)
    return with_cookie(response, signin.STATE_COOKIE, begun.cookie, same_site="None", seconds=signin.STATE_MAX_AGE)


async def _page(visit: Visit, to: str, status: int = 200, refused: setup_key.Refused | None = None) -> Response:
    settings = await visit.settings()
    account, _ = await SessionStore(visit.connection.tables, visit.connection.id).account()
    token = form_token(visit)
    response = visit.render(
        "sign_in.html",
        status,
        to=to,
        token=token,
        refused=refused,
        has_microsoft=bool(settings.microsoft.tenant_id and settings.microsoft.client_id),
        has_setup_key=await sessions.may_use_setup_key(visit.place, account),
        is_first=account is None,
    )
    return bound(response, token)


def form_token(visit: Visit) -> str:
    """What the form of a sign-in page holds; another tab's form stays good."""
    kept = visit.request.cookies.get(FORM_COOKIE, "")
    return kept if FORM_TOKEN.fullmatch(kept) else secrets.token_urlsafe(24)


def bound(response: Response, token: str) -> Response:
    """The answer with a form that holds ``token``."""
    return with_cookie(response, FORM_COOKIE, token, same_site="Strict", seconds=3600)


def check_form(visit: Visit, back: str = "/console/sign-in") -> None:
    """The form has to come from a sign-in page, ``back``, that this browser was shown."""
    shown = visit.request.cookies.get(FORM_COOKIE, "")
    if not shown or not hmac.compare_digest(shown.encode(), visit.text("token").encode()):
        words = "The form is too old, or comes from another page, or the browser keeps no cookies. Nothing was done."
        action = "Open the sign-in page again, and allow cookies for this site."
        raise Refusal(403, "Form refused", words, action=action, link=("Sign in", back))
