"""All pages in one application: their routes, and the gate that every request passes.

The gate is the one place that decides who may see or do something: a page names the role it needs, and a page that
changes something is a POST, which needs the token of the session against forged requests as well.
"""

import functools
import hmac
import logging
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from starlette.applications import Starlette
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from console.plain import plain
from console.rooms import place_of
from console.templating import page
from console.visit import MINE, Handler, Refusal, Visit
from graph.errors import GraphError
from pbx.errors import PbxError
from sso.sessions import Session, open_session
from store.errors import Changed, StoreError
from store.sessions import Role
from sync.connect import Trouble
from sync.service import Conflict

log = logging.getLogger("console")

MAY: dict[Role, frozenset[Role]] = {
    "person": frozenset({"person", "reader", "admin"}),
    "reader": frozenset({"reader", "admin"}),
    "admin": frozenset({"admin"}),
}
"""Who may open pages that name this role."""
COMMON_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cache-Control": "no-store",
}


class Page(NamedTuple):
    """A route, and who may ask for it."""

    method: str
    path: str
    handler: Handler
    role: Role | None
    """``None``: anybody, as for signing in."""
    is_cross_site: bool = False
    """Another site sends people here with a form, and proves itself otherwise: Entra's answer."""
    is_entrance: bool = False
    """Who is not signed in gets in as well, and can sign in here. Who is signed in needs the role."""


class Pages:
    """The pages of one subject; each module of this room has one."""

    def __init__(self) -> None:
        self.all: list[Page] = []

    def get(
        self, path: str, *, role: Role | None = "reader", is_entrance: bool = False
    ) -> Callable[[Handler], Handler]:
        """A page to look at."""
        return self._add("GET", path, role, is_entrance=is_entrance)

    def post(
        self, path: str, *, role: Role | None = "admin", is_cross_site: bool = False, is_entrance: bool = False
    ) -> Callable[[Handler], Handler]:
        """A form that changes something."""
        return self._add("POST", path, role, is_cross_site=is_cross_site, is_entrance=is_entrance)

    def _add(
        self, method: str, path: str, role: Role | None, *, is_cross_site: bool = False, is_entrance: bool = False
    ) -> Callable[[Handler], Handler]:
        def added(handler: Handler) -> Handler:
            self.all.append(Page(method, path, handler, role, is_cross_site, is_entrance))
            return handler

        return added


@functools.cache
def application() -> Starlette:
    """The application, made once in a process."""
    from console.subjects import SUBJECTS

    routes = [_route(page) for pages in SUBJECTS for page in pages.all]
    return Starlette(routes=routes, exception_handlers={HTTPException: _http_error})


def _route(page: Page) -> Route:
    async def endpoint(request: Request) -> Response:
        return await _answered(request, page)

    return Route(page.path, endpoint, methods=[page.method], name=f"{page.method} {page.path}")


async def _answered(request: Request, page: Page) -> Response:
    """A page's answer, or the page about what stood in its way."""
    session: Session | None = None
    try:
        form = await _form(request)
        _check_origin(request, page)
        session = await _session(request, page)
        _check(request, page, form, session)
        response = await page.handler(Visit(request, form, session))
    except Refusal as refusal:
        response = _refused(request, refusal, session)
    except HTTPException as error:  # from reading the form
        response = _refused(request, Refusal(error.status_code, "Not a form", "The form cannot be read."), session)
    except Conflict as error:
        response = _refused(request, Refusal(409, "Not possible now", plain(str(error))), session)
    except Trouble as trouble:
        words, action = plain(trouble.message), plain(trouble.action)
        response = _refused(request, Refusal(503, "This did not work", words, action=action), session)
    except Changed:
        response = _refused(request, _raced(), session)
    except (StoreError, GraphError, PbxError) as error:
        log.warning("The page %s failed: %s", request.url.path, error)
        words = plain(f"{str(error)[:1].upper()}{str(error)[1:].rstrip('.')}.")
        action = plain(getattr(error, "action", "")) or "Try again in a moment."
        response = _refused(request, Refusal(503, "This did not work", words, action=action), session)
    except Exception:
        log.exception("The page %s failed", request.url.path)
        words = "The bridge itself failed here; its log has the details."
        response = _refused(request, Refusal(500, "This did not work", words, action="Try again."), session)
    return _secured(request, response)


async def _form(request: Request) -> FormData:
    if request.method != "POST":
        return FormData()
    if request.state.is_too_large:
        raise Refusal(413, "Too much at once", "The form is larger than half a megabyte; nothing was changed.")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in {"application/x-www-form-urlencoded", ""}:
        raise Refusal(415, "Not a form", "This address takes forms only; nothing was changed.")
    return await request.form(max_fields=20_000)


async def _session(request: Request, page: Page) -> Session | None:
    """The session of who asks, where the page looks at that."""
    around = request.state.around
    if page.role is None:
        return None
    return await open_session(place_of(around.connection), request.cookies, around.now)


def _check(request: Request, page: Page, form: FormData, session: Session | None) -> None:
    """``Refusal`` for who may not do this."""
    if page.role is None or (session is None and page.is_entrance):
        return
    if session is None:
        raise _no_session(request)
    if session.role not in MAY[page.role]:
        raise _not_allowed(session)
    if page.method == "POST":
        sent = form.get("csrf") or request.headers.get("x-csrf-token") or ""
        if not isinstance(sent, str) or not hmac.compare_digest(sent.encode(), session.csrf.encode()):
            words = "The form does not belong to your session, or comes from another page. Nothing was changed."
            raise Refusal(403, "Form refused", words, action="Open the page again and repeat what you did.")


def _not_allowed(session: Session) -> Refusal:
    if session.role == "person":
        words = "Your account may see what is about yourself. The console is for administrators. Nothing was changed."
        action = "For an account with the app role Bridge.Admin or Bridge.Reader, open the sign-in page of the console."
        return Refusal(403, "Not for your account", words, action=action, link=("Your presence", MINE))
    words = "Your account may look at everything and change nothing. Nothing was changed."
    action = "Somebody with the app role Bridge.Admin can do this, or give you the role in Entra."
    return Refusal(403, "You may not change this", words, action=action)


def _check_origin(request: Request, page: Page) -> None:
    """Browsers say where a form comes from; what comes from elsewhere is refused before it is looked at."""
    if page.method != "POST" or page.is_cross_site:
        return
    public = request.state.around.connection.environment.public_base_url
    origin = request.headers.get("origin")
    is_ours = origin is None or origin == origin_of(public)
    if not is_ours or request.headers.get("sec-fetch-site", "none") not in {"same-origin", "none"}:
        words = "The form comes from another site. Nothing was changed."
        action = f"Open the console at its own address, {public}/console, and do it there."
        if not public:
            words = "The app setting PUBLIC_BASE_URL is not set, so no form can be told from one of another site."
            action = "Set it to the address of this function app, as https://bridge.azurewebsites.net."
        raise Refusal(403, "Form refused", words, action=action)


def origin_of(url: str) -> str:
    """The origin of an address as browsers write it: in lower case and without the usual port."""
    parts = urlsplit(url)
    usual = {"https": 443, "http": 80}.get(parts.scheme)
    port = f":{parts.port}" if parts.port not in {None, usual} else ""
    return f"{parts.scheme}://{parts.hostname or ''}{port}"


def _no_session(request: Request) -> Refusal:
    is_get = request.method in {"GET", "HEAD"}
    back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    address = f"/console/sign-in?to={quote(back, safe='')}" if is_get else "/console/sign-in"
    if request.headers.get("hx-request") == "true":
        shown = urlsplit(request.headers.get("hx-current-url", ""))
        back = shown.path + (f"?{shown.query}" if shown.query else "")
        address = f"/console/sign-in?to={quote(back, safe='')}&done=session-ended"
        return Refusal(401, "Signed out", "Your session has ended.", headers={"HX-Redirect": address})
    if is_get:
        return Refusal(303, "Sign in", "Sign in first.", headers={"Location": address})
    words = "Your session has ended. Nothing was changed."
    return Refusal(401, "Signed out", words, action="Sign in and do it again.", link=("Sign in", address))


def _raced() -> Refusal:
    words = "Somebody else, or a run, changed the same thing at the same moment. Nothing was changed here."
    return Refusal(409, "Changed meanwhile", words, action="Look at the page again, then decide.")


def _refused(request: Request, refusal: Refusal, session: Session | None) -> Response:
    is_mine = request.url.path.startswith("/me/") or (session is not None and session.role == "person")
    context = {"refusal": refusal, "session": session, "is_admin": session is not None and session.role == "admin",
               "path": "", "done": "", "csrf": session.csrf if session else "", "now": request.state.around.now,
               "is_mine": is_mine}  # fmt: skip
    return HTMLResponse(page("refusal.html", context), refusal.status, headers=refusal.headers)


async def _http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    words = "There is no page at this address." if status == 404 else "The page at this address cannot be asked so."
    refusal = Refusal(status, "Not found" if status == 404 else "Not possible", words, link=("Overview", "/console"))
    return _secured(request, _refused(request, refusal, None))


def _secured(request: Request, response: Response) -> Response:
    environment = request.state.around.connection.environment
    authority = urlsplit(environment.entra_authority)
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        f"form-action 'self' {authority.scheme}://{authority.netloc}; frame-ancestors 'none'; base-uri 'none'"
    )
    response.headers.setdefault("Content-Security-Policy", policy)
    for name, value in COMMON_HEADERS.items():
        response.headers.setdefault(name, value)
    if environment.public_base_url.startswith("https://"):
        response.headers["Strict-Transport-Security"] = "max-age=31536000"
    return response
