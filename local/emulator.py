"""What the emulators share: an https server on loopback, a record of every request, faults and a control API.

The control API (``/_control/...``) is for tests and for people who try things out. It is as open as the loopback
interface is, which is why an emulator refuses to listen anywhere else.

Common routes, JSON in and out:

- ``GET /_control/requests?since=&method=&path=`` the record (``path`` is a glob), ``DELETE`` clears it
- ``POST /_control/faults`` plants a fault, ``GET`` lists them with their hits, ``DELETE`` removes all
- ``POST /_control/clock`` ``{"advance_seconds": 3600}`` moves the emulator's clock, ``GET`` reads it
- ``GET`` / ``PUT /_control/state`` the whole content; ``POST /_control/reset`` back to the content at start
"""

import abc
import asyncio
import contextlib
import datetime
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from fnmatch import fnmatchcase
from ipaddress import ip_address
from typing import Any, Self

import msgspec
from aiohttp import web

from local.tls import ServerCertificate

type Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Recorded(msgspec.Struct):
    """One request that reached the emulator and the answer it got."""

    number: int
    at: str
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: str
    status: int | None = None
    """``None`` while the request is being handled and when the connection was dropped instead of answered."""
    answer: str | None = None
    seconds: float | None = None


class Fault(msgspec.Struct, forbid_unknown_fields=True):
    """A planned misbehaviour. The first fault that matches a request and is not used up is applied.

    ``kind``:

    - ``status``: answer ``status`` with ``headers`` and ``body`` (JSON value or text) instead of handling
    - ``delay``: wait ``seconds``, then handle
    - ``drop``: close the connection without handling or answering
    - ``commit_then_drop``: handle, then close the connection without answering
    - ``commit_then_hang``: handle, then answer only after ``seconds``: the client has given up by then
    - ``truncate``: handle, announce the whole body, send its first ``bytes`` and close the connection
    - any other word is the emulator's own (``name`` in ``Emulator.own_faults``)
    """

    kind: str
    method: str = "*"
    path: str = "*"
    """Glob over the path, as ``/v1.0/users/delta*``."""
    query: dict[str, str] = {}
    """Globs that named query members have to match, as ``{"$skiptoken": "*"}``."""
    skip: int = 0
    """Let so many matching requests pass first."""
    times: int | None = 1
    """How many requests are hit; ``None`` for every one."""
    status: int = 503
    headers: dict[str, str] = {}
    body: Any = ""
    seconds: float = 0.0
    bytes: int = 0
    options: dict[str, Any] = {}
    """Settings of an emulator's own faults."""
    seen: int = 0
    hits: int = 0

    def matches(self, request: web.Request) -> bool:
        return (
            fnmatchcase(request.method, self.method)
            and fnmatchcase(request.path, self.path)
            and all(fnmatchcase(request.query.get(name, ""), glob) for name, glob in self.query.items())
        )

    def takes(self, request: web.Request) -> bool:
        """Count the request and say whether this fault hits it."""
        if not self.matches(request) or (self.times is not None and self.hits >= self.times):
            return False
        self.seen += 1
        if self.seen <= self.skip:
            return False
        self.hits += 1
        return True


class Clock:
    """The emulator's time: the machine's, moved by the control API."""

    def __init__(self) -> None:
        self._offset = 0.0
        self.watchers: list[Callable[[], None]] = []
        """Called after each move."""

    @property
    def offset(self) -> float:
        """Seconds by which it is ahead of the machine's clock; setting it is a move."""
        return self._offset

    @offset.setter
    def offset(self, seconds: float) -> None:
        self._offset = seconds
        for watcher in tuple(self.watchers):
            watcher()

    def time(self) -> float:
        """Seconds since the epoch."""
        return time.time() + self._offset

    def now(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self.time(), datetime.UTC)

    @contextlib.asynccontextmanager
    async def timeout(self, seconds: float) -> AsyncIterator[None]:
        """``TimeoutError`` when the block lasts longer than ``seconds`` of this clock, passed or skipped."""
        end, loop = self.time() + seconds, asyncio.get_running_loop()
        async with asyncio.timeout(seconds) as limit:

            def follow() -> None:
                if not limit.expired():
                    limit.reschedule(loop.time() + end - self.time())

            self.watchers.append(follow)
            try:
                yield
            finally:
                self.watchers.remove(follow)


class Emulator(abc.ABC):
    """Base of the emulators: subclass, add routes in ``routes()`` and content in ``state()`` / ``load()``."""

    name = "emulator"
    own_faults: frozenset[str] = frozenset()
    """Fault kinds that the subclass applies itself, through ``take_fault``."""
    keep_requests = 200_000

    def __init__(self) -> None:
        self.clock = Clock()
        self.requests: list[Recorded] = []
        self.faults: list[Fault] = []
        self._count = 0
        self._runner: web.AppRunner | None = None
        self.url = ""

    @abc.abstractmethod
    def routes(self) -> list[web.RouteDef]:
        """The routes of the emulated service."""

    @abc.abstractmethod
    def state(self) -> Any:
        """The whole content as JSON-able data, for ``GET /_control/state``."""

    @abc.abstractmethod
    def load(self, state: Any) -> None:
        """Replace the content; raise ``ValueError`` with plain words when ``state`` makes no sense."""

    @abc.abstractmethod
    def reset(self) -> None:
        """Back to the content at start."""

    async def start(self, certificate: ServerCertificate | None, host: str = "127.0.0.1", port: int = 0) -> Self:
        """Listen on a loopback address; ``port`` 0 takes a free one. ``OSError`` when the port is taken."""
        if not ip_address(host).is_loopback:
            raise ValueError(f"{self.name} listens on loopback addresses only, not on {host}")
        app = web.Application(middlewares=[self._middleware], client_max_size=64 * 1024**2)
        app.router.add_routes([*self._control_routes(), *self.routes()])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        context = None
        if certificate is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificate.certificate, certificate.key)
        site = web.TCPSite(self._runner, host, port, ssl_context=context, backlog=1024)
        await site.start()
        bound = self._runner.addresses[0][1]
        self.url = f"{'https' if context else 'http'}://localhost:{bound}"
        return self

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def take_fault(self, request: web.Request, *kinds: str) -> Fault | None:
        """The planted fault of one of ``kinds`` that hits ``request``, counted as hit."""
        return next((fault for fault in self.faults if fault.kind in kinds and fault.takes(request)), None)

    @web.middleware
    async def _middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/_control/"):
            return await handler(request)
        record = await self._record(request)
        started = time.perf_counter()
        response = await self._answer(request, handler)
        record.seconds = time.perf_counter() - started
        record.status = response.status
        if isinstance(response, web.Response) and isinstance(response.body, bytes):
            record.answer = response.body.decode("utf-8", "replace")
        return response

    async def _record(self, request: web.Request) -> Recorded:
        self._count += 1
        record = Recorded(
            number=self._count,
            at=self.clock.now().isoformat(),
            method=request.method,
            path=request.path,
            query=dict(request.query),
            headers=dict(request.headers),
            body=(await request.read()).decode("utf-8", "replace"),
        )
        self.requests.append(record)
        if len(self.requests) > self.keep_requests:
            del self.requests[: self.keep_requests // 10]
        return record

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        fault = self.take_fault(request, "status", "delay", "drop", "commit_then_drop", "commit_then_hang", "truncate")
        if fault is None:
            return await self.handle(request, handler)
        if fault.kind == "status":
            body = fault.body if isinstance(fault.body, str) else msgspec.json.encode(fault.body).decode()
            kind = "text/html" if isinstance(fault.body, str) else "application/json"
            headers = {"Content-Type": kind, **fault.headers}
            return web.Response(status=fault.status, headers=headers, body=body.encode())
        if fault.kind == "drop":
            return _drop(request)
        if fault.kind == "delay":
            await asyncio.sleep(fault.seconds)
            return await self.handle(request, handler)
        response = await self.handle(request, handler)
        if fault.kind == "commit_then_drop":
            return _drop(request)
        if fault.kind == "commit_then_hang":
            await asyncio.sleep(fault.seconds)
            return response
        return await _truncate(request, response, fault.bytes)

    async def handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Handle one request of the emulated service; the place for a subclass's checks of every request."""
        return await handler(request)

    def _control_routes(self) -> list[web.RouteDef]:
        return [
            web.get("/_control/requests", self._get_requests),
            web.delete("/_control/requests", self._delete_requests),
            web.get("/_control/faults", self._get_faults),
            web.post("/_control/faults", self._post_fault),
            web.delete("/_control/faults", self._delete_faults),
            web.get("/_control/clock", self._get_clock),
            web.post("/_control/clock", self._post_clock),
            web.get("/_control/state", self._get_state),
            web.put("/_control/state", self._put_state),
            web.post("/_control/reset", self._post_reset),
        ]

    async def _get_requests(self, request: web.Request) -> web.Response:
        since = int(request.query.get("since", "0"))
        method, path = request.query.get("method", "*"), request.query.get("path", "*")
        chosen = [
            record
            for record in self.requests
            if record.number > since and fnmatchcase(record.method, method) and fnmatchcase(record.path, path)
        ]
        return json_response(chosen)

    async def _delete_requests(self, _: web.Request) -> web.Response:
        self.requests.clear()
        return web.Response(status=204)

    async def _get_faults(self, _: web.Request) -> web.Response:
        return json_response(self.faults)

    async def _post_fault(self, request: web.Request) -> web.Response:
        try:
            fault = msgspec.json.decode(await request.read(), type=Fault)
        except msgspec.ValidationError as error:
            return json_response({"error": str(error)}, status=400)
        known = {"status", "delay", "drop", "commit_then_drop", "commit_then_hang", "truncate", *self.own_faults}
        if fault.kind not in known:
            return json_response({"error": f"unknown kind {fault.kind!r}; known: {sorted(known)}"}, status=400)
        self.faults.append(fault)
        return json_response(fault, status=201)

    async def _delete_faults(self, _: web.Request) -> web.Response:
        self.faults.clear()
        return web.Response(status=204)

    async def _get_clock(self, _: web.Request) -> web.Response:
        return json_response({"now": self.clock.now().isoformat(), "offset_seconds": self.clock.offset})

    async def _post_clock(self, request: web.Request) -> web.Response:
        body = msgspec.json.decode(await request.read(), type=dict[str, float])
        self.clock.offset += body["advance_seconds"]
        return await self._get_clock(request)

    async def _get_state(self, _: web.Request) -> web.Response:
        return json_response(self.state())

    async def _put_state(self, request: web.Request) -> web.Response:
        try:
            self.load(msgspec.json.decode(await request.read()))
        except (ValueError, KeyError, TypeError) as error:
            return json_response({"error": f"state not loaded: {error}"}, status=400)
        return web.Response(status=204)

    async def _post_reset(self, _: web.Request) -> web.Response:
        self.reset()
        self.faults.clear()
        self.requests.clear()
        self.clock.offset = 0.0
        return web.Response(status=204)


def json_response(data: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON answer, encoded by msgspec."""
    return web.Response(
        body=msgspec.json.encode(data),
        status=status,
        headers={"Content-Type": "application/json", **(headers or {})},
    )


def _drop(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)  # never arrives: the connection is gone


async def _truncate(request: web.Request, response: web.StreamResponse, size: int) -> web.StreamResponse:
    body = response.body if isinstance(response, web.Response) and isinstance(response.body, bytes) else b""
    partial = web.StreamResponse(status=response.status, headers={"Content-Length": str(len(body))})
    partial.content_type = response.content_type
    await partial.prepare(request)
    await partial.write(body[:size])
    if request.transport is not None:
        request.transport.close()
    return partial
