"""Opens pages, and notes what none of ours may do: errors, breaches of policy, foreign requests, stray dialogs."""

import contextlib
from collections import deque
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Dialog, Page, Request, ViewportSize, WebError

DESKTOP = ViewportSize(width=1280, height=800)
PHONE = ViewportSize(width=360, height=740)
PATIENCE = 10_000.0
"""Milliseconds that Playwright waits for an element or a page before it gives up."""


class Watch:
    """Each page belongs to a person of its own: nothing is shared with others, no cookie and no storage.

    ``check`` tells all problems at once. A problem that a test is about is announced with ``expect``, a dialog with
    ``answer_dialog``; what was announced has to happen.
    """

    def __init__(self, browser: Browser, origins: frozenset[str]) -> None:
        self._browser = browser
        self._origins = origins
        self._contexts: list[BrowserContext] = []
        self._expected: list[str] = []
        self._answers: deque[bool] = deque()
        self.problems: list[str] = []
        self.dialogs: list[str] = []
        """What the dialogs asked that were answered."""

    async def new_page(self, *, scripts: bool = True, viewport: ViewportSize = DESKTOP) -> Page:
        """A page of a new person; without ``scripts`` their browser runs none."""
        context = await self._browser.new_context(
            java_script_enabled=scripts, viewport=viewport, locale="en-GB", timezone_id="UTC", reduced_motion="reduce"
        )
        self._contexts.append(context)
        context.set_default_timeout(PATIENCE)
        context.on("console", self._console)
        context.on("weberror", self._page_error)
        context.on("request", self._request)
        context.on("dialog", self._dialog)
        return await context.new_page()

    def expect(self, words: str) -> None:
        """One problem with these words is meant to happen, for example ``"status of 404"``."""
        self._expected.append(words)

    def answer_dialog(self, *, accept: bool = True) -> None:
        """The next dialog is answered so; its text is then in ``dialogs``."""
        self._answers.append(accept)

    async def close(self) -> None:
        """Close the pages; events on their way arrive first."""
        for context in self._contexts:
            await context.close()

    def check(self) -> None:
        """``AssertionError`` with each problem that was not expected, and each expected one that did not happen."""
        wrong = list(self.problems)
        missing: list[str] = []
        for words in self._expected:
            found = next((problem for problem in wrong if words in problem), None)
            if found is None:
                missing.append(f"expected, but it did not happen: {words}")
            else:
                wrong.remove(found)
        missing += ["a dialog was announced, but none came up"] * len(self._answers)
        assert not wrong + missing, "\n".join(["the pages were not clean:", *wrong, *missing])

    def _console(self, message: ConsoleMessage) -> None:
        # A breach of the Content-Security-Policy is written to the console as an error, a merely reported one as well.
        url = message.location["url"]
        # For an answer that names no icon, such as plain text, Chromium looks at this address of its own accord.
        if message.type == "error" and urlsplit(url).path != "/favicon.ico":
            self.problems.append(f"console error: {message.text} ({url})")

    def _page_error(self, error: WebError) -> None:
        self.problems.append(f"uncaught error: {error.error}")

    def _request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in ("http", "https", "ws", "wss") and f"{parts.scheme}://{parts.netloc}" not in self._origins:
            self.problems.append(f"request to a third party: {request.method} {request.url}")

    async def _dialog(self, dialog: Dialog) -> None:
        if not self._answers:
            self.problems.append(f"unhandled {dialog.type} dialog: {dialog.message}")
            await dialog.dismiss()
            return
        self.dialogs.append(dialog.message)
        await (dialog.accept() if self._answers.popleft() else dialog.dismiss())


@contextlib.asynccontextmanager
async def watching(browser: Browser, origins: frozenset[str]) -> AsyncIterator[Watch]:
    """A watch whose pages close with the block, which then fails if they were not clean."""
    watch = Watch(browser, origins)
    try:
        yield watch
    finally:
        await watch.close()
    watch.check()
