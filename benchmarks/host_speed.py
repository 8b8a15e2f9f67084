"""How fast the development host is: requests per second and latencies of a trivial route, beside a bare aiohttp server.

``python benchmarks/host_speed.py [--json FILE] [--seconds N]``. The load comes from a process of its own over raw
keep-alive sockets. Host, app and load share the machine's cores: on two cores they compete, and the ratio to the
bare server says more than the figures do.
"""

import argparse
import asyncio
import multiprocessing
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from local.host.process import HostProcess  # noqa: E402 - runnable from anywhere

_APP = """
import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)


@app.route(route="ping", methods=["GET"])
async def ping(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("pong")
"""

_BARE = """
import asyncio
from aiohttp import web

async def pong(request):
    return web.Response(text="pong")

async def main():
    runner = web.ServerRunner(web.Server(pong, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.sleep(3600)

asyncio.run(main())
"""

_REQUEST = b"GET /ping HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
_WARM_UP = 0.5  # seconds of requests that are not counted


@dataclass(frozen=True, slots=True)
class Result:
    """One measurement; latencies in milliseconds."""

    server: str
    connections: int
    requests_per_second: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Report:
    """A whole run; ``start_seconds`` is from launching the host to its being ready."""

    start_seconds: float
    results: list[Result]

    def ratio(self, connections: int) -> float:
        """Requests per second of the host as a share of the bare server's."""
        host, bare = (
            next(one for one in self.results if (one.server, one.connections) == (server, connections))
            for server in ("host", "bare aiohttp")
        )
        return host.requests_per_second / bare.requests_per_second


class _Client(asyncio.Protocol):
    """One keep-alive connection that sends the next request as soon as an answer has come."""

    def __init__(self, times: list[tuple[float, float]], end: float) -> None:
        self._times = times
        self._end = end
        self._sent = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._next()

    def _next(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(_REQUEST)

    def data_received(self, data: bytes) -> None:
        # The answers are short: each comes in one piece and ends with its body.
        if not (data.startswith(b"HTTP/1.1 200") and data.endswith(b"pong")):
            self.done.set_exception(AssertionError(data[:200]))
            self._transport.close()
            return
        now = time.perf_counter()
        self._times.append((now, now - self._sent))
        if now < self._end:
            self._next()
        else:
            self._transport.close()
            self.done.set_result(None)


async def _load(port: int, connections: int, seconds: float) -> list[float]:
    """Latencies in seconds of every request after the warm-up."""
    times: list[tuple[float, float]] = []
    begin = time.perf_counter()
    loop = asyncio.get_running_loop()
    end = begin + _WARM_UP + seconds
    clients = [
        (await loop.create_connection(lambda: _Client(times, end), "127.0.0.1", port))[1] for _ in range(connections)
    ]
    await asyncio.gather(*(one.done for one in clients))
    return [latency for at, latency in times if at >= begin + _WARM_UP]


def _load_process(port: int, connections: int, seconds: float) -> tuple[int, float, float]:
    latencies = sorted(asyncio.run(_load(port, connections, seconds)))
    return len(latencies), latencies[len(latencies) // 2], latencies[len(latencies) * 99 // 100]


async def _measure(server: str, port: int, connections: int, seconds: float) -> Result:
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        count, p50, p99 = await asyncio.to_thread(pool.apply, _load_process, (port, connections, seconds))
    return Result(server, connections, round(count / seconds, 1), round(p50 * 1000, 3), round(p99 * 1000, 3))


@asynccontextmanager
async def _bare_server() -> AsyncIterator[int]:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _BARE, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield int(await process.stdout.readline())
    finally:
        process.kill()
        await process.communicate()


async def run(seconds: float) -> Report:
    """Measure both servers at one and at sixteen connections."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "function_app.py").write_text(_APP)
        (Path(folder) / "host.json").write_text('{"extensions": {"http": {"routePrefix": ""}}}')
        begin = time.perf_counter()
        async with HostProcess(Path(folder), {}) as host, _bare_server() as bare:
            start = time.perf_counter() - begin
            host_port = int(host.url.rpartition(":")[2])
            servers = [("bare aiohttp", bare), ("host", host_port)]
            results = [
                await _measure(name, port, connections, seconds) for connections in (1, 16) for name, port in servers
            ]
    return Report(round(start, 3), results)


def _print(report: Report) -> None:
    print(f"start-up of host and app: {report.start_seconds:.2f} s")
    print(f"{'server':<14}{'connections':>12}{'requests/s':>12}{'p50 ms':>9}{'p99 ms':>9}")
    for one in report.results:
        print(
            f"{one.server:<14}{one.connections:>12}{one.requests_per_second:>12.0f}{one.p50_ms:>9.2f}{one.p99_ms:>9.2f}"
        )
    for connections in (1, 16):
        print(f"host / bare at {connections} connections: {report.ratio(connections):.2f}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure the development host.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each of the four measurements")
    options = parser.parse_args()
    report = asyncio.run(run(options.seconds))
    _print(report)
    if options.json is not None:
        document = asdict(report) | {"ratios": {str(one): round(report.ratio(one), 3) for one in (1, 16)}}
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")


if __name__ == "__main__":
    main()
