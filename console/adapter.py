"""Hands a request of the Functions host to the pages, and their answer back."""

import datetime
import logging
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec

from presence.messages import Update
from store.errors import Misconfigured
from sync.connection import Connection
from sync.messages import Message
from sync.service import Bridge

if TYPE_CHECKING:
    from starlette.types import Message as Event
    from starlette.types import Scope

log = logging.getLogger("console")

MAX_BODY = 512 * 1024
"""Bytes; the largest form is a settings document with some thousand group ids."""
PLAIN = re.compile(r"[!#-+\--:<-\[\]-~]*")
"""What a cookie's value may hold (RFC 6265, section 4.1.1)."""
NAME = re.compile(r" *[!#$%&'*+\-.^_`|~0-9A-Za-z]+ *")
"""What a cookie may be called. Browsers take more: another host of our domain may set one with the name of ours behind
a space of Unicode. They do not see its ``__Host-`` then, and whoever strips such spaces takes it for ours."""


class Received(msgspec.Struct, frozen=True):
    """A request as the Functions host tells it."""

    method: str
    url: str
    headers: list[tuple[str, str]]
    body: bytes


class Answered(msgspec.Struct, frozen=True):
    """What the Functions host is to answer, and what to queue: for sync, and for presence. Of the headers only
    ``set-cookie`` may be there twice."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    messages: list[Message]
    updates: list[Update] = []


class Surroundings(msgspec.Struct, frozen=True):
    """What pages need beside the request; ``messages`` and ``updates`` collect what has to be queued."""

    connection: Connection
    now: datetime.datetime
    messages: list[Message]
    updates: list[Update]


async def answer(open_bridge: Callable[[], Bridge], received: Received) -> Answered:
    """Answer one request; where the deployment itself is wrong, in plain words as well."""
    try:
        bridge = open_bridge()
    except Misconfigured as error:
        log.error("No page can be shown: %s", error)  # noqa: TRY400 - the words say it all
        words = f"The bridge cannot work: {error}. Correct the application settings of the function app."
        headers = [("content-type", "text/plain; charset=utf-8"), ("cache-control", "no-store")]
        return Answered(503, headers, words.encode(), [])
    return await respond(bridge.connection(), received, bridge.now())


async def respond(connection: Connection, received: Received, now: datetime.datetime) -> Answered:
    """Answer one request. Never raises for what a browser sends."""
    # Starlette and Jinja2 are for people who look at pages: notifications must not wait for their import.
    from console.app import application

    around = Surroundings(connection, now, [], [])
    body, is_read, status, answered, chunks = received.body, False, 500, list[tuple[str, str]](), list[bytes]()

    async def receive() -> "Event":
        nonlocal is_read
        if is_read:
            return {"type": "http.disconnect"}
        is_read = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(event: "Event") -> None:
        nonlocal status
        if event["type"] == "http.response.start":
            status = event["status"]
            pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in event["headers"]]
            answered.extend(pair for pair in pairs if pair[0] != "content-length")  # the host counts for itself
        else:
            chunks.append(event.get("body", b""))

    await application()(_scope(connection, received, around), receive, send)
    return Answered(status, answered, b"".join(chunks), around.messages, around.updates)


def _scope(connection: Connection, received: Received, around: Surroundings) -> "Scope":
    # The host behind a front end may be told another address than the browser asked: what counts is the public one.
    public, asked = urlsplit(connection.environment.public_base_url), _address(received.url)
    headers = [(name.lower().encode("latin-1", "replace"), _meant(name, value).encode("latin-1", "replace"))
               for name, value in received.headers]  # fmt: skip
    state: dict[str, Any] = {"around": around, "is_too_large": len(received.body) > MAX_BODY}
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": received.method.upper(),
        "scheme": public.scheme or "https",
        "server": (public.hostname or "localhost", public.port),
        "path": unquote(asked.path).rstrip("/"),
        "raw_path": asked.path.encode(),
        "query_string": asked.query.encode(),
        "root_path": "",
        "headers": headers,
        "state": state,
    }


def _address(url: str) -> SplitResult:
    """An address in its parts; one without any for what cannot be one, as with half a bracket for a host."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def _meant(name: str, value: str) -> str:
    """A header as it was meant: the host percent-encodes the values of the cookies that it sets, and browsers send them
    back so. Cookies that nobody here can have set are left out."""
    if name.lower() != "cookie":
        return value
    pairs = [pair.partition("=") for pair in value.split(";")]
    return ";".join(
        f"{key}={plain if PLAIN.fullmatch(plain := unquote(text)) else text}"
        for key, _, text in pairs
        if NAME.fullmatch(key)
    )
