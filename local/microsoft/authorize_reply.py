"""How the authority sends a browser back to the app: by query, by fragment or by a form that posts itself."""

from collections.abc import Mapping
from urllib.parse import urlencode, urlsplit

import msgspec
from aiohttp import web

from local.microsoft import signin_pages

MODES = ("query", "fragment", "form_post")


class Reply(msgspec.Struct, frozen=True):
    """Where the answer goes and how. ``always`` comes along with an error too."""

    redirect_uri: str
    mode: str = "query"
    state: str | None = None
    always: dict[str, str] = {}

    def send(self, parameters: Mapping[str, str]) -> web.Response:
        """The answer with ``state``, which the app gets back exactly as it was."""
        whole = {**parameters, **self.always, **({} if self.state is None else {"state": self.state})}
        if self.mode == "form_post":
            return signin_pages.form_post(self.redirect_uri, whole)
        headers = {"Location": self._location(urlencode(whole)), "Cache-Control": "no-store, no-cache"}
        return web.Response(status=302, headers=headers)

    def _location(self, encoded: str) -> str:
        """A URI without a path gets one ("Redirect URI restrictions and limitations")."""
        parts = urlsplit(self.redirect_uri)
        parts = parts._replace(path=parts.path or "/")
        if self.mode == "fragment":
            return parts._replace(fragment=encoded).geturl()
        return parts._replace(query=f"{parts.query}&{encoded}" if parts.query else encoded).geturl()
