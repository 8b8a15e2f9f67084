"""The files that pages refer to. They are the same for everybody, and hold no data."""

import functools
import hashlib
from importlib.resources import files

from starlette.responses import Response

from console.app import Pages
from console.visit import Refusal, Visit

TYPES = {
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "htmx.min.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}

pages = Pages()


@pages.get("/console/static/{name}", role=None)
async def static_file(visit: Visit) -> Response:
    """One of the files; browsers keep it, and a new content has a new address."""
    name = visit.request.path_params["name"]
    if name not in TYPES:
        raise Refusal(404, "Not found", "There is no file with this name.")
    headers = {"Cache-Control": "public, max-age=31536000, immutable"} if visit.query("v") == version(name) else {}
    return Response(content(name), headers={"Content-Type": TYPES[name], **headers})


@functools.cache
def content(name: str) -> bytes:
    """The bytes of a file."""
    return files("console").joinpath("static", name).read_bytes()


@functools.cache
def version(name: str) -> str:
    """Changes when the file does."""
    return hashlib.sha256(content(name)).hexdigest()[:12]


def address(name: str) -> str:
    """What a page writes to refer to a file."""
    return f"/console/static/{name}?v={version(name)}"
