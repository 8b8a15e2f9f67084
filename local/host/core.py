"""The host without sockets: it routes, checks keys, invokes, sends outputs and owns the listeners.

``Host.dispatch`` is one HTTP request; the server over it is a thin adapter and tests call it directly.
"""

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl

from local.host import keys as key_store
from local.host.admin import Admin
from local.host.apps import App, ChildApp, InProcessApp
from local.host.clock import Clock
from local.host.config import Config, ConfigError
from local.host.functions import Entry, HttpTrigger, QueueTrigger, TimerTrigger, read
from local.host.keys import Keys, Level
from local.host.poller import DEFAULT_LEASE, Poller
from local.host.response import Response
from local.host.routing import Route, Router
from local.host.storage import Queues, is_outage
from local.host.timer_store import MemoryTimerStore, TableTimerStore, TimerStore
from local.host.timers import Timers
from local.host.wire import Data, HttpRequest, Invocation, Kind, Outcome

log = logging.getLogger("local.host")

_RESERVED = {"admin", "runtime"}

DRAIN = 0.8
"""Seconds that invocations in flight get when the host stops."""


_NOT_FOUND = Response(404)
_UNAUTHORIZED = Response(401)
_TOO_MANY = Response(429)
_STARTING = Response(503, {"retry-after": "1"})
_FAILED = Response(500)
_NO_CONTENT = Response(204)
_TEXT = {"content-type": "text/plain; charset=utf-8"}


class Host:
    """One app being served. ``start`` it, ``dispatch`` requests, ``stop`` it."""

    def __init__(
        self,
        config: Config,
        app: App,
        *,
        keys: Keys | None = None,
        clock: Clock | None = None,
        timer_store: TimerStore | None = None,
        message_lease: float = DEFAULT_LEASE,
    ) -> None:
        self.config = config
        self.keys = keys or key_store.load(config.settings)
        self.clock = clock or Clock()
        self.started = datetime.now(UTC)
        self.entries: dict[str, Entry] = {}
        self.queues = Queues(base64=config.queues.base64)
        self.timers = Timers(self.clock, timer_store or _timer_store(config), self._run_timer)
        self._app = app
        self._admin = Admin(self)
        self._message_lease = message_lease
        self._pollers: list[Poller] = []
        self._router: Router[tuple[Entry, HttpTrigger]] | None = None
        self._background: set[asyncio.Task[bool]] = set()
        self._outstanding = 0
        self._drained: asyncio.Event | None = None
        self._limit = config.http.max_outstanding

    async def start(self) -> None:
        """Index the app and start its listeners. Raises AppError, or ConfigError for what this host cannot run, or
        CannotTravelError for a clock that is ahead."""
        try:
            if self.clock.offset:
                self._app.put_ahead(self.clock.offset)
            functions = await self._app.start()
            self.entries = {entry.name.lower(): entry for entry in (read(one, self.config) for one in functions)}
            router = self._routes()
            await self._listen()
            self._router = router
        except BaseException:
            await self.stop()
            raise

    async def _listen(self) -> None:
        active = [entry for entry in self.entries.values() if not entry.is_disabled]
        for entry in active:
            if entry.has_retry:
                log.warning("function %r declares a retry policy, which this host does not apply", entry.name)
            if isinstance(entry.trigger, QueueTrigger):
                poller = Poller(
                    entry, entry.trigger, self.config.queues, self.queues, self._run_queue, lease=self._message_lease
                )
                self._pollers.append(poller)
        await self.timers.start(active)
        for poller in self._pollers:
            poller.start()

    async def stop(self) -> None:
        """Stop listening, let what is in flight end for a moment, stop the app. Takes less than two seconds."""
        self._router = None
        for poller in self._pollers:
            poller.stop_fetching()
        await asyncio.gather(
            self.timers.stop(DRAIN),
            *(one.stop(DRAIN) for one in self._pollers),
            self._drain_background(DRAIN),
            self._drain_http(DRAIN),
        )
        self._pollers.clear()
        await self._app.stop()
        await self.queues.close()

    async def dispatch(  # noqa: PLR0917 - the parts of a request in their usual order
        self, method: str, path: str, query_string: str, headers: Mapping[str, str], body: bytes, url: str
    ) -> Response:
        """Answer one request. ``path`` is percent-encoded, header names are lower case, ``url`` is absolute."""
        if self._router is None:
            return _STARTING
        query = _query(query_string) if query_string else {}
        if path[:7].lower() == "/admin/":
            return await self._admin.answer(method, path, headers, query, body)
        found = self._router.find(method, path)
        if found is None:
            return _NOT_FOUND
        (entry, trigger), params = found
        if not self.allows(trigger.level, entry.name, headers, query):
            return _UNAUTHORIZED
        if 0 <= self._limit <= self._outstanding:
            return _TOO_MANY
        self._outstanding += 1
        try:
            outcome = await self._run(
                entry,
                http=HttpRequest(method, url, dict(headers), params, query, body),
                trace_parent=headers.get("traceparent", ""),
            )
        finally:
            self._outstanding -= 1
            if self._drained is not None and not self._outstanding:
                self._drained.set()
        return _response(outcome)

    def allows(self, level: Level, function: str, headers: Mapping[str, str], query: Mapping[str, str]) -> bool:
        """Whether the request's key (header first, then ``code``) opens that level of the function."""
        if level is Level.ANONYMOUS:
            return True
        return self.keys.allow(level, function, headers.get("x-functions-key") or query.get("code"))

    def advance(self, by: timedelta) -> None:
        """Move the clock forward: the app's first, so that it agrees with the timers that become due.

        Raises ValueError for a move back, CannotTravelError when the app cannot follow.
        """
        self._app.put_ahead(self.clock.offset_after(by))
        self.clock.advance(by)

    def fire(self, entry: Entry, text: str) -> None:
        """Run a function by hand in the background, as ``POST /admin/functions/{name}`` does."""
        task = asyncio.create_task(self._by_hand(entry, text))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _by_hand(self, entry: Entry, text: str) -> bool:
        if isinstance(entry.trigger, TimerTrigger):
            return await self._run_timer(entry, self.timers.payload(entry))
        if isinstance(entry.trigger, QueueTrigger):
            return await self._run_queue(entry, Data(Kind.STRING, text), {})
        method = min(entry.trigger.methods, default="POST")
        url = f"http://localhost/admin/functions/{entry.name}"
        http = HttpRequest(method, url, {"content-type": "application/json"}, {}, {}, text.encode())
        return (await self._run(entry, http=http)).ok

    async def _run_timer(self, entry: Entry, data: Data) -> bool:
        return (await self._run(entry, data=data, metadata={"TimerTrigger": data})).ok

    async def _run_queue(self, entry: Entry, data: Data, metadata: dict[str, Data]) -> bool:
        return (await self._run(entry, data=data, metadata=metadata)).ok

    async def _run(
        self,
        entry: Entry,
        *,
        http: HttpRequest | None = None,
        data: Data | None = None,
        metadata: dict[str, Data] | None = None,
        trace_parent: str = "",
    ) -> Outcome:
        """Invoke and send the outputs. A failure is logged here, and only here."""
        call = Invocation(str(uuid.uuid4()), entry.id, entry.argument, http, data, metadata or {}, trace_parent)
        begin = time.perf_counter()
        outcome = await self._app.invoke(call)
        if outcome.ok and entry.outputs:
            outcome = await self._send(entry, outcome)
        if not outcome.ok:
            log.error("function %r failed (id %s): %s", entry.name, call.id, outcome.stack.rstrip() or outcome.error)
        elif log.isEnabledFor(logging.DEBUG):
            log.debug(
                "function %r succeeded (id %s, %.0f ms)", entry.name, call.id, (time.perf_counter() - begin) * 1000
            )
        return outcome

    async def _send(self, entry: Entry, outcome: Outcome) -> Outcome:
        """Put the queue messages the function set. When one cannot be put, the invocation failed."""
        values = dict(outcome.outputs)
        if outcome.value is not None:
            values["$return"] = outcome.value
        for output in entry.outputs:
            data = values.get(output.argument)
            if data is None:
                continue
            try:
                await self.queues.put_outputs(output.connection, output.queue, data)
            except Exception as error:
                if not is_outage(error) and not isinstance(error, ValueError):
                    raise
                why = f"a message for queue {output.queue!r} cannot be sent: {type(error).__name__}: {error}"
                return Outcome(outcome.id, ok=False, error=why)
        return outcome

    async def _drain_background(self, patience: float) -> None:
        if self._background:
            await asyncio.wait(self._background, timeout=patience)

    async def _drain_http(self, patience: float) -> None:
        if self._outstanding:
            self._drained = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._drained.wait(), patience)

    def _routes(self) -> Router[tuple[Entry, HttpTrigger]]:
        return Router(
            [
                Route(self.template(entry.trigger), entry.trigger.methods, (entry, entry.trigger))
                for entry in self.entries.values()
                if isinstance(entry.trigger, HttpTrigger) and not entry.is_disabled
            ]
        )

    def template(self, trigger: HttpTrigger) -> str:
        """The whole route of a function, with the prefix. Raises ConfigError for one of the host's own."""
        if trigger.route.strip("/").partition("/")[0].lower() in _RESERVED:
            raise ConfigError(f"route {trigger.route!r} is the host's own: admin and runtime are reserved")
        return "/".join(part for part in (self.config.http.route_prefix, trigger.route.strip("/")) if part)


def create(
    config: Config,
    *,
    in_process: bool = False,
    keys: Keys | None = None,
    clock: Clock | None = None,
    timer_store: TimerStore | None = None,
    message_lease: float = DEFAULT_LEASE,
    quiet: bool = False,
) -> Host:
    """A host for the app of ``config``: in a child process with ``config.settings`` as environment, or in this one."""
    app: App
    if in_process:
        app = InProcessApp(config.app_dir, timeout=config.function_timeout)
    else:
        env = {name: value for name, value in config.settings.items() if name != key_store.VARIABLE}
        app = ChildApp(config.app_dir, env=env, timeout=config.function_timeout, quiet=quiet)
    return Host(config, app, keys=keys, clock=clock, timer_store=timer_store, message_lease=message_lease)


def _timer_store(config: Config) -> TimerStore:
    connection = config.settings.get("AzureWebJobsStorage")
    if not connection:
        return MemoryTimerStore()
    try:
        return TableTimerStore(connection, config.host_id)
    except ValueError as error:
        raise ConfigError(f"AzureWebJobsStorage is no storage connection string: {error}") from error


def _query(query_string: str) -> dict[str, str]:
    """Empty values are dropped, as the worker protocol cannot carry them; repeated names are joined by a comma."""
    query: dict[str, str] = {}
    for name, value in parse_qsl(query_string):
        query[name] = f"{query[name]},{value}" if name in query else value
    return query


def _response(outcome: Outcome) -> Response:
    if not outcome.ok:
        # What the app raised stays in the log; what befell the app (it died, its time was over) is told.
        return _FAILED if outcome.stack else Response(500, _TEXT, outcome.error.encode())
    http = outcome.http
    if http is not None:
        return Response(http.status, http.headers, http.body, tuple(http.cookies))
    return _plain(outcome.value)


def _plain(value: Data | None) -> Response:
    """What a function answered that returned something else than an HttpResponse."""
    if value is None:
        return _NO_CONTENT
    body = value.value if isinstance(value.value, bytes) else str(value.value).encode()
    return Response(200, {"content-type": "application/json"} if value.kind is Kind.JSON else _TEXT, body)
