"""The host as a process of its own: start, life and end, and HTTP over real sockets."""

import asyncio
import io
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import psutil
import pytest
import pytest_asyncio

from local.errors import LocalCloudError
from local.host.keys import Keys
from local.host.process import HostProcess
from tests.host.support import APP, Records, until

ROOT = Path(__file__).resolve().parents[2]


@pytest_asyncio.fixture
async def host(settings: dict[str, str]) -> AsyncIterator[HostProcess]:
    async with HostProcess(APP, settings, verbose=True) as host:
        yield host


@pytest_asyncio.fixture
async def client(host: HostProcess) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(host.url, cookie_jar=aiohttp.DummyCookieJar()) as client:
        yield client


async def get(client: aiohttp.ClientSession, path: str) -> tuple[int, str]:
    async with client.get(path) as answer:
        return answer.status, await answer.text()


def family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


async def raw(url: str, *sent: bytes, pause_for: bytes = b"") -> bytes:
    """Send bytes as they are; between two parts wait until ``pause_for`` has come."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    received = b""
    try:
        for number, part in enumerate(sent):
            if number and pause_for:
                received += await asyncio.wait_for(reader.readuntil(pause_for), 3)
            writer.write(part)
            await writer.drain()
        return received + await asyncio.wait_for(reader.read(), 5)
    finally:
        writer.close()
        await writer.wait_closed()


async def test_http_over_sockets(host: HostProcess, client: aiohttp.ClientSession) -> None:
    """One host for the whole of HTTP: starting one for each fact would be slow."""
    assert await get(client, "/ping") == (200, "pong")
    assert await get(client, "/sync") == (200, "pong from a thread")
    assert await get(client, "/admin/host/ping") == (200, "")
    assert (await get(client, "/guarded"))[0] == 401
    assert await get(client, f"/guarded?code={host.function_key}") == (200, "open")
    async with client.get("/echo/1", headers=[("X-Twice", "a"), ("X-Twice", "b")]) as answer:
        seen = await answer.json()
        assert seen["headers"]["x-twice"] == "a, b"
        assert seen["url"] == f"{host.url}/echo/1"
    async with client.get("/cookies", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (302, "/ping")
        assert [one.split("=")[0] for one in answer.headers.getall("Set-Cookie")] == ["session", "theme"]
    async with client.head("/headed") as answer:
        assert (answer.status, answer.headers["X-Answer"], answer.headers["Content-Length"]) == (200, "42", "6")
        assert await answer.read() == b""
    async with client.head("/ping") as answer:
        assert answer.status == 404, "HEAD is a method like any other"


async def test_bodies_over_sockets(host: HostProcess, client: aiohttp.ClientSession) -> None:
    big = b"x" * 20_000_000
    async with client.post("/size", data=io.BytesIO(big)) as answer:
        assert await answer.text() == str(len(big))
    async with client.get("/big/5000000") as answer:
        assert len(await answer.read()) == 5_000_000

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"y" * 100_000

    async with client.post("/size", data=parts()) as answer:  # chunked
        assert await answer.text() == "300000"

    head = b"POST /size HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\nExpect: %s\r\n\r\n"
    waited = await raw(host.url, head % (5, b"100-continue"), b"12345", pause_for=b"100 Continue\r\n\r\n")
    assert b"HTTP/1.1 200" in waited
    assert waited.endswith(b"5")
    assert (await raw(host.url, head % (5, b"magic"))).startswith(b"HTTP/1.1 417")
    refused = await raw(host.url, head % (101 * 1024 * 1024, b"100-continue"))
    assert refused.startswith(b"HTTP/1.1 413"), "too large a body is refused before it is sent"
    assert (await raw(host.url, b"nonsense\r\n\r\n")).startswith((b"HTTP/1.0 400", b"HTTP/1.1 400"))
    strange = await raw(host.url, b"GET /echo/1 HTTP/1.1\r\nHost: x\r\nX-A: \xff\xe4\r\nConnection: close\r\n\r\n")
    assert strange.startswith(b"HTTP/1.1 200"), "bytes that are no text do not stop a request"
    assert await get(client, "/ping") == (200, "pong")


async def test_queue_and_timer_work_across_the_processes(stored: dict[str, str], records: Records) -> None:
    async with HostProcess(APP, stored) as host, aiohttp.ClientSession(host.url) as client:
        async with client.post("/enqueue", json="hello") as answer:
            assert answer.status == 202
        await until(lambda: records("work"))
        key = {"x-functions-key": host.master_key}
        async with client.post("/admin/host/clock", json={"advance_seconds": 3600}, headers=key) as answer:
            assert (await answer.json())["fired"] == ["tick"]
        assert records("tick")[0]["past_due"] is False


async def test_a_host_is_started_in_one_call_with_given_keys(settings: dict[str, str]) -> None:
    host = await HostProcess.start(APP, settings, keys=Keys(master="m", function="f"))
    async with aiohttp.ClientSession(host.url) as client:
        assert (host.master_key, host.function_key) == ("m", "f")
        assert (await get(client, "/admin/host/status?code=m"))[0] == 200
    assert await host.stop() == 0


async def test_a_very_long_line_does_not_stall_the_host(settings: dict[str, str], tmp_path: Path) -> None:
    text = (
        "print('x' * 300_000, flush=True)\nimport azure.functions as f\napp = f.FunctionApp()\n"
        "@app.route(route='a')\ndef a(req: f.HttpRequest) -> f.HttpResponse: pass"
    )
    async with HostProcess(app_of(tmp_path, text), settings) as host:
        assert len(host.log()) > 300_000


async def test_a_dead_app_fails_its_requests_and_comes_back(host: HostProcess, client: aiohttp.ClientSession) -> None:
    before = await get(client, "/pid")
    waiting = asyncio.create_task(get(client, "/waits?seconds=5"))
    await asyncio.sleep(0.1)  # it is in flight
    status, text = await get(client, "/dies")
    assert (status, text) == (500, "the app's process died during this invocation")
    assert (await waiting)[0] == 500
    status, after = await get(client, "/pid")
    assert status == 200
    assert after != before[1]
    assert "exit code 7" in host.log()
    await until(lambda: "running again" in host.log())  # an answer may be read before what was printed earlier


async def test_a_function_that_blocks_beyond_its_time_is_killed_with_its_process(settings: dict[str, str]) -> None:
    settings["AzureFunctionsJobHost__functionTimeout"] = "00:00:00.3"
    async with HostProcess(APP, settings) as host, aiohttp.ClientSession(host.url) as client:
        status, text = await get(client, "/blocks?seconds=60")
        assert (status, "time limit" in text) == (500, True)
        await until(lambda: "is killed" in host.log())
        assert await get(client, "/ping") == (200, "pong")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_everything_within_two_seconds(settings: dict[str, str], how: signal.Signals) -> None:
    async with HostProcess(APP, settings) as host, aiohttp.ClientSession(host.url) as client:
        processes = family(host.pid)
        assert len(processes) == 2
        short = asyncio.create_task(get(client, "/waits?seconds=0.2"))
        endless = asyncio.create_task(get(client, "/blocks?seconds=60&in=thread"))
        await asyncio.sleep(0.1)  # both are in flight
        begin = time.monotonic()
        os.kill(host.pid, how)
        assert await host.wait() == 0
        assert time.monotonic() - begin < 2
        assert alive(processes) == []
        assert await short == (200, "waited"), "what ends soon is answered"
        assert (await endless)[0] == 500, "what does not is told"


async def test_a_signal_ends_a_start_that_takes_long(settings: dict[str, str], tmp_path: Path) -> None:
    host = HostProcess(app_of(tmp_path, "print('importing', flush=True); import time; time.sleep(60)"), settings)
    start = asyncio.create_task(host.launch())
    await until(lambda: "importing" in host.log())
    processes = family(host.pid)
    begin = time.monotonic()
    os.kill(host.pid, signal.SIGINT)
    assert await host.wait() == 0
    assert time.monotonic() - begin < 2
    assert alive(processes) == []
    with pytest.raises(LocalCloudError):
        await start


async def test_no_process_survives_a_killed_host(host: HostProcess) -> None:
    processes = family(host.pid)
    assert len(processes) == 2
    await host.kill()
    await until(lambda: not alive(processes))


async def test_no_process_survives_the_launcher(settings: dict[str, str], tmp_path: Path) -> None:
    launcher = tmp_path / "launcher.py"
    launcher.write_text(
        "import asyncio, sys\nfrom pathlib import Path\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from local.host.process import HostProcess\n"
        "async def main():\n"
        f"    async with HostProcess(Path({str(APP)!r})) as host:\n"
        "        print(host.pid, flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(launcher), env=settings, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    processes = family(int(await process.stdout.readline()))
    process.kill()
    await process.communicate()
    await until(lambda: not alive(processes))


def app_of(tmp_path: Path, text: str) -> Path:
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "host.json").write_text("{}")
    (folder / "function_app.py").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import nothing_like_this", "No module named 'nothing_like_this'"),
        ("def broken(:", "SyntaxError"),
        ("raise SystemExit(5)", "SystemExit: 5"),
        ("import os; os._exit(9)", "ended while it was indexed"),
        ("x = 1", "Could not find top level function app instances"),
        (
            (
                "import azure.functions as f\napp = f.FunctionApp()\n"
                "@app.event_grid_trigger(arg_name='e')\ndef g(e: f.EventGridEvent) -> None: pass"
            ),
            "eventGridTrigger",
        ),
        (
            (
                "import azure.functions as f\napp = f.FunctionApp()\n"
                "@app.route(route='Admin/x')\ndef g(req: f.HttpRequest) -> f.HttpResponse: pass"
            ),
            "reserved",
        ),
    ],
)
async def test_an_app_that_cannot_be_loaded_is_told_and_ends_the_host(
    settings: dict[str, str], tmp_path: Path, text: str, said: str
) -> None:
    host = HostProcess(app_of(tmp_path, text), settings)
    with pytest.raises(LocalCloudError, match=r"The host cannot start"):
        await host.launch()
    assert host.returncode == 1
    assert said in host.log()


async def test_a_folder_without_host_json_is_told(settings: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(LocalCloudError, match=r"is this the folder of a Functions app"):
        await HostProcess.start(tmp_path, settings)


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


async def test_a_busy_port_is_named_with_what_to_do(settings: dict[str, str], busy_port: int) -> None:
    host = HostProcess(APP, settings, port=busy_port)
    with pytest.raises(LocalCloudError, match=f"port {busy_port} .*--port"):
        await host.launch()
    assert host.returncode == 2


async def test_the_start_lists_functions_and_keys(settings: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "local.settings.json"
    values = {name: value for name, value in settings.items() if name != "PATH"}
    file.write_text(f'{{"Values": {str(values).replace(chr(39), chr(34))}}}')
    code = "import sys; from local.host.cli import main; sys.exit(main())"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, "--app-dir", str(APP), "--port", "0", "--env-file", str(file)),
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    lines = []
    while not (line := (await process.stdout.readline()).decode()).startswith("Listening on http://127.0.0.1:"):
        assert line, "it ended"
        lines.append(line.strip())
    process.terminate()
    await process.communicate()
    text = "\n".join(lines)
    assert "/echo/{id:int}/{rest?} (anonymous)" in text
    assert "tick: timer 0 0 * * * *" in text
    assert f"work: queue {settings['WORK_QUEUE']}" in text
    assert "function key: " in text
    assert "master key: " in text
