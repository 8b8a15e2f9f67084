"""Frames survive any cutting of the byte stream."""

import asyncio
from typing import override

from hypothesis import given
from hypothesis import strategies as st

from local.host.wire import Cancel, Data, FrameProtocol, HttpRequest, Invocation, Kind, Stop, ToApp

MESSAGES: list[ToApp] = [
    Cancel("1"),
    Invocation("2", "f", "req", HttpRequest("GET", "http://x", {"a": "b"}, {}, {}, b"\x00" * 700)),
    Invocation("3", "f", "m", data=Data(Kind.STRING, "hällo"), metadata={"Id": Data(Kind.JSON, "1")}),
    Invocation("4", "f", "m", data=Data(Kind.BYTES, b"\xff")),
    Stop(),
]


class Sink(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    @override
    def write(self, data: "bytes | bytearray | memoryview[int]") -> None:
        self.writes.append(bytes(data))


async def sent(messages: list[ToApp]) -> list[bytes]:
    sink = Sink()
    protocol: FrameProtocol[ToApp] = FrameProtocol(ToApp, lambda _: None, lambda: None)
    protocol.connection_made(sink)
    for message in messages:
        protocol.send(message)
    await asyncio.sleep(0)
    return sink.writes


async def test_messages_of_one_turn_leave_in_one_write() -> None:
    assert len(await sent(MESSAGES)) == 1


@given(st.lists(st.integers(1, 900), max_size=12))
def test_any_cut_of_the_stream_gives_the_same_messages(cuts: list[int]) -> None:
    async def run() -> None:
        stream = (await sent(MESSAGES))[0]
        received: list[ToApp] = []
        protocol: FrameProtocol[ToApp] = FrameProtocol(ToApp, received.append, lambda: None)
        start = 0
        for size in [*cuts, len(stream)]:
            protocol.data_received(stream[start : start + size])
            start += size
        assert received == MESSAGES

    asyncio.run(run())
