"""Runs the whole host as a process of its own and gives its address, keys and log: for tests and launchers."""

import asyncio
import codecs
import contextlib
import os
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from local.errors import LocalCloudError
from local.host.keys import VARIABLE, Keys
from local.host.poller import DEFAULT_LEASE

_ROOT = Path(__file__).resolve().parents[2]
_READY = re.compile(r"^Listening on (\S+)$", re.MULTILINE)
_START_PATIENCE = 60.0  # seconds for imports and indexing on a loaded machine
_STOP_PATIENCE = 4.0  # seconds before a host that does not end is killed


class HostProcess:
    """A running host. ``async with HostProcess(app_dir, env) as host: ...``; it ends with the block, or with us.

    It is tied to the thread that starts it: start it from a thread that outlives it (the main thread of a test run).
    """

    def __init__(
        self,
        app_dir: Path,
        env: Mapping[str, str] | None = None,
        *,
        port: int = 0,
        keys: Keys | None = None,
        message_lease: float = DEFAULT_LEASE,
        verbose: bool = False,
    ) -> None:
        self._app_dir = app_dir
        self._env = dict(os.environ) if env is None else dict(env)
        self._port = port
        self._keys = keys or Keys()
        self._options = ["--message-lease", str(message_lease), *(["--verbose"] if verbose else [])]
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._log: list[str] = []
        self._launched_at = 0
        self._ready = asyncio.Event()
        self._url = ""

    @classmethod
    async def start(
        cls,
        app_dir: Path,
        env: Mapping[str, str] | None = None,
        *,
        port: int = 0,
        keys: Keys | None = None,
        message_lease: float = DEFAULT_LEASE,
    ) -> Self:
        """Start a host and wait until it listens. Raises LocalCloudError with its log when it does not."""
        host = cls(app_dir, env, port=port, keys=keys, message_lease=message_lease)
        await host.launch()
        return host

    async def __aenter__(self) -> Self:
        await self.launch()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        return self._url

    @property
    def function_key(self) -> str:
        """The key that opens every function."""
        return self._keys.function

    @property
    def master_key(self) -> str:
        """The key that also opens ``/admin``."""
        return self._keys.master

    @property
    def pid(self) -> int:
        """The host's process id. Raises LocalCloudError when it was not started."""
        if self._process is None:
            raise LocalCloudError("the host was not started")
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit code once it has ended."""
        return None if self._process is None else self._process.returncode

    def log(self) -> str:
        """What host and app printed so far."""
        return "".join(self._log)

    def _log_since_launch(self) -> str:
        """A host that was started before printed another address."""
        return "".join(self._log[self._launched_at :])

    async def launch(self, *, ahead: float = 0.0) -> None:
        """Start, and wait until it listens; its clock is so many seconds ahead. Raises LocalCloudError with its log
        when it does not."""
        self._ready.clear()
        self._launched_at = len(self._log)
        env = self._env | {VARIABLE: msgspec.json.encode(self._keys).decode()}
        # Only the host needs the repository on sys.path: the app's own process gets the environment as given.
        code = f"import sys; sys.path[:1] = [{str(_ROOT)!r}]; from local.host.cli import main; sys.exit(main())"
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-c", code, "--app-dir", str(self._app_dir), "--port", str(self._port), "--tied-to", str(os.getpid())),
            *("--ahead", str(ahead)),
            *self._options,
            env=env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        self._reader = asyncio.create_task(self._read(self._process))
        ready = asyncio.create_task(self._ready.wait())
        try:
            await asyncio.wait([ready, self._reader], timeout=_START_PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self.kill()
            raise
        finally:
            ready.cancel()
        if not self._ready.is_set():
            await self.stop()
            raise LocalCloudError(f"the host did not start:\n{self.log()}")

    async def stop(self) -> int:
        """End it as Ctrl-C does and return its exit code; a host that does not end is killed."""
        return await self._end(signal.SIGTERM)

    async def kill(self) -> int:
        """End it as a crash does."""
        return await self._end(signal.SIGKILL)

    async def wait(self) -> int:
        """Its exit code, when it ends by itself."""
        if self._process is None:
            raise LocalCloudError("the host was not started")
        code = await self._process.wait()
        if self._reader is not None:
            await self._reader
        return code

    async def _end(self, how: signal.Signals) -> int:
        if self._process is None:
            return 0
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(how)
        try:
            return await asyncio.wait_for(self.wait(), _STOP_PATIENCE)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            return await self.wait()

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is None:
            return
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        # Not by lines: one longer than the reader's limit would stop the reading, and then the host.
        while chunk := await process.stdout.read(65536):
            self._log.append(decoder.decode(chunk))
            if not self._ready.is_set() and (match := _READY.search(self._log_since_launch())):
                self._url = match[1]
                self._ready.set()
