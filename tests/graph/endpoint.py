"""The address that Graph calls: answers handshakes and keeps what it is told."""

from typing import Any, Self

import msgspec
from aiohttp import web


class Endpoint:
    """Serves on loopback, as the local Functions host does. ``answer`` replaces the answer to a handshake."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self.handshakes: list[str] = []
        self.answer: tuple[int, str] | None = None
        self.url = ""

    @property
    def notification_url(self) -> str:
        return f"{self.url}/notifications/directory"

    @property
    def lifecycle_url(self) -> str:
        return f"{self.url}/notifications/lifecycle"

    async def __aenter__(self) -> Self:
        self._runner = web.ServerRunner(web.Server(self._serve), shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _serve(self, request: web.BaseRequest) -> web.Response:
        token = request.query.get("validationToken")
        if token is None:
            self.items += msgspec.json.decode(await request.read())["value"]
            return web.Response(status=202)
        self.handshakes.append(request.path)
        status, text = self.answer or (200, token)
        return web.Response(status=status, text=text)
