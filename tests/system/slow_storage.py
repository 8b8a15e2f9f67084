"""A line to Azurite that can be made slow: three proxies on loopback, one for each of its services."""

import asyncio
import contextlib
import re
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from local.azurite import ACCOUNT, KEY, Azurite

SERVICES = ("Blob", "Queue", "Table")
PIECE = 65_536


class SlowStorage:
    """``delay`` is so many seconds by which whatever is sent to storage arrives late. Azurite may start after it."""

    def __init__(self) -> None:
        self.delay = 0.0
        self._azurite: Azurite | None = None
        self._servers: dict[str, asyncio.Server] = {}
        self._lines: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        for name in SERVICES:
            self._servers[name] = await asyncio.start_server(self._taker(name), "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers.values():
            server.close()
        for line in self._lines:
            line.cancel()
        await asyncio.gather(*self._lines, return_exceptions=True)

    def lead_to(self, azurite: Azurite) -> None:
        """Whose services are behind the proxies."""
        self._azurite = azurite

    @property
    def connection_string(self) -> str:
        """For AzureWebJobsStorage."""
        ports = {name: server.sockets[0].getsockname()[1] for name, server in self._servers.items()}
        endpoints = "".join(f"{name}Endpoint=http://127.0.0.1:{port}/{ACCOUNT};" for name, port in ports.items())
        return f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};{endpoints}"

    def _taker(self, name: str) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
        def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            line = asyncio.create_task(self._join(name, reader, writer))
            self._lines.add(line)
            line.add_done_callback(self._lines.discard)

        return take

    async def _join(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self._azurite is not None
        found = re.search(f"{name}Endpoint=http://127.0.0.1:(\\d+)/", self._azurite.connection_string)
        assert found is not None
        with _closed(writer):
            there, back = await asyncio.open_connection("127.0.0.1", int(found[1]))
            with _closed(back), contextlib.suppress(ConnectionError):
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._carry(reader, back, is_late=True))
                    both.create_task(self._carry(there, writer, is_late=False))

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, is_late: bool) -> None:
        with contextlib.suppress(ConnectionError):
            while piece := await source.read(PIECE):
                if is_late and self.delay:
                    await asyncio.sleep(self.delay)
                target.write(piece)
                await target.drain()
        target.close()


@contextlib.contextmanager
def _closed(writer: asyncio.StreamWriter) -> Iterator[None]:
    try:
        yield
    finally:
        writer.close()
