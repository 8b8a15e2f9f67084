"""One request to a page: who asks, with what, and the ways to answer."""

import datetime
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from console.adapter import Surroundings
from console.rooms import place_of, presence_room
from console.templating import page
from presence.messages import Update
from presence.room import Room
from sso.place import Place
from sso.sessions import Session
from store.audit import AuditStore, Entry
from store.document import Settings
from store.errors import StoreError
from sync.connection import Connection
from sync.messages import Message

log = logging.getLogger("console")

MINE = "/me/presence"
"""The page of everybody who has an extension; no app role is needed for it."""

type Handler = Callable[["Visit"], Awaitable[Response]]


class Visit:
    """One request. ``session`` is ``None`` on pages that are open to anybody."""

    def __init__(self, request: Request, form: FormData, session: Session | None) -> None:
        around: Surroundings = request.state.around
        self.request = request
        self.form = form
        self.session = session
        self.connection: Connection = around.connection
        self.now: datetime.datetime = around.now
        self._messages = around.messages
        self._updates = around.updates

    @property
    def place(self) -> Place:
        return place_of(self.connection)

    @property
    def presence_room(self) -> Room:
        """What presence needs of the connection."""
        return presence_room(self.connection, lambda: self.now)

    @property
    def is_admin(self) -> bool:
        return self.session is not None and self.session.role == "admin"

    @property
    def is_partial(self) -> bool:
        """htmx asks for a part of the page."""
        return self.request.headers.get("hx-request") == "true"

    def query(self, name: str) -> str:
        """A parameter of the address; empty when it is not there."""
        return self.request.query_params.get(name, "")

    def text(self, name: str) -> str:
        """A field of the form without the spaces around it; empty when it is not there."""
        value = self.form.get(name)
        return value.strip() if isinstance(value, str) else ""

    def texts(self, name: str) -> list[str]:
        """All values of a field that may be there several times, as check boxes are."""
        return [value for value in self.form.getlist(name) if isinstance(value, str)]

    def is_set(self, name: str) -> bool:
        """Whether a check box was ticked."""
        return bool(self.text(name))

    def queue(self, messages: list[Message]) -> None:
        """Have the Functions host queue these when the page is answered."""
        self._messages.extend(messages)

    def queue_updates(self, updates: Iterable[Update]) -> None:
        """The same for what presence has to do."""
        self._updates.extend(updates)

    async def audit(self, action: str, *, subject: str = "", before: str = "", after: str = "") -> None:
        """Record who did this. No secret may be among the texts. A trail that cannot be written does not undo what was
        done: it is logged."""
        session = self.session
        entry = Entry(
            at=self.now.isoformat(timespec="milliseconds"),
            who=session.name if session else "nobody",
            account=session.account if session else "",
            role=session.role if session else "",
            action=action,
            object=subject,
            before=before,
            after=after,
        )
        try:
            await AuditStore(self.connection.tables, self.connection.id).add(entry)
        except StoreError as error:
            log.error("The audit trail misses %s of %s: %s", action, subject or "the connection", error)  # noqa: TRY400 - a fault of storage, told in its own words

    async def settings(self) -> Settings:
        return (await self.connection.settings.load()).settings

    def render(self, template: str, status: int = 200, **context: Any) -> HTMLResponse:
        """A page, or with a template whose name begins with ``part_`` a part of one."""
        common = {"session": self.session, "is_admin": self.is_admin, "path": self.request.url.path, "now": self.now,
                  "done": self.query("done"), "csrf": self.session.csrf if self.session else ""}  # fmt: skip
        return HTMLResponse(page(template, {**common, **context}), status)

    def go(self, path: str, **parameters: str) -> Response:
        """Send the browser to another page of the console; ``done`` names what was done (``templating.DONE``)."""
        address = f"{path}?{urlencode(parameters)}" if parameters else path
        if self.is_partial:
            return Response(status_code=204, headers={"HX-Redirect": address})
        return RedirectResponse(address, 303)


class Refusal(Exception):
    """The request gets no further; the page says why and what to do."""

    def __init__(self, status: int, title: str, words: str, *, action: str = "", link: tuple[str, str] | None = None,
                 headers: Mapping[str, str] | None = None) -> None:  # fmt: skip
        super().__init__(title)
        self.status = status
        self.title = title
        self.words = words
        self.action = action
        self.link = link
        """Label and address of the way out."""
        self.headers = dict(headers or {})
