"""The app as the host sees it: index, invoke, stop. In a child process, or in this one for unit tests."""

import asyncio
import contextlib
import logging
import os
import socket
import sys
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from local.errors import LocalCloudError
from local.host.travel import check_can_travel
from local.host.wire import Ahead, Cancel, FrameProtocol, Function, Invocation, Outcome, Ready, Stop, ToHost
from local.host.worker import Worker, forget_app

log = logging.getLogger("local.host")

_ROOT = Path(__file__).resolve().parents[2]
_FIRST_BACK_OFF, _LAST_BACK_OFF = 0.1, 10.0  # seconds between restarts of a dying app
_STABLE = 10.0  # seconds of life after which a death counts as the first one again
_RESTART_PATIENCE = 10.0  # seconds an invocation waits for a restarting app
_STOP_PATIENCE = 0.5  # seconds between asking the app to end and killing it
_CANCEL_PATIENCE = 1.0  # seconds a function has to end after its time is over, before its process is killed


class AppError(LocalCloudError):
    """The app cannot be indexed; the message holds its traceback."""


class App(Protocol):
    """What the host needs of an app."""

    async def start(self) -> list[Function]:
        """Index the app. Raises AppError with the app's traceback."""
        ...

    async def invoke(self, call: Invocation) -> Outcome:
        """Run one function. Never raises for what the app does; time limit and death of the app are outcomes."""
        ...

    def put_ahead(self, by: timedelta) -> None:
        """Have the app told a time that is so far ahead of the machine's, from the next invocation on.

        Raises CannotTravelError when that is not possible; then nothing was moved.
        """
        ...

    async def stop(self) -> None:
        """End the app within a second."""
        ...


class InProcessApp:
    """The app in the host's own process: for unit tests. Only one at a time; a blocking function blocks the host."""

    def __init__(self, app_dir: Path, *, timeout: float | None = None) -> None:
        self._worker = Worker(app_dir)
        self._timeout = timeout

    async def start(self) -> list[Function]:
        """See App."""
        forget_app()
        ready = await self._worker.start()
        if ready.error:
            await self.stop()
            raise AppError(ready.error)
        return ready.functions

    async def invoke(self, call: Invocation) -> Outcome:
        """See App."""
        # A task of its own: the invocation id must not leak into the caller's context.
        task = asyncio.ensure_future(self._worker.invoke(call))
        done, _ = await asyncio.wait([task], timeout=self._timeout)
        if done:
            return task.result()
        task.cancel()
        return _timed_out(call.id, self._timeout)

    def put_ahead(self, by: timedelta) -> None:
        """See App; here the app keeps the machine's time, which is the host's own as well."""

    async def stop(self) -> None:
        """See App."""
        self._worker.stop()
        forget_app()


class _Pending:
    """An invocation on its way: who waits, and until when (event-loop time)."""

    __slots__ = ("deadline", "future")

    def __init__(self, future: asyncio.Future[Outcome], deadline: float) -> None:
        self.future = future
        self.deadline = deadline


class ChildApp:
    """The app in a child process, restarted with back-off when it dies. ``env`` replaces the child's environment."""

    def __init__(
        self, app_dir: Path, *, env: dict[str, str] | None = None, timeout: float | None = None, quiet: bool = False
    ) -> None:
        self._app_dir = app_dir.resolve()
        self._env = dict(os.environ) if env is None else env
        self._timeout = timeout
        self._quiet = quiet
        self._ahead = timedelta()
        self._pending: dict[str, _Pending] = {}
        self._cancelled: dict[str, float] = {}  # invocations told to end, and until when (event-loop time)
        self._pipe: FrameProtocol[ToHost] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._indexed: asyncio.Future[Ready] | None = None
        self._up = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self) -> list[Function]:
        """See App."""
        functions = await self._spawn()
        self._keeper = asyncio.create_task(self._keep_alive())
        if self._timeout is not None:
            self._sweeper = asyncio.create_task(self._sweep(self._timeout))
        return functions

    async def invoke(self, call: Invocation) -> Outcome:
        """See App."""
        if not self._up.is_set() and not await self._wait_until_up():
            return Outcome(call.id, ok=False, error="the app's process is down and is being restarted")
        pipe = self._pipe
        if pipe is None:
            return Outcome(call.id, ok=False, error="the app's process is down")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Outcome] = loop.create_future()
        self._pending[call.id] = _Pending(future, loop.time() + self._timeout if self._timeout else 0.0)
        try:
            pipe.send(call)
            if len(self._pending) == 1:
                pipe.flush()  # alone: do not wait for company
            return await future
        finally:
            self._pending.pop(call.id, None)

    def put_ahead(self, by: timedelta) -> None:
        """See App. An app that is restarted is told again."""
        check_can_travel()
        self._ahead = by
        self._tell_time()

    async def stop(self) -> None:
        """See App."""
        for task in (self._keeper, self._sweeper):
            if task is not None:
                task.cancel()
        if self._pipe is not None:
            self._pipe.send(Stop())
            self._pipe.flush()
        await self._end_process(_STOP_PATIENCE)
        self._fail_pending("the host is stopping")
        for task in (self._keeper, self._sweeper):
            if task is not None:
                await asyncio.wait([task])

    async def _spawn(self) -> list[Function]:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        try:
            await self._run_child(theirs)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()  # the child holds it now; ours must see its end of file
        return await self._connect(ours)

    async def _run_child(self, theirs: socket.socket) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *self._command(theirs.fileno()), pass_fds=[theirs.fileno()], env=self._env, stdin=asyncio.subprocess.DEVNULL
        )

    async def _connect(self, ours: socket.socket) -> list[Function]:
        loop = asyncio.get_running_loop()
        self._indexed = loop.create_future()
        pipe: FrameProtocol[ToHost] = FrameProtocol(ToHost, self._received, lambda: self._lost(pipe))
        self._pipe = pipe
        await loop.create_connection(lambda: pipe, sock=ours)
        self._tell_time()
        ready = await self._indexed
        if ready.error:
            pipe.close()
            await self._end_process(_STOP_PATIENCE)
            raise AppError(ready.error)
        self._up.set()
        return ready.functions

    def _tell_time(self) -> None:
        if self._ahead and self._pipe is not None:
            self._pipe.send(Ahead(self._ahead.total_seconds()))

    def _command(self, fd: int) -> list[str]:
        # Only this package needs the repository's folder on sys.path; the app must find its modules by its own folder.
        code = (
            f"import sys; sys.path[:1] = [{str(_ROOT)!r}]; from local.host.child import main; sys.path.pop(0); "
            f"main({fd}, {os.getpid()}, {str(self._app_dir)!r}, {self._quiet})"
        )
        return [sys.executable, "-c", code]

    def _received(self, message: ToHost) -> None:
        if isinstance(message, Outcome):
            pending = self._pending.get(message.id)
            if pending is not None and not pending.future.done():
                pending.future.set_result(message)
            elif self._cancelled:
                self._cancelled.pop(message.id, None)
        elif self._indexed is not None and not self._indexed.done():
            self._indexed.set_result(message)

    def _lost(self, pipe: FrameProtocol[ToHost]) -> None:
        if pipe is not self._pipe:
            return
        self._pipe = None
        self._up.clear()
        self._cancelled.clear()
        if self._indexed is not None and not self._indexed.done():
            self._indexed.set_result(Ready([], "the app's process ended while it was indexed"))
        self._fail_pending("the app's process died during this invocation")

    def _fail_pending(self, error: str) -> None:
        for call_id, pending in self._pending.items():
            if not pending.future.done():
                pending.future.set_result(Outcome(call_id, ok=False, error=error))

    async def _wait_until_up(self) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._up.wait(), _RESTART_PATIENCE)
        return self._up.is_set()

    async def _keep_alive(self) -> None:
        back_off = _FIRST_BACK_OFF
        loop = asyncio.get_running_loop()
        while self._process is not None:
            since = loop.time()
            code = await self._process.wait()
            if loop.time() - since > _STABLE:
                back_off = _FIRST_BACK_OFF
            log.error("the app's process died (%s); restarting it in %.1f s", _how(code), back_off)
            await asyncio.sleep(back_off)
            back_off = min(back_off * 2, _LAST_BACK_OFF)
            try:
                await self._spawn()
                log.info("the app's process is running again")
            except AppError as error:
                log.error("the app cannot be loaded again:\n%s", error)  # noqa: TRY400 - the app's traceback says it

    async def _sweep(self, timeout: float) -> None:
        """One sweep for all invocations is cheaper than a timer for each; a limit is late by at most a tenth."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(1.0, timeout / 10))
            now = loop.time()
            late = [call_id for call_id, one in self._pending.items() if one.deadline <= now and not one.future.done()]
            for call_id in late:
                self._give_up(call_id, timeout)
            if any(deadline <= now for deadline in self._cancelled.values()):
                self._kill("a function whose time was over does not end")

    def _give_up(self, call_id: str, timeout: float) -> None:
        pipe = self._pipe
        if pipe is None:
            return
        self._pending[call_id].future.set_result(_timed_out(call_id, timeout))
        pipe.send(Cancel(call_id))
        self._cancelled[call_id] = asyncio.get_running_loop().time() + _CANCEL_PATIENCE

    def _kill(self, why: str) -> None:
        self._cancelled.clear()
        self._up.clear()  # new invocations wait for the next process
        log.error("%s: its process is killed", why)
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def _end_process(self, patience: float) -> None:
        process = self._process
        if process is None:
            return
        try:
            await asyncio.wait_for(process.wait(), patience)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _timed_out(call_id: str, timeout: float | None) -> Outcome:
    return Outcome(call_id, ok=False, error=f"the function did not end within its time limit of {timeout} s")


def _how(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
