"""POSTs to a subscriber's endpoints, timed by the emulator's clock."""

import ssl
from pathlib import Path

import aiohttp
import msgspec
import yarl

from local.emulator import Clock


class Outcome(msgspec.Struct, frozen=True):
    """What became of one POST. Without a ``status`` no answer came, and ``problem`` says why in plain words."""

    seconds: float
    status: int | None = None
    problem: str | None = None
    timed_out: bool = False
    content_type: str = ""
    body: bytes = b""


class Transport:
    """One client for all endpoints: follows no redirect, keeps no connection and no cookie.

    ``trusted`` is a PEM file with the only authorities to trust; without it those of the process count.
    """

    def __init__(self, clock: Clock, trusted: Path | None = None) -> None:
        self._clock = clock
        self._trusted = trusted
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """``ValueError`` when the file of authorities cannot be read."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._context(), force_close=True, limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent",),
        )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def post(self, url: str, body: bytes, content_type: str, limit: float) -> Outcome:
        """Send and wait at most ``limit`` seconds for the whole answer. Never raises for what an endpoint does."""
        started = self._clock.time()
        try:
            async with self._clock.timeout(limit):
                status, answered, content = await self._exchange(url, body, content_type)
        except TimeoutError:
            seconds = self._clock.time() - started
            return Outcome(seconds, problem=f"There was no answer within {limit:g} s.", timed_out=True)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            problem = f"The endpoint cannot be reached: {error or type(error).__name__}"
            return Outcome(self._clock.time() - started, problem=problem)
        return Outcome(self._clock.time() - started, status, content_type=answered, body=content)

    def _context(self) -> ssl.SSLContext | bool:
        if self._trusted is None:
            return True
        try:
            return ssl.create_default_context(cafile=self._trusted)
        except OSError as error:
            raise ValueError(f"the authorities to trust cannot be read from {self._trusted}: {error}") from None

    async def _exchange(self, url: str, body: bytes, content_type: str) -> tuple[int, str, bytes]:
        if self._session is None:
            raise aiohttp.ClientConnectionError("the emulator has stopped")
        headers = {"Content-Type": content_type}
        target = yarl.URL(url, encoded=True)  # exactly as the subscriber wrote it
        async with self._session.post(target, data=body, headers=headers, allow_redirects=False) as response:
            return response.status, response.headers.get("Content-Type", ""), await response.read()
