"""Runs a part of the local cloud as a process of its own, until it says where it listens, and ends it by its id."""

import asyncio
import contextlib
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from local.errors import LocalCloudError
from local.host.lifeline import tied

ROOT = Path(__file__).resolve().parents[1]
READY = re.compile(r"^Listening on (\S+)$", re.MULTILINE)
START_SECONDS = 60.0
STOP_SECONDS = 3.0
LOG_CHARACTERS = 100_000
"""So much of what it printed last is kept for an error message."""


class Child:
    """``python -m local <arguments>`` in a process that cannot outlive ours."""

    def __init__(self, name: str, arguments: Sequence[str], env: Mapping[str, str]) -> None:
        self.name = name
        self._arguments = arguments
        self._env = dict(env)
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._log = ""
        self.url = ""

    async def __aenter__(self) -> Self:
        """Start and wait until it listens; ``LocalCloudError`` with what it printed when it does not."""
        self._process = await asyncio.create_subprocess_exec(
            *tied([sys.executable, "-m", "local", *self._arguments]),
            cwd=ROOT,
            env=self._env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the launcher, which ends its children in order
        )
        self._reader = asyncio.create_task(self._read(self._process))
        ready = asyncio.create_task(self._ready.wait())
        await asyncio.wait([ready, self._reader], timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if not self._ready.is_set():
            await self.stop()
            raise LocalCloudError(self._log.strip() or f"{self.name} did not start")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    @property
    def returncode(self) -> int | None:
        """Its exit code once it has ended."""
        return self._process.returncode if self._process is not None else None

    async def stop(self) -> None:
        """End it; one that does not end by itself is killed."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        if self._reader is not None:
            await self._reader

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is None:
            return
        while chunk := await process.stdout.read(65536):
            self._log += chunk.decode("utf-8", "replace")
            if not self._ready.is_set() and (match := READY.search(self._log)):
                self.url = match[1]
                self._ready.set()
            self._log = self._log[-LOG_CHARACTERS:]
