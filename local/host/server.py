"""The thin HTTP server over ``Host.dispatch``: aiohttp's low-level server, without its router and middlewares."""

import asyncio
import errno
import logging
from typing import TYPE_CHECKING

from aiohttp import StreamReader, hdrs, web
from multidict import CIMultiDict

from local.errors import LocalCloudError
from local.host.core import Host
from local.host.response import Response

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.http_parser import RawRequestMessage
    from aiohttp.web_protocol import RequestHandler

log = logging.getLogger("local.host")

BODY_LIMIT = 100 * 1024 * 1024
"""Bytes of a request's body; Functions' default (FUNCTIONS_REQUEST_BODY_SIZE_LIMIT)."""

_LINGER = 1.0  # seconds to read on after refusing a body, so that the client sees the answer and not a reset
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class PortInUseError(LocalCloudError):
    """Another program listens on the wanted port."""


class Server:
    """Serves one host on one address. ``limit`` is the largest request body in bytes."""

    def __init__(self, host: Host, *, limit: int = BODY_LIMIT) -> None:
        self._host = host
        self._limit = limit
        self._runner: web.ServerRunner | None = None
        self.url = ""

    async def start(self, address: str, port: int) -> None:
        """Listen; port 0 takes a free one. Raises PortInUseError."""
        loop = asyncio.get_running_loop()

        def make_request(
            message: "RawRequestMessage",
            payload: StreamReader,
            protocol: "RequestHandler",
            writer: "AbstractStreamWriter",
            task: "asyncio.Task[None]",
        ) -> web.BaseRequest:
            return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=self._limit)

        # Functions hands a compressed body to the function as it came, so it is not unpacked here.
        server = web.Server(
            self._answer,
            request_factory=make_request,
            access_log=None,
            auto_decompress=False,
            lingering_time=_LINGER,
        )
        runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, address, port).start()
        except OSError as error:
            await runner.cleanup()
            if error.errno != errno.EADDRINUSE:
                raise LocalCloudError(f"cannot listen on {address}:{port}: {error.strerror or error}") from error
            raise PortInUseError(
                f"port {port} of {address} is in use: another host may be running. End it, or choose another port "
                "with --port (0 takes a free one)."
            ) from error
        self._runner = runner
        name = f"[{address}]" if ":" in address else address
        self.url = f"http://{name}:{runner.addresses[0][1]}"

    async def stop_accepting(self) -> None:
        """Close the listening socket; requests in flight go on."""
        if self._runner is not None:
            for site in list(self._runner.sites):
                await site.stop()

    async def stop(self) -> None:
        """Close every connection."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        headers = _headers(request)
        if request.body_exists:
            length = request.content_length
            if length is not None and length > self._limit:
                return _closing(413)
            if "expect" in headers:
                if headers["expect"].lower() != "100-continue":
                    return _closing(417)
                await request.writer.write(_CONTINUE)
                request.writer.output_size = 0
            try:
                body = await request.read()
            except web.HTTPRequestEntityTooLarge:
                return _closing(413)
        else:
            body = b""
        target = request.raw_path
        if not target.isascii():
            return _closing(400)  # must be percent-encoded
        path, _, query = target.partition("?")
        url = f"http://{headers['host']}{target}" if "host" in headers else f"{self.url}{target}"
        return _to_aiohttp(await self._host.dispatch(request.method, path, query, headers, body, url))


def _headers(request: web.BaseRequest) -> dict[str, str]:
    """Lower-case names; repeated headers joined by a comma."""
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        key = name.lower()
        if not value.isascii():
            value = value.encode(errors="surrogateescape").decode(errors="replace")  # noqa: PLW2901 - the same value, as text
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return headers


def _closing(status: int) -> web.Response:
    """An answer after which the connection closes: the body was not read."""
    response = web.Response(status=status)
    response.force_close()
    return response


def _to_aiohttp(answer: Response) -> web.Response:
    headers = CIMultiDict(answer.headers)
    for name in (hdrs.CONTENT_LENGTH, hdrs.TRANSFER_ENCODING, hdrs.CONNECTION):
        headers.pop(name, None)  # the server's to set
    for cookie in answer.cookies:
        headers.add(hdrs.SET_COOKIE, cookie)
    return web.Response(status=answer.status, headers=headers, body=answer.body)
