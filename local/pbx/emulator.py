"""The emulator: the dispatcher behind https, with the record, faults and control API of all emulators.

Own fault kinds, beside those of ``local.emulator.Fault``:

- ``errcode``: answer ``options`` ``{"errcode": 70082, "errmsg": ""}`` instead of handling
- ``errcode_after_commit``: handle, then answer ``options`` as if it had failed
- ``partial``, ``in_progress``: the write outcomes of the firmware switch, for the requests that are hit
"""

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast, override

import msgspec
from aiohttp import web

from local.emulator import Emulator, Fault, Handler, Recorded, json_response
from local.pbx.answers import Errcode, Payload, Problem, Refused, failure
from local.pbx.control import Control
from local.pbx.directory import Directory, Extension
from local.pbx.dispatch import Dispatcher
from local.pbx.endpoints import Writes
from local.pbx.firmware import Firmware, WriteOutcome
from local.pbx.intake import API, Incoming, Read
from local.pbx.journal import Journal, journal_path
from local.pbx.machine import Machine
from local.pbx.security import Application
from local.pbx.sender import Sender
from local.pbx.settings import Capacity, changed
from local.pbx.violations import Violations

READ = web.RequestKey("read", Read)
REQUEST_COUNT = "_request_count"
"""Where aiohttp counts the requests that came over a connection; there is no public name for it."""


class PbxEmulator(Emulator):
    """A PBX with ``extensions`` (members as in the Open API, ``number`` alone is needed) and one API application.

    Every request is appended to ``journal``, or to the file that ``PBX_EMULATOR_JOURNAL`` names. ``ValueError`` when
    the extensions make no sense. ``trust`` is the PEM file of the authority of those who receive webhooks.
    """

    name = "pbx"
    own_faults = frozenset({"errcode", "errcode_after_commit", "partial", "in_progress"})

    def __init__(
        self,
        extensions: Iterable[Mapping[str, object]] = (),
        *,
        client_id: str,
        client_secret: str,
        capacity: int = 500,
        firmware: Firmware | None = None,
        journal: Path | None = None,
        trust: Path | None = None,
    ) -> None:
        super().__init__()
        self.machine = Machine(self.clock, Application(client_id, client_secret))
        self.machine.fill(Directory(_extensions(extensions)))
        self.machine.capacity = Capacity(capacity, max(1, capacity // 4))
        self.machine.firmware = firmware or Firmware()
        self.violations = Violations()
        self.dispatcher = Dispatcher(self.machine, self.violations)
        self.sender = Sender(self.machine, trust)
        self.machine.publish = self.sender.publish
        self._control = Control(self.machine, self.violations, self.sender)
        path = journal_path(journal)
        self._journal = Journal(path) if path else None
        self._at_start = self.machine.state()

    @override
    def routes(self) -> list[web.RouteDef]:
        return [*self._control.routes(), web.route("*", f"{API}/{{endpoint:.*}}", _answered_in_handle)]

    @override
    def state(self) -> Any:
        return msgspec.to_builtins(self.machine.state())

    @override
    def load(self, state: Any) -> None:
        """Replace the members of the content that ``state`` has."""
        self.machine.load(changed(self.machine.state(), state))

    @override
    def reset(self) -> None:
        self.machine.load(self._at_start)
        self.violations.found.clear()
        self.sender.forget()

    @override
    async def stop(self) -> None:
        await super().stop()
        await self.sender.close()
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    @override
    async def _record(self, request: web.Request) -> Recorded:
        record = await super()._record(request)
        if self._journal is not None:
            self._journal.write(record)
        request[READ] = self.dispatcher.read(await _incoming(request, record))
        return record

    @web.middleware
    @override
    async def _middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Close the connection after each answer, as the PBX does; the control API too, to keep its requests apart."""
        try:
            response = await super()._middleware(request, handler)
        except web.HTTPException as error:
            error.force_close()
            raise
        response.force_close()
        return response

    @override
    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await super()._answer(request, handler)
        if getattr(request.protocol, REQUEST_COUNT, 1) > 1:
            self._note_reuse(request[READ].incoming)
        return response

    @override
    async def handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not request.path.startswith(f"{API}/"):
            return web.Response(status=404, text="404 Not Found")
        planted = self.take_fault(request, "errcode")
        if planted is not None:
            return json_response(_planted_answer(planted))
        read = request[READ]
        await self._wait(read)
        outcome = self.take_fault(request, "partial", "in_progress")
        answer = self.dispatcher.answer(read, cast("WriteOutcome", outcome.kind) if outcome else None)
        planted = self.take_fault(request, "errcode_after_commit")
        return json_response(_planted_answer(planted) if planted else answer)

    async def _wait(self, read: Read) -> None:
        if read.endpoint is None:
            return
        firmware = self.machine.firmware
        writes = isinstance(read.endpoint.work, Writes)
        milliseconds = firmware.write_latency_ms if writes else firmware.read_latency_ms
        if milliseconds:
            await asyncio.sleep(milliseconds / 1000)

    def _note_reuse(self, incoming: Incoming) -> None:
        problem = Problem(
            Errcode.FAILURE, "Connection", "", "a further request came over the same connection", "transport"
        )
        at = self.clock.now().isoformat()
        self.violations.note(incoming.number, at, incoming.method, incoming.path, [problem])


async def _answered_in_handle(_: web.Request) -> web.StreamResponse:
    raise web.HTTPNotFound


async def _incoming(request: web.Request, record: Recorded) -> Incoming:
    return Incoming(
        number=record.number,
        method=request.method,
        path=request.path,
        query=list(request.query.items()),
        headers=request.headers,
        body=await request.read(),
        caller=request.remote or "127.0.0.1",
    )


def _planted_answer(fault: Fault) -> Payload:
    errcode = int(fault.options.get("errcode", Errcode.FAILURE))
    return failure(Refused(errcode, errmsg=str(fault.options.get("errmsg", "")) or None), {})


def _extensions(extensions: Iterable[Mapping[str, object]]) -> list[Extension]:
    try:
        return msgspec.convert([dict(extension) for extension in extensions], list[Extension])
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error
