"""The app's process: reads invocations from the pipe, runs them concurrently, writes their outcomes."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
from pathlib import Path

from local.host.lifeline import die_with_parent
from local.host.travel import Traveller
from local.host.wire import Ahead, Cancel, FrameProtocol, Invocation, Outcome, ToApp
from local.host.worker import Worker

_LAST_WORDS = 0.3  # seconds that cancelled functions get to clean up before the process ends


class AppProcess:
    """The far end of the pipe."""

    def __init__(self, app_dir: Path) -> None:
        self._worker = Worker(app_dir)
        self._traveller = Traveller()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._over = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._pipe: FrameProtocol[ToApp] = FrameProtocol(ToApp, self._received, self._over.set)

    async def run(self, sock: socket.socket) -> None:
        """Index the app, report it, and serve until the host says stop or is gone."""
        await self._loop.create_connection(lambda: self._pipe, sock=sock)
        ready = await self._worker.start()
        self._pipe.send(ready)
        if not ready.error:
            gc.freeze()  # modules live for ever: do not look through them at every collection
            await self._over.wait()
            await self._cancel_running()
        self._pipe.close()

    def _received(self, message: ToApp) -> None:
        if isinstance(message, Invocation):
            # Started eagerly: a handler that never waits is answered without another turn of the event loop.
            task = asyncio.Task(self._run_one(message), loop=self._loop, eager_start=True)
            if not task.done():
                self._running[message.id] = task
                task.add_done_callback(lambda _: self._running.pop(message.id, None))
        elif isinstance(message, Cancel):
            if message.id in self._running:
                self._running[message.id].cancel()
        elif isinstance(message, Ahead):
            self._traveller.put_ahead(message.seconds)
        else:
            self._over.set()

    async def _run_one(self, call: Invocation) -> None:
        outcome = await self._worker.invoke(call)
        try:
            self._pipe.send(outcome)
        except (TypeError, ValueError, OverflowError) as error:
            self._pipe.send(Outcome(call.id, ok=False, error=f"the result cannot be sent: {error}"))

    async def _cancel_running(self) -> None:
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_LAST_WORDS)


def _log_to_stderr(quiet: bool) -> None:
    """The app's own records, as ``func start`` shows them; the libraries' chatter per request stays out."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("[%(asctime)s] app %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING if quiet else logging.INFO, handlers=[handler])
    logging.getLogger("azure").setLevel(logging.WARNING)


def main(fd: int, parent: int, app_dir: str, quiet: bool) -> None:
    """Entry point of the app's process; ``fd`` is its end of the socket pair."""
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the host decides when we end
    _log_to_stderr(quiet)

    async def run() -> None:
        await AppProcess(Path(app_dir)).run(socket.socket(fileno=fd))

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run())
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)  # not sys.exit: that would wait for sync functions whose time was up
