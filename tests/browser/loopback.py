"""Small web servers for the tests: pages as given, and a record of what browsers sent."""

import contextlib
import mimetypes
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from aiohttp import web

from local.tls import ServerCertificate


@dataclass
class Received:
    """A request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    form: dict[str, str]


@dataclass
class Loopback:
    """Answers with ``pages`` by path; 404 for others."""

    pages: dict[str, tuple[str, dict[str, str]]] = field(default_factory=dict)
    """Text and headers; HTML unless the path ends like something else."""
    received: list[Received] = field(default_factory=list)
    url: str = ""

    @contextlib.asynccontextmanager
    async def serving(self, certificate: ServerCertificate | None = None) -> AsyncIterator["Loopback"]:
        """Listen on a free port, with https if there is a certificate, until the block ends."""
        context = None
        if certificate is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificate.certificate, certificate.key)
        runner = web.ServerRunner(web.Server(self._answer, access_log=None), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        self.url = f"{'http' if context is None else 'https'}://localhost:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.received.append(Received(request.method, request.path, dict(request.headers), form))
        if request.path not in self.pages:
            return web.Response(status=404, text="There is no such page.")
        text, headers = self.pages[request.path]
        kind = mimetypes.guess_type(request.path)[0] or "text/html"
        return web.Response(text=text, content_type=kind, charset="utf-8", headers=headers)
