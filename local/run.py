"""``make run``: the cloud on one machine, a first sync of the sample tenant, and then it stays up to be tried."""

import argparse
import asyncio
import contextlib
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any, Self

import aiohttp
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from local.cloud import Cloud, Ports, sample_secrets
from local.errors import LocalCloudError

PATIENCE_SECONDS = 120.0
WRITES_PER_SECOND = 50
"""The emulated PBX has no calls to handle; a real one is given 4."""
SHOWN_REASONS = 8


class Options(msgspec.Struct, frozen=True):
    """The command line."""

    ports: Ports
    users: int | None
    once: bool


def main(argv: Sequence[str]) -> int:
    """Run until Ctrl-C. 0 then; 1 with a sentence when a part cannot start; 2 when a port is taken."""
    options = _options(argv)
    console = Console(highlight=False)
    taken = _taken(options.ports)
    if taken:
        for part, port, flag in taken:
            words = f"Port {port}, meant for {part}, is in use. Stop what listens there, or choose another one:"
            console.print(words, soft_wrap=True)
            console.print(f"  make run ARGS='{flag} {port + 1000}'")
        return 2
    try:
        return asyncio.run(_run(options, console))
    except LocalCloudError as error:
        console.print(f"[red]The local cloud cannot start:[/red] {error}", soft_wrap=True)
        return 1


async def _run(options: Options, console: Console) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    is_up = asyncio.Event()
    work = asyncio.create_task(_work(options, console, stop, is_up))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([work, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if stop.is_set():
        console.print("\nStopping ...")
        if not is_up.is_set():
            work.cancel()  # once it is up it ends by itself, and may be cleaning up already
    with contextlib.suppress(asyncio.CancelledError):
        code = await work
        if not stop.is_set():
            return code
    console.print("Stopped; no process is left.")
    return 0


async def _work(options: Options, console: Console, stop: asyncio.Event, is_up: asyncio.Event) -> int:
    console.print("Starting Azurite, the emulators and the Functions host ...")
    async with _cloud(options) as cloud, Api(cloud) as api:
        run = await _first_sync(api, console)
        _summarise(console, run, await api.items(run["id"]))
        if options.once:
            return 0 if run["status"] == "succeeded" else 1
        _addresses(console, cloud)
        is_up.set()
        await _watch_parts(cloud, console, stop)
    return 0


async def _watch_parts(cloud: Cloud, console: Console, stop: asyncio.Event) -> None:
    """Wait for the end, and tell of each part that ends before."""
    told: set[str] = set()
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 1)
        for part in cloud.ended() - told:
            console.print(f"[red]{part} ended; stop with Ctrl-C and start again.[/red]")
            told.add(part)


def _cloud(options: Options) -> Cloud:
    if options.users is None:
        return Cloud(ports=options.ports)
    generated = ("--users", str(options.users), "--groups", str(max(1, options.users // 20)))
    room = str(options.users + 100)
    return Cloud(ports=options.ports, microsoft_options=generated, pbx_options=("--sample", "--capacity", room))


class Api:
    """The bridge's JSON API, as a script would use it."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(headers={"x-functions-key": self._cloud.host.function_key})
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def call(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[Any, str]:
        """The answer's JSON and its ETag; ``LocalCloudError`` with the problem's words when it is an error."""
        if self._session is None:
            raise LocalCloudError("the API client was not opened")
        url = f"{self._cloud.host.url}{path}"
        async with self._session.request(method, url, json=body, headers=headers) as response:
            raw = await response.read()
            if response.status >= 400:
                raise LocalCloudError(f"{method} {path} answered {response.status}: {raw.decode(errors='replace')}")
            return msgspec.json.decode(raw), response.headers.get("ETag", "")

    async def items(self, run_id: str) -> list[Any]:
        """All items of a run."""
        items: list[Any] = []
        path: str | None = f"/api/runs/{run_id}/items"
        while path:
            page, _ = await self.call("GET", path)
            items += page["value"]
            path = page["next"]
        return items


async def _first_sync(api: Api, console: Console) -> Any:
    """Store the secrets, enable users, and watch the initial run to its end."""
    for name, value in sample_secrets().items():
        await api.call("PUT", f"/api/secrets/{name}", {"value": value})
    settings, etag = await api.call("GET", "/api/settings")
    settings["users"] |= {"enabled": True, "associate_by_email": True}
    settings["pbx"]["max_writes_per_second"] = WRITES_PER_SECOND
    await api.call("PUT", "/api/settings", settings, {"If-Match": etag})
    columns = (TextColumn("First sync"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("sync", total=None)
        async for run in _watch(api):
            progress.update(bar, total=run["counts"].get("total"), completed=run["items"])
    return run


async def _watch(api: Api) -> AsyncIterator[Any]:
    """The newest run again and again, until it is finished."""
    seen, since = -1, time.monotonic()
    while True:
        page, _ = await api.call("GET", "/api/runs?top=1")
        if page["value"]:
            run = page["value"][0]
            yield run
            if run["status"] not in {"queued", "running"}:
                return
            if run["items"] != seen:
                seen, since = run["items"], time.monotonic()
        if time.monotonic() - since > PATIENCE_SECONDS:
            raise LocalCloudError(f"the first sync made no progress for {PATIENCE_SECONDS:.0f} s")
        await asyncio.sleep(0.2)


def _summarise(console: Console, run: Any, items: Sequence[Any]) -> None:
    console.print(f"\nRun {run['id']}: [bold]{run['status']}[/bold]. {run['message']}")
    if run["fault"]:
        console.print(f"[red]{run['fault']['message']}[/red] {run['fault'].get('action', '')}")
    reasons = Counter((item["operation"], item["outcome"], item["reason"]) for item in items)
    table = Table("Users", "Operation", "Outcome", "Reason")
    for (operation, outcome, reason), number in reasons.most_common(SHOWN_REASONS):
        table.add_row(str(number), operation, outcome, reason)
    console.print(table)
    noted = sum(bool(item.get("notes")) for item in items)
    if noted:
        console.print(f"{noted} users had a value that does not fit the PBX's fields; their items say what was done.")


def _addresses(console: Console, cloud: Cloud) -> None:
    url, key = cloud.host.url, cloud.host.function_key
    console.print(
        f"""
Console           {cloud.environment["PUBLIC_BASE_URL"]}/console      setup key {cloud.environment["SETUP_KEY"]}
Functions host    {url}        function key {key}
Microsoft         {cloud.microsoft_url}      Entra, Graph, Key Vault; /_control/requests shows what was asked
PBX               {cloud.pbx_url}      /_control/extensions shows what was written
Authority         {cloud.ca_file}

Try:
  curl -H 'x-functions-key: {key}' {url}/api/status
  curl -H 'x-functions-key: {key}' {url}/api/runs
  curl -H 'x-functions-key: {key}' '{url}/api/links?search=jan'
  curl -H 'x-functions-key: {key}' -d '{{"preview": true}}' {url}/api/sync

Everything stays up until Ctrl-C.""",
        soft_wrap=True,
    )


def _options(argv: Sequence[str]) -> Options:
    parser = argparse.ArgumentParser(prog="python -m local run", description="The cloud on one machine.")
    parser.add_argument("--port", type=_port, default=7071, help="of the Functions host; 0 takes a free one")
    parser.add_argument("--microsoft-port", type=_port, default=8443, help="of Entra, Graph and Key Vault")
    parser.add_argument("--pbx-port", type=_port, default=8088, help="of the PBX")
    parser.add_argument("--users", type=int, help="generate a tenant of so many users instead of the sample")
    parser.add_argument("--once", action="store_true", help="end after the first sync")
    found = parser.parse_args(argv)
    return Options(Ports(found.port, found.microsoft_port, found.pbx_port), found.users, found.once)


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65_535:
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return port


def _taken(ports: Ports) -> list[tuple[str, int, str]]:
    """The parts whose port somebody else listens on."""
    wanted = [
        ("the Functions host", ports.functions, "--port"),
        ("the emulator of Microsoft", ports.microsoft, "--microsoft-port"),
        ("the emulator of the PBX", ports.pbx, "--pbx-port"),
    ]
    return [entry for entry in wanted if entry[1] and not _is_free(entry[1])]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
