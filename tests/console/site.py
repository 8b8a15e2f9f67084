"""The console in this process, before a world of its own: what a browser without scripts would do."""

import datetime
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

import msgspec

from console.adapter import Answered, Received, respond
from console.rooms import place_of
from local.sample import TENANT_ID
from presence.messages import Update
from sso.sessions import COOKIE, Session, open_session, start_session
from store.audit import AuditStore, Entry
from store.document import Settings
from store.sessions import Role
from sync.connection import Connection
from sync.dispatch import carry_out
from sync.messages import Message
from sync.service import Bridge
from tests.console.page import Form, Page
from tests.engine.world import World

ORIGIN = "https://bridge.example"
SETUP_KEY = "a-setup-key-of-more-than-thirty-two-characters"
HOSTILE = """<script>alert("1")</script>'"><img src=x onerror=alert(1)>{{7*7}}"""
"""A name that is markup, in an attribute and between elements."""
FORM = "application/x-www-form-urlencoded"

NOBODIES: dict[Role, str] = {
    "admin": "00000000-0000-4000-8000-000000000001",
    "reader": "00000000-0000-4000-8000-000000000002",
    "person": "00000000-0000-4000-8000-000000000003",
}
"""Object ids of people without an extension."""

type Filled = dict[str, Any] | list[tuple[str, str]]


class Site:
    """One browser at the console. ``world`` is what is behind it; what was queued waits in ``queue``
    and ``updates``."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.cookies: dict[str, str] = {}
        self.session: Session | None = None
        self.queue: list[Message] = []
        self.updates: list[Update] = []

    async def open(self) -> None:
        """Deploy the bridge under the origin of the tests, with a setup key."""
        await self.deploy(public_base_url=ORIGIN, setup_key=SETUP_KEY)

    async def deploy(self, **application_settings: Any) -> None:
        """Deploy the bridge anew with other application settings."""
        world = self.world
        await world.bridge.close()
        world.environment = msgspec.structs.replace(world.environment, **application_settings)
        world.bridge = Bridge(world.environment, now=world.tell)

    @property
    def connection(self) -> Connection:
        return self.world.connection

    async def sign_in(self, role: Role = "admin", name: str = "Ada Admin", person: str = "") -> Session:
        """Begin a session as Microsoft's answer does, for a member of the tenant with this app role, or with none.
        ``person`` is the object id; it counts on pages about oneself only."""
        account = f"{TENANT_ID}:{person or NOBODIES[role]}"
        session, cookie = await start_session(place_of(self.connection), name, account, role, self.world.tell())
        self.cookies[COOKIE] = cookie
        self.session = session
        return session

    def sign_out(self) -> None:
        """Lose the cookies, as a new browser has none."""
        self.cookies.clear()
        self.session = None

    async def get(self, path: str, *, follow: bool = True, part: bool = False, **headers: str) -> Page:
        """Open a page; ``part`` asks as htmx does. Redirects within the site are followed, and remembered cookies sent.

        Headers are named with ``_`` for ``-``.
        """
        return await self._load("GET", path, b"", {**_part(part), **_spelled(headers)}, follow=follow)

    async def post(
        self, path: str, form: Filled | None = None, *, follow: bool = True, part: bool = False, **headers: str
    ) -> Page:
        """Send a form with the token of the session, as the page would have it; ``csrf`` in the form wins."""
        pairs = list(form.items()) if isinstance(form, dict) else list(form or [])
        csrf = await self._csrf()
        if csrf and not any(name == "csrf" for name, _ in pairs):
            pairs.append(("csrf", csrf))
        # None takes a field away, so that a test can leave out the token.
        body = urlencode([(name, value) for name, value in pairs if value is not None], doseq=True).encode()
        usual = {"content-type": FORM, "origin": ORIGIN, "sec-fetch-site": "same-origin"}
        return await self._load("POST", path, body, {**usual, **_part(part), **_spelled(headers)}, follow=follow)

    async def press(
        self, form: Form, button: str = "", *, follow: bool = True, part: bool = False, **fields: str | list[str] | None
    ) -> Page:
        """Fill in a form of a page and press a button of it; only what the browser would send is sent."""
        pairs = form.filled(button, **fields)
        if form.method == "get":
            return await self.get(f"{form.action.partition('?')[0]}?{urlencode(pairs)}", follow=follow, part=part)
        assert any(name in {"csrf", "token"} for name, _ in pairs), f"the form to {form.action} carries no token"
        return await self.post(form.action, pairs, follow=follow, part=part)

    async def send(self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b"") -> Page:
        """Send exactly this and the cookies; nothing is followed."""
        return await self._load(method, path, body, headers or {}, follow=False)

    async def work(self) -> None:
        """Do what was queued, and what follows from it."""
        while self.queue:
            self.queue += await carry_out(self.connection, self.queue.pop(0), self.world.tell)

    async def trail(self, top: int = 20) -> list[Entry]:
        """The audit trail, newest first."""
        return await AuditStore(self.connection.tables, self.connection.id).newest(top)

    async def settings(self) -> Settings:
        return (await self.connection.settings.load()).settings

    def passes(self, **span: float) -> None:
        self.world.now += datetime.timedelta(**span)

    async def _csrf(self) -> str:
        cookies = {name: unquote(value) for name, value in self.cookies.items()}
        session = await open_session(place_of(self.connection), cookies, self.world.now)
        return "" if session is None else session.csrf

    async def _load(self, method: str, path: str, body: bytes, headers: dict[str, str], *, follow: bool) -> Page:
        cookies = (
            {"cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())} if self.cookies else {}
        )
        sent = {"host": urlsplit(ORIGIN).netloc, **cookies, **headers}
        received = Received(method, ORIGIN + path, list(sent.items()), body)
        answered = await respond(self.connection, received, self.world.tell())
        self._keep(answered)
        self.queue += answered.messages
        self.updates += answered.updates
        page = Page(answered.status, path, answered.headers, answered.body)
        if follow and page.status == 303 and page.location.startswith("/"):
            return await self._load("GET", page.location, b"", {}, follow=True)
        return page

    def _keep(self, answered: Answered) -> None:
        """Keep the cookies as a browser does: one of this host only is dropped unless it is written so."""
        for value in (value for name, value in answered.headers if name.lower() == "set-cookie"):
            pair, *attributes = [part.strip() for part in value.split(";")]
            name, _, content = pair.partition("=")
            words = {attribute.lower() for attribute in attributes}
            if name.startswith("__Host-"):
                assert {"secure", "path=/"} <= words, value
                assert not any(word.startswith("domain=") for word in words), value
            if not content or "max-age=0" in words:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = quote(content, safe="-_.~")  # so the Functions host sets it


def _part(is_part: bool) -> dict[str, str]:
    return {"hx-request": "true"} if is_part else {}


def _spelled(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
