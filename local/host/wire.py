"""The messages between the host and the app's process, and their framing on a stream socket.

A frame is a 4-byte little-endian length and that many bytes of msgpack. Frames of one event-loop turn leave in one
write, and one read may hold many frames: the price per invocation is then little more than the (de)coding.
"""

import asyncio
import struct
from collections.abc import Callable
from enum import StrEnum
from typing import Any, override

import msgspec

_HEADER = struct.Struct("<I")


class Kind(StrEnum):
    """The kinds of typed data that travel; names are those of the worker protocol."""

    STRING = "string"
    JSON = "json"
    BYTES = "bytes"
    INT = "int"
    DOUBLE = "double"


class Data(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One typed value; ``value`` is text for STRING and JSON, else of the kind's own type."""

    kind: Kind
    value: Any


class HttpRequest(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What an HTTP-triggered function receives; header names are lower case."""

    method: str
    url: str
    headers: dict[str, str]
    params: dict[str, str]
    query: dict[str, str]
    body: bytes


class HttpResponse(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What an HTTP-triggered function answered; ``cookies`` are ready values of ``Set-Cookie``."""

    status: int
    headers: dict[str, str]
    cookies: list[str]
    body: bytes


class Function(msgspec.Struct, array_like=True, frozen=True):
    """One indexed function: its bindings are the JSON texts that the app's decorators produced."""

    name: str
    id: str
    bindings: list[str]
    has_retry: bool = False


class Invocation(msgspec.Struct, tag="i", array_like=True, frozen=True, gc=False):
    """Run one function; ``binding`` is the trigger's argument name, and exactly one of ``http`` and ``data`` is set."""

    id: str
    function_id: str
    binding: str
    http: HttpRequest | None = None
    data: Data | None = None
    metadata: dict[str, Data] = {}
    trace_parent: str = ""


class Cancel(msgspec.Struct, tag="c", array_like=True, frozen=True, gc=False):
    """Stop one invocation: its time is over."""

    id: str


class Ahead(msgspec.Struct, tag="a", array_like=True, frozen=True, gc=False):
    """Tell a time that is so many seconds ahead of the machine's."""

    seconds: float


class Stop(msgspec.Struct, tag="s", array_like=True, frozen=True, gc=False):
    """End the process."""


class Ready(msgspec.Struct, tag="r", array_like=True, frozen=True):
    """The app is indexed, or ``error`` says why not."""

    functions: list[Function]
    error: str = ""


class Outcome(msgspec.Struct, tag="o", array_like=True, frozen=True, gc=False):
    """The end of one invocation: a result and output bindings by argument name, or an error with its traceback."""

    id: str
    ok: bool
    http: HttpResponse | None = None
    value: Data | None = None
    outputs: list[tuple[str, Data]] = []
    error: str = ""
    stack: str = ""


type ToApp = Invocation | Cancel | Ahead | Stop
type ToHost = Ready | Outcome


class FrameProtocol[Received](asyncio.Protocol):
    """Both ends of the pipe: ``send`` a message, ``on_message`` for each received one, ``on_lost`` at end of file."""

    def __init__(self, received: object, on_message: Callable[[Received], None], on_lost: Callable[[], None]) -> None:
        self._decode: Callable[[bytes | memoryview], Received] = msgspec.msgpack.Decoder(received).decode
        self._encoder = msgspec.msgpack.Encoder()
        self._on_message = on_message
        self._on_lost = on_lost
        self._partial = bytearray()
        self._outbox = bytearray()
        self._is_receiving = False
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("frames need a stream transport")
        self._transport = transport

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._on_lost()

    @override
    def data_received(self, data: bytes) -> None:
        if self._partial:
            self._partial += data
            if len(self._partial) < self._wanted():
                return
            data = bytes(self._partial)
            self._partial.clear()
        self._is_receiving = True
        try:
            rest = self._deliver(memoryview(data))
        finally:
            self._is_receiving = False
        if rest:
            self._partial += rest
        self.flush()  # what was sent meanwhile, without another turn of the event loop

    def _wanted(self) -> int:
        """Bytes the first partial frame needs, so that a 100 MB body is copied once, not at every read."""
        if len(self._partial) < _HEADER.size:
            return _HEADER.size
        return _HEADER.size + int(_HEADER.unpack_from(self._partial)[0])

    def _deliver(self, view: memoryview) -> memoryview:
        start, end = 0, len(view)
        while end - start >= 4:
            stop = start + 4 + int.from_bytes(view[start : start + 4], "little")
            if stop > end:
                break
            self._on_message(self._decode(view[start + 4 : stop]))
            start = stop
        return view[start:]

    def send(self, message: ToApp | ToHost) -> None:
        """Queue one frame; it leaves at the end of this turn of the event loop. Lost silently when the peer is gone."""
        outbox = self._outbox
        start = len(outbox)
        if not start and not self._is_receiving:
            self._loop.call_soon(self.flush)
        self._encoder.encode_into(message, outbox, start + 4)
        outbox[start : start + 4] = (len(outbox) - start - 4).to_bytes(4, "little")

    def flush(self) -> None:
        """Write what is queued."""
        if not self._outbox:
            return
        if self._transport is not None:
            self._transport.write(self._outbox)
        self._outbox = bytearray()

    def close(self) -> None:
        """Flush and close this end."""
        self.flush()
        if self._transport is not None:
            self._transport.close()
